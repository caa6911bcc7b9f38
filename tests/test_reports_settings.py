"Mistakes in settings that were reported: each says at once what was wrong, what was given and what to do"
import math

import anthropic, httpx2, pytest
from common import MODEL, PREFILLS, both, message

from llmchat import Sandbox, contents, mk_doc

def add(a: int, b: int) -> int:
    "Add."
    return a + b

def untyped(a, b): return a

@pytest.mark.parametrize('kw,said', [(dict(toolz=[add]), "'toolz' is not a setting of a chat; did you mean 'tools'?"),
    (dict(temperature=1), "did you mean 'temp'?"), (dict(max_tokens=9), "did you mean 'maxtok'?"), (dict(system='x'), "did you mean 'sp'?"),
    (dict(base_ulr='x'), "did you mean 'base_url'?"), (dict(qqqqq=1), "'qqqqq' is not a setting of a chat.")])
@both
def test_a_setting_of_no_chat(way, kw, said):
    with pytest.raises(TypeError) as e: way.Chat(MODEL, **kw)
    assert said in str(e.value) and '_' not in str(e.value).replace('base_ulr', '').replace('base_url', '').replace('max_tokens', '')

@pytest.mark.parametrize('call,said', [
    (lambda c: c('Hi', temperature=1), "'temperature' is not a setting of a call of a chat; did you mean 'temp'?"),
    (lambda c: c('Hi', model='x'), "'model' is not a setting of a call of a chat."), (lambda c: c('Hi', steam=True), "did you mean 'stream'?"),
    (lambda c: c.toolloop('Hi', max_step=3), "did you mean 'max_steps'?"), (lambda c: c.parse('Hi', int, retry=3), "did you mean 'retries'?"),
    (lambda c: c.structured('Hi', [add], tool_choise=3), "did you mean 'tool_choice'?"), (lambda c: c.c('Hi', max_tokens=3), "'max_tokens' is not a setting of a call; did you mean 'maxtok'?"),
    (lambda c: c.c('Hi', toolz=[add]), "did you mean 'tools'?"), (lambda c: c.c.parse('Hi', int, temperature=1), "did you mean 'temp'?")])
@both
def test_a_setting_of_no_call(way, call, said):
    sb = Sandbox(['Hi'])
    c = way.Chat(MODEL, way.sdk(sb))
    with pytest.raises(TypeError) as e: call(c)
    assert said in str(e.value) and not sb.requests and not c.h

@both
def test_a_setting_of_no_client(way):
    with pytest.raises(TypeError, match="'max_retry' is not a setting of a client; did you mean 'max_retries'"): way.Client(MODEL, max_retry=3)

@pytest.mark.parametrize('tools', [5, [5], 'add', [untyped], [lambda a: a]])
@both
def test_what_is_no_tool(way, tools):
    with pytest.raises((TypeError, ValueError)) as e: way.Chat(MODEL, tools=tools)
    assert not {'mk_tool', '_mk_tool', '_offer'} & set(str(e.value).replace('(', ' ').split())

@pytest.mark.parametrize('k,v', [('middleware', []), ('default_headers', {'x-a': 'b'}), ('default_query', {'a': 'b'}), ('auth_token', 'token-12345')])
@both
def test_settings_of_the_sdk_s_client(way, k, v):
    "A chat takes what a client takes, and keeps none of it as a setting of its requests"
    chat, c = way.Chat(MODEL, api_key=None, **{k: v}), way.Client(MODEL, **{k: v})
    assert k not in chat.settings
    if k == 'auth_token': assert chat.c.cli.auth_token == c.cli.auth_token == v
    if k == 'default_headers': assert chat.c.cli.default_headers['x-a'] == 'b'

def test_an_http_client_of_one_s_own():
    from llmchat import Chat
    seen = []
    def reply(request):
        seen.append(request)
        return httpx2.Response(200, json=message('Hello!').to_dict())
    http = httpx2.Client(transport=httpx2.MockTransport(reply))
    assert contents(Chat(MODEL, http_client=http, auth_token='token-12345')('Hi')) == 'Hello!'
    assert seen[0].headers['authorization'] == 'Bearer token-12345'

