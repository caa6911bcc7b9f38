"Streams: whole whatever the sizes of their pieces, and a clear error wherever they are cut, stalled or garbled"
import json
from time import process_time

import anthropic, httpx2, pytest
from hypothesis import given, settings, strategies as st

from common import (ASK, EXAMPLES, LARGE, MODEL, PREFILLS, REPLIES, TOOLS, Sync, both, check_history, needs_recordings, recorded, seeded)
from llmchat import Chat, Thinking, contents, usage
from llmchat.sandbox.server import Cut, Fail, mk_events, mk_reply, sse, tool_use
from llmchat.sandbox import Sandbox
from llmchat.protocol.events import Builder, check_block, check_start, Decoder, read_event
from llmchat.protocol.usage import usage_of

replies = pytest.mark.parametrize('name', REPLIES)

def events_of(name): return mk_events(mk_reply(REPLIES[name], dict(model=MODEL)), 4)
def wire(events): return b''.join(sse(events))
def event_stream(data): return httpx2.Response(200, headers={'content-type': 'text/event-stream'}, content=data)

def built(data, size=None):
    "A builder that was given `data` in chunks"
    d, b = Decoder(), Builder()
    for i in range(0, len(data), size or len(data) or 1):
        for ev in d.feed(data[i:i + (size or len(data))]): b.add(ev)
    return b

# ---- whole streams

@replies
def test_any_size_of_chunks_gives_the_same(name):
    data, whole = wire(events_of(name)), mk_reply(REPLIES[name], dict(model=MODEL))
    for size in [*range(1, 40), 1000, len(data)]:
        b = built(data, size)
        assert b.done and b.msg == whole == b.partial

def sdk_final(reply, **kw):
    with Sandbox(reply, **kw).client().messages.stream(model=MODEL, max_tokens=9, messages=[dict(role='user', content='x')]) as s:
        return s.get_final_message()

@both
@replies
@pytest.mark.parametrize('chunk', [None, 1, 100])
def test_the_same_as_the_sdk(way, name, chunk):
    kw = dict(delta=3, chunk=chunk)
    s, pieces = way.read(way.Client(MODEL, way.sdk(Sandbox(REPLIES[name], **kw))), 'x')
    assert s.value.to_dict() == sdk_final(REPLIES[name], **kw).to_dict() and type(s.value) is anthropic.types.Message
    assert ''.join(pieces) == ''.join(b.text for b in s.value.content if b.type == 'text')
    assert s.value.to_dict() == way.call(way.Client(MODEL, way.sdk(Sandbox(REPLIES[name]))), 'x').to_dict()

@needs_recordings
@both
def test_recorded_streams_are_the_same_as_with_the_sdk(way):
    for rec in recorded:
        if not rec['stream']: continue
        data = rec['response'].encode()
        s, pieces = way.read(way.Client(MODEL, way.sdk(Sandbox(lambda body: event_stream(data)))), 'x')
        assert s.value.to_dict() == sdk_final(lambda body: event_stream(data)).to_dict()
        assert ''.join(pieces) == contents(find_text(s.value))
        for size in (1, 7, 100): assert built(data, size).msg == s.value.to_dict()

def find_text(r): return [b for b in r.content if b.type == 'text']

@both
@replies
def test_events_are_those_of_the_sdk(way, name):
    s, events = way.read(way.Client(MODEL, way.sdk(Sandbox(REPLIES[name]))), 'x', events=True)
    with Sandbox(REPLIES[name]).client().messages.create(model=MODEL, max_tokens=4096, messages=ASK, stream=True) as sdk: given = list(sdk)
    assert [e.type for e in events] == [e.type for e in given] and {type(e) for e in events} == {type(e) for e in given}
    assert s.value.to_dict() == sdk_final(REPLIES[name]).to_dict()

