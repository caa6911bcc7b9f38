"What was reported of replies and streams: each line with others of its kind"
import asyncio, json, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic, httpx2, pytest

from common import MODEL, both
from llmchat import AsyncChat, Chat, Thinking, contents
from llmchat.sandbox.server import Fail, mk_events, mk_reply, reply_block, sse, tool_use
from llmchat.sandbox import Sandbox

def event_stream(data, kind='text/event-stream'): return lambda body: httpx2.Response(200, headers={'content-type': kind}, content=data)
def reply(*content, **kw): return mk_reply(dict(content=[*content], **kw), dict(model=MODEL))
def chat_with(way, *replies, **kw): return way.Chat(MODEL, way.sdk(Sandbox([*replies], validate=False)), **kw)

START, END, DONE = (e for e in mk_events(reply()) if e['type'] != 'ping')
def start(i, block): return dict(type='content_block_start', index=i, content_block=block)
def delta(i, kind, **kw): return dict(type='content_block_delta', index=i, delta=dict(type=kind, **kw))
def stop(i): return dict(type='content_block_stop', index=i)
TEXT = dict(type='text', text='')

# ---- 13: values that nobody has heard of

ADVICE = dict(type='server_tool_use', id='srvtoolu_1', name='advisor_of_next_year', input={})
ADVISED = dict(type='advisor_tool_result', tool_use_id='srvtoolu_1', content=dict(type='advice', text='x'))
NEW = dict(name=[ADVICE, ADVISED, 'Hi'], caller=[ADVICE | dict(caller=dict(type='of_next_year', tool_id='t')), ADVISED, 'Hi'],
    error=[ADVICE, dict(type='web_search_tool_result', tool_use_id='srvtoolu_1', content=dict(type='web_search_tool_result_error', error_code='too_tired')), 'Hi'],
    citation=[dict(type='text', text='Hi', citations=[dict(type='of_next_year', cited_text='x', where=dict(page=3))])],
    fields=[dict(type='text', text='Hi', mood='good'), dict(type='thinking', thinking='x', signature='s', depth=2), 'Hi'],
    reason=[ADVICE, ADVISED | dict(stop_reason='of_next_year', caller=dict(type='new')), 'Hi'],
    kind=[dict(type='mood', mood='good', of=[1, {'a': None}]), 'Hi'], call=[dict(type='robot_use', id='r_1', arm=1), 'Hi'])

@both
@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('name', NEW)
def test_what_is_new_is_kept(way, name, stream):
    "Names, callers, error codes, citations, fields and kinds of next year: kept as they came, and sent back"
    content = [reply_block(b) for b in NEW[name]]
    sent = []
    def second(body):
        sent.append(body)
        return 'Whole.'
    chat = chat_with(way, reply(*content), second)
    if stream: way.read(chat, 'x')
    else: way.call(chat, 'x')
    assert chat.h[1]['content'] == content and 'Hi' in contents(chat.h[1])
    chat._repr_markdown_(), chat.c._repr_markdown_(), chat.to_md(), json.dumps(chat.h)
    assert contents(way.call(chat, 'And?')) == 'Whole.' and sent[0]['messages'][1]['content'] == content

@both
@pytest.mark.parametrize('reason', ['tired', 'of_next_year'])
def test_new_stop_reasons(way, reason):
    chat = chat_with(way, reply('Hi', stop_reason=reason), reply('Hi', stop_reason=reason))
    assert way.call(chat, 'x').stop_reason == reason == way.read(chat, 'x')[0].value.stop_reason

