"Conversations as data: what the API answers, and what the user does. Each can be held sync and async, see `trace`."
import asyncio, inspect
from copy import deepcopy
from dataclasses import asdict, dataclass, field, is_dataclass
from itertools import count
from typing import Any, Callable, NamedTuple

import anthropic, httpx2
from anthropic.lib.tools import ToolError
from pydantic import BaseModel

from common import CITED, MODEL, PNG, PREFILLS
from llmchat import AsyncChat, Chat, Sandbox, Stream, mk_tool
from llmchat.sandbox.server import Cut, Fail, mk_model, tool_use

# ---- holding a conversation

class Read(NamedTuple):
    "Read a stream or loop, of it `n` items, and of each reply in it `inner` pieces; None: all"
    stream: Any
    n: int | None = None
    inner: int | None = None

@dataclass(frozen=True)
class Talk:
    "A scripted conversation"
    replies: Any # What the API answers: the script of a `Sandbox`
    steps: list[Callable[[Any], Any]] # What the user does, in order: each is given the chat
    settings: dict[str, Any] = field(default_factory=dict) # Of the chat
    tools: Callable[[], list] = list # Makes the tools
    models: Any = None # Of the `Sandbox`
    model: str = MODEL

def hold(talk, way):
    "Hold a conversation in one way; the trace of it, and the sandbox"
    sb = Sandbox(talk.replies() if inspect.isfunction(talk.replies) else list(talk.replies), models=talk.models)
    chat = way.Chat(talk.model, way.sdk(sb), tools=talk.tools(), log=True, **talk.settings)
    return way.steps(chat, talk.steps), chat, sb

class Held:
    "One way to do what a step says"
    Chat, sdk = Chat, staticmethod(lambda sb: sb.client())

    @classmethod
    def steps(cls, chat, steps): return [snapshot(chat, cls.do(chat, step)) for step in steps]

    @classmethod
    def do(cls, chat, step):
        got = []
        try:
            res = step(chat)
            return got, cls.read(res, got) if isinstance(res, Read) else res
        except (Exception, asyncio.CancelledError) as e: return got, e

    @staticmethod
    def read(r, got):
        for o in r.stream:
            got.append(o := Held.pieces(o, r.inner) if isinstance(o, Stream) else o)
            if len(got) == r.n: break
        return r.stream.value

    @staticmethod
    def pieces(part, n):
        res = []
        for p in part:
            res.append(p)
            if len(res) == n: break
        return res

class AsyncHeld(Held):
    "The same, awaited, all in one event loop"
    Chat, sdk = AsyncChat, staticmethod(lambda sb: sb.aclient())
    run = staticmethod(lambda f, *args: asyncio.run(f(*args)))

    @classmethod
    def steps(cls, chat, steps): return cls.run(cls.asteps, chat, steps)

    @classmethod
    async def asteps(cls, chat, steps): return [snapshot(chat, await cls.ado(chat, step)) for step in steps]

    @classmethod
    async def ado(cls, chat, step):
        got = []
        try:
            res = step(chat)
            if isinstance(res, Read): return got, await cls.aread(res, got)
            return got, await res if inspect.isawaitable(res) else res
        except (Exception, asyncio.CancelledError) as e: return got, e

    @classmethod
    async def aread(cls, r, got):
        async with r.stream:
            async for o in r.stream:
                got.append(o := await cls.apieces(o, r.inner) if isinstance(o, Stream) else o)
                if len(got) == r.n: break
        return r.stream.value

    @staticmethod
    async def apieces(part, n):
        res = []
        async for p in part:
            res.append(p)
            if len(res) == n: break
        return res

class ManyLoops(AsyncHeld):
    "The same, with a new event loop for each step"
    @classmethod
    def steps(cls, chat, steps): return [snapshot(chat, cls.run(cls.ado, chat, step)) for step in steps]

class Trio(AsyncHeld):
    "The same under Trio"
    @staticmethod
    def run(f, *args):
        import trio
        return trio.run(f, *args)

# ---- what is left of it

def plain(o):
    "A value as it can be compared"
    if isinstance(o, BaseException):
        cause = o.__cause__ and (type(o.__cause__).__name__, str(o.__cause__))
        return dict(error=type(o).__name__, text=str(o).replace('AsyncMessages.', 'Messages.'), cause=cause, partial=plain(getattr(o, 'partial', None)), reply=plain(getattr(o, 'reply', None)))
    if isinstance(o, anthropic.BaseModel): return o.to_dict()
    if isinstance(o, BaseModel): return {type(o).__name__: o.model_dump()}
    if is_dataclass(o): return {type(o).__name__: asdict(o)}
    if isinstance(o, dict): return {k: plain(v) for k, v in o.items()}
    return [type(o).__name__, *map(plain, o)] if isinstance(o, (list, tuple, set)) else o

