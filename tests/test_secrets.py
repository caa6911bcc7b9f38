"A marked key goes through everything; afterwards it is looked for in all that can be read, kept or sent elsewhere"
import base64, json, logging, pickle, re, socket, traceback
from pathlib import Path

import anthropic, httpx2, pytest
from common import MODEL, Sync, both, texts_of
from llmchat import model_info
from llmchat.sandbox.server import Fail, mk_events, mk_reply, sse, tool_use
from llmchat.sandbox import Sandbox
from llmchat.sdk.secrets import redact, secrets

KEY = 'sk-ant-MARKED-0123456789-abcdef'
FORMS = KEY, base64.b64encode(KEY.encode()).decode()[:24], base64.b64encode(f'user:{KEY}'.encode()).decode()[:24]

def found(o):
    "The key, in any form, in a text or bytes"
    s = o if isinstance(o, bytes) else str(o).encode()
    return [f for f in FORMS if f.encode() in s]

def seen_of(e):
    "All that can be read of an error, of what led to it, and of the HTTP messages that it carries; and its pickle"
    todo, seen, texts = [e], [], [traceback.format_exception(e)]
    while todo:
        x = todo.pop()
        if x is None or any(x is y for y in seen): continue
        seen.append(x)
        if isinstance(x, httpx2.Request): texts += [x.url, repr(x), list(x.headers.items()), x.content]; continue
        if isinstance(x, httpx2.Response):
            texts += [repr(x), list(x.headers.items()), x.text if x.is_closed else '']
            todo += [x._request, *x.history]
            continue
        if not isinstance(x, BaseException): texts.append(repr(x)); continue
        texts += [str(x), repr(x), x.args, getattr(x, '__notes__', '')]
        todo += [x.__cause__, x.__context__, *getattr(x, 'exceptions', ()), *vars(x).values()]
        try: texts.append(pickle.dumps(x))
        except Exception as p: texts += [repr(p)]
    return texts

def check(*texts):
    for t in texts: assert not found(t), f'the key is in {str(t)[:300]}'

# ---- an API that tells everybody's secrets

def answer(request):
    "What an unkind server or proxy does: the key comes back in headers and texts"
    how = request.headers.get('x-how', 'fine')
    sent = request.headers.get('authorization', '') + ' ' + request.headers.get('x-api-key', '')
    body = json.loads(request.content or b'{}')
    told = {'x-echo': sent, 'set-cookie': f'token={KEY}'}
    if how == 'fine':
        msg = mk_reply([f'Your key is {KEY}.', tool_use('peek')] if body.get('tools') else f'Your key is {KEY}.', body, 1)
        if body.get('stream'): return httpx2.Response(200, content=b''.join(sse(mk_events(msg))), headers=told | {'content-type': 'text/event-stream'})
        return httpx2.Response(200, json=msg, headers=told)
    if how.isdecimal():
        return httpx2.Response(int(how), json=dict(type='error', error=dict(type='x', message=f'Bad key {sent}')), headers=told)
    if how == 'html': return httpx2.Response(200, text=f'<html>{sent}</html>', headers=told)
    if how == 'event':
        data = json.dumps(dict(type='error', error=dict(type='overloaded_error', message=sent)))
        return httpx2.Response(200, content=f'event: error\ndata: {data}\n\n'.encode(), headers=told | {'content-type': 'text/event-stream'})
    if how == 'garbage': return httpx2.Response(200, content=b'data: {' + sent.encode() + b'\n\n', headers=told | {'content-type': 'text/event-stream'})
    raise httpx2.ConnectError(f'no route for {sent} to {request.url}', request=request)

def client(way, **kw):
    "An SDK client of such an API, with the key"
    if way is Sync: return anthropic.Anthropic(http_client=httpx2.Client(transport=httpx2.MockTransport(answer)), max_retries=0, **kw)
    async def slow(request): return answer(request)
    return anthropic.AsyncAnthropic(http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(slow)), max_retries=0, **kw)

KINDS = dict(key=dict(api_key=KEY), token=dict(auth_token=KEY), header=dict(api_key='other', default_headers={'X-Api-Key': KEY}),
    url=dict(api_key='other-key-123', base_url=f'https://user:{KEY}@api.example'), newline=dict(api_key=KEY))

