"The arrows of the house: which folder of the package may import which, and in which order a folder is read."
import ast, json, re
from graphlib import TopologicalSorter
from pathlib import Path

import anthropic, pytest

from llmchat.sdk.private import gone, private

root = Path(__file__).parent.parent
floors = [['cli'], ['batch', 'files', 'local'], ['asink'], ['toolloop'], ['core'], ['editor', 'display'], ['engine'],
    ['protocol'], ['sdk']]
allowed = {room: {r for below in floors[i+1:] for r in below} for i,floor in enumerate(floors) for room in floor}
allowed |= {'sandbox': {'protocol', 'sdk'}}

# Pairs of a module and a room that are meant, each with the reason.
by_name = {('engine.loading', 'sandbox'), # Saved chats are judged by the API's rules, which need `protocol` and `sdk` alone
    ('sdk.clients', 'local')} # The module that answers for 'local', looked up when such a client is made

def module(path): return '.'.join(path.relative_to(root/'llmchat').with_suffix('').parts).removesuffix('__init__').rstrip('.')
modules = {module(p): p for p in (root/'llmchat').rglob('*.py') if p.name != '_modidx.py'}
def room(name): return name.partition('.')[0]


def named(node, name):
    "The full names that the statement `node` of the module `name` imports"
    here = ['llmchat', *name.split('.')][:None if modules[name].name == '__init__.py' else -1]
    if isinstance(node, ast.Import): return [a.name for a in node.names]
    if isinstance(node, ast.ImportFrom):
        base = [*here[:len(here) + 1 - node.level], node.module or ''] if node.level else [node.module]
        return ['.'.join(filter(None, [*base, a.name])) for a in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith('import_module'):
        return [a.value for a in node.args if isinstance(a, ast.Constant)]
    return []

def imported(name):
    "The modules of the package that `name` imports, in functions too; `from llmchat import …` is the package itself"
    for node in ast.walk(ast.parse(modules[name].read_text(encoding='utf-8'))):
        for full in named(node, name):
            top,*parts = full.split('.')
            if top != 'llmchat' or parts == ['__version__']: continue
            yield next(m for i in range(len(parts), -1, -1) if (m := '.'.join(parts[:i])) in modules)

arrows = {(name, other) for name in modules if name for other in imported(name)}

def notebooks():
    "For each module its notebook's folder and name, by which a folder is read"
    for p in (root/'nbs').rglob('*.ipynb'):
        code = '\n'.join(''.join(c['source']) for c in json.loads(p.read_text(encoding='utf-8'))['cells'])
        if m := re.search(r'^#\|\s*default_exp (\S+)', code, re.M): yield m[1], (p.parent, p.name)

order = dict(notebooks())

def wrong(name, other):
    "Does this import point up, or to a later notebook of the same folder?"
    if room(name) != room(other): return room(other) not in allowed[room(name)] and (name, room(other)) not in by_name
    return {name, other} <= order.keys() and order[name][0] == order[other][0] and order[name] < order[other]

def loads(name):
    "What Python loads for the modules that `name` imports: those and the packages around them"
    for other in (o for n,o in arrows if n == name and (n, room(o)) not in by_name):
        parts = other.split('.')
        yield from ('.'.join(parts[:i]) for i in range(1, len(parts) + 1) if not name.startswith('.'.join(parts[:i]) + '.'))

def test_every_module_has_a_room(): assert {room(n) for n in modules if n} == set(allowed)
def test_arrows_point_down(): assert {a for a in arrows if wrong(*a)} == set()
def test_there_is_no_circle(): list(TopologicalSorter({n: set(loads(n)) - {n} for n in modules}).static_order())

@pytest.mark.parametrize('arrow', sorted(by_name))
def test_what_is_meant_is_used(arrow): assert arrow in {(n, room(o)) for n,o in arrows}

def mentioned(name):
    "Attributes and strings of a module that may be private names; `a._b._c` in a string is two"
    for node in ast.walk(ast.parse(modules[name].read_text(encoding='utf-8'))):
        if isinstance(node, ast.Attribute): yield node.attr
        if isinstance(node, ast.Constant) and isinstance(node.value, str): yield from (node.value, *node.value.split('.'))
        if isinstance(node, ast.ImportFrom): yield node.module or ''

uses = {name: {m for m in mentioned(name) if re.search(r'(^|\.)_[a-z]', m)} for name in modules if name != 'sdk.private'}

def test_private_names_of_the_sdk_are_all_there(): assert gone() == []

def test_no_private_name_of_the_sdk_but_those_in_the_table():
    clis = anthropic.Anthropic(api_key='k'), anthropic.AsyncAnthropic(api_key='k')
    theirs = {k for c in clis for k in dir(c) if re.match('_[a-z]', k)}
    used = set().union(*uses.values())
    assert used & theirs <= {part for p in private for part in p.name.split('.')}
    assert {m for m in used if m.startswith('anthropic.')} <= {p.owner for p in private}

@pytest.mark.parametrize('p', private, ids=lambda p: p.name)
def test_private_name_is_used_where_the_table_says(p):
    for name in p.where.split(', '): assert p.name.split('.')[0] in modules[name].read_text(encoding='utf-8')

def functions(name):
    "The functions of a module that are no properties, with their docstrings"
    for node in ast.walk(ast.parse(modules[name].read_text(encoding='utf-8'))):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or not (doc := ast.get_docstring(node)): continue
        if not re.search('prop|setter', ' '.join(map(ast.unparse, node.decorator_list))): yield node.name, doc

def says_no_deed(doc):
    "Is a docstring neither one line that says what the function does nor a question?"
    return '\n' in doc or bool(re.match(r'(An?|The|What|Where|Why|All|Id|How)\b|`(\w+Error|LimitReached)`', doc)) and not doc.endswith('?')

def test_docstrings_of_functions_say_what_they_do():
    assert not [(name, f, doc) for name in modules for f,doc in functions(name) if says_no_deed(doc)]
    assert says_no_deed('The reply of a request') and not says_no_deed('Return the reply of a request') and not says_no_deed('Is it a reply?')
