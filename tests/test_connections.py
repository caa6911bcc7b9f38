"Connections: who shares them, in which process and event loop they may be used, and when they are closed"
import asyncio, gc, os, pickle, subprocess, sys, threading
from concurrent.futures import ThreadPoolExecutor

import anthropic, httpx2, pytest

from common import MODEL, Async, Sync, both, no_complaints, server, turn # noqa: F401
from llmchat import AsyncChat, AsyncClient, Chat, Client, Sandbox, contents
from llmchat.sdk.connections import most_shared, shared
from warm import program

KEY = 'sk-ant-of-these-tests'

@pytest.fixture(autouse=True)
def none_yet(monkeypatch):
    "No client is shared yet, and the environment has a key"
    monkeypatch.setenv('ANTHROPIC_API_KEY', KEY)
    kept = {**shared}
    shared.clear()
    yield
    shared.clear()
    shared.update(kept)

@pytest.fixture
def made(monkeypatch):
    "The HTTP clients that are made"
    res = []
    for cls in (httpx2.Client, httpx2.AsyncClient):
        def init(self, *args, init=cls.__init__, **kw):
            res.append(self)
            init(self, *args, **kw)
        monkeypatch.setattr(cls, '__init__', init)
    return res

# ---- who shares

@both
def test_equal_settings_share(way, made):
    chats = [way.Chat(MODEL) for _ in range(500)]
    assert len(made) == 1 and len({id(c.c.sdk._client) for c in chats}) == 1
    way.Client(MODEL), way.Client('claude-opus-4-8'), way.Chat(MODEL, tools=[], temp=0, log=True)
    assert len(made) == 1, 'models and settings of calls are the same for a connection'

def test_five_hundred_chats_at_once_have_one_pool(made):
    async def go(): return await asyncio.gather(*(AsyncChat(MODEL)('Hi') for _ in range(500)))
    with Sandbox(lambda body: 'Hello.').patch(), no_complaints(): assert len(asyncio.run(go())) == 500
    assert len(made) == 1

@both
@pytest.mark.parametrize('kw', [dict(api_key='sk-ant-other'), dict(auth_token='other'), dict(base_url='http://localhost:9'),
    dict(base_url='http://user:one@localhost:9'), dict(timeout=5), dict(timeout=anthropic.Timeout(5, connect=1)),
    dict(max_retries=7), dict(default_headers={'x-a': 'b'}), dict(default_query={'a': 'b'}), dict(webhook_key='other')])
def test_others_do_not(way, kw, made):
    one, two, again = way.Client(MODEL), way.Client(MODEL, **kw), way.Client(MODEL, **kw)
    assert two.sdk._client is again.sdk._client is not one.sdk._client and len(made) == 2

def test_a_password_in_an_address_tells_clients_apart():
    one, two = (Client(MODEL, base_url=f'http://user:{p}@localhost:9') for p in ('one', 'two'))
    three, four = (Client(MODEL, base_url=httpx2.URL(f'http://user:{p}@localhost:9')) for p in ('one', 'two'))
    assert len({id(c.sdk._client) for c in (one, two, three, four)}) == 2

@both
@pytest.mark.parametrize('name', ['ANTHROPIC_API_KEY', 'ANTHROPIC_BASE_URL', 'ANTHROPIC_CUSTOM_HEADERS', 'HTTPS_PROXY',
    'no_proxy', 'ANTHROPIC_OPEN_TELEMETRY', 'ANTHROPIC_WEBHOOK_SIGNING_KEY', 'ALL_PROXY'])
def test_the_environment_belongs_to_it(way, name, monkeypatch):
    one = way.Client(MODEL)
    with monkeypatch.context() as m:
        m.setenv(name, 'http://localhost:9')
        two = way.Client(MODEL)
    three = way.Client(MODEL)
    assert one.sdk._client is three.sdk._client is not two.sdk._client
    if name == 'ANTHROPIC_BASE_URL': assert str(two.sdk.base_url) == 'http://localhost:9' != str(one.sdk.base_url)

@both
@pytest.mark.parametrize('kw', [dict(credentials=lambda **kw: None), dict(config={}), dict(profile='work'),
    dict(middleware=[]), dict(open_telemetry=False), dict(default_headers={'x-a': anthropic.Omit()})])
def test_what_may_change_is_never_shared(way, kw, tmp_path, monkeypatch):
    monkeypatch.setenv('ANTHROPIC_CONFIG_DIR', str(tmp_path))
    def client():
        try: return way.Client(MODEL, **kw)
        except Exception as e: return e # such a profile is not there
    client(), client()
    assert not shared

