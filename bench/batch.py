"""What 100,000 prompts take: `python bench/batch.py [PROMPTS]`

The job runs in a process of its own, whose peak memory is measured; the API is a sandbox in another one, on loopback.
"""
import gc, json, os, subprocess, sys, tempfile
from pathlib import Path
from time import process_time

import anthropic, httpx2

root = Path(__file__).parents[1]
sys.path.insert(0, str(root/'tests'))

from llmchat.batch import jobfile as jobs
from llmchat.batch import Batch

N = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000


def start(*args):
    env = os.environ | dict(PYTHONPATH=os.pathsep.join([str(root), os.environ.get('PYTHONPATH', '')]))
    args = sys.executable, root/'tests/loopback.py', *map(str, args)
    return subprocess.Popen(args, stdout=subprocess.PIPE, env=env, text=True)


def whole_job(folder):
    "A job from its prompts to its results"
    server = start('serve', 0, 1, 0)
    try:
        port = server.stdout.readline().strip()
        out, _ = start('work', port, folder/'job.jsonl', N).communicate()
        asked = json.loads(httpx2.get(f'http://127.0.0.1:{port}/asked', timeout=60).content)
    finally:
        server.kill()
        server.communicate()
    took = json.loads(out)
    assert took['counts']['succeeded'] == asked['n'] == N and asked['most'] == 1
    return took


def results_file(job):
    "What the API sends as results of that job, and a client that gets it"
    data = b''.join(l for l in job.path.open('rb') if b'","result":{"type"' in l[:80])
    meta = dict(id='b', type='message_batch', processing_status='ended', results_url='https://api.anthropic.com/r',
        created_at='2026-01-01T00:00:00Z', expires_at='2026-01-02T00:00:00Z',
        request_counts=dict(processing=0, succeeded=N, errored=0, canceled=0, expired=0))
    pieces = [data[i:i+65536] for i in range(0, len(data), 65536)]
    def answer(request):
        if request.url.path != '/r': return httpx2.Response(200, json=meta)
        return httpx2.Response(200, headers={'content-type': 'application/x-jsonl'}, content=iter(pieces))
    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return data, anthropic.Anthropic(api_key='k', http_client=http)


def timed(f):
    gc.collect()
    began = process_time()
    n = f()
    assert n == N, n
    return process_time() - began


def by_sdk(cli): return sum(bool(o.result.message.content[0].text) for o in cli.messages.batches.results('b'))


def by_us(job, cli, folder):
    "Fetch into a job that waits for them, and read every text"
    raw = job.path.read_bytes()
    begun, _, _ = raw[:raw.index(b'"batch":"')].rpartition(b'\n')
    (path := folder/'waiting.jsonl').write_bytes(begun + b'\n{"part":0,"batch":"b"}\n')
    b = Batch.load(path, cli=cli, progress=False)
    return lambda: sum(bool(r.text) for r in b.run().results())


def main():
    with tempfile.TemporaryDirectory() as tmp:
        took = whole_job(folder := Path(tmp))
        print(f'{N:,} prompts: our part {took["cpu"]:.1f} s of CPU (at most 60), {took["wall"]:.1f} s with the sandbox;')
        print(f'  peak memory {took["mb"]:.0f} MB (at most 300)')
        job = jobs.Job(folder/'job.jsonl')
        data, cli = results_file(job)
        sdk, us = timed(lambda: by_sdk(cli)), timed(by_us(job, cli, folder))
        print(f'results, {len(data) / 1e6:.0f} MB: {us:.2f} s of CPU to fetch, store and read every text;')
        print(f'  the SDK, without storing: {sdk:.2f} s; {sdk / us:.1f} times as fast (at least 3)')
        small = took['cpu'] < 60 and took['mb'] < 300 and sdk / us >= 3
    sys.exit(not small)


if __name__ == '__main__': main()
