"Reported faults of what is kept on disk, each with its siblings: files from strangers, full disks, readers beside a writer"
import errno, inspect, json, os, random, stat, threading, warnings
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from common import CITED, MODEL, PDF, PNG, both, case_name, check_history, now, sums
from llmchat import AsyncChat, Batch, Chat, Client, Sandbox, fetch_conf, mk_doc, search_conf
from llmchat.engine.request import BaseClient
from llmchat.batch.jobfile import Job
from llmchat.engine.storage import file_settings, write_json
from llmchat.engine.loading import LeftOut
from llmchat.protocol.messages import mk_msgs
from llmchat.protocol.requests import ChatSettings, of_betas
from llmchat.sandbox.server import Fail, tool_use
from llmchat.engine.turns import BaseChat

def mode(path): return stat.S_IMODE(path.stat().st_mode)

# ---- looking never writes

def job_file(tmp_path):
    path, sb = tmp_path/'job', Sandbox(lambda body: 'yes')
    Batch(MODEL, ['a', 'b', 'c'], path, cli=sb.client(), sleep=sb.sleep).run()
    return path

def test_looking_at_a_job_that_is_being_written_changes_nothing(tmp_path):
    "Every length of the file, as a writer might have got it"
    path = job_file(tmp_path)
    whole = path.read_bytes()
    for n in range(whole.index(b'{"ready"'), len(whole), 7):
        path.write_bytes(whole[:n])
        try: assert sum(Batch.load(path, cli=Sandbox([]).client()).counts.values()) == 3
        except ValueError as e: assert 'holds none' in str(e)
        assert path.read_bytes() == whole[:n]

def test_a_line_that_ends_after_it_was_looked_at_is_read_then(tmp_path):
    path = job_file(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    job = Job(path)
    with open(path, 'ab') as f: f.write(whole[-9:])
    with job.locked(): assert job.counts['succeeded'] == 3
    assert path.read_bytes() == whole

def test_half_a_line_is_taken_off_by_the_next_one_to_write(tmp_path):
    path = job_file(tmp_path)
    with open(path, 'ab') as f: f.write(b'{"again"')
    b = Batch.load(path, cli=Sandbox([]).client())
    with b.job.locked(): b.job.say(cancel=True)
    assert path.read_bytes().endswith(b'}\n{"cancel":true}\n')

@pytest.mark.parametrize('line', ['[1]', '{"part": 9, "batch": "x"}', '{"again": [[0, 99]]}', '{"of": 5}', '{"ready": 1000000000000000000000}', '[' * 100_000], ids=range(6))
def test_damaged_jobs(tmp_path, line):
    path = job_file(tmp_path)
    with open(path, 'a') as f: f.write(line + '\n')
    with pytest.raises(ValueError, match='damaged at byte'): Batch.load(path)

# ---- pages are written as chats are

WRITERS = dict(save=lambda c, p: c.save(p), html=lambda c, p: c.to_html(p), md=lambda c, p: c.to_md(p))

@pytest.mark.parametrize('how', WRITERS)
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, how):
    chat = Chat(MODEL, Sandbox(['A dot.']).client())
    chat([PNG, 'What is this?'])
    WRITERS[how](chat, path := tmp_path/'a')
    before = {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()}
    assert {mode(p) for p in before} == {0o600} and len(before) == 1 + (how == 'md')
    assert all(mode(p) == 0o700 for p in tmp_path.rglob('*') if p.is_dir())
    def full(fd): raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(os, 'fsync', full)
    chat.h[0] = dict(role='user', content='Changed')
    with pytest.raises(OSError, match='No space'): WRITERS[how](chat, path)
    assert {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()} == before

@pytest.mark.parametrize('how', WRITERS)
def test_what_cannot_be_encoded_leaves_the_old_file(tmp_path, how):
    chat = Chat(MODEL, Sandbox([]).client(), hist=['Hi'])
    (tmp_path/'a').write_text('old')
    chat.h[0] = dict(role='user', content='half \ud83d of it')
    with pytest.raises(ValueError): WRITERS[how](chat, tmp_path/'a')
    assert [p.name for p in tmp_path.iterdir()] == ['a'] and (tmp_path/'a').read_text() == 'old'