@both
def test_credentials_from_files_are_never_shared(way, tmp_path, monkeypatch):
    monkeypatch.delenv('ANTHROPIC_API_KEY')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert way.Client(MODEL).sdk._client is not way.Client(MODEL).sdk._client and not shared

@both
def test_a_dict_that_is_changed_later_changes_nobody(way):
    head = {'x-a': 'b'}
    one = way.Client(MODEL, default_headers=head)
    head['x-a'] = 'c'
    assert one.sdk.default_headers['x-a'] == 'b'
    assert way.Client(MODEL, default_headers=head).sdk.default_headers['x-a'] == 'c'

@both
def test_only_the_newest_are_remembered(way, server):
    chats = [way.Chat(MODEL, **server.at | dict(api_key=f'sk-ant-{i:08}')) for i in range(3 * most_shared)]
    assert len(shared) == most_shared
    assert [contents(way.call(c, 'Hi')) for c in chats] == [f'Reply {i + 1}' for i in range(len(chats))]

@both
@pytest.mark.parametrize('model', ['local', 'local:some.gguf'])
def test_local_models_share_as_well(way, model):
    one, two, other = way.Client(model), way.Client(model), way.Client('local:other.gguf')
    assert one.sdk._client is two.sdk._client is not other.sdk._client

# ---- what a user has in hands

@both
def test_a_client_that_a_user_reads_is_its_own(way, server):
    one, two, chat = way.Client(MODEL, **server.at), way.Client(MODEL, **server.at), way.Chat(MODEL, **server.at)
    cli = one.cli
    assert one.cli is cli is one.sdk and cli._client is not two.sdk._client is chat.c.sdk._client
    cli.api_key = 'sk-ant-mine'
    assert two.sdk.api_key == way.Client(MODEL, **server.at).sdk.api_key == 'none' != one.sdk.api_key
    if way is Sync: cli.close()
    else: asyncio.run(cli.close())
    assert contents(way.call(two, 'Hi')) == 'Reply 1' and contents(way.call(chat, 'Hi')) == 'Reply 2'

def test_its_key_is_used_at_once():
    sb = Sandbox(['One', 'Two'])
    with sb.patch():
        c, other = Client(MODEL), Client(MODEL)
        c.cli.api_key = 'sk-ant-mine'
        c('Hi'), other('Hi')
    assert [r.headers['authorization'] for r in sb.requests] == ['Bearer sk-ant-mine', 'Bearer sandbox']

@both
def test_a_client_may_be_replaced(way):
    chat = way.Chat(MODEL)
    chat.c.cli = way.sdk(Sandbox(['Yes.']))
    assert contents(way.call(chat, 'Hi')) == 'Yes.' and not chat.c.own
    with pytest.raises(TypeError, match='cli is of the type str'): chat.c.cli = 'a string'

@both
def test_clients_and_connections_of_ones_own_are_used_as_given(way, server):
    http = (httpx2.Client if way is Sync else httpx2.AsyncClient)()
    a, b = way.Client(MODEL, http_client=http, **server.at), way.Client(MODEL, http_client=http, **server.at)
    assert a.cli._client is a.sdk._client is b.sdk._client is http and not shared
    sdk = way.Client.__call__ and (anthropic.Anthropic if way is Sync else anthropic.AsyncAnthropic)(**server.at)
    c = way.Client(MODEL, sdk)
    assert c.cli._client is sdk._client
    if way is Sync:
        for o in (a, c):
            with o: o('Hi')
    else:
        async def go():
            for o in (a, c):
                async with o: await o('Hi')
            await asyncio.sleep(0)
            closed = http.is_closed, sdk.is_closed()
            await http.aclose(), await sdk.close()
            return closed
        assert asyncio.run(go()) == (False, False)
        return
    assert not http.is_closed and not sdk.is_closed()
    http.close(), sdk.close()

@both
def test_a_client_of_ours_that_is_given_shares_its_connections(way, server):
    c = way.Client(MODEL, max_wait=5, **server.at)
    chat = way.Chat('claude-opus-4-8', c, timeout=7)
    assert chat.c is not c and chat.c.sdk._client is c.sdk._client and (chat.c.sdk.timeout, chat.c.model) == (7, 'claude-opus-4-8')
    assert chat.c._waits == c._waits and not chat.c.own and c.sdk.timeout == anthropic.DEFAULT_TIMEOUT
    c.cli.api_key = 'sk-ant-mine'
    assert way.Chat(cli=c, timeout=7).c.sdk.api_key == 'sk-ant-mine' != chat.c.sdk.api_key
    wrong = {Sync: AsyncClient, Async: Client}[way](MODEL)
    with pytest.raises(TypeError, match='takes'): way.Chat('claude-opus-4-8', wrong)

