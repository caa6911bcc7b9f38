"An API in memory for the benchmark: replies whole and streamed, and SDK clients that get them"
import asyncio, json

import anthropic, httpx2

MODEL = 'claude-sonnet-5-5'
ASK = dict(model=MODEL, max_tokens=4096)
HI = [dict(role='user', content='Hi')]
USAGE = dict(input_tokens=8, output_tokens=24, cache_creation_input_tokens=0, cache_read_input_tokens=0)
START = dict(id='msg_01', type='message', role='assistant', model=MODEL, content=[], stop_reason=None,
    stop_sequence=None, usage=USAGE)

def whole(text='Hello!'): return START | dict(content=[dict(type='text', text=text)], stop_reason='end_turn')

def sse(block, deltas):
    "The bytes of a streamed reply of one block, an event in each chunk"
    events = [dict(type='message_start', message=START), dict(type='content_block_start', index=0, content_block=block),
        *(dict(type='content_block_delta', index=0, delta=d) for d in deltas), dict(type='content_block_stop', index=0),
        dict(type='message_delta', delta=dict(stop_reason='end_turn', stop_sequence=None), usage=dict(output_tokens=9)),
        dict(type='message_stop')]
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]

def texts(n): return sse(dict(type='text', text=''), [dict(type='text_delta', text=f'word {i} ') for i in range(n)])

def tool_input(value):
    "A tool call whose input holds a value, in deltas of 20 characters"
    text = json.dumps(dict(value=value))
    pieces = [text[i:i + 20] for i in range(0, len(text), 20)]
    return sse(dict(type='tool_use', id='toolu_01', name='write', input={}),
        [dict(type='input_json_delta', partial_json=p) for p in pieces])

class Chunks(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, chunks): self.chunks = chunks
    def __iter__(self): yield from self.chunks
    async def __aiter__(self):
        for c in self.chunks: yield c

def answer(request, chunks=texts(1), reply=whole()):
    "What the API says; whether a stream is wanted stands behind the messages, which are not searched"
    if b'"stream":true' not in request.content[-300:]: return httpx2.Response(200, json=reply)
    return httpx2.Response(200, stream=Chunks(chunks), headers={'content-type': 'text/event-stream'})

def transport(chunks=texts(1)): return httpx2.MockTransport(lambda request: answer(request, chunks))

def sdk(chunks=texts(1)):
    return anthropic.Anthropic(api_key='none', http_client=httpx2.Client(transport=transport(chunks)))

def async_sdk(reply=whole(), ready=lambda: asyncio.sleep(0), chunks=texts(1)):
    "An async client whose replies come after a turn of the event loop, or when `ready()` is awaited"
    async def later(request):
        await ready()
        return answer(request, chunks, reply)
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(later))
    return anthropic.AsyncAnthropic(api_key='none', http_client=http)

def create(cli, **kw):
    "The call that others are compared with; of an async client, to be awaited"
    return cli.messages.create(**ASK, messages=HI, **kw)

def dialog(n):
    "A history of `n` messages, as plain data"
    question = lambda i: dict(role='user', content=f'Question number {i}, about the weather?')
    reply = lambda i: dict(role='assistant', content=[dict(type='text', text=f'Answer number {i}, it is sunny today.')])
    return [reply(i) if i % 2 else question(i) for i in range(n)]