@both
@pytest.mark.parametrize('bad', [dict(type='text', text='Half \ud83d'), tool_use('f', x=float('nan')), dict(type='text', text=3), dict(type='tool_use', name='f', input={}), 7])
def test_a_whole_reply_that_cannot_be_sent_back_is_in_the_error(way, bad):
    "What was paid for is in `partial`, as far as it can be read, and counted"
    data = json.dumps(reply('First.') | dict(content=[dict(type='text', text='First.'), bad])).encode()
    chat = chat_with(way, event_stream(data, 'application/json'), 'Whole.')
    with pytest.raises(anthropic.APIError, match='not a reply of the API') as e: way.call(chat, 'x')
    assert e.value.partial.content[0].text == 'First.' and chat.partial is e.value.partial and chat.h == []
    assert isinstance(contents(e.value.partial), str) and chat.use.out > 0 and contents(way.call(chat, 'x')) == 'Whole.'

# ---- 14: streams

def streamed(way, events, **kw):
    "What a stream of these events gives: its value and the pieces"
    s, pieces = way.read(chat_with(way, event_stream(b''.join(sse(events)))), 'x', **kw)
    return s.value, pieces

@both
def test_blocks_that_the_start_brings(way):
    begun = START | dict(message=START['message'] | dict(content=[dict(type='text', text='One, '), dict(type='thinking', thinking='Hm', signature='s')]))
    r, pieces = streamed(way, [begun, delta(0, 'text_delta', text='two, '), stop(0), start(2, TEXT), delta(2, 'text_delta', text='three.'), stop(2), END, DONE])
    assert [b.to_dict() for b in r.content] == [dict(type='text', text='One, two, '), dict(type='thinking', thinking='Hm', signature='s'), dict(type='text', text='three.')]
    assert pieces == ['One, ', 'two, ', 'three.']

@both
@pytest.mark.parametrize('block,grow,end', [(TEXT, delta(0, 'text_delta', text='Hi'), dict(text='Hi')),
    (dict(type='tool_use', id='t', name='f', input={}), delta(0, 'input_json_delta', partial_json='{"a": 1, '), dict(input=dict(INVALID_JSON='{"a": 1, '))),
    (dict(type='tool_use', id='t', name='f'), delta(0, 'input_json_delta', partial_json=''), dict(input={})),
    (dict(type='server_tool_use', id='t', name='f', input=None), delta(0, 'input_json_delta', partial_json='{"a": 1}'), dict(input=dict(a=1)))])
def test_a_block_that_is_open_at_the_end_is_closed(way, block, grow, end):
    events = [START, start(0, block), grow, END | dict(delta=dict(stop_reason='max_tokens')), DONE]
    r, _ = streamed(way, events)
    assert r.content[0].to_dict(warnings=False) == block | end and r.stop_reason == 'max_tokens'
    chat = chat_with(way, event_stream(b''.join(sse(events[:-1]))))
    with pytest.raises(anthropic.APIConnectionError, match='no message_stop arrived') as e: way.read(chat, 'x')
    assert e.value.partial.content[0].to_dict() == block | end

@both
@pytest.mark.parametrize('deltas,block', [
    ([delta(0, 'compaction_delta', content='In short.', encrypted_content='x')], dict(type='compaction', content='In short.', encrypted_content='x')),
    ([delta(0, 'compaction_delta', content=None)], dict(type='compaction', content=None)),
    ([delta(0, 'of_next_year', content='In ', notes=[1], n=1), delta(0, 'of_next_year', content='short.', notes=[2], n=2)], dict(type='compaction', content='In short.', notes=[1, 2], n=2))])
def test_deltas_that_the_message_api_does_not_list(way, deltas, block):
    r, pieces = streamed(way, [START, start(0, dict(type='compaction', content=None)), *deltas, stop(0), END, DONE])
    assert r.content[0].to_dict(warnings=False) == block and pieces == []

@both
def test_pieces_of_a_block_of_an_unknown_kind(way):
    "They go into its fields, and are no text of the reply"
    r, pieces = streamed(way, [START, start(0, dict(type='aside')), delta(0, 'text_delta', text='So '), delta(0, 'input_json_delta', partial_json='{"a": 1}'),
        delta(0, 'text_delta', text='what'), stop(0), END, DONE])
    assert r.content[0].to_dict(warnings=False) == dict(type='aside', text='So what', input=dict(a=1)) and pieces == []

