"What a history keeps and its requests leave out: open server calls, fields of replies, containers, breakpoints"
from copy import deepcopy
from unittest.mock import MagicMock

import anthropic, pytest
from common import FORCED, MODEL, both, message
from llmchat import Chat, Client, Sandbox, mk_msg, mk_msgs
from llmchat.protocol.requests import mk_request
from llmchat.protocol.history import sendable
from llmchat.sandbox.server import tool_use

def f(n: int = 0) -> str:
    "A tool"
    return 'ok'

def text(s, **kw): return dict(type='text', text=s, **kw)
def called(id, name='web_search', **kw): return dict(type='server_tool_use', id=id, name=name, input={}, **kw)
def mcp(id): return dict(type='mcp_tool_use', id=id, name='look', server_name='x', input={})
def found(id): return dict(type='web_search_tool_result', tool_use_id=id, content=[])
def said(*content): return dict(role='assistant', content=list(content))
def given(*ids): return mk_msg([dict(type='tool_result', tool_use_id=i, content='ok') for i in ids])
def by(id): return dict(caller=dict(type='code_execution_20260120', tool_id=id))
def call(id, **kw): return dict(type='tool_use', id=id, name='f', input={}, **kw)

THOUGHT = dict(type='thinking', thinking='Hm.', signature='c2ln')

# ---- cache breakpoints

MARK = dict(cache_control=dict(type='ephemeral'))

def marks(req):
    "Where a request is marked"
    parts = [('tools', req.get('tools') or ()), ('system', req.get('system') or ())]
    parts += [(f'messages.{i}', m['content']) for i, m in enumerate(req['messages'])]
    found = [(at, j) for at, items in parts for j, b in enumerate(items) if isinstance(b, dict) and 'cache_control' in b]
    return found + [('own', 0)] * ('cache_control' in req)

@pytest.mark.parametrize('cache', [False, True])
@both
def test_marks_of_many_prompts(way, cache):
    "Five prompts with a breakpoint each: the newest ones are kept in the request, all of them in the history"
    sb = Sandbox(lambda body: 'ok')
    chat = way.Chat(MODEL, way.sdk(sb), cache=cache)
    for i in range(6): way.call(chat, mk_msg(f'Prompt {i}', cache=True))
    kept = [(f'messages.{i}', 0) for i in (0, 2, 4, 6, 8, 10)[2 + cache:]]
    assert marks(sb.requests[-1].body) == kept + [('own', 0)] * cache
    assert sum('cache_control' in b for m in chat.h[::2] for b in m['content']) == 6

@pytest.mark.parametrize('where', ['tools', 'system', 'both'])
def test_marks_of_tools_and_system(where):
    "Four marked tools or system blocks beside `cache=True`: the last two stay"
    tools = [dict(name=f'f{i}', input_schema=dict(type='object'), **MARK) for i in range(4)]
    sp = [text(f'Part {i}', **MARK) for i in range(4)]
    kw = dict(tools=dict(tools=tools), system=dict(sp=sp), both=dict(tools=tools, sp=sp))[where]
    sb, before = Sandbox(['ok'] * 3), deepcopy(kw)
    chat = Chat(MODEL, sb.client(), cache=True, **kw)
    for q in 'abc': chat(mk_msg(q, cache=True))
    at = 'tools' if where == 'tools' else 'system'
    assert marks(sb.requests[-1].body) == [(at, 2), (at, 3), ('messages.4', 0), ('own', 0)]
    assert kw == before

def test_marks_within_the_budget_stay():
    "Nothing is taken from a request that the API takes as it is, also of marks inside results and documents"
    sp = [text(f'Part {i}', **MARK) for i in range(4)]
    assert len(marks(mk_request('m', 'Hi', sp=sp))) == 4
    inner = [dict(type='tool_result', tool_use_id=f't{i}', content=[text('ok', **MARK)]) for i in range(5)]
    h = mk_msgs(['Go', said(*(call(f't{i}') for i in range(5))), dict(role='user', content=inner)])
    left = mk_request('m', h)['messages'][-1]['content']
    assert ['cache_control' in b['content'][0] for b in left] == [False, True, True, True, True]

def test_marks_of_equal_blocks():
    "The same block in several prompts is counted each time"
    block = text('Look', **MARK)
    h = mk_msgs([[block], 'ok'] * 5 + [[block]])
    assert marks(mk_request('m', h)) == [(f'messages.{i}', 0) for i in (4, 6, 8, 10)]

# ---- what a reply left open

