"Reported faults: chats locked for ever, keys in errors, streams that are awaited, mistakes that say so"
import asyncio, base64, gc, os, pickle, sys
from itertools import count

import anthropic, httpx2, pytest

import llmchat
from common import LARGE, MODEL, Async, Sync, both, check_history, texts_of
from llmchat import AsyncChat, Chat, Sandbox, contents
from llmchat.sandbox.server import tool_use

# ---- never locked

PACKAGE = os.path.dirname(llmchat.__file__)

def ours(path):
    "Is it a module of the package, the sandbox aside?"
    return path.startswith(PACKAGE + os.sep) and not path.startswith(os.path.join(PACKAGE, 'sandbox'))

class Interrupt:
    "Raises KeyboardInterrupt at the n-th line of the package that runs"
    def __init__(self, n): self.n, self.seen = n, 0
    def call(self, frame, what, arg): return self.line if ours(frame.f_code.co_filename) else None
    def line(self, frame, what, arg):
        if what == 'line':
            self.seen += 1
            if self.seen == self.n:
                self.at = f'{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}'
                raise KeyboardInterrupt
        return self.line
    def __enter__(self): sys.settrace(self.call)
    def __exit__(self, kind, *_): sys.settrace(None)

def add(a: int, b: int) -> int:
    "Add."
    return a + b

def looped(n):
    "A streamed loop that is interrupted at the n-th line; where that was, None: it has ended before"
    calls = ['One.', tool_use('add', a=1, b=2)]
    script = lambda body: calls if len(body['messages']) == 1 and 'Go on' not in str(body) else 'All is well.'
    chat, interrupt = Chat(MODEL, Sandbox(script).client(), tools=[add]), Interrupt(n)
    try:
        with interrupt:
            for o in chat.toolloop('Hi', stream=True):
                if not isinstance(o, dict):
                    for _ in o: pass
    except KeyboardInterrupt as e: err = e # what it holds stays, as in a notebook
    check_history(chat.h)
    try: assert contents(chat('Go on.')) == 'All is well.'
    except RuntimeError as e: return interrupt.at, e
    check_history(chat.h)
    return getattr(interrupt, 'at', None), None

def test_ctrl_c_at_every_line_leaves_a_chat_that_goes_on():
    looped(0)
    lines, stuck = 0, []
    for n in count(1, 1 if LARGE else 7):
        at, err = looped(n)
        if at is None: break
        lines += 1
        if err: stuck.append((at, err))
    assert lines > 100 and not stuck, stuck

# ---- a stream that somebody else holds

class Dropped:
    "A stream or loop that is begun and then out of reach, as a web server leaves it, until its cycle is collected"
    def __init__(self, stream): self.me, self.stream = self, stream

@pytest.fixture
def no_gc():
    gc.disable()
    yield
    gc.enable()

HOW = dict(stream=lambda c: c('Hi', stream=True), retry=lambda c: c.retry(stream=True), loop=lambda c: c.toolloop('Hi'),
    parts=lambda c: c.toolloop('Hi', stream=True))
def script(body):
    return 'After.' if 'Now?' in str(body['messages'][-1]) else ['Two words.', tool_use('add', a=1, b=2)]

@pytest.mark.parametrize('how', HOW)
def test_close_ends_a_turn_whose_stream_is_out_of_reach(how, no_gc):
    "The chat goes on at once, and the connection is closed"
    sb, responses = Sandbox(script), []
    chat = Chat(MODEL, cli := sb.client(), tools=[add])
    chat('Before')
    cli._client.event_hooks = dict(response=[responses.append])
    s = Dropped(HOW[how](chat))
    s.pieces = iter(s.stream)
    next(s.pieces)
    del s
    with pytest.raises(RuntimeError, match='in the middle of a turn'): chat('Hi')
    chat.close()
    check_history(chat.h)
    assert contents(chat('Now?')) == 'After.' and all(r.is_closed for r in responses)
    chat.close()
    gc.collect()
    check_history(chat.h)

