"Chats on disk and between processes: saved, journalled, killed at any moment, full disks, pickled"
import errno, json, os, pickle, random, signal, stat, subprocess, sys, time, warnings
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from multiprocessing import get_context
from pathlib import Path

import pytest
from common import MODEL, PNG, TOOLS, both, check_history, sums
from llmchat import AsyncChat, AsyncClient, Chat, Client, Sandbox, mk_tool
from llmchat.sandbox.server import Fail, tool_use
from warm import program

KILLS = int(os.environ.get('LLMCHAT_KILLS', 20)) # Processes to be killed
SEED = int(os.environ.get('LLMCHAT_SEED', 0)) or random.randrange(1_000_000)
PAUSED = dict(content=['Looking…', dict(type='server_tool_use', name='web_search', input=dict(query='x'))], stop_reason='pause_turn')

def same(a, b):
    "Fail unless one chat goes on exactly as the other would"
    assert a.h == b.h and a.last == b.last and a.calls == b.calls and a.use == b.use and a.cost == b.cost
    turns = lambda c: [(t.start, t.replaced, t.asked, t.prompt) for t in c._turns]
    assert turns(a) == turns(b) and (a._paused is None) == (b._paused is None)
    assert a.spent == b.spent

def loaded(way, path, script=(), **kw): return way.Chat.load(path, way.sdk(Sandbox(list(script))), **kw)

def steps(way, chat):
    "Things that happen to a chat, one after the other"
    yield way.call(chat, 'Hi')
    yield way.read(chat, ['Look:', PNG])
    yield way.call(chat, 'Add')
    yield way.call(chat)
    with pytest.raises(Exception): way.call(chat, 'Fails')
    yield
    yield chat.undo()
    yield way.call(chat, 'Once more')
    yield way.call(chat.retry)
    chat.h[0] = dict(role='user', content='Good morning')
    chat.h[-1]['content'] = 'Changed by hand'
    yield way.call(chat, 'Go on')
    chat.settings['sp'], chat.cont_pr = 'Be kind.', 'And then?'
    yield way.call(chat)
    yield way.call(chat, 'Search')
    yield way.call(chat)
    yield chat.undo()
    del chat.h[4:]
    chat.h += [dict(role='user', content='Unanswered')]
    yield way.call(chat, 'and this')

SCRIPT = ['Hello!', 'A picture.', [tool_use('sums', a=1, b=[2])], 'It is 2.', Fail(500), 'One', 'Two', 'Three', 'Four', PAUSED,
    'Found.', 'End.']

@both
def test_after_each_step_a_journal_and_a_saved_chat_give_the_same_chat(way, tmp_path):
    chat = way.Chat(MODEL, way.sdk(Sandbox(SCRIPT)), tools=TOOLS, sp='Be brief.', maxtok=300, journal=tmp_path/'j', max_cost=3)
    for n, _ in enumerate(steps(way, chat)):
        check_history(chat.h, types=False)
        if n == 4: continue # a failed call is counted with the next turn
        for path in (tmp_path/'j', tmp_path/'s'):
            if path.name == 's': chat.save(path)
            res = loaded(way, path, tools=TOOLS)
            if n == 11: res.last = chat.last # of a reply that was continued, a file has the whole
            same(res, chat)
            assert res.c.model == MODEL and res.settings == chat.settings and res.cont_pr == chat.cont_pr
    lines = (tmp_path/'j').read_text().splitlines()
    assert max(map(len, lines)) < 3 * len(json.dumps(chat.h)) and stat.S_IMODE((tmp_path/'j').stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path/'s').stat().st_mode) == 0o600

@both
def test_a_journal_is_gone_on_with(way, tmp_path):
    way.call(way.Chat(MODEL, way.sdk(Sandbox(['x'])), journal=tmp_path/'j'), 'Hi')
    for n in range(2, 5):
        chat = loaded(way, tmp_path/'j', ['y', 'z'])
        way.call(chat, 'On')
        assert len(chat.h) == 2 * n
    assert chat.undo() and way.call(chat.retry) and len(chat.h) == 6
    same(loaded(way, tmp_path/'j'), chat)