# ---- a file is data from a stranger

HELLO = mk_msgs(['Hi', 'Hello!'])

def write(path, how='save', h=HELLO, **more):
    "A file as a stranger writes it: a saved chat, a page or a journal"
    data = dict(llmchat=1, model=MODEL, h=h, turns=[]) | more
    if how == 'save': path.write_text(json.dumps(data))
    elif how == 'journal': path.write_text(json.dumps(data | dict(journal=True)) + '\n')
    else: path.write_text('<!DOCTYPE html><script type="application/json" id="llmchat">' + json.dumps(data).replace('<', '\\u003c') + '</script>')
    return path

def load(path, *script, **kw): return Chat.load(path, Sandbox(list(script)).client(), **kw)

LEFT_OUT = {'model': 'an id, never a file', 'cli': 'connection', 'tools': 'code', 'hist': 'the file has one', 'ns': 'code', 'approve': 'code',
    'log': 'of the client', 'journal': 'path', 'cont_pr': 'has its own place in the file', 'kw': 'all others', 'api_key': 'key', 'base_url': 'address',
    'max_retries': 'connection', 'max_wait': 'connection', 'on_retry': 'code', 'aiohttp': 'connection', 'cb': 'code', 'container': 'reaches further',
    'diagnostics': 'reaches further', 'extra_body': 'reaches further', 'extra_headers': 'may hold keys', 'extra_query': 'may hold keys',
    'user_profile_id': 'somebody', 'workspace_id': 'somebody', **dict.fromkeys(['betas', *of_betas], 'reaches further')}

def test_every_parameter_is_in_the_list_or_left_out_on_purpose():
    "A new parameter must be decided"
    names = {k for f in (BaseChat.__init__, BaseClient.__init__, Chat.__call__) for k in inspect.signature(f).parameters}
    names |= ChatSettings.__annotations__.keys()
    names -= {'self', 'pr', 'stream', 'kwargs'}
    assert names - file_settings.keys() == LEFT_OUT.keys(), (names - file_settings.keys()) ^ LEFT_OUT.keys()

@pytest.fixture
def servers():
    "Two on loopback, and what each was asked: headers"
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self): self.server.asked.append(str(self.headers)); self.send_error(400)
        do_GET = do_POST
        def log_message(self, *args): pass
    both = [HTTPServer(('127.0.0.1', 0), Handler) for _ in range(2)]
    for s in both:
        s.asked = []
        threading.Thread(target=s.serve_forever, daemon=True).start()
    yield both
    for s in both: s.shutdown(), s.server_close()

@pytest.mark.parametrize('how', ['save', 'journal', 'page'])
def test_a_file_with_an_address_gets_no_key(tmp_path, monkeypatch, servers, how):
    "Nothing connects to it, neither when the chat is loaded nor with the next prompt, which goes where the reader's goes"
    mine, theirs = (f'http://127.0.0.1:{s.server_port}' for s in servers)
    monkeypatch.setenv('ANTHROPIC_API_KEY', 'sk-of-the-reader')
    monkeypatch.setenv('ANTHROPIC_BASE_URL', mine)
    bad = dict(base_url=theirs, api_key='sk-theirs', extra_headers={'x': 'y'}, http_client=theirs, default_headers={'x': 'y'}, journal=str(tmp_path/'stolen'))
    path = write(tmp_path/'f', how, settings=bad | dict(sp='Be brief.'), **bad)
    with pytest.warns(LeftOut, match='base_url=…, api_key=…, extra_headers=…') as said: chat = Chat.load(path, max_retries=0)
    with pytest.raises(Exception, match='400'): chat('Hi')
    assert len(said) == 1 and chat.settings['sp'] == 'Be brief.' and not (tmp_path/'stolen').exists()
    assert [len(s.asked) for s in servers] == [1, 0] and 'sk-of-the-reader' in servers[0].asked[0] and 'sk-theirs' not in servers[0].asked[0]

