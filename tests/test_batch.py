"Jobs of many prompts: every way in which sending, waiting and fetching can break off, and what they cost"
import asyncio, csv, inspect, json, os, random, subprocess, sys, time
from collections import Counter
from email.utils import formatdate
from multiprocessing import get_context
from pathlib import Path

import anthropic, httpx2, pytest
from genai_prices import Usage as Tokens, calc_price

from common import MODEL, PDF, PNG, PREFILLS, check_request
from llmchat import AsyncFiles, Chat, Files, Sandbox, mk_doc
from llmchat.batch import jobfile as jobs
from llmchat.sandbox.responses import Response, Fail, fail_response
from llmchat.batch import AsyncBatch, Batch
from llmchat.batch.results import NoResult, read_prompts
from llmchat.engine.model_info import infos
from llmchat.sandbox.server import mk_model, tool_use
from llmchat.engine.structured import ReplyError
from loopback import work

SIZE = int(os.environ.get('LLMCHAT_BATCH', 1200)) # Prompts of the job that is killed
RUNS = int(os.environ.get('LLMCHAT_BATCH_RUNS', 15)) # Jobs with random faults

def echo(body): return body['messages'][-1]['content']

class Api(Sandbox):
    "A sandbox that counts what it is asked, and whose answers can be lost on their way"
    def __init__(self, reply=echo, **kw):
        self.asked = Counter()
        super().__init__(lambda body: self.count(body, reply), **kw)
        self.before, self.after = lambda req: None, lambda req, ans: ans # Instead of an answer; what becomes of it

    def count(self, body, reply):
        self.asked[str(body['messages'][-1]['content'])] += 1
        return reply(body)

    def respond(self, req):
        gone = self.before(req)
        res = gone if gone is not None else self.after(req, super().respond(req))
        return fail_response(res, req.id) if isinstance(res, Fail) else res

    @property
    def posts(self): return [r for r in self.requests if (r.method, r.path) == ('POST', '/v1/messages/batches')]

def is_post(req): return (req.method, req.path) == ('POST', '/v1/messages/batches')

def once(test, what):
    "`what`, the first time that `test` holds"
    left = [what]
    return lambda req: left.pop() if left and test(req) else None

def job(sb, prompts, path=None, **kw):
    return Batch(MODEL, prompts, path, cli=sb.client(), **dict(sleep=sb.sleep, settle=20) | kw)

def asks(id, text):
    return dict(custom_id=id, params=dict(model=MODEL, max_tokens=9, messages=[dict(role='user', content=text)]))

BATCH = dict(provider_id='anthropic', price_context=dict(processing='batch'))

@pytest.fixture
def small(monkeypatch): monkeypatch.setattr(jobs, 'max_requests', 3)

@pytest.fixture
def ask_again():
    "What a model can do is asked anew"
    infos.clear()
    yield
    infos.clear()

PROMPTS = [f'prompt {i}' for i in range(8)]

# ---- the plain course, sync and async

def fields(b): return b.counts, b.answers(), b.use, b.cost, [r.message.to_dict() for r in b.results()]

def test_sync_and_async_are_equal(small):
    one = job(sb := Api(), PROMPTS, sp='Be short.').run()
    async def go():
        b = AsyncBatch(MODEL, PROMPTS, cli=(asb := Api()).aclient(), sleep=asb.sleep, sp='Be short.')
        assert await b.run() is b
        return b, asb
    two, asb = asyncio.run(go())
    assert one.answers() == PROMPTS and fields(one)[:4] == fields(two)[:4]
    calls = lambda sb: [(r.method, r.path) for r in sb.requests if 'batches' in r.path]
    assert calls(sb) == calls(asb)
    strip = lambda sb: [[o['params'] for o in r.body['requests']] for r in sb.posts]
    assert strip(sb) == strip(asb) and [len(x) for x in strip(sb)] == [3, 3, 2]

