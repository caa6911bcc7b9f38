"Loops: bounded exactly, acceptable to the API after every step, stopped by whatever may stop them"
import asyncio, os, random
from itertools import count

import anthropic, pytest

from common import MODEL, PNG, both, check_history, check_request
from llmchat import AsyncChat, Chat, Sandbox, Stream, contents, find_blocks
from llmchat.core import LimitReached
from llmchat.sandbox.server import Cut, Fail, tool_use
from llmchat.toolloop import final_prompt

SEED, LOOPS = int(os.environ.get('LLMCHAT_SEED', 1)), int(os.environ.get('LLMCHAT_LOOPS', 150))

# ---- a hundred loops and more

class Shop:
    "Tools that note which of their calls ran"
    def __init__(self): self.ran = []
    def look(self, n: int) -> dict:
        self.ran.append(n)
        return dict(n=n)
    async def fetch(self, n: int) -> list:
        self.ran.append(n)
        await asyncio.sleep(0)
        return [n, PNG] if n % 3 else ['', PNG]
    def fail(self, n: int):
        self.ran.append(n)
        raise ValueError(f'no {n}')
    def nothing(self, n: int) -> None: self.ran.append(n)

SEARCH = dict(type='server_tool_use', name='web_search', input=dict(query='x'))
def found(n): return dict(type='web_search_tool_result', tool_use_id=f'srvtoolu_{n:04}_0', content=[])
ENDS = 'max_tokens', 'refusal', 'model_context_window_exceeded', 'stop_sequence'

class Script:
    "Random replies for a loop, and a model of what should come of them"
    def __init__(self, seed):
        self.rng = rng = random.Random(seed)
        self.ids, self.runs, self.open = count(1), [], False
        self.max_steps = rng.choice([1, 2, 2, 3, 4, 6, 10])
        self.stop_after = rng.choice([None, None, 1, 2, 3])
        self.approve = rng.choice([None, None, self.no, self.ano, self.even])
        self.parallel = rng.choice([True, False])
        self.replies = [self.reply(i) for i in range(1, 14)]

    def no(self, call): return 'Not today.'
    async def ano(self, call): return False
    def even(self, call): return call['input']['n'] in range(0, 1000, 2)

    def call(self):
        n, rng = next(self.ids), self.rng
        return rng.choice([tool_use('look', n=n), tool_use('fetch', n=n), tool_use('fail', n=n), tool_use('nothing', n=n), tool_use('look', n=str(n)),
            tool_use('look', n='many'), tool_use('look'), tool_use('nope', n=n), tool_use('eval', n=n), tool_use('web_search', n=n)])

    def reply(self, i):
        "One reply: its blocks, why it ended, whether the loop goes on after it"
        rng = self.rng
        calls = [self.call() for _ in range(rng.choice([0, 1, 1, 1, 2, 4]))]
        blocks = [dict(type='thinking', thinking='Hm.')] * rng.choice([0, 0, 1])
        if self.open: blocks, self.open = [dict(type='web_search_tool_result', tool_use_id=self.open, content=[])], False
        blocks += rng.choice([[], ['Words.'], [' '], ['Words.', ' ']])
        if rng.random() < 0.15:
            self.open = f'srvtoolu_{i:04}_{len(blocks)}'
            return dict(content=[*blocks, SEARCH], stop_reason='pause_turn')
        if rng.random() < 0.1: return dict(content=blocks + calls, stop_reason=rng.choice(ENDS))
        return dict(content=blocks + calls or ['Done.'])

    def steps(self):
        "How many requests the loop makes"
        for i, r in enumerate(self.replies, 1):
            calls = [b for b in r['content'] if isinstance(b, dict) and b['type'] == 'tool_use']
            if i == self.max_steps: return i
            if r.get('stop_reason') in ENDS or not calls and r.get('stop_reason') != 'pause_turn': return i
            if i == self.stop_after: return i

    def expected_runs(self, n):
        "Which calls of the first `n` replies run"
        res = []
        for i, r in enumerate(self.replies[:n], 1):
            if r.get('stop_reason') in ENDS or i == self.max_steps or self.approve in (self.no, self.ano): continue
            for b in r['content']:
                if not isinstance(b, dict) or b['type'] != 'tool_use' or b['name'] not in ('look', 'fetch', 'fail', 'nothing'): continue
                n_ = b['input'].get('n')
                if not str(n_).isdigit() or self.approve == self.even and (isinstance(n_, str) or n_ % 2): continue
                res.append(int(n_))
        return res

    def cont_func(self):
        left = count(1)
        def sync(*msgs): return next(left) != self.stop_after
        async def awaited(*msgs): return next(left) != self.stop_after
        return self.rng.choice([sync, awaited])

