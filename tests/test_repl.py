"A conversation in a terminal, through a pseudo-terminal, with a server on loopback in the place of Claude"
import io, json, re
from pathlib import Path

import pexpect, pytest

from llmchat.cli.terminal import Formatted, View, whole_blocks
from test_cli import COMMAND, KEY, REAL, env, run, server # noqa: F401
from llmchat.sandbox.server import mk_events, mk_reply, sse, tool_use
import test_cli

class Handler(test_cli.Handler):
    "More models"
    def claude_tool(self, chunks):
        body = self.server.requests[-1]
        done = any(b['type'] == 'tool_result' for m in body['messages'][-1:] if isinstance(m['content'], list) for b in m['content'])
        reply = 'It is done.' if done else ['I will.', tool_use('erase', path='/')]
        self.stream(*sse(mk_events(mk_reply(reply, body), delta=8)), b'')

    def claude_evil(self, chunks): self.answer('Clear \x1b[2J\x07 **bold** [x](javascript:alert(1)) [site](https://example.com)')
    def claude_long(self, chunks): self.answer('\n\n'.join(f'Paragraph {i} is here.' for i in range(60)) + '\n\n```python\n' + '\n'.join(f'x{i} = {i}' for i in range(60)) + '\n```\n\nEnd of it.')
    def claude_echo(self, chunks):
        last = self.server.requests[-1]['messages'][-1]['content']
        texts = [last] if isinstance(last, str) else [b.get('text', b['type']) for b in last]
        self.answer(f"I read {len(self.server.requests[-1]['messages'])} messages, the last is {'+'.join(texts)!r}.")

    def answer(self, text): self.stream(*sse(mk_events(mk_reply(text, self.server.requests[-1]), delta=8)), b'')

@pytest.fixture(autouse=True)
def more_models(server): server.RequestHandlerClass = Handler

def seen(s): return re.sub(r'\x1b\[[0-9;?]*[A-Za-z]|\r', '', s)

class Person:
    "Types, and looks at what comes"
    def __init__(self, env, *args, command):
        env, kw = env | dict(TERM='xterm', COLUMNS='80', LINES='24'), dict(encoding='utf-8', timeout=300)
        self.p = pexpect.spawn(command, list(args), env=env, dimensions=(24, 80), **kw)
        self.all = ''
    def sees(self, pattern):
        self.p.expect(pattern)
        self.all += self.p.before + self.p.after
        return self
    def types(self, line):
        "As soon as something is asked"
        self.sees('(> |… |: )$').p.sendline(line)
        return self
    def leaves(self):
        self.sees('> $').p.sendeof()
        self.p.expect(pexpect.EOF)
        self.all += self.p.before
        self.p.close()
        assert 'Traceback' not in self.all and KEY not in self.all
        return self.p.exitstatus

@pytest.fixture
def person(env):
    people = []
    def start(*args, model='claude-whole', command=COMMAND, **more):
        people.append(Person(env | more, *(['-m', model] if model else []), *args, command=command))
        return people[-1]
    yield start
    for o in people: o.p.close(force=True)

def state(env): return json.loads((Path(env['HOME'])/'.local/state/llmchat/last.json').read_text())

def test_a_conversation(person, server, env):
    p = person(model='claude-echo', command=REAL).sees('claude-echo listens')
    p.types('Hello there').sees("1 messages, the last is 'Hello there'").sees(' in · ')
    p.types('And\\').types('again').sees(r"3 messages, the last is 'And\\nagain'").sees(' in · ')
    p.types('"""def f():').types('    pass').types('"""').sees(' in · ')
    assert server.requests[2]['messages'][-1]['content'][0]['text'] == 'def f():\n    pass'
    assert p.leaves() == 0
    assert len(state(env)['h']) == 6
    folder = Path(env['HOME'])/'.local/state/llmchat'
    assert folder.stat().st_mode & 0o777 == 0o700 and all(f.stat().st_mode & 0o777 == 0o600 for f in folder.iterdir())
    p = person('-c', model=None).sees('claude-echo listens').types('More').sees('7 messages').sees(' in · ')
    assert p.leaves() == 0
    assert 'Hello there' in (folder/'history').read_text()