def test_requests_are_what_the_api_takes():
    chat = Chat(MODEL, Sandbox().client(), sp='A chat.', hist=['a', 'b', 'c'], maxtok=99)
    prompts = ['Hi', ['Look', PNG], PDF, mk_doc('Text.', 'Title'), chat,
        [dict(role='user', content='a'), dict(role='assistant', content='b'), dict(role='user', content='c')]]
    def f(x: int):
        "Adds"
    sb = Api(lambda body: 'ok')
    job(sb, prompts, sp='Be short.', tools=[f], tool_choice='f', think='low', maxtok=3000, stop='x', cache=True).run()
    params = [o['params'] for o in sb.posts[0].body['requests']]
    for p in params: check_request(p)
    assert [p['max_tokens'] for p in params] == [3000]*4 + [99, 3000]
    assert (params[4]['system'], params[5]['messages']) == ('A chat.', prompts[5])

def test_temperature_goes_with_its_header():
    sb = Api()
    job(sb, ['Hi'], temp=0.5).run()
    assert sb.posts[0].headers['anthropic-version'] == '2023-06-01'
    assert sb.posts[0].body['requests'][0]['params']['temperature'] == 0.5

def test_prefill_begins_the_answer():
    b = job(Api(lambda body: ' is blue', models=PREFILLS), ['The sky'], prefill='It').run()
    assert b.answers() == ['It is blue'] and b[0].content[0].text == 'It is blue'

class Column:
    "Like a pandas column: an index of numbers that are not `int`"
    def items(self): return [(Number(7), 'a'), (Number(9), 'b')]

class Number:
    def __init__(self, n): self.n = n
    def item(self): return self.n

@pytest.mark.parametrize('prompts, ids', [(['a', 'b'], [0, 1]), (('a', 'b'), [0, 1]), (dict(x='a', y='b'), ['x', 'y']),
    ({3: 'a', 'é ü/?': 'b'}, [3, 'é ü/?']), (Column(), [7, 9]), ((c for c in 'ab'), [0, 1])])
def test_ids(prompts, ids, tmp_path):
    b = job(Api(), prompts, tmp_path/'j').run()
    assert b.ids() == ids and b.answers() == ['a', 'b'] and b[ids[1]].content[0].text == 'b'
    again = Batch.load(tmp_path/'j', cli=Sandbox().client())
    assert again.ids() == ids and [r.id for r in again.results()] == ids
    with pytest.raises(KeyError): b['nobody']

def test_bytes_split(monkeypatch):
    monkeypatch.setattr(jobs, 'max_bytes', 500)
    sb = Api()
    b = job(sb, PROMPTS, sp='x'*20).run()
    assert len(sb.posts) > 2 and all(len(r.raw) <= 500 for r in sb.posts) and b.answers() == PROMPTS
    assert {int(r.headers['content-length']) == len(r.raw) for r in sb.posts} == {True}

# ---- what is wrong is said before anything is sent

@pytest.mark.parametrize('prompts, kw, err, says', [
    (['a', ' '], {}, ValueError, 'Prompt 1: .*empty text'), ({'x': None}, {}, TypeError, "Prompt 'x'"),
    (['a', float('nan')], {}, TypeError, 'Prompt 1'), ([], {}, ValueError, 'no prompts'),
    (['a', b'BM'], {}, ValueError, 'Prompt 1'),
    ([Chat(MODEL, Sandbox().client())], {}, ValueError, 'Prompt 0: the chat'), (['\ud800'], {}, ValueError, 'Prompt 0'),
    (['a', 'x'*400], {}, ValueError, 'Prompt 1 has')])
def test_bad_prompts(prompts, kw, err, says, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, 'max_bytes', 450)
    b = job(sb := Api(), prompts, tmp_path/'j', **kw)
    with pytest.raises(err, match=says): b.run()
    assert not sb.posts and not (tmp_path/'j').exists()
    with pytest.raises(err, match=says): b.run()

@pytest.mark.parametrize('kw, err', [(dict(stream=True), TypeError), (dict(cb=print), TypeError),
    (dict(maxtok=-1), ValueError), (dict(temp=3), ValueError), (dict(stop=''), ValueError), (dict(think='a lot'), ValueError)])
def test_bad_settings(kw, err):
    with pytest.raises(err): job(Api(), ['a'], **kw)

