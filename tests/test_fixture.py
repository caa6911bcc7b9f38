"The fixture `sandbox` and `Sandbox.patch`: whose requests end in a sandbox, and what that leaves behind"
import asyncio, os, subprocess, sys, tomllib
from importlib.util import find_spec
from pathlib import Path

import anthropic, httpx2, pytest

from llmchat import Chat
from llmchat.sandbox.server import Cut, Fail
from llmchat.sandbox import Sandbox
from warm import program

ROOT = Path(__file__).parents[1]
ASK = dict(model='claude-sonnet-5', max_tokens=100, messages=[dict(role='user', content='Hi')])

# ---- patch

early, aearly = anthropic.Anthropic(api_key='sk-early'), anthropic.AsyncAnthropic(api_key='sk-early')

def text(r): return r.content[0].text

def test_clients_made_before_and_after():
    with Sandbox(['a', 'b', 'c', 'd']).patch() as sb:
        assert text(early.messages.create(**ASK)) == 'a'
        assert text(anthropic.Anthropic().messages.create(**ASK)) == 'b'
        assert text(Chat()('Hi')) == 'c'
        assert text(anthropic.Anthropic(base_url='http://elsewhere.invalid').messages.create(**ASK)) == 'd'
    assert [r.body['messages'] for r in sb.requests if r.asks] == [ASK['messages']] * 4

def test_async_clients_and_streams():
    async def go():
        async with anthropic.AsyncAnthropic() as cli, cli.messages.stream(**ASK) as s: first = await s.get_final_text()
        async with aearly: return first, text(await aearly.messages.create(**ASK))
    with Sandbox(['a', 'b']).patch(): assert asyncio.run(go()) == ('a', 'b')

@pytest.mark.skipif(not find_spec('aiohttp'), reason='no aiohttp')
def test_clients_on_aiohttp():
    async def go():
        async with anthropic.AsyncAnthropic(http_client=anthropic.DefaultAioHttpClient()) as cli:
            async with cli.messages.stream(**ASK) as s: first = await s.get_final_text()
            return first, text(await cli.messages.create(**ASK))
    with Sandbox(['a', 'b']).patch(): assert asyncio.run(go()) == ('a', 'b')

def test_everything_is_as_it_was(monkeypatch):
    monkeypatch.delenv('ANTHROPIC_API_KEY', raising=False)
    before = httpx2.HTTPTransport.handle_request, httpx2.AsyncHTTPTransport.handle_async_request
    with pytest.raises(ZeroDivisionError), Sandbox().patch():
        assert os.environ['ANTHROPIC_API_KEY'] == 'sandbox'
        1/0
    assert (httpx2.HTTPTransport.handle_request, httpx2.AsyncHTTPTransport.handle_async_request) == before
    assert 'ANTHROPIC_API_KEY' not in os.environ

def test_other_requests_go_their_way():
    with Sandbox().patch() as sb:
        with pytest.raises(httpx2.ConnectError), httpx2.Client() as http: http.get('http://127.0.0.1:9/')
        async def go():
            async with httpx2.AsyncClient() as http: await http.get('http://127.0.0.1:9/')
        with pytest.raises(httpx2.ConnectError): asyncio.run(go())
    assert not sb.requests

def test_a_sandbox_in_a_sandbox():
    other = Sandbox('other').client()
    with Sandbox('outer').patch():
        with Sandbox('inner').patch(): assert text(early.messages.create(**ASK)) == 'inner'
        assert text(other.messages.create(**ASK)) == 'other'
        assert text(early.messages.create(**ASK)) == 'outer'

def test_retries_are_quick_unless_told(monkeypatch):
    slept = []
    monkeypatch.setattr('time.sleep', slept.append)
    with Sandbox(['Hi'], faults={1: 529, 2: 500}).patch() as sb:
        assert text(early.messages.create(**ASK)) == 'Hi' and len(sb.requests) == 3
        assert len(slept) == 2 and max(slept) < 0.01
        sb.replies = [Fail(429, headers={'retry-after': '7'}), 'Hi']
        with pytest.raises(anthropic.RateLimitError) as e: early.with_options(max_retries=0).messages.create(**ASK)
        assert e.value.response.headers['retry-after'] == '7' and 'retry-after-ms' not in e.value.response.headers

def test_replies_can_be_set():
    with Sandbox().patch() as sb:
        sb.replies = 'one'
        assert text(early.messages.create(**ASK)) == 'one' and not sb.replies
        sb.replies = lambda body: 'many'
        assert [text(early.messages.create(**ASK)) for _ in range(3)] == ['many'] * 3
        sb.faults = {5: Cut(events=3)}
        sb.replies = ['last']
        with early.messages.stream(**ASK) as s: assert s.get_final_message().stop_reason is None
        assert text(early.messages.create(**ASK)) == 'last'

# ---- fixture

def run(tmp_path, code, *args):
    (tmp_path/'test_app.py').write_text(code)
    env = {k: v for k, v in os.environ.items() if not k.startswith(('ANTHROPIC', 'LLMCHAT', 'PYTEST'))}
    env['PYTHONPATH'] = str(ROOT)
    return subprocess.run([program('pytest'), '-q', '-p', 'pytest_llmchat', '-p', 'no:cacheprovider', *args],
        cwd=tmp_path, env=env, capture_output=True, text=True)

APP = """
from anthropic import Anthropic

def greet(name):
    r = Anthropic().messages.create(model='claude-sonnet-5', max_tokens=99, messages=[dict(role='user', content=name)])
    return r.content[0].text
"""

def test_an_application_that_makes_its_own_client(tmp_path):
    res = run(tmp_path, APP + """
def test_greet(sandbox):
    sandbox.replies = ['Hello Jeremy']
    assert greet('Jeremy') == 'Hello Jeremy'
    assert sandbox.requests[0].body['messages'][0]['content'] == 'Jeremy'

def test_each_test_has_its_own(sandbox):
    assert not sandbox.requests and not sandbox.replies
""", '-W', 'error', '-W', 'ignore:Module already imported') # by the interpreter that is forked
    assert '2 passed' in res.stdout, res.stdout + res.stderr

def test_a_request_too_many_fails_the_test(tmp_path):
    res = run(tmp_path, APP + "\ndef test_greet(sandbox): greet('Jeremy')\n")
    assert '1 failed' in res.stdout and 'No reply left for call 1' in res.stdout

def test_listed_with_its_docstring(tmp_path):
    res = run(tmp_path, '', '--fixtures')
    assert 'sandbox -- ' in res.stdout and 'A Claude API inside the process' in res.stdout

def test_registered_and_light():
    entry = tomllib.loads((ROOT/'pyproject.toml').read_text())['project']['entry-points']['pytest11']
    assert entry == dict(pytest_llmchat='pytest_llmchat')
    code = f"""import sys, pytest
before = set(sys.modules)
import pytest_llmchat
assert set(sys.modules) - before == {{'pytest_llmchat'}}, set(sys.modules) - before"""
    subprocess.run([sys.executable, '-c', code], check=True, env=os.environ | dict(PYTHONPATH=str(ROOT)))
