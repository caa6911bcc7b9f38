"Random conversations under random faults, sync and async, some cancelled: every turn happens whole or not at all"
import asyncio, os, random, re
from base64 import b64encode
from collections import Counter
from copy import deepcopy
from tempfile import TemporaryDirectory
from typing import Any

import anthropic, httpx2, pytest
from common import CITED, JPEG, LARGE, MODEL, PDF, PNG, both, check_history
from llmchat import AsyncChat, Chat, ReplyError, Sandbox, ToolResult, contents
from llmchat.sandbox.server import Cut, Fail, mk_events, mk_model, mk_reply, sse, tool_use

CALLS = int(os.environ.get('LLMCHAT_FAULTS', 20_000 if LARGE else 500))
PARTS = 1 + CALLS // 2001 # Each well within the time that a test may take
SEED = int(os.environ.get('LLMCHAT_SEED', 0)) or random.randrange(1_000_000)
ERRORS = anthropic.APIError, ReplyError, KeyboardInterrupt, asyncio.CancelledError, ZeroDivisionError
RESETS = httpx2.ReadError('reset'), httpx2.ReadTimeout('stall'), httpx2.RemoteProtocolError('gone'), Fail(529), Fail(500), None

def block(kind, source_type, **kw): return dict(type=kind, source=dict(type=source_type, **kw))
def b64(data): return b64encode(data).decode()
PICTURE = block('image', 'base64', media_type='image/png', data=b64(PNG))
VALUES = [None, 'text', ' ', 7, PNG, PICTURE, [PICTURE] * 60, PNG[:8] + b'junk', JPEG[:30], PICTURE | dict(alt='a'), block('image', 'base64', media_type='image/png', data='junk'),
    block('image', 'base64', media_type='image/jpeg', data=b64(PNG)), block('image', 'file', file_id='file_none'), block('document', 'file', file_id='file_none'),
    block('document', 'base64', media_type='application/pdf', data=b64(PDF + b'<</Type /Page>>' * 60)), block('document', 'base64', media_type='application/pdf', data=b64(PNG)),
    block('document', 'content', content=[dict(type='text', text=' ')]), block('document', 'text', media_type='text/plain', data='x') | dict(citations=dict(enabled=True)),
    dict(type='text', text='hi', author='me'), dict(type='text', text=5), dict(type='tool_use', id='x'), ToolResult('', is_error=True), ToolResult('junk', 'image/png'),
    dict(type='search_result', source='s', title='t', content=[dict(type='text', text='')]), 'a\ud800', [dict(type='text', text='\n'), PNG]]
OURS = 'without a corresponding', 'container', 'Extra inputs', 'non-empty content' # Of what requests leave out, and the tone once
IDS = [None, None, None, 'same', '', 'an id', 'x' * 80] # Of calls; None: a good one