def test_what_is_kept_of_settings_and_tools(tmp_path):
    search = dict(type='web_search_20250305', name='web_search')
    kw = dict(sp=[dict(type='text', text='Be brief.')], stop=['.'], temp=0.5, cache=True, max_calls=7)
    chat = Chat(MODEL, Sandbox([]).client(), tools=[search, sums], approve=print, extra_headers={'x-key': 'sk-abcdefgh'}, **kw)
    chat.save(tmp_path/'a')
    with pytest.warns(UserWarning, match=r"tools=\[sums, search_conf\(\)\], extra_headers=…, approve=…\)") as said:
        res = Chat.load(tmp_path/'a', Sandbox([]).client())
    assert len(said) == 1 and {k: v for k, v in res.settings.items() if v is not None} == kw
    assert 'sk-abc' not in (tmp_path/'a').read_text()
    res = Chat.load(tmp_path/'a', Sandbox([]).client(), tools=[search, sums], approve=print, extra_headers={}, sp='New')
    assert res.settings == chat.settings | dict(extra_headers={}, sp='New')

@both
def test_a_turn_that_cannot_be_written_has_not_happened(way, tmp_path, monkeypatch):
    chat = way.Chat(MODEL, way.sdk(Sandbox(['one', 'two', 'three', 'four'])), journal=tmp_path/'j')
    way.call(chat, 'Hi')
    before, size = deepcopy(chat.h), (tmp_path/'j').stat().st_size
    def full(fd): raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space') as e: way.call(chat, 'More')
    with pytest.raises(OSError, match='No space'): chat.undo()
    with pytest.raises(OSError, match='No space'): way.call(chat.retry)
    assert chat.h == before and (tmp_path/'j').stat().st_size == size and len(chat._turns) == 1
    assert e.value.partial.content[0].text == 'two' and chat.partial.content[0].text == 'three'
    monkeypatch.undo()
    way.call(chat, 'More')
    same(loaded(way, tmp_path/'j'), chat)

def test_ctrl_c_while_a_line_is_written(tmp_path, monkeypatch):
    chat = Chat(MODEL, Sandbox(['one', 'two', 'three']).client(), journal=tmp_path/'j')
    chat('Hi')
    def interrupted(fd): raise KeyboardInterrupt
    monkeypatch.setattr(os, 'fsync', interrupted)
    with pytest.raises(KeyboardInterrupt): chat('More')
    monkeypatch.undo()
    assert Chat.load(tmp_path/'j', Sandbox([]).client()).h == chat.h
    chat('More')
    same(Chat.load(tmp_path/'j', Sandbox([]).client()), chat)

def test_ctrl_c_between_file_and_history(tmp_path, monkeypatch):
    chat = Chat(MODEL, Sandbox(['one', 'two', 'three']).client(), journal=tmp_path/'j')
    chat('Hi')
    add = chat._record.add
    def interrupted(*args):
        add(*args)
        raise KeyboardInterrupt
    chat._record.add = interrupted
    with pytest.raises(KeyboardInterrupt): chat('More')
    assert len(chat.h) == 2
    chat._record.add = add
    chat('Other')
    assert Chat.load(tmp_path/'j', Sandbox([]).client()).h == chat.h

def test_journals_that_cannot_be_begun_or_gone_on_with(tmp_path):
    cli = Sandbox(['x'] * 5).client()
    with pytest.raises(FileNotFoundError): Chat(MODEL, cli, journal=tmp_path/'no'/'j')
    chat = Chat(MODEL, cli, journal=tmp_path/'j')
    with pytest.raises(FileExistsError, match='load it'): Chat(MODEL, cli, journal=tmp_path/'j')
    other = Chat.load(tmp_path/'j', cli)
    other('Hi')
    with pytest.raises(RuntimeError, match='Somebody else'): chat('Hi')
    assert chat.h == [] and len(Chat.load(tmp_path/'j', cli).h) == 2
    (tmp_path/'j').unlink()
    with pytest.raises(FileNotFoundError): other('Hi')