@pytest.mark.parametrize('name', ['betas', 'mcp_servers', 'fallbacks', 'context_management', 'extra_body', 'extra_query', 'cb', 'client', 'path', 'no name', '\x1b[2J'])
def test_what_reaches_further_is_named_once(tmp_path, name):
    with pytest.warns(LeftOut) as said: chat = load(write(tmp_path/'f', settings={name: ['x'], 'maxtok': 7}), 'Yes.')
    assert len(said) == 1 and (f'{name}=…' if name.isidentifier() else repr(name)) in str(said[0].message) and '\x1b' not in str(said[0].message)
    assert name not in chat.settings and chat.settings['maxtok'] == 7 and chat('On').content[0].text == 'Yes.'

def test_what_is_given_again_is_not_named(tmp_path):
    chat = Chat(MODEL, Sandbox([]).client(), tools=[sums, search_conf(max_uses=2), fetch_conf(), dict(type='code_execution_20250825', name='code_execution')],
        user_profile_id='me', extra_headers={'x-key': 'abc'}, approve=print)
    chat.save(tmp_path/'f')
    with pytest.warns(LeftOut) as said: load(tmp_path/'f')
    assert str(said[0].message).endswith("tools=[sums, search_conf(), fetch_conf(), dict('type': 'code_execution_20250825', 'name': 'code_execution')], user_profile_id=…, extra_headers=…, approve=…)")
    with pytest.warns(LeftOut, match=r"'[^']*f', approve=…\)"): load(tmp_path/'f', tools=[sums], user_profile_id='me', extra_headers=None)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        load(tmp_path/'f', tools=[sums], user_profile_id='me', extra_headers=None, approve=True)

def test_no_model_from_a_path(tmp_path):
    with pytest.warns(LeftOut, match='model=…'): chat = Chat.load(write(tmp_path/'f', model=f'local:{tmp_path}/evil.gguf'))
    assert chat.c.model == 'local'

# ---- approve

def test_a_chat_that_asked_runs_nothing_before_it_can_ask_again(tmp_path):
    chat = Chat(MODEL, Sandbox([]).client(), hist=HELLO, tools=[now], approve=lambda c: True)
    for n in range(2): # a second file, saved from the first
        chat.save(tmp_path/'f')
        with pytest.warns(LeftOut, match='approve=…'): chat = load(tmp_path/'f', [tool_use('now')], 'Done.', tools=[now])
    for ask in (lambda: chat('Go'), lambda: list(chat.toolloop('Go')), lambda: chat('Go', approve=None), lambda: chat.structured('Go', [now])):
        with pytest.raises(ValueError, match='approve=True, which runs all'): ask()
    assert chat.h == HELLO and not chat.c.cli._client._transport.__dict__.get('requests')
    assert chat('Go', approve=True).stop_reason == 'tool_use' and chat.h[-1]['content'][0]['content'] == '12:00'
    assert chat(approve=print).content[0].text == 'Done.'

@both
def test_approve_given_when_it_is_loaded(tmp_path, way):
    Chat(MODEL, Sandbox([]).client(), hist=HELLO, tools=[now], approve=print).save(tmp_path/'f')
    for approve, text in ((True, '12:00'), (lambda c: 'not now', 'declined')):
        chat = way.Chat.load(tmp_path/'f', way.sdk(Sandbox([[tool_use('now')]])), tools=[now], approve=approve)
        way.call(chat, 'Go')
        assert text in chat.h[-1]['content'][0]['content']

CALL = dict(type='tool_use', id='toolu_1', name='now', input={})

@pytest.mark.parametrize('file', [dict(h=mk_msgs(['Hi', [CALL]])), dict(turns=[dict(at=2, old=mk_msgs(['And?', [CALL]]), end=2, model=MODEL, took=[])])], ids=['end', 'undo'])
def test_a_call_that_stands_in_a_file_needs_approve(tmp_path, file):
    chat = load(write(tmp_path/'f', **file), 'Done.', tools=[now])
    if 'turns' in file: chat.undo()
    with pytest.raises(ValueError, match='A file says that now shall run'): chat()
    assert chat(approve=True).content[0].text == 'Done.' and chat.h[-2]['content'][0]['content'] == '12:00'

