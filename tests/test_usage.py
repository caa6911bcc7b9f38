"What it takes: sums of what the API reported, and costs that equal the price list by hand"
import json, random
from decimal import Decimal
from threading import Thread
from types import SimpleNamespace as NS

import anthropic, pytest
from anthropic.types import Message
from genai_prices import Usage as Tokens, calc_price
from hypothesis import given, strategies as st

from common import MODEL, both, needs_recordings, recorded, seeded
from llmchat import Usage, mk_msg, models, usage
from llmchat.batch import Batch
from llmchat.sandbox.server import Fail
from llmchat.sandbox import Sandbox
from llmchat.protocol.usage import Cost, Ledger, price, rates, usage_of, usage_table

counts = st.integers(0, 10**6)
usages = st.builds(usage, counts, counts, counts, counts, st.just(0), st.integers(0, 9), st.integers(0, 9))
MILLION = Decimal(10**6)

# ---- adding up

@seeded
@given(usages, usages, usages)
def test_usage_adds(a, b, c):
    assert a + b == b + a and (a + b) + c == a + (b + c) and a + usage() == a and sum([a, b, c], usage()) == a + b + c
    assert (a + b).total == a.total + b.total and a.total == a.inp + a.out + a.cache_create + a.cache_read
    assert hash(a) == hash(usage(*a)) and type(a + b) is Usage

def test_how_usage_shows():
    shown = 'In: 10; Out: 18; Cache create: 0; Cache read: 0; Total Tokens: 28; Search: 0'
    assert repr(usage(inp=10, out=18)) == str(usage(10, 18)) == shown
    assert repr(usage(1, 2, 3, 4, 3, 5)) == 'In: 1; Out: 2; Cache create: 3; Cache read: 4; Total Tokens: 10; Search: 5'

def report(u, h1=0):
    "`u` as the API would report it"
    return dict(input_tokens=u.inp, output_tokens=u.out, cache_creation_input_tokens=u.cache_create, cache_read_input_tokens=u.cache_read,
        cache_creation=dict(ephemeral_5m_input_tokens=u.cache_create - h1, ephemeral_1h_input_tokens=h1),
        server_tool_use=dict(web_search_requests=u.search, web_fetch_requests=u.fetch))

@seeded
@given(usages)
def test_usage_of_what_the_api_reports(u):
    r = Message.construct(usage=report(u))
    assert usage_of(report(u)) == usage_of(r.usage) == usage_of(r.usage.to_dict()) == u
    r.usage.input_tokens += 1
    assert usage_of(r.usage) == u + usage(inp=1)

@pytest.mark.parametrize('u', [None, {}, NS(), dict(input_tokens=None, cache_creation=None, server_tool_use=None), 'free', 3,
    dict(input_tokens='12', output_tokens=-3, cache_creation=[1], server_tool_use='x')])
def test_what_is_not_reported_is_zero(u):
    assert usage_of(u) == usage()
    ledger = Ledger()
    ledger.add('claude-sonnet-4-6', u)
    assert (ledger.use, ledger.cost) == (usage(), 0)

# ---- prices

def by_hand(u, model, context=None):
    "The price of `u`, from the price list and the rule that a cache write for an hour costs twice the input"
    p = calc_price(Tokens(), model, provider_id='anthropic', price_context=context or {}).model_price
    inp = u.inp + u.cache_create + u.cache_read
    def rate(name):
        v = getattr(p, name)
        if not hasattr(v, 'tiers'): return v
        return next((t.price for t in sorted(v.tiers, key=lambda t: -t.start) if inp > t.start), v.base)
    tokens = (u.inp * rate('input_mtok') + u.out * rate('output_mtok') + u.cache_read * rate('cache_read_mtok')
        + (u.cache_create - u.cache_1h) * rate('cache_write_mtok') + u.cache_1h * rate('cache_write_1h_mtok'))
    return tokens / MILLION + u.search * p.web_searches_kcount / 1000

PRICED = [m for m in models if rates(m) is not None]
CONTEXTS = {None: {}, 'batch': dict(processing='batch'), 'fast': dict(speed='fast')}

@pytest.mark.parametrize('variant', CONTEXTS)
@pytest.mark.parametrize('model', PRICED)
def test_price_equals_the_price_list(model, variant):
    rnd = random.Random(model)
    for _ in range(20):
        write = rnd.randrange(90_000)
        u = usage(rnd.randrange(200_000), rnd.randrange(9000), write, rnd.randrange(90_000), rnd.randrange(write + 1), rnd.randrange(9))
        c = price(u, model, variant)
        assert c.total == by_hand(u, model, CONTEXTS[variant])
        assert c.saved == by_hand(usage(u.inp + u.cache_create + u.cache_read, u.out, search=u.search), model, CONTEXTS[variant]) - c.total
        assert c.tools == u.search * Decimal('0.01') and c.inp + c.out + c.cache + c.tools == c.total