def posts(sb):
    "The requests for replies; what a model can do may be asked as well, once"
    return [r for r in sb.requests if r.method == 'POST']

def check_loop(script, sb, chat, shop, items, value):
    n = script.steps()
    assert len(posts(sb)) == n <= script.max_steps
    assert sorted(shop.ran) == sorted(script.expected_runs(n))
    assert items == value and chat.h[-1] is not None
    check_history(chat.h)
    for i, r in enumerate(posts(sb), 1):
        check_request(r.body)
        check_history(r.body['messages'], types=False)
        assert ('tool_choice' in r.body) == (i == script.max_steps)
        last = r.body['messages'][-1]
        asked = last['role'] == 'user' and any(b.get('text') == final_prompt for b in last['content'] if isinstance(b, dict))
        assert asked == (i == script.max_steps > 1 and last['role'] == 'user')
    if n == script.max_steps: assert posts(sb)[-1].body['tool_choice'] == dict(type='none')
    calls = [b['id'] for m in chat.h for b in find_blocks(m, 'tool_use')]
    results = [b['tool_use_id'] for m in chat.h for b in find_blocks(m, 'tool_result')]
    assert calls == results and len(set(calls)) == len(calls)

def mk_loop(script, is_async, **kw):
    sb, shop = Sandbox(list(script.replies)), Shop()
    chat = (AsyncChat if is_async else Chat)(MODEL, sb.aclient() if is_async else sb.client(), parallel=script.parallel,
        tools=[shop.look, shop.fetch, shop.fail, shop.nothing, dict(type='web_search_20250305', name='web_search')])
    return sb, shop, chat, chat.toolloop('Go', max_steps=script.max_steps, approve=script.approve, cont_func=script.cont_func(), **kw)

@pytest.mark.parametrize('seed', range(SEED * 1000, SEED * 1000 + LOOPS))
def test_loops_of_any_shape(seed):
    script = Script(seed)
    stream = bool(seed % 2)
    sb, shop, chat, loop = mk_loop(script, False, stream=stream)
    items = []
    for o in loop:
        if isinstance(o, Stream):
            pieces = ''.join(o) if script.rng.random() < 0.7 else next(iter(o), None)
            o.run()
            if isinstance(pieces, str): assert contents(find_blocks(o.value)).startswith(pieces)
            o = o.value
        items.append(o)
        check_history(chat.h, types=False)
    check_loop(script, sb, chat, shop, items, loop.value)