@both
@pytest.mark.parametrize('thinking', [False, True])
def test_a_delta_of_another_kind_than_its_block(way, thinking):
    "It goes into no block, and nobody sees it, as with the SDK"
    events = [START, start(0, TEXT), *(delta(0, *d[:1], **d[1]) for d in [('thinking_delta', dict(thinking='secret')), ('signature_delta', dict(signature='s')), ('input_json_delta', dict(partial_json='{')),
        ('compaction_delta', dict(content='x')), ('text_delta', dict(text='Hi'))]), stop(0),
        start(1, dict(type='thinking', thinking='', signature='')), delta(1, 'text_delta', text='seen'), delta(1, 'thinking_delta', thinking='Hm'), delta(1, 'signature_delta', signature='s'), stop(1), END, DONE]
    r, pieces = streamed(way, events, thinking=thinking)
    assert [b.to_dict() for b in r.content] == [dict(type='text', text='Hi'), dict(type='thinking', thinking='Hm', signature='s')]
    assert pieces == ['Hi', 'Hm'][:1 + thinking] and all(isinstance(p, Thinking) for p in pieces[1:])

@both
def test_what_stands_beside_a_delta_of_the_message(way):
    end = END | dict(context_management=dict(applied_edits=[dict(type='clear')]), input_transformations=None)
    r, _ = streamed(way, [START, start(0, TEXT), stop(0), start(1, dict(type='fallback', to=dict(model='claude-other'))), stop(1), end, DONE])
    assert r.to_dict(warnings=False)['context_management'] == end['context_management'] and r.model == 'claude-other'

# ---- 15: tolerance

WHOLE = b''.join(sse(mk_events(reply('Hello there.'))))
LINES = dict(empty_data=b'data:\n\n' + WHOLE.replace(b'\n\n', b'\n\ndata: \n\n'), ping=WHOLE.replace(b'data: {"type":"ping"}', b'data: {}'), loose_ping=b'event: ping\ndata: still here\n\n' + WHOLE,
    nameless_data=b'\n\n'.join(e.partition(b'\n')[2] for e in WHOLE.split(b'\n\n')), cr=WHOLE.replace(b'\n', b'\r'), crlf=WHOLE.replace(b'\n', b'\r\n'), no_end=WHOLE.rstrip(), one_end=WHOLE.rstrip() + b'\n',
    comments=b': hello\n\n' + WHOLE.replace(b'\n\n', b'\n\n: still here\n\n'), named_only=WHOLE.replace(b'"type":"message_stop"', b''), one_object=None)

@both
@pytest.mark.parametrize('kw', [{}, dict(events=True)], ids=['text', 'events'])
@pytest.mark.parametrize('chunk', [None, 1, 7])
@pytest.mark.parametrize('name', LINES)
def test_lines_as_the_standard_and_the_sdk_take_them(way, name, chunk, kw):
    data, kind = LINES[name], 'text/event-stream'
    if data is None: data, kind = json.dumps(reply('Hello there.')).encode(), 'application/json; charset=utf-8'
    chat = way.Chat(MODEL, way.sdk(Sandbox(event_stream(data, kind), chunk=chunk)))
    s, pieces = way.read(chat, 'x', **kw)
    assert s.value.to_dict() == reply('Hello there.')
    if not kw: assert ''.join(pieces) == 'Hello there.'
    else: assert {type(e).__name__ for e in pieces} <= {'RawMessageStartEvent', 'RawContentBlockStartEvent', 'RawContentBlockDeltaEvent', 'RawContentBlockStopEvent', 'RawMessageDeltaEvent', 'RawMessageStopEvent'}