def test_prompts_are_a_collection():
    with pytest.raises(TypeError, match='Give a list'): job(Api(), 'Hi').run()
    with pytest.raises(ValueError, match='There are no prompts'): job(Api(), None)

def test_a_model_without_batches(ask_again):
    sb = Api(models=[mk_model(MODEL, no='batch')])
    with pytest.raises(ValueError, match='takes no batches'): job(sb, ['a']).run()

def test_a_client_without_batches():
    cli = anthropic.AnthropicVertex(region='x', project_id='p', access_token='t')
    with pytest.raises(anthropic.AnthropicError, match='Batch API is not supported'): Batch(MODEL, ['a'], cli=cli).run()

def test_gone_on_with_when_less_is_known_of_the_model(ask_again, tmp_path):
    sb = Api(lambda body: tool_use('answer', value=1), models=[mk_model(MODEL, no='structured_outputs')])
    how = dict(maxtok=4000)
    job(sb, ['a', 'b'], tmp_path/'j', T=int, **how).run()
    infos.clear()
    sb.before = lambda req: Fail(404) if 'models' in req.path else None
    assert job(sb, ['a', 'b'], tmp_path/'j', T=int, **how).run().answers() == [1, 1]
    with pytest.raises(ValueError, match='other prompts'): job(sb, ['a', 'b'], tmp_path/'j', T=str, **how).run()

def test_other_files_are_left_alone(tmp_path):
    (tmp_path/'diary').write_text('Dear diary')
    with pytest.raises(ValueError, match='no file of a batch'): job(Api(), ['a'], tmp_path/'diary')
    with pytest.raises(FileNotFoundError): Batch.load(tmp_path/'none')
    job(Api(), ['a'], tmp_path/'j').run()
    for prompts, kw in ((['b'], {}), (['a'], dict(sp='x')), ({'0': 'a'}, {})):
        with pytest.raises(ValueError, match='other prompts or settings'): job(Api(), prompts, tmp_path/'j', **kw).run()

def test_no_key(monkeypatch):
    monkeypatch.delenv('ANTHROPIC_API_KEY', raising=False)
    with pytest.raises(anthropic.CredentialsError): Batch(MODEL, ['a'], cli=anthropic.Anthropic()).run()

# ---- sent once, whatever happens

LOST = [httpx2.ReadTimeout('late'), httpx2.RemoteProtocolError('gone'), httpx2.WriteError('cut'),
    *map(Fail, (500, 529, 504, 409))]

@pytest.mark.parametrize('e', LOST, ids=str)
def test_an_answer_that_was_lost(e, small):
    sb = Api()
    seen = once(is_post, e)
    sb.after = lambda req, ans: seen(req) or ans
    assert job(sb, PROMPTS).run().answers() == PROMPTS
    assert len(sb.posts) == 3 and set(sb.asked.values()) == {1}

@pytest.mark.parametrize('e', LOST + [httpx2.ConnectError('no')], ids=str)
def test_a_part_that_never_arrived(e, small):
    sb = Api()
    sb.before = once(is_post, e)
    b = job(sb, PROMPTS)
    if isinstance(e, httpx2.ConnectError):
        with pytest.raises(anthropic.APIConnectionError): b.run()
    assert b.run().answers() == PROMPTS
    assert len(sb.posts) == 4 and set(sb.asked.values()) == {1}

def test_refused_for_good_and_for_now():
    sb = Api()
    sb.before = once(is_post, Fail(400, 'no'))
    with pytest.raises(anthropic.BadRequestError): (b := job(sb, PROMPTS)).run()
    assert b.counts['unsent'] == 8 and b.run().answers() == PROMPTS

def in_seconds(headers): return {k: v if isinstance(v, str) else formatdate(time.time() + v, usegmt=True) for k, v in headers.items()}

@pytest.mark.parametrize('headers', [{'retry-after': '30'}, {'retry-after-ms': '30000'}, {'retry-after': 40}])
def test_a_refused_part_waits_as_long_as_the_api_says(headers):
    sb = Api()
    sb.before = once(is_post, Fail(429, headers=in_seconds(headers)))
    began = sb.clock.now
    assert job(sb, PROMPTS).run().answers() == PROMPTS and sb.clock.now - began > 60 + 29