def test_without_tools_or_with_tools_off_nothing_is_asked(tmp_path):
    Chat(MODEL, Sandbox([]).client(), hist=HELLO, approve=print).save(tmp_path/'f')
    chat = load(tmp_path/'f', 'Yes.', 'Yes.', tools=[now], approve=None)
    assert chat('Go', tool_choice=False) and chat('Go', tools=[])

# ---- a loop asked again, all or nothing

LOOP = [[tool_use('now')], 'It is noon.']

@both
@pytest.mark.parametrize('stream', [False, True])
def test_a_loop_that_is_asked_again_and_fails_changes_nothing(tmp_path, way, stream):
    "Neither the chat nor its journal; what came counts"
    chat = way.Chat(MODEL, way.sdk(Sandbox(['Hello!', *LOOP, [tool_use('now')], Fail(400), [tool_use('now')], 'Late.'])), tools=[now], journal=tmp_path/'j')
    way.call(chat, 'Hi')
    ran(way, chat.toolloop, 'When?')
    before, size, calls = (deepcopy(chat.h), deepcopy(chat.last), [*chat._turns]), (tmp_path/'j').stat().st_size, chat.calls
    with pytest.raises(Exception, match='400'): ran(way, chat.retry, loop=True, stream=stream)
    assert (chat.h, chat.last, chat._turns) == before and (tmp_path/'j').stat().st_size == size
    assert chat.calls == calls + 1 and chat.use.out > sum(s.use.out for s in chat.spent)
    last = ran(way, chat.retry, loop=True, stream=stream)
    assert len(chat.h) == 6 and chat.h[-1]['content'][0]['text'] == 'Late.' and chat.last == chat.h[-1:] and len(chat._turns) == 3
    again = way.Chat.load(tmp_path/'j', way.sdk(Sandbox([])), tools=[now])
    assert (again.h, again.last, again._turns, again.calls) == (chat.h, chat.last, chat._turns, 3)
    assert len(again.undo(loop=True)) == 4 and again.h == chat.h[:2]
    assert way.Chat.load(tmp_path/'j', way.sdk(Sandbox([])), tools=[now]).h == chat.h[:2]

def ran(way, f, *args, **kw):
    "What a loop gives, in either way"
    import asyncio
    async def read(it):
        res = []
        async for o in it: res += await read(o) if hasattr(o, '__aiter__') else [o]
        return res
    def sync(it):
        res = []
        for o in it: res += sync(o) if hasattr(o, '__next__') else [o]
        return res
    it = f(*args, **kw)
    return asyncio.run(read(it)) if way.Chat is AsyncChat else sync(it)

def test_a_loop_that_is_asked_again_and_left_changes_nothing(tmp_path):
    chat = Chat(MODEL, Sandbox([*LOOP, *LOOP]).client(), tools=[now], journal=tmp_path/'j')
    for _ in chat.toolloop('When?'): pass
    before, text = deepcopy(chat.h), (tmp_path/'j').read_text()
    for _ in chat.retry(loop=True): break
    assert chat.h == before and (tmp_path/'j').read_text() == text and len(chat.last) == 1

def test_a_retry_that_cannot_be_written_changes_nothing(tmp_path, monkeypatch):
    chat = Chat(MODEL, Sandbox([*LOOP, *LOOP]).client(), tools=[now], journal=tmp_path/'j')
    for _ in chat.toolloop('When?'): pass
    before = deepcopy(chat.h)
    def full(fd): raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space') as e: list(chat.retry(loop=True))
    assert chat.h == before and chat.partial.content[0].text == e.value.partial.content[0].text == 'It is noon.'

