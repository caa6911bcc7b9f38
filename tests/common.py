"What several tests need: pictures, recordings, what the API takes, and one way to run everything sync and async"
import asyncio, gc, io, json, logging, os, re, sys, threading, traceback, warnings
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anthropic, pytest
from hypothesis import settings
from PIL import Image

from llmchat import AsyncChat, AsyncClient, Chat, Client, contents
from llmchat.protocol.history import sendable
from llmchat.sandbox.rules import RequestView
from llmchat.sandbox.server import mk_events, mk_model, mk_reply, sse, tool_use
from llmchat.sandbox.validation import misshapen

MODEL = 'claude-sonnet-5-5'
PREFILLS = [mk_model(MODEL, prefill=True)] # The models of a sandbox where this one takes prefill
FORCED = [mk_model(MODEL)] # Where it can be forced to call a tool, and all else
ASK = [dict(role='user', content='x')]
USAGE = dict(input_tokens=11, output_tokens=7, cache_creation_input_tokens=5, cache_read_input_tokens=3)

# Hypothesis: the same examples every time in CI; elsewhere new ones, and how to get a failing one again is printed.
LARGE = bool(os.environ.get('LLMCHAT_LARGE')) # As much as in CI, which takes about twice as long?
EXAMPLES = int(os.environ.get('LLMCHAT_EXAMPLES', 100 if LARGE else 30))
seeded = settings(max_examples=EXAMPLES, deadline=None, print_blob=True,
    derandomize=bool(os.environ.get('CI')))

def case_name(o):
    "A name for a test of `o`, the same in every process"
    name = getattr(o, '__qualname__', None)
    return name if isinstance(name, str) else re.sub(' at 0x[0-9a-f]+', '', ascii(o))[:40]

# ---- pictures

def picture(kind, size=(3, 2), **kw):
    "The bytes of a small picture"
    Image.new('RGB', size, 'teal').save(buf := io.BytesIO(), format=kind, **kw)
    return buf.getvalue()

PNG, JPEG, GIF, WEBP, BMP = map(picture, ('PNG', 'JPEG', 'GIF', 'WEBP', 'BMP'))
PDF = b'%PDF-1.4\n1 0 obj <</Type /Catalog>> endobj\ntrailer <</Root 1 0 R>>\n%%EOF\n'

# ---- recordings

root = Path(__file__).parents[1]
RECORDINGS = Path(os.environ.get('LLMCHAT_RECORDINGS', root.parent/'shared/data/claude-recordings.jsonl'))
recorded = [json.loads(l) for l in RECORDINGS.read_text().splitlines()] if RECORDINGS.exists() else []
needs_recordings = pytest.mark.skipif(not recorded, reason=f'no {RECORDINGS.name}')

# ---- what the API takes, by the SDK's own types

def check_request(body):
    "Fail if `body` holds anything that the SDK's types for `messages.create` do not name"
    if wrong := misshapen(RequestView(body, None)): raise AssertionError(wrong)

# ---- what a history must be, checked without the library

def check_history(h, types=True, unsent=()):
    "Fail if the API would refuse to go on from `h`; `types`: as the SDK's types say, too, but for what is not sent"
    for i, m in enumerate(h):
        assert m.keys() == {'role', 'content'} and m['role'] == ('user', 'assistant')[i % 2], f'{i}: {m}'
        content = [dict(type='text', text=m['content'])] if isinstance(m['content'], str) else m['content']
        assert isinstance(content, list) and content, f'{i}: {m}'
        assert all(b['text'].strip() for b in content if b['type'] == 'text'), f'{i}: {m}'
        results = [b['tool_use_id'] for b in content if b['type'] == 'tool_result']
        assert [b['type'] for b in content[:len(results)]] == ['tool_result'] * len(results), f'{i}: {m}'
        assert results == (_calls(h[i-1]) if i else []), f'{i}: {m}'
        if m['role'] == 'assistant': assert 'thinking' not in content[-1]['type'], f'{i}: {m}'
    assert not h or not _calls(h[-1])
    if types: check_request(dict(model=MODEL, max_tokens=1, messages=json.loads(json.dumps(sendable(h, unsent=unsent)))))

def _calls(msg):
    "Ids of the tool calls in a message"
    if isinstance(msg['content'], str): return []
    return [b['id'] for b in msg['content'] if b['type'] == 'tool_use']

# ---- replies

CITED = dict(type='char_location', cited_text='Paris is the capital.', document_index=0, document_title='France',
    start_char_index=0, end_char_index=21)
BLOCKS = dict(
    text=['Hello Jeremy, how are you? 😊'],
    thinking=[dict(type='thinking', thinking='A name. Polite.', signature='c2ln'), 'Hello!'],
    cited=[dict(type='text', text='It is Paris.', citations=[CITED]), ' ', dict(type='text', text='Yes.', citations=[CITED])],
    search=[dict(type='server_tool_use', name='web_search', input=dict(query='é')), dict(type='web_search_tool_result',
        tool_use_id='srvtoolu_0001_0', content=[]), 'Found nothing.'],
    tool_use=['Adding.', tool_use('sums', a=1, b=[2, 'é']), tool_use('now')])
