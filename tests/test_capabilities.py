"What a model can do decides, as the API says it: asked once, only where it matters, and never a reason to fail"
import asyncio, json, subprocess, sys, threading, warnings
from importlib import import_module

import anthropic, httpx2, pytest
from hypothesis import given, strategies as st

from common import PDF, PNG, Async, both, check_request, seeded
from llmchat import URL, AsyncClient, Chat, Client, mk_doc, model_info
from llmchat.engine.model_info import warned
from llmchat.protocol.requests import can, check_able, mk_request, needs
from llmchat.sandbox import Sandbox
from llmchat.sandbox.server import mk_model

M = 'claude-some'

class Api(Sandbox):
    "A sandbox with one model; `no`: what the model cannot do; `says`: what it answers instead"
    def __init__(self, replies='Hi', no=(), says=None, **kw):
        super().__init__(replies, models=[mk_model(M, no=no, **kw)])
        self.says = says
    def respond(self, req):
        if req.method != 'GET' or self.says is None: return super().respond(req)
        if isinstance(self.says, Exception): raise self.says
        return self.says()
    @property
    def sent(self): return [r.body for r in self.requests if r.path == '/v1/messages']
    @property
    def asked(self): return sum('/v1/models/' in r.path for r in self.requests)

def Said(status, **kw):
    "Gives a response as it is"
    return lambda: httpx2.Response(status, **kw)

IMAGE = [PNG, 'What is this?']
SCHEMA = dict(format=dict(type='json_schema', schema=dict(type='object', properties={}, additionalProperties=False)))
SEARCH, CODE = dict(type='web_search_20250305', name='web_search'), dict(type='code_execution_20250825', name='code_execution')
STRICT = dict(name='now', description='Time', strict=True, input_schema=dict(type='object', properties={}, additionalProperties=False))

# What is asked, the capability that it takes, and what the error says
TAKES = dict(
    image=([IMAGE], {}, 'image_input', 'takes no images'),
    image_url=([[URL('https://example.com/dog.jpg'), 'Hi']], {}, 'image_input', 'takes no images'),
    pdf=([[PDF, 'Hi']], {}, 'pdf_input', 'takes no PDFs'),
    pdf_url=([[URL('https://example.com/a.pdf'), 'Hi']], {}, 'pdf_input', 'takes no PDFs'),
    cited=([[mk_doc('Dogs bark.'), 'Hi']], {}, 'citations', r'mk_doc\(…, citations=False\)'),
    think=(['Hi'], dict(think='low'), 'thinking', 'leave out `think` and `maxthinktok`'),
    budget=(['Hi'], dict(maxthinktok=1024), 'thinking', 'does not think'),
    effort=(['Hi'], dict(output_config=dict(effort='low')), 'effort', 'give another effort'),
    level=(['Hi'], dict(think='max'), 'effort.max', r'effort\.max is not among'),
    schema=(['Hi'], dict(output_config=SCHEMA), 'structured_outputs', '`parse`'),
    strict=(['Hi'], dict(tools=[STRICT]), 'structured_outputs', 'the tool now'),
    search=(['Hi'], dict(tools=[SEARCH]), 'server_tools.web_search', 'the tool web_search'),
    code=(['Hi'], dict(tools=[CODE]), 'server_tools', 'a tool of your own'))
takes = pytest.mark.parametrize('msgs,kw,lacks,says', TAKES.values(), ids=TAKES)

@both
@takes
@pytest.mark.parametrize('stream', [False, True])
def test_what_a_model_cannot_do_is_refused_before_it_is_sent(way, msgs, kw, lacks, says, stream):
    sb = Api(no=lacks)
    c = way.Client(M, way.sdk(sb))
    for _ in range(2):
        with pytest.raises(ValueError, match=says): (way.read if stream else way.call)(c, msgs, **kw)
    assert (sb.sent, sb.asked) == ([], 1)

@both
@takes
def test_a_chat_that_was_refused_is_as_before(way, msgs, kw, lacks, says):
    sb = Api(['Hello!', 'Bye!'], no=lacks)
    chat = way.Chat(M, way.sdk(sb))
    way.call(chat, 'Hi')
    before = json.dumps(chat.h)
    with pytest.raises(ValueError, match=says): way.call(chat, msgs[0], **kw)
    assert json.dumps(chat.h) == before
    way.call(chat, 'Bye')
    assert (len(chat.h), sb.asked) == (4, 1)