def test_what_was_paused_can_be_gone_on_with_after_undo(tmp_path):
    "And asked again"
    paused = dict(content=['Looking…', dict(type='server_tool_use', name='web_search', input=dict(query='x'))], stop_reason='pause_turn')
    chat = Chat(MODEL, Sandbox([paused, 'Found.', 'Found more.', 'Found again.']).client(), journal=tmp_path/'j')
    chat('Search')
    chat()
    assert chat.retry().content[0].text == 'Found more.' and len(chat.h) == 2
    chat.undo()
    assert Chat.load(tmp_path/'j', Sandbox([]).client())._paused is not None
    assert chat().content[0].text == 'Found again.'

# ---- files that are malformed in any way

MALFORMED = int(os.environ.get('LLMCHAT_MALFORMED', 400)) # Files
SEED = int(os.environ.get('LLMCHAT_SEED', 0)) or random.randrange(1_000_000)
RICH = [['Let me see.', tool_use('now'), tool_use('sums', a=1, b=[2, 'é'])], [dict(type='thinking', thinking='Hm', signature='c2ln'), dict(type='text', text='Paris.', citations=[CITED])],
    [dict(type='server_tool_use', name='web_search', input=dict(query='é')), dict(type='web_search_tool_result', tool_use_id='srvtoolu_0003_0',
        content=[dict(type='web_search_result', title='T', url='https://a.b', encrypted_content='x', page_age=None)]), 'Found.'], 'One more.', 'And more.']

@pytest.fixture(scope='module')
def good(tmp_path_factory):
    "Whole files: a saved chat, a page, a journal"
    folder = tmp_path_factory.mktemp('good')
    chat = Chat(MODEL, Sandbox(RICH).client(), tools=[now, sums], sp=[dict(type='text', text='Be brief.')], journal=folder/'journal', maxtok=300, max_cost=5,
        stop=['END'], cont_pr='On?', metadata=dict(user_id='me'), output_config=dict(effort='low'), extra_headers={'x-a': 'b'})
    chat([PNG, mk_doc('Paris is the capital.', title='France'), 'What?'])
    chat('And this?')
    chat('Search.')
    chat.retry()
    chat.undo()
    chat()
    chat.save(folder/'save')
    chat.to_html(folder/'page')
    return {p.name: p.read_text() for p in folder.iterdir()}

BAD = [None, True, 0, -1, 1.5, 10**30, float('nan'), float('inf'), '', ' ', '\0', '\ud800', [], {}, [[]], ['x'], [None], {'': ''}, {'type': 5}, ...]
BAD.append(json.loads('[' * 400 + ']' * 400))

def places(o, at=()):
    "Paths to all values"
    for k, v in o.items() if isinstance(o, dict) else enumerate(o) if isinstance(o, list) else ():
        yield (*at, k)
        yield from places(v, (*at, k))

def spoiled(data, path, bad):
    "A copy with another value at a path, or without it"
    res = deepcopy(data)
    *way, last = path
    at = res
    for k in way: at = at[k]
    if bad is ...: del at[last]
    else: at[last] = bad
    return res

def in_file(kind, text, change):
    "A whole file with its data changed"
    if kind == 'save': return json.dumps(change(json.loads(text)))
    if kind == 'journal':
        lines = change([json.loads(l) for l in text.splitlines()])
        return ''.join(json.dumps(l) + '\n' for l in lines)
    head, rest = text.split('id="llmchat">', 1)
    data, end = rest.split('</script>', 1)
    return head + 'id="llmchat">' + json.dumps(change(json.loads(data))).replace('<', '\\u003c') + '</script>' + end

def outcome(path):
    "None for a file that is refused as it should be, else its chat, which can be shown and gone on with"
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try: chat = load(path, tools=[now, sums], approve=True)
        except (ValueError, OSError) as e: return None
    other = Chat(MODEL, Sandbox(['Yes.'] * 3).client())
    other.h = chat.h
    if not (chat.h and chat.h[-1]['role'] == 'assistant' and any(b['type'] == 'tool_use' for b in chat.h[-1]['content'] if isinstance(b, dict))): other('And?')
    chat.to_md(), chat.spent, chat.cost, chat._repr_markdown_()
    while chat._turns: chat.undo()
    return chat

