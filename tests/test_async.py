"One implementation, two drivers: the same conversations both ways; then what only async has: overlap, cancellation, loops"
import asyncio, contextvars, gc, json, logging, os, random, subprocess, sys, threading, time, warnings
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic, anyio, httpx2, pytest

from common import LARGE, MODEL, check_history, check_request, no_complaints, server, turn # noqa: F401
from conversations import TALKS, TWO, AsyncHeld, Held, ManyLoops, Trio, hold
from llmchat import AsyncChat, AsyncClient, Chat, Client, Sandbox, contents, mk_tool
from llmchat.engine.model_info import infos
from llmchat.sandbox.server import Cut, Fail, mk_events, mk_reply, sse, tool_use
from warm import program

# ---- the same conversations

def logged(caplog):
    "What went to the log since the last look, in no order"
    res = sorted((r.getMessage(), repr(r.exc_info and r.exc_info[1])) for r in caplog.records if r.name == 'llmchat')
    caplog.clear()
    return res

@pytest.fixture(scope='module')
def by_sync(): return {}

@pytest.mark.parametrize('way', [AsyncHeld, ManyLoops, Trio], ids=lambda w: w.__name__)
@pytest.mark.parametrize('name', TALKS)
def test_both_drivers_give_the_same(name, way, by_sync, caplog):
    if way is Trio: pytest.importorskip('trio')
    caplog.set_level(logging.INFO, 'llmchat')
    if name not in by_sync: by_sync[name] = hold(TALKS[name], Held)[0], logged(caplog)
    steps, log = by_sync[name]
    other, *_ = hold(TALKS[name], way)
    for mine, theirs in zip(other, steps, strict=True):
        for k in mine: assert mine[k] == theirs[k], k
    assert logged(caplog) == log

@pytest.mark.parametrize('name', TALKS)
def test_histories_and_requests_are_acceptable_throughout(name):
    steps, chat, sb = hold(TALKS[name], Held)
    for s in steps: check_history(s['h'], unsent=chat._dialog.unsent)
    for r in sb.requests:
        if r.path != '/v1/messages' or (r.instead and 'Extra inputs' in r.instead.message): continue
        check_request(r.body)
        if not chat.settings.get('prefill'): check_history([m for m in r.body['messages'] if m['content'] != 'On '])

def test_the_steps_do_what_their_names_say():
    shapes = {k: ''.join(m['role'][0] for m in hold(TALKS[k], Held)[1].h) for k in ('loop', 'loop left early', 'paused', 'parse in vain', 'cut streams')}
    assert shapes == {'loop': 'uauauaua', 'loop left early': 'uauaua', 'paused': 'uaua', 'parse in vain': 'ua', 'cut streams': 'ua'}

# ---- overlap

def test_tools_overlap_and_results_keep_their_order():
    all_run = threading.Barrier(8)
    async def fetch(n: int) -> int:
        await asyncio.to_thread(all_run.wait)
        return n
    def read(n: int) -> int:
        all_run.wait()
        return n
    eight = [tool_use('fetch' if n % 2 else 'read', n=n) for n in range(8)]
    achat = AsyncChat(MODEL, Sandbox([eight]).aclient(), tools=[fetch, read])
    chat = Chat(MODEL, Sandbox([eight]).client(), tools=[fetch, read], parallel=True)
    asyncio.run(achat('Hi'))
    chat('Hi')
    for c in (chat, achat): assert [b['content'] for b in c.last[1]['content']] == list('01234567')

class Overlap:
    "Tools that note how many of them run at once; each waits until as many as given do"
    def __init__(self, n=1):
        self.now, self.most, self.order, self.lock, self.together = 0, 0, [], threading.Lock(), threading.Barrier(n)
    def enter(self, n):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.order.append(n)
    def leave(self):
        with self.lock: self.now -= 1
    async def task(self, n: int):
        self.enter(n)
        await asyncio.to_thread(self.together.wait)
        await asyncio.sleep(0.01)
        self.leave()
    def thread(self, n: int):
        self.enter(n)
        self.together.wait()
        time.sleep(0.01)
        self.leave()

