"""Recorded replies for the notebooks: `recorded()` replays them, `python recording.py` records all of them again.

Replies of a real model are kept in `recorded/cachy.jsonl`, by request. A request that is not there fails in tests, with
a word about recording; in Jupyter it is asked live, of Claude where there is a key, else of the embedded model."""
import json, os, re, shutil, subprocess, sys, tempfile
from pathlib import Path

import cachy.core, httpx2
from IPython.display import Markdown, display

from llmchat.local import address, alias, find_model_file
from llmchat.replies import register_display
from llmchat.sdk import anthropic, default_model, mk_cli

here = Path(__file__).parent
kept, about = here/'recorded', here/'recorded'/'about.json'
placeholder = 'recorded' # Stands for a key where only recordings are read
key = os.environ.get('ANTHROPIC_API_KEY')

# llama.cpp gives random ids; they are told apart by their place in the reply, and count for nothing in a request.
cachy.core.resp_norm_pats.append((re.compile(r'(?<="id":")(chatcmpl-|msg_)?\w{24,}'), lambda m: f"{m[1] or 'toolu_'}{m.start():05}"))
cachy.core.norm_pats.append((re.compile(r'"(id|tool_use_id)": "[\w-]{6,}"'), r'"\1": "ID"'))


class NotRecorded(anthropic.AnthropicError):
    "A request without a recorded reply"


def said(what): print(f'Not recorded: {what}', file=sys.stderr)

def home(told): return address if told['model'] == 'local' else 'https://api.anthropic.com'

def asks_recorded(request, told):
    "Is this a request to the model that was recorded? Others, such as those of a Sandbox, go their own way"
    if request.url.host != httpx2.URL(home(told)).host: return False
    if request.method == 'GET': return request.url.path.endswith('/' + told['model'])
    return json.loads(request.content)['model'] == told['model']

def live(request):
    "Where a request without a recording goes: a client of the SDK (None: the one that has it), and the request for it"
    if os.environ.get('LLMCHAT_RECORD') or not asks_recorded(request, json.loads(about.read_text())): return None, request
    body = request.content.decode()
    if os.environ.get('IN_TEST') or os.environ.get('CI'):
        raise NotRecorded(f'There is no recorded reply to this request; `make record` records all again. {body[:500]}')
    model = default_model() if key else 'local'
    cli = mk_cli(model, request.headers.get('x-stainless-async', 'false') != 'false')
    said(f'asked {model}' if key else f'asked the embedded model {alias(find_model_file())}')
    headers = {k: v for k, v in request.headers.items() if k not in ('host', 'content-length', 'authorization')}
    url = cli.base_url.copy_with(raw_path=request.url.raw_path)
    return cli, httpx2.Request(request.method, url, headers=headers | cli.auth_headers,
        content=json.dumps(json.loads(body) | dict(model=model)) if body else None, extensions=request.extensions)

def patch_sends():
    "Under cachy: what it does not know goes where `live` says"
    send, asend = httpx2.Client.send, httpx2.AsyncClient.send
    def sync_send(self, request, **kw):
        cli, request = live(request)
        return send(cli._client if cli else self, request, **kw)
    async def async_send(self, request, **kw):
        cli, request = live(request)
        return await asend(cli._client if cli else self, request, **kw)
    httpx2.Client.send, httpx2.AsyncClient.send = sync_send, async_send

def recorded():
    "Replay recorded replies from here on; the model that they were recorded with, to be used in lessons"
    register_display() # Several notebooks may be run in one process, each with a shell of its own
    told = json.loads(about.read_text())
    folder = kept
    if not (os.environ.get('IN_TEST') or os.environ.get('CI')):
        folder = Path(tempfile.mkdtemp())
        shutil.copy(kept/'cachy.jsonl', folder)
    if not hasattr(httpx2.Client, '_orig_send'): patch_sends()
    cachy.core.enable_cachy(folder, doms=(home(told),), hdrs=['content-type'])
    if told['model'] != 'local': os.environ.setdefault('ANTHROPIC_API_KEY', placeholder)
    display(Markdown(f"*The replies on this page were given by **{told['answers']}** and recorded.*"))
    return told['model']

def record():
    "Record all notebooks again, live and one after the other, then replay them to store what comes out"
    model = default_model() if key else 'local'
    answers = model if key else alias(find_model_file())
    kept.mkdir(exist_ok=True)
    (kept/'cachy.jsonl').write_text('')
    about.write_text(json.dumps(dict(model=model, answers=answers)) + '\n')
    nbs = sorted(nb for nb in here.glob('*.ipynb') if 'recorded()' in nb.read_text())
    for env in dict(LLMCHAT_RECORD='1'), {}:
        for nb in nbs:
            print(nb.name, 'recording' if env else 'replaying', flush=True)
            subprocess.run(['nbdev-test', '--save', str(nb)], check=True, env=os.environ | env, cwd=here.parent)
    subprocess.run(['nbdev-clean'], check=True, cwd=here.parent)

if __name__ == '__main__': record()