def test_whole_files_are_read(good, tmp_path):
    for kind, text in good.items():
        (tmp_path/kind).write_text(text)
        assert len(outcome(tmp_path/kind).h) == 0 and in_file(kind, text, lambda o: o)

def test_malformed_files_end_in_an_error_or_in_a_chat_that_can_be_gone_on_with(good, tmp_path):
    "Every value of a file with every wrong one in its place, or a random choice of them"
    rng, read = random.Random(SEED), 0
    cases = []
    for kind, text in good.items():
        in_file(kind, text, lambda o: cases.extend((kind, p, b) for p in places(o) for b in BAD) or o)
    chosen = rng.sample(cases, min(MALFORMED, len(cases)))
    for kind, path, bad in chosen:
        try:
            (tmp_path/'f').write_bytes(in_file(kind, good[kind], lambda o: spoiled(o, path, bad)).encode())
            read += outcome(tmp_path/'f') is not None
        except Exception as e: raise AssertionError(f'LLMCHAT_SEED={SEED}: {kind} {path} {bad!r:.80}') from e
    print(f'{len(chosen)} of {len(cases)} files: {read} loaded, {len(chosen) - read} refused, none else')

def test_files_that_are_torn_or_not_text(good, tmp_path):
    rng = random.Random(SEED)
    for kind, text in good.items():
        raw = text.encode()
        for _ in range(40):
            n = rng.randrange(len(raw))
            for bad in (raw[:n], raw[:n] + bytes([rng.choice(b'\0\xff"{}[],\\ ')]) + raw[n + 1:], raw[n:]):
                (tmp_path/'f').write_bytes(bad)
                try: outcome(tmp_path/'f')
                except Exception as e: raise AssertionError(f'LLMCHAT_SEED={SEED}: {kind} {n} {bad[n-20:n+20]}') from e

HEAD = '{"llmchat": 1, "model": "claude-sonnet-5-5", "turns": [], '

@pytest.mark.parametrize('text', ['', '\n', '\0' * 99, '\n' * 99, 'null', '[' * 100_000, '{"a":' * 100_000, HEAD + '"h": ' + '[' * 100_000, HEAD + '"h": []' + '}' * 9,
    HEAD + '"h": [], "journal": true}\n' + '[' * 100_000 + '\n', HEAD + '"h": [], "journal": true}\n{"undo": 1}\n', HEAD + '"h": [], "journal": true}\n[]\n', HEAD + '"h": [], "calls": 1' + '0' * 5000 + '}',
    HEAD + '"h": [], "use": {"inp": -5}, "costs": null}', HEAD + '"h": [], "use": {}, "costs": {"inp": "sNaN"}}', HEAD + '"h": [], "use": {}, "costs": {"out": "-1000"}}', HEAD + '"h": [], "settings": {"max_cost": 0}}',
    HEAD + '"h": [], "settings": {"maxtok": true}}', HEAD + '"h": [], "settings": {"sp": 5}}', HEAD + '"h": [], "settings": {"stop": [" "]}}',
    '<!doctype html><script type="application/json" id="llmchat">' + '[' * 100_000 + '</script>', b'\xff\xfe\x00binary', b'\x89PNG\r\n\x1a\n', b'PK\x03\x04'], ids=range(24))
def test_files_that_are_something_else(tmp_path, text):
    (tmp_path/'f').write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError): load(tmp_path/'f')

@pytest.mark.parametrize('what', ['folder', 'pipe', 'device', 'nothing', 'loop', 'long', 'nul'])
def test_what_is_no_file(tmp_path, what):
    "Nothing waits for a pipe, or reads a device that never ends; jobs and pages neither"
    path = tmp_path/'f'
    if what == 'folder': path.mkdir()
    elif what == 'pipe': os.mkfifo(path)
    elif what == 'loop': path.symlink_to(path)
    path = dict(device='/dev/zero', long=tmp_path/('x' * 5000), nul=f'{tmp_path}/\0').get(what, path)
    with pytest.raises((ValueError, OSError)): load(path)
    if what in ('folder', 'pipe', 'device'):
        with pytest.raises(OSError): Job(path)
