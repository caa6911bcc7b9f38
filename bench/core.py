"""Speed against the SDK it stands on, as ratios measured in one run on an in-memory transport: `python bench/core.py`"""
import json, os, subprocess, sys
from functools import partial
from statistics import median
from time import process_time

import anthropic, httpx2
from llmchat import Client

MODEL = 'claude-sonnet-5-5'
USAGE = dict(input_tokens=8, output_tokens=24, cache_creation_input_tokens=0, cache_read_input_tokens=0)
START = dict(id='msg_01', type='message', role='assistant', model=MODEL, content=[], stop_reason=None,
    stop_sequence=None, usage=USAGE)
REPLY = START | dict(content=[dict(type='text', text='Hello!')], stop_reason='end_turn')


def sse(block, deltas):
    "The bytes of a streamed reply of one block, an event in each chunk"
    events = [dict(type='message_start', message=START), dict(type='content_block_start', index=0, content_block=block),
        *(dict(type='content_block_delta', index=0, delta=d) for d in deltas), dict(type='content_block_stop', index=0),
        dict(type='message_delta', delta=dict(stop_reason='end_turn', stop_sequence=None), usage=dict(output_tokens=9)),
        dict(type='message_stop')]
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]


def texts(n): return sse(dict(type='text', text=''), [dict(type='text_delta', text=f'word {i} ') for i in range(n)])


def tool_input(kb):
    "A tool call whose input has `kb` KB of JSON, in deltas of 20 characters"
    text = json.dumps(dict(text='x' * 1000 * kb))
    pieces = [text[i:i + 20] for i in range(0, len(text), 20)]
    return sse(dict(type='tool_use', id='toolu_01', name='write', input={}),
        [dict(type='input_json_delta', partial_json=p) for p in pieces])


class Body(httpx2.SyncByteStream):
    def __init__(self, chunks): self.chunks = chunks
    def __iter__(self): yield from self.chunks


def sdk_client(chunks=()):
    "An SDK client with a transport that answers from memory"
    def answer(request):
        if b'"stream":true' not in request.content: return httpx2.Response(200, json=REPLY)
        return httpx2.Response(200, stream=Body(chunks), headers={'content-type': 'text/event-stream'})
    return anthropic.Anthropic(api_key='none', http_client=httpx2.Client(transport=httpx2.MockTransport(answer)))


def times(*fs, n=5, reps=1, middle=median):
    "Typical CPU seconds of each of `fs`, taken in turns so that what else the machine does falls on all alike"
    res = [[] for _ in fs]
    for _ in range(n):
        for f, ts in zip(fs, res):
            t = process_time()
            for _ in range(reps): f()
            ts.append((process_time() - t) / reps)
    return [middle(ts) for ts in res]


def import_time(what):
    "Seconds of one import in a fresh interpreter, of modules that have been compiled before"
    code = f'import time; t = time.perf_counter(); import {what}; print(time.perf_counter() - t)'
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONDONTWRITEBYTECODE'}
    run = partial(subprocess.run, [sys.executable, '-c', code], capture_output=True, text=True, check=True, env=env)
    return min(float(run().stdout) for _ in range(2))


def by_sdk(cli):
    with cli.messages.stream(model=MODEL, max_tokens=4096, messages=[dict(role='user', content='Hi')]) as s:
        for _ in s.text_stream: pass
        return s.get_final_message()


def by_us(c):
    s = c('Hi', stream=True)
    for _ in s: pass
    return s.value


def streamed(chunks, n=5):
    cli = sdk_client(chunks)
    c = Client(MODEL, cli)
    assert by_us(c).content[0].to_dict() == by_sdk(cli).content[0].to_dict()
    return times(lambda: by_us(c), lambda: by_sdk(cli), n=n)


def row(what, ours, theirs, limit):
    print(f'{what:44} {ours*1e3:10.2f} {theirs*1e3:10.2f} {ours/theirs:8.3f} {limit:8}')


def main():
    print(f'{"milliseconds":44} {"llmchat":>10} {"SDK":>10} {"ratio":>8} {"at most":>8}')
    pairs = [(import_time('llmchat'), import_time('anthropic')) for _ in range(7)]
    row('import', *map(median, zip(*pairs)), 0.15)
    cli = sdk_client()
    c = Client(MODEL, cli)
    msgs = [dict(role='user', content='Hi')]
    create = lambda: cli.messages.create(model=MODEL, max_tokens=4096, messages=msgs)
    c('Hi'), create()
    row('one call', *times(lambda: c('Hi'), create, n=1001), 1.15)
    row('2,000 text deltas', *streamed(texts(2000)), 0.35)
    row('tool input of 400 KB, 20,000 deltas', *streamed(tool_input(400), n=3), 0.1)
    small, large = times(*(partial(by_us, Client(MODEL, sdk_client(tool_input(kb)))) for kb in (400, 1600)), middle=min)
    row('tool input, four times as long', large, small, 4.4)


if __name__ == '__main__': main()