@both
def test_a_client_that_is_none(way):
    "The kind of thing is named, never a text that may be a key"
    with pytest.raises(TypeError, match='cli is of the type str; .* of the SDK') as e: way.Chat(MODEL, 'sk-ant-api03-secret')
    assert 'secret' not in str(e.value)
    other = anthropic.AsyncAnthropic if way.Chat.__name__ == 'Chat' else anthropic.Anthropic
    with pytest.raises(TypeError, match=f'cli is of the type {other.__name__}; .*Client takes'): way.Chat(MODEL, other(api_key='x'))
    with pytest.raises(TypeError, match=f'cli is of the type {other.__name__}'): way.Client(MODEL, other(api_key='x'))

@both
def test_thinking_as_the_sdk_writes_it(way):
    sb = Sandbox([[dict(type='thinking', thinking='Hm.', signature='c2ln'), 'Hi']]*4)
    c = way.Chat(MODEL, way.sdk(sb))
    way.call(c, 'Hi', thinking=dict(type='adaptive'))
    assert sb.requests[-1].body['thinking'] == dict(type='adaptive')
    way.call(c.c, 'Hi', thinking=dict(type='adaptive', display='omitted'))
    assert sb.requests[-1].body['thinking'] == dict(type='adaptive', display='omitted')
    s, pieces = way.read(c, 'Hi', thinking=True)
    assert 'thinking' not in sb.requests[-1].body
    with pytest.raises(ValueError, match='not both'): c('Hi', thinking=dict(type='adaptive'), think='low')

@both
def test_headers_of_a_call_join_those_of_the_chat(way):
    sb = Sandbox(['a', 'b'])
    c = way.Chat(MODEL, way.sdk(sb), extra_headers={'x-one': '1', 'x-two': '2'}, extra_body=dict(metadata=dict(user_id='u')))
    way.call(c, 'Hi', extra_headers={'x-two': '3'})
    assert (sb.requests[-1].headers['x-one'], sb.requests[-1].headers['x-two']) == ('1', '3')
    assert sb.requests[-1].body['metadata'] == dict(user_id='u')
    way.call(c, 'Hi')
    assert sb.requests[-1].headers['x-two'] == '2'

@pytest.mark.parametrize('prefill,reply', [('Hello ', 'world'), ('Hello ', ' world'), ('Hello\n', '\n\nworld'), ('Hello', ' world')])
@both
def test_blanks_at_the_end_of_a_prefill(way, prefill, reply):
    "They are not sent, and come back, once"
    sb = Sandbox([reply]*3, models=PREFILLS)
    c = way.Client(MODEL, way.sdk(sb))
    wants = prefill + (reply if prefill == 'Hello' else 'world')
    assert contents(way.call(c, 'Hi', prefill=prefill)) == wants
    s, pieces = way.read(c, 'Hi', prefill=prefill)
    assert ''.join(pieces) == contents(s.value) == wants and pieces[0] == prefill
    assert sb.requests[-1].body['messages'][-1]['content'] == 'Hello'

@pytest.mark.parametrize('k,v', [('max_cost', math.nan), ('max_cost', -1), ('max_cost', '1'), ('max_calls', -1), ('max_calls', True), ('max_calls', math.nan)])
@both
def test_limits_that_are_none(way, k, v):
    with pytest.raises(ValueError, match=f'{k} is '): way.Chat(MODEL, way.sdk(Sandbox([])), **{k: v})
    c = way.Chat(MODEL, way.sdk(Sandbox(['Hi'])))
    with pytest.raises(ValueError, match=f'{k} is '): way.call(c, 'Hi', **{k: v})
    assert not c.h

@pytest.mark.parametrize('kw', [dict(context=''), dict(title=''), dict(context=None)])
def test_a_document_without_context(kw): assert not {'context', 'title'} & mk_doc('Dogs bark.', **kw).keys()

def test_settings_that_are_known_are_those_of_the_sdk():
    "A new parameter of the SDK is one to be decided about"
    from inspect import signature
    from llmchat.protocol.requests import client_settings, Settings
    own = dict(max_tokens='maxtok', system='sp', stop_sequences='stop', thinking='thinking')
    create = {own.get(k, k) for k in signature(anthropic.Anthropic(api_key='x').messages.create).parameters} - {'model', 'messages', 'stream'}
    assert not create - Settings.__annotations__.keys()
    init = {k for k in signature(anthropic.Anthropic.__init__).parameters if k[0] != '_'} - {'self'}
    assert not init - set(client_settings)