@both
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('how', ['400', '401', '404', '429', '500', 'html', 'event', 'garbage', 'connect'])
def test_errors(way, kind, how, caplog):
    caplog.set_level(logging.DEBUG, 'llmchat')
    chat = way.Chat(MODEL, client(way, **KINDS[kind]), extra_headers={'x-how': how, 'x-secret': KEY}, log=True)
    for step in (chat, chat.c, lambda *a, **kw: chat(*a, **kw, stream=True)):
        kw = dict(extra_headers={'x-how': how, 'x-secret': KEY}) if step is chat.c else {}
        if how in ('event', 'garbage') and step in (chat, chat.c): continue
        with pytest.raises(anthropic.APIError) as e:
            way.read(chat, 'Hi') if step not in (chat, chat.c) else way.call(step, 'Hi', **kw)
        check(*seen_of(e.value))
    check(repr(chat), repr(chat.c), chat._repr_markdown_(), chat.c._repr_markdown_(), repr(chat.c.log), pickle.dumps(chat.c.log))
    check(caplog.text, *(repr(vars(r)) for r in caplog.records))

def test_what_is_asked_about_models_and_tokens():
    for how in ('401', 'connect'):
        cli = client(Sync, api_key=KEY, default_headers={'x-how': how})
        for f in (lambda: model_info('claude-unknown', cli), lambda: Sync.Client(MODEL, cli).count('Hi')):
            with pytest.raises(anthropic.APIError) as e: f()
            check(*seen_of(e.value))

@both
def test_what_is_kept_of_a_conversation_in_which_the_key_was_said(way, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, 'llmchat')
    def peek() -> str: return KEY
    chat = way.Chat(MODEL, client(way, api_key=KEY), tools=[peek], sp=f'Never say {KEY}', log=True, journal=tmp_path/'j',
        extra_headers={'x-secret': KEY}, metadata=dict(user_id=KEY))
    way.call(chat, f'Is it {KEY}?')
    way.read(chat, f'Really {KEY}?')
    chat.h[0]['content'] = f'Edited {KEY}'
    chat.settings['sp'] = f'{KEY} is the key'
    way.call(chat, 'On')
    chat.undo()
    chat.save(tmp_path/'s')
    chat.to_html(tmp_path/'h.html')
    chat.to_md(tmp_path/'m.md')
    assert KEY in repr(chat.h), 'it was said'
    check(*(p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()), repr(chat), repr(chat.c.log), pickle.dumps(chat.c.log))
    check(caplog.text)
    with pytest.warns(UserWarning, match='extra_headers=…'): res = way.Chat.load(tmp_path/'j', client(way, api_key=KEY), tools=[peek])
    assert len(res.h) == len(chat.h) and 'Edited ***' in repr(res.h)
    way.call(res, 'Once more')
    check((tmp_path/'j').read_bytes())

# ---- forms of a key, and what is none

ODD = 'AB/CD-EF\\GH' # It looks different in an address and where it is quoted
ODD_FORMS = [ODD, ODD.replace('/', '%2F').replace('\\', '%5C'), ODD.replace('\\', '\\\\')]

def echo(request):
    told = request.url.raw_path.decode() + str(request.headers.get('x-password'))
    return httpx2.Response(404, json=dict(path=told)) if 'json' in request.headers else httpx2.Response(404, text=told)

def echoing(**kw):
    return anthropic.Anthropic(**dict(api_key='sandbox') | kw, max_retries=0, http_client=httpx2.Client(transport=httpx2.MockTransport(echo)))

@pytest.mark.parametrize('headers', [{}, {'json': 'yes'}])
@pytest.mark.parametrize('kw', [dict(base_url=f'http://h/?api_key={ODD_FORMS[1]}'), dict(base_url=f'http://h/?sig={ODD_FORMS[1].lower()}'),
    dict(base_url=f'http://h/?api_key={ODD_FORMS[1]}&v=1'), dict(default_query=dict(api_key=ODD)), dict(default_query={'x-sig': ODD}),
    dict(default_headers={'X-Password': ODD}), dict(default_query=dict(pwd=ODD))])
def test_key_in_other_forms(kw, headers):
    with pytest.raises(anthropic.NotFoundError) as e: Sync.Client(MODEL, echoing(**kw))('Hi', extra_headers=headers)
    for t in map(str, seen_of(e.value)):
        for form in ODD_FORMS: assert form.lower() not in t.lower()