class Api:
    "What the API does. Each reply has a number, in its text or its calls; which went out whole is noted"
    def __init__(self, rng):
        self.rng, self.n, self.calm = rng, 0, False
        self.whole, self.limited, self.ran = set(), set(), set() # Numbers of replies; limited: their calls must not run

    def reply(self, body):
        self.n += 1
        good, rng = self.good(body), self.rng
        if self.calm or rng.random() < 0.6:
            if self.n not in self.limited: self.whole.add(self.n)
            return good
        kind = rng.choice(['fail', 'error', 'garbage', 'cut', 'cut', 'cut'])
        last = body['messages'][-1]
        if kind == 'fail' and rng.random() < 0.5 and isinstance(last['content'], list) and last['content'][0]['type'] == 'tool_result':
            return Fail(400, f"messages.{len(body['messages']) - 1}{rng.choice(['', '.content.0', '.content.0.tool_result.content'])}: no")
        if kind == 'fail': return Fail(rng.choice([400, 401, 403, 404, 413, 429, 500, 529]))
        if kind == 'error': raise rng.choice(RESETS[:3])
        if kind == 'garbage': return httpx2.Response(200, text=rng.choice(['<html>Bad gateway</html>', '{"a":', '[]', '{}', 'null', '']))
        return self.cut(body, good)

    def cut(self, body, good):
        "A good reply of which the end is missing, at any event or byte"
        if not body.get('stream'): return Cut(good, bytes=self.rng.randrange(200), then=self.rng.choice(RESETS))
        events = sse(mk_events(mk_reply(good, body, 1)))
        last = b''.join(events).rindex(b'event: message_stop')
        where = dict(events=self.rng.randrange(len(events))) if self.rng.random() < 0.5 else dict(bytes=self.rng.randrange(last))
        return Cut(good, then=self.rng.choice(RESETS), **where)

    def good(self, body):
        n, rng = self.n, self.rng
        if 'output_config' in body: return '{"value": %d}' % n
        forced = body.get('tool_choice', {}).get('type') in ('any', 'tool')
        calls = [tool_use(rng.choice(['note', 'note', 'fails', 'stops', 'odd name']), n=n) for _ in range(rng.randrange(1, 4))]
        calls = [c if (id := rng.choice(IDS[:4] + IDS[5:])) is None else c | dict(id=id) for c in calls]
        if forced: return [tool_use('note', n=n)]
        if body.get('tools') and body.get('tool_choice', {}).get('type') != 'none' and not self.calm and rng.random() < 0.4:
            stop = rng.choice([dict(), dict(), dict(stop_reason='max_tokens')])
            if stop: self.limited.add(n)
            return dict(content=[*self.served(body), *[f'begin {n} end'] * rng.randrange(2), *self.beside(calls)], **stop, **self.box())
        said = [*self.served(body), self.odd(f'begin {n} ' + 'word ' * rng.randrange(8) + 'end')]
        if self.calm or rng.random() < 0.8: return dict(content=said, **self.box())
        return dict(content=[*said, run(n)], stop_reason=rng.choice(['pause_turn', 'pause_turn', 'max_tokens', 'refusal']), **self.box())

    def served(self, body):
        "Results of what the API itself had begun to do, mostly; sometimes a search"
        blocks = [b for m in body['messages'] if isinstance(m['content'], list) for b in m['content']]
        done = {b.get('tool_use_id') for b in blocks}
        res = [ran(b['id']) for b in blocks if b['type'] == 'server_tool_use' and b['id'] not in done] if self.rng.random() < 0.7 else []
        return res + ([run(f'{self.n}_0'), ran(f's{self.n}_0')] if self.rng.random() < 0.1 else [])

    def beside(self, calls):
        "The calls, sometimes beside code that has not ended, which may have made them"
        if self.rng.random() < 0.7: return calls
        by = dict(caller=dict(type='code_execution_20260120', tool_id=f's{self.n}'))
        return [run(self.n), *(c | by if self.rng.random() < 0.6 else c for c in calls)]

    def odd(self, said):
        "The text, sometimes with fields that no request can have"
        if self.rng.random() < 0.9: return said
        return dict(type='text', text=said, citations=[CITED | dict(file_id=None)]) | (dict(tone='calm') if self.rng.random() < 0.2 else {})

    def box(self):
        "Where code has run, sometimes: in a container that lives, or has expired"
        year = self.rng.choice([2020, 2099, 2099, None, None])
        return {} if year is None else dict(container=dict(id=f'box_{self.n}', expires_at=f'{year}-01-01T00:00:00Z'))

def run(n): return dict(type='server_tool_use', id=f's{n}', name='code_execution', input={})
def ran(id):
    said = dict(type='code_execution_result', stdout='', stderr='', return_code=0, content=[], abort_reason=None)
    return dict(type='code_execution_tool_result', tool_use_id=id, content=said)

def tools_of(api, is_async):
    def note(n: int) -> Any:
        api.ran.add(n)
        return api.rng.choice(VALUES)
    def fails(n: int):
        api.ran.add(n)
        raise LookupError(n)
    def stops(n: int):
        api.ran.add(n)
        if api.rng.random() < 0.3 and not api.calm: raise KeyboardInterrupt
    if not is_async: return [note, fails, stops]
    async def note_async(n: int) -> Any:
        for _ in range(api.rng.randrange(3)): await asyncio.sleep(0)
        api.ran.add(n)
        return api.rng.choice(VALUES)
    note_async.__name__ = 'note'
    async def stops_async(n: int):
        await asyncio.sleep(0)
        api.ran.add(n)
    stops_async.__name__ = 'stops'
    return [note_async, fails, stops_async]

# ---- one way to say what is done, for both drivers

