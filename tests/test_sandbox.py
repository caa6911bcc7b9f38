"What a sandbox answers, seen through the SDK: every kind of reply, both transports, JSON and events"
import asyncio, json, os, re, subprocess, sys, threading
from datetime import datetime
from functools import cache
from inspect import signature
from itertools import groupby
from pathlib import Path
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import anthropic, httpx2, pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel

from common import LARGE, seeded
from llmchat import AsyncClient, Client
from llmchat.sandbox.server import (
    Cut, est_tokens, Fail, mk_events, mk_model, mk_reply, reply_block, request_tokens, sse, tool_use)
from llmchat.sandbox import Sandbox

ASK = dict(model='claude-sonnet-5', max_tokens=100, messages=[dict(role='user', content='Hi')])
CUT = 'Hello Jeremy, how are you? 😊'

def create(sb, **kw):
    with sb.client() as cli: return cli.messages.create(**ASK | kw)

def stream(sb, **kw):
    with sb.client() as cli, cli.messages.stream(**ASK | kw) as s: return s.get_final_message()

def acreate(sb, **kw):
    async def go():
        async with sb.aclient() as cli: return await cli.messages.create(**ASK | kw)
    return asyncio.run(go())

def astream(sb, **kw):
    async def go():
        async with sb.aclient() as cli, cli.messages.stream(**ASK | kw) as s: return await s.get_final_message()
    return asyncio.run(go())

each_way = pytest.mark.parametrize('ask', [create, stream, acreate, astream])
each_stream = pytest.mark.parametrize('ask', [stream, astream])

def text(r): return ''.join(b.text for b in r.content if b.type == 'text')

# ---- replies

BLOCK = dict(type='text', text='Hi')
REPLIES = {'str': 'Hi', 'block': BLOCK, 'sdk block': anthropic.types.TextBlock(**BLOCK),
    'list': ['H', {'type': 'text', 'text': 'i'}],
    'message': {'content': 'Hi'}, 'message of blocks': {'content': [BLOCK], 'type': 'message'},
    'function': lambda body: body['messages'][0]['content'], 'function of a function': lambda body: lambda body: 'Hi',
    'sdk message': anthropic.types.Message.model_validate(mk_reply('Hi'))}

@each_way
@pytest.mark.parametrize('kind', REPLIES)
def test_every_kind_of_reply(ask, kind):
    assert text(ask(Sandbox([REPLIES[kind]]))) == 'Hi'

@pytest.mark.parametrize('kind', [k for k in REPLIES if k != 'list'])
def test_one_reply_needs_no_list(kind): assert text(create(Sandbox(REPLIES[kind]))) == 'Hi'

@each_way
@pytest.mark.parametrize('given,reason', [('Hi', 'end_turn'), (tool_use('f'), 'tool_use'),
    (['Hi', tool_use('f')], 'tool_use'), ({'content': 'Hi', 'stop_sequence': 'END'}, 'stop_sequence'),
    ({'stop_reason': 'refusal'}, 'refusal'), ([], 'end_turn'),
    ({'content': tool_use('f'), 'stop_reason': 'max_tokens'}, 'max_tokens')])
def test_stop_reason(ask, given, reason):
    r = ask(Sandbox([given]))
    assert r.stop_reason == reason
    assert r.stop_sequence == (given.get('stop_sequence') if isinstance(given, dict) else None)

@each_way
def test_stop_details_and_container(ask):
    details = dict(type='refusal', category='cyber', explanation='No.')
    box = dict(id='container_1', expires_at='2026-11-23T00:00:00Z')
    r = ask(Sandbox([{'stop_reason': 'refusal', 'stop_details': details, 'container': box}]))
    assert r.stop_details.to_dict() == details and r.container.id == 'container_1'

@each_way
def test_usage(ask):
    usage = dict(cache_read_input_tokens=7, server_tool_use=dict(web_search_requests=1, web_fetch_requests=0))
    r = ask(Sandbox([{'content': 'Hi', 'usage': usage}]))
    assert r.usage.input_tokens == request_tokens(ASK) and r.usage.output_tokens == est_tokens(reply_block('Hi'))
    assert r.usage.cache_read_input_tokens == 7 and r.usage.server_tool_use.web_search_requests == 1
    assert r.usage.cache_creation.ephemeral_1h_input_tokens == 0 and r.usage.service_tier == 'standard'

