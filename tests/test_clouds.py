"Claude at Amazon, Google and Microsoft: the SDK's clients for them do all that its own does, sync and async"
import anthropic, pytest

from common import BLOCKS, PNG, REPLIES, TOOLS, Async, both, check_history
from llmchat import contents
from llmchat.sandbox.clouds import bedrock, foundry, frame, vertex
from llmchat.sandbox.server import Cut, Fail, tool_use
from llmchat.sandbox import Sandbox

pytest.importorskip('botocore')
M = 'anthropic.claude-sonnet-4-6'
clouds = pytest.mark.parametrize('cloud', [bedrock, vertex, foundry])

def client(way, cloud, sb, **kw): return way.Client(M, cloud(sb, way is Async), **kw)

@both
@clouds
@pytest.mark.parametrize('kind', BLOCKS)
def test_replies_of_all_kinds_come_whole_and_streamed(way, cloud, kind):
    one, two, three = (client(way, cloud, Sandbox([REPLIES[kind]])) for _ in range(3))
    whole = way.call(one, 'Hi')
    s, pieces = way.read(two, 'Hi')
    assert ''.join(pieces) == ''.join(b.text for b in whole.content if b.type == 'text')
    assert s.value.content == whole.content and s.value.stop_reason == whole.stop_reason
    events = way.read(three, 'Hi', events=True)[1]
    assert events[0].type == 'message_start' and events[-1].type == 'message_stop'
    assert one.use == two.use == three.use and one.use.total == 11 + 7 + 5 + 3

@both
@clouds
def test_a_conversation_with_tools(way, cloud):
    sb = Sandbox([['Adding.', tool_use('sums', a=1, b=[2])], 'It is 2.', 'Bye.'], models=[M])
    chat = way.Chat(M, client(way, cloud, sb), tools=TOOLS)
    way.read(chat.toolloop, 'Add.')
    way.call(chat, 'Bye', think='low')
    check_history(chat.h)
    assert [r.path for r in sb.requests] == ['/v1/messages'] * 3 and {r.body['model'] for r in sb.requests} == {M}
    assert chat.cost > 0 and contents(chat.h[-1]) == 'Bye.'

@both
@clouds
def test_a_stream_that_is_cut_is_no_reply(way, cloud):
    sb = Sandbox([Cut('One two three four.', events=5), 'Whole.'])
    chat = way.Chat(M, client(way, cloud, sb))
    with pytest.raises(anthropic.APIConnectionError) as e: way.read(chat, 'Hi')
    assert chat.h == [] and contents(e.value.partial).startswith('One')
    assert contents(way.call(chat, 'Hi')) == 'Whole.'

@both
@clouds
@pytest.mark.parametrize('reply', [Fail(529), Cut('One two three.', events=4, then=Fail(529))])
def test_an_error_is_the_same_before_and_within_a_stream(way, cloud, reply):
    c = client(way, cloud, Sandbox([reply]))
    with pytest.raises(anthropic.OverloadedError): way.read(c, 'Hi')

@both
@clouds
def test_nobody_is_asked_what_the_model_can_do(way, cloud):
    sb = Sandbox(['A dot.'])
    way.call(client(way, cloud, sb), [[PNG, 'Hi']], think='low')
    assert len(sb.requests) == 1

@both
@pytest.mark.parametrize('kw', [dict(aws_access_key='AKIAEXAMPLEKEY', aws_secret_key='aSecretOfAmazon', api_key=None)])
def test_bedrock_with_keys_of_amazon_and_no_key_in_errors(way, kw, monkeypatch):
    monkeypatch.delenv('AWS_BEARER_TOKEN_BEDROCK', raising=False)
    sb = Sandbox(['Hi', Fail(403, 'You sent aSecretOfAmazon')])
    c = way.Client(M, bedrock(sb, way is Async, **kw))
    assert contents(way.call(c, 'Hi')) == 'Hi'
    with pytest.raises(anthropic.PermissionDeniedError) as e: way.call(c, 'Hi')
    assert 'aSecretOfAmazon' not in str(e.value)

def test_frames_are_those_of_amazon():
    from botocore.eventstream import EventStreamBuffer
    buffer = EventStreamBuffer()
    events = [dict(type='ping'), dict(type='message_stop', text='é' * 1000)]
    for ev in events: buffer.add_data(frame(ev))
    assert [m.headers[':event-type'] for m in buffer] == ['chunk'] * 2
