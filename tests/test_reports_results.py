"What a tool returned is not kept on trust, a history can be gone on with, and edited by hand"
import asyncio
from base64 import b64encode
from copy import deepcopy
from typing import Any

import anthropic, pytest
from anthropic.lib.tools import ToolError

from common import MODEL, PDF, PNG, JPEG, Sync, both, check_history, message, case_name
from llmchat import Chat, Client, Sandbox, ToolResult, mk_doc, mk_funcres, mk_msg
from llmchat.sandbox.server import Cut, Fail, mk_model, tool_use

CALL = dict(type='tool_use', id='t', name='give', input={})

def giver(value):
    "A tool that gives a value"
    def give() -> Any: return value
    return give

def text(s, **kw): return dict(type='text', text=s) | kw
def image(data=PNG, kind='image/png'):
    return dict(type='image', source=dict(type='base64', media_type=kind, data=data if isinstance(data, str) else b64encode(data).decode()))
def page(**kw): return dict(type='search_result', source='https://example.com', title='T', content=[text('x')]) | kw
def paper(*content): return dict(type='document', source=dict(type='content', content=list(content)))
JUNK = PNG[:8] + b'and so on'

def given(value):
    "The result of a tool that gives a value"
    return mk_funcres(CALL, [giver(value)])

def asked(value):
    "A chat whose tool has given a value"
    sb = Sandbox([['Let me see.', tool_use('give')], 'Done.', 'And so on.'])
    chat = Chat(MODEL, sb.client(), tools=[giver(value)])
    chat('Hi')
    return chat

# ---- data is JSON unless it is exactly a block

LIKE_BLOCKS = [text('hi', author='me'), text(5), dict(type='text'), text('hi', citations='none'), text('hi', cache_control=dict(type='ephemeral', days=1)),
    image() | dict(alt='a'), image(kind='image/bmp'), dict(type='image', source=dict(type='base64', data='x')), dict(type='image', source=dict(type='path', path='a.png')),
    dict(type='document', source=dict(kind='law')), dict(type='document', source={}), page(content=[text('x', n=1)]), page(content='x'), page(title=None),
    paper(text('x', n=1)), dict(type='tool_reference', tool_name='x', n=1), dict(type='browser_state', tabs=['one']), dict(type='tool_use', id='t', name='x', input={}),
    dict(type='tool_result', tool_use_id='t', content='x')]

@pytest.mark.parametrize('value', LIKE_BLOCKS, ids=str)
def test_data_that_looks_like_a_block_is_json(value):
    "Also in a list, and beside a real block"
    for o in (value, [value], [text('x'), value]):
        chat = asked(o)
        assert isinstance(chat.last[1]['content'][0]['content'], str) and not chat.last[1]['content'][0].get('is_error')
        chat()
        check_history(chat.h)

BLOCKS = [text('hi'), text('hi', citations=None), text('hi', cache_control=dict(type='ephemeral')), image(), image(JPEG, 'image/jpeg'), page(), paper(text('x')), paper(text('x'), image()),
    dict(type='document', source=dict(type='base64', media_type='application/pdf', data=b64encode(PDF).decode()), title='P'),
    dict(type='document', source=dict(type='text', media_type='text/plain', data='x'), context='y', citations=dict(enabled=True)),
    dict(type='image', source=dict(type='url', url='https://example.com/a.png')), dict(type='document', source=dict(type='file', file_id='file_1'))]

@pytest.mark.parametrize('value', BLOCKS, ids=lambda b: str(b)[:60])
def test_what_is_exactly_a_block_is_sent_as_one(value):
    "With what a request has no place for left out: citations of text"
    assert given([value])['content'] == [{k: v for k, v in value.items() if k != 'citations' or value['type'] != 'text'}]
    if 'file_1' not in str(value): asked(value)()

def test_text_of_another_chat_leaves_its_citations_behind():
    "A tool that asks a chat of its own and returns the blocks of the reply"
    cite = dict(type='char_location', cited_text='x', document_index=0, document_title=None, start_char_index=0, end_char_index=1)
    r = message([text('It is x.', citations=[cite])])
    asked(r.content)()
    assert given(r.content)['content'] == [text('It is x.')]