def test_the_first_event_knows_input_tokens_only():
    usage = dict(output_tokens=9, server_tool_use=dict(web_search_requests=1, web_fetch_requests=0))
    start = mk_events(mk_reply({'content': 'Hi', 'usage': usage}, ASK))[0]['message']
    assert start['usage']['output_tokens'] == 1 and start['usage']['input_tokens'] == request_tokens(ASK)
    assert 'server_tool_use' not in start['usage'] and start['stop_reason'] is None and start['content'] == []

@pytest.mark.parametrize('bad', [42, {'type': 'message', 'text': 'Hi'}, {'stop_reson': 'refusal'}, [{'text': 'Hi'}],
    {'content': 3}, [None], {'type': 'text'}, {'type': 'tool_use'}, tool_use('f', a=object())])
@each_way
def test_a_reply_that_cannot_be_one_fails_the_test(ask, bad):
    with pytest.raises(AssertionError, match='The script failed'): ask(Sandbox([bad]))

def test_ids_are_the_same_every_time():
    def run():
        sb = Sandbox(['Hi', tool_use('f'), [tool_use('f'), tool_use('g')]])
        return [create(sb).to_dict() for _ in range(3)]
    first = run()
    assert first == run()
    ids = [o['id'] for m in first for o in [m, *m['content']] if 'id' in o]
    assert len(set(ids)) == 6 and all(re.fullmatch('[a-zA-Z0-9_-]+', i) for i in ids)
    assert first[2]['content'][1]['id'] == 'toolu_0003_1'

def test_other_routes_leave_the_numbers_of_calls_alone():
    sb = Sandbox('Hi')
    sb.client().models.list()
    assert create(sb).id == 'msg_0001' and [r.id for r in sb.requests] == ['req_0001', 'req_0002']

def test_model_of_a_reply():
    assert create(Sandbox('Hi')).model == ASK['model']
    assert create(Sandbox('Hi', model='claude-x')).model == 'claude-x'
    assert create(Sandbox({'content': 'Hi', 'model': 'claude-y'}, model='claude-x')).model == 'claude-y'

# ---- JSON and events say the same

odd = ['a\u2028b\u0085c\x0bd', '👩\u200d👩\u200d👧 ☕', 'event: x\n\ndata: y', '\r\n']
texts = st.text(st.characters(codec='utf-8'), max_size=40) | st.sampled_from(odd)
names = st.from_regex('[a-zA-Z0-9]{1,8}', fullmatch=True)
values = st.recursive(st.none() | st.booleans() | st.integers(-2**53, 2**53) | texts,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3), max_leaves=6)
inputs = st.dictionaries(texts, values, max_size=3)

simple = {str: texts, int: st.integers(0, 99), bool: st.booleans(), float: st.floats(0, 1), type(None): st.none(),
    object: values, datetime: st.just('2026-01-01T00:00:00Z')}

@cache
def of(T):
    "JSON of a type that the SDK has for replies"
    kind, args = get_origin(T), get_args(T)
    if kind is Annotated: return of(args[0])
    if kind in (Union, UnionType): return st.one_of(*map(of, args))
    if kind is Literal: return st.sampled_from(args)
    if kind is list: return st.lists(of(args[0]), max_size=2)
    if kind is dict: return inputs
    if T in simple: return simple[T]
    fields = {k: names if k in ('id', 'name') and f.annotation is str else of(f.annotation) for k, f in T.model_fields.items()}
    must = {k for k, f in T.model_fields.items() if f.is_required()}
    return st.fixed_dictionaries({k: fields[k] for k in fields if k in must},
        optional={k: fields[k] for k in fields if k not in must})

BLOCKS = {get_args(T.model_fields['type'].annotation)[0]: T for T in get_args(get_args(anthropic.types.ContentBlock)[0])}

