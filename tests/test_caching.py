"What the sandbox's prompt cache keeps, counts and reports, against a cache written the slow way; and what caching saves"
import asyncio, json
from decimal import Decimal

import anthropic, pytest
from anthropic.types import cache_miss_reason
from hypothesis import given, strategies as st

from common import LARGE, seeded
from llmchat import Chat
from llmchat.sandbox.prompt_cache import Clock, input_usage, prefixes, prompt_blocks, PromptCache
from llmchat.sandbox.server import Cut, mk_model, request_tokens, tool_use
from llmchat.sandbox import Sandbox
from llmchat.protocol.usage import price, usage

MODEL = 'claude-sonnet-5'
LONG = 'The quick brown fox jumps over the lazy dog. ' * 100 # 1,125 tokens and what is around

def text(s, ttl=None): return dict(type='text', text=s) | (dict(cache_control=mark(ttl)) if ttl else {})
def mark(ttl='5m'): return dict(type='ephemeral') | (dict(ttl='1h') if ttl == '1h' else {})
def user(*blocks): return dict(role='user', content=list(blocks))
def tool(name, ttl=None): return dict(name=name, description=LONG, input_schema=dict(type='object')) | (
    dict(cache_control=mark(ttl)) if ttl else {})
def ask(*messages, **kw): return dict(model=MODEL, max_tokens=99, messages=list(messages)) | kw
def counts(u):
    more = u['cache_creation']
    assert u['cache_creation_input_tokens'] == more['ephemeral_5m_input_tokens'] + more['ephemeral_1h_input_tokens']
    return u['input_tokens'], u['cache_read_input_tokens'], more['ephemeral_5m_input_tokens'], more['ephemeral_1h_input_tokens']

# ---- tokens

words = st.text(max_size=30) | st.sampled_from(['"cache_control":null', '"data":"' + 'A'*7000, 'é😊\u2028', '\\"}'])
ttls = st.sampled_from([None, None, None, '5m', '1h'])
texts = st.builds(text, words, ttls)
results = st.builds(lambda c, t: dict(type='tool_result', tool_use_id='t', content=c) | (dict(cache_control=mark(t)) if t else {}),
    words | st.lists(texts, max_size=2), ttls)
images = st.just(dict(type='image', source=dict(type='base64', media_type='image/png', data='A' * 9000)))
blocks = st.one_of(texts, results, images, st.builds(lambda s: dict(type='thinking', thinking=s, signature='s'), words))
messages = st.builds(lambda role, content: dict(role=role, content=content), st.sampled_from(['user', 'assistant']),
    words | st.lists(blocks, min_size=1, max_size=4))
tools = st.lists(st.builds(lambda n, t: dict(name=n, input_schema={}) | (dict(cache_control=mark(t)) if t else {}), words, ttls), max_size=3)
bodies = st.builds(lambda m, s, t: ask(*m) | (dict(system=s) if s else {}) | (dict(tools=t) if t else {}),
    st.lists(messages, min_size=1, max_size=4), words | st.lists(texts, max_size=3), tools)

def unmarked(o):
    if isinstance(o, dict): return {k: unmarked(v) for k, v in o.items() if k != 'cache_control'}
    return [unmarked(v) for v in o] if isinstance(o, list) else o