# ---- closing

def test_closing_one_closes_nothing_that_others_use(server):
    chat = Chat(MODEL, **server.at)
    with Chat(MODEL, **server.at) as other: other('Hi')
    with Client(MODEL, **server.at) as c: c('Hi')
    c.close()
    assert contents(chat('Hi')) == 'Reply 3' and contents(c('Hi')) == 'Reply 4' and len(server.ports) == 1
    async def go():
        chat = AsyncChat(MODEL, **server.at)
        async with AsyncChat(MODEL, **server.at) as other: await other('Hi')
        async with AsyncClient(MODEL, **server.at) as c: await c('Hi')
        await c.close()
        return [contents(await chat('Hi')), contents(await c('Hi'))]
    with no_complaints(): assert asyncio.run(go()) == ['Reply 7', 'Reply 8'] and len(server.ports) == 2

def test_what_is_its_own_is_closed(server):
    with Client(MODEL, **server.at) as c: cli = c.cli
    assert cli.is_closed()
    with Chat(MODEL, **server.at) as chat: cli = chat.c.cli
    assert cli.is_closed()

def test_a_client_is_closed_with_async_with(server):
    async def go():
        async with AsyncChat(MODEL, **server.at) as chat:
            cli = chat.c.cli
            await turn(chat)
        assert cli.is_closed()
        async with AsyncClient(MODEL, **server.at) as c: cli = c.cli; await c('Hi')
        assert cli.is_closed()
    with no_complaints(): asyncio.run(go())

def test_a_client_that_is_dropped_closes(server):
    async def go():
        chat = AsyncChat(MODEL, **server.at)
        cli = chat.c.cli
        await turn(chat)
        del chat
        gc.collect()
        for _ in range(9): await asyncio.sleep(0)
        assert cli.is_closed()
    with no_complaints(): asyncio.run(go())

def test_so_does_one_that_is_no_longer_remembered(server):
    async def go():
        chat = AsyncChat(MODEL, **server.at)
        await turn(chat)
        cli = chat.c.sdk
        shared.clear()
        assert contents(await chat('Hi')) == 'Reply 3'
        del chat
        gc.collect()
        for _ in range(9): await asyncio.sleep(0)
        assert cli._client.is_closed
    with no_complaints(): asyncio.run(go())

# ---- threads and processes

def test_threads_share(server):
    meet = threading.Barrier(8)
    def ask(_):
        meet.wait()
        chat = Chat(MODEL, **server.at)
        return contents(chat('Hi')), chat.c.sdk._client
    with ThreadPoolExecutor(8) as threads: found = [*threads.map(ask, range(8))]
    assert len({r for r, _ in found}) == 8 and len({c for _, c in found}) == 1

def test_each_thread_has_its_event_loop(server):
    meet = threading.Barrier(8)
    chats = [AsyncChat(MODEL, **server.at) for _ in range(8)]
    def ask(chat):
        meet.wait()
        return [asyncio.run(turn(chat)) for _ in range(3)]
    with no_complaints(), ThreadPoolExecutor(8) as threads: found = [*threads.map(ask, chats)]
    assert len({r for rs in found for r in rs}) == 24 and len(server.ports) == 24

def in_child(f):
    "Do it in a child that is forked; what went wrong, if anything"
    r, w = os.pipe()
    if not (pid := os.fork()):
        try: f()
        except BaseException as e: os.write(w, repr(e).encode())
        finally: os._exit(0)
    os.close(w)
    with open(r, 'rb') as said: text = said.read().decode()
    assert os.waitpid(pid, 0)[1] == 0
    return text

@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning') # the server has a thread
def test_a_fork_makes_its_own(server):
    chat, other = Chat(MODEL, **server.at), Chat(MODEL, **server.at)
    chat('Hi')
    cli = chat.c.sdk
    def child():
        chat('Hi'), other('Hi'), Chat(MODEL, **server.at)('Hi')
        assert chat.c.sdk._client is other.c.sdk._client is not cli._client and not cli._client.is_closed
    for _ in range(2): assert in_child(child) == ''
    chat('Hi')
    assert chat.c.sdk is cli and server.n == 8 and len(server.ports) == 3, 'the parent goes on with its connection'

