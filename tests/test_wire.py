"Requests written and replies read here equal those of the SDK's `messages.create`; tries, tokens, tracing, middleware"
import asyncio, json, math

import anthropic, httpx2, pytest
from common import MODEL, Async, both
from hypothesis import given, strategies as st
from llmchat import Batch, Chat, Client, Sandbox
from llmchat.engine.retries import Retry
from llmchat.protocol.encoding import body
from llmchat.protocol.events import check_reply
from llmchat.protocol.requests import mk_request
from llmchat.sandbox.server import Fail
from llmchat.sdk.wire import posts, read_message

REPLY = dict(id='msg_01', type='message', role='assistant', model=MODEL, content=[dict(type='text', text='Hello!')],
    stop_reason='end_turn', stop_sequence=None, usage=dict(input_tokens=3, output_tokens=2))
EVENTS = [dict(type='message_start', message=REPLY | dict(content=[], stop_reason=None)),
    dict(type='content_block_start', index=0, content_block=dict(type='text', text='')),
    dict(type='content_block_delta', index=0, delta=dict(type='text_delta', text='Hello!')),
    dict(type='content_block_stop', index=0),
    dict(type='message_delta', delta=dict(stop_reason='end_turn', stop_sequence=None), usage=dict(output_tokens=2)),
    dict(type='message_stop')]
BUSY = dict(type='error', error=dict(type='overloaded_error', message='Overloaded'))

def sse(*events): return ''.join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events).encode()
def streamed(*events): return httpx2.Response(200, headers={'content-type': 'text/event-stream', 'request-id': 'req_1'}, content=sse(*events))

def sdk(way, answer, **kw):
    "An SDK client whose requests `answer` gets"
    transport = httpx2.MockTransport(answer)
    if way is Async: return anthropic.AsyncAnthropic(**dict(api_key='none') | kw, http_client=httpx2.AsyncClient(transport=transport))
    return anthropic.Anthropic(**dict(api_key='none') | kw, http_client=httpx2.Client(transport=transport))

def asked(sent, script=None):
    "Notes requests; answers with the script, or as the request wants it"
    def answer(request):
        sent.append(request)
        if script: return script.pop(0)
        whole = not json.loads(request.content).get('stream')
        return httpx2.Response(200, json=REPLY, headers={'request-id': 'req_1'}) if whole else streamed(*EVENTS)
    return answer

def parts(r):
    return r.method, str(r.url), [(k, v) for k, v in r.headers.raw], r.content, r.extensions['timeout']

SETTINGS = [{}, dict(stop=['.'], sp='Be brief.'), dict(temp=.5), dict(timeout=7), dict(maxtok=64_000), dict(extra_headers={'x-mine': '1'}),
    dict(extra_query=dict(beta='true')), dict(user_profile_id='u1', workspace_id='w1'), dict(cache=True, metadata=dict(user_id='ü'))]

@both
@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('kw', SETTINGS, ids=lambda kw: ','.join(kw) or 'plain')
@pytest.mark.parametrize('given', [{}, dict(timeout=30), dict(default_headers={'x-all': 'ä'.encode().decode('latin-1')}, default_query=dict(q='1'))],
    ids=['default', 'timeout', 'headers'])
def test_request_equals_that_of_create(way, stream, kw, given):
    "Method, address, headers in their order, body and timeouts"
    theirs, ours = [], []
    req = mk_request(MODEL, 'Hi', **kw)
    if kw.get('maxtok') and not stream and not given.get('timeout'): req['timeout'] = anthropic.Timeout(1800.0, connect=5)
    r = sdk(way, asked(theirs), **given).messages.create(**req, **(dict(stream=True) if stream else {}))
    if way is Async: asyncio.run(awaited(r))
    c = way.Client(MODEL, sdk(way, asked(ours), **given))
    assert posts(c.sdk)
    way.read(c, 'Hi', **kw) if stream else way.call(c, 'Hi', **kw)
    assert parts(*ours) == parts(*theirs)

async def awaited(r): return await r