@pytest.mark.parametrize('text', ['', '<html>', '[]', '{}', '{"llmchat": "1", "h": []}', '{"llmchat": 1}', '{"llmchat": 2}',
    '{"llmchat": 1, "journal": true, "h": [], "turns": []}\n{"at" 0}\n{}\n'])
def test_files_that_are_no_chats(text, tmp_path):
    (tmp_path/'f').write_text(text)
    with pytest.raises(ValueError, match='f '): Chat.load(tmp_path/'f', Sandbox([]).client())
    assert (tmp_path/'f').read_text() == text

def test_torn_anywhere_in_its_last_line(tmp_path):
    chat = Chat(MODEL, Sandbox(['one é', 'two 😊', 'three']).client(), journal=tmp_path/'j')
    chat('Hi')
    whole, before = (tmp_path/'j').read_bytes(), deepcopy(chat.h)
    chat('More')
    longer = (tmp_path/'j').read_bytes()
    for n in range(len(whole) + 1, len(longer)):
        (tmp_path/'t').write_bytes(longer[:n])
        with pytest.warns(UserWarning, match='had not finished'): res = Chat.load(tmp_path/'t', Sandbox(['again']).client())
        assert res.h == before and (tmp_path/'t').read_bytes() == longer[:n]
        if n % 40 == 0:
            res('And now?')
            assert Chat.load(tmp_path/'t', Sandbox([]).client()).h == res.h

def test_a_fork_leaves_the_journal_alone(tmp_path):
    chat = Chat(MODEL, Sandbox(['one', 'two', 'three']).client(), journal=tmp_path/'j')
    chat('Hi')
    other = chat.fork()
    other('More')
    chat('Else')
    same(Chat.load(tmp_path/'j', Sandbox([]).client()), chat)
    assert len(other.h) == 4

# ---- killed

CHILD = '''
import os, sys
from llmchat import Chat, Sandbox
from llmchat.sandbox.server import tool_use

def sums(a: int) -> int: return a

def talk(path):
    n = 0
    def reply(req):
        nonlocal n
        n += 1
        return [tool_use('sums', a=n)] if n % 3 == 1 else 'word ' * (n % 7 * 100 + 1)
    chat = Chat('claude-sonnet-5-5', Sandbox(reply).client(), tools=[sums], journal=path)
    told = os.open(path + '.told', os.O_WRONLY | os.O_CREAT)
    for turn in range(10_000):
        chat(f'Turn {turn}')
        os.pwrite(told, f'{len(chat.h):9}'.encode(), 0)

warm = Chat('claude-sonnet-5-5', Sandbox(['Everything is imported.']).client())
warm('Hi')
warm.cost
for path in sys.stdin:
    if not (pid := os.fork()): talk(path.strip())
    print(pid, flush=True)
    os.waitpid(pid, 0)
    print('gone', flush=True)
'''

def killed(parent, path, seconds):
    "Let a child talk for a while, and kill it; how many messages its calls had returned"
    parent.stdin.write(f'{path}\n')
    parent.stdin.flush()
    pid, told = int(parent.stdout.readline()), Path(f'{path}.told')
    while not told.exists(): time.sleep(0.005)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    assert parent.stdout.readline() == 'gone\n'
    return int(told.read_text() or 0)