@both
@takes
def test_what_a_model_can_do_is_sent_after_one_question(way, msgs, kw, lacks, says):
    sb = Api(['a', 'b', 'c'])
    c = way.Client(M, way.sdk(sb))
    for _ in range(3): way.call(c, msgs, **kw)
    assert (len(sb.sent), sb.asked) == (3, 1)
    for body in sb.sent: check_request(body)

@both
def test_a_plain_text_asks_nothing(way):
    sb = Api(lambda body: 'Hi', prefill=True)
    c, chat = way.Client(M, way.sdk(sb)), way.Chat(M, way.sdk(sb), sp='Be brief.', cache=True)
    def now() -> str: "The time"
    way.call(c, ['Hi', 'Hello', [mk_doc('Dogs bark.', citations=False), 'Hi']], stop='x', temp=.5, prefill='Oh', tools=[now])
    way.read(c, 'Hi'), way.call(chat, 'Hi'), way.call(chat, 'Hi'), way.call(c.count, [IMAGE])
    assert (sb.asked, len(sb.sent)) == (0, 4)

@both
def test_one_call_of_a_client_may_be_cached_or_not(way):
    sb = Sandbox(lambda body: 'Hi', models=[M])
    plain, cached = way.Client(M, way.sdk(sb)), way.Client(M, way.sdk(sb), cache=True)
    for c, kw in (plain, {}), (plain, dict(cache=True)), (cached, {}), (cached, dict(cache=False)): way.call(c, 'Hi', **kw)
    assert ['cache_control' in r.body for r in sb.requests] == [False, True, True, False]

def test_where_it_was_found():
    picture = dict(type='image', source=dict(type='url', url='u'))
    req = lambda *msgs: dict(messages=list(msgs))
    user = lambda *content: dict(role='user', content=list(content))
    assert needs(req(dict(role='user', content='x'), user(picture))) == dict(image_input='messages[1]')
    result = dict(type='tool_result', tool_use_id='t', content=[dict(type='text', text='x'), picture])
    assert needs(req(user(result))) == dict(image_input='messages[0]')
    doc = dict(type='document', source=dict(type='content', content=[picture]))
    assert needs(req(user(doc))) == dict(image_input='messages[0]')
    assert needs(req(user(dict(type='document', source=dict(type='file', file_id='f'))))) == {}
    assert needs(req(dict(role='assistant', content=[dict(type='web_fetch_tool_result', content=dict(type='document'))]))) == {}

json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda o: st.lists(o, max_size=3) | st.dictionaries(st.sampled_from(['type', 'content', 'source', 'citations', 'a']), o, max_size=3), max_leaves=8)

@seeded
@given(st.lists(json_values, max_size=3))
def test_odd_content_is_for_the_api_to_judge(content):
    needs(dict(messages=[dict(role='user', content=content)]))

# ---- what there is instead

@pytest.mark.parametrize('no,kw,body', [
    ('thinking.types.adaptive', dict(think='high'), dict(thinking=dict(type='enabled', budget_tokens=2048))),
    (['thinking.types.adaptive', 'effort'], dict(think='low'), dict(thinking=dict(type='enabled', budget_tokens=1024))),
    ('effort', dict(think='high'), dict(thinking=dict(type='adaptive'))),
    ('thinking.types.enabled', dict(maxthinktok=2000), dict(thinking=dict(type='adaptive'))),
    ((), dict(think='high'), dict(thinking=dict(type='adaptive'), output_config=dict(effort='high')))])
@both
def test_thinking_comes_in_the_form_that_the_model_takes(way, no, kw, body):
    sb = Api(no=no)
    way.call(way.Client(M, way.sdk(sb)), 'Hi', **kw)
    assert {k: v for k, v in sb.sent[0].items() if k in ('thinking', 'output_config')} == body

@both
def test_parse_falls_back_to_a_tool(way):
    sb = Api([[dict(type='tool_use', name='answer', input=dict(value=3))]], no='structured_outputs')
    assert way.call(way.Client(M, way.sdk(sb)).parse, 'How many?', int) == 3
    assert sb.asked == 1 and 'output_config' not in sb.sent[0] and sb.sent[0]['tool_choice']['type'] == 'tool'

def test_too_few_tokens_for_a_budget():
    sb = Api(no='thinking.types.adaptive')
    with pytest.raises(ValueError, match="maxtok is 1000; with think='low'"): Client(M, sb.client())('Hi', think='low', maxtok=1000)