@both
def test_request_id_and_log(way):
    c = way.Client(MODEL, sdk(way, asked([])))
    assert way.call(c, 'Hi')._request_id == 'req_1'

@both
@pytest.mark.parametrize('first', [[BUSY], [dict(type='ping'), BUSY]], ids=['first', 'after a ping'])
def test_stream_that_begins_with_overload_is_tried_again(way, first):
    sent, told = [], []
    cli = sdk(way, asked(sent, [streamed(*first), streamed(*EVENTS)]))
    chat = way.Chat(MODEL, cli, on_retry=told.append)
    way.read(chat, 'Hi')
    assert len(sent) == 2 and chat.h[-1]['content'][0]['text'] == 'Hello!'
    assert [r.headers['x-stainless-retry-count'] for r in sent] == ['0', '1'] and [t.attempt for t in told] == [1]

@both
def test_stream_that_was_seen_is_not_tried_again(way):
    sent = []
    chat = way.Chat(MODEL, sdk(way, asked(sent, [streamed(*EVENTS[:3], BUSY)])))
    with pytest.raises(anthropic.OverloadedError): way.read(chat, 'Hi')
    assert len(sent) == 1 and chat.h == []

@both
def test_awaited_on_retry(way):
    told = []
    async def note(retry): told.append(retry)
    sb = Sandbox([Fail(529, headers={'retry-after-ms': '1'}), 'x'])
    way.call(way.Chat(MODEL, way.sdk(sb, max_retries=1), on_retry=note), 'Hi')
    assert [type(t) for t in told] == [Retry] and len(sb.requests) == 2

@both
def test_awaited_on_retry_where_the_sdk_repeats(way):
    told = []
    async def note(retry): told.append(retry.attempt)
    c = way.Client(MODEL, sdk(way, asked([], [httpx2.Response(529, headers={'retry-after-ms': '1'}),
        httpx2.Response(200, json=dict(input_tokens=5))])), on_retry=note)
    n = asyncio.run(awaited(c.count('Hi'))) if way is Async else c.count('Hi')
    assert n == 5 and told == [1]

@both
def test_expired_token_is_fetched_again(way):
    "A 401 takes the SDK's own way, which alone drops the old token; the next call has the new one"
    tokens, sent = iter(f't{i}' for i in range(1, 9)), []
    def token(**kw): return anthropic.AccessToken(token=next(tokens), expires_at=None)
    async def atoken(**kw): return token()
    def answer(request):
        sent.append(request.headers['authorization'].removeprefix('Bearer '))
        return httpx2.Response(200, json=REPLY) if sent[-1] != 't1' else httpx2.Response(401, json=dict(type='error',
            error=dict(type='authentication_error', message='expired')))
    kw = dict(api_key=None, credentials=atoken if way is Async else token)
    c = way.Client(MODEL, sdk(way, answer, **kw))
    for _ in range(2): way.call(c, 'Hi')
    assert sent == ['t1', 't1', 't2', 't2']

@both
def test_spans(way):
    "With a tracer each request has its span and a `traceparent`"
    pytest.importorskip('opentelemetry.sdk')
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    provider, spans, sent = TracerProvider(), InMemorySpanExporter(), []
    provider.add_span_processor(SimpleSpanProcessor(spans))
    c = way.Client(MODEL, sdk(way, asked(sent), open_telemetry=dict(tracer_provider=provider)))
    assert not posts(c.sdk)
    way.call(c, 'Hi')
    assert spans.get_finished_spans() and 'traceparent' in sent[0].headers