@pytest.mark.parametrize('is_async', [False, True])
@pytest.mark.parametrize('where', ['chat', 'call', 'tool', 'neither'])
def test_tools_that_must_not_overlap_do_not(where, is_async):
    o = Overlap(6 if where == 'neither' else 1)
    tools = [mk_tool(f, parallel=False) if where == 'tool' else f for f in (o.task, o.thread)]
    kw = dict(parallel=False) if where == 'chat' else {} if is_async else dict(parallel=True)
    script = [[tool_use('thread' if n % 2 else 'task', n=n) for n in range(6)]]
    chat = (AsyncChat if is_async else Chat)(MODEL, Sandbox(script).aclient() if is_async else Sandbox(script).client(), tools=tools, **kw)
    r = chat('Hi', **(dict(parallel=False) if where == 'call' else {}))
    if is_async: asyncio.run(r)
    if where == 'neither': assert o.most == 6
    else: assert (o.most, o.order) == (1, [*range(6)])

def test_sync_tools_are_not_parallel_unless_asked():
    o = Overlap()
    Chat(MODEL, Sandbox([[tool_use('thread', n=n) for n in range(4)]]).client(), tools=[o.thread])('Hi')
    assert (o.most, o.order) == (1, [0, 1, 2, 3])

var = contextvars.ContextVar('var', default='unset')
def seen() -> str: return var.get()
async def aseen() -> str: return var.get()

def test_tools_see_the_context_of_the_caller():
    script = [[tool_use('seen'), tool_use('aseen')]]
    async def go():
        var.set('async')
        chat = AsyncChat(MODEL, Sandbox(script).aclient(), tools=[seen, aseen, mk_tool(seen, timeout=999)][:2])
        await chat('Hi')
        return chat
    def sync(**kw):
        var.set('sync')
        chat = Chat(MODEL, Sandbox(script).client(), tools=[mk_tool(seen, timeout=999), aseen], **kw)
        chat('Hi')
        return chat
    for word, chat in [('async', asyncio.run(go())), *(('sync', contextvars.copy_context().run(lambda: sync(**kw))) for kw in ({}, dict(parallel=True)))]:
        assert [b['content'] for b in chat.last[1]['content']] == [word, word]

def test_one_failing_tool_fails_alone():
    async def good():
        await asyncio.sleep(0.01)
        return 'good'
    async def cancelled():
        task = asyncio.create_task(asyncio.sleep(9))
        task.cancel()
        await task
    def bad(): raise OSError('bad')
    script = [[tool_use(n) for n in ('good', 'bad', 'cancelled', 'nope', 'good')]]
    achat = AsyncChat(MODEL, Sandbox(script).aclient(), tools=[good, bad, cancelled])
    chat = Chat(MODEL, Sandbox(script).client(), tools=[good, bad, cancelled], parallel=True)
    asyncio.run(achat('Hi'))
    chat('Hi')
    assert achat.h == chat.h
    assert [b.get('is_error', False) for b in chat.last[1]['content']] == [False, True, True, True, False]

def test_an_error_of_approve_ends_the_turn_with_no_tool_left_running():
    ended = []
    async def slow():
        try: await asyncio.sleep(60)
        finally: ended.append(True)
    async def approve(call):
        if call['id'].endswith('1'):
            await asyncio.sleep(0.01)
            raise PermissionError('nobody to ask')
        return True
    chat = AsyncChat(MODEL, Sandbox([[tool_use('slow'), tool_use('slow')], 'Fine.']).aclient(), tools=[slow])
    async def go():
        with pytest.raises(PermissionError): await chat('Hi', approve=approve)
        assert ended == [True] and chat.h == []
        return contents(await chat('Hi'))
    assert asyncio.run(go()) == 'Fine.'

# ---- one chat, many chats

def test_one_chat_refuses_a_second_turn_and_keeps_the_first():
    refused = asyncio.Event()
    async def late(body):
        await refused.wait()
        return 'First.'
    async def go():
        chat = AsyncChat(MODEL, Sandbox(late).aclient())
        others = [lambda: chat('b'), lambda: chat('b', stream=True).run(), lambda: chat.toolloop('b').run(), lambda: chat.parse('b', int), lambda: chat.structured('b', seen)]
        turn = asyncio.create_task(chat('a'))
        while not chat._busy: await asyncio.sleep(0)
        rest = await asyncio.gather(*(f() for f in others), return_exceptions=True)
        refused.set()
        assert contents(await turn) == 'First.' and [m['content'] for m in chat.h if m['role'] == 'user'] == ['a']
        assert all(isinstance(e, RuntimeError) and 'in the middle of a turn' in str(e) for e in rest)
        s = chat('b', stream=True)
        async with s:
            async for _ in s:
                with pytest.raises(RuntimeError, match='in the middle of a turn'): await chat('c')
        assert len(chat.h) == 4
    asyncio.run(go())