def snapshot(chat, outcome):
    "All that a step left behind"
    log = [{k: plain(v).replace('AsyncMessages.', 'Messages.') if k == 'error' and v else plain(v) for k, v in e.items() if k not in ('time', 'seconds')} for e in chat.c.log]
    return deepcopy(dict(got=plain(outcome[0]), outcome=plain(outcome[1]), h=chat.h, last=chat.last, use=chat.use, cost=chat.cost,
        calls=chat.calls, partial=plain(chat.partial), client=(chat.c.use, chat.c.cost, plain(chat.c.result)), log=log))

# ---- tools

class Point(BaseModel):
    "A point."
    x: int
    y: int = 0

@dataclass
class Order:
    item: str # What is ordered
    quantity: int = 1

def sums(a: int, b: int) -> int:
    "Adds."
    return a + b

async def asums(a: int, b: int) -> int:
    "Adds, awaited."
    await asleep()
    return a + b

async def asleep():
    import anyio
    await anyio.sleep(0)

def picture() -> bytes:
    "Draws."
    return PNG

def junk() -> bytes:
    "Draws what nobody can see."
    return PNG[:8] + b'junk'

def album() -> list:
    "Shows many pictures."
    return [PNG] * 60

def nothing() -> None:
    "Does nothing."

def fails(why: str = 'no'):
    "Fails."
    raise ValueError(why)

async def afails(why: str = 'no'):
    "Fails, awaited."
    await asleep()
    raise KeyError(why)

def complains():
    "Complains."
    raise ToolError([dict(type='text', text='Not like this.')])

def some(): return [sums, asums, picture, nothing, fails, afails, complains, mk_tool(Order, parallel=False)]

def counter():
    "A tool that counts its calls"
    n = count(1)
    def more() -> int: return next(n)
    return [more]

# ---- replies and answers of users

SUM = tool_use('sums', a=1, b=2)
TWO = ['Adding.', SUM, tool_use('asums', a=3, b=4)]
EVERY = [tool_use(f.name if hasattr(f, 'name') else f.__name__) for f in some()[2:]] + [tool_use('Order', item='lamp')]
SEARCH = dict(type='server_tool_use', name='web_search', input=dict(query='x'))
FOUND = dict(type='web_search_tool_result', tool_use_id='srvtoolu_0001_1', content=[])
PAUSED = dict(content=['Searching.', SEARCH], stop_reason='pause_turn')
CODE = dict(type='server_tool_use', id='s1', name='code_execution', input={})
BY_CODE = SUM | dict(caller=dict(type='code_execution_20260120', tool_id='s1'))
BOX = dict(id='box', expires_at='2099-01-01T00:00:00Z')
THOUGHT = [dict(type='thinking', thinking='Hm. A sum.', signature='c2ln'), 'Let me see.', SUM]
def cut(stop_reason, *content): return dict(content=[*content] or ['Half a'], stop_reason=stop_reason)

def declined(call): return 'Not today.'
async def adeclined(call):
    await asleep()
    return call['name'] == 'sums'
def refuses(call): raise PermissionError('nobody to ask')
async def cont_two(*msgs):
    await asleep()
    return len(msgs[0]['content']) > 1 and isinstance(msgs[0]['content'], list)
def broken_cb(r): raise RuntimeError('cb')

hi = lambda c: c('Hi')
go_on = lambda c: c()
again = lambda c: c('Again')
streamed = lambda c: Read(c('Hi', stream=True))
events = lambda c: Read(c('Hi', stream=True, events=True))
def loop(*a, n=None, inner=None, **kw): return lambda c: Read(c.toolloop(*(a or ['Go']), **kw), n, inner)
def structured(*a, **kw): return lambda c: c.structured('Give', *a, **kw)
def parse(T, **kw): return lambda c: c.parse('Give', T, **kw)
def on_client(f): return lambda c: f(c.c)

OLD = dict(model='claude-old', models=[mk_model('claude-old', no='structured_outputs')])
NO_FORCE = Fail(400, 'tool_choice: this model does not take a forced tool choice')
reset = httpx2.RemoteProtocolError('peer closed connection')