# ---- what our own checks know

def long_pdf(n): return PDF + b'1 0 obj <</Type /Page>> endobj\n' * n

@pytest.mark.parametrize('value', [JUNK, JPEG[:20], b'GIF89a' + bytes(20), image(JUNK), image('Hello!'), image('aGVsbG8='), image(PDF), ToolResult(JUNK, 'image/png'),
    ['See:', JUNK], page(content=[text(' ')]), paper(text('x'), text('')), paper(image(JUNK)), dict(type='document', source=dict(type='text', media_type='text/plain', data=' ')),
    dict(type='document', source=dict(type='base64', media_type='application/pdf', data=b64encode(PNG).decode())), page(title='a\ud800'), image(PNG + bytes(6_000_000))],
    ids=lambda v: str(v)[:60])
def test_what_no_request_can_hold_is_an_error_of_the_tool(value):
    chat = asked(value)
    res = chat.last[1]['content'][0]
    assert res['is_error'] and res['content'].startswith(('ValueError: ', 'UnicodeEncodeError: '))
    chat()
    check_history(chat.h)

def test_a_picture_under_another_type_is_sent_under_its_own():
    assert given(image(JPEG, 'image/png'))['content'] == given(JPEG)['content'] == [image(JPEG, 'image/jpeg')]
    asked(image(JPEG, 'image/gif'))()

# ---- errors without a word

def raiser(e):
    def give(): raise e
    return give

@pytest.mark.parametrize('tool', [giver(ToolResult('', is_error=True)), giver(ToolResult(None, is_error=True)), giver(ToolResult(' \n', is_error=True)),
    giver(ToolResult([text('')], is_error=True)), raiser(ToolError('')), raiser(ToolError([])), raiser(ToolError([text(' ')])), raiser(ToolError([image(JUNK)]))], ids=case_name)
def test_an_error_has_words(tool):
    chat = Chat(MODEL, Sandbox([[tool_use('give')], 'Done.']).client(), tools=[tool])
    chat('Hi')
    res = chat.last[1]['content'][0]
    assert res['is_error'] and res['content'].strip()
    chat()
    check_history(chat.h)

# ---- what the dialog and the model allow

def sees(tokens=1_000_000, no=()): return [mk_model(MODEL, max_input_tokens=tokens, max_tokens=64_000, no=list(no))]
def from_pdf(n): return dict(type='document', source=dict(type='base64', media_type='application/pdf', data=b64encode(long_pdf(n)).decode()))

def talk(way, value, replies=(), models=None, **kw):
    "A chat with a tool that gives a value, in one way, and its sandbox"
    sb = Sandbox([*(replies or [[tool_use('give')], 'Done.', 'More.'])], models=models)
    return way.Chat(MODEL, way.sdk(sb), tools=[giver(value)], **kw), sb

TOO_MUCH = [([image()] * 101, sees(200_000), '101 pictures'), ([image()] * 601, sees(), '601 pictures'), ([from_pdf(60), from_pdf(41)], sees(200_000), '101 pages'),
    (from_pdf(601), sees(), '601 pages'), (image(), sees(no=['image_input']), 'takes no images'), (paper(image()), sees(no=['image_input']), 'takes no images'),
    (from_pdf(1), sees(no=['pdf_input']), 'takes no PDFs'), (dict(type='document', source=dict(type='text', media_type='text/plain', data='x'), citations=dict(enabled=True)),
    sees(no=['citations']), 'does not cite')]

@both
@pytest.mark.parametrize('value,models,says', TOO_MUCH, ids=lambda o: o if isinstance(o, str) else '')
def test_what_the_model_cannot_have_is_found_before_it_is_kept(way, value, models, says):
    chat, sb = talk(way, value, models=models)
    way.call(chat, 'Hi')
    res, = chat.last[1]['content']
    assert res['is_error'] and says in res['content']
    way.call(chat)
    check_history(chat.h)

