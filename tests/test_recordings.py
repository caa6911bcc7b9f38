"Exchanges of a real client in a file, and a sandbox that answers with them"
import asyncio, gzip, json, re
from concurrent.futures import ThreadPoolExecutor

import anthropic, httpx2, pytest

from common import MODEL
from llmchat import AsyncChat, Chat, Sandbox, record
from llmchat.sandbox.recordings import differences, Recording
from llmchat.sandbox.server import Response, Cut, Fail, tool_use
from test_sandbox import ASK, text

KEY = 'sk-ant-api03-a-secret-key'
SAID = 'Hello Jeremy, how are you? 😊'

@pytest.fixture
def path(tmp_path): return tmp_path/'calls.jsonl'

def lines(path): return [json.loads(l) for l in path.read_text().splitlines()]

def sums(a: int, b: int) -> int: "Add"; return a + b

def dialog(cli, stream):
    "What a chat says in a dialog with a tool, and its history"
    chat = Chat(MODEL, cli=cli, tools=[sums], sp='Be brief.')
    for r in chat.toolloop('1 + 2?', stream=stream):
        if stream: list(r)
    list(chat('Thanks', stream=True))
    return chat.h

async def adialog(cli, stream):
    chat = AsyncChat(MODEL, cli=cli, tools=[sums], sp='Be brief.')
    async for r in chat.toolloop('1 + 2?', stream=stream):
        if stream and hasattr(r, '__aiter__'): [_ async for _ in r]
    [_ async for _ in chat('Thanks', stream=True)]
    return chat.h

SCRIPT = [['I add.', tool_use('sums', a=1, b=2)], '3', SAID]

@pytest.mark.parametrize('stream', [False, True])
def test_a_dialog_goes_as_it_went(path, stream):
    real = dialog(record(Sandbox(SCRIPT).client(api_key=KEY), path), stream)
    assert len(lines(path)) >= 3 and KEY not in path.read_text()
    assert dialog((sb := Sandbox.replay(path)).client(), stream) == real
    assert asyncio.run(adialog(Sandbox.replay(path).aclient(), stream)) == real

@pytest.mark.parametrize('stream', [False, True])
def test_an_async_client_is_recorded_as_well(path, stream):
    real = asyncio.run(adialog(record(Sandbox(SCRIPT).aclient(api_key=KEY), path), stream))
    assert KEY not in path.read_text() and dialog(Sandbox.replay(path).client(), stream) == real

def test_over_http(path):
    with Sandbox(SCRIPT).serve() as url, anthropic.Anthropic(base_url=url, api_key=KEY) as cli:
        real = dialog(record(cli, path), True)
    with Sandbox.replay(path).serve() as url, anthropic.Anthropic(base_url=url, api_key='any') as cli:
        assert dialog(cli, True) == real

def test_no_keys_anywhere(path):
    names = ['x-api-key', 'authorization', 'set-cookie', 'anthropic-organization-id', 'x-secret']
    answer = Response(200, dict.fromkeys(names, KEY) | {'content-type': 'text/plain'}, [KEY.encode()])
    cli = Sandbox(answer).client(api_key=KEY,
        default_headers={'authorization': f'Bearer {KEY}', 'x-secret': KEY}, default_query={'token': KEY})
    server = dict(type='url', name='a', url='https://a.example', authorization_token='mcp-token')
    with pytest.raises(Exception):
        record(cli, path).beta.messages.create(**ASK, mcp_servers=[server], betas=['mcp-client-2025-11-20']).content
    assert lines(path) and KEY not in path.read_text() and 'mcp-token' not in path.read_text()

def test_a_token_that_changed_is_no_difference(path):
    def ask(cli, token):
        server = dict(type='url', name='a', url='https://a.example', authorization_token=token)
        tools = [dict(type='mcp_toolset', mcp_server_name='a')]
        return text(cli.beta.messages.create(**ASK, mcp_servers=[server], tools=tools, betas=['mcp-client-2025-11-20']))
    assert ask(record(Sandbox(SAID).client(), path), 'first') == SAID
    assert ask(Sandbox.replay(path).client(), 'second') == SAID

def test_what_was_tried_again_is_tried_again(path):
    busy = Fail(429, headers={'retry-after-ms': '1'})
    assert text(record(Sandbox([busy, SAID]).client(max_retries=1), path).messages.create(**ASK)) == SAID
    assert [o['status'] for o in lines(path)] == [429, 200]
    sb = Sandbox.replay(path)
    assert text(sb.client(max_retries=1).messages.create(**ASK)) == SAID and len(sb.requests) == 2
    assert text(sb.client().messages.create(**ASK)) == SAID # the last answer stays

def test_equal_requests_in_order(path):
    cli = record(Sandbox(list('abc')).client(), path)
    for _ in range(3): cli.messages.create(**ASK)
    cli = Sandbox.replay(path).client()
    assert [text(cli.messages.create(**ASK)) for _ in range(4)] == list('abcc')

def test_a_stream_that_was_left_is_not_kept(path):
    cli = record(Sandbox([SAID, SAID]).client(), path)
    with cli.messages.stream(**ASK) as s: next(iter(s))
    assert not path.exists()
    with cli.messages.stream(**ASK) as s: list(s)
    assert len(lines(path)) == 1