def test_key_that_is_quoted_as_no_header():
    with socket.create_server(('127.0.0.1', 0)) as s:
        c = Sync.Client(MODEL, api_key=f'{ODD}\n{KEY}', base_url=f'http://127.0.0.1:{s.getsockname()[1]}', max_retries=0)
        with pytest.raises(anthropic.APIConnectionError) as e: c('Hi')
    text = ''.join(traceback.format_exception(e.value))
    assert '***' in text and not any(form in text for form in ODD_FORMS)

def test_values_of_a_query_of_a_requests_own():
    hidden = secrets(echoing(), dict(api_key=ODD, v='version-1'))
    assert redact([*ODD_FORMS[:3], 'version-1'], hidden) == ['***', '***', '***', 'version-1']
    with pytest.raises(anthropic.NotFoundError) as e: Sync.Client(MODEL, echoing())('Hi', extra_query=dict(api_key=ODD))
    for t in map(str, seen_of(e.value)): assert not any(form in t for form in ODD_FORMS)

@pytest.mark.parametrize('word', ['sandbox', 'ollama', 'unused'])
def test_word_that_is_a_key_stays_in_conversations(tmp_path, word):
    c = Sync.Client(MODEL, Sandbox([f'A {word} is this.']).client(api_key=word), log=True)
    chat = Sync.Chat(cli=c)
    chat(f'Explain the word {word}')
    chat.save(tmp_path/'s')
    for text in ((tmp_path/'s').read_text(), chat.to_md(), repr(c.log)): assert f'the word {word}' in text and '***' not in text

@both
def test_clients_by_other_names(way, monkeypatch):
    monkeypatch.setenv('ANTHROPIC_API_KEY', KEY + '\n')
    c = way.Client(MODEL, log=True)
    chat = way.Chat(cli=c, hist=['Hi', 'Hello'])
    assert c.cli.api_key == KEY
    check(repr(c), repr(chat), str(c), pickle.dumps(c), pickle.dumps(chat), chat._repr_markdown_(), repr(c.cli), chat.to_html(), chat.to_md())

def test_repository_holds_no_key():
    root, real = Path(__file__).parents[1], re.compile(r'sk-ant-(api|oat|admin)[\w-]{16,}')
    files = [*(root/'nbs').rglob('*.ipynb'), *(root/'nbs'/'recorded').iterdir()]
    assert len(files) > 20
    for f in files:
        text = f.read_text(encoding='utf-8')
        assert not real.search(text) and '"authorization"' not in text.lower().replace('\\', ''), f.name

@both
def test_a_key_in_a_query_of_the_requests_own(way, tmp_path):
    "It stays out of the log, of what is saved, pickled and shown, and of errors; a header of the same name as well"
    key, other = 'AB/CD EFGH', 'ANOTHERKEY'
    own = dict(extra_query=dict(api_key=key, n='1'), extra_headers=dict(api_key=other))
    say = lambda body: f'I saw {key}, {other} and AB%2FCD%20EFGH.'
    sb = Sandbox([say, say, Fail(404, f'no {key} or {other}')])
    chat = way.Chat(MODEL, way.sdk(sb), log=True, **own)
    way.call(chat, 'Hi')
    chat.save(tmp_path/'a.json')
    way.call(chat, 'Hi')
    with pytest.raises(anthropic.NotFoundError) as e: way.call(chat, 'Hi')
    texts = [str(chat.c.log), (tmp_path/'a.json').read_text(), chat.to_md(), texts_of(e.value)]
    for t in texts: assert not [k for k in (key, other, 'AB%2FCD%20EFGH', 'AB/CD', 'EFGH') if k in t], t
    with pytest.warns(UserWarning, match='extra_query=…'): res = way.Chat.load(tmp_path/'a.json', cli=way.sdk(sb))
    assert 'extra_query' not in res.settings

def test_names_of_secrets_and_forms_of_their_values():
    assert secrets(None, {'X-Password': 'Pa/ss', 'design': 'modern-1'}) == []
    assert secrets(None, dict(sig=r'a\b/c1')) == ['a%5Cb%2Fc1', r'a\\b/c1', r'a\b/c1']