json_values = st.recursive(st.none() | st.booleans() | st.integers(-2**70, 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda o: st.lists(o, max_size=3) | st.dictionaries(st.text(), o, max_size=3), max_leaves=8)

@given(json_values)
def test_body_is_what_json_says_or_none(o):
    req = dict(max_tokens=5, messages=[dict(role='user', content=[dict(type='text', text='x', more=o)])], model='m')
    data = body(req)
    try: wanted = json.loads(json.dumps(req).encode('utf-8', 'strict')) if data else None
    except ValueError: wanted = None
    assert data is None or json.loads(data) == wanted

@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_nan_is_refused(bad):
    sb = Sandbox([])
    with pytest.raises(ValueError): Client(MODEL, sb.client())('Hi', extra_body=dict(top_p=bad))
    call = dict(type='tool_use', id='t1', name='f', input=dict(x=bad))
    with pytest.raises(ValueError, match=r'messages\[1\]'): Client(MODEL, sb.client())(['Hi', dict(role='assistant', content=[call]), 'More'])
    block, tool = dict(type='text', text='Hi', mood=bad), dict(name='f', input_schema=dict(type='object'))
    with pytest.raises(ValueError, match=r"messages\[0\]: a block of the type 'text'"): Client(MODEL, sb.client())([[block]])
    nested = dict(type='text', text='Hi', citations=[dict(type='char_location', start_char_index=bad)])
    with pytest.raises(ValueError, match='a block of the type'): Client(MODEL, sb.client())(['Hi', dict(role='assistant', content=[nested]), 'x'])
    with pytest.raises(ValueError): Client(MODEL, sb.client())('Hi', sp=[block])
    with pytest.raises(ValueError): Client(MODEL, sb.client())('Hi', tools=[tool], tool_choice=dict(type='auto', x=bad))
    assert sb.requests == []

def test_odd_replies_are_read_as_the_sdk_reads_them():
    for odd in ([], None, 'text', 5, dict(type='error', error=dict(type='api_error', message='no'))):
        r, _ = read_message(httpx2.Response(200, content=json.dumps(odd), headers={'content-type': 'application/json'}))
        assert r == odd if not isinstance(odd, dict) else r.type == 'error'

def test_nan_is_never_read_strictly():
    data = json.dumps(REPLY).replace('"output_tokens": 2', '"output_tokens": NaN').encode()
    r, sound = read_message(httpx2.Response(200, content=data, headers={'content-type': 'application/json'}))
    assert math.isnan(r.usage.output_tokens) and not sound

ODD = [None, '', ' ', 0, 1.5, True, [], {}, 'x', '\ud800', float('nan'), float('inf'), 10**400, dict(type='text'), [None], ['a'], dict(a=float('nan'))]
BLOCKS = [dict(type='text', text='Hello!'), dict(type='text', text='Hi', citations=[dict(type='char_location', cited_text='a', document_index=0,
    document_title='t', start_char_index=0, end_char_index=1)]), dict(type='thinking', thinking='Hm', signature='s'),
    dict(type='tool_use', id='toolu_1', name='f', input=dict(a=1)), dict(type='server_tool_use', id='srvtoolu_1', name='web_search', input={})]

@given(st.data())
def test_what_reading_finds_sound_needs_no_other_check(data):
    "Replies with an odd value anywhere, or a field too many"
    msg = json.loads(json.dumps(REPLY | dict(content=data.draw(st.lists(st.sampled_from(BLOCKS), max_size=3)))))
    o = msg
    while True:
        k = data.draw(st.sampled_from([*o, 'new'] if isinstance(o, dict) else [*range(len(o))]))
        inner = o[k] if k != 'new' else None
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()): break
        o = inner
    o[k] = data.draw(st.sampled_from(ODD))
    text = json.dumps(msg).replace('Infinity', '1e999') if data.draw(st.booleans()) else json.dumps(msg)
    try: r, sound = read_message(httpx2.Response(200, content=text.encode(), headers={'content-type': 'application/json'}))
    except (ValueError, RecursionError): return
    if sound: check_reply(vars(r) | dict(content=[b.to_dict(warnings=False) for b in r.content]))

# ---- betas

REFUSED = REPLY | dict(content=[], stop_reason='refusal', stop_details=dict(type='refusal', category='cyber', explanation='No.',
    fallback_credit_token='tok_1', fallback_has_prefill_claim=False))

