"""Recorded replies for the notebooks: `recorded()` replays them, `python recording.py` records all of them again.

Replies of a real model are kept in `recorded/cachy.jsonl`, by request; `recorded/about.json` tells who gave them, and
where. A page names that model in a line of its own, `model = '…'`. A request that is not there fails in tests, with a
word about recording; in Jupyter it is sent to the model that it names. Requests to other models go their own way."""
import json, os, re, shutil, subprocess, sys, tempfile
from pathlib import Path

import cachy.core, httpx2
from IPython.display import Markdown, display

from llmchat.local import address, alias, find_model_file
from llmchat.display.notebook import register_display
from llmchat.sdk.lazy import anthropic, default_model
from llmchat.sdk.clients import mk_cli

here = Path(__file__).parent
kept = here/'recorded'
own = {k: os.environ.get(f'ANTHROPIC_{k.upper()}') for k in ('api_key', 'auth_token', 'base_url')} # What the reader has
key = own['api_key'] or own['auth_token']
placeholder = 'recorded' # Stands for a key where only recordings are read
asking = '/v1/messages', '/v1/messages/count_tokens'

# llama.cpp gives random ids; they are told apart by their place in the reply, and count for nothing in a request.
cachy.core.resp_norm_pats.append((re.compile(r'(?<="id":")(chatcmpl-|msg_)?\w{24,}'), lambda m: f"{m[1] or 'toolu_'}{m.start():05}"))
cachy.core.norm_pats.append((re.compile(r'"(id|tool_use_id)": "[\w-]{6,}"'), r'"\1": "ID"'))


class NotRecorded(anthropic.AnthropicError):
    "A request without a recorded reply"

# ---- What is worth keeping

def lasting(status, recordable=cachy.core._recordable):
    "Will a reply with this status be the same next time? One to a wrong key will not"
    return status not in (401, 403) and recordable(status)

def write_whole(key, content, *args, write=cachy.core._write_cache, **kw):
    "Keep a reply, unless it is a stream that an error has ended"
    if not content.startswith('event: error') and '\nevent: error' not in content: write(key, content, *args, **kw)

cachy.core._recordable, cachy.core._write_cache = lasting, write_whole

# ---- Where a request goes

def about(folder=None):
    "Who gave the recorded replies (`answers`), as which `model`, at which `address`"
    return json.loads(((folder or kept)/'about.json').read_text())

def recording():
    "The folder to record into; None: nothing is recorded"
    return Path(f) if (f := os.environ.get('LLMCHAT_RECORD')) else None

def asks_recorded(client, request):
    "Is this a request to the model that was recorded? Others, such as those of a Sandbox, go their own way"
    told = about(recording())
    if isinstance(client._transport, httpx2.MockTransport): return False
    if request.url.netloc != httpx2.URL(told['address']).netloc: return False
    if request.method == 'GET': return request.url.path == f"/v1/models/{told['model']}"
    return request.url.path in asking and json.loads(request.content)['model'] == told['model']

alive = [] # Clients close their connections when they go

def live(client, request):
    "Where a request without a recorded reply goes: an HTTP client, and the request for it"
    told = about()
    if os.environ.get('IN_TEST') or os.environ.get('CI'):
        raise NotRecorded('There is no recorded reply to this request; `make record` records all again, and CONTRIBUTING.md '
            f"tells whom it asks. {request.method} {request.url.path} {request.content.decode()[:500]}")
    is_local = told['address'] == address
    if not (is_local or key): raise NotRecorded(f"There is no recorded reply to this request, and no key to ask {told['answers']}: "
        'set ANTHROPIC_API_KEY and begin again, or let the page name another model.')
    print(f"Not recorded: asked {told['answers']}", file=sys.stderr)
    if is_local: return client, request # Its transport finds the server
    alive.append(cli := mk_cli(told['model'], isinstance(client, httpx2.AsyncClient), **own))
    headers = {k: v for k, v in request.headers.items() if k not in ('host', 'content-length', 'authorization')}
    url = cli.base_url.copy_with(raw_path=cli.base_url.raw_path.rstrip(b'/') + request.url.raw_path)
    return cli._client, httpx2.Request(request.method, url, headers=headers | cli.auth_headers,
        content=request.content, extensions=request.extensions)