@pytest.mark.parametrize('how', HOW)
def test_so_it_does_awaited(how, no_gc):
    async def go():
        sb, responses = Sandbox(script), []
        chat = AsyncChat(MODEL, cli := sb.aclient(), tools=[add])
        await chat('Before')
        async def note(r): responses.append(r)
        cli._client.event_hooks = dict(response=[note])
        s = Dropped(HOW[how](chat))
        s.pieces = aiter(s.stream)
        await anext(s.pieces)
        del s
        with pytest.raises(RuntimeError, match='in the middle of a turn'): await chat('Hi')
        await chat.close()
        check_history(chat.h)
        assert contents(await chat('Now?')) == 'After.' and all(r.is_closed for r in responses)
        gc.collect()
        check_history(chat.h)
    asyncio.run(go())

def test_who_reads_on_after_close_is_told():
    "And a plain call in another task ends with the same words, not with no reply"
    chat = Chat(MODEL, Sandbox(['One two three', 'Next.']).client())
    pieces = iter(chat('Hi', stream=True))
    next(pieces)
    chat.close()
    with pytest.raises(RuntimeError, match='closed in the middle'): next(pieces)
    assert chat.h == [] and contents(chat('Hi')) == 'Next.'
    async def late(body):
        await asyncio.sleep(.01)
        return 'Late.'
    async def go():
        chat = AsyncChat(MODEL, Sandbox(late).aclient())
        turn = asyncio.create_task(chat('Hi'))
        while not chat._busy: await asyncio.sleep(0)
        await chat.close()
        assert chat.h == [] and contents(await chat('Again')) == 'Late.'
        with pytest.raises(RuntimeError, match='closed in the middle'): await turn
        assert len(chat.h) == 2
    asyncio.run(go())

@both
def test_of_calls_at_once_one_has_the_chat(way):
    "A stream that is not begun holds nothing; whoever is refused takes nothing from the one that has it"
    chat = way.Chat(MODEL, way.sdk(Sandbox(lambda body: 'Fine.')))
    streams = [chat('Hi', stream=True) for _ in range(3)]
    way.call(chat, 'First')
    assert chat._busy is None and not chat._at_work
    for s in streams: way.leave(s, 'break')
    assert chat._busy is None and not chat._at_work
    fork = chat.fork()
    assert fork._at_work is not chat._at_work

# ---- streams, with and without await

def asks(obj, **kw):
    "Ways to a stream"
    ways = dict(text=lambda: obj('Hi', stream=True, **kw))
    if hasattr(obj, 'h'):
        ways |= dict(loop=lambda: obj.toolloop('Hi', **kw), parts=lambda: obj.toolloop('Hi', stream=True, **kw))
    return ways

async def pieces_of(s):
    "All that a stream gives, of its parts as well"
    return [[p async for p in o] if hasattr(o, '__aiter__') else o async for o in s]

@pytest.mark.parametrize('way', ['text', 'loop', 'parts'])
@pytest.mark.parametrize('cls', [AsyncChat, llmchat.AsyncClient])
def test_a_stream_may_be_awaited_first(cls, way):
    "Both forms give the same; `await` sends the one request, and a second `await` nothing"
    async def go(awaits):
        obj = cls(MODEL, (sb := Sandbox(['One two three.'])).aclient())
        if way not in asks(obj): return
        s = asks(obj)[way]()
        for _ in range(awaits): assert await s is s
        assert len(sb.requests) == bool(awaits)
        seen = await pieces_of(s)
        assert len(sb.requests) == 1 and s.value
        return seen
    seen = [asyncio.run(go(n)) for n in range(3)]
    assert seen[0] == seen[1] == seen[2]

def test_await_takes_no_piece_and_waits_for_none():
    "The request is sent, and nothing more: thinking or a tool call may take minutes"
    async def go():
        chat = AsyncChat(MODEL, Sandbox(script).aclient(), tools=[add])
        s = await chat('Hi', stream=True)
        assert chat.h == [] and chat._busy is not None
        assert [p async for p in s] == ['Two', ' words.'] and len(chat.h) == 3
        for flag in (False, True):
            r = await chat('Now?', stream=flag)
            if flag: assert [p async for p in r] == ['After.']
            assert contents(r.value if flag else r) == 'After.'
    asyncio.run(go())

