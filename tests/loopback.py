"""A sandbox in a process of its own, on a loopback port, and a job that works with it: for tests that kill the job

`loopback.py serve ANSWER_SECONDS BATCH_SECONDS DRIP_SECONDS` prints its port; who asks for /end ends its batches;
`loopback.py work PORT FILE PROMPTS [PART]` does the job and prints what it took, as `work` does in a process that is forked.
"""
import json, resource, sys, time
from collections import Counter
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

MODEL, TEXT = 'claude-sonnet-5-5', 'What is the capital of country number {}? Response with its name only.'

# ---- the server

def serve(answer_secs, batch_secs, drip_secs):
    "Serve a sandbox: a batch is answered late, takes a while, and its results come slowly"
    import httpx2
    from llmchat import Sandbox
    from llmchat.sandbox.clock import RealClock
    asked, lock = Counter(), Lock()
    def reply(body):
        asked[body['messages'][0]['content']] += 1
        return 'The city of ' + body['messages'][0]['content'][33:40]
    sb = Sandbox(reply, clock=RealClock())
    sb.batch_seconds = batch_secs

    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'
        def log_message(self, *args): pass
        def do_GET(self):
            if self.path == '/asked':
                for b in (b for b in sb.state['batches'].values() if b and b.lines is None):
                    for o in b.held: reply(json.loads(o.params))
                made = len(sb.state['batches'])
                said = dict(n=len(asked), most=max(asked.values()), batches=made)
                return self.send(200, {}, [json.dumps(said).encode()])
            if self.path == '/end':
                with lock:
                    sb.batch_seconds = 0
                    for b in filter(None, sb.state['batches'].values()): b.seconds = 0
                return self.send(200, {}, [])
            self.handle_it()
        do_DELETE = lambda self: self.handle_it()
        def do_POST(self):
            self.handle_it(self.rfile.read(int(self.headers['content-length'])), answer_secs)
        def handle_it(self, body=None, wait=0):
            url = f"http://{self.headers['host']}{self.path}"
            request = httpx2.Request(self.command, url, headers=dict(self.headers), content=body)
            with lock: r = sb.handle(request)
            time.sleep(wait)
            head = {k: v for k, v in r.headers.items() if k in ('content-type', 'request-id')}
            many = r.headers.get('content-type') == 'application/x-jsonl'
            self.send(r.status_code, head, r.iter_raw() if many else [r.content])
        def send(self, status, head, chunks):
            try:
                self.send_response(status)
                for k, v in (head | {'transfer-encoding': 'chunked'}).items(): self.send_header(k, v)
                self.end_headers()
                for c in filter(None, chunks):
                    self.wfile.write(b'%x\r\n%s\r\n' % (len(c), c))
                    if status == 200 and head.get('content-type') == 'application/x-jsonl': time.sleep(drip_secs)
                self.wfile.write(b'0\r\n\r\n')
            except OSError: self.close_connection = True # the client was killed

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()

# ---- the job

class Prompts:
    "Many prompts that are made as they are asked for"
    def __init__(self, n): self.n = n
    def __iter__(self): return (TEXT.format(i) for i in range(self.n))

def work(port, path, n, part=None, to=None):
    "Do the job, or go on with it; print what it took, or write it to a file"
    import anthropic
    from llmchat.batch import jobfile as jobs
    from llmchat.batch import Batch
    jobs.max_requests = part or jobs.max_requests
    cli = anthropic.Anthropic(api_key='k', base_url=f'http://127.0.0.1:{port}')
    wall, cpu = time.perf_counter(), time.process_time()
    b = Batch(MODEL, Prompts(n), path, cli=cli, settle=1, sleep=lambda secs: time.sleep(min(secs, .1)), maxtok=100)
    b.run()
    done = dict(counts=b.counts, wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)
    mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == 'linux' else 1024**2)
    with open(to, 'w') if to else nullcontext() as f: print(json.dumps(done | dict(mb=mb)), file=f, flush=True)

if __name__ == '__main__':
    if sys.argv[1] == 'serve': serve(*map(float, sys.argv[2:]))
    else: work(int(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
