"What goes in: every kind of content as a request that the API takes, and what cannot be sent as a clear error"
import base64, json

import pytest
from anthropic.types import Message, TextBlock, ToolUseBlock
from hypothesis import given, strategies as st
from PIL import Image

from common import (BLOCKS, BMP, GIF, JPEG, MODEL, PDF, PNG, REPLIES, WEBP, Sync, both, check_history, check_request, message,
    needs_recordings, recorded, seeded)
from llmchat import URL, contents, mk_doc, mk_msg, mk_msgs
from llmchat.protocol.messages import max_image, media_type, mk_block
from llmchat.protocol.requests import mk_request, needs
from llmchat.sandbox import Sandbox
from llmchat.sandbox.server import tool_use

TEXT = dict(type='text', text='Hi')

@pytest.fixture(scope='session')
def folder(tmp_path_factory):
    "Files of every kind, with names that say nothing"
    folder = tmp_path_factory.mktemp('files')
    files = dict(png=PNG, jpeg=JPEG, gif=GIF, webp=WEBP, pdf=PDF, text='Order 66, für €5.'.encode(), bmp=BMP, empty=b'',
        blank=b' \n', latin='für'.encode('latin-1'), utf16='für'.encode('utf-16'), bom=b'\xef\xbb\xbfHi')
    for name, data in files.items(): (folder/name).write_bytes(data)
    return folder

# ---- every kind of content

CONTENT = {
    'str': ('Hi', None), 'path as str': ('/etc/hosts', None), 'address as str': ('https://example.com/cat.png', None),
    'png': (PNG, 'image/png'), 'jpeg': (JPEG, 'image/jpeg'), 'gif': (GIF, 'image/gif'), 'webp': (WEBP, 'image/webp'),
    'bytearray': (bytearray(PNG), 'image/png'), 'pdf': (PDF, 'application/pdf'),
    'url': (URL('https://example.com/cat'), 'url'), 'url of a pdf': (URL('https://example.com/a.PDF?x=1#y'), 'url'),
    'sdk block': (TextBlock(type='text', text='Hi'), None), 'dict block': (TEXT, None),
    'document': (mk_doc('Paris is the capital.', title='France', context='A book', citations=False), 'text/plain'),
    'document to cite': (mk_doc('Paris is the capital.'), 'text/plain'),
    'pdf document': (mk_doc(PDF), 'application/pdf'), 'document at an address': (mk_doc(URL('https://a.b/c')), 'url'),
    'document in parts': (mk_doc(['one', 'two', TEXT]), 'content'),
    'list': (['Look:', PNG, URL('https://example.com/cat'), TEXT, mk_doc('x')], None), 'tuple': (('a', 'b'), None),
    'message': (dict(role='user', content='Hi'), None),
    'message with parts': (dict(role='user', content=['Look:', PNG, TextBlock(type='text', text='Hi')]), None)}

def kind_of(block):
    "Media type, or type of the source"
    src = block.get('source', {})
    return src.get('media_type') or src.get('type')

def sent(content, way=Sync, **kw):
    "The body of the request that asks with `content`"
    way.call(way.Client(MODEL, way.sdk(sb := Sandbox('Yes'))), [content], **kw)
    check_request(sb.requests[-1].body)
    return sb.requests[-1].body

@both
@pytest.mark.parametrize('name', CONTENT)
def test_every_content_is_what_the_api_takes(way, name):
    content, kind = CONTENT[name]
    msg = sent(content, way)['messages'][0]
    assert msg['role'] == 'user' and (isinstance(content, (str, bytes)) or isinstance(msg['content'], list) or kind is None)
    if kind: assert kind_of(msg['content'][0]) == kind

@pytest.mark.parametrize('name', CONTENT)
@pytest.mark.parametrize('ttl', [None, '5m', '1h'])
def test_every_content_can_be_cached(name, ttl):
    msg = sent(mk_msg(CONTENT[name][0], cache=True, ttl=ttl))['messages'][0]
    marks = [b.get('cache_control') for b in msg['content']]
    assert marks == [None] * (len(marks) - 1) + [dict(type='ephemeral', ttl=ttl) if ttl else dict(type='ephemeral')]
    assert mk_msg(CONTENT[name][0], ttl=ttl) == mk_msg(CONTENT[name][0], cache=bool(ttl), ttl=ttl)