@pytest.mark.parametrize('kind', BLOCKS)
def test_what_is_generated_is_what_the_sdk_says(kind):
    @settings(max_examples=5, database=None, derandomize=True)
    @given(of(BLOCKS[kind]))
    def check(block): assert BLOCKS[kind].model_validate(block, strict=True).type == kind
    check()

usages = st.fixed_dictionaries({}, optional=dict(
    cache_creation_input_tokens=st.integers(0, 9), output_tokens=st.integers(0, 9),
    output_tokens_details=st.just(dict(thinking_tokens=3)),
    server_tool_use=st.none() | st.just(dict(web_search_requests=2, web_fetch_requests=1))))
messages = st.fixed_dictionaries(dict(content=st.lists(texts | st.one_of(*map(of, BLOCKS.values())), max_size=4)), optional=dict(
    stop_reason=st.sampled_from(['end_turn', 'max_tokens', 'pause_turn']), stop_sequence=st.none() | texts, usage=usages))

def ours(sb):
    "The message that our own stream puts together"
    with sb.client() as cli:
        s = Client(ASK['model'], cli=cli)('Hi', maxtok=100, stream=True)
        for _ in s: pass
    return s.value

def aours(sb):
    async def go():
        async with sb.aclient() as cli:
            s = AsyncClient(ASK['model'], cli=cli)('Hi', maxtok=100, stream=True)
            async for _ in s: pass
        return s.value
    return asyncio.run(go())

def plain(r):
    "A message without the fields that are None, which a stream may leave out"
    def strip(o):
        if isinstance(o, dict): return {k: strip(v) for k,v in o.items() if v is not None}
        return [strip(v) for v in o] if isinstance(o, list) else o
    return strip(r.to_dict(mode='json'))

def has_names(reply):
    "Have all calls and results an id?"
    return all('' not in (b.get('id'), b.get('tool_use_id')) for b in reply['content'] if isinstance(b, dict))

@seeded
@given(messages.filter(has_names), st.none() | st.integers(1, 9), st.none() | st.integers(1, 99))
def test_a_stream_adds_up_to_the_message(reply, delta, chunk):
    whole = create(Sandbox(reply))
    for ask in stream, acreate, astream: assert plain(ask(Sandbox(reply, delta=delta, chunk=chunk))) == plain(whole)
    for ask in ours, aours: assert plain(ask(Sandbox(reply, delta=delta, chunk=chunk))) == plain(whole)
    assert create(Sandbox(whole)).to_dict() == whole.to_dict()

@seeded
@given(texts, st.none() | st.integers(1, 5))
def test_deltas_are_small_and_lose_nothing(t, delta):
    parts = [e['delta']['text'] for e in mk_events(mk_reply(t), delta) if e['type'] == 'content_block_delta']
    assert ''.join(parts) == t and all(parts)
    if delta: assert all(len(p) <= delta for p in parts)

# ---- bytes

def test_wire_format():
    assert sse([dict(type='ping'), dict(type='x', s='é\u2028')]) == [b'event: ping\ndata: {"type":"ping"}\n\n',
        'event: x\ndata: {"type":"x","s":"é\u2028"}\n\n'.encode()]

@pytest.mark.parametrize('size', [1, 2, 3, 7, 1000])
def test_bytes_come_in_chunks(size):
    got = []
    body = ASK | {'stream': True}
    with Sandbox(CUT, chunk=size).client() as cli:
        with cli.messages.with_streaming_response.create(**body) as r: got = list(r.http_response.iter_raw())
    assert b''.join(got) == b''.join(sse(mk_events(mk_reply(CUT, body))))
    assert all(len(c) == size for c in got[:-1])

def test_by_default_a_chunk_is_an_event():
    body = ASK | {'stream': True}
    with Sandbox(CUT).client() as cli, cli.messages.with_streaming_response.create(**body) as r:
        assert list(r.http_response.iter_raw()) == sse(mk_events(mk_reply(CUT, body)))

# ---- the script