@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_a_fork_has_event_loops_of_its_own(server):
    chat = AsyncChat(MODEL, **server.at)
    asyncio.run(turn(chat))
    assert in_child(lambda: asyncio.run(turn(chat))) == ''
    asyncio.run(turn(chat))
    assert len(server.ports) == 3

@both
def test_pickles_make_their_own(way, server, monkeypatch):
    monkeypatch.setenv('ANTHROPIC_API_KEY', 'sk-ant-first')
    c = way.Client(MODEL, base_url=server.at['base_url'])
    sent = pickle.dumps(way.Chat(cli=c, timeout=7))
    monkeypatch.setenv('ANTHROPIC_API_KEY', 'sk-ant-second')
    assert 'sk-ant' not in str(sent)
    chat = pickle.loads(sent)
    assert chat.c.sdk.api_key == 'sk-ant-second' and chat.c.sdk.timeout == 7 and chat.c.sdk._client is not c.sdk._client
    assert chat.c.sdk._client is pickle.loads(sent).c.sdk._client
    with pytest.raises(pickle.PicklingError, match='cli='): pickle.dumps(way.Client(MODEL, way.sdk(Sandbox())))

@both
def test_a_pickle_of_a_client_that_was_read_has_no_key_either(way):
    c = way.Client(MODEL)
    c.cli.api_key = 'sk-ant-of-the-user'
    assert 'sk-ant' not in str(sent := pickle.dumps(c)) and pickle.loads(sent).sdk.api_key == KEY

# ---- event loops

def test_a_chat_outlives_its_event_loop(server):
    chat = AsyncChat(MODEL, **server.at)
    with no_complaints():
        assert [asyncio.run(turn(chat)) for _ in range(3)] == ['Reply 2', 'Reply 4', 'Reply 6']
        assert len(server.ports) == 3 and not chat.c._clis.clis, 'one connection for each loop, and none kept'
        del chat

def test_the_settings_are_those_of_the_time_when_it_was_made(server, monkeypatch):
    monkeypatch.setenv('ANTHROPIC_BASE_URL', server.at['base_url'])
    chat = AsyncChat(MODEL)
    monkeypatch.setenv('ANTHROPIC_BASE_URL', 'http://localhost:9')
    assert [asyncio.run(turn(chat)) for _ in range(2)] == ['Reply 2', 'Reply 4']

@pytest.mark.filterwarnings('ignore:unclosed:ResourceWarning') # the first connection belongs to the user's own client
def test_so_does_a_chat_with_an_sdk_client_of_ones_own(server):
    cli = anthropic.AsyncAnthropic(**server.at)
    chat = AsyncChat(MODEL, cli)
    assert [asyncio.run(turn(chat)) for _ in range(3)] == ['Reply 2', 'Reply 4', 'Reply 6']
    assert not cli.is_closed(), 'what is not ours is not closed'
    async def bare(): return await cli.messages.create(model=MODEL, max_tokens=9, messages=[dict(role='user', content='Hi')])
    with pytest.raises((RuntimeError, anthropic.APIConnectionError)): asyncio.run(bare())
    del chat, cli
    gc.collect()

def test_an_http_client_of_ones_own_is_left_as_it_is(server):
    http = httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport())
    cli = anthropic.AsyncAnthropic(**server.at, http_client=http)
    chat = AsyncChat(MODEL, cli)
    async def go():
        await turn(chat)
        await chat.c.close()
        assert not http.is_closed
        await http.aclose()
    with no_complaints(): asyncio.run(go())
    sb = Sandbox(['one', 'two'])
    chat = AsyncChat(MODEL, sb.aclient())
    for _ in range(2): asyncio.run(chat('Hi'))
    assert len(sb.requests) == 2 and not chat.c.cli.is_closed()

def test_aiohttp(server):
    pytest.importorskip('aiohttp')
    c = AsyncClient(MODEL, aiohttp=True, **server.at)
    assert 'Aiohttp' in type(c.sdk._client).__mro__[1].__name__
    chat = AsyncChat(cli=c)
    with no_complaints():
        assert [asyncio.run(turn(chat)) for _ in range(2)] == ['Reply 2', 'Reply 4']
        assert AsyncClient(MODEL, aiohttp=True, **server.at).sdk._client is c.sdk._client
        del c, chat

