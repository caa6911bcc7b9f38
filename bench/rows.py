"What is measured: each row gives one function a library, which do the same"
import asyncio, base64, gc, json, os, random, subprocess, sys, time, tracemalloc
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Callable

import anthropic, batch, orjson, pydantic_core
from llmchat import AsyncChat, AsyncClient, Chat, Client, mk_tool, Sandbox
from llmchat.protocol.encoding import body
from llmchat.protocol.schemas import bind
from llmchat.sandbox.server import tool_use
from peers import by_peers, peers
from wire import ASK, async_sdk, create, dialog, HI, MODEL, sdk, texts, tool_input, whole

@dataclass(frozen=True)
class Row:
    what: str
    make: Callable[[], Any] # Gives functions by library; of a row that is no time, numbers by library
    wanted: float | None # Most that ours may be of `beside`
    n: int # Samples
    reps: int # Calls a sample
    unit: str # 's' of CPU time, else what the numbers count
    beside: str # What the ratios are to

rows: dict[str, Row] = {}

def row(what, wanted=None, n=21, reps=1, unit='s', beside='anthropic'):
    def add(f): rows[f.__name__] = Row(what, f, wanted, n, reps, unit, beside)
    return add

@row('import, in a new interpreter', .08, n=5)
def import_():
    def one(module):
        code = f'import time; t = time.process_time(); import {module}; print(time.process_time() - t)'
        env = {k: v for k, v in os.environ.items() if k != 'PYTHONDONTWRITEBYTECODE'}
        return lambda: float(subprocess.check_output([sys.executable, '-c', code], env=env))
    return {m: one(m) for m in ('llmchat', 'anthropic')} | {p.name: one(p.needs) for p in peers}

@row('a second chat, beside an SDK client', .01, n=31)
def second_chat():
    kw = dict(api_key='none')
    first = Chat(MODEL, **kw)
    return dict(llmchat=lambda: Chat(MODEL, **kw), anthropic=lambda: anthropic.Anthropic(**kw)) | by_peers('new')

@row('one call', .75, n=61, reps=10)
def call():
    cli = sdk()
    c = Client(MODEL, cli)
    return dict(llmchat=lambda: c('Hi'), anthropic=lambda: create(cli)) | by_peers('turn', [])

@row('one call of a chat', n=61, reps=10)
def chat_call():
    cli = sdk()
    def ours():
        chat.h.clear()
        chat('Hi')
    chat = Chat(MODEL, cli)
    return dict(llmchat=ours, anthropic=lambda: create(cli))

def after(h):
    cli, msgs = sdk(), [*h, *HI]
    chat = Chat(MODEL, cli)
    chat.h += h # as it comes from somewhere else, and is checked once
    return dict(llmchat=lambda: chat('Hi'), anthropic=lambda: cli.messages.create(**ASK, messages=msgs))

@row('a turn after 1,000 messages', .25, n=15)
def turn_1000(): return after(dialog(1000)) | by_peers('turn', dialog(1000))

@row('a turn after 4,000 messages', .12, n=11)
def turn_4000(): return after(dialog(4000)) | by_peers('turn', dialog(4000))

@row('a turn after 50 pictures, 10 MB', .12, n=15)
def pictures():
    png = bytes.fromhex('89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489')
    data = base64.b64encode(png + random.Random(1).randbytes(150_000)).decode()
    block = lambda: dict(type='image', source=dict(type='base64', media_type='image/png', data=data[:-4] + 'AAA='))
    pair = lambda: [dict(role='user', content=[block()]), dict(role='assistant', content='Seen.')]
    return after([m for _ in range(50) for m in pair()])

@row('a body of 1,000 messages, beside finding out that none has changed', n=61, reps=5, beside='comparing')
def bodies():
    msgs = dialog(1000)
    kept, req = deepcopy(msgs), ASK | dict(messages=msgs)
    return {'llmchat': lambda: body(req), 'comparing': lambda: kept == msgs,
        'message by message': lambda: b','.join([orjson.dumps(m) for m in msgs]),
        'pydantic-core': lambda: pydantic_core.to_json(req), 'json': lambda: json.dumps(req)}