@both
def test_thinking_is_marked(way):
    c = way.Client(MODEL, way.sdk(Sandbox([REPLIES['thinking']]*2, delta=3)))
    _, pieces = way.read(c, 'x', thinking=True)
    assert ''.join(p for p in pieces if isinstance(p, Thinking)) == 'A name. Polite.'
    assert ''.join(p for p in pieces if not isinstance(p, Thinking)) == 'Hello!' == ''.join(way.read(c, 'x')[1])

@both
def test_what_follows_the_end_does_not_matter(way):
    for then in (httpx2.ReadError('late'), Fail(529), None):
        n = len(events_of('text'))
        s, _ = way.read(way.Client(MODEL, way.sdk(Sandbox([Cut(REPLIES['text'], events=n, then=then)]))), 'x')
        assert s.value.stop_reason == 'end_turn'
    more = wire(events_of('text')) + b'data: garbage\n\nevent: x\n'
    assert way.read(way.Client(MODEL, way.sdk(Sandbox(lambda body: event_stream(more)))), 'x')[0].value.stop_reason == 'end_turn'

json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text(), s, max_size=3))

@seeded
@given(st.lists(st.dictionaries(st.text(), json_values, max_size=3), max_size=5), st.integers(1, 50), st.sampled_from(['\n', '\r\n', '\r']), st.data())
def test_server_sent_events_in_any_dress(events, size, end, data):
    lines, given = [], []
    for e in events:
        lines += (head := data.draw(st.lists(st.sampled_from([': comment', 'event: x', 'id: 1', 'retry: 10', 'other']), max_size=3)))
        given.append(dict(type='x') | e if 'event: x' in head else e)
        lines += [f'data:{" " * data.draw(st.integers(0, 1))}{l}' for l in json.dumps(e, indent=data.draw(st.sampled_from([None, 1])), ensure_ascii=False).split('\n')]
        lines += data.draw(st.sampled_from([[''], ['', ''], ['', 'data:', ''], ['', 'event: ping', 'data: x', '', 'event: x', 'data: ', '']]))
    raw = end.join(lines + [''] * data.draw(st.integers(0, 1))).rstrip('\r\n').encode()
    d = Decoder()
    came = [e for i in range(0, len(raw), size) for e in d.feed(raw[i:i + size])] + [*d.end()]
    assert [e for e in came if e != dict(type='ping')] == given

any_json = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4))

@seeded
@given(any_json, st.booleans(), st.integers(0, 300))
def test_json_of_events_is_read_as_python_reads_it(o, ascii, deep):
    "Numbers of any size, NaN, half a character, and what is nested deeply: to the same value and type"
    text = '[' * deep + json.dumps(o, ensure_ascii=ascii) + ']' * deep
    data = text.encode(errors='surrogatepass')
    try: wanted = json.loads(data.decode())
    except UnicodeDecodeError:
        with pytest.raises(ValueError): read_event(b'', data)
    else: assert repr(read_event(b'', data)) == repr(wanted)

@seeded
@given(st.lists(st.binary(max_size=3) | st.sampled_from([b'\n', b'\r\n', b'\r']), max_size=5), st.lists(st.integers(0, 400), max_size=20))
def test_events_do_not_depend_on_the_chunks(noise, cuts):
    raw = b''.join(sse(events_of('thinking'))[:3] + [b':' + n for n in noise] + [b'\n\n'] + sse(events_of('text'))[:2])
    d, ends = Decoder(), sorted(cuts) # Equal ones: an empty chunk
    pieces = [raw[a:b] for a,b in zip([0, *ends], [*ends, len(raw)])]
    assert [e for p in pieces for e in d.feed(p)] == list(Decoder().feed(raw))

def test_time_for_a_large_event_is_that_of_its_bytes():
    "In 32,768 pieces it takes little more than in one; it would be hundreds of times, were each copied with all before it"
    ev = dict(type='content_block_delta', index=0, delta=dict(type='text_delta', text='x' * 2**23))
    raw = wire([ev])
    def took(size):
        d, began = Decoder(), process_time()
        assert [e for i in range(0, len(raw), size) for e in d.feed(raw[i:i + size])] == [ev]
        return process_time() - began
    assert took(256) < 50 * took(len(raw))