def test_prices_in_figures():
    "Sonnet 4.6: 3 in, 15 out, 3.75 and 6 for cache writes, 0.30 for cache reads, a cent for a search; USD a million"
    million = dict(inp=3, out=15, cache_create=Decimal('3.75'), cache_read=Decimal('0.3'))
    for k, usd in million.items(): assert price(usage(**{k: 10**6}), 'claude-sonnet-4-6').total == usd
    assert price(usage(cache_create=10**6, cache_1h=10**6), 'claude-sonnet-4-6').total == 6
    assert price(usage(search=100), 'claude-sonnet-4-6') == Cost(tools=Decimal(1))
    assert price(usage(fetch=100), 'claude-sonnet-4-6').total == 0
    assert price(usage(inp=10**6, out=10**6), 'claude-sonnet-4-6', 'batch').total == 9

def test_kinds_of_cost():
    c = price(usage(10, 20, 30, 40, 5, 6), 'claude-sonnet-4-6')
    cache = (25*Decimal('3.75') + 5*6 + 40*Decimal('0.3'))/MILLION
    assert c == Cost(Decimal(30)/MILLION, Decimal(300)/MILLION, cache, Decimal('0.06'), 70*3/MILLION - cache)
    assert c + c == Cost(*(2 * o for o in (c.inp, c.out, c.cache, c.tools, c.saved))) and c.total == c.inp + c.out + c.cache + c.tools

def test_what_a_cache_saves():
    "A write costs a quarter more than plain input, an hour's twice as much, and a read a tenth"
    saved = lambda **kw: price(usage(**kw), 'claude-sonnet-4-6').saved
    assert saved(inp=10**6, out=10**6, search=3) == 0
    assert saved(cache_create=10**6) == Decimal('-0.75') and saved(cache_create=10**6, cache_1h=10**6) == -3
    assert saved(cache_read=10**6) == Decimal('2.7') and saved(cache_create=10**6, cache_read=10**6) == Decimal('1.95')

@pytest.mark.parametrize('model', ['local', 'local:/a/claude.gguf', 'qwen2.5', 'claude-of-nowhere', 'gpt-5', '', None])
def test_models_without_a_price(model):
    ledger = Ledger()
    ledger.add(model, dict(input_tokens=1, output_tokens=1))
    assert ledger.cost is None and ledger.costs is None and ledger.use.total == 2
    ledger.add('claude-sonnet-4-6', dict(input_tokens=1, output_tokens=1))
    assert ledger.cost is None and ledger.use.total == 4

@pytest.mark.parametrize('model', ['anthropic.claude-sonnet-4-6', 'us.anthropic.claude-sonnet-4-5-20250929-v1:0', 'claude-sonnet-4-5@20250929'])
def test_models_of_clouds_have_their_price(model): assert price(usage(1000, 1000), model).total > 0

# ---- ledgers

def test_a_ledger_prices_each_prompt_by_its_own_length():
    ledger, expected = Ledger(), Decimal(0)
    for n in (50_000, 150_000, 99_999, 100_001):
        u = usage(n, 10)
        ledger.add('claude-haiku-5-5', report(u))
        expected += by_hand(u, 'claude-haiku-5-5')
    assert ledger.costs.total == expected
    assert ledger.costs.total != by_hand(usage(400_000, 40), 'claude-haiku-5-5')

def test_a_ledger_over_many_replies():
    rnd, ledger, used, cost = random.Random(3), Ledger(), usage(), Decimal(0)
    for i in range(2500):
        model, (variant, tier) = rnd.choice(PRICED), rnd.choice([(None, {}), ('batch', dict(service_tier='batch')), ('fast', dict(speed='fast'))])
        u = usage(rnd.randrange(150_000), rnd.randrange(99), 8, 7, 3, rnd.randrange(2))
        ledger.add(model, report(u, 3) | tier)
        used, cost = used + u, cost + by_hand(u, model, CONTEXTS[variant])
        if rnd.random() < .01: assert ledger.use == used and ledger.costs.total == cost and ledger.cost == float(cost)
    assert ledger.use == used and ledger.costs.total == cost and ledger.saved == float(ledger.costs.saved) != 0

