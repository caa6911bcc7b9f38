"Exchanges with the real API, recorded elsewhere: what is read of their replies, and what can follow them"
import gzip, json, os
from pathlib import Path

import anthropic, pytest
from common import MODEL, root
from llmchat import mk_msg, mk_msgs
from llmchat.protocol.requests import mk_request
from llmchat.protocol.history import sendable
from llmchat.protocol.limits import versions
from llmchat.sandbox.models import as_of, known_models, mk_model
from llmchat.protocol.events import Builder, Decoder
from llmchat.sandbox.validation import refused

EXCHANGES = Path(os.environ.get('LLMCHAT_EXCHANGES', root.parent/'shared/data/api-exchanges.jsonl.gz'))
exchanges = [json.loads(l) for l in gzip.open(EXCHANGES, 'rt')] if EXCHANGES.exists() else []
replied = [(i, e) for i, e in enumerate(exchanges) if e['status'] == 200 and 'count_tokens' not in e['path']]
pytestmark = pytest.mark.skipif(not exchanges, reason=f'no {EXCHANGES.name}')

def reply_of(e):
    "The SDK's message of an exchange"
    if isinstance(e['reply'], dict): return anthropic.types.Message.construct(**e['reply'])
    b = Builder()
    for ev in Decoder().feed(e['reply'].encode()): b.add(ev)
    return anthropic.types.Message.construct(**b.msg)

def accepted(e, msgs, **kw):
    "What the sandbox says to a request that goes on from a history, with the tools of an exchange; None: it takes it"
    body = json.loads(json.dumps(mk_request(MODEL, msgs, **kw))) | {k: v for k, v in e['request'].items() if k == 'tools'}
    return refused(body, mk_model(MODEL), {'x-api-key': 'k', 'anthropic-version': versions[-1], 'anthropic-beta': 'all'})

def followed(e, n=None):
    "Histories in which a recorded reply, or its first `n` blocks, is followed by its results, by a prompt, and by both"
    r = reply_of(e)
    r.content = r.content[:n]
    reply = mk_msg(r)
    h = mk_msgs(e['request']['messages']) + ([reply] if reply['content'] else [])
    results = [dict(type='tool_result', tool_use_id=b['id'], content='ok') for b in reply['content'] if b['type'] == 'tool_use']
    yield [*h, mk_msg([*results, 'And?'])]
    if results: yield [*h, mk_msg(results)]
    if results: yield [*h, mk_msg(results), mk_msg('So.', 'assistant'), mk_msg('And?')]

def test_no_history_is_refused():
    "Whatever a reply held, and whether its container still lives or not, the conversation goes on"
    found = [(i, no.message) for i, e in replied for h in followed(e) for kw in ({}, dict(container='c1'))
        if (no := accepted(e, h, **kw))]
    assert not found and len(replied) > 400

def test_what_the_api_took_is_sent_as_it_is():
    "Nothing is left out of a request that the API has accepted: open calls before results, fields, blocks"
    took = [(i, e['request']) for i, e in enumerate(exchanges) if e['status'] == 200]
    assert [i for i, r in took if sendable(r['messages'], bool(r.get('container'))) != r['messages']] == []

def test_cut_after_any_block():
    "A reply that ends after any of its blocks leaves a history that can be gone on with"
    cut = [(i, e, n) for i, e in replied for n in range(1, len(reply_of(e).content))]
    assert [(i, n, no.message) for i, e, n in cut for h in followed(e, n) if (no := accepted(e, h))] == []
    assert len(cut) > 300

# ---- what the API took, and what it refused

def judged(e):
    "What the sandbox says to a recorded request, on a day when its model was there"
    model = known_models().get(e['request']['model'])
    day = min(versions[-1], (model or {}).get('retires_at') or versions[-1])[:10]
    headers = {'x-api-key': 'k', 'anthropic-version': e['version']}
    if e['beta'] or 'beta=true' in e['path']: headers['anthropic-beta'] = e['beta'] or 'all'
    return refused(e['request'], model and as_of(model, day), headers, 0, 'count_tokens' in e['path'])

def test_what_the_api_took_is_taken():
    "But for `output_format`, which has become `output_config.format`: three requests of a beta that is over have it"
    no = [(i, found) for i, e in enumerate(exchanges) if e['status'] == 200 and (found := judged(e))]
    assert [i for i, _ in no] == [i for i, e in enumerate(exchanges) if 'output_format' in e['request']] and len(no) == 3
    assert {found.message for _, found in no} == {'output_format: Extra inputs are not permitted'}

def test_what_the_api_refused_is_refused_in_its_words():
    refusals = [e for e in exchanges if e['status'] != 200]
    for e in refusals:
        error = e['reply']['error']
        assert judged(e) == (e['status'], error['type'], error['message'])
    assert len(refusals) == 3

def test_replies_name_the_model_that_an_alias_points_to():
    "As in the exchanges, but for two of the earliest"
    other = [(e['request']['model'], reply_of(e).model) for _, e in replied]
    known = known_models()
    assert [(m, r) for m, r in other if known[m]['id'] != r] == [('claude-3-5-haiku-latest',) * 2] * 2