def streams(chunks, **others):
    cli = sdk(chunks)
    c = Client(MODEL, cli)
    def ours():
        for _ in (s := c('Hi', stream=True)): pass
        return s.value
    def theirs():
        with cli.messages.stream(**ASK, messages=HI) as s:
            for _ in s.text_stream: pass
            return s.get_final_message()
    assert ours().content[0].to_dict() == theirs().content[0].to_dict()
    return dict(llmchat=ours, anthropic=theirs) | others

@row('2,000 deltas of text', .13, n=15)
def deltas(): return streams(texts(2000), **by_peers('stream', 2000))

@row('400 KB of tool input, a table, in 20,000 deltas', .005, n=1)
def tool_table():
    return streams(tool_input([dict(name=f'City number {i}', people=i * 17, warm=i % 2 == 0) for i in range(6500)]))

@row('400 KB of tool input, a text, in 20,000 deltas', n=5)
def tool_text(): return streams(tool_input('The quick brown fox jumps over the lazy dog, and so on.\n' * 7000))

def together(n, one):
    "`n` calls at once, in an event loop of their own"
    async def go(): await asyncio.gather(*(one() for _ in range(n)))
    return lambda: asyncio.run(go())

@row('500 chats at once, from one client', .85, n=5)
def together_one():
    cli = async_sdk()
    c = AsyncClient(MODEL, cli)
    ours, theirs = lambda: AsyncChat(cli=c)('Hi'), lambda: create(cli)
    return dict(llmchat=together(500, ours), anthropic=together(500, theirs)) | by_peers('together', 500)

@row('500 chats at once, each made from the SDK client', .9, n=7)
def together_each():
    cli = async_sdk()
    ours, theirs = lambda: AsyncChat(MODEL, cli)('Hi'), lambda: create(cli)
    return dict(llmchat=together(500, ours), anthropic=together(500, theirs))

@contextmanager
def served():
    "The address of a sandbox in a process of its own"
    with subprocess.Popen([sys.executable, '-u', '-m', 'llmchat.sandbox'], stdout=subprocess.PIPE, text=True) as p:
        try: yield next(l.split('=')[1].strip() for l in p.stdout if 'ANTHROPIC_BASE_URL' in l)
        finally: p.terminate()

@row('500 chats at once over HTTP, with nothing given', 1.0, n=5)
def together_nothing():
    with served() as url:
        os.environ |= dict(ANTHROPIC_BASE_URL=url, ANTHROPIC_API_KEY='none')
        async def theirs():
            async with anthropic.AsyncAnthropic() as cli: await asyncio.gather(*(create(cli) for _ in range(500)))
        try: yield dict(llmchat=together(500, lambda: AsyncChat(MODEL)('Hi')), anthropic=lambda: asyncio.run(theirs()))
        finally: del os.environ['ANTHROPIC_BASE_URL'], os.environ['ANTHROPIC_API_KEY']

@row("200 calls at once over HTTP, ours with aiohttp beside the SDK's default", .5, n=5)
def aiohttp():
    with served() as url:
        async def ours():
            async with AsyncClient(MODEL, base_url=url, api_key='none', aiohttp=True) as c:
                await asyncio.gather(*(c('Hi') for _ in range(200)))
        async def theirs():
            async with anthropic.AsyncAnthropic(base_url=url, api_key='none') as cli:
                await asyncio.gather(*(create(cli) for _ in range(200)))
        yield dict(llmchat=lambda: asyncio.run(ours()), anthropic=lambda: asyncio.run(theirs()))

def weather(i):
    def get_weather(
        city: str, # Name of the city
        units: str = 'celsius', # Unit of the temperature
        days: int = 1 # How many days ahead
    ) -> str: # What the weather is like
        "Get the weather of a city."
        return f'{city}: 21 {units}'
    get_weather.__name__ = f'get_weather_{i}'
    return get_weather