REPLIES = {k: dict(content=v, usage=USAGE) for k, v in BLOCKS.items()}

def sums(a: int, b: list) -> int:
    "Adds"
    return a + len(b)

def now() -> str:
    "The time"
    return '12:00'

TOOLS = [sums, now]

def message(reply): return anthropic.types.Message.construct(**mk_reply(reply))

# ---- one way to run everything

class Sync:
    "Clients and chats as they are"
    Client, Chat, sdk = Client, Chat, staticmethod(lambda sb, **kw: sb.client(**kw))

    @staticmethod
    def call(obj, *args, **kw): return obj(*args, **kw)

    @staticmethod
    def read(obj, *args, seen=None, **kw):
        "A stream, and what it gave"
        s, pieces = obj(*args, stream=True, **kw), [] if seen is None else seen
        for o in s: pieces.append(o)
        return s, pieces

    @staticmethod
    def leave(s, how):
        "Begin to read a stream, and leave it: by `break`, `close`, `with`, or an exception"
        if how == 'close':
            next(iter(s))
            return s.close()
        if how == 'with':
            with s:
                for _ in s: break
            return
        for _ in s:
            if how == 'break': break
            raise ZeroDivisionError

class Async:
    "Their async twins, awaited"
    Client, Chat, sdk = AsyncClient, AsyncChat, staticmethod(lambda sb, **kw: sb.aclient(**kw))

    @staticmethod
    def call(obj, *args, **kw):
        async def go(): return await obj(*args, **kw)
        return asyncio.run(go())

    @staticmethod
    def read(obj, *args, seen=None, **kw):
        s, pieces = obj(*args, stream=True, **kw), [] if seen is None else seen
        async def go():
            async for o in s: pieces.append(o)
        asyncio.run(go())
        return s, pieces

    @staticmethod
    def leave(s, how):
        async def go():
            if how == 'close':
                it = aiter(s)
                await anext(it)
                return await s.close()
            if how == 'with':
                async with s:
                    async for _ in s: break
                return
            async for _ in s:
                if how == 'break': break
                raise ZeroDivisionError
        asyncio.run(go())

both = pytest.mark.parametrize('way', [Sync, Async])

def texts_of(e):
    "Everything that can be read of an error and of what led to it"
    todo, seen = [e], []
    while todo:
        x = todo.pop()
        if x is None or x in seen: continue
        seen.append(x)
        todo += [x.__cause__, x.__context__, *getattr(x, 'exceptions', ())]
    plain = lambda x: {k: v for k, v in vars(x).items() if isinstance(v, (str, bytes, dict, list, tuple))}
    return ''.join([*traceback.format_exception(e), *(f'{x}{x!r}{x.args}{plain(x)}' for x in seen)])

# ---- real connections

class no_complaints:
    "Fail on whatever Python says when nobody listens: warnings, lost exceptions, tasks destroyed"
    def __enter__(self):
        self.said, self.hook = [], sys.unraisablehook
        sys.unraisablehook = lambda u: self.said.append(repr(u.exc_value))
        self.log = logging.getLogger('asyncio')
        self.handler = logging.Handler()
        self.handler.emit = lambda r: self.said.append(r.getMessage())
        self.log.addHandler(self.handler)
        self.caught = warnings.catch_warnings()
        self.caught.__enter__()
        warnings.simplefilter('error')

    def __exit__(self, kind, *_):
        gc.collect()
        sys.unraisablehook = self.hook
        self.log.removeHandler(self.handler)
        self.caught.__exit__(None, None, None)
        if kind is None: assert self.said == []

class Handler(BaseHTTPRequestHandler):
    "An API on the loopback; it says how many it has answered, or streams until nobody listens"
    protocol_version = 'HTTP/1.1'
    def log_message(self, *args): pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers['content-length'])))
        s, s.n = self.server, self.server.n + 1
        s.ports.add(self.client_address[1])
        msg = mk_reply(f'Reply {s.n}', body)
        if not body.get('stream'): return self.send('application/json', [json.dumps(msg).encode()])
        events = sse(mk_events(msg))
        if body['messages'][-1]['content'] != 'For ever': return self.send('text/event-stream', events)
        with suppress(OSError): self.send('text/event-stream', [*events[:3], *(events[3:4] * 1_000_000)])
        self.close_connection = True
        s.gone.set()

    def send(self, kind, chunks):
        self.send_response(200)
        self.send_header('content-type', kind)
        self.send_header('transfer-encoding', 'chunked')
        self.end_headers()
        for c in chunks: self.wfile.write(b'%x\r\n%s\r\n' % (len(c), c))
        self.wfile.write(b'0\r\n\r\n')

@pytest.fixture
def server():
    s = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    s.n, s.ports, s.gone, s.daemon_threads, s.handle_error = 0, set(), threading.Event(), True, lambda *args: None
    s.at = dict(api_key='none', base_url=f'http://127.0.0.1:{s.server_port}', max_retries=0)
    thread = threading.Thread(target=s.serve_forever, kwargs=dict(poll_interval=0.01))
    thread.start()
    yield s
    s.shutdown()
    thread.join()
    s.server_close()

async def turn(chat):
    async for _ in chat('Hi', stream=True): pass
    return contents(await chat('And?'))