# ---- cut streams

FAULTS = dict(end=None, reset=httpx2.RemoteProtocolError('peer closed connection'), broken=httpx2.ReadError('broken pipe'),
    stall=httpx2.ReadTimeout('no bytes'), system=ConnectionResetError(104, 'reset by peer'), overloaded=Fail(529), refused=Fail(400, 'Mine'))
ERRORS = dict(end=anthropic.APIConnectionError, reset=anthropic.APIConnectionError, broken=anthropic.APIConnectionError, stall=anthropic.APITimeoutError,
    system=anthropic.APIConnectionError, overloaded=anthropic.OverloadedError, refused=anthropic.BadRequestError)

def expected_texts(events):
    "Text and thinking by block, as far as it has come in `events`"
    res = []
    for e in events:
        if e['type'] == 'content_block_start': res.append('')
        elif e['type'] == 'content_block_delta': res[e['index']] += e['delta'].get('text', e['delta'].get('thinking', ''))
    return res

def expected_usage(events):
    u = {}
    for e in events: u |= e['message']['usage'] if e['type'] == 'message_start' else e.get('usage', {})
    return usage_of(u)

def check_failed(way, chat, err, came, before=()):
    "Fail unless the turn left nothing behind but what it cost, and the chat works on"
    assert err.partial is chat.partial and chat.h == list(before)
    assert (err.partial is None) == (not came)
    if came:
        assert [b.to_dict().get('text', b.to_dict().get('thinking', '')) for b in err.partial.content] == expected_texts(came)
        assert isinstance(contents(err.partial), str) and type(err.partial) is anthropic.types.Message
        assert (err.partial.stop_reason is None) == (came[-1]['type'] != 'message_delta')
    assert chat.use == chat.c.use == expected_usage(came) and chat.cost >= 0
    assert contents(way.call(chat, 'Again')) == 'Whole.' and len(chat.h) == len(before) + 2 and chat.partial is None
    check_history(chat.h)

@both
@pytest.mark.parametrize('kw', [{}, dict(events=True)], ids=['text', 'events'])
@pytest.mark.parametrize('fault', FAULTS)
@replies
def test_cut_after_every_event(way, name, fault, kw):
    events = events_of(name)
    for n in range(0, len(events), 1 if LARGE else 5):
        sb = Sandbox([Cut(REPLIES[name], events=n, then=FAULTS[fault]), 'Whole.'], delta=4)
        chat = way.Chat(MODEL, way.sdk(sb), tools=TOOLS)
        with pytest.raises(ERRORS[fault]) as e: way.read(chat, 'x', seen=(seen := []), **kw)
        e = e.value
        assert type(e) is ERRORS[fault] and isinstance(e, anthropic.APIError) and str(e)
        if isinstance(FAULTS[fault], Exception): assert e.__cause__ is FAULTS[fault] and (fault == 'stall' or str(FAULTS[fault]) in str(e))
        if fault == 'end': assert e.__cause__ is None and 'no message_stop arrived' in str(e)
        if fault == 'refused': assert (e.type, e.body['error']['message']) == ('invalid_request_error', 'Mine') and 'Mine' in str(e)
        if not kw: assert ''.join(seen) == ''.join(e['delta'].get('text', '') for e in events[:n] if e['type'] == 'content_block_delta')
        check_failed(way, chat, e, events[:n])

@both
@replies
@pytest.mark.parametrize('chunk', [None, 1, 10])
def test_cut_after_any_byte(way, name, chunk):
    events = events_of(name)
    starts = [len(wire(events[:i+1])) for i in range(len(events))]
    for n in range(0, starts[-1], 61 if LARGE else 307):
        sb = Sandbox([Cut(REPLIES[name], bytes=n, then=httpx2.ReadError('cut')), 'Whole.'], delta=4, chunk=chunk)
        chat = way.Chat(MODEL, way.sdk(sb), hist=['Hi', 'Hello'])
        with pytest.raises(anthropic.APIConnectionError) as e: way.read(chat, 'x')
        check_failed(way, chat, e.value, events[:sum(s <= n for s in starts)], list(chat.h))

