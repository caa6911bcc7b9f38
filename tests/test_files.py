"Files that are uploaded once and used by id, sync and async"
import asyncio

import anthropic, pytest

from common import JPEG, MODEL, PDF, PNG, check_request
from llmchat import AsyncChat, AsyncFiles, Chat, Client, Files, Sandbox, mk_doc, mk_msg
from llmchat.sandbox.responses import Fail
from llmchat.sandbox.batches import put_file
from llmchat.sandbox import Sandbox

KINDS = [(PNG, 'a.txt', 'image'), (JPEG, 'a.jpg', 'image'), (PDF, 'a.bin', 'document'), (b'Hello', 'a.txt', 'document'),
    (b'x,y', 'a.csv', 'container_upload'), (b'\0\1', None, 'container_upload')]

class Both:
    "Files, sync or async, in one way"
    def __init__(self, is_async, sb):
        self.files = AsyncFiles(sb.aclient()) if is_async else Files(sb.client())
    def __getattr__(self, k):
        def call(*args, **kw):
            res = getattr(self.files, k)(*args, **kw)
            return asyncio.run(wait(res)) if hasattr(res, '__await__') else res
        return call

async def wait(o): return await o

@pytest.fixture(params=['sync', 'async'])
def both(request): return lambda sb: Both(request.param == 'async', sb)

@pytest.mark.parametrize('data, name, kind', KINDS)
def test_upload_and_use(both, data, name, kind):
    sb = Sandbox(lambda body: 'ok')
    f = both(sb).upload(data, name)
    assert (f.filename, f.size_bytes) == (name or 'unnamed', len(data))
    body = dict(model=MODEL, max_tokens=9, messages=[mk_msg([f, 'What is it?'])])
    assert body['messages'][0]['content'][0]['type'] == kind
    check_request(body)
    if kind == 'document':
        doc = mk_doc(f)
        assert doc['title'] == name and doc['source'] == dict(type='file', file_id=f.id)
        check_request(body | dict(messages=[mk_msg([doc, 'What is it?'])]))
    assert Client(MODEL, sb.client())([[f, 'What is it?']]).content[0].text == 'ok'

def test_paths_once_and_paging(both, tmp_path):
    sb = Sandbox()
    files = both(sb)
    (tmp_path/'a.pdf').write_bytes(PDF)
    one, two = files.upload(tmp_path/'a.pdf'), files.upload(tmp_path/'a.pdf')
    assert one == two and one.mime_type == 'application/pdf' and len(sb.requests) == 1
    assert files.upload(PDF, 'b.pdf').id != one.id
    files.delete(one)
    assert files.upload(tmp_path/'a.pdf').id != one.id
    for i in range(1500): put_file(sb, f'{i}', b'x')
    ids = [f.id for f in files.list()]
    assert len(ids) == len(set(ids)) == 1502
    short = files.upload(PDF, expires=3600)
    assert (short.expires_at - short.created_at).total_seconds() == 3600

def test_download_and_errors(both):
    sb = Sandbox()
    files = both(sb)
    made = put_file(sb, 'plot.png', PNG)
    assert files.download(made['id']) == PNG and files.get(made['id']).downloadable
    mine = files.upload(b'x')
    with pytest.raises(anthropic.BadRequestError, match='not downloadable') as e: files.download(mine)
    assert e.value.error_code == 'file_not_downloadable'
    with pytest.raises(anthropic.NotFoundError): files.delete('file_none')
    with pytest.raises(anthropic.BadRequestError): files.upload(b'x', expires=5)
    for bad, err in ((b'', ValueError), ('a.pdf', TypeError), (3, TypeError), (None, TypeError)):
        n = len(sb.requests)
        with pytest.raises(err): files.upload(bad)
        assert len(sb.requests) == n

def test_chats_and_a_file_that_is_gone():
    sb = Sandbox(lambda body: 'ok')
    f, chat = Files(sb.client()).upload(PDF, 'a.pdf'), Chat(MODEL, sb.client())
    chat([f, 'What is it?'])
    before = chat.h.copy()
    Files(sb.client()).delete(f)
    with pytest.raises(anthropic.NotFoundError, match=f.id): chat('And?')
    assert chat.h == before
    with pytest.raises(anthropic.NotFoundError): asyncio.run(wait(AsyncChat(MODEL, sb.aclient())(f)))

def test_keys_are_nowhere(both, monkeypatch):
    monkeypatch.delenv('ANTHROPIC_API_KEY', raising=False)
    with pytest.raises(anthropic.CredentialsError): Files(anthropic.Anthropic()).list()
    sb, key = Sandbox(), 'sk-ant-marked-key-0123456789'
    sb.routes = {'GET /v1/files': lambda sb, req: Fail(401, f'bad key {key}')}
    with pytest.raises(anthropic.AuthenticationError) as e: Files(sb.client(api_key=key)).list()
    assert key not in str(e.value) + repr(e.value.body)