def test_killed_at_any_moment_no_finished_turn_is_lost(tmp_path):
    rng, torn, most, unsaid = random.Random(SEED), 0, 0, 0
    print(f'LLMCHAT_SEED={SEED}, {KILLS} processes')
    with subprocess.Popen([program('python'), '-c', CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        for k in range(KILLS):
            path = tmp_path/f'{k}.jsonl'
            finished = killed(parent, path, rng.random() ** 2 * 0.4)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter('always')
                chat = Chat.load(path, Sandbox(['Still here.']).client(), tools=[sums])
            torn, most, unsaid = torn + bool(said), max(most, finished), unsaid + (len(chat.h) > finished)
            assert finished <= len(chat.h) <= finished + 3, f'LLMCHAT_SEED={SEED}, {k}: {finished} {len(chat.h)}'
            check_history(chat.h, types=False)
            chat('And now?')
            assert Chat.load(path, Sandbox([]).client(), tools=[sums]).h == chat.h
        parent.stdin.close()
    assert KILLS < 10 or most > 0
    print(f'{torn} torn, {unsaid} killed between the file and the return, up to {most} messages')

# ---- between processes

def travelled(chat): return pickle.loads(pickle.dumps(chat))

def ask_there(chat):
    "In another process: what has arrived"
    return chat.h, chat.settings['sp'], [getattr(t, '__name__', None) or t.name for t in chat.settings['tools']], chat.c.cli.api_key

def test_chats_go_to_a_process_pool(monkeypatch):
    monkeypatch.setenv('ANTHROPIC_API_KEY', 'sk-of-the-environment')
    chats = [Chat(MODEL, hist=[f'I am {n}', 'Hi'], sp='Be brief.', tools=[sums, mk_tool(sums, timeout=3)][:n % 2 + 1][-1:], api_key='sk-given-here')
        for n in range(4)]
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool: res = list(pool.map(ask_there, chats))
    assert [r[0] for r in res] == [c.h for c in chats] and {r[1] for r in res} == {'Be brief.'}
    assert all(r[2] == ['sums'] and r[3] == 'sk-of-the-environment' for r in res)

@pytest.mark.parametrize('cls', [Client, AsyncClient])
def test_clients_travel_as_settings(cls, monkeypatch):
    c = cls(MODEL, api_key='sk-given-here-123', base_url='https://api.example', timeout=7, max_retries=5, cache=True, log=True, max_wait=3)
    c._ledger.add(MODEL, dict(input_tokens=5, output_tokens=6))
    data = pickle.dumps(c)
    assert b'sk-given' not in data
    monkeypatch.setenv('ANTHROPIC_API_KEY', 'sk-of-the-environment')
    res = pickle.loads(data)
    assert (res.model, res.cache, res.log, res.use, res.cost) == (c.model, True, [], c.use, c.cost)
    assert (str(res.cli.base_url), res.cli.timeout, res.cli.max_retries) == ('https://api.example', 7, 5)
    assert res.cli.api_key == 'sk-of-the-environment' and res._waits == c._waits == dict(max_wait=3, on_retry=None)

def test_what_cannot_travel_is_named():
    key = dict(api_key='sk-given-here-123')
    nope = lambda o, name: pytest.raises(pickle.PicklingError, match=name)
    def local(a: int) -> int: "Here only"
    for chat, name in ((Chat(MODEL, Sandbox([]).client()), 'cli=Anthropic'), (AsyncChat(MODEL, Sandbox([]).aclient()), 'cli=AsyncAnthropic'),
        (Chat(MODEL, tools=[sums, local], **key), "the tool 'local'"), (Chat(MODEL, ns=[local], **key), 'ns='),
        (Chat(MODEL, approve=lambda c: True, **key), 'approve='), (Chat(MODEL, on_retry=lambda r: 0, **key), 'on_retry='),
        (Client(MODEL, base_url='https://user:sk-given-here-123@host', **key), 'base_url='),
        (Client(MODEL, default_headers={'authorization': 'sk-given-here-123'}, **key), 'default_headers=')):
        with nope(chat, name) as e: pickle.dumps(chat)
        assert 'sk-given' not in str(e.value)

def test_a_chat_that_has_travelled_goes_on(tmp_path):
    chat = Chat(MODEL, hist=['Hi', 'Hello'], tools=TOOLS, api_key='sk-given-here-123', journal=tmp_path/'j')
    res = travelled(chat)
    same(res, chat)
    assert res._record is None and res.c.cli.api_key is None
    res.c.cli = Sandbox(['Yes.']).client()
    res('Still there?')
    assert len(res.h) == 4 and res.undo() and len(chat.h) == 2
