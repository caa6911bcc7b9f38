"Retries: how long they may take, who is told, and whose client is left alone; sync and async"
import asyncio
from email.utils import formatdate
from time import time

import anthropic, httpx2, pytest
from common import MODEL, Async, Sync, both
from llmchat import AsyncClient, Chat, Client, Sandbox
from llmchat.sandbox import clouds
from llmchat.sandbox.server import Cut, Fail
from llmchat.engine.retries import Retry, retry_after

SOON = {'retry-after-ms': '1'}
BUSY, DAY = Fail(529, headers=SOON), Fail(429, headers={'retry-after': '86400'})

def chat_on(way, sb, retries=2, **kw):
    return way.Chat(MODEL, way.sdk(sb, max_retries=retries), **kw)

@both
@pytest.mark.parametrize('headers', [{'retry-after': '86400'}, {'retry-after-ms': '86400000'}, {'retry-after': 'inf'},
    {'retry-after': formatdate(time() + 86400, usegmt=True)}])
@pytest.mark.parametrize('stream', [False, True])
def test_a_long_wait_is_an_error_at_once(way, headers, stream):
    sb = Sandbox([Fail(429, headers=headers), 'x'])
    chat = chat_on(way, sb)
    with pytest.raises(anthropic.RateLimitError, match='come back in'):
        way.read(chat, 'Hi') if stream else way.call(chat, 'Hi')
    assert len(sb.requests) == 1 and chat.h == []
    way.call(chat, 'Hi')

@both
def test_what_is_not_too_long_is_waited_for(way):
    sb = Sandbox([Fail(429, headers={'retry-after': '0.2'}), Fail(503, headers={'retry-after': 'when it suits'}), 'x'])
    told = []
    way.call(chat_on(way, sb, max_wait=0.2, on_retry=told.append), 'Hi')
    assert [r.seconds for r in told] == [0.2, 1.0] and len(sb.requests) == 3

@both
def test_each_wait_is_told_before_it_begins(way):
    sb, told = Sandbox([BUSY, Cut('x', events=0, then=httpx2.ConnectError('no')), 'x']), []
    def note(retry): told.append((retry, len(sb.requests)))
    way.call(chat_on(way, sb, on_retry=note), 'Hi')
    (first, n1), (second, n2) = told
    assert isinstance(first, Retry) and (n1, n2) == (1, 2)
    assert first[:3] == (1, 2, 0.001) and first.cause.status_code == 529
    assert second[:3] == (2, 2, 1.0) and isinstance(second.cause, anthropic.APIConnectionError)
    assert str(first) == '529: retry 1 of 2 in 0.0 seconds' and str(second).startswith('APIConnectionError: retry 2 of 2')

@both
def test_nothing_is_told_where_nothing_is_tried_again(way):
    told = []
    for script, retries in (([Fail(400)], 2), ([BUSY], 0), ([DAY], 2), ([Fail(500, headers={'x-should-retry': 'false'})], 2)):
        with pytest.raises(anthropic.APIStatusError):
            way.call(chat_on(way, Sandbox(script), retries, on_retry=told.append), 'Hi')
    assert told == []

@both
def test_what_on_retry_raises_ends_the_call(way):
    class Stop(Exception): pass
    def stop(retry): raise Stop
    sb = Sandbox([BUSY, 'x'])
    chat = chat_on(way, sb, on_retry=stop)
    with pytest.raises(Stop): way.call(chat, 'Hi')
    assert chat.h == [] and len(sb.requests) == 1
    way.call(chat, 'Hi')

@both
def test_a_client_that_is_given_stays_as_it_is(way):
    sb = Sandbox(['x', BUSY, 'x', 'x'])
    sdk = way.sdk(sb, max_retries=0)
    c = way.Client(MODEL, sdk)
    told = []
    chat = way.Chat(cli=c, max_retries=1, on_retry=told.append, timeout=5)
    way.call(c, 'Hi')
    way.call(chat, 'Hi')
    assert sdk.max_retries == 0 and sdk.timeout == anthropic.DEFAULT_TIMEOUT and c.cli.max_retries == 0
    assert len(told) == 1 and chat.c is not c and chat.c.cli.timeout == 5
    with pytest.raises(anthropic.OverloadedError): way.call(way.Client(MODEL, way.sdk(Sandbox([BUSY, 'x']), max_retries=0)), 'Hi')

@both
def test_middleware_of_the_user_goes_on_working(way):
    seen = []
    if way is Sync:
        def look(req, send): seen.append(1); return send(req)
    else:
        async def look(req, send): seen.append(1); return await send(req)
    chat = way.Chat(MODEL, way.sdk(Sandbox([BUSY, 'x']), max_retries=1, middleware=[look]))
    way.call(chat, 'Hi')
    assert seen == [1, 1]

@pytest.mark.parametrize('kw', [dict(max_wait=-1), dict(on_retry='print'), dict(max_wait=float('nan'))])
def test_wrong_settings(kw):
    with pytest.raises((ValueError, TypeError), match=next(iter(kw))): Client(MODEL, api_key='none-at-all', **kw)
    with pytest.raises((ValueError, TypeError), match=next(iter(kw))): Chat(MODEL, api_key='none-at-all', **kw)

def test_aiohttp_is_for_async_clients():
    with pytest.raises(ValueError, match='async'): Client(MODEL, api_key='none-at-all', aiohttp=True)

@pytest.mark.parametrize('text', ['', 'soon', '-', 'nan days', '12 monkeys', '0', '-3', 'nan', '-inf',
    'Fri, 31 Dec 1999 23:59:59 GMT', 'Fri, 31 Dec 99999999999 23:59:59 GMT'])
def test_a_wait_that_is_none(text): assert retry_after({'retry-after': text}) is retry_after({'retry-after-ms': text}) is None

@both
@pytest.mark.parametrize('cloud', ['bedrock', 'vertex', 'foundry'])
def test_clients_of_other_platforms_have_their_waits_limited(way, cloud):
    pytest.importorskip('botocore')
    sb, told = Sandbox([BUSY, 'x', DAY, 'x']), []
    chat = way.Chat('anthropic.claude-sonnet-4-6', getattr(clouds, cloud)(sb, way is Async, max_retries=1), on_retry=told.append)
    way.call(chat, 'Hi')
    with pytest.raises(anthropic.RateLimitError, match='come back in'): way.call(chat, 'Hi')
    assert len(told) == 1 and len(sb.requests) == 3

def test_waits_are_limited_in_every_event_loop():
    sdk = anthropic.AsyncAnthropic(api_key='none-at-all', base_url='http://127.0.0.1:9', max_retries=1)
    told = []
    c = AsyncClient(MODEL, sdk, on_retry=told.append)
    for n in 1, 2:
        with pytest.raises(anthropic.APIConnectionError): asyncio.run(c('Hi'))
        assert len(told) == n
