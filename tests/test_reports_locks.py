"Reported faults: chats locked for ever, keys in errors, streams that are awaited, mistakes that say so"
import asyncio, gc, os, sys
from itertools import count

import anthropic, pytest

import llmchat
from common import LARGE, MODEL, Async, Sync, both, check_history
from llmchat import AsyncChat, Chat, Sandbox, contents
from llmchat.sandbox import tool_use

# ---- never locked

PACKAGE = os.path.dirname(llmchat.__file__)
SANDBOX = 'sandbox', 'answers', 'rules', 'dialog_rules', 'media_rules', 'routes', 'caching', 'faults', 'validation', 'through', 'clouds'

def ours(path):
    "Is it a module of the package, the sandbox aside?"
    folder, name = os.path.split(path)
    return folder == PACKAGE and name.removesuffix('.py') not in SANDBOX

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