def last(sb): return sb.requests[-1].body['messages']
def kinds(msgs): return [[b['type'] for b in m['content']] if isinstance(m['content'], list) else 'str' for m in msgs]

OPEN = dict(server=called('s1'), mcp=mcp('s1'))

@pytest.mark.parametrize('stop', ['max_tokens', 'refusal', 'pause_turn', 'model_context_window_exceeded'])
@pytest.mark.parametrize('kind', OPEN)
@both
def test_open_call_and_another_prompt(way, kind, stop):
    "A call of the API's own that was cut off, or paused and followed by another prompt, stays in the history alone"
    sb = Sandbox([dict(content=['Wait.', OPEN[kind]], stop_reason=stop), 'ok', 'ok'])
    chat = way.Chat(MODEL, way.sdk(sb))
    for q in ('Go', 'What?', 'And?'): way.call(chat, q)
    assert kinds(last(sb)) == ['str', ['text'], 'str', ['text'], 'str']
    assert chat.h[1]['content'] == [text('Wait.'), OPEN[kind]]

@pytest.mark.parametrize('content', [[called('s1')], [THOUGHT, called('s1')], [THOUGHT, called('s1'), mcp('s2')]])
@both
def test_nothing_left_of_a_reply(way, content):
    "What is left is neither an empty message nor one that ends with thinking, and the roles alternate"
    sb = Sandbox([dict(content=content, stop_reason='max_tokens'), 'ok', 'ok'])
    chat = way.Chat(MODEL, way.sdk(sb))
    for q in ('Go', 'What?', 'And?'): way.call(chat, q)
    assert kinds(last(sb)) == [['text', 'text'], ['text'], 'str'] and chat.h[1]['content'] == content

@pytest.mark.parametrize('stream', [False, True])
@both
def test_open_call_at_the_end(way, stream):
    "A paused reply is gone on with: the call is sent, and its result closes it"
    sb = Sandbox([dict(content=[THOUGHT, 'Wait.', called('s1')], stop_reason='pause_turn'), [found('s1'), 'Nothing.'], 'ok'])
    chat, ask = way.Chat(MODEL, way.sdk(sb)), way.read if stream else way.call
    ask(chat, 'Go')
    ask(chat)
    assert kinds(last(sb)) == ['str', ['thinking', 'text', 'server_tool_use']]
    ask(chat, 'More')
    assert kinds(last(sb))[1] == ['thinking', 'text', 'server_tool_use', 'web_search_tool_result', 'text']

@both
def test_open_call_beside_a_call(way):
    "Results of the calls beside it may follow; a prompt behind them may not"
    replies = [dict(content=['Wait.', called('s1'), call('t1')]), 'ok', 'ok']
    for more, sent in ((), ['server_tool_use', 'tool_use']), (('more',), ['tool_use']):
        sb = Sandbox(list(replies))
        chat = way.Chat(MODEL, way.sdk(sb), tools=[f])
        way.call(chat, 'Go')
        way.call(chat, *more)
        assert kinds(last(sb))[1] == ['text', *sent]
        way.call(chat, 'And?')
        assert kinds(last(sb))[1] == ['text', 'tool_use'] and len(chat.h[1]['content']) == 3

@pytest.mark.parametrize('stream', [False, True])
def test_open_call_in_a_loop(stream):
    "The loop's own last prompt stands behind the results, too"
    sb = Sandbox([['Wait.', called('s1'), call('t1')], [called('s2'), call('t2')], 'Done.', 'ok'])
    chat = Chat(MODEL, sb.client(), tools=[f])
    for o in chat.toolloop('Go', max_steps=3, stream=stream):
        if stream and not isinstance(o, dict): list(o)
    assert kinds(last(sb)) == ['str', ['text', 'tool_use'], ['tool_result'], ['tool_use'], ['tool_result', 'text']]
    chat('And?')

def test_open_call_and_a_prefill():
    "The beginning of a reply is something else, too"
    h = mk_msgs(['Go', said('Wait.', called('s1'))])
    assert kinds(mk_request('m', h)['messages'])[1] == ['text', 'server_tool_use']
    assert kinds(mk_request('m', h, prefill='Well')['messages']) == ['str', ['text'], 'str']

def test_open_calls_are_told_from_closed_ones():
    "Results may come in a later message, after those of the user's tools; results beside the call do not matter"
    h = mk_msgs(['Go', said(called('s1'), call('t1')), given('t1'), said(found('s1'), 'Done.'), 'And?'])
    assert sendable(h) == h
    h = mk_msgs(['Go', said(called('s1'), called('s2'), found('s1')), 'And?'])
    assert [b['id'] for b in sendable(h)[1]['content'] if 'id' in b] == ['s1']
    assert sendable(h[:2]) == h[:2]