def test_a_part_of_what_is_missing_is_missing():
    info = anthropic.types.ModelInfo.construct(capabilities=dict(server_tools=dict(supported=False), thinking=dict(supported=True)))
    assert can(info, 'server_tools', 'web_search') is False and can(info, 'thinking', 'types', 'adaptive') is None
    assert can(None, 'thinking') is None and can(info, 'image_input') is None

# ---- where the API does not say

HTML = Said(200, html='<h1>Welcome</h1>')
@pytest.mark.parametrize('says,again', [(Said(404, json={}), False), (Said(403, json={}), False), (Said(500, json={}), True), (Said(429, json={}), True),
    (HTML, True), (Said(200, content=b'{"id":', headers={'content-type': 'application/json'}), True), (httpx2.ConnectError('refused'), True)])
@both
def test_a_call_does_not_fail_because_nobody_knows_its_model(way, says, again):
    sb = Api(lambda body: 'Hi', says=says)
    c = way.Client(M, way.sdk(sb))
    for _ in range(3): way.call(c, [IMAGE], think='low')
    assert (len(sb.sent), sb.asked) == (3, 3 if again else 1)

@both
def test_models_are_looked_up_with_the_clients_of_clouds_only_if_these_can(way):
    kind = anthropic.AsyncAnthropicFoundry if way is Async else anthropic.AnthropicFoundry
    http = anthropic.DefaultAsyncHttpxClient if way is Async else anthropic.DefaultHttpxClient
    sb = Sandbox(['Hi'], models=[M])
    handle = sb.ahandle if way is Async else sb.handle
    def mapped(request): return handle(httpx2.Request(request.method, 'https://x/v1/messages', content=request.content, headers=request.headers))
    cli = kind(api_key='k', resource='r', http_client=http(transport=httpx2.MockTransport(mapped)))
    way.call(way.Client(M, cli), [IMAGE], think='low')
    assert [r.path for r in sb.requests] == ['/v1/messages']

# ---- asked once