def test_many_chats_share_a_client():
    async def echo(body):
        await asyncio.sleep(0)
        return ' '.join(m['content'] for m in body['messages'] if m['role'] == 'user')
    async def talk(chat, n):
        for i in range(5): r = await chat(f'{n}.{i}')
        return contents(r)
    async def go():
        c = AsyncClient(MODEL, Sandbox(echo).aclient())
        chats = [AsyncChat(cli=c) for _ in range(50)]
        replies = await asyncio.gather(*map(talk, chats, range(50)))
        assert replies == [' '.join(f'{n}.{i}' for i in range(5)) for n in range(50)]
        assert c.use == sum((chat.use for chat in chats[1:]), chats[0].use)
    asyncio.run(go())

# ---- left early

async def ticks(n=20):
    "Let the event loop do what it has to do: so many times, however long it takes"
    for _ in range(n): await asyncio.sleep(0)

@pytest.mark.parametrize('held', [False, True])
@pytest.mark.parametrize('how', ['break', 'error', 'return'])
def test_leaving_a_stream_ends_the_turn_there(how, held):
    async def go():
        sb, responses = Sandbox(['one two three', 'Next.']), []
        chat = AsyncChat(MODEL, watched(sb, responses))
        s = chat('Hi', stream=True)
        async def leave(s):
            async for _ in s:
                if how == 'error': raise ZeroDivisionError
                if how == 'return': return
                break
        try: await leave(s if held else chat('Hi', stream=True))
        except ZeroDivisionError: pass
        assert chat.h == [] and chat.use.total > 0
        assert contents(await chat('Hi')) == 'Next.'
        await ticks()
        assert all(r.is_closed for r in responses)
        if held:
            with pytest.raises(ValueError, match='before its end'): aiter(s)
    with no_complaints(): asyncio.run(go())

@pytest.mark.parametrize('inner', [0, 1])
def test_leaving_a_loop_ends_it_there(inner):
    async def go():
        sb, responses = Sandbox([TWO, TWO, 'one two', 'Next.']), []
        chat = AsyncChat(MODEL, watched(sb, responses), tools=[sums, asums])
        n = 0
        async for o in chat.toolloop('Hi', stream=True):
            if inner and n == 2:
                async for _ in o: break
                break
            n += 1
            if n == 3: break
        check_history(chat.h)
        assert len(chat.h) == 3 and len(sb.requests) == 1 + inner
        await chat()
        await ticks()
        assert all(r.is_closed for r in responses)
    def sums(a: int, b: int): return a + b
    async def asums(a: int, b: int): return a + b
    with no_complaints(): asyncio.run(go())

# ---- cancellation

def watched(sb, responses):
    "A client of the sandbox; the responses that it gets are noted"
    async def note(response): responses.append(response)
    cli = sb.aclient()
    cli._client.event_hooks = dict(response=[note])
    return cli

CANCELS, SEED = int(os.environ.get('LLMCHAT_CANCELS', 1000 if LARGE else 300)), int(os.environ.get('LLMCHAT_SEED', 1))

class Scene:
    "A chat, and something random to do with it"
    def __init__(self):
        self.sb, self.responses, self.running, self.late = Sandbox(self.reply), [], Counter(), threading.Event()
        self.cli, self.tools = watched(self.sb, self.responses), [mk_tool(f) for f in (self.task, self.patient, self.thread)]

    def begin(self, rng):
        self.rng, self.ends, self.chat = rng, False, AsyncChat(MODEL, self.cli, tools=self.tools)
        self.responses.clear()
        return rng.choice([self.call, self.stream, self.loop, self.parts, self.structured, self.parse])

    def reply(self, body):
        rng = self.rng
        if self.ends: return 'All is well.'
        if 'output_config' in body: return '{"value":1}'
        if body.get('tool_choice', {}).get('type') in ('any', 'tool'): return [tool_use('task', n=3)]
        calls = [tool_use(rng.choice(['task', 'patient', 'thread']), n=rng.randrange(4)) for _ in range(rng.randrange(1, 4))]
        return rng.choice(['Some words to be streamed.', [*calls], ['With words.', *calls], Fail(529), Cut('cut off here', events=5)])

    async def task(self, n: int):
        self.running['task'] += 1
        try:
            for _ in range(n): await asyncio.sleep(0)
        finally: self.running['task'] -= 1
        return n

    async def patient(self, n: int):
        "Takes its time to clean up."
        self.running['patient'] += 1
        try: await asyncio.sleep(0.001 * n)
        finally:
            with anyio.CancelScope(shield=True): await asyncio.sleep(0)
            self.running['patient'] -= 1

    def thread(self, n: int): self.late.wait(0.0005 * n)

    async def call(self): await self.chat('Hi')
    async def stream(self):
        async for _ in self.chat('Hi', stream=True): await asyncio.sleep(0)
    async def loop(self):
        async for _ in self.chat.toolloop('Hi', max_steps=4): await asyncio.sleep(0)
    async def parts(self):
        async for o in self.chat.toolloop('Hi', max_steps=4, stream=True):
            if isinstance(o, dict): continue
            async for _ in o: await asyncio.sleep(0)
    async def structured(self): await self.chat.structured('Hi', self.tools[0], retries=1)
    async def parse(self): await self.chat.parse('Hi', int)