STEPS = ['call', 'call', 'call', 'stream', 'stream', 'left', 'loop', 'loop', 'parts', 'structured', 'parse', 'retry', 'bad callback']

def begin(chat, step, rng, note):
    "What a step is: something to be awaited or had, and how many items of it are read"
    if step == 'retry' and not chat._turns: step = 'call'
    if step == 'call': return chat(*() if chat._paused else ('Hi',)), None
    if step == 'retry': return chat.retry(), None
    if step in ('stream', 'left'): return chat('Hi', stream=True), 99 if step == 'stream' else rng.randrange(3)
    if step == 'loop': return chat.toolloop('Hi', max_steps=rng.randrange(1, 5)), rng.choice([1, 2, 99, 99])
    if step == 'parts': return chat.toolloop('Hi', max_steps=rng.randrange(1, 5), stream=True), rng.choice([1, 2, 99, 99])
    if step == 'structured': return chat.structured('Hi', note, retries=rng.randrange(2)), None
    if step == 'parse': return chat.parse('Hi', int, retries=rng.randrange(2)), None
    return chat('Hi', cb=lambda r: 1 // 0), None

def do(chat, step, rng, note):
    s, n = begin(chat, step, rng, note)
    if n is None: return s
    try:
        for i, o in enumerate(s):
            if i >= n: break
            if step == 'parts' and not isinstance(o, dict):
                for j, _ in enumerate(o):
                    if n < 99 and j == n: break
    finally: s.close()

async def ado(chat, step, rng, note):
    s, n = begin(chat, step, rng, note)
    if n is None: return await s
    try:
        i = 0
        async for o in s:
            if i >= n: break
            i += 1
            if step == 'parts' and not isinstance(o, dict):
                j = 0
                async for _ in o:
                    if n < 99 and j == n: break
                    j += 1
    finally: await s.close()

async def cancelled(course, ticks):
    "Run it, but cancel it after so many turns of the event loop"
    task = asyncio.ensure_future(course)
    for _ in range(ticks): await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return task.result()

# ---- what must hold

def refused(before, results, h):
    "What the history had to become where the API has refused its newest results: errors stand in their places"
    at = next((i for i, m in enumerate(before) if any(b in results for b in m['content'])), None)
    if at is None: return before
    told = {b['tool_use_id']: b['content'] for b in h[at]['content'] if b['type'] == 'tool_result'}
    assert all('could not be sent' in told[b['tool_use_id']] for b in results)
    content = [b | dict(content=told[b['tool_use_id']], is_error=True) if b in results else b for b in before[at]['content']]
    return [*before[:at], before[at] | dict(content=content), *before[at+1:]]

def check_call(chat, before, at, step, err, api, types):
    "What must hold after each call, whatever came of it; `at` is how much of the history it had to leave alone"
    check_history(chat.h, types, chat._dialog.unsent | {('text', 'tone')})
    if err and hasattr(err, 'results') and step != 'retry': before = refused(before, err.results, chat.h)
    if err and step not in ('loop', 'parts'): assert chat.h == before, 'a failed call has changed the history'
    elif not err and step not in ('left', 'loop', 'parts'): assert len(chat.h) > at, 'a turn is missing'
    assert chat.h[:at] == before[:at], 'what was said before has changed'
    assert not chat._busy, 'the chat is still busy'
    for m in (m for m in chat.h if m['role'] == 'assistant'):
        for n in re.findall(r'begin (\d+)', contents(m)):
            assert int(n) in api.whole | api.limited, f'reply {n} was cut, and taken for whole'
            assert re.search(rf'begin {n} [word ]*end', contents(m)), f'reply {n} is not whole'
    assert api.ran <= api.whole, f'tools were run for unfinished replies: {api.ran - api.whole}'

class Talk:
    "One conversation"
    def __init__(self, seed, is_async, done):
        self.rng, self.done, self.is_async = random.Random(seed), done, is_async
        self.api = Api(self.rng)
        self.sb = sb = Sandbox(self.api.reply, models=[mk_model(MODEL, max_input_tokens=200_000, max_tokens=64_000)])
        cls, cli = (AsyncChat, sb.aclient()) if is_async else (Chat, sb.client())
        self.tools = tools_of(self.api, is_async)
        self.chat, self.cli = cls(MODEL, cli, tools=self.tools, parallel=self.rng.random() < 0.5), cli

    def before(self, step):
        h = self.chat.h
        waits = len(h) - (bool(h) and (h[-1]['role'] == 'user' or self.chat._paused is not None)) # such a message may grow
        return deepcopy(h), self.chat._turns[-1].start if step == 'retry' and self.chat._turns else waits

    def reload(self):
        "Now and then the chat is saved, and another one goes on"
        if self.rng.random() > 0.1: return
        with TemporaryDirectory() as folder:
            self.chat.save(f'{folder}/chat')
            self.chat = type(self.chat).load(f'{folder}/chat', self.cli, tools=self.tools)

    def check(self, before, step, err):
        self.done[type(err).__name__ if err else 'fine'] += 1
        self.done['refused results'] += hasattr(err, 'results')
        self.done['calls'] += 1
        check_call(self.chat, *before, step, err, self.api, self.rng.random() < 0.02)
        odd = [m for r in self.sb.requests if r.instead and any(k in (m := r.instead.message) for k in OURS)]
        assert all('tone: Extra inputs' in m for m in odd) and (len(odd) < 2 or self.is_async), odd # or cancelled

    def go(self):
        for step in self.rng.choices(STEPS, k=self.rng.randrange(2, 8)):
            self.reload()
            before, err = self.before(step), None
            try: do(self.chat, step, self.rng, self.tools[0])
            except ERRORS as e: err = e
            self.check(before, step, err)
        self.api.calm = True
        for n in range(2): # The first call may find that the newest results cannot be sent, such as a file that is not there
            before, err = self.before('call'), None
            try: self.chat('Still there?')
            except ERRORS as e: err = e
            self.check(before, 'call', err)
            if err is None: break
        assert err is None and (n == 0 or 'could not be sent' in str(self.chat.h)), 'the chat cannot go on'

    async def ago(self):
        for step in self.rng.choices(STEPS, k=self.rng.randrange(2, 8)):
            self.reload()
            before, err, course = self.before(step), None, ado(self.chat, step, self.rng, self.tools[0])
            try: await (cancelled(course, self.rng.randrange(self.rng.choice([2, 5, 10, 40]))) if self.rng.random() < 0.25 else course)
            except ERRORS as e: err = e
            self.check(before, step, err)
        self.api.calm = True
        for n in range(2):
            before, err = self.before('call'), None
            try: await self.chat('Still there?')
            except ERRORS as e: err = e
            self.check(before, 'call', err)
            if err is None: break
        assert err is None and (n == 0 or 'could not be sent' in str(self.chat.h)), 'the chat cannot go on'

@pytest.mark.parametrize('part', range(PARTS))
def test_every_turn_happens_whole_or_not_at_all(part):
    done, seed = Counter(), (SEED + part) * 1_000_000
    print(f'LLMCHAT_SEED={SEED}')
    while done['calls'] < CALLS / PARTS:
        seed += 1
        talk = Talk(seed, seed % 2 == 0, done)
        try: asyncio.run(talk.ago()) if talk.is_async else talk.go()
        except BaseException as e:
            e.add_note(f'conversation {seed}, LLMCHAT_SEED={SEED}')
            raise
    print(dict(done.most_common()))
    assert min(done[k] for k in ('fine', 'APIConnectionError', 'CancelledError', 'OverloadedError')) > CALLS / PARTS // 400
    assert not LARGE or done['refused results']

@both
@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('error', [StopIteration, StopAsyncIteration])
def test_what_ends_iterators_ends_no_turn(way, stream, error):
    "A callback or a tool lets slip what `next` and `anext` raise: it is an error like others, and no result"
    def slip(*args): raise error(7)
    def tool(): "Slips"; raise error(7)
    chat = way.Chat(MODEL, way.sdk(Sandbox(['One', 'Two', [tool_use('tool')], 'Three'])))
    ask = way.read if stream else way.call
    with pytest.raises((error, RuntimeError)) as e: ask(chat, 'Hi', cb=slip)
    assert e.type is error or isinstance(e.value.__cause__, error)
    assert chat.h == [] and not chat._busy
    ask(chat, 'Hi')
    ask(chat, 'Call it', tools=[tool])
    assert chat.last[1]['content'][0]['is_error']
    check_history(chat.h)
