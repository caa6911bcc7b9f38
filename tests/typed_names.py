"Public names that the other scripts do not use, checked by mypy --strict and pyright, and never run."
from typing import Any

from llmchat import (AsyncStream, Chat, Client, LimitReached, NoResult, ReplyError, Stream, Thinking, ToolResult,
    AsyncChat, fetch_conf, find_blocks, mk_funcres, mk_funcres_async, mk_tool_choice, mk_toolres, mk_toolres_async,
    search_conf, str_replace_based_edit_tool)


def look(n: int) -> ToolResult:
    "Looks."
    return ToolResult('a cat', is_error=n < 0)


def tools() -> None:
    chat = Chat('claude-sonnet-5-5', tools=[look, search_conf(), fetch_conf(), str_replace_based_edit_tool])
    reply = Client('claude-sonnet-5-5')('Look.', tools=[look], tool_choice=mk_tool_choice('look'))
    block: dict[str, Any] = mk_funcres(find_blocks(reply, 'tool_use')[0], [look])
    msgs: list[dict[str, Any]] = mk_toolres(reply, [look])
    stream: Stream = chat('Think.', stream=True, thinking=True)
    try: thoughts = [piece for piece in stream if isinstance(piece, Thinking)]
    except (LimitReached, NoResult, ReplyError) as e: return print(e)
    print(block, msgs, thoughts)


async def awaited() -> None:
    stream: AsyncStream = AsyncChat('claude-sonnet-5-5')('Look.', stream=True)
    reply = await stream
    block: dict[str, Any] = await mk_funcres_async(find_blocks(reply, 'tool_use')[0], [look])
    print(block, await mk_toolres_async(reply, [look]))