@seeded
@given(bodies)
def test_blocks_add_up_to_the_request(body):
    assert -(-sum(b.size for b in prompt_blocks(body)) // 4) == request_tokens(body) == prefixes(body)[-1].tokens
    assert request_tokens(body) == request_tokens(unmarked(body))
    assert [p.key for p in prefixes(body)] == [p.key for p in prefixes(unmarked(body))]

def test_a_string_is_one_block():
    a, b = ask(dict(role='user', content='Hi'), system='Brief.'), ask(user(text('Hi')), system=[text('Brief.')])
    assert [p.key for p in prefixes(a)] == [p.key for p in prefixes(b)]

def test_what_makes_another_prefix():
    body = ask(user(text('Hi'), text('there')), dict(role='assistant', content='Hi'), system='Brief.', tools=[tool('f'), tool('g')])
    keys = [p.key for p in prefixes(body)]
    def same(**kw): return sum(a == p.key for a, p in zip(keys, prefixes(body | kw)))
    assert len(set(keys)) == len(keys) == same() == same(max_tokens=7, stream=True, metadata={}, temperature=1) == 6
    assert same(tools=[tool('f'), tool('h')]) == 1 and same(system='Long.') == 2
    assert same(messages=[user(text('Hi')), *body['messages'][1:]]) == 4
    assert same(messages=[dict(role='assistant', content=body['messages'][0]['content']), body['messages'][1]]) == 3
    for late in (dict(tool_choice=dict(type='any')), dict(thinking=dict(type='adaptive')),
        dict(output_config=dict(format=dict(type='json_schema', schema={})))): assert same(**late) == 3
    picture = dict(type='image', source=dict(type='base64', media_type='image/png', data='AAAA'))
    assert same(messages=[*body['messages'], user(picture)]) == 3
    assert same(tool_choice=dict(type='auto')) == 6 and same(speed='fast') == 2 and same(model='other') == 0
    assert same(output_config=dict(effort='low')) == 6

# ---- against a cache written the slow way: prefixes are lists, looked for one by one

class SlowCache:
    def __init__(self, least): self.now, self.kept, self.least = 0, [], least

    def find(self, p):
        for e in self.kept:
            if e[0] == p and e[1] > self.now: return e

    def keep(self, p, ttl):
        e = self.find(p)
        if e: e[1] = self.now + e[2]
        else: self.kept.append([p, self.now + ttl, ttl])

    def usage(self, body):
        flat, marks, size = [body['model']], {}, []
        for part in ('tools', 'system', 'messages'):
            for o in body.get(part, []):
                for b in o['content'] if part == 'messages' else [o]:
                    if 'cache_control' in b: marks[len(flat)] = 3600 if b['cache_control'].get('ttl') else 300
                    flat.append(json.dumps([part, o.get('role'), unmarked(b)]))
                    size.append(None)
        if 'cache_control' in body:
            last = max(i for i in range(1, len(flat)) if '"thinking"' not in flat[i])
            marks.setdefault(last, 300)
        spans = prefixes(body)
        def tokens(i): return spans[i-1].tokens if i else 0
        def prefix(i): return flat[:i+1]
        marks = {i: t for i, t in sorted(marks.items()) if tokens(i) >= self.least}
        hits = [j for i in marks for j in range(max(1, i-19), i+1) if self.find(prefix(j))]
        hit = max(hits, default=0)
        if hit: self.keep(prefix(hit), 0)
        for i, t in marks.items(): self.keep(prefix(i), t)
        end = max(marks, default=0)
        hour = max([i for i, t in marks.items() if t == 3600 and i > hit], default=hit)
        return request_tokens(body) - tokens(end), tokens(hit), tokens(end) - tokens(hour), tokens(hour) - tokens(hit)

step = st.tuples(st.integers(1, 24), st.sampled_from([None, 'auto', '5m', '1h']), st.sampled_from([0, 0, 200, 299, 300, 301, 3599, 3600]),
    st.sampled_from(['on', 'on', 'on', 'on', 'system', 'tools', 'edit', 'model', 'think']))

@seeded
@given(st.lists(step, min_size=2, max_size=12), st.sampled_from([0, 20, 60]), ttls, ttls)
def test_as_a_slow_cache(steps, least, tool_ttl, system_ttl):
    fast, slow = PromptCache(Clock(0)), SlowCache(least)
    msgs, early, model, t = [], 'Brief.', MODEL, 'f'
    for n, (size, how, wait, what) in enumerate(steps):
        if what == 'system': early += '!'
        if what == 'tools': t += 'f'
        if what == 'model': model = f'm{n}'
        if what == 'edit' and msgs: msgs[0] = user(text(f'edited {n}'))
        more = [text(f'{n} {i}') for i in range(size)]
        if what == 'think': more.append(dict(type='thinking', thinking='Hm', signature=''))
        msgs = unmarked(msgs) + [dict(role='assistant' if what == 'think' else 'user', content=more)]
        if how in ('5m', '1h'): msgs[-1]['content'][0] = text(f'{n} 0', how)
        body = ask(*msgs, system=[text(early, system_ttl)], tools=[dict(name=t) | (dict(cache_control=mark(tool_ttl)) if tool_ttl else {})])
        body |= dict(model=model) | (dict(cache_control=mark()) if how == 'auto' else {})
        fast.clock.now += wait
        slow.now += wait
        assert counts(fast.usage(body, least)) == slow.usage(body)

# ---- lifetimes, minimum, breakpoints

@pytest.mark.parametrize('ttl,seconds', [('5m', 300), ('1h', 3600)])
def test_lifetime(ttl, seconds):
    cache, body = PromptCache(), ask(user(text(LONG, ttl)))
    n = request_tokens(body)
    def reads(): return counts(cache.usage(body))[1]
    assert reads() == 0
    for _ in range(3): # Each read makes it live on
        cache.clock.now += seconds - 1
        assert reads() == n
    cache.clock.now += seconds
    assert reads() == 0

def test_hour_before_five_minutes():
    cache = PromptCache()
    body = ask(user(text(LONG, '5m'), text('new')), system=[text(LONG, '1h')])
    a, b, whole = (p.tokens for p in prefixes(body))
    assert counts(cache.usage(body)) == (whole - b, 0, b - a, a)
    assert counts(cache.usage(body)) == (whole - b, b, 0, 0)
    cache.clock.now += 301
    assert counts(cache.usage(body)) == (whole - b, a, b - a, 0)

def test_minimum_is_the_models():
    short, n = ask(user(text('The fox. ' * 200)), cache_control=mark()), 1024
    assert request_tokens(short) < n
    def wrote(**kw):
        r = Sandbox('Hi', models=[mk_model(MODEL, **kw)]).client().messages.create(**short)
        return r.usage.cache_creation_input_tokens
    assert wrote() == 0 and wrote(min_cache=100) == request_tokens(short) and wrote(min_cache=request_tokens(short) + 1) == 0
    assert wrote(min_cache=request_tokens(short)) == request_tokens(short)
    exactly = ask(user(text('x' * (4*n - 62))), cache_control=mark())
    assert counts(PromptCache().usage(exactly))[2] in (0, request_tokens(exactly))
    shown = Sandbox(models=[mk_model(MODEL, min_cache=7)]).client().models.retrieve(MODEL)
    assert 'min_cache' not in shown.to_dict()

@pytest.mark.parametrize('last', [dict(type='thinking', thinking='Hm', signature=''), text(''), dict(type='redacted_thinking', data='x')])
def test_automatic_breakpoint_is_on_the_last_block_that_can_have_one(last):
    body = ask(user(text(LONG)), dict(role='assistant', content=[last]), cache_control=mark())
    spans = prefixes(body)
    assert counts(PromptCache().usage(body)) == (spans[1].tokens - spans[0].tokens, 0, spans[0].tokens, 0)

def test_a_breakpoint_inside_a_tool_result():
    inside = dict(type='tool_result', tool_use_id='t', content=[text(LONG, '5m')])
    assert counts(PromptCache().usage(ask(user(inside))))[2] == request_tokens(ask(user(inside)))

def test_none_is_no_breakpoint():
    body = ask(user(dict(type='text', text=LONG, cache_control=None)), cache_control=None)
    assert counts(PromptCache().usage(body)) == counts(input_usage(body)) == (request_tokens(body), 0, 0, 0)

# ---- in a sandbox

CACHED = ask(dict(role='user', content=LONG), cache_control=mark())

def create(sb, **kw):
    with sb.client() as cli: return cli.messages.create(**CACHED | kw)

def stream(sb, **kw):
    with sb.client() as cli, cli.messages.stream(**CACHED | kw) as s: return s.get_final_message()

def acreate(sb, **kw):
    async def go():
        async with sb.aclient() as cli: return await cli.messages.create(**CACHED | kw)
    return asyncio.run(go())

@pytest.mark.parametrize('call', [create, stream, acreate])
def test_usage_of_replies(call):
    sb, n = Sandbox(['a', 'b', 'c', {'content': 'd', 'usage': {'cache_read_input_tokens': 7}}]), request_tokens(CACHED)
    assert counts(call(sb).usage.to_dict()) == (0, 0, n, 0)
    assert counts(call(sb).usage.to_dict()) == (0, n, 0, 0)
    sb.sleep(300)
    assert counts(call(sb).usage.to_dict()) == (0, 0, n, 0)
    assert call(sb).usage.cache_read_input_tokens == 7

def test_what_failed_was_not_cached_and_what_was_cut_was():
    sb = Sandbox(['a', 'b', 'c'], faults={1: 529, 2: 400, 3: Cut(events=3)})
    for _ in range(2):
        with pytest.raises(anthropic.APIStatusError): create(sb)
    assert stream(sb).stop_reason is None
    assert create(sb).usage.cache_read_input_tokens == request_tokens(CACHED)

def test_sandboxes_share_nothing():
    assert create(Sandbox('a')).usage.cache_read_input_tokens == create(Sandbox('a')).usage.cache_read_input_tokens == 0

# ---- diagnostics

REASONS = dict(model_changed=dict(model='claude-haiku-4-5'), system_changed=dict(system=LONG + '12:01'),
    tools_changed=dict(tools=[tool('g')]), messages_changed=dict(messages=[dict(role='user', content=LONG + '!')]),
    unavailable=dict(tool_choice=dict(type='any')))

@pytest.mark.parametrize('call', [create, stream, acreate])
@pytest.mark.parametrize('kind', REASONS)
def test_why_the_cache_was_missed(call, kind):
    sb, base = Sandbox(['a', 'b', 'c']), dict(system=LONG, tools=[tool('f')])
    first = call(sb, diagnostics=dict(previous_message_id=None), **base)
    assert first.diagnostics is None
    more = [*CACHED['messages'], dict(role='assistant', content='a'), dict(role='user', content='b')]
    went_on = call(sb, diagnostics=dict(previous_message_id=first.id), messages=more, **base)
    assert went_on.diagnostics is None
    r = call(sb, diagnostics=dict(previous_message_id=first.id), **base | REASONS[kind])
    reason = r.diagnostics.cache_miss_reason
    assert reason.type == kind and type(reason).__module__.startswith('anthropic.types.cache_miss')
    whole = request_tokens(CACHED | base)
    start = dict(model_changed=0, system_changed=1, tools_changed=0, messages_changed=2).get(kind)
    if start is None: assert not hasattr(reason, 'cache_missed_input_tokens')
    else: assert reason.cache_missed_input_tokens == whole - (prefixes(CACHED | base)[start-1].tokens if start else 0)

def test_every_reason_of_the_sdk_is_given():
    from typing import get_args
    kinds = {get_args(t.model_fields['type'].annotation)[0] for t in get_args(get_args(cache_miss_reason.CacheMissReason)[0])}
    assert kinds == {*REASONS, 'previous_message_not_found'}

def test_diagnostics_of_the_unknown_and_the_unasked():
    sb = Sandbox(['a', 'b', 'c'])
    first = create(sb)
    assert first.diagnostics is None
    r = create(sb, diagnostics=dict(previous_message_id=first.id)) # Was not asked with diagnostics, so nothing is known of it
    assert r.diagnostics.cache_miss_reason.type == 'previous_message_not_found'
    assert create(sb, diagnostics=dict(previous_message_id=r.id)).diagnostics is None

# ---- fifty turns

def lookup(
    order: int # Number
) -> str:
    "Look up an order"
    return f'Order {order}: ' + 'shipped, paid, ' * 20

def talk(cache, calls=1):
    "A conversation of 50 turns, each with calls of a tool, in a sandbox; the requests, what was used and what it cost"
    def reply(body):
        last = body['messages'][-1]['content']
        if isinstance(last, list): return 'They were shipped. ' * 10
        return [tool_use('lookup', order=i) for i in range(calls)]
    sb = Sandbox(reply)
    chat = Chat(MODEL, cli=sb.client(), sp='You are a clerk who answers briefly. ' * 120, tools=[lookup], cache=cache)
    for i in range(50):
        for _ in chat.toolloop(f'What is the state of the orders that came in on day {i}?'): pass
    return [r.body for r in sb.requests if r.asks], chat.use, chat.cost

def cost_of(uses): return float(sum((price(u, MODEL).total for u in uses), Decimal(0)))

def least(bodies, out):
    "No request can cost less: what was in the one before is read, what is new is plain input, and writing is free"
    n = [request_tokens(b) for b in bodies]
    return cost_of([usage(b - a, 0, 0, a) for a, b in zip([0, *n], n)] + [usage(0, out)])

def resent(bodies):
    "The cost of the same requests, each with one breakpoint, on the newest prompt alone"
    sb, res = Sandbox(lambda body: 'ok'), []
    for b in bodies:
        at = max(i for i, m in enumerate(b['messages']) if m['role'] == 'user' and isinstance(m['content'], str))
        msgs = [*b['messages']]
        msgs[at] = user(text(msgs[at]['content'], '5m'))
        u = sb.client().messages.create(**b | dict(messages=msgs)).usage
        res.append(usage(u.input_tokens, 0, u.cache_creation_input_tokens, u.cache_read_input_tokens))
    return cost_of(res)

@pytest.mark.parametrize('calls', [1, 3, 9, 10, 25] if LARGE else [3])
def test_fifty_turns_cost_little_more_than_they_must(calls):
    bodies, used, cost = talk(True, calls)
    plain, unused, full = talk(False, calls)
    assert len(bodies) == len(plain) == 100 and used.out == unused.out and unused.cache_read == 0
    bound = least(bodies, used.out)
    assert bound < cost < 1.05 * bound and full > 3 * cost
    new = sum(request_tokens(b) - request_tokens(a) for a, b in zip(bodies, bodies[1:])) + request_tokens(bodies[0])
    assert abs(used.cache_create - new) <= len(bodies) and used.inp == 0 # All but the newest turn was read
    assert cost <= resent(plain) + cost_of([usage(0, used.out)])

@pytest.mark.parametrize('more', [{}, dict(cache_control=dict(ttl='1h'))])
@pytest.mark.parametrize('marks', range(5))
def test_before_a_prefill(more, marks):
    "What a reply begins with is no end of a prefix that comes again: the turn before is read all the same"
    sb = Sandbox(lambda body: LONG, models=[mk_model(MODEL, prefill=True)])
    sp = [text(f'{LONG} {i}', more.get('cache_control', {}).get('ttl', '5m')) for i in range(marks)]
    chat = Chat(MODEL, sb.client(), sp=sp, cache=True, prefill='Well,', **more)
    takes = []
    for i in range(3):
        chat(f'{LONG} {i}')
        takes.append(chat.c.result.usage)
    read, made = ([getattr(u, f'cache_{k}_input_tokens') for u in takes] for k in ('read', 'creation'))
    assert read[1] > 1000 and read[2] > read[1] + 2000 and min(made) > 0
    marked = [[b for m in r.body['messages'] for b in m['content'] if 'cache_control' in b] for r in sb.requests if r.asks]
    assert [len(bs) for bs in marked] == [1] * 3 and 'cache_control' not in str(chat.h)