def test_a_stream_that_ended_early_ends_early_again(path):
    with record(Sandbox(Cut(SAID, events=4)).client(), path).messages.stream(**ASK) as s: half = s.get_final_message()
    with Sandbox.replay(path).client().messages.stream(**ASK) as s: assert s.get_final_message() == half
    chat = Chat(ASK['model'], cli=Sandbox.replay(path).client())
    with pytest.raises(anthropic.APIError): list(chat('Hi', maxtok=100, stream=True))

def test_compressed_answers(path):
    data = gzip.compress(json.dumps(dict(type='message', content=[dict(type='text', text=SAID)])).encode())
    head = {'content-type': 'application/json', 'content-encoding': 'gzip'}
    cli = record(Sandbox(lambda body: Response(200, head, [data])).client(), path)
    cli.messages.create(**ASK)
    with cli.messages.with_streaming_response.create(**ASK) as r: r.read()
    assert [o['reply']['content'][0]['text'] for o in lines(path)] == [SAID, SAID]

def test_threads_write_whole_lines(path):
    cli = record(Sandbox(lambda body: body['messages'][0]['content'] * 1000).client(), path)
    def ask(i): return cli.messages.create(**ASK | dict(messages=[dict(role='user', content=f'{i} ')]))
    with ThreadPoolExecutor(8) as pool: list(pool.map(ask, range(40)))
    assert sorted(int(o['request']['messages'][0]['content']) for o in lines(path)) == list(range(40))

def test_other_routes(path):
    real = Sandbox([SAID], models=['claude-real', ASK['model']])
    real.batch_seconds = 0
    cli = record(real.client(), path)
    count = cli.messages.count_tokens(model=ASK['model'], messages=ASK['messages'])
    ids = [m.id for m in cli.models.list(limit=1)]
    b = cli.messages.batches.create(requests=[dict(custom_id='a', params=ASK)])
    results = list(cli.messages.batches.results(b.id))
    cli.files.upload(file=('a.txt', b'abc', 'text/plain'))
    again = Sandbox.replay(path).client()
    assert again.messages.count_tokens(model=ASK['model'], messages=ASK['messages']) == count
    assert [m.id for m in again.models.list(limit=1)] == ids and ids[0] == 'claude-real'
    assert again.messages.batches.retrieve(b.id).id == b.id and list(again.messages.batches.results(b.id)) == results

# ---- differences

@pytest.mark.parametrize('change, says', [
    (dict(max_tokens=101), 'max_tokens: 100 was recorded, 101 was sent'),
    (dict(messages=[dict(role='user', content='Ho')]), 'messages.0.content: "Hi" was recorded, "Ho" was sent'),
    (dict(system='It is noon.'), 'system: nothing was recorded, "It is noon." was sent'),
    (dict(messages=[*ASK['messages'], dict(role='assistant', content='a'), dict(role='user', content='b')]),
        'messages.1: nothing was recorded, {"role":"assistant","content":"a"} was sent')])
def test_what_differs(path, change, says):
    cli = record(Sandbox([SAID, SAID]).client(), path)
    cli.messages.create(**ASK | dict(messages=[dict(role='user', content='Something else')], max_tokens=5, system='x'))
    cli.messages.create(**ASK)
    with pytest.raises(AssertionError, match=re.escape(f'the nearest, line 2, differs: {says}')):
        Sandbox.replay(path).client().messages.create(**ASK | change)

def test_nothing_recorded_and_nothing_equal(path):
    path.write_text('')
    cli = Sandbox.replay(path).client()
    with pytest.raises(AssertionError, match='has no request for a message'): cli.messages.create(**ASK)
    assert list(differences(ASK, ASK)) == [] and list(differences([], [1])) == ['0: nothing was recorded, 1 was sent']

def test_requests_are_checked_as_ever(path):
    record(Sandbox(SAID).client(), path).messages.create(**ASK)
    cli = Sandbox.replay(path).client()
    with pytest.raises(anthropic.BadRequestError): cli.messages.create(**ASK | dict(messages=[]))

def test_faults_cut_what_was_recorded(path):
    with record(Sandbox(SAID).client(), path).messages.stream(**ASK) as s: list(s)
    with Sandbox.replay(path, faults={1: Cut(events=4)}).client().messages.stream(**ASK) as s:
        assert s.get_final_message().stop_reason is None

def test_the_order_of_keys_does_not_matter(path):
    record(Sandbox(SAID).client(), path).messages.create(**ASK)
    o = lines(path)[0]
    assert Recording(path).answer('POST', '/v1/messages', dict(reversed(o['request'].items())))

def test_models_that_the_sandbox_does_not_know(path):
    ask = ASK | dict(model='qwen2.5-coder')
    record(Sandbox(SAID, models=['qwen2.5-coder']).client(), path).messages.create(**ask)
    cli = Sandbox.replay(path).client()
    assert text(cli.messages.create(**ask)) == SAID
    with pytest.raises(anthropic.NotFoundError): cli.messages.create(**ask | dict(model='qwen3'))