@pytest.mark.parametrize('seed', range(SEED * 1000, SEED * 1000 + LOOPS, 2))
def test_loops_of_any_shape_awaited(seed):
    script = Script(seed)
    sb, shop, chat, loop = mk_loop(script, True, stream=bool(seed // 2 % 2))
    async def go():
        items = []
        async for o in loop:
            if isinstance(o, Stream):
                async for _ in o:
                    if script.rng.random() < 0.2: break
                await o.run()
                o = o.value
            items.append(o)
        return items
    check_loop(script, sb, chat, shop, asyncio.run(go()), loop.value)

@pytest.mark.parametrize('seed', range(SEED * 1000, SEED * 1000 + LOOPS, 3))
def test_loops_that_fail_or_are_left_stay_acceptable(seed):
    script = Script(seed)
    rng = random.Random(seed)
    at = rng.randrange(1, 4)
    script.replies[at:] = [rng.choice([Fail(529), Cut('broken off', events=rng.randrange(6))]), *script.replies[at:]]
    sb, shop, chat, loop = mk_loop(script, False, stream=True)
    leave = rng.randrange(1, 9)
    try:
        for i, o in enumerate(loop, 1):
            if isinstance(o, Stream):
                for _ in o:
                    if rng.random() < 0.1: break
            if i == leave: break
    except anthropic.APIError: assert len(posts(sb)) == at + 1
    check_history(chat.h)
    assert len(posts(sb)) <= script.max_steps
    ran, sb.replies = len(shop.ran), lambda body: 'Fine.'
    chat('And now?') if not chat._paused else chat()
    check_history(chat.h)
    assert len(shop.ran) == ran

# ---- one by one

def sums(a: int, b: int) -> int:
    "Adds."
    return a + b
SUM = tool_use('sums', a=1, b=2)

def loop(way, replies, pr='Go', tools=(sums,), chat_kw={}, **kw):
    "A loop run to its end: chat, sandbox and what came; or the error"
    sb = Sandbox(replies)
    chat = way.Chat(MODEL, way.sdk(sb), tools=list(tools), **chat_kw)
    return chat, sb, way.read(lambda stream: chat.toolloop(pr, **kw))[1]

@both
@pytest.mark.parametrize('n', [1, 2, 3, 5])
def test_max_steps_is_exact(way, n):
    chat, sb, got = loop(way, lambda body: [SUM], max_steps=n)
    assert len(posts(sb)) == n
    assert [r.body.get('tool_choice') for r in posts(sb)] == [None] * (n - 1) + [dict(type='none')]
    assert all(r.body['tools'] for r in posts(sb))
    said = [b for b in chat.h[-3]['content'] if b == dict(type='text', text=final_prompt)]
    assert len(said) == (n > 1) and 'Not run. Tools are switched off.' == chat.h[-1]['content'][0]['content']

@pytest.mark.parametrize('n', [0, -1, 1.5, True, '3', None])
def test_max_steps_is_a_number_of_requests(n):
    sb = Sandbox(['x'])
    for chat in (Chat(MODEL, sb.client()), AsyncChat(MODEL, sb.aclient())):
        with pytest.raises(ValueError, match='max_steps'): chat.toolloop('Go', max_steps=n)

@both
def test_the_last_prompt_can_be_worded(way):
    chat, sb, _ = loop(way, [[SUM], 'So far.'], max_steps=2, final_prompt='Sum up.')
    assert chat.h[2]['content'][-1] == dict(type='text', text='Sum up.') and contents(chat.h[-1]) == 'So far.'

@both
def test_items_are_replies_and_results(way):
    chat, _, got = loop(way, [[SUM], 'Three.'])
    assert [getattr(o, 'stop_reason', None) for o in got] == ['tool_use', None, 'end_turn']
    assert got[1] == chat.h[2] and got[1]['content'][0]['content'] == '3'

@both
def test_cont_func_sees_the_last_three_messages(way):
    seen = []
    def cont_func(*msgs):
        seen.append(list(msgs))
        return len(seen) < 2
    chat, sb, _ = loop(way, [[SUM], [SUM], 'x'], cont_func=cont_func)
    assert len(posts(sb)) == 2 and seen == [chat.h[0:3], chat.h[2:5]]

@both
@pytest.mark.parametrize('approve,says', [(lambda c: True, '3'), (lambda c: False, 'The user declined this call.'), (lambda c: None, 'The user declined this call.'),
    (lambda c: 'Ask first.', 'The user declined this call: Ask first.'), (lambda c: 1, 'The user declined this call.')])
@pytest.mark.parametrize('awaited', [False, True])
@pytest.mark.parametrize('where', ['chat', 'call'])
def test_approve(way, approve, says, awaited, where):
    async def aapprove(call):
        await asyncio.sleep(0)
        return approve(call)
    kw = dict(approve=aapprove if awaited else approve)
    chat, _, got = loop(way, [[SUM], 'Done.'], **(dict(chat_kw=kw) if where == 'chat' else kw))
    res, = got[1]['content']
    assert res['content'] == says and res.get('is_error', False) == (says != '3') and chat.calls == (says == '3')

@both
def test_approve_is_asked_for_calls_that_could_run(way):
    asked = []
    def approve(call):
        asked.append((call['name'], call['input']))
        return True
    def web_search(query: str) -> str: return asked.append('Not ours to run')
    server = dict(type='server_tool_use', name='web_search', input=dict(query='x'))
    loop(way, [[SUM, tool_use('nope'), tool_use('sums', a='x')], [server, SUM], 'x'], tools=[sums, web_search], approve=approve)
    assert asked == [('sums', dict(a=1, b=2))] * 2

# ---- limits

@both
def test_max_calls(way):
    with pytest.raises(LimitReached, match='max_calls is 3, and 4 tool calls are made'): loop(way, lambda body: [SUM, SUM], max_calls=3)
    chat, sb, _ = loop(way, [[SUM, SUM], 'Done.'], max_calls=3)
    assert chat.calls == 2 and len(posts(sb)) == 2

@both
def test_what_limits_leave_behind(way):
    sb, seen = Sandbox(lambda body: [SUM]), []
    chat = way.Chat(MODEL, way.sdk(sb), tools=[sums], max_calls=2)
    with pytest.raises(LimitReached, match='2 tool calls are made'): way.read(lambda stream: chat.toolloop('Go'), seen=seen)
    assert len(posts(sb)) == 2 and len(seen) == 4 and len(chat.h) == 5
    check_history(chat.h)
    with pytest.raises(LimitReached): way.call(chat)
    assert len(posts(sb)) == 2
    sb.replies = lambda body: 'Go on.'
    assert contents(way.call(chat, max_calls=None)) == 'Go on.'

@both
def test_max_cost(way):
    sb = Sandbox(lambda body: [SUM])
    chat = way.Chat(MODEL, way.sdk(sb), tools=[sums])
    with pytest.raises(LimitReached, match=r'max_cost is \$0.001, and \$0.00\d+ are spent: In: \d+; Out: \d+'):
        way.read(lambda stream: chat.toolloop('Go', max_cost=0.001, max_steps=100))
    assert 1 < len(posts(sb)) < 50 and chat.cost >= 0.001
    with pytest.raises(ValueError, match='no known price'): way.Chat('my-own-model', way.sdk(sb), max_cost=1)
    with pytest.raises(ValueError, match='no known price'): way.call(way.Chat('my-own-model', way.sdk(sb)), 'Hi', max_cost=1)

# ---- how replies end

@both
@pytest.mark.parametrize('reason', ENDS)
@pytest.mark.parametrize('stream', [False, True])
def test_half_received_calls_never_run(way, reason, stream):
    def must_not_run(a: int, b: int): raise AssertionError
    must_not_run.__name__ = 'sums'
    chat, sb, _ = loop(way, [dict(content=['So', SUM, SUM], stop_reason=reason), 'Well.'], tools=[must_not_run], stream=stream)
    assert len(posts(sb)) == 1 and chat.c.result.stop_reason == reason and chat.calls == 0
    assert [b['content'].startswith('Not run. ') for b in chat.last[1]['content']] == [True, True]
    assert contents(way.call(chat)) == 'Well.'

def events(*blocks, stop_reason='tool_use'):
    "A stream as bytes, of tool calls given by name and the text of their input"
    import json
    evs = [dict(type='message_start', message=dict(id='msg_1', type='message', role='assistant', model=MODEL, content=[], stop_reason=None, stop_sequence=None,
        usage=dict(input_tokens=1, output_tokens=1)))]
    for i, (name, text) in enumerate(blocks):
        evs += [dict(type='content_block_start', index=i, content_block=dict(type='tool_use', id=f't{i}', name=name, input={})),
            dict(type='content_block_delta', index=i, delta=dict(type='input_json_delta', partial_json=text)), dict(type='content_block_stop', index=i)]
    evs += [dict(type='message_delta', delta=dict(stop_reason=stop_reason, stop_sequence=None), usage=dict(output_tokens=9)), dict(type='message_stop')]
    return b''.join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in evs)

@pytest.mark.parametrize('text', ['{"a": 1, "b"', '{"a": 1, "b": 2', '[1, 2]', '"x"', '{', '{"a": 1}}'])
def test_input_that_is_no_json_object_never_runs(text):
    import httpx2
    ran = []
    def sums(a: int = 0, b: int = 0): ran.append((a, b))
    def free(**kw): ran.append(kw)
    body = events(('sums', text), ('free', text), ('sums', '{"a": 1}'))
    for reason, runs in (('max_tokens', []), ('tool_use', [(1, 0)])):
        ran.clear()
        wire = body.replace(b'"stop_reason": "tool_use"', f'"stop_reason": "{reason}"'.encode())
        sb = Sandbox([httpx2.Response(200, headers={'content-type': 'text/event-stream'}, content=wire), 'Well.'])
        chat = Chat(MODEL, sb.client(), tools=[sums], ns=[sums])
        for _ in chat('Hi', stream=True): pass
        assert ran == runs
        check_history(chat.h)
        assert contents(chat()) == 'Well.'

@both
def test_server_tools_are_kept_and_never_run(way):
    def web_search(query: str): raise AssertionError('the API runs this')
    search = dict(type='server_tool_use', name='web_search', input=dict(query='x'))
    found = dict(type='web_search_tool_result', tool_use_id='srvtoolu_0001_1', content=[])
    replies = [dict(content=['Let me search.', search], stop_reason='pause_turn'), [found, 'And add.', SUM], [search, dict(found, tool_use_id='srvtoolu_0003_0'), 'Done.']]
    chat, sb, got = loop(way, replies, tools=[sums, web_search])
    assert [b['type'] for b in chat.h[1]['content']] == ['text', 'server_tool_use', 'web_search_tool_result', 'text', 'tool_use']
    assert posts(sb)[1].body['messages'][-1]['content'][-1]['type'] == 'server_tool_use', 'the pause is sent back as it came'
    assert len(posts(sb)) == 3 and [m['role'] for m in chat.h] == ['user', 'assistant'] * 2
    check_history(chat.h)

@both
def test_a_pause_at_the_end_is_continued_without_a_question(way):
    paused = dict(content=['Searching.', dict(type='server_tool_use', name='web_search', input={})], stop_reason='pause_turn')
    chat, sb, _ = loop(way, lambda body: paused, max_steps=3, tools=[sums])
    assert len(posts(sb)) == 3 and posts(sb)[-1].body['tool_choice'] == dict(type='none')
    assert all(m['role'] == 'assistant' for r in posts(sb)[1:] for m in r.body['messages'][-1:]) and len(chat.h) == 2
