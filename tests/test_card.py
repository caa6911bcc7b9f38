"The reference card loses no entry, and asks for nothing that the API would not take"
import json, re
from pathlib import Path

import anthropic, pytest

from common import FORCED, MODEL, PDF, PNG, TOOLS, both, check_request
from llmchat import URL, Sandbox, fetch_conf, mk_doc, mk_msg, search_conf
from llmchat.protocol.requests import Settings

nbs = Path(__file__).parent.parent/'nbs'
pages = sorted((nbs/'card').glob('*.ipynb'))
cells = [(p.stem, c['cell_type'], ''.join(c['source'])) for p in pages for c in json.loads(p.read_text(encoding='utf-8'))['cells']]

# The entries of the card, and words that the page shows under each
ENTRIES = {
    'Install and basic call': ['pip install', 'messages.create', 'contents('],
    'Response fields': ['r.id', 'r.model', 'r.stop_reason', 'r.usage', 'find_block', 'c.use'],
    'Multi-turn': ['Chat(', 'chat.h'],
    'System prompt': ['sp=', 'system=', 'cache_control'],
    'Stop sequences': ['stop_sequences', "stop='5'", 'stop_sequence'],
    'Streaming text': ['text_stream', 'stream=True'],
    'Low-level events': ['events=True', '.type'],
    'The final message and total tokens of a stream': ['get_final_message', '.value', 'use.total'],
    'Images': ['base64', 'Path(', 'URL(', 'max_image', 'BMP', "* 2"],
    'PDFs': ['application/pdf', 'URL(', 'file', 'files.upload', 'Files('],
    'Documents with citations': ['mk_doc', '[^1]', 'citations'],
    'Extended thinking by budget': ['budget_tokens', 'maxthinktok', 'signature', 'chat.h'],
    'Adaptive thinking with effort': ["think='high'", 'adaptive', 'effort', 'Thinking'],
    'Prompt caching: automatic': ['cache=True', 'cache_control', 'chat.saved', 'cache_read_input_tokens'],
    'Prompt caching: explicit': ["ttl='1h'", 'mk_msg', 'sp='],
    'Prompt caching: why it missed': ['diagnostics', 'cache_miss_reason'],
    'Token counting': ['count_tokens', '.count(', 'tools=', 'sp='],
    'Batches': ['batches.create', 'Batch('],
    'Error handling': ['retry-after', 'max_wait', 'statuses', 'what to do'],
    'The async client': ['AsyncClient', 'AsyncChat', 'async for', 'gather'],
    'Choosing a model': ['models', 'find_model', 'model_info', 'max_input_tokens', 'lifecycle', 'retires_at', 'deprecated', 'tomorrow'],
    'Environment': ['ANTHROPIC_API_KEY', 'ANTHROPIC_BASE_URL', 'profile', 'proxy', 'http_client', 'bedrock', 'vertex', 'foundry'],
    'Server tools': ['search_conf', 'fetch_conf', 'code_execution', 'chat.h', 'chat.cost'],
    'Service tier, fast mode, metadata': ['service_tier', 'speed', 'metadata']}

def sections():
    "The cells under each heading"
    res, at = {}, None
    for page, kind, source in cells:
        if kind == 'markdown' and (m := re.match(r'## (.*)', source)): at = res.setdefault(m[1], [])
        elif at is not None: at.append((kind, source))
    return res

def test_the_card_has_three_pages(): assert [p.stem for p in pages] == ['00_card', '01_tokens', '02_running']

def test_every_entry_is_there_and_no_other(): assert set(sections()) == set(ENTRIES)

@pytest.mark.parametrize('entry', ENTRIES)
def test_an_entry_shows_what_it_should(entry):
    shown = sections()[entry]
    text = '\n'.join(s for _, s in shown)
    assert not [w for w in ENTRIES[entry] if w not in text]
    code = [s for kind, s in shown if kind == 'code' and not s.startswith('#|')]
    checks = re.findall(r'\bassert |test_eq\(|expect_fail\(', '\n'.join(code))
    assert len(code) >= 2 and checks, 'each entry is executed and asserted'

def test_both_ways_are_shown():
    "The SDK's clients and ours both appear in each entry that sends something"
    sdk = re.compile(r'messages\.(create|stream|count_tokens|batches)|models\.(list|retrieve)|anthropic\.Anthropic')
    ours = re.compile(r'\b(c|ours|chat|achat|counter|opus)\(|(Client|Chat)\(|\.count\(|Batch\(|c\.(use|result)')
    for entry, shown in sections().items():
        code = '\n'.join(s for kind, s in shown if kind == 'code')
        assert ours.search(code), entry
        assert sdk.search(code) or entry == 'Response fields', entry

# ---- everything that the card sends is what the API takes, by the SDK's own types

TEXT = dict(type='text', text='Be brief.', cache_control=dict(type='ephemeral', ttl='1h'))
SENT = {
    'text': dict(), 'system': dict(sp='Be brief.'), 'blocks': dict(sp=[TEXT]), 'stop': dict(stop=['5', '6']),
    'budget': dict(maxthinktok=2048), 'effort': dict(think='max'), 'cache': dict(cache=True),
    'diagnostics': dict(diagnostics=dict(previous_message_id='msg_1')), 'tools': dict(tools=TOOLS, tool_choice='sums'),
    'search': dict(tools=[search_conf(3, ['a.org'], user_location=dict(city='Oslo')), fetch_conf(2, citations=True)]),
    'code': dict(tools=[dict(type='code_execution_20250825', name='code_execution')]),
    'tier': dict(service_tier='standard_only', speed='fast', metadata=dict(user_id='u'), inference_geo='us'),
    'container': dict(container='container_1'), 'effort alone': dict(output_config=dict(effort='low'))}
PARTS = [PNG, URL('https://a.org/a.png'), mk_doc('A', 'T', 'C'), mk_doc(PDF), mk_doc(['a', 'b']), mk_doc(URL('https://a.org/a.pdf'))]
PLAIN = [PDF, URL('https://a.org/a.pdf'), mk_doc('A', citations=False)]

@both
@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('kw', SENT.values(), ids=SENT)
def test_requests_are_what_the_sdks_types_say(way, kw, stream):
    sb = Sandbox(['Hi', 'Hi'], models=FORCED)
    chat = way.Chat(MODEL, way.sdk(sb), hist=[mk_msg('Hi', cache=True, ttl='1h'), 'Hello'], **({'cache': True} if 'cache' in kw else {}))
    kw = {k: v for k, v in kw.items() if k != 'cache'}
    (way.read if stream else way.call)(chat, [*(PLAIN if stream else PARTS), 'What is this?'], **kw)
    body = next(r.body for r in sb.requests if r.path == '/v1/messages')
    assert body.get('stream', False) is stream
    check_request(body)

def test_settings_are_those_of_the_sdk():
    "Whatever `messages.create` takes can be given to a call"
    from inspect import signature
    takes = set(signature(anthropic.resources.Messages.create).parameters) - {'self'}
    named = dict(max_tokens='maxtok', system='sp', stop_sequences='stop', thinking='think', messages=None, model=None, stream=None)
    ours = {named.get(k, k) for k in takes} - {None}
    assert not ours - set(Settings.__annotations__)