@each_way
def test_no_reply_left(ask, monkeypatch):
    def no_sleep(*a): raise RuntimeError('slept')
    monkeypatch.setattr('time.sleep', no_sleep)
    sb = Sandbox(['Hi'])
    ask(sb)
    with pytest.raises(AssertionError, match=r"No reply left for call 2.*'Hi'") as e: ask(sb)
    assert not isinstance(e.value, anthropic.APIError) and len(sb.requests) == 2

def test_no_reply_left_is_not_retried():
    sb = Sandbox()
    with pytest.raises(AssertionError): sb.client(max_retries=3).messages.create(**ASK)
    assert len(sb.requests) == 1

def test_replies_can_be_added():
    sb = Sandbox(['Hi'])
    sb.replies.append('there')
    assert [text(create(sb)), text(create(sb))] == ['Hi', 'there'] and not sb.replies

@each_way
def test_errors_in_a_function(ask):
    def wrong(body): assert body['max_tokens'] == 1, 'max_tokens is not 1'
    with pytest.raises(AssertionError, match='max_tokens is not 1') as e: ask(Sandbox(wrong))
    assert isinstance(e.value.__cause__, AssertionError)
    def refused(body): raise httpx2.ConnectError('refused')
    with pytest.raises(anthropic.APIConnectionError) as e: ask(Sandbox(refused))
    assert isinstance(e.value.__cause__, httpx2.ConnectError)

def test_async_functions():
    async def reply(body): return 'Hi'
    assert text(acreate(Sandbox(reply))) == text(astream(Sandbox([reply]))) == 'Hi'
    async def wrong(body): raise ValueError('oh')
    with pytest.raises(AssertionError, match='ValueError: oh'): acreate(Sandbox(wrong))

@each_way
def test_exceptions_and_responses_as_they_are(ask):
    with pytest.raises(anthropic.APITimeoutError): ask(Sandbox(httpx2.ReadTimeout('slow')))
    with pytest.raises(anthropic.APIConnectionError): ask(Sandbox([ConnectionResetError('reset')]))
    with pytest.raises(KeyboardInterrupt): ask(Sandbox(lambda body: KeyboardInterrupt()))
    with pytest.raises(anthropic.APIStatusError, match='stout'): ask(Sandbox(httpx2.Response(418, text='stout')))

def test_requests_are_kept_without_the_key():
    sb = Sandbox('Hi')
    sb.client(api_key='sk-secret', default_headers={'x-mine': '1'}).messages.create(**ASK)
    req, = sb.requests
    assert (req.method, req.path, req.body, req.headers['X-Mine']) == ('POST', '/v1/messages', ASK, '1')
    assert 'secret' not in repr(sb.requests) and 'secret' in req.headers['authorization']

def test_environment_does_not_matter(monkeypatch):
    monkeypatch.delenv('ANTHROPIC_API_KEY', raising=False)
    monkeypatch.setenv('ANTHROPIC_BASE_URL', 'http://nowhere.invalid')
    monkeypatch.setenv('HTTPS_PROXY', 'http://nowhere.invalid')
    assert text(create(Sandbox('Hi'))) == 'Hi'

def test_client_arguments_reach_the_sdk():
    seen = []
    def middleware(request, call_next):
        seen.append(request)
        return call_next(request)
    sb = Sandbox([Fail(529, headers={'retry-after-ms': '1'}), 'Hi'])
    cli = sb.client(max_retries=1, timeout=7, middleware=[middleware])
    assert cli.timeout == 7 and text(cli.messages.create(**ASK)) == 'Hi' and len(seen) == len(sb.requests) == 2

def test_long_answers_need_streaming_as_with_any_client():
    with pytest.raises(ValueError, match='Streaming is required'): create(Sandbox('Hi'), max_tokens=64_000)
    assert text(stream(Sandbox('Hi'), max_tokens=64_000)) == 'Hi'

# ---- failures

STATUS = {400: anthropic.BadRequestError, 401: anthropic.AuthenticationError, 402: anthropic.PaymentRequiredError,
    403: anthropic.PermissionDeniedError, 404: anthropic.NotFoundError, 413: anthropic.ContentTooLargeError,
    429: anthropic.RateLimitError, 500: anthropic.InternalServerError, 502: anthropic.InternalServerError,
    504: anthropic.GatewayTimeoutError, 529: anthropic.OverloadedError}