@pytest.mark.parametrize('way', ['text', 'loop', 'parts'])
def test_errors_of_the_request_are_raised_by_await_or_by_the_first_step(way):
    async def go():
        chat = AsyncChat(MODEL, Sandbox(lambda body: llmchat.sandbox.server.Fail(400, 'no')).aclient(max_retries=0))
        s = asks(chat)[way]()
        with pytest.raises(anthropic.BadRequestError): await s
        with pytest.raises(ValueError, match='left, or broken off'): s.value
        with pytest.raises(anthropic.BadRequestError): await pieces_of(asks(chat)[way]())
        assert chat.h == [] and chat._busy is None
        asyncio.run(go())

@pytest.mark.parametrize('way', ['text', 'loop', 'parts'])
def test_an_awaited_stream_that_nobody_reads(way, no_gc):
    "Dropped, shown, closed, held by async with: the chat is free at once, and the connection is closed"
    async def go():
        responses = []
        async def note(r): responses.append(r)
        chat = AsyncChat(MODEL, cli := Sandbox(lambda body: 'One two three.').aclient())
        cli._client.event_hooks = dict(response=[note])
        s = await asks(chat)[way]()
        with pytest.raises(RuntimeError, match='in the middle of a turn'): await chat('Hi')
        del s
        assert chat._busy is None
        await (await asks(chat)[way]()).close()
        assert chat._busy is None
        async with await asks(chat)[way](): assert chat._busy is not None
        async with asks(chat)[way]() as s: await s
        assert chat._busy is None
        await asyncio.wait_for(asks(chat)[way](), 9)
        await (await asks(chat)[way]()).run()
        await (await asks(chat)[way]()).show()
        before = len(chat.h)
        await chat('Hi')
        await asyncio.sleep(0)
        assert before >= 4 and len(chat.h) == before + 2 and all(r.is_closed for r in responses)
    asyncio.run(go())

# ---- mistakes that say so

@both
def test_what_a_stream_says_of_itself(way):
    "In `repr`, where its value is asked for too early, and where it is taken for the reply"
    chat = way.Chat(MODEL, way.sdk(Sandbox(['One two', 'Three four', 'Five'])))
    s = chat('Hi', stream=True)
    for f in (lambda: s.value, lambda: s.usage, lambda: contents(s)):
        with pytest.raises((ValueError, AttributeError, TypeError), match='not begun'): f()
    assert 'not begun' in repr(s) and not hasattr(s, 'content')
    way.leave(s, 'break')
    assert 'before its end' in repr(s)
    with pytest.raises(ValueError, match='before its end'): s.value
    s, pieces = way.read(chat, 'Hi')
    assert 'to its end' in repr(s) and s.value.role == 'assistant' and pieces == ['Three', ' four']
    with pytest.raises(AttributeError, match='its `value`'): s.stop_reason

@both
def test_a_stream_is_read_once(way):
    "Again, after it was left or closed, and a part of a loop: an error, and not silence"
    chat = way.Chat(MODEL, way.sdk(Sandbox(lambda body: 'One two')))
    async def again(s): return [o async for o in s] if way is Async else list(s)
    s, _ = way.read(chat, 'Hi')
    with pytest.raises(ValueError, match='read once'): asyncio.run(again(s))
    for how in ('break', 'close', 'with'):
        s = chat('Hi', stream=True)
        way.leave(s, how)
        with pytest.raises(ValueError, match='read once'): asyncio.run(again(s))
    async def parts():
        s = chat.toolloop('Hi', stream=True)
        it = iter(s) if way is Sync else aiter(s)
        for o in [next(it) if way is Sync else await anext(it)]:
            await again(o)
            assert contents(o.value) == 'One two' and 'to its end' in repr(o)
            with pytest.raises(ValueError, match='read once'): await again(o)
    asyncio.run(parts())

@both
def test_chats_and_clients_say_what_they_are(way):
    chat = way.Chat(MODEL, way.sdk(Sandbox(['One'])), api_key='sk-ant-secret', sp='Secret.')
    name = way.Chat.__name__
    assert repr(chat) == f'<{name} with {MODEL}: 0 messages, 0 tokens>'
    way.call(chat, 'Hi')
    assert repr(chat).startswith(f'<{name} with {MODEL}: 2 messages, ') and 'ecret' not in repr(chat) + repr(chat.c)
    assert repr(chat.c) == f'<{way.Client.__name__} for {MODEL}: {chat.use.total} tokens>'