def test_what_was_there_before_counts():
    "Pictures of the prompt and of earlier results, and documents that are cited"
    chat, _ = talk(Sync, [image()] * 30, [[tool_use('give')], [tool_use('give')] * 2, 'Done.'], sees(200_000))
    chat([PNG] * 20)
    chat()
    assert [r.get('is_error', False) for r in chat.last[1]['content']] == [False, True]
    chat()
    for cites in (True, False):
        chat, _ = talk(Sync, from_pdf(1) | dict(citations=dict(enabled=not cites)))
        chat(['Read:', mk_doc('x', citations=cites)])
        assert 'all can be cited, or none' in chat.last[1]['content'][0]['content']
        chat()

def test_as_many_as_there_may_be():
    for value, models in (([image()] * 100, sees(200_000)), ([image()] * 101, sees()), (from_pdf(100), sees(200_000)), (from_pdf(101), sees())):
        chat, _ = talk(Sync, value, models=models)
        chat('Hi')
        assert not chat.last[1]['content'][0].get('is_error')
        chat()

# ---- what the API refuses

NO = Fail(400, 'messages.2.content.0.tool_result.content.0.image.source: no')
def asks(way, chat, how, *a):
    "Call a chat, in several ways; the error"
    with pytest.raises(anthropic.APIError) as e:
        if how == 'loop': run_loop(way, chat, *a)
        elif how == 'structured': way.call(chat.structured, 'Give', [giver(1)])
        elif how == 'parse': way.call(chat.parse, 'Give', int)
        else: (way.read if how == 'stream' else way.call)(chat, *a)
    return e.value

def loaded(path): return Chat.load(path, Sandbox().client(), tools=[giver('A')])

def run_loop(way, chat, *a, **kw):
    s = chat.toolloop(*a, **kw)
    if way is Sync: return s.run()
    async def go(): return await s.run()
    return asyncio.run(go())

@both
@pytest.mark.parametrize('how', ['call', 'stream', 'loop', 'structured', 'parse'])
@pytest.mark.parametrize('fault', [NO, Fail(400, 'messages.2: no'), Cut('x', events=1, then=Fail(400, NO.message))], ids=['place', 'message', 'in the stream'])
def test_refused_results_give_way_to_the_refusal(way, how, fault, tmp_path):
    "The API names their place: they are in `results`, the history has the reason, and calling again works; with a journal as without"
    if isinstance(fault, Cut) and how not in ('stream',): pytest.skip('there is no stream')
    chat, sb = talk(way, 'A\nB', [[tool_use('give'), tool_use('give')], fault, 'Done.'], journal=tmp_path/'j')
    way.call(chat, 'Hi')
    old = chat.h[-1]['content']
    e = asks(way, chat, how)
    assert e.results == old and chat.h[-1] is not old and len(chat.h) == 3
    assert all(b['is_error'] and 'no' in b['content'] and b['tool_use_id'] == a['tool_use_id'] for a, b in zip(old, chat.h[-1]['content']))
    assert chat.last == chat.h[1:] and loaded(tmp_path/'j').h == chat.h
    way.call(chat)
    check_history(chat.h)
    assert sb.requests[-1].body['messages'][2]['content'][0]['is_error'] and loaded(tmp_path/'j').h == chat.h

@both
@pytest.mark.parametrize('fault', [Fail(400, 'Your credit balance is too low to access the Anthropic API.'), Fail(400, 'prompt is too long: 210000 tokens > 200000 maximum'),
    Fail(400, 'temperature: range: 0..1'), Fail(400, 'messages.0.content.0: no'), Fail(400, 'messages.1.content.0.tool_use.input: no'), Fail(400, 'messages.20.content.0: no'),
    Fail(400, 'tools.0.custom.name: no'), Fail(413), Fail(401, 'messages.2: no'), Fail(404, 'model: x'), Fail(429), Fail(500, 'messages.2: no'), Fail(529), Fail(400, 'Could not process image')],
    ids=lambda f: f'{f.status} {f.message}')
