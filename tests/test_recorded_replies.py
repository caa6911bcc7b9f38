"Recorded exchanges with the real API: every reply that the SDK reads is read, with no less in it than the SDK gives"
import gzip, json, os
from pathlib import Path

import anthropic, httpx2, pytest

from common import ASK, MODEL, Sync, both, recorded, root
from llmchat import contents
from llmchat.protocol.messages import mk_msg
from llmchat.protocol.events import Builder, Decoder

EXCHANGES = Path(os.environ.get('LLMCHAT_EXCHANGES', root.parent/'shared/data/api-exchanges.jsonl.gz'))
exchanges = [json.loads(l) for l in gzip.open(EXCHANGES, 'rt')] if EXCHANGES.exists() else []
exchanges += [dict(path='/v1/messages', status=r['status'], stream=r['stream'], source='claudette', request=r['request'],
    reply=r['response'] if r['stream'] else json.loads(r['response'])) for r in recorded]
pytestmark = pytest.mark.skipif(not exchanges, reason=f'no {EXCHANGES.name}')

def kept(of): return [e for e in exchanges if e['path'].partition('?')[0] == '/v1/messages' and of(e)]

def client(ex, way=Sync):
    "An SDK client whose every request gets the reply of an exchange"
    kind = 'text/event-stream' if ex['stream'] else 'application/json'
    data = ex['reply'].encode() if ex['stream'] else json.dumps(ex['reply']).encode()
    def answer(request): return httpx2.Response(ex['status'], headers={'content-type': kind}, content=data)
    async def answer_async(request): return answer(request)
    if way is Sync: return anthropic.Anthropic(api_key='k', max_retries=0, http_client=httpx2.Client(transport=httpx2.MockTransport(answer)))
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer_async))
    return anthropic.AsyncAnthropic(api_key='k', max_retries=0, http_client=http)

def by_sdk(ex):
    "What the SDK's own client makes of it, with all that it knows of betas"
    cli, kw = client(ex).beta.messages, dict(model=MODEL, max_tokens=9, messages=ASK)
    if not ex['stream']: return plain(cli.create(**kw))
    with cli.stream(**kw) as s: return plain(s.get_final_message())

def plain(o):
    "An object of the SDK as a dict, without what the API did not send"
    if hasattr(o, 'to_dict'): o = o.to_dict(warnings=False)
    if isinstance(o, dict): return {k: plain(v) for k, v in o.items() if k != 'parsed_output'}
    return [plain(x) for x in o] if isinstance(o, list) else o

def has(more, less):
    "Is all of `less` in `more`?"
    if isinstance(less, dict): return isinstance(more, dict) and all(has(more.get(k), v) for k, v in less.items())
    if isinstance(less, list): return isinstance(more, list) and len(more) == len(less) and all(map(has, more, less))
    return more == less

def test_all_are_read():
    assert len(kept(lambda e: True)) == len(exchanges) - sum('count_tokens' in e['path'] for e in exchanges)
    assert {e['status'] for e in exchanges} == {200, 400, 404} or len(exchanges) == 76

@both
def test_whole_replies(way):
    for ex in kept(lambda e: e['status'] == 200 and not e['stream']):
        r = way.call(way.Client(MODEL, client(ex, way)), 'x')
        assert has(plain(r), by_sdk(ex)) and has(plain(r)['content'], ex['reply']['content']), ex['reply']['id']
        assert isinstance(contents(r), str)
        sent = [{k: v for k, v in b.items() if (k, v) != ('caller', None)} for b in ex['reply']['content'] if b['type'] != 'text']
        assert [b for b in mk_msg(r)['content'] if b['type'] != 'text'] == sent

@both
@pytest.mark.parametrize('kw', [{}, dict(events=True)], ids=['text', 'events'])
def test_streams(way, kw):
    for ex in kept(lambda e: e['status'] == 200 and e['stream']):
        s, pieces = way.read(way.Client(MODEL, client(ex, way)), 'x', **kw)
        assert has(plain(s.value), by_sdk(ex)), s.value.id
        if not kw: assert ''.join(pieces) == ''.join(b.text for b in s.value.content if b.type == 'text')
        assert isinstance(contents(s.value), str)

@pytest.mark.parametrize('ends', [b'\r\n', b'\r'])
def test_streams_with_other_line_ends_and_no_blank_line_at_the_end(ends):
    for ex in kept(lambda e: e['stream']):
        data, built = ex['reply'].encode(), []
        for raw, size in ((data, 10**9), (data.rstrip().replace(b'\n', ends), 97)):
            d, b = Decoder(), Builder()
            for i in range(0, len(raw), size):
                for ev in d.feed(raw[i:i + size]): b.add(ev)
            for ev in d.end(): b.add(ev)
            built.append(b)
        assert built[0].msg == built[1].msg and built[1].done

@both
def test_errors(way):
    for ex in kept(lambda e: e['status'] != 200):
        with pytest.raises(anthropic.APIStatusError) as ours: way.call(way.Client(MODEL, client(ex, way)), 'x')
        with pytest.raises(anthropic.APIStatusError) as theirs: by_sdk(ex)
        assert type(ours.value) is type(theirs.value) and ours.value.api_message == theirs.value.api_message

@both
def test_counts(way):
    counts = [e for e in exchanges if 'count_tokens' in e['path'] and e['status'] == 200]
    for ex in counts: assert way.call(way.Client(MODEL, client(ex, way)).count, 'x') == ex['reply']['input_tokens']
