"Requests with tools hold the same bytes as the SDK would send, on every way they can take"
import asyncio, json

import anthropic, httpx2, pytest

from common import MODEL, TOOLS, USAGE
from llmchat import AsyncChat, Chat, mk_tool, search_conf

REPLY = dict(id='msg_01', type='message', role='assistant', model=MODEL, content=[dict(type='text', text='Hello!')],
    stop_reason='end_turn', stop_sequence=None, usage=USAGE)
SCHEMAS = [mk_tool(t).schema for t in TOOLS]
ASK = dict(max_tokens=4096, messages=[dict(role='user', content='Grüß dich \u2028 "ä"\n')], model=MODEL)

def answering(sent):
    def answer(request):
        if request.method == 'GET': return httpx2.Response(404)
        sent.append(request.content)
        return httpx2.Response(200, json=REPLY)
    return httpx2.MockTransport(answer)

def sync_client(sent, **kw):
    return anthropic.Anthropic(api_key='none', http_client=httpx2.Client(transport=answering(sent)), **kw)

def async_client(sent): return anthropic.AsyncAnthropic(api_key='none',
    http_client=httpx2.AsyncClient(transport=answering(sent)))

@pytest.mark.parametrize('tools', [TOOLS, [*TOOLS, search_conf()], []], ids=['functions', 'with a dict', 'none'])
@pytest.mark.parametrize('temp', [None, 0.5])
def test_bytes_are_those_of_the_sdk(tools, temp):
    sent = []
    extra = {} if temp is None else dict(extra_body=dict(temperature=temp))
    schemas = dict(tools=[mk_tool(t).schema for t in tools]) if tools else {}
    sync_client(sent).messages.create(**ASK, **schemas, **extra)
    text = ASK['messages'][0]['content']
    Chat(MODEL, sync_client(sent), tools=tools, temp=temp)(text)
    asyncio.run(one_turn(AsyncChat(MODEL, async_client(sent), tools=tools, temp=temp), text))
    assert sent[0] == sent[1] == sent[2]

async def one_turn(chat, text): return await chat(text)

def test_every_turn_and_every_attempt_has_its_tools():
    sent = []
    def answer(request):
        sent.append(json.loads(request.content))
        return httpx2.Response(200, json=REPLY) if len(sent) % 2 else httpx2.Response(529, headers={'retry-after-ms': '1'})
    cli = anthropic.Anthropic(api_key='none', http_client=httpx2.Client(transport=httpx2.MockTransport(answer)))
    chat = Chat(MODEL, cli, tools=TOOLS)
    for _ in range(3): chat('Hi')
    assert len(sent) == 5 and all(body['tools'] == SCHEMAS for body in sent)

def test_what_only_the_sdk_can_encode_is_encoded_by_it():
    from datetime import date
    sent = []
    Chat(MODEL, sync_client(sent), tools=TOOLS)('Hi', extra_body=dict(when=date(2026, 11, 25)))
    assert (body := json.loads(sent[0]))['when'] == '2026-11-25' and body['tools'] == SCHEMAS

def test_clients_with_requests_of_their_own_make_them_themselves():
    sent = []
    class Own(anthropic.Anthropic):
        def _prepare_options(self, options):
            options.json_data = {**options.json_data, 'mine': 1}
            return options
    cli = Own(api_key='none', http_client=httpx2.Client(transport=answering(sent)))
    Chat(MODEL, cli, tools=TOOLS)('Hi')
    assert (body := json.loads(sent[0]))['mine'] == 1 and body['tools'] == SCHEMAS
