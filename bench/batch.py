"What 100,000 prompts as a batch take: the job in a process of its own, the API a sandbox in another one, on loopback"
import json, os, subprocess, sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import anthropic, httpx2
from llmchat.batch import Batch

root, prompts = Path(__file__).parents[1], 100_000
folder = TemporaryDirectory()
path = Path(folder.name)/'job.jsonl'

shell = 'sh', '-c', '"$@"; exit $?', 'sh' # A process inherits the most memory of the one that starts it: a small one

def start(*args, by=()):
    env = os.environ | dict(PYTHONPATH=os.pathsep.join([str(root), os.environ.get('PYTHONPATH', '')]))
    args = *by, sys.executable, root/'tests/loopback.py', *map(str, args)
    return subprocess.Popen(args, stdout=subprocess.PIPE, env=env, text=True)

@cache
def job():
    "A job from its prompts to its results: the CPU seconds and the most memory that it took"
    server = start('serve', 0, 1, 0)
    try:
        port = server.stdout.readline().strip()
        took = json.loads(start('work', port, path, prompts, by=shell).communicate()[0])
        asked = json.loads(httpx2.get(f'http://127.0.0.1:{port}/asked', timeout=60).content)
    finally:
        server.kill()
        server.communicate()
    assert took['counts']['succeeded'] == asked['n'] == prompts and asked['most'] == 1
    return took

def api():
    "An SDK client that gets the results of that job, as the API sends them"
    data = b''.join(l for l in path.open('rb') if b'","result":{"type"' in l[:80])
    pieces = [data[i:i+65536] for i in range(0, len(data), 65536)]
    meta = dict(id='b', type='message_batch', processing_status='ended', results_url='https://api.anthropic.com/r',
        created_at='2026-01-01T00:00:00Z', expires_at='2026-01-02T00:00:00Z',
        request_counts=dict(processing=0, succeeded=prompts, errored=0, canceled=0, expired=0))
    def answer(request):
        if request.url.path != '/r': return httpx2.Response(200, json=meta)
        return httpx2.Response(200, headers={'content-type': 'application/x-jsonl'}, content=iter(pieces))
    return anthropic.Anthropic(api_key='k', http_client=httpx2.Client(transport=httpx2.MockTransport(answer)))

def readers():
    "Functions that fetch the results and read every text; ours stores them, too, in a job that waits for them"
    job()
    cli, raw, waiting = api(), path.read_bytes(), path.with_name('waiting.jsonl')
    begun = raw[:raw.rindex(b'\n', 0, raw.index(b'"batch":"'))] + b'\n{"part":0,"batch":"b"}\n'
    def ours():
        waiting.write_bytes(begun)
        n = sum(bool(r.text) for r in Batch.load(waiting, cli=cli, progress=False).run().results())
        assert n == prompts
    def theirs():
        n = sum(bool(o.result.message.content[0].text) for o in cli.messages.batches.results('b'))
        assert n == prompts
    return dict(llmchat=ours, anthropic=theirs)