@pytest.mark.parametrize('headers', [{'retry-after': '7000'}, {'retry-after-ms': '7e6'}, {'retry-after': 7000}])
def test_a_refused_part_does_not_wait_for_hours(headers):
    sb = Api()
    sb.before = once(is_post, Fail(429, headers=in_seconds(headers)))
    with pytest.raises(anthropic.RateLimitError): job(sb, PROMPTS).run()

@pytest.mark.parametrize('secs', [1, 30, 300]) # the other batch ends before ours, or after it
@pytest.mark.parametrize('arrives', [True, False])
def test_somebody_elses_batch(secs, arrives):
    sb = Api()
    def foreign():
        slow, sb.batch_seconds = sb.batch_seconds, secs
        sb.client().messages.batches.create(requests=[asks(f'x-{i}', f'other {i}') for i in range(len(PROMPTS))])
        sb.batch_seconds = slow
    left = [1]
    def strange(req):
        if is_post(req) and left and left.pop(): foreign(); return httpx2.ReadTimeout('late')
    if arrives: sb.after = lambda req, ans: strange(req) or ans
    else: sb.before = strange
    b = job(sb, PROMPTS)
    assert b.run().answers() == PROMPTS
    assert all(n == 1 for k, n in sb.asked.items() if k in PROMPTS)
    assert len(sb.posts) == 2 + (not arrives)

def test_many_other_batches_are_paged_through():
    sb = Api()
    def others(req, ans):
        if is_post(req) and not len(sb.posts) > 1:
            for i in range(250): sb.client().messages.batches.create(requests=[asks('x', 'other')])
            return httpx2.ReadTimeout('late')
        return ans
    sb.after = others
    assert job(sb, PROMPTS).run().answers() == PROMPTS and sb.asked['prompt 0'] == 1

class Crash(BaseException): "As if the process were killed"

def crash_at(monkeypatch, sb, k, after):
    "Crash at the `k`th exchange, before it or after it"
    count = iter(range(10**6))
    def before(req): return Crash() if next(count) == k and not after else None
    sb.before = lambda req: before(req)
    sb.after = lambda req, ans: Crash() if after and next(crashes) == k else ans
    crashes = iter(range(10**6))

@pytest.mark.parametrize('after', [True, False])
@pytest.mark.parametrize('is_async', [True, False])
def test_a_crash_at_every_exchange(after, is_async, small, tmp_path, monkeypatch):
    def run(sb, path):
        if not is_async: return job(sb, PROMPTS, path).run()
        async def go(): return await AsyncBatch(MODEL, PROMPTS, path, cli=sb.aclient(), sleep=sb.sleep, settle=20).run()
        return asyncio.run(go())
    crashed = True
    for k in range(0, 200, 3 if is_async else 1):
        if not crashed: break
        sb, path, crashed = Api(), tmp_path/f'{k}', False
        sb.batch_seconds = 3
        crash_at(monkeypatch, sb, k, after)
        try: b = run(sb, path)
        except Crash:
            crashed = True
            sb.before, sb.after = lambda req: None, lambda req, ans: ans
            b = run(sb, path)
        assert b.answers() == PROMPTS and set(sb.asked.values()) == {1}
        assert len([p for p in b.job.parts if not p.refused]) == 3
        assert jobs.Job(path).state == b.job.state
    assert 10 < k < 199