def refusing(sent):
    "Answers that only the second model gives"
    def answer(request):
        sent.append(request)
        body = json.loads(request.content)
        reply = REFUSED if body['model'] == MODEL else REPLY | dict(model=body['model'])
        if not body.get('stream'): return httpx2.Response(200, json=reply)
        start, *rest, stop = [dict(EVENTS[0], message=reply | dict(content=[], stop_reason=None)), *EVENTS[1:]]
        if reply is REFUSED: rest = [dict(type='message_delta', delta={k: reply[k] for k in ('stop_reason', 'stop_sequence', 'stop_details')}, usage=dict(output_tokens=2))]
        return streamed(start, *rest, stop)
    return answer

@both
@pytest.mark.parametrize('stream', [False, True])
def test_fallbacks_of_the_sdk_answer_through_a_chat(way, stream):
    "Its middleware sees requests with betas alone; the block that says where the model changed stays in the history"
    sent, other = [], 'claude-opus-5-5'
    fall_back = anthropic.BetaRefusalFallbackMiddleware([dict(model=other)])
    chat = way.Chat(MODEL, sdk(way, refusing(sent), middleware=[fall_back]), betas=['fallback-credit-2026-07-01'])
    for n in (2, 4):
        way.read(chat, 'Hi') if stream else way.call(chat, 'Hi')
        models = [json.loads(r.content)['model'] for r in sent]
        assert models == [MODEL, other] * (n // 2)
        assert [b['type'] for b in chat.h[-1]['content']] == ['fallback', 'text'] and len(chat.h) == n
    assert 'fallback-credit-2026-07-01' in sent[0].headers['anthropic-beta'] and b'betas' not in sent[0].content

@both
@pytest.mark.parametrize('stream', [False, True])
def test_a_request_with_betas_equals_that_of_the_beta_client(way, stream):
    theirs, ours = [], []
    more = dict(betas=['context-management-2025-06-27', 'other'], context_management=dict(edits=[]))
    r = sdk(way, asked(theirs)).beta.messages.create(**mk_request(MODEL, 'Hi'), **more, **(dict(stream=True) if stream else {}))
    if way is Async: asyncio.run(awaited(r))
    c = way.Client(MODEL, sdk(way, asked(ours)))
    way.read(c, 'Hi', **more) if stream else way.call(c, 'Hi', **more)
    plain = lambda r: [[h for h in p if h[0] != b'X-Stainless-Raw-Response'] if isinstance(p, list) else p for p in parts(r)] # Of SDK clients with middleware
    assert plain(ours[0]) == plain(theirs[0])

def test_a_setting_of_betas_names_its_beta():
    sb = Sandbox(['Hello!'])
    c = Client(MODEL, sb.client())
    with pytest.raises(ValueError, match='mcp_servers belongs to a beta'): c('Hi', mcp_servers=[])
    with pytest.raises(TypeError, match='betas is'): c('Hi', betas='mcp-client-2025-11-20')
    assert sb.requests == []
    c('Hi', betas=None)

@both
@pytest.mark.parametrize('none', [None, [], ()])
def test_no_betas_are_no_betas_for_a_client_with_middleware(way, none):
    sent = []
    c = way.Client(MODEL, sdk(way, asked(sent), middleware=[anthropic.BetaRefusalFallbackMiddleware([dict(model='claude-opus-5-5')])]))
    way.call(c, 'Hi', betas=none)
    assert b'betas' not in sent[0].content and 'anthropic-beta' not in sent[0].headers

def test_a_batch_has_the_betas_of_all_its_requests(tmp_path):
    a, b = ['context-management-2025-06-27', 'x'], ['x', 'y']
    sb = Sandbox(lambda body: 'Hi')
    chats = [Chat(MODEL, sb.client(), betas=betas) for betas in (a, b)]
    for chat in chats: chat.h.append('Hi')
    Batch(MODEL, chats, tmp_path/'b.jsonl', cli=sb.client(), betas=['z'], progress=False, sleep=sb.sleep).run()
    sent, = [r for r in sb.requests if (r.method, r.path) == ('POST', '/v1/messages/batches')]
    assert sorted(sent.headers['anthropic-beta'].split(',')) == sorted({*a, *b}) and 'betas' not in str(sent.body)