@each_way
@pytest.mark.parametrize('status', STATUS)
def test_error_status(ask, status):
    with pytest.raises(STATUS[status]) as e: ask(Sandbox([Fail(status, 'Mine', headers={'retry-after': '9'})]))
    e = e.value
    assert (e.status_code, e.api_message, e.response.headers['retry-after']) == (status, 'Mine', '9')
    assert e.body == Fail(status, 'Mine').body(e.request_id) and e.request_id == 'req_0001'
    assert Fail(status, type='x').body('r')['error']['type'] == 'x'

LAST = len(mk_events(mk_reply(CUT)))

@each_stream
@pytest.mark.parametrize('n', range(LAST+1))
def test_cut_after_every_event(ask, n):
    if n == 0:
        with pytest.raises(AssertionError): ask(Sandbox(Cut(CUT, events=n)))
        return
    r = ask(Sandbox(Cut(CUT, events=n)))
    assert CUT.startswith(text(r)) and (r.stop_reason is None) == (n < LAST-1)
    reset = httpx2.RemoteProtocolError('reset')
    with pytest.raises(httpx2.RemoteProtocolError): ask(Sandbox(Cut(CUT, events=n, then=reset)))
    with pytest.raises(anthropic.APIStatusError, match='Overloaded') as e:
        ask(Sandbox(Cut(CUT, events=n, then=Fail(529))))
    assert (e.value.status_code, e.value.type) == (200, 'overloaded_error')

@each_stream
@pytest.mark.parametrize('chunk', [None, 1])
def test_cut_after_any_byte(ask, chunk):
    wire = b''.join(sse(mk_events(mk_reply(CUT, ASK | {'stream': True}))))
    for n in range(0, len(wire), 17 if LARGE else 53):
        stalled = Sandbox(Cut(CUT, bytes=n, then=httpx2.ReadTimeout('stall')), chunk=chunk)
        with pytest.raises(httpx2.ReadTimeout): ask(stalled)
    raw = Sandbox(Cut(CUT, bytes=100)).client().messages.with_streaming_response
    with raw.create(**ASK, stream=True) as r: assert r.http_response.read() == wire[:100]

@pytest.mark.parametrize('ask', [create, acreate])
def test_cut_without_streaming(ask):
    with pytest.raises(anthropic.APIConnectionError): ask(Sandbox(Cut(CUT, bytes=20, then=httpx2.ReadError('reset'))))
    with pytest.raises(anthropic.InternalServerError): ask(Sandbox(Cut(CUT, events=0, then=Fail(529))))
    with pytest.raises(ValueError): ask(Sandbox(Cut(CUT, bytes=20)))
    assert text(ask(Sandbox(Cut(CUT, events=1)))) == CUT

@each_stream
def test_cuts_combine(ask):
    with pytest.raises(KeyboardInterrupt): ask(Sandbox(Cut(CUT, events=5, then=KeyboardInterrupt())))
    r = ask(Sandbox(Cut(lambda body: Cut([CUT, tool_use('f')], events=9), events=4)))
    assert text(r) == 'Hello'
    with pytest.raises(anthropic.RateLimitError): ask(Sandbox(Cut(Fail(429), events=1)))

@pytest.mark.parametrize('kw', [{}, dict(events=1, bytes=1)])
def test_cut_where(kw):
    with pytest.raises(ValueError): Cut('Hi', **kw)

# ---- many at once

def test_threads_share_a_script():
    n,replies = 200,[str(i) for i in range(200)]
    sb,seen = Sandbox(replies),{}
    cli = sb.client()
    def work(k):
        for i in range(k, n, 8):
            r = cli.messages.create(**ASK | {'max_tokens': i+1})
            seen[i+1] = (text(r), r.id)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert sorted(t for t,_ in seen.values()) == sorted(replies)
    for i,req in enumerate(sb.requests): assert seen[req.body['max_tokens']] == (str(i), f'msg_{i+1:04}')