@pytest.mark.parametrize('seed', range(RUNS))
def test_random_faults(seed, small, tmp_path):
    "Errors before and after any exchange, cut downloads, crashes, others' batches: all answered, nothing twice"
    rng, sb = random.Random(seed), Api()
    sb.batch_seconds = rng.choice([0, 10, 100, 2000])
    never = [httpx2.ConnectError('no'), Fail(429)] # what cannot come after a batch was made
    kinds = [httpx2.ReadTimeout('late'), httpx2.RemoteProtocolError('gone'), *map(Fail, (500, 529)), Crash(), KeyboardInterrupt()]
    def fault(rate, kinds=kinds + never):
        if rng.random() > rate: return None
        e = rng.choice(kinds)
        return Fail(e.status, headers={'retry-after-ms': '1'}) if isinstance(e, Fail) else e
    rates = [0.12]
    def after(req, ans):
        if is_post(req) and rng.random() < .2:
            faults, sb.before, sb.after = (sb.before, sb.after), lambda req: None, lambda req, ans: ans
            sb.client().messages.batches.create(requests=[asks(f'y{i}', 'other') for i in range(rng.randint(1, 4))])
            sb.before, sb.after = faults
        if req.path.endswith('/results') and isinstance(ans, Response) and rng.random() < 3 * rates[0]:
            data = b''.join(ans.chunks)
            at = rng.randrange(len(data) + 1)
            return Response(200, ans.headers, [data[:at]], rng.choice([None, httpx2.ReadError('cut'), Crash()]))
        return fault(rates[0], kinds) or ans
    sb.before, sb.after = lambda req: fault(rates[0]), after
    for tries in range(200):
        if tries > 60: rates[0] = 0
        try: b = job(sb, PROMPTS, tmp_path/'j').run(); break
        except (anthropic.APIError, httpx2.HTTPError, Crash, KeyboardInterrupt): pass
    assert b.answers() == PROMPTS, f'seed {seed}'
    assert all(sb.asked[p] == 1 for p in PROMPTS), f'seed {seed}: {sb.asked}'

# ---- results

def test_results_cut_at_every_place(tmp_path):
    whole = []
    for cut in range(0, 9000, 113):
        sb, n = Api(), [0]
        def after(req, ans):
            if not req.path.endswith('/results') or n[0]: return ans
            n[0] += 1
            whole[:] = [b''.join(ans.chunks)]
            return Response(200, ans.headers, [whole[0][:cut]], httpx2.ReadError('cut') if cut % 2 else None)
        sb.after = after
        b = job(sb, PROMPTS, tmp_path/f'{cut}').run()
        assert b.answers() == PROMPTS
        if cut > len(whole[0]): break
    assert cut > len(whole[0])

def test_results_in_another_form():
    sb = Api()
    def after(req, ans):
        if not req.path.endswith('/results'): return ans
        rows = [json.loads(l) for l in b''.join(ans.chunks).splitlines()]
        turned = [dict(result=dict(reversed(r['result'].items())), custom_id=r['custom_id']) for r in rows]
        return Response(200, ans.headers, ['\r\n'.join(map(json.dumps, turned)).encode()])
    sb.after = after
    assert job(sb, PROMPTS).run().answers() == PROMPTS

def test_results_that_stay_away():
    sb = Api()
    sb.after = lambda req, ans: Response(200, ans.headers, [b'<html>']) if req.path.endswith('/results') else ans
    with pytest.raises(anthropic.APIConnectionError): (b := job(sb, PROMPTS)).run()
    sb.after = lambda req, ans: ans
    assert b.run().answers() == PROMPTS and set(sb.asked.values()) == {1}

def test_no_news_for_a_while():
    sb, n = Api(), [0]
    def before(req):
        if req.method == 'GET' and req.path.endswith('msgbatch_0001'):
            n[0] += 1
            return httpx2.ConnectError('down') if n[0] < 12 else None
    sb.before = before
    assert job(sb, PROMPTS).run().answers() == PROMPTS
    sb.before = lambda req: Fail(404) if req.path.endswith('msgbatch_0002') else None
    with pytest.raises(anthropic.NotFoundError): job(sb, PROMPTS).run()

def test_no_news_for_ever():
    sb = Api()
    sb.before = lambda req: httpx2.ConnectError('down') if req.path.endswith('msgbatch_0001') else None
    with pytest.raises(anthropic.APIConnectionError): (b := job(sb, PROMPTS)).run()
    sb.before = lambda req: None
    assert b.run().answers() == PROMPTS and len(sb.posts) == 1

def odd(body):
    text = echo(body)
    return Fail(400, 'messages: too odd') if text == 'prompt 3' else text