def test_calls_of_code_that_waits():
    "While code waits it stays, with its container; where nobody knows that any more, its calls are the model's own"
    code, inner = called('s1', 'code_execution'), called('s2', **by('s1'))
    h = mk_msgs(['Go', said('Wait.', code, inner, found('s2') | by('s1'), call('t1', **by('s1'))), given('t1'),
        said(call('t2', **by('s1'))), given('t2')])
    assert sendable(h, container=True) == h
    for msgs in sendable(h), sendable([*h[:-1], mk_msg([*h[-1]['content'], 'more'])], container=True):
        assert msgs[1]['content'] == [text('Wait.'), call('t1')] and msgs[3]['content'] == [call('t2')]
    assert mk_request('m', h, container=dict(skills=[]))['messages'] == sendable(h)
    assert mk_request('m', h, container='c1')['messages'] == mk_request('m', h, container=dict(id='c1'))['messages'] == h

def test_open_calls_for_clients_and_counts():
    "Every request goes the same way"
    sb, h = Sandbox(['ok', [tool_use('f')], '{"value":1}'], models=FORCED), ['Go', said('Wait.', called('s1')), 'And?']
    c = Client(MODEL, sb.client())
    c(h), c.structured(h, [f]), c.parse(h, int), c.count(h)
    asked = [r.body['messages'] for r in sb.requests if r.method == 'POST']
    assert len(asked) == 4 and all(kinds(m)[1] == ['text'] for m in asked)

def test_history_is_left_alone():
    "The projection is pure, and hands on what it does not change"
    h = mk_msgs(['Go', said('Wait.', called('s1')), 'And?', said(text('Yes.', mood=None))])
    before = deepcopy(h)
    sent = sendable(h)
    assert h == before and [a is b for a, b in zip(h, sent)] == [True, False, True, False]

# ---- what only replies have

PLACE = dict(type='char_location', cited_text='Paris', document_index=0, document_title=None, start_char_index=0,
    end_char_index=5, file_id='file_1')
CITED = text('Paris.', citations=[PLACE, PLACE | dict(file_id=None)], tone=None)

@both
def test_fields_that_only_replies_have(way):
    "`file_id` of citations, and what is empty: kept in the history, left out of the request"
    sb = Sandbox([[CITED, call('t1', mood=[], tone='')], 'ok'])
    chat = way.Chat(MODEL, way.sdk(sb), tools=[f])
    way.call(chat, 'Where?')
    way.call(chat)
    plain = {k: v for k, v in PLACE.items() if k != 'file_id'}
    assert last(sb)[1]['content'] == [text('Paris.', citations=[plain] * 2), call('t1', caller=dict(type='direct'))]
    assert chat.h[1]['content'][0] == CITED

def test_fields_that_go():
    "What the types name goes, empty or not; so does what a tool was given, and every field of an unknown kind"
    kept = [dict(type='news', tone=None, file_id='f'), call('t1') | dict(input=dict(type='text', tone=None)),
        text('Hi', citations=None), text('Hi', tone='calm'), dict(type='container_upload', file_id='f')]
    h = [mk_msg('Go'), said(*kept)]
    assert sendable(h)[1] is h[1]
    user = [dict(role='user', content=[CITED])]
    assert sendable(user) == user

@pytest.mark.parametrize('stream', [False, True])
@both
def test_a_field_that_the_api_refuses(way, stream):
    "It is left out of this chat's requests from then on, and the call is sent once more"
    new = text('Paris.', tone='calm', citations=[PLACE | dict(shade=3)])
    sb = Sandbox([[new], 'ok', 'ok'])
    chat, ask = way.Chat(MODEL, way.sdk(sb), log=True), way.read if stream else way.call
    for q in ('Where?', 'Sure?', 'Quite?'): ask(chat, q)
    assert [e['error'] is None for e in chat.c.log] == [True, False, False, True, True]
    assert last(sb)[1]['content'][0].keys() == {'type', 'text', 'citations'} and chat.h[1]['content'] == [new]
    assert 'Extra inputs are not permitted' in chat.c.log[1]['error']