def test_threads_that_want_to_know_at_once_ask_once():
    sb, start, seen = Api(lambda body: 'Hi'), threading.Barrier(20), []
    cli = sb.client()
    def work():
        start.wait()
        seen.append(Client(M, cli)([IMAGE], think='low'))
    threads = [threading.Thread(target=work) for _ in range(20)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert len(seen) == 20 and sb.asked == 1

def test_tasks_that_want_to_know_at_once_ask_once():
    sb = Api(lambda body: 'Hi')
    async def go():
        async with AsyncClient(M, sb.aclient()) as c: return await asyncio.gather(*[c([IMAGE]) for _ in range(200)])
    assert len(asyncio.run(go())) == 200 and sb.asked == 1

def test_who_is_cancelled_while_asking_leaves_it_to_the_next():
    sb = Api(lambda body: 'Hi')
    async def go():
        c = AsyncClient(M, sb.aclient())
        first = asyncio.ensure_future(c([IMAGE]))
        await asyncio.sleep(0)
        rest = [asyncio.ensure_future(c([IMAGE])) for _ in range(5)]
        await asyncio.sleep(0)
        first.cancel()
        return await asyncio.gather(first, *rest, return_exceptions=True)
    first, *rest = asyncio.run(go())
    assert isinstance(first, asyncio.CancelledError) and all(r.stop_reason == 'end_turn' for r in rest) and sb.asked in (1, 2)

@pytest.mark.parametrize('n', [1, 8])
def test_an_error_is_everybodys_and_gone(n):
    sb = Api(says=Said(500, json={}))
    cli, errors, start = sb.client(), [], threading.Barrier(n)
    def work():
        start.wait()
        try: model_info(M, cli)
        except anthropic.InternalServerError as e: errors.append(e)
    threads = [threading.Thread(target=work) for _ in range(n)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert len(errors) == n
    sb.says = None
    assert model_info(M, cli).id == M

def test_each_address_has_its_own_models():
    a, b = Api(no='image_input'), Api()
    with pytest.raises(ValueError): Client(M, a.client())([IMAGE])
    Client(M, b.client())([IMAGE])
    assert (a.asked, b.asked) == (1, 1)

def test_model_info_tells_what_is_wrong():
    sb = Api(says=HTML)
    with pytest.raises(anthropic.APIError, match='This is not a reply of the API'): model_info(M, sb.client())
    with pytest.raises(anthropic.NotFoundError): model_info('claude-none', Api().client())
    with pytest.raises(anthropic.CredentialsError): model_info(M, anthropic.Anthropic(api_key='', base_url=sb.client().base_url))

@pytest.mark.parametrize('model', [5, ['a'], b'x', '', ' '])
def test_what_is_no_model(model):
    for f in (Client, AsyncClient, Chat, model_info, lambda m: Client(m, Api().client())('Hi'), lambda m: mk_request(m, 'Hi')):
        with pytest.raises(TypeError, match='^model is .*; it is the id of a model, such as'): f(model)

def test_what_a_sandbox_said_is_forgotten_with_it():
    for no, ends in ('image_input', pytest.raises(ValueError)), ((), pytest.MonkeyPatch.context()):
        with Sandbox(['Hi'], models=[mk_model(M, no=no)]).patch(), ends: Client(M)([IMAGE])

# ---- models on their way out

KNOWN = 'claude-sonnet-4-5' # Deprecated, and not retired yet
assert KNOWN in import_module('anthropic._data').DEPRECATED_MODELS

@pytest.fixture
def seen():
    warned.clear()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        yield seen

@both
@pytest.mark.parametrize('stream', [False, True])
def test_a_model_that_the_sdk_knows_to_be_deprecated_warns_once(way, seen, stream):
    sb = Sandbox(lambda body: 'Hi')
    c = way.Client(KNOWN, way.sdk(sb))
    for _ in range(3): (way.read if stream else way.call)(c, 'Hi')
    way.call(way.Chat(KNOWN, way.sdk(sb)), 'Hi')
    w, = seen
    assert w.category is DeprecationWarning and KNOWN in str(w.message) and 'retired on' in str(w.message)
    assert w.filename.startswith(str(__file__).rpartition('/')[0])
    assert not [r for r in sb.requests if r.method == 'GET']

def test_the_sdks_own_warning_stays_for_its_own_calls(seen):
    cli = Sandbox(lambda body: 'Hi').client()
    Client(KNOWN, cli)('Hi')
    cli.messages.create(model=KNOWN, max_tokens=1, messages=[dict(role='user', content='Hi')])
    assert len(seen) == 2

@both
def test_a_model_that_the_api_says_is_deprecated_warns_once(way, seen):
    sb = Api(lambda body: 'Hi', lifecycle='deprecated', retires_at='2027-03-01T00:00:00Z')
    c = way.Client(M, way.sdk(sb))
    way.call(c, 'Hi')
    assert not seen
    for _ in range(3): way.call(c, [IMAGE])
    w, = seen
    assert 'retired on 2027-03-01' in str(w.message)

def test_a_warning_made_an_error_stops_the_call_and_leaves_the_chat_as_it_was(seen):
    sb = Sandbox(lambda body: 'Hi')
    chat = Chat(KNOWN, sb.client())
    warnings.simplefilter('error')
    with pytest.raises(DeprecationWarning): chat('Hi')
    assert chat.h == [] and sb.requests == []
    assert chat('Hi').stop_reason == 'end_turn'

@both
def test_an_unknown_model_works(way, seen):
    sb = Sandbox(lambda body: 'Hi', models=[], validate=False)
    c = way.Client('claude-of-the-future', way.sdk(sb))
    way.call(c, 'Hi'), way.call(c, [IMAGE], think='low')
    assert not seen and len(sb.requests) == 3

def test_importing_asks_nobody_and_loads_nothing():
    code = "import sys, llmchat; print(sorted({'anthropic', 'asyncio', 'genai_prices', 'httpx2', 'pydantic'} & sys.modules.keys()))"
    assert subprocess.check_output([sys.executable, '-c', code], text=True) == '[]\n'

# ---- the model on this machine

def test_the_embedded_model_says_what_it_cannot_do(tmp_path):
    from llmchat.local import local_info
    info = anthropic.types.ModelInfo.construct(**local_info(tmp_path/'some-model.gguf'))
    for msgs, kw, _, says in TAKES.values():
        with pytest.raises(ValueError, match='Use another model'): check_able(mk_request('local', msgs, None, **kw), info)
    check_able(mk_request('local', ['Hi'], None), info)

@both
@takes
def test_the_embedded_model_is_not_started_for_what_it_cannot_do(way, msgs, kw, lacks, says, monkeypatch):
    from llmchat import local
    monkeypatch.setattr(local, 'serve', lambda path: pytest.fail('a request was sent'))
    try: local.usable_model_file('local')
    except anthropic.AnthropicError as e: pytest.skip(str(e))
    with pytest.raises(ValueError, match='Use another model'): way.call(way.Client('local'), msgs, **kw)