TALKS = {
    # plain calls and streams
    'chat': Talk(['Hello!', 'Again!', 'And more.'], [hi, again, lambda c: c(['Two', 'parts'])]),
    'streams': Talk(['one two three', 'four five', THOUGHT[:2]], [streamed, streamed, lambda c: Read(c('x', stream=True, thinking=True))]),
    'events': Talk(['one two three', TWO], [events, events], tools=some),
    'stream left early': Talk(['one two three', 'Whole.'], [lambda c: Read(c('Hi', stream=True), 1), again]),
    'blank reply': Talk([dict(content=[' ']), dict(content=[]), 'x'], [hi, again, again]),
    'nothing to answer': Talk(['x'], [go_on, hi, go_on]),
    'cont_pr': Talk(['x', 'y'], [hi, go_on], dict(cont_pr='More')),
    'bad input': Talk(['x'], [lambda c: c(''), lambda c: c(3.5), lambda c: c('x', temp=2), lambda c: c('x', stop=''), lambda c: c('x', maxtok='y'),
        lambda c: c('x', tools=[3]), lambda c: c('x', nonsense=1), lambda c: c.toolloop('x', max_steps=0), hi]),
    'client': Talk(['x', 'y', [SUM], [SUM], '{"value":[1,2]}'], [on_client(lambda c: c('Hi')), on_client(lambda c: Read(c('Hi', stream=True))),
        on_client(lambda c: c('Hi', tools=[sums])), on_client(lambda c: c.structured('x', [sums])), on_client(lambda c: c.parse('x', list[int])),
        on_client(lambda c: c.count('Hi', tools=[sums]))]),
    'thinking': Talk([THOUGHT[:2], THOUGHT[:2], THOUGHT], [lambda c: c('Hi', think='low'), lambda c: Read(c('Hi', stream=True, maxthinktok=1024)), hi], tools=some),
    'prefill': Talk(['and on', 'and on', Fail(400, 'This model does not support assistant message prefill.')],
        [lambda c: c('Hi', prefill='On '), lambda c: Read(c('Hi', prefill='On ', stream=True)), lambda c: c('Hi', prefill='On ')], models=PREFILLS),
    'cb': Talk(['x', 'y', 'z'], [lambda c: c('Hi', cb=broken_cb), lambda c: Read(c('Hi', cb=broken_cb, stream=True)), hi]),
    'undo and retry': Talk(['x', TWO, 'y', 'z', Fail(500)], [hi, hi, go_on, lambda c: c.undo(), lambda c: c.retry(), lambda c: Read(c.retry(stream=True), 9), lambda c: c.retry()], tools=some),

    # tools
    'tool turns': Talk([TWO, 'Done.', TWO, 'Seven.'], [hi, go_on, hi, lambda c: c('And?')], tools=some),
    'every tool': Talk([EVERY, 'Done.'], [hi, go_on], tools=some),
    'every tool, one by one': Talk([EVERY, 'Done.'], [hi, go_on], dict(parallel=False), tools=some),
    'every tool, side by side': Talk([EVERY, 'Done.'], [hi, go_on], dict(parallel=True), tools=some),
    'tools streamed': Talk([TWO, 'Done.', EVERY], [streamed, streamed, streamed], tools=some),
    'wrong calls': Talk([[tool_use('sums', a='x'), tool_use('sums', a=1, b=2, c=3), tool_use('nope'), tool_use('sums', a='1', b=2.0)], 'x'], [hi, go_on], tools=some),
    'counted in order': Talk([[tool_use('more')] * 3, 'x'], [hi, go_on], dict(parallel=False), tools=counter),
    'declined': Talk([TWO, 'Oh.'], [hi, go_on], dict(approve=declined), tools=some),
    'declined in part, awaited': Talk([TWO, 'Oh.'], [hi, go_on], dict(approve=adeclined), tools=some),
    'approve fails': Talk([TWO, TWO, 'Oh.'], [lambda c: c('Hi', approve=refuses), loop(approve=refuses), again], tools=some),
    'tools switched off': Talk([TWO, 'x'], [lambda c: c('Hi', tool_choice=False), go_on], tools=some),
    'cut in a call': Talk([cut('max_tokens', *TWO), cut('refusal', SUM), cut('model_context_window_exceeded', SUM), cut('stop_sequence', SUM), 'x'],
        [hi, streamed, go_on, streamed, again], tools=some),
    'paused': Talk([PAUSED, [FOUND, 'Nothing.'], PAUSED, 'x'], [hi, go_on, streamed, go_on]),
    'left open': Talk([PAUSED, cut('max_tokens', SEARCH), cut('refusal', *THOUGHT[:2], SEARCH), 'x', [SEARCH, SUM], 'y', 'z'],
        [hi, streamed, again, streamed, again, lambda c: c('more'), again], tools=some),
    'left open in a loop': Talk([[SEARCH, SUM], [SEARCH, SUM], 'So far.', PAUSED, PAUSED, 'x'], [loop(max_steps=3), loop(max_steps=2, stream=True), again], tools=some),
    'paused, gone on with, asked again': Talk([PAUSED, [FOUND, 'A'], [FOUND, 'B'], 'x'], [hi, go_on, lambda c: c.retry(), again]),
    'containers': Talk([dict(content=[CODE, BY_CODE], container=BOX), ['x'], dict(content='y', container=BOX | dict(expires_at='2020-01-01T00:00:00Z')), 'z'],
        [hi, go_on, streamed, again], tools=some),
    'container in a loop': Talk([dict(content=[CODE, BY_CODE], container=BOX), [CODE, BY_CODE], 'x', '{"x":"a"}', '{"x":2}'], [loop(stream=True), parse(Point, retries=1)], tools=some),
    'fields of replies': Talk([[dict(type='text', text='x', citations=[CITED | dict(file_id='f')], tone='calm', mood=None)], 'y', 'z'], [streamed, again, streamed]),
    'fields of replies, in a stream': Talk([[dict(type='text', text='x', tone='calm', mood=dict(a=1))], 'y', 'z'], [hi, streamed, again]),
    'tool of a namespace': Talk([[SUM], 'x'], [lambda c: c('Hi', tools=[dict(name='sums', input_schema=dict(type='object'))]), go_on], dict(ns=[sums])),
    'results cut': Talk([TWO], [hi], dict(max_result=0), tools=some),
    'a chat within its own tool': Talk([[tool_use('recurse')], 'x'], [lambda c: c('Hi', tools=[within(c)]), lambda c: c(tools=[within(c)])]),

    # what cannot be sent
    'refused results': Talk([TWO, Fail(400, 'messages.2.content.0.tool_result: no'), TWO, Cut('x', events=1, then=Fail(400, 'messages.4: no')), 'Done.'], [hi, go_on, go_on, streamed, again], tools=some),
    'refused in a loop': Talk([TWO, [SUM], Fail(400, 'messages.4.content.0: no'), 'Done.'], [loop(stream=True), loop('Go on')], tools=some),
    'a picture of junk': Talk([[tool_use('junk'), tool_use('picture')], 'Done.'], [hi, go_on], tools=lambda: [junk, picture]),
    'too many pictures': Talk([[tool_use('album')] * 2, 'Done.'], [hi, go_on], tools=lambda: [album], models=[mk_model(MODEL, max_input_tokens=200_000, max_tokens=64_000)]),
    'ids and names': Talk([[SUM | dict(id='a'), SUM | dict(id='a'), tool_use('no such.tool') | dict(id='a b')], [SUM | dict(id='a')], 'Done.'], [loop()], tools=some),
    'calls that wait': Talk(['Done.', TWO, 'Done.'], [go_on, hi, again], dict(hist=['Hi', dict(role='assistant', content=[SUM | dict(id='t1')])]), tools=some),
    'a history edited by hand': Talk(['x', 'y', 'z'], [hi, lambda c: (c.h.append('And?'), c())[1], lambda c: (c.h.extend(['Well?', 'Well!']), c('So?'))[1]]),

    # loops
    'loop': Talk([TWO, [SUM], 'Done.', 'x'], [loop(), again], tools=some),
    'loop of one step': Talk(['x', TWO], [loop(max_steps=1), loop(max_steps=1)], tools=some),
    'loop to its end': Talk([TWO, TWO, 'So far.', [SUM], TWO, 'x'], [loop(max_steps=3), loop(max_steps=2), again], tools=some),
    'loop streamed': Talk([TWO, EVERY, 'Done.', 'x'], [loop(stream=True), again], tools=some),
    'loop streamed, replies left early': Talk([TWO, TWO, 'one two three', 'x'], [loop(stream=True, inner=1), again], tools=some),
    'loop left early': Talk([TWO, TWO, 'x', 'y'], [loop(n=2), go_on, again], tools=some),
    'loop left in a reply': Talk([['one two three', SUM], 'x'], [loop(stream=True, n=1, inner=1), again], tools=some),
    'loop of a server tool': Talk([PAUSED, [FOUND, 'Adding.', SUM], 'Done.', PAUSED, 'x'], [loop(), loop(max_steps=2)], tools=some),
    'loop that is cut': Talk([TWO, cut('max_tokens', 'x', SUM), 'x'], [loop(), again], tools=some),
    'loop that is stopped': Talk([TWO, TWO, 'x', 'y'], [loop(cont_func=lambda *m: False), loop(cont_func=cont_two), again], tools=some),
    'loop with events': Talk([TWO, 'x'], [loop(stream=True, events=True)], tools=some),
    'loop from results': Talk([TWO, [SUM], 'x'], [hi, lambda c: Read(c.toolloop())], tools=some),
    'loop that fails': Talk([TWO, Fail(529), 'x'], [loop(), go_on], tools=some),
    'loop that breaks off': Talk([TWO, Cut(TWO, events=5), 'x'], [loop(stream=True), go_on], tools=some),
    'limits': Talk([TWO, TWO, TWO, 'x'], [loop(max_calls=3), loop(max_cost=1e-9), lambda c: c('x', max_calls=4), lambda c: c('x', max_calls=9)], tools=some),

    # values
    'structured': Talk([[SUM, SUM], [tool_use('Point', x=1), tool_use('Point', x=2, y=3)], 'x'], [structured(sums), structured([Point, Order]), again]),
    'structured, not forced': Talk([NO_FORCE, [SUM], NO_FORCE, 'No.'], [structured(asums, ns=[sums]), structured(sums)]),
    'structured, again': Talk([[tool_use('sums', a='x')], 'No.', [SUM], 'y'], [structured(sums, retries=2), again]),
    'structured in vain': Talk([[tool_use('sums')], [tool_use('fails')], 'No.', cut('max_tokens', SUM), 'y'], [structured([sums]), structured([fails]), structured([sums]),
        structured([sums], retries=5), again]),
    'parse': Talk(['{"x":1}', '{"value":[1,2]}', [tool_use('answer', value=dict(a=1))], 'y'], [parse(Point), parse(list[int]), parse(dict[str, int]), again]),
    'parse by a tool': Talk([[tool_use('Point', x=1)], [tool_use('answer', value=[1])], 'x'], [parse(Point), parse(list[int]), again], **OLD),
    'parse, again': Talk(['{"x":"a"}', '{"x":2}', 'z'], [parse(Point, retries=1), again]),
    'parse in vain': Talk(['{', '{}', cut('max_tokens', '{"x":'), cut('refusal', 'No'), NO_FORCE, 'No.', 'y'], [parse(Point), parse(Point), parse(Point, retries=3), parse(Point),
        parse(dict[str, int]), again]),
    'parse beside tools': Talk([TWO, '{"x":1}', [tool_use('answer', value=dict(a=1))], 'x'], [hi, parse(Point), parse(dict[str, int]), again],
        dict(approve=declined, max_calls=3), tools=some),

    # failures
    **{f'error {n}': Talk([Fail(n), Fail(n), 'x'], [hi, streamed, again]) for n in (400, 401, 403, 404, 413, 429, 500, 529)},
    'no connection': Talk([httpx2.ConnectError('refused'), httpx2.ConnectTimeout('slow'), httpx2.ConnectError('refused'), 'x'], [hi, hi, streamed, again]),
    'cut streams': Talk([*(Cut(TWO, events=n, then=then) for n in range(0, 16, 3) for then in (None, reset, httpx2.ReadTimeout('stall'), Fail(529))), 'x'],
        [streamed] * 24 + [again], tools=some),
    'cut bytes': Talk([*(Cut('one two three', bytes=n) for n in range(0, 900, 97)), 'x'], [streamed] * 10 + [again]),
    'not the API': Talk(lambda: [httpx2.Response(502, html='<h1>Bad gateway</h1>'), httpx2.Response(200, html='<h1>Login</h1>'),
        httpx2.Response(200, html='<h1>Login</h1>'), 'x'], [hi, hi, streamed, again]),
    'no reply left': Talk(['x'], [hi, again, streamed, loop()])}

def within(chat):
    def recurse(): return chat('More')
    return recurse