async def interrupted(rng, do, ticks):
    "Do it, but cancel it after so many turns of the event loop; was it cancelled?"
    task = asyncio.ensure_future(do())
    how = rng.choice(['cancel', 'scope', 'twice'])
    if how == 'scope':
        task.cancel()
        await asyncio.wait([task])
        with anyio.CancelScope() as scope:
            async def later():
                for _ in range(ticks): await asyncio.sleep(0)
                scope.cancel()
            other = asyncio.ensure_future(later())
            await do()
        other.cancel()
        await asyncio.wait([other])
        return scope.cancelled_caught
    for _ in range(ticks): await asyncio.sleep(0)
    task.cancel()
    if how == 'twice': asyncio.get_running_loop().call_soon(task.cancel)
    await asyncio.wait([task])
    if not task.cancelled() and task.exception(): raise task.exception()
    return task.cancelled()

async def cancel_once(scene, seed):
    rng = random.Random(seed)
    do = scene.begin(rng)
    chat, cut = scene.chat, False
    for _ in range(rng.randrange(2)):
        with suppress(anthropic.APIError, ValueError): await do()
    before = list(chat.h)
    with suppress(anthropic.APIError, ValueError): cut = await interrupted(rng, do, rng.randrange(rng.choice([8, 16, 40])))
    assert not +scene.running, 'a tool is still running'
    check_history(chat.h, types=seed % 20 == 0)
    if cut and do not in (scene.loop, scene.parts): assert chat.h == before
    else: assert chat.h[:max(0, len(before) - 1)] == before[:-1]
    scene.ends = True
    assert contents(await chat('Still there?')) == 'All is well.'
    check_history(chat.h, types=False)
    for _ in range(3): await asyncio.sleep(0)
    assert all(r.is_closed for r in scene.responses), 'a connection is open'
    return cut

def test_cancelled_anywhere_a_chat_is_as_it_was():
    async def go():
        scene, done, seed = Scene(), Counter(), SEED * 1_000_000
        while done[True] < CANCELS:
            seed += 1
            try: done[await cancel_once(scene, seed)] += 1
            except BaseException as e:
                e.add_note(f'seed {seed}, LLMCHAT_SEED={SEED}')
                raise
        return done
    with no_complaints(): done = asyncio.run(go())
    print(f'LLMCHAT_SEED={SEED}: {done[True]} cancelled on their way, {done[False]} were done before')

def test_a_sync_tool_that_outlives_its_turn_does_no_harm():
    started, go_on, ended = (threading.Event() for _ in range(3))
    def stuck():
        started.set()
        go_on.wait()
        ended.set()
    async def go():
        chat = AsyncChat(MODEL, Sandbox([[tool_use('stuck')], 'Fine.']).aclient(), tools=[stuck])
        task = asyncio.create_task(chat('Hi'))
        while not started.is_set(): await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError): await task
        assert chat.h == [] and contents(await chat('Hi')) == 'Fine.'
        go_on.set()
        while not ended.is_set(): await asyncio.sleep(0.001)
        assert len(chat.h) == 2
    with no_complaints(): asyncio.run(go())

# ---- event loops and real connections