def test_failed_ones_are_apart_and_sent_again(small, tmp_path):
    replies = [odd]
    sb = Api(lambda body: replies[0](body))
    b = job(sb, PROMPTS, tmp_path/'j').run()
    assert b.ids('errored') == [3] and b.counts['succeeded'] == 7 and b.answers()[3] is None
    with pytest.raises(anthropic.BadRequestError, match='too odd'): b[3]
    with pytest.raises(ValueError, match='has not failed'): b.retry([2])
    replies[0] = echo
    assert b.retry().answers() == PROMPTS
    assert (sb.asked['prompt 3'], sb.asked['prompt 2'], len(sb.posts[-1].body['requests'])) == (2, 1, 1)
    assert Batch.load(tmp_path/'j', cli=sb.client()).answers() == PROMPTS
    n = len(sb.posts)
    assert b.retry().counts['succeeded'] == 8 and len(sb.posts) == n

def test_cancelled_and_expired(small, tmp_path):
    sb = Api()
    b = job(sb, PROMPTS, tmp_path/'j', sleep=lambda secs: sb.sleep(secs * 30)).submit()
    assert b.counts['sent'] == 8
    sb.sleep(30)
    b.cancel().run()
    assert b.counts['canceled'] == 5 and b.counts['succeeded'] == 3
    with pytest.raises(NoResult, match='it is canceled'): b[b.ids('canceled')[0]]
    sb.batch_seconds = 2 * 86_400
    b.retry()
    assert b.counts['expired'] == 3 and b.counts['succeeded'] == 5
    sb.batch_seconds = 5
    assert b.retry().answers() == PROMPTS and all(n == 1 for n in sb.asked.values())

def test_cancelled_before_all_is_sent(small, tmp_path):
    sb = Api()
    sb.before = once(lambda req: is_post(req) and len(sb.posts) == 2, Fail(400, 'no'))
    with pytest.raises(anthropic.BadRequestError): (b := job(sb, PROMPTS, tmp_path/'j')).submit()
    assert b.counts['sent'] == 3
    b = Batch.load(tmp_path/'j', cli=sb.client(), sleep=sb.sleep).cancel()
    assert b.counts['canceled'] == 5 and b.run().counts == jobs.Job(tmp_path/'j').counts and len(sb.posts) == 2
    with pytest.raises(anthropic.BadRequestError): sb.client().messages.batches.cancel('msgbatch_0001')
    b.cancel()
    assert b.retry().answers() == PROMPTS

def test_retry_waits_for_what_is_to_come(small):
    b = job(Api(), PROMPTS).submit()
    with pytest.raises(RuntimeError, match='results to come'): b.retry()

def test_one_at_a_time(tmp_path):
    sb = Api()
    one, two = job(sb, PROMPTS, tmp_path/'j'), job(sb, PROMPTS, tmp_path/'j')
    def intrude(seconds):
        with pytest.raises(RuntimeError, match='in use'): two.run()
        sb.sleep(seconds)
    one._runner.sleep = intrude
    one.run()
    assert two.run().answers() == PROMPTS and len(sb.posts) == 1 # and it has seen what the other wrote

# ---- objects, costs, files

@pytest.mark.parametrize('no', [[], ['structured_outputs']])
def test_objects(no, ask_again, tmp_path):
    def reply(body):
        text, answer = echo(body), 'many' if echo(body) == 'prompt 2' else int(echo(body)[-1])
        if body.get('tools'): return tool_use(body['tool_choice']['name'], value=answer)
        assert body['output_config']['format']['type'] == 'json_schema'
        return json.dumps(dict(value=answer))
    sb = Api(reply, models=[mk_model(MODEL, no=no)])
    b = job(sb, PROMPTS[:4], tmp_path/'j', T=int).run()
    assert [b[0], b[1], b[3]] == [0, 1, 3]
    with pytest.raises(ReplyError): b[2]
    b.write(tmp_path/'a.jsonl')
    rows = [json.loads(l) for l in (tmp_path/'a.jsonl').read_text().splitlines()]
    assert [r['answer'] for r in rows] == [0, 1, None, 3] and 'Wrong arguments' in rows[2]['error']
    for p in sb.posts[0].body['requests']: check_request(p['params'])
    assert Batch.load(tmp_path/'j', cli=sb.client(), T=int)[3] == 3