def test_any_other_refusal_leaves_them(way, fault):
    chat, sb = talk(way, 'A', [[tool_use('give')], fault, fault, 'Done.'])
    way.call(chat, 'Hi')
    h = deepcopy(chat.h)
    for how in ('call', 'stream'):
        e = asks(way, chat, how)
        assert chat.h == h and not hasattr(e, 'results')
    way.call(chat)
    assert sb.requests[-1].body['messages'] == h

def test_what_the_prompt_is_to_blame_for_leaves_them():
    "The error names the prompt, or what is before"
    for said in ('messages.2.content.1.image.source: no', 'messages.0: no', 'Could not process image'):
        chat, sb = talk(Sync, PNG, [[tool_use('give')], Fail(400, said), 'Done.'])
        chat('Hi')
        h = deepcopy(chat.h)
        asks(Sync, chat, 'call', [PNG])
        assert chat.h == h
        chat('Go on')

def test_what_can_only_be_the_picture_of_a_tool():
    "These errors of the API name no place"
    for said in ('Could not process image', 'too many images and documents: 90 + 11 > 100', 'A maximum of 100 PDF pages may be provided.'):
        for value in (PNG, [text('See:'), from_pdf(1)]):
            chat, _ = talk(Sync, value, [[tool_use('give')], Fail(400, said), 'Done.'])
            chat('Hi')
            assert asks(Sync, chat, 'call', 'And?').results and said in chat.h[-1]['content'][0]['content']
            chat('And?')
    chat, _ = talk(Sync, dict(type='document', source=dict(type='file', file_id='file_9')), [[tool_use('give')], 'Done.'])
    chat('Hi')
    assert 'file_9' in str(asks(Sync, chat, 'call'))
    chat()

def test_a_refusal_within_a_loop():
    "The loop ends with it; the turns before it stay, and a new one goes on"
    for how in (dict(), dict(stream=True)):
        chat, _ = talk(Sync, 'A', [[tool_use('give')], [tool_use('give')], Fail(400, 'messages.4.content.0: no'), 'Done.'], approve=lambda c: True)
        with pytest.raises(anthropic.BadRequestError) as e: chat.toolloop('Hi', **how).run()
        assert len(chat.h) == 5 and e.value.results[0]['content'] == 'A' and chat.h[-1]['content'][0]['is_error'] and not chat.h[2]['content'][0].get('is_error')
        chat.toolloop().run()
        check_history(chat.h)

@both
def test_results_of_a_chat_that_was_saved(way, tmp_path):
    "By another version, say: what our own checks know of them, and what the API says"
    for bad, own in ((image('aGVsbG8='), True), (image() | dict(alt='a'), False)):
        chat, sb = talk(way, 'A')
        way.call(chat, 'Hi')
        chat.h[-1]['content'][0]['content'] = [bad]
        chat.save(tmp_path/'c')
        again = way.Chat.load(tmp_path/'c', way.sdk(sb), tools=[giver('A')])
        with pytest.raises(ValueError if own else anthropic.BadRequestError) as e: way.call(again, 'And?')
        assert e.value.results[0]['content'] == [bad] and again.h[-1]['content'][0]['is_error'] and len(again.h) == 3
        way.call(again, 'And?')
        check_history(again.h)

def test_another_model_that_sees_nothing():
    chat, sb = talk(Sync, PNG, models=[*sees(), mk_model('claude-blind', no=['image_input'])])
    chat('Hi')
    chat.c.model = 'claude-blind'
    with pytest.raises(ValueError, match='takes no images') as e: chat()
    assert e.value.results[0]['content'] == [image()]
    chat()

def test_undo_and_retry_after_a_refusal():
    chat, _ = talk(Sync, 'A', [[tool_use('give')], NO, 'Done.', 'Better.'])
    chat('Hi')
    asks(Sync, chat, 'call', 'And?')
    chat('And?')
    assert len(chat.h) == 4 and chat.h[2]['content'][0]['is_error']
    chat.retry()
    chat.undo()
    assert len(chat.h) == 3 and chat.h[2]['content'][0]['is_error']
    chat.undo()
    assert chat.h == []

# ---- ids and names