OVERLOADED = Fail(529, 'Too much to do').body('req_1')
WITHOUT = {k: v for k, v in OVERLOADED.items() if k != 'type'}
IN_STREAMS = dict(typed=b'event: error\ndata: %s\n\n' % json.dumps(OVERLOADED).encode(), no_type=b'event: error\ndata: %s\n\n' % json.dumps(WITHOUT).encode(),
    no_name=b'data: %s\n\n' % json.dumps(OVERLOADED).encode(), bare=b'event: error\ndata: %s\n\n' % json.dumps(OVERLOADED['error']).encode(), no_end=b'event: error\ndata: %s' % json.dumps(WITHOUT).encode())

@both
@pytest.mark.parametrize('kw', [{}, dict(events=True)], ids=['text', 'events'])
@pytest.mark.parametrize('name', IN_STREAMS)
def test_errors_in_a_stream(way, name, kw):
    data = b''.join(sse([START, start(0, TEXT), delta(0, 'text_delta', text='Half')])) + IN_STREAMS[name]
    chat = chat_with(way, event_stream(data), 'Whole.')
    with pytest.raises(anthropic.OverloadedError, match='Too much to do') as e: way.read(chat, 'x', **kw)
    assert e.value.api_message == 'Too much to do' and contents(e.value.partial) == 'Half' and chat.h == []

@both
def test_an_error_that_is_only_words(way):
    chat = chat_with(way, event_stream(b'event: error\ndata: upstream went away\n\n'))
    with pytest.raises(anthropic.APIStatusError, match='upstream went away'): way.read(chat, 'x')

@both
@pytest.mark.parametrize('ask', ['call', 'read'])
@pytest.mark.parametrize('status,cls', [(529, anthropic.OverloadedError), (400, anthropic.BadRequestError), (429, anthropic.RateLimitError)])
def test_an_error_with_status_200(way, ask, status, cls):
    "It has the class and the words of the error, where a stream was asked for as well"
    data = json.dumps(Fail(status, 'What it was').body('req_1')).encode()
    chat = chat_with(way, event_stream(data, 'application/json'), 'Whole.')
    with pytest.raises(cls, match='What it was') as e: getattr(way, ask)(chat, 'x')
    assert type(e.value) is cls and e.value.api_message == 'What it was' and e.value.partial is None and chat.h == []
    with pytest.raises(cls, match='What it was'): way.call(way.Client(MODEL, way.sdk(Sandbox(faults=lambda req: event_stream(data, 'application/json')(0)))).count, 'x')
    assert contents(way.call(chat, 'x')) == 'Whole.'

@both
@pytest.mark.parametrize('kw', [{}, dict(events=True)], ids=['text', 'events'])
@pytest.mark.parametrize('bad,shown', [(stop(7), "'index': 7"), (start(4, TEXT), "'index': 4"), (delta(0, 'text_delta', text=5), "'text': 5"), (b'data: {"type": "boo\n\n', '"boo'), (b'data: [3]\n\n', r'\[3\]')])
def test_an_error_about_a_chunk_shows_the_event(way, bad, shown, kw):
    "Not the chunk, whose beginning says nothing: the event in it, and what is wrong"
    raw = bad if isinstance(bad, bytes) else b''.join(sse([bad]))
    data = b''.join(sse([START, start(0, TEXT), *[delta(0, 'text_delta', text='word ')] * 20])) + raw + b''.join(sse([stop(0), END, DONE]))
    chat = way.Chat(MODEL, way.sdk(Sandbox(event_stream(data), chunk=100_000)))
    with pytest.raises(anthropic.APIError, match=shown) as e: way.read(chat, 'x', **kw)
    assert 'not a reply of the API' in str(e.value) and 'message_start' not in str(e.value) and contents(e.value.partial) == 'word ' * 20

# ---- 16: closed from elsewhere

HALF = b''.join(sse([START, start(0, TEXT), delta(0, 'text_delta', text='Half')]))