def test_one_question_goes_on(env, run):
    assert run('-m', 'claude-echo', 'One')[0] == 0
    status, out, err = run('-c', 'Two')
    assert (status, out) == (0, "I read 3 messages, the last is 'Two'.\n") and len(state(env)['h']) == 4
    assert run('-c', 'Two', HOME=env['HOME'] + '/nobody')[:2] == (1, '')

def test_after_a_conversation_with_tools_the_advice_is_for_the_terminal(run, tools):
    assert run('-m', 'claude-tool', '--tools', str(tools), 'Go')[0] == 0
    status, out, err = run('-m', 'claude-echo', '-c', 'And?')
    assert status == 0 and 'Not loaded from the file: erase. Functions come with --tools FILE.py' in err and 'Chat.load' not in err and '=' not in err
    assert run('-m', 'claude-tool', '--tools', str(tools), 'Go')[0] == 0
    status, out, err = run('-m', 'claude-tool', '-c', '--tools', str(tools), 'And?')
    assert status == 0 and 'file' not in err

def test_retry_that_fails_leaves_the_conversation(person, env):
    p = person(model='claude-echo').sees('listens').types('Hi').sees(' in · ').types('/model claude-none').sees('claude-none').types('/retry').sees('not_found_error')
    p.types('/model claude-echo').sees('claude-echo').types('And?').sees('3 messages').sees(' in · ').types('/retry').sees("3 messages, the last is 'And\\?'").sees(' in · ')
    assert p.leaves() == 0 and len(state(env)['h']) == 4

def test_markdown_is_shown_and_nothing_drives_the_terminal(person):
    p = person(model='claude-evil').sees('listens').types('Hi').sees(' in · ')
    p.leaves()
    assert '\x1b[2J' not in p.all and '\x07' not in p.all and '**' not in p.all
    assert 'https://example.com' in p.all and '\x1b]8' not in p.all and '\x1b[1mbold' in p.all

def test_long_answers_are_whole(person):
    p = person(model='claude-long').sees('listens').types('Hi').sees('End of it').sees(' in · ')
    p.leaves()
    text = seen(p.all)
    for i in range(60): assert f'Paragraph {i} is here.' in text and f'x{i} = {i}' in text

def on_screen(raw):
    "What is left to see after Rich has drawn over what it drew before"
    lines, y, x = [''], 0, 0
    for c in re.findall(r'\x1b\[[0-9;?]*[A-Za-z]|.', raw, re.S):
        if c == '\n':
            y, x = y + 1, 0
            lines += [''] * (y - len(lines) + 1)
        elif c == '\r': x = 0
        elif c == '\x1b[2K': lines[y] = ''
        elif c == '\x1b[1A': y -= 1
        elif c[0] != '\x1b': lines[y], x = lines[y][:x].ljust(x) + c + lines[y][x + 1:], x + 1
    return '\n'.join(lines)

CODE = 'Here it is:\n\n```python\nfirst = 1\n\nsecond = 2\n```\n\nIt is <short>. ![x](https://a.b/c.png)\n\n- one\n- two\n\nEnd.'

@pytest.mark.parametrize('size', [1, 3, 8, 200])
@pytest.mark.parametrize('height', [6, 40])
def test_what_is_left_on_the_screen(monkeypatch, size, height):
    class Terminal(io.StringIO):
        def isatty(self): return True
    for k, v in dict(TERM='xterm', COLUMNS='60', LINES=str(height), NO_COLOR='1').items(): monkeypatch.setenv(k, v)
    view = View(screen := Terminal())
    for i in range(0, len(CODE), size): view.add(CODE[i:i + size])
    view.end()
    text = '\n'.join(l.rstrip() for l in on_screen(screen.getvalue()).split('\n')).strip()
    text = re.sub('\n{3,}', '\n\n', text) # Rich puts more space around code
    assert text == 'Here it is:\n\n first = 1\n\n second = 2\n\nIt is <short>. x (https://a.b/c.png)\n\n • one\n • two\n\nEnd.'