def test_trio(server):
    trio = pytest.importorskip('trio')
    async def go():
        async with AsyncChat(MODEL, **server.at) as chat:
            assert await turn(chat) == 'Reply 2'
            with trio.CancelScope() as scope:
                async with chat('For ever', stream=True) as s:
                    async for _ in s: scope.cancel()
            assert len(chat.h) == 4 and await turn(chat) == 'Reply 5'
    with no_complaints():
        for _ in range(2):
            trio.run(go)
            server.n = 0

def test_who_shares_a_client_leaves_it_open(server):
    async def go():
        async with AsyncClient(MODEL, **server.at) as c:
            async with AsyncChat(cli=c) as chat: await turn(chat)
            await turn(AsyncChat(cli=c))
    asyncio.run(go())
    with Client(MODEL, **server.at) as c:
        with Chat(cli=c) as chat: chat('Hi')
        Chat(cli=c)('Hi')

def test_nothing_is_left_of_trio_without_async_with(server):
    trio = pytest.importorskip('trio')
    chat = AsyncChat(MODEL, **server.at)
    async def go(): return await turn(chat), await turn(AsyncChat(MODEL, **server.at))
    with no_complaints(): assert [trio.run(go) for _ in range(2)] == [('Reply 2', 'Reply 4'), ('Reply 6', 'Reply 8')]
    assert len(server.ports) == 2 and not chat.c._clis.clis

def test_a_loop_that_is_closed_in_a_hurry_is_forgotten(server):
    "Its connections cannot be closed any more, and Python may say so"
    code = f"""
import asyncio
from llmchat import AsyncChat
chat = AsyncChat({MODEL!r}, **{server.at})
async def go(): await chat('Hi')
for _ in range(3):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(go())
    loop.close()
print(len(chat.h), len(chat.c._clis.clis))"""
    res = subprocess.run([program('python'), '-c', code], capture_output=True, text=True)
    assert res.stdout == '6 1\n', res.stderr

# ---- the end of a program

PROGRAMS = dict(
    sync="Chat(MODEL, **at)('Hi'); Chat(MODEL, **at)('Hi')",
    kept="chat = Chat(MODEL, **at); chat('Hi'); other = Client(MODEL, **at).cli; other.messages.create(model=MODEL, max_tokens=9, messages=[dict(role='user', content='x')])",
    at_exit="import atexit; chat = Chat(MODEL, **at); atexit.register(lambda: chat('Hi')); chat('Hi')",
    stream="s = iter(Chat(MODEL, **at)('For ever', stream=True)); next(s)",
    threads="import threading; t = [threading.Thread(target=lambda: Chat(MODEL, **at)('Hi')) for _ in range(4)]; [x.start() for x in t]; [x.join() for x in t]",
    fork="chat = Chat(MODEL, **at); chat('Hi')\nif (pid := os.fork()): assert os.waitpid(pid, 0)[1] == 0\nchat('Hi')",
    two_loops="chat = AsyncChat(MODEL, **at); [asyncio.run(go(chat)) for _ in range(2)]",
    new_each="[asyncio.run(go(AsyncChat(MODEL, **at))) for _ in range(2)]",
    gathered="async def many(): await asyncio.gather(*(go(AsyncChat(MODEL, **at)) for _ in range(20)))\nasyncio.run(many())",
    raises="async def bad(): await go(AsyncChat(MODEL, **at)); raise KeyError\ntry: asyncio.run(bad())\nexcept KeyError: pass",
    read="async def read(): c = AsyncClient(MODEL, **at); cli = c.cli; await c('Hi')\nasyncio.run(read()); asyncio.run(read())",
    trio="import trio; chat = AsyncChat(MODEL, **at); [trio.run(go, chat) for _ in range(2)]")

@pytest.mark.parametrize('name', PROGRAMS)
def test_nothing_is_warned_of(name, server):
    code = f"""
import asyncio, logging, os
from llmchat import AsyncChat, AsyncClient, Chat, Client
MODEL, at = {MODEL!r}, {server.at}
logging.getLogger('asyncio').setLevel('ERROR') # which says, too, what is slow
async def go(chat):
    await chat('Hi')
    async for _ in chat('Hi', stream=True): pass
{PROGRAMS[name]}
print('done')"""
    res = subprocess.run([sys.executable, '-X', 'dev', '-W', 'error', '-W', 'ignore::DeprecationWarning', '-c', code],
        capture_output=True, text=True)
    assert (res.returncode, {*res.stdout.split()}, res.stderr) == (0, {'done'}, '')