@pytest.mark.parametrize('how', ['cancel', 'timeout', 'break', 'close'])
def test_nothing_more_is_read_from_a_stream_that_is_left(how, server):
    async def go():
        chat = AsyncChat(MODEL, **server.at)
        s = chat('For ever', stream=True)
        async def read():
            n = 0
            async for _ in s:
                n += 1
                if n > 3 and how == 'close': return await s.close()
                if n > 3 and how == 'break': break
        task = asyncio.create_task(read())
        while server.n == 0: await asyncio.sleep(0.001)
        if how == 'timeout':
            with pytest.raises(TimeoutError): await asyncio.wait_for(task, 0.05)
        elif how == 'cancel':
            task.cancel()
            with pytest.raises(asyncio.CancelledError): await task
        else: await task
        while not server.gone.is_set(): await asyncio.sleep(0.001)
        assert chat.h == [] and await turn(chat) == 'Reply 3'
    with no_complaints(): asyncio.run(go())

def test_the_sync_driver_closes_too(server):
    with Chat(MODEL, **server.at) as chat:
        for _ in chat('For ever', stream=True): break
        assert server.gone.wait() and chat.h == []
        assert contents(chat('Hi')) == 'Reply 2'

def test_ipython_awaits_at_the_top(tmp_path):
    code = f"""
from llmchat import AsyncChat, Sandbox, contents
chat = AsyncChat({MODEL!r}, Sandbox(['one two', 'three']).aclient())
pieces = [p async for p in chat('Hi', stream=True)]
r = await chat('Hi')
print(pieces, contents(r), len(chat.h))"""
    env = os.environ | dict(IPYTHONDIR=str(tmp_path), PYTHONWARNINGS='')
    res = subprocess.run([program('python'), '-m', 'IPython', '--no-banner', '-c', code], capture_output=True, text=True, env=env)
    assert res.stdout.strip() == "['one', ' two'] three 4", res.stderr

# ---- one course at a time, and what is left of others

def test_what_a_turn_builds_on_stays_until_it_ends():
    async def go():
        tried = asyncio.Event()
        async def look():
            await tried.wait()
            return 'x'
        chat = AsyncChat(MODEL, Sandbox(['One', [tool_use('look')], 'Three']).aclient(), tools=[look])
        await chat('Hi')
        turn = asyncio.create_task(chat('Look'))
        while not chat._busy: await asyncio.sleep(0)
        for change in (chat.undo, lambda: chat('And?'), chat.retry):
            with pytest.raises(RuntimeError, match='in the middle of a turn'):
                if asyncio.iscoroutine(res := change()): await res
        tried.set()
        await turn
        assert contents(await chat()) == 'Three'
        check_history(chat.h)
        return chat
    chat = asyncio.run(go())
    assert len(chat.undo()) == 1 and len(chat.h) == 5

def test_a_loop_has_its_chat_for_itself():
    "Between its turns, too, and whoever breaks it off gives the chat back"
    async def look(): return 'x'
    script = lambda body: [tool_use('look')] if len(body['messages']) < 5 else 'Done.'
    async def go():
        chat = AsyncChat(MODEL, Sandbox(script).aclient(), tools=[look])
        refused = 0
        async for o in chat.toolloop('Go'):
            with pytest.raises(RuntimeError, match='in the middle of a turn'): await chat('Me too')
            with pytest.raises(RuntimeError, match='in the middle of a turn'): chat.undo()
            refused += 1
        assert refused == 5 and len(chat.h) == 6
        async for o in chat.toolloop('Again'): break
        chat.undo()
        await chat('Hi')
        check_history(chat.h)
    asyncio.run(go())
    chat = Chat(MODEL, Sandbox(['One']).client())
    loop = iter(chat.toolloop('Go'))
    next(loop)
    loop.close()
    chat.undo()

def test_retry_is_of_the_turn_that_is_last_when_it_begins():
    async def go():
        chat = AsyncChat(MODEL, Sandbox(['1', '2', '3', '4']).aclient())
        await chat('One')
        again = chat.retry()
        await chat('Two')
        await again
        assert [m['content'] if isinstance(m['content'], str) else m['content'][0]['text'] for m in chat.h] == ['One', '1', 'Two', '3']
        again = chat.retry()
        chat.undo()
        chat.undo()
        with pytest.raises(ValueError, match='no turn of this chat'): await again
        assert chat.h == [] and not chat._busy
    asyncio.run(go())

def test_a_tool_whose_task_is_cancelled_fails_alone():
    "By another, or by itself; also one after another in the same task"
    async def go(parallel):
        jobs = {}
        async def crawl(n: int):
            jobs[n] = asyncio.current_task()
            if n == 1: asyncio.current_task().cancel()
            await (asyncio.Event().wait() if n else asyncio.sleep(0))
            return n
        tool = mk_tool(crawl, parallel=parallel)
        chat = AsyncChat(MODEL, Sandbox([[tool_use('crawl', n=n) for n in range(3)], 'Done.']).aclient(), tools=[tool])
        turn = asyncio.create_task(chat('Go'))
        while 2 not in jobs: await asyncio.sleep(0)
        jobs[2].cancel()
        await turn
        results = chat.last[1]['content']
        assert [b.get('is_error', False) for b in results] == [False, True, True] and results[0]['content'] == '0'
        assert contents(await chat()) == 'Done.'
    for parallel in (True, False): asyncio.run(go(parallel))

