"What a user writes after the README's import, checked by mypy --strict and never run."
from llmchat import *


def sums(a: int, b: int = 1) -> int:
    "Adds two numbers."
    return a + b


def talk() -> None:
    chat = Chat(find_model('sonnet'), tools=[sums, mk_tool(sums, timeout=5)], hist=['Hi', 'Hello!'])
    try: reply = chat([URL('https://example.com/dog.jpg'), mk_doc('Dogs bark.'), 'What is this?'])
    except LimitReached as e: return print(e)
    text: str = contents(reply)
    spent: Usage = chat.use + usage(inp=3)
    stream: Stream = chat('And this?', stream=True)
    print(text, spent.total, stream.value, find_blocks(reply, 'text'), models[0], mk_msgs([mk_msg('Hi')]))


def ask() -> None:
    c = Client('claude-sonnet-5-5', Sandbox(['Hi']).client())
    try: number: int = c.parse('How many?', int)
    except ReplyError as e: return print(e)
    print(number, Batch('claude-sonnet-5-5', read_prompts('p.csv')).run().answers(), Files().upload(b'%PDF').id)


async def awaited() -> None:
    tools = [text_editor_conf('claude-sonnet-5-5')]
    async with AsyncChat('claude-sonnet-5-5', tools=tools, ns=[text_editor('.')]) as chat:
        stop: str | None = (await chat('Hi')).stop_reason
        print(stop, await AsyncClient().count('Hi'))