@pytest.mark.parametrize('name,kind', [('png', 'image/png'), ('jpeg', 'image/jpeg'), ('gif', 'image/gif'),
    ('webp', 'image/webp'), ('pdf', 'application/pdf')])
def test_files_are_what_they_hold(folder, name, kind):
    block, = sent(folder/name)['messages'][0]['content']
    assert kind_of(block) == kind and block['type'] == ('document' if name == 'pdf' else 'image')
    assert base64.b64decode(block['source']['data']) == (folder/name).read_bytes()

def test_text_files_are_their_text(folder):
    block, = sent(folder/'text')['messages'][0]['content']
    assert block == dict(type='text', text='<file name="text">\nOrder 66, für €5.\n</file>')
    assert mk_block(folder/'bom')['text'] == '<file name="bom">\nHi\n</file>'
    assert mk_doc(folder/'text')['source']['data'] == 'Order 66, für €5.' and mk_doc(folder/'text')['title'] == 'text'
    assert kind_of(mk_doc(folder/'pdf', title='A')) == 'application/pdf' and mk_doc(folder/'pdf', title='A')['title'] == 'A'

@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBa', 'RGBX', 'CMYK', 'YCbCr', 'LAB', 'HSV', 'I', 'F',
    'I;16'])
def test_pictures_of_every_mode(mode):
    block, = sent(Image.new(mode, (3, 2)))['messages'][0]['content']
    assert media_type(base64.b64decode(block['source']['data'])) == kind_of(block) == 'image/png'

@pytest.mark.parametrize('name', BLOCKS)
def test_replies_are_taken_back(name):
    r = message(REPLIES[name])
    for o in (r, r.to_param(), dict(role='assistant', content=r.content), mk_msg(r), Message.model_validate(r.to_dict())):
        msg = mk_msg(o)
        assert msg['role'] == 'assistant' and all(b['text'].strip() for b in msg['content'] if b['type'] == 'text')
        assert msg == mk_msg(r) == json.loads(json.dumps(msg))
        assert contents(msg).split() == contents(r).split()
    calls = [dict(type='tool_result', tool_use_id=b['id'], content='1') for b in msg['content'] if b['type'] == 'tool_use']
    check_history(mk_msgs(['Hi', r, [*calls, 'And?']]))

@pytest.mark.parametrize('blocks,kept', [([' '], []), (['a', ' ', 'b'], ['a', ' b']), ([' ', 'a'], [' a']), (['a', '\n', '\n'], ['a']),
    ([dict(type='thinking', thinking='x', signature='y')], []), (['a', dict(type='redacted_thinking', data='x')], ['a']),
    (['a', tool_use('f'), ' '], ['a', tool_use('f')])])
def test_a_reply_keeps_what_the_api_takes_back(blocks, kept):
    res = mk_msg(message(dict(content=blocks)))['content']
    assert [b['text'] if b['type'] == 'text' else b['type'] for b in res] == [b if isinstance(b, str) else 'tool_use' for b in kept]

def test_what_the_sdk_added_stays_behind():
    sb = Sandbox('{"a": 1}')
    r = sb.client().messages.parse(model=MODEL, max_tokens=9, messages=[mk_msg('x')], output_format=dict)
    assert mk_msg(r) == dict(role='assistant', content=[dict(type='text', text='{"a": 1}')])
    block = ToolUseBlock(type='tool_use', id='toolu_1', name='f', input={})
    assert mk_msg(block, role='assistant')['content'] == [block.to_dict()]

def test_what_is_given_is_not_changed():
    given = dict(role='user', content=[dict(TEXT)])
    before = json.dumps(given)
    mk_msg(given, cache=True, ttl='1h'), mk_msgs([given], cache=True), mk_request(MODEL, [given], cache=True)
    assert json.dumps(given) == before

# ---- dialogs

@seeded
@given(st.lists(st.sampled_from(['Hi', PNG, TEXT, dict(role='user', content='u'), dict(role='assistant', content='a'),
    message('r'), ['a', 'b']]), min_size=1, max_size=8))