def test_async_calls_overlap():
    live = peak = 0
    async def reply(body):
        nonlocal live, peak
        live += 1
        peak = max(peak, live)
        await asyncio.sleep(0)
        live -= 1
        return str(body['max_tokens'])
    sb = Sandbox(reply)
    async def one(cli, i):
        async with cli.messages.stream(**ASK | {'max_tokens': i+1}) as s: return text(await s.get_final_message())
    async def go():
        async with sb.aclient() as cli: return await asyncio.gather(*[one(cli, i) for i in range(100)])
    assert asyncio.run(go()) == [str(i+1) for i in range(100)] and peak > 50

def test_a_task_can_be_cancelled_between_events():
    got = []
    async def go():
        async with Sandbox(CUT).aclient() as cli:
            async def read():
                async with cli.messages.stream(**ASK) as s:
                    async for t in s.text_stream:
                        got.append(t)
                        if len(got) == 2: task.cancel()
            task = asyncio.create_task(read())
            with pytest.raises(asyncio.CancelledError): await task
    asyncio.run(go())
    assert got == ['Hello', ' Jeremy,']

def test_a_call_cancelled_before_its_answer_keeps_its_reply():
    sb = Sandbox(['Hi', 'there'])
    async def go():
        async with sb.aclient() as cli:
            task = asyncio.create_task(cli.messages.create(**ASK))
            while not sb.requests: await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError): await task
            return await cli.messages.create(**ASK)
    assert text(asyncio.run(go())) == 'there'

# ---- the SDK's helpers and other routes

class Sum(BaseModel):
    a: int
    b: int

def test_parse():
    assert Sandbox('{"a": 1, "b": 2}').client().messages.parse(**ASK, output_format=Sum).parsed_output == Sum(a=1, b=2)
    with Sandbox('{"a": 1, "b": 2}').client().messages.stream(**ASK, output_format=Sum) as s:
        assert s.get_final_message().parsed_output == Sum(a=1, b=2)
    parsed = Sandbox('{"a": 1, "b": 2}').client().messages.parse(**ASK, output_format=Sum)
    assert text(create(Sandbox([parsed]))) == '{"a": 1, "b": 2}'
    async def go(): return await Sandbox('{"a": 1, "b": 2}').aclient().messages.parse(**ASK, output_format=Sum)
    assert asyncio.run(go()).parsed_output == Sum(a=1, b=2)

def test_count_tokens():
    kw = dict(model=ASK['model'], messages=ASK['messages'], system='Be brief.',
        tools=[dict(name='f', input_schema=dict(type='object', properties={}))])
    n = Sandbox().client().messages.count_tokens(**kw).input_tokens
    assert n == create(Sandbox('Hi'), **kw).usage.input_tokens > request_tokens(ASK)
    async def go(): return await Sandbox().aclient().messages.count_tokens(**kw)
    assert asyncio.run(go()).input_tokens == n

def test_models():
    sb = Sandbox(models=['claude-a', mk_model('claude-haiku-b', no=['thinking', 'effort.max'], max_tokens=8192)])
    cli = sb.client(_strict_response_validation=True)
    a,b = cli.models.list().data[:2] # what a test gives comes first
    assert (a.id, a.line, b.id, b.line, b.max_tokens) == ('claude-a', None, 'claude-haiku-b', 'haiku', 8192)
    assert a.capabilities.thinking.types.adaptive.supported and a.capabilities.image_input.supported
    caps = b.capabilities
    assert not (caps.thinking.supported or caps.thinking.types.adaptive.supported or caps.effort.max.supported)
    assert caps.effort.supported and caps.effort.low.supported
    async def go(): return await sb.aclient().models.retrieve('claude-a')
    assert asyncio.run(go()) == a

def test_default_models_are_the_sdks():
    known, named = Sandbox().models, anthropic.types.model_param.ModelParam.__args__[0].__args__
    assert not set(named) - known.keys()
    ids = [m.id for m in Sandbox().client(_strict_response_validation=True).models.list()]
    assert ids == [m for m in known if m in named and m == known[m]['id'] and m != 'claude-mythos-preview']