def test_nothing_is_drawn_while_what_is_done_is_written(monkeypatch):
    "Else what grows could come to stand in the middle of it"
    class Terminal(io.StringIO):
        def isatty(self): return True
    monkeypatch.setenv('TERM', 'xterm')
    view, drawn = View(Terminal()), []
    write = view.console.print
    def note(*args, **kw):
        if args and isinstance(args[0], Formatted): drawn.append(bool(view._live and view._live.is_started))
        write(*args, **kw)
    view.console.print = note
    for i in range(0, len(CODE), 9): view.add(CODE[i:i + 9])
    view.end()
    assert len(drawn) > 2 and not any(drawn)

def test_without_rich_it_is_plain(person, tmp_path):
    (tmp_path/'sitecustomize.py').write_text('import sys\nclass No:\n    def find_spec(self, name, *a):\n        if name == "rich": raise ImportError(name)\n'
        'import importlib.util\nreal = importlib.util.find_spec\nimportlib.util.find_spec = lambda name, *a: None if name == "rich" else real(name, *a)\nsys.meta_path.insert(0, No())\n')
    p = person(model='claude-evil', command=REAL, PYTHONPATH=str(tmp_path)).sees('listens').types('Hi').sees(' in · ')
    p.leaves()
    assert '**bold**' in p.all and '\x1b[2J' not in p.all

def test_neither_ctrl_c_nor_errors_stop_the_program(person, server):
    p = person(model='claude-waits').sees('listens').types('Hi').sees('Because')
    p.p.sendintr()
    p.sees('Stopped')
    server.go_on.set()
    p.types('/model claude-echo').sees('claude-echo').types('Once more').sees('1 messages').sees(' in · ')
    p.sees('> $').p.sendintr()
    p.types('Still here').sees('3 messages').sees(' in · ')
    p.types('/model claude-breaks').sees('claude-breaks').types('Hi').sees('broke off')
    p.types('/model claude-none').sees('claude-none').types('Hi').sees('not_found_error')
    p.types('/nonsense').sees('There is no command /nonsense')
    assert p.leaves() == 0

def test_commands(person, server, tmp_path):
    p = person('-s', 'Be brief.', model='claude-echo').sees('listens').types('/undo').sees('no turn of this chat to take back').types('/cost').sees('0.00 USD')
    p.types('First').sees("'First'").sees(' in · ').types('Second').sees("'Second'").sees(' in · ')
    p.types('/cost').sees(' in · ').types('/tools').sees('No tools')
    p.types(f'/save {tmp_path}/a.json').sees('Written to').types(f'/save {tmp_path}/a.html').sees('Written').types(f'/save {tmp_path}/a.md').sees('Written')
    p.types('/undo').sees('Taken back: Second').types('/retry').sees("1 messages, the last is 'First'").sees(' in · ')
    p.types('Third').sees('3 messages').sees(' in · ')
    p.types(f'/load {tmp_path}/a.html').sees('4 messages loaded').types('Fourth').sees('5 messages').sees(' in · ')
    p.types(f'/load {tmp_path}/none.json').sees('no conversation').types('/save /dev/null/a.json').sees('Not a directory|File exists')
    p.types('/help').sees('/retry').sees('Ctrl-C')
    p.types(' /not a command').sees(r"'/not a command'").sees(' in · ')
    p.types('/quit')
    p.p.expect(pexpect.EOF)
    assert 'Be brief.' in (tmp_path/'a.md').read_text() and all(r['system'] == 'Be brief.' for r in server.requests)