@replies
def test_what_has_come_after_every_byte(name):
    events, data = events_of(name), wire(events_of(name))
    starts = [len(wire(events[:i+1])) for i in range(len(events))]
    d, b = Decoder(), Builder()
    for n in range(len(data)):
        for ev in d.feed(data[n:n+1]): b.add(ev)
        came = events[:sum(s <= n + 1 for s in starts)]
        assert b.done == (len(came) == len(events)) and (b.partial is None) == (not came)
        if came: assert [c.get('text', c.get('thinking', '')) for c in b.partial['content']] == expected_texts(came)
        assert b.partial == b.partial

def test_input_that_was_cut_never_runs():
    ran = []
    def sums(a: int, b: int) -> int:
        ran.append((a, b))
        return a + b
    whole = mk_reply(dict(content=[tool_use('sums', a=1, b=2)], stop_reason='max_tokens'), dict(model=MODEL))
    events = mk_events(whole, 4)
    cut = [e for e in events if e.get('delta', {}).get('partial_json') != ': 2}']
    assert len(cut) == len(events) - 1
    for kw in (dict(stop_reason='max_tokens'), dict(stop_reason='tool_use')):
        cut[-2] = cut[-2] | dict(delta=kw)
        chat = Chat(MODEL, Sandbox([lambda body: event_stream(wire(cut)), 'Whole.']).client(), tools=sums)
        s, _ = Sync.read(chat, 'x')
        assert s.value.content[0].input == dict(INVALID_JSON='{"a": 1, "b"') and not ran
        check_history(chat.h)
        chat('And?')

# ---- errors of the API in the middle

ERROR_TYPES = dict(invalid_request_error='BadRequestError', authentication_error='AuthenticationError', permission_error='PermissionDeniedError',
    not_found_error='NotFoundError', rate_limit_error='RateLimitError', request_too_large='ContentTooLargeError', timeout_error='GatewayTimeoutError',
    api_error='InternalServerError', overloaded_error='OverloadedError', error_of_next_year='APIStatusError')

@both
@pytest.mark.parametrize('kind', ERROR_TYPES)
def test_error_events_have_the_class_they_have_elsewhere(way, kind):
    fail = Fail(500, 'What happened', kind)
    chat = way.Chat(MODEL, way.sdk(Sandbox([Cut('Hi', events=3, then=fail)])))
    with pytest.raises(anthropic.APIStatusError, match='What happened') as e: way.read(chat, 'x')
    assert type(e.value).__name__ == ERROR_TYPES[kind] and e.value.type == kind and e.value.api_message == 'What happened'
    assert e.value.request_id == 'req_0001' and e.value.response.status_code == 200

# ---- what is not a stream

START, BLOCK, DELTA, STOP, END, DONE = (next(e for e in events_of('text') if e['type'] == t) for t in ('message_start', 'content_block_start',
    'content_block_delta', 'content_block_stop', 'message_delta', 'message_stop'))