def test_unknown_routes():
    cli = Sandbox().client()
    with pytest.raises(anthropic.NotFoundError) as e: cli.models.retrieve('claude-9')
    assert e.value.body['error'] == dict(type='not_found_error', message='model: claude-9')
    with pytest.raises(anthropic.NotFoundError) as e: cli.get('/v1/skills', cast_to=object)
    assert e.value.body == Fail(404).body('req_0002')
    with pytest.raises(anthropic.NotFoundError): cli.get('/v1/messages', cast_to=object)
    with pytest.raises(anthropic.NotFoundError): cli.post('/', cast_to=object)

def test_request_ids():
    sb = Sandbox(['Hi', 'Hi', Fail(429)])
    assert create(sb)._request_id == 'req_0001'
    with sb.client().messages.stream(**ASK) as s: assert s.request_id == 'req_0002'
    with pytest.raises(anthropic.RateLimitError) as e: create(sb)
    assert e.value.request_id == 'req_0003'

def test_beta_messages():
    r = Sandbox('Hi').client().beta.messages.create(**ASK)
    assert r.content[0].text == 'Hi'

def test_signatures_can_be_shown():
    assert signature(Sandbox.client, eval_str=True).return_annotation is anthropic.Anthropic
    assert list(signature(Sandbox, eval_str=True).parameters) == ['replies', 'model', 'models', 'faults', 'limits',
        'delta', 'chunk', 'validate', 'keys', 'at', 'pace', 'clock']

def test_import_is_light():
    code = """import sys, llmchat.sandbox as s
s.Sandbox(['Hi', s.Fail(529)])
assert not {'anthropic', 'httpx2', 'anyio', 'pydantic'} & sys.modules.keys()"""
    subprocess.run([sys.executable, '-c', code], check=True)

@pytest.mark.parametrize('body', [{}, {'messages': []}, {'messages': [], 'cache_control': {'type': 'ephemeral'}},
    {'messages': [{'role': 'user', 'content': []}], 'stream': True}])
def test_without_validation_anything_is_answered(body):
    cli = Sandbox('Hi', validate=False).client()
    res = cli.post('/v1/messages', body=body, cast_to=httpx2.Response)
    assert res.status_code == 200 and b'Hi' in res.content

# ---- real streams

RECORDINGS = Path(os.environ.get('LLMCHAT_RECORDINGS', Path(__file__).parents[2]/'shared/data/claude-recordings.jsonl'))
recorded = [json.loads(l) for l in RECORDINGS.read_text().splitlines()] if RECORDINGS.exists() else []
needs_recordings = pytest.mark.skipif(not recorded, reason=f'no {RECORDINGS.name}')

def shape(events):
    "Types and keys of events, of neighbouring deltas of a kind only one, usage without what only the API knows"
    def one(e):
        keys = sorted(e) + sorted(e.get('delta', {})) + sorted(e.get('content_block', {})) + sorted(e.get('message', {}))
        usage = e.get('usage') or e.get('message', {}).get('usage') or {}
        return [e['type'], e.get('index'), e.get('delta', {}).get('type'), keys, sorted(usage.keys() - {'inference_geo'})]
    return [k for k,_ in groupby(map(one, events))]

def decode(wire): return [json.loads(l.removeprefix('data: ')) for l in wire.split('\n') if l.startswith('data: ')]

@needs_recordings
def test_streams_look_like_recorded_ones():
    streams = [decode(r['response']) for r in recorded if r['stream']]
    assert streams
    for events in streams:
        replay = httpx2.Response(200, headers={'content-type': 'text/event-stream'}, content=b''.join(sse(events)))
        msg = stream(Sandbox(replay))
        assert shape(mk_events(mk_reply(msg))) == shape(events)

@needs_recordings
def test_recorded_messages_come_back_whole():
    for r in recorded:
        if r['stream']: continue
        msg = json.loads(r['response'])
        assert mk_reply(msg) == msg
        assert list(mk_reply(msg)) == list(msg) and list(mk_reply({'content': 'Hi'}, ASK)) == list(msg)
        assert plain(stream(Sandbox(msg))) == plain(create(Sandbox(msg)))