def test_costs_by_hand():
    usage = dict(input_tokens=1000, output_tokens=500, cache_creation_input_tokens=3000, cache_read_input_tokens=7000,
        cache_creation=dict(ephemeral_5m_input_tokens=1000, ephemeral_1h_input_tokens=2000),
        server_tool_use=dict(web_search_requests=3, web_fetch_requests=0))
    b = job(Api(lambda body: dict(content='ok', usage=usage)), PROMPTS).run()
    tokens = Tokens(input_tokens=11000, output_tokens=500, cache_write_tokens=3000, cache_write_1h_tokens=2000,
        cache_read_tokens=7000, web_searches=3)
    hand = calc_price(tokens, MODEL, **BATCH).total_price
    assert b.cost == pytest.approx(float(8 * hand), rel=1e-12)
    plain = calc_price(Tokens(input_tokens=1000, output_tokens=500), MODEL, provider_id='anthropic')
    half = calc_price(Tokens(input_tokens=1000, output_tokens=500), MODEL, **BATCH)
    assert half.total_price == plain.total_price / 2

def test_estimate():
    sb = Api()
    b = job(sb, [f'prompt {i} ' + 'x'*(i % 7) for i in range(50)], sp='Be short.', maxtok=10)
    whole, part = b.estimate(sample=None), b.estimate(sample=7, out=3)
    assert not sb.posts and (whole.out, part.out, whole.prompts) == (500, 150, 50)
    assert part.inp == pytest.approx(whole.inp, rel=.05)
    price = calc_price(Tokens(input_tokens=whole.inp, output_tokens=500), MODEL, **BATCH)
    assert whole.cost == float(price.total_price)
    assert b.run().use.inp == whole.inp
    assert Batch('nobody', ['a'], cli=Api(models=['nobody']).client()).estimate().cost is None

def test_tables(tmp_path):
    with open(tmp_path/'p.csv', 'w', newline='') as f:
        csv.writer(f).writerows([['who', 'prompt'], ['a', 'Hi,\n"you"'], ['b', 'Ho']])
    b = job(Api(), read_prompts(tmp_path/'p.csv', id='who')).run()
    b.write(tmp_path/'a.csv')
    with open(tmp_path/'a.csv', newline='') as f: rows = list(csv.DictReader(f))
    assert rows == [dict(id='a', answer='Hi,\n"you"', error=''), dict(id='b', answer='Ho', error='')]

def test_keys_are_nowhere(tmp_path, caplog):
    sb = Api()
    key = 'sk-ant-marked-key-0123456789'
    sb.before = once(is_post, Fail(401, f'bad key {key}'))
    b = Batch(MODEL, PROMPTS, tmp_path/'j', cli=sb.client(api_key=key), sleep=sb.sleep)
    with pytest.raises(anthropic.AuthenticationError) as e: b.run()
    assert key not in str(e.value) + repr(e.value.body) + (tmp_path/'j').read_text() + caplog.text
    assert b.run().answers() == PROMPTS and key not in (tmp_path/'j').read_text()
    assert oct((tmp_path/'j').stat().st_mode)[-3:] == '600'

def test_a_temporary_file_goes_with_its_batch():
    b = job(Api(), ['a']).run()
    path = b.job.path
    assert path.exists()
    del b
    assert not path.exists()

def test_it_shows():
    b = job(Api(odd), PROMPTS).run()
    assert '| succeeded | 7 |' in b._repr_markdown_() and '| errored | 1 |' in b._repr_markdown_()
    assert repr(list(b.results([3]))) == "[Result(3, 'errored', 'invalid_request_error: messages: too odd')]"

def test_progress_bars(capsys):
    job(Api(), PROMPTS, progress=True).run()
    err = capsys.readouterr().err
    assert 'sent: 100%' in err and 'answered: 100%' in err and err.count('sent:   0%') == 1