@pytest.mark.parametrize('field', [dict(tone=dict(mood=1)), dict(tone='a')])
def test_a_refused_field_is_remembered(field, tmp_path):
    "By forks, saved chats and journals"
    sb = Sandbox(lambda body: [text('Paris.', **field)])
    chat = Chat(MODEL, sb.client(), journal=tmp_path/'j')
    for q in 'abc': chat(q)
    chat.save(tmp_path/'c')
    for other in chat.fork(), Chat.load(tmp_path/'c', cli=sb.client()), Chat.load(tmp_path/'j', cli=sb.client()):
        n = len(sb.requests)
        other('Again?')
        assert len(sb.requests) == n + 1 and 'tone' not in str(last(sb)) and 'tone' in str(other.h)

def test_other_refusals_are_raised():
    "A field that the user sent, and one that is none of the reply's"
    from anthropic import BadRequestError
    from llmchat.sandbox.server import Fail
    sb = Sandbox(['ok', Fail(400, 'messages.1.content.0.text.nothing: Extra inputs are not permitted'),
        Fail(400, 'messages.9.content.0.text: Extra inputs are not permitted')])
    chat = Chat(MODEL, sb.client())
    with pytest.raises(BadRequestError, match='author'): chat([text('Hi', author='me')])
    chat('Hi')
    for _ in range(2):
        with pytest.raises(BadRequestError): chat('More')
    assert len(sb.requests) == 4 and len(chat.h) == 2

# ---- the container

BOX = dict(id='container_1', expires_at='2099-01-01T00:00:00Z')
OLD = dict(id='container_0', expires_at='2020-01-01T00:00:00Z')
RUN = [called('s1', 'code_execution'), call('t1', **by('s1'))]
RAN = dict(type='code_execution_tool_result', tool_use_id='s1',
    content=dict(type='code_execution_result', stdout='', stderr='', return_code=0, content=[]))

def named(sb): return [r.body.get('container') for r in sb.requests if r.asks]

@pytest.mark.parametrize('stream', [False, True])
@both
def test_container_goes_with_the_next_request(way, stream):
    "As long as it lives; the newest, if there are several; not if the call names one"
    sb = Sandbox([dict(content='a', container=BOX), 'b', dict(content='c', container=BOX | dict(id='container_2')), 'd', 'e',
        dict(content='f', container=OLD), 'g'])
    chat, ask = way.Chat(MODEL, way.sdk(sb)), way.read if stream else way.call
    for kw in {}, {}, {}, {}, dict(container='mine'), {}, {}: ask(chat, 'Go', **kw)
    assert named(sb) == [None, 'container_1', 'container_1', 'container_2', 'mine', 'container_2', None]

def test_container_in_loops_and_retries_of_values():
    "Each request of a loop names it, and of a call that asks again"
    sb = Sandbox([dict(content=['Wait.', *RUN], container=BOX), [RAN, 'Done.'], dict(content='x', container=BOX), '{"value":1}'])
    chat = Chat(MODEL, sb.client(), tools=[f])
    list(chat.toolloop('Go'))
    assert named(sb) == [None, 'container_1'] and kinds(last(sb))[1] == ['text', 'server_tool_use', 'tool_use']
    assert Client(MODEL, sb.client()).parse('Go', int, retries=1) == 1 and named(sb)[2:] == [None, 'container_1']

def test_container_of_turns(tmp_path):
    "It belongs to a turn: taken back with it, saved with it, gone with the history"
    sb = Sandbox(lambda body: dict(content=['ok'], **({'container': BOX} if len(body['messages']) == 3 else {})))
    chat = Chat(MODEL, sb.client(), journal=tmp_path/'j')
    for q in 'abc': chat(q)
    chat.save(tmp_path/'c')
    n = len(sb.requests)
    for other in chat.fork(), Chat.load(tmp_path/'c', cli=sb.client()), Chat.load(tmp_path/'j', cli=sb.client()): other('d')
    assert named(sb)[n:] == ['container_1'] * 3
    chat = chat.fork()
    chat.undo(), chat.retry(), chat('c'), chat.undo(), chat.undo(), chat('b')
    assert named(sb)[-3:] == [None, 'container_1', None]
    chat.h.clear(), chat('a')
    assert named(sb)[-1] is None

def test_container_with_settings_of_ones_own():
    "Skills are for a container that exists, too"
    sb, skills = Sandbox([dict(content='a', container=BOX), 'b'], validate=False), dict(skills=[dict(skill_id='pdf')])
    chat = Chat(MODEL, sb.client(), container=skills)
    chat('Go'), chat('On')
    assert named(sb) == [skills, skills | dict(id='container_1')]