@row('a turn with 50 tools, beside one without', 1.1, n=41, reps=5, beside='without')
def tools():
    cli = sdk()
    some, none = Chat(MODEL, cli, tools=[weather(i) for i in range(50)]), Chat(MODEL, cli)
    def turn(chat):
        chat.h.clear()
        chat('Hi')
    schemas = [mk_tool(weather(i)).schema for i in range(50)]
    return {'llmchat': lambda: turn(some), 'without': lambda: turn(none),
        'anthropic': lambda: create(cli, tools=schemas), 'anthropic, without': lambda: create(cli)}

@row('arguments of a tool call checked, beside the function alone', n=21, reps=500, beside='function')
def arguments():
    f = weather(0)
    tool, args = mk_tool(f), dict(city='Rome', days=2)
    return dict(llmchat=lambda: bind(tool, args)(), function=lambda: f(**args))

def eight(f):
    "Seconds of the clock of a turn that calls a tool eight times"
    chat = AsyncChat(MODEL, Sandbox(lambda body: [tool_use(f.__name__, n=n) for n in range(8)]).aclient(), tools=[f])
    async def one():
        chat.h.clear()
        began = time.perf_counter()
        await chat('Hi')
        assert [b['content'] for b in chat.last[1]['content']] == list('01234567')
        return time.perf_counter() - began
    async def go(): return [await one() for _ in range(4)][1:]
    return {'llmchat': asyncio.run(go()), '0.2 s': [.2]}

@row('8 async tools of 0.2 s at once', 1.3, n=3, unit='s of the clock', beside='0.2 s')
def async_tools():
    async def wait(n: int) -> int:
        await asyncio.sleep(.2)
        return n
    return eight(wait)

@row('8 sync tools of 0.2 s at once', 1.5, n=3, unit='s of the clock', beside='0.2 s')
def sync_tools():
    def wait(n: int) -> int:
        time.sleep(.2)
        return n
    return eight(wait)

def size(o):
    "Bytes that plain data takes, all in all, each object once"
    seen, todo, res = set(), [o], 0
    while todo:
        x = todo.pop()
        if id(x) in seen: continue
        seen.add(id(x))
        res += sys.getsizeof(x)
        todo += [*x.keys(), *x.values()] if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else []
    return res

@row('memory of chats of 50 turns, beside their histories', 1.35, n=1, unit='bytes', beside='histories')
def memory(n=50, turns=50):
    async def go():
        c = AsyncClient(MODEL, async_sdk(whole('word ' * 400)))
        async def talk(chat):
            for i in range(turns): await chat(f'Turn {i}')
        await talk(AsyncChat(cli=c))
        gc.collect()
        tracemalloc.start()
        chats = [AsyncChat(cli=c) for _ in range(n)]
        await asyncio.gather(*map(talk, chats))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return dict(llmchat=[grown / n], histories=[size([c.h for c in chats]) / n])
    return asyncio.run(go())

@row('objects that a waiting call of a chat holds', n=1, unit='objects')
def waiting(n=100):
    def held(make):
        async def go():
            stop = asyncio.Event()
            one = make(async_sdk(ready=stop.wait))
            gc.collect()
            before = len(gc.get_objects())
            jobs = [asyncio.ensure_future(one()) for _ in range(n)]
            for _ in range(20): await asyncio.sleep(0)
            gc.collect()
            grown = len(gc.get_objects()) - before
            stop.set()
            await asyncio.gather(*jobs)
            return [grown / n]
        asyncio.run(go()) # once for what is made at first use
        return asyncio.run(go())
    def chats(cli):
        c = AsyncClient(MODEL, cli)
        return lambda: AsyncChat(cli=c)('Hi')
    return {'llmchat': held(chats), 'a client': held(lambda cli: (c := AsyncClient(MODEL, cli)) and (lambda: c('Hi'))),
        'anthropic': held(lambda cli: lambda: create(cli))}

@row('the results of 100,000 prompts of a batch, read, and by ours stored', .34, n=2)
def batch_results(): return batch.readers()

@row('most memory of a job of 100,000 prompts, beside what it may be', 1.0, n=1, unit='MB', beside='300 MB')
def batch_memory(): return {'llmchat': [batch.job()['mb']], '300 MB': [300]}