def test_dialogs_alternate(items):
    msgs = mk_msgs(items)
    for i, (item, msg) in enumerate(zip(items, msgs, strict=True)):
        own = item['role'] if isinstance(item, dict) and 'role' in item else getattr(item, 'role', None)
        assert msg['role'] == (own or ('assistant' if i and msgs[i-1]['role'] == 'user' else 'user'))
    check_request(dict(model=MODEL, max_tokens=1, messages=msgs))
    cached = mk_msgs(items, cache=True)
    assert cached[:-1] == msgs[:-1] and cached[-1] == mk_msg(msgs[-1], cache=True)

# ---- what cannot be sent

BAD = {
    'empty': ('', ValueError, 'empty text'), 'blank': (' \n', ValueError, 'empty text'), 'no parts': ([], ValueError, 'empty list'),
    'empty part': (['Hi', ''], ValueError, 'Part 1 of the message is empty text'),
    'empty block': (dict(type='text', text=''), ValueError, 'empty text'), 'block without text': (dict(type='text'), ValueError, 'empty'),
    'empty message': (dict(role='user', content=''), ValueError, 'empty text'),
    'message without parts': (dict(role='user', content=[]), ValueError, 'empty list'),
    'message without content': (dict(role='user'), TypeError, 'NoneType'),
    'role': (dict(role='robot', content='Hi'), ValueError, "'robot'.*'user' or 'assistant'"),
    'float': (3.5, TypeError, 'is a float: 3.5. A message is made of str'), 'None part': ([None], TypeError, 'Part 0 of the message'),
    'set': ({'a'}, TypeError, 'is a set'), 'dict': (dict(text='Hi'), TypeError, 'is a dict.*dict blocks with a `type`'),
    'object': (object(), TypeError, 'is a object'), 'surrogate': ('a\ud800', ValueError, 'not valid Unicode'),
    'BMP': (BMP, ValueError, 'not a PNG, JPEG, GIF or WebP image, nor a PDF.*Convert'), 'no bytes': (b'', ValueError, 'not a PNG'),
    'text as bytes': (b'Hello', ValueError, "begins with b'Hello'"), 'wave': (b'RIFF1234WAVE', ValueError, 'not a PNG'),
    '6 MB': (JPEG + bytes(6_000_000), ValueError, r'too large.*at most 5,242,880.*3,932,160'),
    'one byte too many': (PNG + bytes(max_image*3//4 - len(PNG) + 1), ValueError, 'too large'),
    'big part': (['Look:', PNG + bytes(6_000_000)], ValueError, 'Part 1 of the message is too large'),
    'no address': (URL(''), ValueError, "The message is an empty address: ''"),
    'blank address': (['Look:', URL('  ')], ValueError, 'Part 1 of the message is an empty address'),
    'surrogate in an address': (URL('https://a.b/\ud800'), ValueError, 'not valid Unicode'),
    'document of a str': (dict(type='document', source='x'), TypeError, "document with the source 'x'; that is a dict.*mk_doc"),
    'document of nothing': (['Read:', dict(type='document')], TypeError, 'Part 1 of the message is a document with the source None'),
    'reply without text': (dict(role='assistant', content=['Well,', dict(type='text')]), ValueError,
        'Part 1 of the message is a text block without text'),
    'reply with a number': (dict(role='assistant', content=[dict(type='text', text=5)]), ValueError, 'text block without text')}
BAD_FILES = dict(missing=FileNotFoundError, bmp=ValueError, empty=ValueError, blank=ValueError, latin=ValueError, utf16=ValueError)

def refused(way, error, match, *args, chat=True, **kw):
    "Fail unless every way to ask is refused before there is a request, and nothing is lost"
    c = way.Client(MODEL, way.sdk(sb := Sandbox(['Yes'] * 3)), log=True)
    for ask in (way.call, way.read):
        with pytest.raises(error, match=match): ask(c, *args, **kw)
    assert not sb.requests and not c.log and c.use.total == 0 and c.result is None
    if not chat: return
    chat = way.Chat(MODEL, way.sdk(sb), hist=['Hi', 'Hello'])
    before = json.dumps(chat.h)
    for ask in (way.call, way.read):
        with pytest.raises(error, match=match): ask(chat, *args, **kw)
    assert not sb.requests and json.dumps(chat.h) == before and chat.use.total == 0
    assert contents(way.call(chat, 'Hi')) == 'Yes' and len(chat.h) == 4

@both
@pytest.mark.parametrize('name', BAD)
def test_what_cannot_be_sent_is_said_before_there_is_a_request(way, name):
    content, error, match = BAD[name]
    refused(way, error, f'(?s){match}', [content] if isinstance(content, list) else content, chat=not isinstance(content, list))
    with pytest.raises(error, match=f'(?s){match}'): way.Chat(MODEL, way.sdk(Sandbox()), hist=['Hi', 'Hello', content])
    with pytest.raises(error, match=f'(?s){match}'): way.Chat(MODEL, way.sdk(Sandbox()))(content)

BAD_SETTINGS = [
    (dict(stop=5), ValueError, 'stop is 5; it is a string or a list'), (dict(stop=['a', 5]), ValueError, 'stop is '),
    (dict(think=['low']), ValueError, r"think is \['low'\]; it is one of low"), (dict(think={'low': 1}), ValueError, 'think is '),
    (dict(cb=5), TypeError, 'cb is 5; it is a function'), (dict(cb=[print]), TypeError, 'cb is ')]

@both
@pytest.mark.parametrize('kw, error, match', BAD_SETTINGS)
def test_settings_that_cannot_be_are_said_before_there_is_a_request(way, kw, error, match):
    refused(way, error, match, 'Hi', **kw)

def test_a_stream_is_not_even_made_where_nothing_can_be_called_back():
    with pytest.raises(TypeError, match='cb is 5'): Sync.Client(MODEL, Sandbox('Yes').client())('Hi', stream=True, cb=5)

def test_a_document_in_a_result_is_left_to_the_api():
    result = dict(type='tool_result', tool_use_id='toolu_1', content=[dict(type='document', source='x')])
    assert needs(mk_request(MODEL, ['Hi', [CALL], [result]])) == {}

@both
@pytest.mark.parametrize('name', BAD_FILES)
def test_files_that_cannot_be_sent(folder, way, name):
    refused(way, BAD_FILES[name], str(folder/name), folder/name)
    refused(way, BAD_FILES[name], str(folder/name), [[folder/name, 'What is it?']], chat=False)

def test_the_largest_picture_fits():
    largest = PNG + bytes(max_image*3//4 - len(PNG))
    block, = mk_msg(largest)['content']
    assert len(block['source']['data']) == max_image
    assert mk_msg(PDF + bytes(6_000_000))['content'][0]['type'] == 'document'

@pytest.mark.parametrize('args,error,match', [((3,), TypeError, 'not int'), ((None,), TypeError, 'not NoneType'), (('',), ValueError, 'empty text'),
    (([],), ValueError, 'document is an empty list'), ((['a', ''],), ValueError, 'Part 1 of the document'),
    ((PNG,), ValueError, 'image/png: send images with'), ((BMP,), ValueError, 'document is not a PNG'),
    ((URL(' '),), ValueError, 'document is an empty address')])
def test_documents_that_cannot_be(args, error, match):
    with pytest.raises(error, match=match): mk_doc(*args)

@pytest.mark.parametrize('name', BAD_FILES)
def test_document_files_that_cannot_be(folder, name):
    with pytest.raises(BAD_FILES[name], match='document is empty' if name in ('empty', 'blank') else str(folder/name)): mk_doc(folder/name)

def test_lives_of_cache_entries():
    with pytest.raises(ValueError, match="ttl is '2h'; a cache entry lives '5m' or '1h'"): mk_msg('Hi', ttl='2h')
    with pytest.raises(ValueError, match='dialog is empty'): mk_msgs([])

# ---- the checks of this file

@pytest.mark.parametrize('change', [dict(temperature=0), dict(messages=[dict(role='user', content=[dict(TEXT, x=1)])]),
    dict(messages=[dict(role='user', content=[dict(type='text')])]), dict(max_tokens='9'), dict(messages=[dict(role='user')]),
    dict(messages=[dict(role='user', content=[dict(type='image', source=dict(type='base64', media_type='image/bmp', data=''))])]),
    dict(messages=[dict(role='user', content=[dict(type='document', source=dict(type='url', url='x', y=1))])]),
    dict(tools=[dict(name='f')]), dict(stop_sequences='x'), dict(thinking=dict(type='enabled'))])
def test_the_check_of_requests_is_strict(change):
    good = dict(model=MODEL, max_tokens=9, messages=[dict(role='user', content=[TEXT])])
    check_request(good)
    with pytest.raises(AssertionError): check_request(good | change)

CALL, RESULT = tool_use('f') | dict(id='toolu_1'), dict(type='tool_result', tool_use_id='toolu_1', content='x')
@pytest.mark.parametrize('h', [['u', 'u'], ['a'], ['u', ''], ['u', []], ['u', [CALL]], ['u', [CALL], 'u'], ['u', 'a', [RESULT]],
    ['u', [CALL], [TEXT, RESULT]], ['u', [dict(type='thinking', thinking='', signature='')]], ['u', [dict(TEXT, x=1)]]])
def test_the_check_of_histories_is_strict(h):
    roles = ['assistant' if m == 'a' else 'user' if m == 'u' else ('user', 'assistant')[i % 2] for i, m in enumerate(h)]
    with pytest.raises((AssertionError, KeyError)):
        check_history([dict(role=r, content=m) for r, m in zip(roles, h)])

def test_the_check_of_histories_lets_good_ones_through():
    for h in ([], ['u'], ['u', 'a', 'u'], ['u', ['Let me see.', CALL], [RESULT, 'Well?'], 'a']): check_history(mk_msgs(h) if h else [])

# ---- recorded requests

def given_as(content):
    "What somebody would have written for the content of a recorded message"
    if isinstance(content, str): return content
    return [b['text'] if b.keys() == {'type', 'text'} else base64.b64decode(b['source']['data']) if kind_of(b) in
        ('image/jpeg', 'image/png') else mk_doc(b['source']['data'], b['title']) if b['type'] == 'document' else b for b in content]

def settings_of(body):
    "The settings that ask for a recorded request"
    kw = dict(maxtok=body['max_tokens'], sp=body.get('system', ''), stop=body.get('stop_sequences'), tools=body.get('tools'),
        maxthinktok=body.get('thinking', {}).get('budget_tokens', 0))
    choice = body.get('tool_choice', {})
    return kw | dict(tool_choice={'any': True, 'tool': choice.get('name')}.get(choice.get('type')))

@needs_recordings
def test_requests_equal_the_recorded_ones():
    for rec in recorded:
        body = {k: v for k, v in rec['request'].items() if k not in ('temperature', 'stream') and (k, v) != ('system', '')}
        check_request(body)
        msgs = [dict(role=m['role'], content=given_as(m['content'])) for m in body['messages']]
        assert mk_request(body['model'], msgs, **settings_of(body)) == body

@needs_recordings
@both
def test_chats_ask_as_recorded(way):
    "A chat that begins with the messages before the last one sends all of them"
    for rec in recorded:
        body = {k: v for k, v in rec['request'].items() if k != 'temperature' and (k, v) != ('system', '')}
        if len(body['messages']) % 2 == 0: continue
        chat = way.Chat(body['model'], way.sdk(sb := Sandbox('Yes')), hist=body['messages'][:-1])
        ask = way.read if rec['stream'] else way.call
        kw = settings_of(body) | dict(maxthinktok=0)
        ask(chat, given_as(body['messages'][-1]['content']), **kw)
        assert sb.requests[-1].body == {k: v for k, v in body.items() if k != 'thinking'}
        check_history(chat.h)

@needs_recordings
def test_recorded_replies_go_back_as_they_went_then():
    sent = [m['content'] for rec in recorded for m in rec['request']['messages'] if m['role'] == 'assistant']
    found = 0
    for rec in recorded:
        if rec['stream']: continue
        r = Message.construct(**json.loads(rec['response']))
        found += mk_msg(r)['content'] in sent
    assert found > 20
