"What a tool returned is not kept on trust, a history can be gone on with, and edited by hand"
from base64 import b64encode
from typing import Any

import anthropic, pytest
from anthropic.lib.tools import ToolError

from common import MODEL, PDF, PNG, JPEG, both, check_history, message
from llmchat import Chat, Client, Sandbox, ToolResult, mk_funcres, mk_msg
from llmchat.sandbox import Cut, Fail, mk_model, tool_use

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

def asked(value, way=None, **kw):
    "A chat whose tool has given a value, and its sandbox"
    sb = Sandbox([['Let me see.', tool_use('give')], 'Done.', 'And so on.'])
    chat = Chat(MODEL, sb.client(), tools=[giver(value)], **kw)
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
    giver(ToolResult([text('')], is_error=True)), raiser(ToolError('')), raiser(ToolError([])), raiser(ToolError([text(' ')])), raiser(ToolError([image(JUNK)]))], ids=str)
def test_an_error_has_words(tool):
    chat = Chat(MODEL, Sandbox([[tool_use('give')], 'Done.']).client(), tools=[tool])
    chat('Hi')
    res = chat.last[1]['content'][0]
    assert res['is_error'] and res['content'].strip()
    chat()
    check_history(chat.h)