def test_any_number_of_sync_tools_run_side_by_side():
    n = 60
    barrier = threading.Barrier(n)
    def meet(): barrier.wait(); return 'met'
    chat = AsyncChat(MODEL, Sandbox([[tool_use('meet') for _ in range(n)]]).aclient(), tools=[meet])
    asyncio.run(chat('Meet'))
    assert {b['content'] for b in chat.last[1]['content']} == {'met'}

def test_a_tool_that_hangs_does_not_keep_the_program():
    code = f"""
import asyncio, threading
from llmchat import AsyncChat, Sandbox, mk_tool
from llmchat.sandbox.server import tool_use
def hang(): threading.Event().wait()
chat = AsyncChat({MODEL!r}, Sandbox([[tool_use('hang')]]).aclient(), tools=[mk_tool(hang, timeout=.1)])
asyncio.run(chat('Hi'))
print(chat.last[1]['content'][0]['is_error'])
"""
    res = subprocess.run([program('python'), '-c', code], capture_output=True, text=True)
    assert (res.returncode, res.stdout, res.stderr) == (0, 'True\n', '')

def test_pieces_one_by_one():
    async def go():
        s = AsyncChat(MODEL, Sandbox(['One two']).aclient())('Hi', stream=True)
        it = aiter(s)
        assert [await anext(it), await anext(it, None)] == ['One', ' two']
        return await anext(aiter(AsyncChat(MODEL, Sandbox(['One two']).aclient())('Hi', stream=True)))
    with no_complaints(): assert asyncio.run(go()) == 'One'

def test_chats_that_share_connections_work_in_each_event_loop(server):
    c = AsyncClient(MODEL, **server.at)
    for _ in range(2):
        asyncio.run(turn(AsyncChat(cli=c)))
        asyncio.run(turn(AsyncChat(cli=c, timeout=5)))
    given = anthropic.AsyncAnthropic(**server.at)
    async def talk(last=False):
        await turn(AsyncChat(MODEL, given))
        if last: await given.close()
    with no_complaints():
        asyncio.run(talk(True))
        for _ in range(2): asyncio.run(talk())

def test_a_sync_call_waits_for_no_event_loop_that_it_holds_up():
    sb = Sandbox(lambda body: '{"value": 1}')
    ac, c = AsyncClient(MODEL, sb.aclient()), Client(MODEL, sb.client())
    infos.clear()
    async def go():
        task = asyncio.create_task(ac.parse('x', int))
        await asyncio.sleep(0)
        assert c.parse('y', int) == 1
        return await task
    assert asyncio.run(go()) == 1

def test_an_async_callback_is_awaited():
    told = []
    async def cb(r):
        await asyncio.sleep(0)
        told.append(contents(r))
    asyncio.run(AsyncChat(MODEL, Sandbox(['One']).aclient())('Hi', cb=cb))
    Chat(MODEL, Sandbox(['Two']).client())('Hi', cb=cb)
    assert told == ['One', 'Two']

def test_the_program_ends_as_tools_begin():
    async def look(): await asyncio.Event().wait()
    async def few(n):
        turn = asyncio.create_task(AsyncChat(MODEL, Sandbox([[tool_use('look')] * 3]).aclient(), tools=[look])('Look'))
        await ticks(n)
        assert not turn.done()
    with no_complaints():
        for n in range(40): asyncio.run(few(n))

@pytest.mark.parametrize('parts', [False, True])
def test_a_stream_that_is_left_at_the_end_of_the_program(server, parts):
    async def go():
        chat = AsyncChat(MODEL, max_retries=0, **{k: v for k, v in server.at.items() if k != 'max_retries'})
        async def stop():
            asyncio.current_task().cancel()
            await asyncio.sleep(0)
        if parts:
            async for o in chat.toolloop('For ever', stream=True):
                async for _ in o: await stop()
        async for _ in chat('For ever', stream=True): await stop()
    with no_complaints():
        with pytest.raises(asyncio.CancelledError): asyncio.run(go())