HTML = '<!doctype html><html><body>Please log in</body></html>'
GARBAGE = {'html': httpx2.Response(200, headers={'content-type': 'text/html'}, text=HTML), 'html as events': HTML.encode(), 'nothing': b'',
    'a whole reply': json.dumps(mk_reply('Hi')).encode(), 'html in data': f'data: {HTML}\n\n'.encode(), 'not text': b'data: {"type": "\xff"}\n\n', 'cut json': b'data: {"type":\n\n',
    'null': b'data: null\n\n', 'number': b'data: 3\n\n', 'list': b'data: [1]\n\n', 'string': b'data: "x"\n\n', 'no type': b'data: {}\n\n', 'deep': b'data: ' + b'[' * 100_000 + b'\n\n',
    'only the end': [DONE], 'no blocks of its own': [START, DELTA], 'two starts': [START, START], 'start in the middle': [START, BLOCK, START], 'no start': [BLOCK, DELTA, STOP, END, DONE],
    'block twice': [START, BLOCK, BLOCK], 'delta after its block': [START, BLOCK, STOP, DELTA], 'block closed twice': [START, BLOCK, STOP, STOP],
    'a block too far': [START, BLOCK | dict(index=1)], 'a block before': [START, BLOCK | dict(index=-1)], 'end before start': [END, START], 'error without error': [START, dict(type='error')],
    'error as text': [START, dict(type='error', error='boom')], 'error as list': [START, dict(type='error', error=[1])], 'user': [START | dict(message=START['message'] | dict(role='user'))],
    'no model': [dict(type='message_start', message=dict(role='assistant', usage={}))], 'text as number': [START, BLOCK, DELTA | dict(delta=dict(type='text_delta', text=3))]}

@both
@pytest.mark.parametrize('kw', [{}, dict(events=True)], ids=['text', 'events'])
@pytest.mark.parametrize('name', GARBAGE)
def test_what_is_not_a_stream(way, name, kw):
    data = GARBAGE[name]
    def reply(body):
        if isinstance(data, httpx2.Response): return httpx2.Response(200, headers=data.headers, content=data.content)
        return event_stream(wire(data) if isinstance(data, list) else data)
    chat = way.Chat(MODEL, way.sdk(Sandbox([reply, 'Whole.'])), hist=['Hi', 'Hello'])
    with pytest.raises(anthropic.APIError) as e: way.read(chat, 'x', **kw)
    assert (e.value.partial is not None) == (isinstance(data, list) and data[0] == START)
    assert len(chat.h) == 2 and contents(way.call(chat, 'x')) == 'Whole.'
    check_history(chat.h)

JUNK = [None, '', 5, -1, 1.5, True, [], {}, [1], {'a': 1}, 'x', 'text', [[]], dict(type='text'), [None]]

def places(o, at=()):
    "Paths of all values in `o`"
    yield at
    for k in o if isinstance(o, dict) else range(len(o)) if isinstance(o, list) else (): yield from places(o[k], (*at, k))

NAMES = 'type', 'id', 'tool_use_id' # That one of these is another name than it should be, nobody can see
NEW = 'citation', 'citations', 'caller', 'content' # What is in these changes from year to year: the API knows, and we do not

def seen(at, value):
    "Is it visible that the value at a place is another one? No name is right or wrong by itself"
    if at[:1] != ('message',) and any(k in at for k in NEW): return False
    return not (at[:1] in (('content_block',), ('delta',)) and at[-1] in NAMES and isinstance(value, str) and value)

def changed(o, at, value):
    "`o` with another value at a place, or without it where the value is `KeyError`"
    if not at: return value
    res = {**o} if isinstance(o, dict) else [*o]
    if len(at) == 1 and value is KeyError: del res[at[0]]
    else: res[at[0]] = changed(o[at[0]], at[1:], value)
    return res

@st.composite
def garbled(draw):
    "A stream in which one value is wrong, or events are missing, doubled or swapped"
    events = events_of(draw(st.sampled_from([*REPLIES])))
    i = draw(st.integers(0, len(events) - 1))
    match draw(st.sampled_from(['change'] * 6 + ['drop', 'double', 'swap'])):
        case 'drop': events.pop(i)
        case 'double': events.insert(i, events[i])
        case 'swap': events[i-1], events[i] = events[i], events[i-1]
        case _:
            at = draw(st.sampled_from([*places(events[i])]))
            junk = draw(st.sampled_from([*JUNK, *([KeyError] if at else [])]))
            if seen(at, junk): events[i] = changed(events[i], at, junk)
    return events[:draw(st.integers(i, len(events)))]