def test_threads_share_a_ledger():
    ledger = Ledger()
    def work():
        for _ in range(700): ledger.add('claude-sonnet-4-6', dict(input_tokens=1000, output_tokens=1)), ledger.use
    threads = [Thread(target=work) for _ in range(8)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert ledger.use == usage(8*700*1000, 8*700) and ledger.costs.total == by_hand(ledger.use, 'claude-sonnet-4-6')

def test_the_table():
    table = usage_table(usage(1234, 5, 6, 7, 0, 2, 3), Cost(*map(Decimal, ('1.5', '2', '0.25', '0.000001'))))
    assert table.splitlines() == ['| | Count | Cost (USD) |', '|---|--:|--:|', '| Input tokens | 1,234 | 1.500000 |',
        '| Output tokens | 5 | 2.000000 |', '| Cache tokens | 13 | 0.250000 |', '| Server tool use | 5 | 0.000001 |',
        '| **Total** | **1,252** | 3.750001 |']
    assert '$' not in table and usage_table(usage(1), None).count('–') == 5

# ---- clients and chats

@both
def test_totals_of_clients_and_chats(way):
    "A chat counts its own, a client what all of its chats used"
    given = [dict(content=str(i), usage=dict(input_tokens=10*i, output_tokens=i, cache_creation_input_tokens=4,
        cache_creation=dict(ephemeral_1h_input_tokens=3, ephemeral_5m_input_tokens=1), speed='fast' if i == 2 else None))
        for i in range(1, 5)]
    c = way.Client('claude-opus-5', way.sdk(Sandbox(given)))
    a, b = way.Chat(cli=c), way.Chat(cli=c)
    way.call(c, 'x'), way.call(a, 'x'), way.read(b, 'x'), way.call(a, 'x')
    one = [usage(10*i, i, 4, 0, 3) for i in range(1, 5)]
    assert a.use == one[1] + one[3] and b.use == one[2] and c.use == sum(one, usage())
    paid = [by_hand(u, 'claude-opus-5', CONTEXTS['fast' if i == 1 else None]) for i, u in enumerate(one)]
    plain = [by_hand(u._replace(inp=u.inp + 4, cache_create=0, cache_1h=0), 'claude-opus-5', CONTEXTS['fast' if i == 1 else None]) for i, u in enumerate(one)]
    assert b.saved == float(plain[2] - paid[2]) < 0 and c.saved == float(sum(plain) - sum(paid))
    assert a.cost == float(paid[1] + paid[3]) and b.cost == float(paid[2]) and c.cost == float(sum(paid))

@both
def test_cost_is_of_the_model_that_answered(way):
    c = way.Client(MODEL, way.sdk(Sandbox(['a', 'b'], model='claude-opus-5')))
    way.call(c, 'x')
    assert c.cost == float(by_hand(c.use, 'claude-opus-5'))

@both
def test_a_model_without_a_price_has_no_cost(way):
    c = way.Client('qwen2.5', way.sdk(Sandbox('Hi', models=['qwen2.5'])))
    chat = way.Chat(cli=c)
    assert (c.cost, chat.cost) == (0, 0)
    way.call(chat, 'Hi')
    assert (c.cost, chat.cost, c.saved, chat.saved) == (None,) * 4 and chat.use.total > 0
    assert '–' in c._repr_markdown_() and '–' in chat._repr_markdown_()

@both
def test_a_refused_request_costs_nothing(way):
    c = way.Client(MODEL, way.sdk(Sandbox([Fail(429)])))
    with pytest.raises(anthropic.RateLimitError): way.call(c, 'Hi')
    assert c.use == usage() and c.cost == 0

@needs_recordings
def test_recorded_usage_is_priced():
    ledger, total = Ledger(), Decimal(0)
    for rec in recorded:
        if rec['stream']: continue
        r = Message.construct(**json.loads(rec['response']))
        ledger.add(r.model, r.usage)
        total += by_hand(usage_of(r.usage), r.model)
    assert ledger.costs.total == total > 0

# ---- from the request to the bill

LONG = 'Be brief. ' * 600
SEARCHED = dict(content='Found.', usage=dict(server_tool_use=dict(web_search_requests=3, web_fetch_requests=1)))
BILLS = dict(
    plain=([['Hi']], {}, lambda u: u.inp and not u.cache_create),
    five_minutes=([['Hi'], ['Hi', 'Hello', 'Bye']], dict(sp=LONG, cache_control=dict(type='ephemeral')), lambda u: u.cache_create and u.cache_read and not u.cache_1h),
    hour=([[mk_msg(LONG, ttl='1h')], [mk_msg(LONG, ttl='1h'), 'Hello', mk_msg('Bye', cache=True)]], {}, lambda u: 0 < u.cache_1h < u.cache_create and u.cache_read),
    search=([['Hi']], dict(tools=[dict(type='web_search_20250305', name='web_search')]), lambda u: u.search == 3 and u.fetch == 1))

@both
@pytest.mark.parametrize('model', ['claude-sonnet-4-6', 'claude-haiku-5-5'])
@pytest.mark.parametrize('dialogs,kw,check', BILLS.values(), ids=BILLS)
def test_the_bill_of_a_client_is_that_of_the_price_list(way, dialogs, kw, check, model):
    sb = Sandbox(lambda body: SEARCHED if 'tools' in body else 'Hello')
    c, total = way.Client(model, way.sdk(sb)), Decimal(0)
    for msgs in dialogs: total += by_hand(usage_of(way.call(c, msgs, **kw).usage), model)
    assert check(c.use) and c.cost == float(total) > 0

@pytest.mark.parametrize('model', ['claude-sonnet-4-6', 'claude-haiku-5-5'])
def test_the_bill_of_a_batch_is_half(model):
    sb = Sandbox(lambda body: SEARCHED if 'tools' in body else 'Hello')
    b = Batch(model, ['Hi', 'Hello'], cli=sb.client(), sleep=sb.sleep, sp=LONG).run()
    assert b.cost == float(by_hand(b.use, model, CONTEXTS['batch']))
    assert b.cost == pytest.approx(float(by_hand(b.use, model)) / 2)