def calls_of(*ids, name='give'): return [dict(type='tool_use', id=i, name=name, input={}) for i in ids]

@both
@pytest.mark.parametrize('ids', [('a', 'a'), ('a', 'a', 'a_2'), ('', ''), ('call 1', 'call.1'), ('functions.give:0', 'functions.give:0'), ('é', 'ü')])
def test_calls_of_one_reply_are_unique_ids(way, ids):
    "Also those of replies that begin to count anew"
    values = iter(range(9))
    def give() -> int: return next(values)
    sb = Sandbox([calls_of(*ids), calls_of(*ids), 'Done.'])
    chat = way.Chat(MODEL, way.sdk(sb), tools=[give], parallel=False)
    run_loop(way, chat, 'Hi')
    check_history(chat.h)
    made = [b['id'] for m in chat.h for b in m['content'] if isinstance(b, dict) and b['type'] == 'tool_use']
    assert len({*made}) == len(made) == 2 * len(ids)
    got = [b['content'] for m in chat.h for b in m['content'] if isinstance(b, dict) and b['type'] == 'tool_result']
    assert got == [str(i) for i in range(len(got))]

@both
@pytest.mark.parametrize('name', ['get.time', 'get time', '', 'é', 'n' * 300])
def test_a_call_of_a_name_that_cannot_be_sent(way, name):
    chat, sb = talk(way, 'A', [calls_of('t1', name=name), 'Done.'])
    way.call(chat, 'Hi')
    assert 'There is no tool' in chat.last[1]['content'][0]['content']
    way.call(chat)
    check_history(chat.h)

@pytest.mark.parametrize('id', ['call|1', '', 'a'])
def test_a_dialog_from_elsewhere_is_unique_ids(id):
    "Ids as they are elsewhere, or none"
    dialog = ['Hi', mk_msg(calls_of(id, id, name='get.time'), 'assistant'), mk_msg([dict(type='tool_result', tool_use_id=id, content=s) for s in 'AB']), 'Done.', 'And?']
    sb = Sandbox(['Yes.', 'Yes.', 'Yes.'])
    Client(MODEL, sb.client())(dialog)
    chat = Chat(MODEL, sb.client(), hist=dialog[:-1])
    chat('And?')
    chat.h[1]['content'][0]['id'] = 'x y'
    chat.h[2]['content'][0]['tool_use_id'] = 'x y'
    chat('Again?')
    for q in sb.requests: assert [b['content'] for b in q.body['messages'][2]['content']] == ['A', 'B']

# ---- a history that ends with calls

@both
@pytest.mark.parametrize('how', ['call', 'stream', 'loop', 'prompt', 'parse'])
def test_calls_at_the_end_of_a_history_are_run(way, how):
    sb = Sandbox(['{"value":4}' if how == 'parse' else 'Done.', 'More.'])
    chat = way.Chat(MODEL, way.sdk(sb), tools=[giver('A')], hist=['Hi', mk_msg(['Let me see.', *calls_of('t1', 't2')], 'assistant')])
    if how == 'loop': run_loop(way, chat)
    elif how == 'parse': way.call(chat.parse, 'Give', int)
    else: (way.read if how == 'stream' else way.call)(chat, *['And?'] * (how == 'prompt'))
    check_history(chat.h)
    assert [b.get('content') for b in chat.h[2]['content'][:2]] == ['A', 'A'] and chat.calls == 2
    way.call(chat, 'More?')

@both
def test_they_are_approved_and_run_once(way):
    "Their results are kept when the request fails; calls that somebody has answered are not run"
    seen = []
    def no(call):
        seen.append(call['id'])
        return 'Not today.'
    chat = way.Chat(MODEL, way.sdk(Sandbox([Fail(529), 'Done.'])), tools=[giver('A')], approve=no, hist=['Hi', mk_msg(calls_of('t1', 't2'), 'assistant')])
    asks(way, chat, 'call')
    way.call(chat)
    assert seen == ['t1', 't2'] and 'Not today.' in chat.h[2]['content'][0]['content']
    chat = way.Chat(MODEL, way.sdk(Sandbox(['Done.'])), tools=[giver('A')], approve=no, hist=['Hi', mk_msg(calls_of('t3', 't1'), 'assistant')])
    way.call(chat, [dict(type='tool_result', tool_use_id='t1', content='By hand.')])
    assert seen == ['t1', 't2', 't3']
    check_history(chat.h)