def test_container_that_has_expired():
    "Code that waits in it cannot go on: its calls have their results, and the chat goes on"
    for box in dict(container=OLD), {}:
        sb = Sandbox([dict(content=['Wait.', *RUN], **box), 'ok', 'ok'])
        chat = Chat(MODEL, sb.client(), tools=[f])
        chat('Go'), chat(), chat('And?')
        assert named(sb) == [None] * 3 and last(sb)[1]['content'] == [text('Wait.'), call('t1')]
        assert chat.h[1]['content'] == [text('Wait.'), *RUN]

def test_container_that_the_api_does_not_know_any_more():
    "Clocks differ, and containers are lost: the request is sent once more without it"
    sb = Sandbox([dict(content=['Wait.', *RUN], container=BOX), 'ok', 'ok'])
    chat = Chat(MODEL, sb.client(), tools=[f])
    chat('Go')
    sb.sleep(100 * 365 * 86400)
    chat(), chat('And?')
    assert len(sb.requests) == 4 and [r.body.get('container') for r in sb.requests] == [None, 'container_1', None, None]

@both
def test_a_turn_that_went_on_is_asked_again(way):
    "A turn without a prompt, after a pause: `retry` takes up what it replaced"
    sb = Sandbox([dict(content=['Wait.', called('s1')], stop_reason='pause_turn'), [found('s1'), 'A'], [found('s1'), 'B']])
    chat = way.Chat(MODEL, way.sdk(sb))
    way.call(chat, 'Go'), way.call(chat), way.call(chat.retry)
    assert last(sb) == sb.requests[1].body['messages'] and chat.h[1]['content'][-1] == text('B') and len(chat.h) == 2

def test_an_edit_within_a_reply_is_sent_as_it_is_now():
    "Also within one of which requests leave something out"
    sb = Sandbox(['x', 'y'])
    chat = Chat(MODEL, sb.client(), hist=['Hi', dict(role='assistant', content=[dict(type='text', text='Paris.', mood=None)])])
    chat('More')
    chat.h[1]['content'][0]['text'] = 'Rome.'
    chat('And?')
    assert [q.body['messages'][1]['content'] for q in sb.requests] == [[dict(type='text', text=t)] for t in ('Paris.', 'Rome.')]

# ---- what a chat knows of its history, and what others see of that

def add(a: int) -> int:
    "Adds one"
    return a + 1

@both
def test_a_call_that_is_put_into_the_last_message_by_hand_runs(way):
    "Although the message is the same object, which was read before there was a call in it"
    sb = Sandbox(['Hi', 'Two.'], models=FORCED)
    chat = way.Chat(MODEL, way.sdk(sb), tools=[add])
    way.call(chat, 'Hello')
    chat.h[-1]['content'] = [tool_use('add', a=1)]
    chat.h[-1]['content'][0]['id'] = 'toolu_1'
    way.call(chat)
    assert sb.requests[-1].body['messages'][-1]['content'] == [dict(type='tool_result', tool_use_id='toolu_1', content='2')]

@both
def test_a_reply_without_calls_that_goes_on_from_calls_has_no_results(way):
    "The model is told what is wrong, and not sent an empty message"
    call = tool_use('add', a=1) | dict(id='toolu_1')
    sb = Sandbox(['No.', dict(content=[tool_use('add', a=2)])], models=FORCED, validate=False)
    h = ['x', dict(role='assistant', content=[call])]
    assert way.call(way.Client(MODEL, way.sdk(sb)).structured, h, add, retries=1) == [3]
    assert 'The model made no call.' in str(sb.requests[-1].body['messages'][-1])

def test_a_stand_in_for_the_sdk_keeps_the_messages_that_it_was_given():
    "A list that it notes does not grow with the chat"
    cli = MagicMock(base_url='https://api.anthropic.com', api_key='k', auth_token=None)
    cli.with_options.return_value = cli.copy.return_value = cli
    cli.messages.create.side_effect = lambda **kw: message('Hi')
    del cli.models
    chat = Chat(MODEL, cli)
    for pr in 'abc': chat(pr)
    assert [len(c.kwargs['messages']) for c in cli.messages.create.call_args_list] == [1, 3, 5]

@both
def test_a_key_that_is_taken_away_is_missed(way):
    "By us, who say what to do, also after a call that had it"
    chat = way.Chat(MODEL, cli := way.sdk(Sandbox(lambda body: 'Hi')))
    way.call(chat, 'Hello')
    cli.api_key = None
    with pytest.raises(anthropic.CredentialsError, match='no API key'): way.call(chat, 'Hello')