@pytest.mark.parametrize('ask', [lambda c: c('Hi'), lambda c: c.c('Hi'), lambda c: c.parse('Hi', int), lambda c: c.count('Hi') if hasattr(c, 'count') else c.c.count('Hi')])
def test_a_forgotten_await_says_whose_call_it_is(ask):
    "In Python's own warning, in repr, and where contents is given it"
    chat = AsyncChat(MODEL, Sandbox([]).aclient())
    r = ask(chat)
    assert 'object AsyncC' in repr(r)
    with pytest.raises(TypeError, match='`await` the call'): contents(r)
    with pytest.warns(RuntimeWarning, match="coroutine 'AsyncC(hat|lient)' was never awaited"): del r

def test_an_async_stream_in_a_sync_loop():
    chat = AsyncChat(MODEL, Sandbox([]).aclient())
    with pytest.raises(TypeError, match='async for'): list(chat('Hi', stream=True))
    with pytest.raises(TypeError, match='async with'):
        with chat('Hi', stream=True): pass

# ---- keys

KEY, PASSWORD = 'sk-ant-MARKED-0123456789', 'Pass/Word-of-8'

def unkind(request):
    "Sends on to another address, or says what it was sent"
    if request.headers.get('x-how') == 'redirect':
        return httpx2.Response(307, headers={'location': 'https://elsewhere.example/v1/messages', 'set-cookie': f'session={PASSWORD}'})
    sent = [*request.headers.values(), str(request.url), PASSWORD]
    return httpx2.Response(400, json=dict(type='error', error=dict(type='x', message=' '.join(sent))))

def http_client(way, **kw):
    "An HTTP client of one's own"
    async def answer(request): return unkind(request)
    transport = httpx2.MockTransport(unkind if way is Sync else answer)
    return (httpx2.Client if way is Sync else httpx2.AsyncClient)(transport=transport, **kw)

def all_of(e):
    "An error, its pickle, and the HTTP messages that it carries, as they can be read"
    texts, todo = [texts_of(e), pickle.dumps(e).decode('latin-1')], [e.response]
    while todo:
        if (m := todo.pop()) is None: continue
        texts += [repr(m), str(m.headers.multi_items()), str(getattr(m, 'url', '')), pickle.dumps(m).decode('latin-1')]
        todo += [getattr(m, k, None) for k in ('_request', 'next_request')] + [*getattr(m, 'history', ())]
    return ' '.join(map(str, texts))

class Token(httpx2.Auth):
    "An authentication of one's own"
    def __init__(self): self.value = PASSWORD
    def auth_flow(self, request):
        request.headers['x-mine'] = self.value
        yield request

GIVEN = dict(header=dict(headers={'X-Secret': PASSWORD}), basic=dict(auth=('somebody', PASSWORD)), cookie=dict(cookies=dict(id=PASSWORD)),
    digest=dict(auth=httpx2.DigestAuth('somebody', PASSWORD)), own=dict(auth=Token()), query=dict(params=dict(api_key=PASSWORD)),
    by_header=dict(headers={'Authorization': 'Basic ' + base64.b64encode(f'somebody:{PASSWORD}'.encode()).decode()}))

@both
@pytest.mark.parametrize('how', ['redirect', 'told'])
@pytest.mark.parametrize('given', GIVEN)
def test_secrets_of_an_http_client_of_ones_own(way, given, how, tmp_path):
    "They and the key are in no error, nor in the request that a redirect would lead to, nor in its pickle, log or file"
    cls = anthropic.Anthropic if way is Sync else anthropic.AsyncAnthropic
    cli = cls(api_key=KEY, max_retries=0, http_client=http_client(way, **GIVEN[given]), default_headers={'x-how': how})
    chat = way.Chat(MODEL, cli, log=True, hist=[f'Is it {PASSWORD}?', 'No.'])
    with pytest.raises(anthropic.APIStatusError) as e: way.call(chat, f'And {KEY}?')
    assert how != 'redirect' or e.value.response.next_request is not None
    chat.save(tmp_path/'a.json')
    for text in (all_of(e.value), repr(chat.c.log), (tmp_path/'a.json').read_text(), chat.to_md()):
        for form in (KEY, PASSWORD, base64.b64encode(f'somebody:{PASSWORD}'.encode()).decode(), PASSWORD.replace('/', '%2F')):
            assert form not in text