def test_large_results_come_in_one_go():
    sb = Api(lambda body: 'x' * 300_000)
    b = job(sb, PROMPTS, progress=True).run()
    assert len([r for r in sb.requests if r.path.endswith('/results')]) == 1 and b.counts['succeeded'] == 8

def test_results_that_say_nothing_decide_nothing():
    "The first download of a part in doubt brings nothing, or what a proxy says: it is looked at, not sent again"
    for first in (b'', b'<html>', b'{"type":"error"}', b'{"custom_id":"'):
        sb = Api()
        lost, cut = once(is_post, httpx2.ReadTimeout('late')), once(lambda req: req.path.endswith('/results'), first)
        def after(req, ans):
            if e := lost(req): return e
            return ans if (piece := cut(req)) is None else Response(200, ans.headers, [piece])
        sb.after = after
        assert job(sb, PROMPTS).run().answers() == PROMPTS and len(sb.posts) == 1

# ---- killed

context = get_context('forkserver')
context.set_forkserver_preload(['anthropic.resources.messages', 'genai_prices', 'llmchat.core', 'pytest'])

def forked(f, *args):
    "A process that calls a function, and can be killed; it begins at once, since the server has imported what takes long"
    p = context.Process(target=f, args=args)
    p.start()
    return p

def lines(path): return path.read_bytes().count(b'\n') if path.exists() else 0

def until(test, process):
    while not test() and process.is_alive(): time.sleep(.002)

def test_killed_at_any_point(tmp_path):
    "kill -9 while requests are written, before and after a part is sent, while waiting and while results arrive"
    path, part = tmp_path/'j', SIZE // 3 + 1
    args = sys.executable, Path(__file__).with_name('loopback.py'), 'serve', '.4', '80000', '.05'
    server = subprocess.Popen(args, stdout=subprocess.PIPE, text=True)
    try:
        port = server.stdout.readline().strip()
        has = lambda *words: path.exists() and (data := path.read_bytes()) and all(data.count(w) >= n for w, n in words)
        intent, sent, result = b'{"part":', b'"batch":"', b'","result":{'
        # A part that was in doubt when a worker was killed gets no line of its own before its batch has ended
        moments = [lambda: lines(path) > 1, lambda: has((intent, 1)), lambda: has((intent, 5)), lambda: has((intent, 5), (sent, 2)),
            lambda: has((sent, 2), (result, 1)), lambda: has((result, part + 10))]
        killed = 0
        for i, moment in enumerate(moments):
            if i == 4: httpx2.get(f'http://127.0.0.1:{port}/end', timeout=None) # Before that no worker can have done its job
            worker = forked(work, port, path, SIZE, part)
            until(moment, worker)
            killed += worker.is_alive()
            worker.kill()
            worker.join()
        forked(work, port, path, SIZE, part, tmp_path/'out').join()
        assert json.loads((tmp_path/'out').read_text())['counts']['succeeded'] == SIZE
        asked = json.loads(httpx2.get(f'http://127.0.0.1:{port}/asked', timeout=None).content)
        assert (asked['n'], asked['most']) == (SIZE, 1), asked
        assert killed > 3
    finally:
        server.kill()
        server.communicate()
    answers = Batch.load(path, cli=Sandbox().client()).answers()
    assert len(answers) == SIZE and None not in answers

def test_methods_of_batches_and_files_say_what_they_give():
    "Each is where it is taught, none replaces another, and an awaited one has the parameters of its twin"
    for kind, twin, waits in ((Batch, AsyncBatch, 'submit run cancel retry estimate'),
            (Files, AsyncFiles, 'upload list get delete download')):
        for name in waits.split():
            f, g = getattr(kind, name), getattr(twin, name)
            a, b = (inspect.signature(o, eval_str=True) for o in (f, g))
            assert [*map(str, a.parameters.values())][1:] == [*map(str, b.parameters.values())][1:]
            assert a.return_annotation is not a.empty and f.__doc__ == g.__doc__
            assert inspect.iscoroutinefunction(g) and not inspect.iscoroutinefunction(f)
        for c in (kind, twin): assert len(c.__mro__) <= 4 and not [k for k in dir(c) if k.startswith('_orig')]
