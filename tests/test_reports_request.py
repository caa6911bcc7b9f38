"What a history keeps and its requests leave out: open server calls, fields of replies, containers, breakpoints"
from copy import deepcopy

import pytest
from common import MODEL, both
from llmchat import Chat, Client, Sandbox, mk_msg, mk_msgs
from llmchat.requests import mk_request, sendable
from llmchat.sandbox import tool_use

def f(n: int = 0) -> str:
    "A tool"
    return 'ok'

def text(s, **kw): return dict(type='text', text=s, **kw)
def called(id, name='web_search', **kw): return dict(type='server_tool_use', id=id, name=name, input={}, **kw)
def mcp(id): return dict(type='mcp_tool_use', id=id, name='look', server_name='x', input={})
def found(id): return dict(type='web_search_tool_result', tool_use_id=id, content=[])
def said(*content): return dict(role='assistant', content=list(content))
def given(*ids): return mk_msg([dict(type='tool_result', tool_use_id=i, content='ok') for i in ids])
def by(id): return dict(caller=dict(type='code_execution_20260120', tool_id=id))
def call(id, **kw): return dict(type='tool_use', id=id, name='f', input={}, **kw)

THOUGHT = dict(type='thinking', thinking='Hm.', signature='c2ln')

# ---- cache breakpoints

MARK = dict(cache_control=dict(type='ephemeral'))

def marks(req):
    "Where a request is marked"
    parts = [('tools', req.get('tools') or ()), ('system', req.get('system') or ())]
    parts += [(f'messages.{i}', m['content']) for i, m in enumerate(req['messages'])]
    found = [(at, j) for at, items in parts for j, b in enumerate(items) if isinstance(b, dict) and 'cache_control' in b]
    return found + [('own', 0)] * ('cache_control' in req)

@pytest.mark.parametrize('cache', [False, True])
@both
def test_marks_of_many_prompts(way, cache):
    "Five prompts with a breakpoint each: the newest ones are kept in the request, all of them in the history"
    sb = Sandbox(lambda body: 'ok')
    chat = way.Chat(MODEL, way.sdk(sb), cache=cache)
    for i in range(6): way.call(chat, mk_msg(f'Prompt {i}', cache=True))
    kept = [(f'messages.{i}', 0) for i in (0, 2, 4, 6, 8, 10)[2 + cache:]]
    assert marks(sb.requests[-1].body) == kept + [('own', 0)] * cache
    assert sum('cache_control' in b for m in chat.h[::2] for b in m['content']) == 6

@pytest.mark.parametrize('where', ['tools', 'system', 'both'])
def test_marks_of_tools_and_system(where):
    "Four marked tools or system blocks beside `cache=True`: the last two stay"
    tools = [dict(name=f'f{i}', input_schema=dict(type='object'), **MARK) for i in range(4)]
    sp = [text(f'Part {i}', **MARK) for i in range(4)]
    kw = dict(tools=dict(tools=tools), system=dict(sp=sp), both=dict(tools=tools, sp=sp))[where]
    sb, before = Sandbox(['ok'] * 3), deepcopy(kw)
    chat = Chat(MODEL, sb.client(), cache=True, **kw)
    for q in 'abc': chat(mk_msg(q, cache=True))
    at = 'tools' if where == 'tools' else 'system'
    assert marks(sb.requests[-1].body) == [(at, 2), (at, 3), ('messages.4', 0), ('own', 0)]
    assert kw == before

def test_marks_within_the_budget_stay():
    "Nothing is taken from a request that the API takes as it is, also of marks inside results and documents"
    sp = [text(f'Part {i}', **MARK) for i in range(4)]
    assert len(marks(mk_request('m', 'Hi', sp=sp))) == 4
    inner = [dict(type='tool_result', tool_use_id=f't{i}', content=[text('ok', **MARK)]) for i in range(5)]
    h = mk_msgs(['Go', said(*(call(f't{i}') for i in range(5))), dict(role='user', content=inner)])
    left = mk_request('m', h)['messages'][-1]['content']
    assert ['cache_control' in b['content'][0] for b in left] == [False, True, True, True, True]

def test_marks_of_equal_blocks():
    "The same block in several prompts is counted each time"
    block = text('Look', **MARK)
    h = mk_msgs([[block], 'ok'] * 5 + [[block]])
    assert marks(mk_request('m', h)) == [(f'messages.{i}', 0) for i in (4, 6, 8, 10)]