def test_calls_in_a_file_wait_for_leave(tmp_path):
    chat = Chat(MODEL, Sandbox().client(), hist=['Hi', mk_msg(calls_of('t1'), 'assistant')])
    chat.save(tmp_path/'c')
    again = Chat.load(tmp_path/'c', Sandbox(['Done.']).client(), tools=[giver('A')])
    with pytest.raises(ValueError, match='approve'): again()
    assert again.calls == 0 and len(again.h) == 2
    again(approve=lambda c: True)
    assert again.calls == 1

def test_switched_off_they_are_not_run():
    chat = Chat(MODEL, Sandbox(['Done.']).client(), tools=[giver('A')], hist=['Hi', mk_msg(calls_of('t1'), 'assistant')])
    chat(tool_choice=False)
    assert chat.calls == 0 and 'Not run' in chat.h[2]['content'][0]['content']

# ---- a history edited by hand

@both
def test_what_is_put_into_a_history_is_read_as_a_dialog(way):
    sb = Sandbox(['Hello.', [tool_use('give')], 'Done.', 'x', 'y'])
    c, chat = way.Client(MODEL, way.sdk(sb)), way.Chat(MODEL, way.sdk(sb), tools=[giver('A')])
    chat.h.append('Hi')
    r = way.call(c, ['Hi'])
    chat.h.append(r)
    chat.h.append(['See:', PNG])
    chat.h.append(way.call(c, 'Hi', tools=[giver('A')]))
    way.call(chat)
    assert [m['role'] for m in chat.h] == ['user', 'assistant'] * 3 and chat.h[1]['content'] == [text('Hello.')] and chat.calls == 1
    check_history(chat.h)
    chat.h += ['And?', 'Well.']
    way.call(chat, 'What?')
    check_history(chat.h)

@both
@pytest.mark.parametrize('odd', ['', ' ', dict(role='user', content=' '), 3.5, ['Hi', 5], dict(role='robot', content='x'), dict(role='user', content=[]), None])
def test_what_is_no_message_is_named_by_its_place(way, odd):
    chat = way.Chat(MODEL, way.sdk(Sandbox(['x'])), hist=['Hi', 'Hello.', 'How are you?'])
    chat.h.append(odd)
    for ask in (lambda: chat(), lambda: chat('x'), lambda: chat('x', stream=True), lambda: chat.toolloop('x'), lambda: chat.parse('x', int), lambda: chat.structured('x', [giver(1)])):
        with pytest.raises((ValueError, TypeError), match=r'^chat\.h\[3\]: '): ask()
    assert chat.h[3] is odd
    chat.h.pop()
    way.call(chat)

def test_the_list_that_a_message_of_a_dialog_is_wrong_in_is_named():
    with pytest.raises(ValueError, match=r'^messages\[1\]: '): Client(MODEL, Sandbox().client())(['Hi', ''])
    with pytest.raises(TypeError, match=r'^hist\[0\]: '): Chat(MODEL, Sandbox().client(), hist=[3])

@pytest.mark.parametrize('odd', ['', ' ', 'Hello $x$', 3.5, None, ['Hi', 5, ' '], dict(role='user', content=' '), dict(role='user', content=[' ', text('\n')]), dict(a=1), dict(role='user'),
    dict(role='user', content=[dict(a=1)]), dict(role='user', content=None), message('Hello.'), dict(role='robot', content='x')], ids=str)
def test_a_history_shows_whatever_is_in_it(odd, tmp_path):
    for n in (0, 1):
        chat = Chat(MODEL, Sandbox().client(), hist=['Hi', 'Hello.'])
        chat.h.insert(n, odd)
        assert 'Hello.' in chat._repr_markdown_() and 'Hello.' in chat.to_md() and 'Hello.' in chat.to_html()