def test_files_go_with_the_first_prompt(person, server, tmp_path):
    (tmp_path/'a.txt').write_text('A letter.')
    p = person('-f', str(tmp_path/'a.txt'), model='claude-echo').sees('listens').types('What is it?').sees(' in · ').types('Sure?').sees(' in · ')
    p.leaves()
    assert 'A letter.' in server.requests[0]['messages'][0]['content'][0]['text'] and len(server.requests[1]['messages'][-1]['content']) in (1, 5)

def test_files_of_one_question(run, server, tmp_path):
    (tmp_path/'a.txt').write_text('A letter.')
    assert run('-m', 'claude-echo', '-f', str(tmp_path/'a.txt'), 'What?')[0] == 0
    assert [b['text'][:5] for b in server.requests[0]['messages'][0]['content']] == ['<file', 'What?']
    status, out, err = run('-m', 'claude-echo', '-f', '/no/such/file', 'What?')
    assert status == 1 and '/no/such/file' in err and err.count('\n') == 1

@pytest.fixture
def tools(tmp_path):
    (tmp_path/'mytools.py').write_text('from pathlib import Path\ndef erase(path: str) -> str:\n    "Erase all"\n    Path(__file__).with_name("erased").touch()\n    return "erased"\n')
    return tmp_path/'mytools.py'

@pytest.mark.parametrize('said,runs', [('a', True), ('', False), ('no, that is dangerous', False)])
def test_tools_ask_before_they_run(person, server, tools, said, runs):
    p = person('--tools', str(tools), model='claude-tool').sees('listens').types('/tools').sees('erase: Erase all').types('Go').sees("Run erase\\(path='/'\\)")
    assert not tools.with_name('erased').exists()
    p.types(said).sees('It is done').sees(' in · ')
    assert tools.with_name('erased').exists() == runs
    if said == 'a': p.types('Again').sees('It is done').sees(' in · ')
    p.types('/undo').sees('Taken back')
    p.leaves()
    result = server.requests[1]['messages'][-1]['content'][0]
    assert ('declined' in json.dumps(result)) != runs and ('dangerous' in said) == ('dangerous' in json.dumps(result))
    if not runs: assert result['content'] == {'': 'The user declined this call.'}.get(said, f'The user declined this call: {said}')

def test_ctrl_c_at_the_question(person, tools):
    p = person('--tools', str(tools), model='claude-tool').sees('listens').types('Go').sees('Run erase')
    p.p.sendintr()
    p.sees('Stopped').types('/undo').sees('no turn of this chat to take back')
    p.leaves()
    assert not tools.with_name('erased').exists()

def test_tools_where_nobody_can_be_asked(run, tools):
    status, out, err = run('-m', 'claude-tool', '--tools', str(tools), 'Go')
    assert (status, out) == (0, 'I will.\nIt is done.\n') and 'no terminal to ask in' in err and not tools.with_name('erased').exists()

@pytest.mark.parametrize('args,word', [(['--tools', '/no/such/file.py'], '/no/such/file.py'), (['--max-cost', '1'], 'no known price'), (['-c'], 'no conversation to go on with')])
def test_what_cannot_begin(run, args, word):
    status, out, err = run('-m', 'claude-whole', *args, 'Hi')
    assert (status, out) == (1, '') and word in err and err.count('\n') == 1

def test_max_cost(person, server):
    Handler.claude_sonnet_5_5 = Handler.claude_echo
    p = person('--max-cost', '0.000001', model='claude-sonnet-5-5').sees('listens').types('Hi').sees('1 messages').sees(' USD').types('Hi').sees('max_cost is')
    p.leaves()
    assert len(server.requests) == 1

def test_whole_blocks():
    text = '# A\n\npara\nof two\n\n1. one\n\n2. two\n   more\n\n```py\na\n\nb\n```\n\n| a |\n|---|\n| 1 |\n'
    for i in range(len(text) + 1):
        done, rest = whole_blocks(text[:i])
        assert done + rest == text[:i] and done.count('```') % 2 == 0
        if done: assert done.endswith('\n')