def raw(e):
    kind = e.get('type') if isinstance(e, dict) else None
    return f'event: {kind if isinstance(kind, str) else "x"}\ndata: {json.dumps(e)}\n\n'.encode()

@both
@settings(seeded, max_examples=3*EXAMPLES)
@given(events=garbled(), kw=st.sampled_from([{}, dict(events=True), dict(thinking=True), dict(prefill='P')]))
def test_garbled_streams_are_errors_or_harmless(way, events, kw):
    data = b''.join(map(raw, events))
    chat = way.Chat(MODEL, way.sdk(Sandbox([lambda body: event_stream(data), 'Whole.'], models=PREFILLS)), hist=['Hi', 'Hello'], tools=TOOLS)
    try:
        s, _ = way.read(chat, 'x', **kw)
        contents(s.value), s.value.to_dict(warnings=False)
        assert len(chat.h) in (3, 4, 5)
    except anthropic.APIError as e:
        assert len(chat.h) == 2 and chat.partial is e.partial
        if e.partial: contents(e.partial), e.partial.to_dict(warnings=False)
    chat.use, chat.cost, chat.c.use, chat.c.cost, chat._repr_markdown_(), chat.c._repr_markdown_(), json.dumps(chat.h)
    assert contents(way.call(chat, 'x')) == 'Whole.'

# ---- the same without streams

def whole(**kw): return json.dumps(mk_reply('Hi', dict(model=MODEL)) | kw).encode()
WHOLE = {'html': (200, 'text/html', HTML.encode()), 'html as json': (200, 'application/json', HTML.encode()), 'nothing': (200, 'application/json', b''), 'nothing at all': (204, 'text/plain', b''),
    'cut': (200, 'application/json', whole()[:99]), 'not text': (200, 'application/json', b'{"a": "\xff"}'), **{name: (200, 'application/json', data) for name, data in {
    'object': b'{}', 'list': b'[]', 'null': b'null', 'string': b'"x"', 'number': b'3', 'no content': whole(content=None), 'text': whole(content='Hi'),
    'numbers': whole(content=[1, 2]), 'no type': whole(content=[dict(text='Hi')]), 'no text': whole(content=[dict(type='text')]), 'text as number': whole(content=[dict(type='text', text=3)]),
    'call without id': whole(content=[dict(type='tool_use', name='f', input={})]), 'input as text': whole(content=[dict(type='tool_use', id='t', name='f', input='x')]), 'user': whole(role='user'),
    'half a character': whole(content=[dict(type='text', text='\ud83d')]), 'not a number': whole(content=[dict(type='tool_use', id='t', name='f', input=dict(r=float('nan')))]),
    'too large': whole(content=[dict(type='tool_use', id='t', name='f', input=dict(r=-9))]).replace(b'-9', b'1e999'),
    'no role': whole(role=None), 'no model': whole(model=None), 'no usage': whole(usage=None), 'stop': whole(stop_reason=[])}.items()}}

NO_MESSAGES = 'cut', 'user', 'no role', 'no model', 'no usage', 'stop'

@both
@pytest.mark.parametrize('name', WHOLE)
def test_what_is_not_a_reply(way, name):
    status, kind, data = WHOLE[name]
    reply = lambda body: httpx2.Response(status, headers={'content-type': kind}, content=data)
    chat = way.Chat(MODEL, way.sdk(Sandbox([reply, 'Whole.'], models=PREFILLS)), hist=['Hi', 'Hello'])
    with pytest.raises(anthropic.APIError, match='not a reply of the API') as e: way.call(chat, 'x', prefill='P')
    paid = b'"usage": {' in data and b'"model": "' in data # What says what it took counts, also where it is no reply
    assert len(chat.h) == 2 and chat.use == chat.c.use == usage(0, 7 * paid) and chat.partial is e.value.partial
    if b'"type": "message"' in data and name not in NO_MESSAGES: assert contents(e.value.partial).startswith('P') and e.value.partial.usage.output_tokens == 7
    else: assert e.value.partial is None
    assert contents(way.call(chat, 'x')) == 'Whole.'
    check_history(chat.h)