send, asend = httpx2.Client.send, httpx2.AsyncClient.send

def missed(self, request, **kw):
    client, request = (self, request) if recording() else live(self, request)
    return send(client, request, **kw)

async def amissed(self, request, **kw):
    client, request = (self, request) if recording() else live(self, request)
    return await asend(client, request, **kw)

def replay(folder):
    "From here on replies come from `folder`; pycachy sends what is not there to `missed` and `amissed`"
    httpx2.Client.send, httpx2.AsyncClient.send = missed, amissed
    cachy.core.enable_cachy(folder, doms=(about(recording())['address'],), hdrs=['content-type'])
    known, aknown = httpx2.Client.send, httpx2.AsyncClient.send
    def first(self, request, **kw): return (known if asks_recorded(self, request) else send)(self, request, **kw)
    def afirst(self, request, **kw): return (aknown if asks_recorded(self, request) else asend)(self, request, **kw)
    httpx2.Client.send, httpx2.AsyncClient.send = first, afirst

def recorded():
    "Replay recorded replies from here on, and show who gave them"
    register_display() # Several notebooks may be run in one process, each with a shell of its own
    told = about(recording())
    folder = recording() or kept
    if not (recording() or os.environ.get('IN_TEST') or os.environ.get('CI')): # What a reader tries changes no file
        folder = Path(tempfile.mkdtemp())
        shutil.copy(kept/'cachy.jsonl', folder)
    replay(folder)
    if told['address'] != address:
        os.environ['ANTHROPIC_BASE_URL'] = told['address']
        os.environ.setdefault('ANTHROPIC_API_KEY', placeholder)
    display(Markdown(f"*The replies on this page were given by **{told['answers']}** and recorded.*"))

# ---- Record

def whom():
    "Who is to answer"
    if key: return dict(model=(m := default_model()), answers=m, address=str(mk_cli(m).base_url).rstrip('/'))
    if not os.environ.get('LLMCHAT_LOCAL_MODEL'):
        sys.exit('Nobody to ask: set ANTHROPIC_API_KEY, or LLMCHAT_LOCAL_MODEL to the GGUF file that CONTRIBUTING.md names.')
    name = alias(find_model_file())
    return dict(model=f'local:{name}', answers=name, address=address)

def rename(nbs, old, new):
    "Let pages name the model `new` where they named `old`"
    for nb in nbs: nb.write_text(nb.read_text().replace(f'"model = {old!r}', f'"model = {new!r}'))

def run(nb, *args, **env):
    print(nb.name, 'recording' if env else 'replaying', flush=True)
    res = subprocess.run(['nbdev-test', *args, str(nb)], env=os.environ | env, cwd=here.parent)
    if res.returncode: sys.exit(f'{nb.name} failed; ' + ('the recordings are as they were' if env else 'see above'))

def record(*only):
    "Record all notebooks again, or what is new in some of them, live and one after the other; then replay them to store what comes out"
    told, nbs = whom(), [Path(name).resolve() for name in only]
    if nbs and about() != told: sys.exit(f"The replies were given by {about()['answers']}: record all, or ask the same.")
    nbs = nbs or sorted(nb for nb in here.rglob('*.ipynb') if 'recorded()' in nb.read_text())
    with tempfile.TemporaryDirectory() as tmp:
        new = Path(tmp)
        (new/'about.json').write_text(json.dumps(told) + '\n')
        shutil.copy(kept/'cachy.jsonl', new) if only else (new/'cachy.jsonl').touch()
        names = about()['model'], told['model']
        rename(nbs, *names)
        try:
            for nb in nbs: run(nb, '--cell-timeout', '0', LLMCHAT_RECORD=tmp) # a large model may take its time
        except BaseException: rename(nbs, *names[::-1]); raise
        kept.mkdir(exist_ok=True)
        for f in new.iterdir(): shutil.copy(f, kept)
    for nb in nbs: run(nb, '--save')
    subprocess.run(['nbdev-clean'], check=True, cwd=here.parent)

if __name__ == '__main__': record(*sys.argv[1:])