class Stuck(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    "The beginning of a stream, and then nothing"
    def __init__(self): self.waits, self.more = threading.Event(), threading.Event()
    def __iter__(self):
        yield HALF
        self.waits.set()
        self.more.wait(60)
        yield b''.join(sse([stop(0), END, DONE]))
    async def __aiter__(self):
        yield HALF
        self.waits.set()
        await asyncio.sleep(3600)

def held(body): return lambda req: httpx2.Response(200, headers={'content-type': 'text/event-stream'}, stream=body)

ASKS = [lambda c: c('x', stream=True), lambda c: c.toolloop('x', stream=True), lambda c: c.toolloop('x')]
asks = pytest.mark.parametrize('ask', range(2))

def reader(s, seen, came=None):
    "A thread that reads a stream or loop, each piece of it"
    def read(o):
        for p in o:
            read(p) if hasattr(p, 'run') else seen.append(p)
            if came and seen: came.set()
    t = threading.Thread(target=read, args=[s], daemon=True)
    t.start()
    return t

@asks
def test_a_stream_that_another_thread_reads_is_closed(ask):
    "The turn ends at once and the chat is free; the reader's loop ends with the operation that it waits for"
    r = Stuck()
    chat = Chat(MODEL, Sandbox([held(r), 'Whole.']).client())
    t = reader(s := ASKS[ask](chat), seen := [])
    assert r.waits.wait(60)
    s.close()
    assert chat.h == [] and contents(chat.partial) == 'Half'
    assert contents(chat('Again')) == 'Whole.' and len(chat.h) == 2
    r.more.set()
    t.join(60)
    assert not t.is_alive() and seen == ['Half'] and len(chat.h) == 2
    with pytest.raises(ValueError, match='left, or broken off'): s.value

class HalfReply(BaseHTTPRequestHandler):
    "A server that sends half a reply and then nothing"
    def log_message(self, *args): pass
    def do_POST(self):
        self.rfile.read(int(self.headers['content-length']))
        self.send_response(200)
        self.send_header('content-type', 'text/event-stream')
        self.end_headers()
        self.wfile.write(HALF)
        self.server.over.wait(60)

@asks
def test_a_thread_that_waits_for_the_network_is_woken(ask):
    server = ThreadingHTTPServer(('127.0.0.1', 0), HalfReply)
    server.daemon_threads, server.over = True, threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        cli = anthropic.Anthropic(api_key='k', base_url=f'http://127.0.0.1:{server.server_port}', max_retries=0)
        t = reader(s := ASKS[ask](Chat(MODEL, cli)), seen := [], came := threading.Event())
        assert came.wait(60)
        s.close()
        t.join(30)
        assert not t.is_alive() and seen == ['Half']
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()

@asks
def test_a_stream_that_another_task_reads_is_closed(ask):
    "At once, with nothing left running; the task that read it goes on after its loop, and is not cancelled"
    r = Stuck()
    chat = AsyncChat(MODEL, Sandbox([held(r), 'Whole.']).aclient())
    async def read(s, seen):
        async for o in s: seen += [p async for p in o] if hasattr(o, 'run') else [o]
        await asyncio.sleep(0)
        return 'went on'
    async def go():
        task = asyncio.create_task(read(s := ASKS[ask](chat), seen := []))
        while not r.waits.is_set(): await asyncio.sleep(0)
        await s.close()
        assert chat.h == [] and contents(await chat('Again')) == 'Whole.'
        assert await task == 'went on' and not task.cancelling() and seen in (['Half'], [])
        await s.close()
        with pytest.raises(ValueError, match='left, or broken off'): s.value
    asyncio.run(asyncio.wait_for(go(), 60))

def test_a_task_that_is_cancelled_as_its_stream_is_closed_is_cancelled():
    r = Stuck()
    chat = AsyncChat(MODEL, Sandbox([held(r), 'Whole.']).aclient())
    async def go():
        task = asyncio.create_task((s := chat('x', stream=True)).run())
        while not r.waits.is_set(): await asyncio.sleep(0)
        task.cancel()
        await s.close()
        with pytest.raises(asyncio.CancelledError): await task
        assert contents(await chat('Again')) == 'Whole.'
    asyncio.run(asyncio.wait_for(go(), 60))