STATUS = {400: 'BadRequestError', 401: 'AuthenticationError', 403: 'PermissionDeniedError', 404: 'NotFoundError', 413: 'ContentTooLargeError', 429: 'RateLimitError',
    500: 'InternalServerError', 529: 'OverloadedError'}

@both
@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('fault', [*STATUS, 'refused', 'timeout', 'cut', 'html'])
def test_refused_requests(way, fault, stream):
    replies = dict(refused=httpx2.ConnectError('refused'), timeout=httpx2.ConnectTimeout('slow'), cut=Cut('Hi', bytes=9, then=httpx2.RemoteProtocolError('closed')),
        html=lambda body: httpx2.Response(502, text=HTML))
    names = dict(refused='APIConnectionError', timeout='APITimeoutError', cut='APIConnectionError', html='InternalServerError')
    chat = way.Chat(MODEL, way.sdk(Sandbox([replies[fault] if fault in replies else Fail(fault, 'Mine'), 'Whole.'])), hist=['Hi', 'Hello'])
    with pytest.raises(anthropic.APIError) as e: (way.read if stream else way.call)(chat, 'x')
    assert type(e.value).__name__ == (STATUS | names)[fault] and e.value.partial is None is chat.partial
    if isinstance(replies.get(fault), Exception): assert e.value.__cause__ is replies[fault]
    assert len(chat.h) == 2 and chat.use == usage() and contents(way.call(chat, 'x')) == 'Whole.'
    check_history(chat.h)

# ---- what a reply must have

@pytest.mark.parametrize('block', [dict(type='text', text=''), dict(type='of_next_year'), dict(type='thinking', thinking='', signature=3), dict(type='text', text='', citations=[])])
def test_new_kinds_and_fields_pass(block): check_block(block | dict(new=1))

@needs_recordings
def test_recorded_replies_pass():
    for rec in recorded:
        if rec['stream']: continue
        msg = json.loads(rec['response'])
        check_start(msg)
        for b in msg['content']: check_block(b)

@both
@pytest.mark.parametrize('text', ['{"a": NaN}', '{"a": [-Infinity]}', '{"a": 1e999}', '{"a": "\\ud800"}', '{"a": "\ud800"}'])
def test_input_that_no_request_can_hold_is_invalid(way, text):
    "It is kept as it was said, the tool is not called with it, and the conversation goes on"
    events = mk_events(mk_reply([tool_use('f', a=1)], dict(model=MODEL)))
    for e in events:
        if e.get('delta', {}).get('type') == 'input_json_delta': e['delta']['partial_json'], text = text, ''
    called = []
    def f(a: float): "UsageLog"; called.append(a)
    data = b''.join(map(raw, events))
    chat = way.Chat(MODEL, way.sdk(Sandbox([lambda body: event_stream(data), 'Whole.'])), tools=[f])
    way.read(chat, 'x')
    assert not called and [*chat.h[1]['content'][0]['input']] == ['INVALID_JSON'] and chat.h[2]['content'][0]['is_error']
    assert contents(way.call(chat)) == 'Whole.'
    check_history(chat.h)

@both
def test_what_came_is_told_also_where_something_else_fails(way):
    "A callback, after all text; what had streamed is on the error and on the chat, until a turn succeeds"
    def broken(r): raise ZeroDivisionError
    chat = way.Chat(MODEL, way.sdk(Sandbox(['One', 'Two', 'Three'])))
    for ask, said in ((way.read, 'One'), (way.call, 'Two')):
        with pytest.raises(ZeroDivisionError) as e: ask(chat, 'x', cb=broken)
        assert contents(e.value.partial) == contents(chat.partial) == said and chat.h == []
    way.call(chat, 'x')
    assert chat.partial is None
