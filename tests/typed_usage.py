"What a user writes, checked by mypy --strict and never run."
import asyncio
from dataclasses import dataclass
from pathlib import Path

import llmchat
from llmchat import (URL, AsyncBatch, AsyncChat, AsyncClient, AsyncFiles, Batch, Chat, Client, Files, Sandbox, Stream,
    Usage, contents, find_block, find_model, mk_doc, mk_msg, mk_msgs, mk_tool, model_info, models, read_prompts,
    record, text_editor, text_editor_conf, usage)

version: str = llmchat.__version__


@dataclass
class Order:
    item: str
    quantity: int


def sums(a: int, b: int = 1) -> int:
    "Adds two numbers."
    return a + b


def single() -> None:
    c = Client(find_model('sonnet'), max_retries=3)
    reply = c(['Hi', 'Hello!', 'Who are you?'], sp='Be brief.', stop=['\n'], maxtok=200)
    text: str = contents(reply)
    tokens: int = reply.usage.input_tokens + c.count('Hi')
    spent: Usage = c.use + usage(inp=tokens)
    cost: float | None = c.cost
    order = c.parse('Three lamps, please.', Order)
    total: int = order.quantity + len(text) + spent.total + len(c.structured('Add 1 and 2.', [sums]))
    print(total, cost, models[0], model_info(models[0]), find_block(reply, 'text'))


def settled(flag: bool) -> None:
    c = Client('claude-sonnet-5-5')
    chat = Chat('claude-sonnet-5-5', tools=[sums])
    role: str = c('Hi', 'Be brief.').role
    texts: list[str] = [*c('Hi', 'Be brief.', stream=True, temp=None)]
    stop: str | None = chat('Hi', max_cost=1.0).stop_reason
    chat('Add 1 and 2.', approve=lambda call: True, max_calls=3, parallel=True, max_result=1000, sp='Be brief.')
    number: int = chat.parse('How many?', int, max_cost=1.0)
    for said in c('Hi', stream=flag), c('Hi', 'Be brief.', stream=flag), chat('Hi', stream=flag, max_cost=1.0):
        print(said.value if isinstance(said, Stream) else said.content)
    chat.close()
    print(role, texts, stop, number, c('Hi', stream=False).role, chat('Hi', stream=False).role)


def conversation() -> None:
    chat = Chat('claude-sonnet-5-5', tools=[sums, mk_tool(sums, timeout=5)], hist=['Hi', 'Hello!'], max_cost=1.0)
    reply = chat([Path('dog.jpg'), URL('https://example.com/dog.jpg'), mk_doc('Dogs bark.'), 'What is this?'], think='low')
    stream = chat('And this?', stream=True)
    for piece in stream: print(piece)
    for step in chat.toolloop('Add 1 and 2.', max_steps=3): print(contents(step))
    role: str = chat.h[0]['role']
    number: int = chat.parse('How many?', int)
    print(reply.stop_reason, stream.value, role, number, chat.undo(), chat.use.total, chat.cost, mk_msgs([mk_msg('Hi')]))


def kept() -> None:
    chat = Chat('claude-sonnet-5-5', journal='chat.jsonl', max_wait=30, on_retry=print)
    chat.save('chat.json')
    again: Chat = Chat.load('chat.json', tools=[sums])
    other: AsyncChat = AsyncChat.load('chat.jsonl')
    print(again.fork().h, other.use.total)


def recorded() -> None:
    first = Chat('claude-sonnet-5-5', record(Sandbox(['Hi']).client(), 'calls.jsonl'))
    with Sandbox.replay('calls.jsonl').serve() as url: print(first('Hi'), Client(base_url=url)('Hi'))


async def awaited() -> None:
    async with AsyncChat('claude-sonnet-5-5', AsyncClient('claude-sonnet-5-5', Sandbox(['Hi']).aclient())) as chat:
        reply = await chat('Hi')
        stop: str | None = reply.stop_reason
        async for piece in chat('More', stream=True): print(piece)
        pieces = await chat('More', stream=True)
        async for piece in pieces: print(piece)
        async for step in await chat.toolloop('Add 1 and 2.', stream=True): print(step, pieces.value)
        async for step in chat.toolloop('Add 1 and 2.'): print(contents(step))
        order = await chat.parse('Three lamps, please.', Order)
        print(stop, order.item, await AsyncClient().count('Hi'))


def many() -> None:
    b = Batch('claude-sonnet-5-5', read_prompts('p.csv', id='nr'), 'job.jsonl', sp='Be brief.', maxtok=100)
    cost: float | None = b.estimate(out=10).cost
    done: Batch = b.run()
    failed: list[object] = done.ids('errored')
    again: Batch = Batch.load('job.jsonl').retry(failed)
    print(cost, again['a'], again.answers(), again.counts['succeeded'], again.use.total, again.cost)
    pdf = Files().upload(Path('dog.pdf'))
    size: int = pdf.size_bytes
    print(size, mk_doc(pdf))


async def many_awaited() -> None:
    b = await AsyncBatch('claude-sonnet-5-5', dict(a='Hi')).run()
    pdf = await AsyncFiles().upload(b'%PDF')
    print(b.answers(), pdf.id)


def edited() -> None:
    model = 'claude-sonnet-5-5'
    Chat(model, tools=[text_editor_conf(model)], ns=[text_editor('.')])('What is in README.md?')


if __name__ == '__main__':
    single()
    conversation()
    asyncio.run(awaited())
