"Tools, values and types as people really give them: what others reported of such libraries, and its siblings"
import asyncio, dataclasses, functools, gc, io, itertools, json, sqlite3, threading, typing, weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Optional

import anyio, pytest, typing_extensions
from execnb.shell import CaptureShell
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, create_model

from common import FORCED, MODEL, PNG, both
from llmchat import AsyncChat, Batch, Chat, Client, ReplyError, Sandbox, ToolResult, mk_funcres, mk_tool
from llmchat.engine import tool_results
from llmchat.sandbox.server import Fail, mk_model, tool_use
from llmchat.protocol.schemas import schema_of
from test_structured import each, kinds
from llmchat.engine.tool_results import to_content
from test_tools import CALL, check_schema, either, giver

def run(f, **args): return mk_funcres(tool_use(mk_tool(f).name, **args) | dict(id='t'), [f])
def props(f): return mk_tool(f).schema['input_schema']['properties']

# ---- arguments

class Plain:
    "A point."
    def __init__(self,
        x: int, # How far right
        y: float = 0.0
    ): self.x, self.y = x, y
    def __repr__(self): return f'Plain({self.x}, {self.y})'

class Node:
    def __init__(self, v: int, kids: Iterable['Node'] = ()): self.v, self.kids = v, kids
    def __repr__(self): return f'Node({self.v}, {self.kids})'

class Old(typing.TypedDict):
    n: int
    note: typing.NotRequired[str] # Anything

class Nested(typing.TypedDict, total=False):
    old: Old

@dataclasses.dataclass
class Holds:
    "Holds things."
    at: Plain # Where
    old: Old
    limit: int = None # At most
    names: Iterable[str] = ()

@pytest.mark.parametrize('T,default,sent', [(int, None, None), (Literal['a', 'b'], '', ''), (list[str], None, None), (int, '', ''),
    (Literal['a'], False, False), (str, 0.5, 0.5), (str, [], [])])
def test_a_default_that_its_type_does_not_take_is_accepted(T, default, sent):
    def f(x=default): return [x]
    f.__annotations__ = dict(x=T)
    check_schema(mk_tool(f))
    assert props(f)['x']['default'] == default
    assert json.loads(run(f, x=sent)['content']) == [default] == json.loads(run(f)['content'])
    assert run(f, x=dict(no=1))['is_error']

@pytest.mark.parametrize('T,text,value', [(list[int], '[1, "2"]', [1, 2]), (dict[str, int], '{"a": 1}', dict(a=1)), (dict, '{}', {}),
    (Optional[list[str]], '["a"]', ['a']), (Plain, '{"x": 1}', 'Plain(1, 0.0)'), (list[Plain], ['{"x": 1}'], '[Plain(1, 0.0)]'),
    (dict[str, list[int]], dict(a='[1]'), dict(a=[1])), (str, '[1]', '[1]'), (list[str], '["[1]"]', ['[1]'])])
def test_json_text_is_read_where_a_list_or_an_object_is_wanted(T, text, value):
    def f(x): return x if isinstance(x, str) else repr(x)
    f.__annotations__ = dict(x=T)
    assert run(f, x=text)['content'] == (value if isinstance(value, str) else repr(value))

def test_json_text_that_does_not_fit_is_named():
    def f(x: list[int]): ...
    assert 'x.0: Input should be a valid integer' in run(f, x='["a"]')['content']
    assert 'x: Input should be a valid array (received "[1")' in run(f, x='[1')['content']

def test_all_arguments_as_one_json_text_are_read():
    def f(x: int): return x
    assert mk_funcres(dict(type='tool_use', id='t', name='f', input='{"x": 3}'), [f])['content'] == '3'

@pytest.mark.parametrize('T', [Iterable[str], typing.Iterable[str], Optional[Iterable[str]], Iterable])
def test_an_iterable_is_a_list(T):
    def f(x): return f'{type(x).__name__} {len(x)}'
    f.__annotations__ = dict(x=T)
    assert run(f, x=['a', 'b'])['content'] == 'list 2'
    if T is not Iterable: assert run(f, x=['a', {}])['is_error']

def test_the_default_gives_the_type():
    def f(a: int, b=3, c='x', d=True): return [a, b, c, d]
    assert [p['type'] for p in props(f).values()] == ['integer', 'integer', 'string', 'boolean']
    assert json.loads(run(f, a=1, b='4')['content']) == [1, 4, 'x', True] and run(f, a=1, b='four')['is_error']
    def g(a, b=None): ...
    with pytest.raises(TypeError, match="'a' has no type"): mk_tool(g)

@pytest.mark.parametrize('T,sent,says', [(Plain, dict(x='1'), 'Plain(1, 0.0)'), (list[Plain], [dict(x=1), dict(x=2, y=3)], '[Plain(1, 0.0), Plain(2, 3.0)]'),
    (Plain | None, None, 'None'), (dict[str, Plain], dict(a=dict(x=1)), "{'a': Plain(1, 0.0)}"),
    (Node, dict(v=1, kids=[dict(v=2, kids=[dict(v=3)])]), 'Node(1, [Node(2, [Node(3, ())])])'), (Old, dict(n='1'), "{'n': 1}"),
    (Nested, dict(old=dict(n=1, note='x')), "{'old': {'n': 1, 'note': 'x'}}"), (list[Old], [dict(n=1)], "[{'n': 1}]"),
    (Holds, dict(at=dict(x=1), old=dict(n=2), limit=None, names=['a']), "Holds(at=Plain(1, 0.0), old={'n': 2}, limit=None, names=['a'])")])
def test_classes_that_pydantic_does_not_know_are_read_by_their_constructor(T, sent, says):
    def f(x): return repr(x)
    f.__annotations__ = dict(x=T)
    check_schema(mk_tool(f))
    assert run(f, x=sent)['content'] == says
    assert run(f, x='far')['is_error']
    for model in (MODEL, 'old'):
        def reply(body):
            data = dict(value=sent) if 'properties' not in schema_of(T, 'T')[1] else sent
            return [tool_use(body['tool_choice']['name'], **data)] if 'tool_choice' in body else json.dumps(data)
        sb = Sandbox(reply, models=[mk_model(MODEL), mk_model('old', no='structured_outputs')])
        assert repr(Client(model, sb.client()).parse('Go', T)) == says

def test_what_a_constructor_raises_is_for_the_model():
    class Strict:
        def __init__(self, n: int):
            if n < 0: raise KeyError('below zero')
    def f(s: Strict): return 'ok'
    assert run(f, s=dict(n=1))['content'] == 'ok'
    res = run(f, s=dict(n=-1))
    assert res['is_error'] and "KeyError: 'below zero'" in res['content']
    with pytest.raises(ReplyError, match='below zero'): Client(MODEL, Sandbox(['{"n": -1}']).client()).parse('Go', Strict)

def odd(naïve: int): ...
Spaced = typing_extensions.TypedDict('Spaced', {'a b': int})
class Aliased(BaseModel): x: int = Field(alias='größe')

@pytest.mark.parametrize('f', [odd, Spaced, Aliased, dict(name='d', input_schema=dict(type='object', properties={'a b': {}}))],
    ids=['function', 'TypedDict', 'alias', 'schema'])
def test_parameters_that_the_api_refuses_by_name_are_refused_where_they_are_given(f):
    with pytest.raises(ValueError, match='1 to 64 letters'): mk_tool(f)
    with pytest.raises(ValueError, match='1 to 64 letters'): Chat(MODEL, Sandbox().client())('Hi', tools=[f])

# ---- what a type says of itself

@dataclasses.dataclass
class Item:
    "One thing that is bought."
    name: str # As on the label
    # In pieces,
    # not in boxes
    count: int = 1

class Buyer(BaseModel):
    "Who buys."
    name: str # First and last
    mail: str = Field(description='By field') # By comment

class Place(typing_extensions.TypedDict):
    "Where it goes."
    street: str # With number

class Size(NamedTuple):
    "How large."
    width: int # In mm

@dataclasses.dataclass
class Order(Item):
    "An order."
    buyer: Buyer | None = None # Whoever pays
    to: list[Place] = dataclasses.field(
        default_factory=list) # Every address
    size: Size = Size(1) # When packed
    spare: Item | None = None
    at: Plain = None # Where it lies

SAYS = ['An order.', 'One thing that is bought.', 'As on the label', 'In pieces,\nnot in boxes', 'Who buys.', 'First and last', 'By field', 'Whoever pays',
    'Where it goes.', 'With number', 'Every address', 'How large.', 'In mm', 'When packed', 'A point.', 'How far right', 'Where it lies']

def said(o):
    "All descriptions within a schema"
    if isinstance(o, dict) and isinstance(o.get('description'), str): yield o['description']
    for x in o.values() if isinstance(o, dict) else o if isinstance(o, list) else (): yield from said(x)

def test_what_a_type_says_reaches_the_model_by_every_door(tmp_path):
    def ship(order: Order): ...
    def ship_all(orders: list[Order]): ...
    sb = Sandbox(lambda body: [tool_use(body['tools'][0]['name'], name='x')] if 'tools' in body else '{"name": "x", "count": 1}',
        models=[mk_model(MODEL), mk_model('old', no='structured_outputs')])
    c = Client('old', sb.client())
    c.structured('Go', Order)
    c.parse('Go', Order)
    doors = [r.body['tools'] for r in sb.requests if 'tools' in (r.body or {})] + [mk_tool(f).schema for f in (ship, ship_all, Order)]
    for schema in doors:
        found = '\n'.join(said(schema))
        assert not [s for s in SAYS if s not in found], schema
        assert 'By comment' not in found

@dataclasses.dataclass
class Closed:
    "All of it."
    item: Item # What it is
    spare: Item | None = None # What else

def test_what_a_type_says_reaches_the_model_natively(tmp_path):
    "Also beside a reference, where the SDK drops it"
    sb = Sandbox(lambda body: '{"item": {"name": "x"}}')
    Client(MODEL, sb.client()).parse('Go', Closed)
    Batch(MODEL, ['Go'], tmp_path/'b.jsonl', T=Closed, cli=sb.client(), progress=False, sleep=sb.sleep, settle=20).run()
    native = [r.body['output_config'] for r in sb.requests if 'output_config' in (r.body or {})]
    batch = next(r.body['requests'][0]['params'] for r in sb.requests if 'requests' in (r.body or {}))
    assert len(native) == 1
    for schema in (native[0], batch['output_config']):
        found = '\n'.join(said(schema))
        assert not [s for s in ('All of it.', 'One thing', 'As on the label', 'item: What it is', 'What else') if s not in found], found

def test_classes_of_a_notebook_say_what_they_are():
    "Python itself finds no source for a class of a notebook; the newest cell that has it counts"
    sh = CaptureShell()
    cell = '''
from dataclasses import dataclass
from typing import NamedTuple
from llmchat import mk_tool
from llmchat.protocol.schemas import schema_of
@dataclass
class Order:
    "An order"
    item: str # {}
    count: int = 1 # How many
class Pair(NamedTuple):
    order: Order # The order
def f(order: Order): ...
'''
    sh.run(cell.format('Old words'))
    sh.run(cell.format('What is ordered'))
    sh.run('found = [str(s) for s in (mk_tool(Order).schema, mk_tool(f).schema, schema_of(list[Pair], "p")[1])]')
    for s in sh.user_ns['found']: assert 'What is ordered' in s and 'How many' in s and 'Old words' not in s
    assert 'The order' in sh.user_ns['found'][2]

class Bare(BaseModel): n: int
class BareTuple(NamedTuple): n: int
class BarePlain:
    def __init__(self, n: int): ...

def test_a_class_without_docstring_is_not_described_by_what_python_says_of_none():
    for T in (Bare, BareTuple, BarePlain): assert mk_tool(T).schema['description'] == T.__name__
    assert 'None singleton' not in str([schema_of(T, 'T')[1] for T in (Bare, list[BareTuple], BarePlain)])

# ---- parse

@dataclasses.dataclass
class Point:
    x: int
    y: int = 0

FENCED = 'Here:\n```json\n{"x": 1}\n```\nThat is it.'
FIT = [(['I will look.', '{"x": 1}'], Point(1)), (FENCED, Point(1)), (['{"x": 1}', 'or rather', '{"x": 2}'], Point(2)), (['{"x": 2}', 'That is all.'], Point(2)),
    (['{"x": 2}', '{"x": "far"}'], Point(2)), ('```\n{"x": 1}\n```\nno:\n```\n{"x": 2}\n```', Point(2)), ('{"x": 1, "y": "2"}', Point(1, 2)),
    (['{"x":', ' 3}'], Point(3))]

@both
@each
@pytest.mark.parametrize('reply,value', FIT)
def test_parse_takes_the_text_that_fits(way, kind, reply, value):
    c = kinds(way)[kind](Sandbox([reply]))
    assert way.call(c.parse, 'Where?', Point) == value

def test_a_part_of_a_cut_reply_is_not_taken_for_the_whole():
    T = dataclasses.make_dataclass('T', [('x', int, 0), ('more', list, dataclasses.field(default_factory=list))])
    cut = dict(content='{"more": [\n{"x": 1},\n', stop_reason='max_tokens')
    with pytest.raises(ReplyError, match='cut at `maxtok`'): Client(MODEL, Sandbox([cut]).client()).parse('Where?', T)

REFUSED = ['The compiled grammar is too large, which would cause performance issues. Simplify your tool schemas.',
    'Schemas contains too many optional parameters (30), which would make grammar compilation inefficient.', 'output_config: Extra inputs are not permitted']

@both
@each
@pytest.mark.parametrize('status,says', [*((400, s) for s in REFUSED), (422, REFUSED[-1])])
def test_a_schema_that_is_refused_is_asked_for_with_a_tool(way, kind, status, says):
    sb = Sandbox([Fail(status, says), [tool_use('Point', x='far')], [tool_use('Point', x=1)]], models=FORCED)
    c = kinds(way)[kind](sb)
    assert way.call(c.parse, 'Where?', Point, retries=1) == Point(1)
    bodies = [r.body for r in sb.requests if r.path == '/v1/messages']
    assert ['output_config' in b for b in bodies] == [True, False, False] # the second attempt knows
    assert bodies[1]['tool_choice'] == dict(type='tool', name='Point')

def test_what_is_refused_for_another_reason_is_not_asked_again():
    import anthropic
    sb = Sandbox([Fail(400, 'prompt is too long: 250000 tokens > 200000 maximum')])
    with pytest.raises(anthropic.BadRequestError, match='too long'): Client(MODEL, sb.client()).parse('Where?', Point)
    assert len([r for r in sb.requests if r.path == '/v1/messages']) == 1

# ---- batches

def test_one_refused_or_cut_reply_of_a_batch_is_the_error_of_its_row(tmp_path):
    "In the words of `parse`"
    replies = dict(a='{"x": 1}', b=dict(content=[], stop_reason='refusal'), c=dict(content='{"x":', stop_reason='max_tokens'), d='Words.', e=FENCED)
    sb = Sandbox(lambda body: replies[body['messages'][0]['content']])
    b = Batch(MODEL, {k: k for k in replies}, tmp_path/'b.jsonl', T=Point, cli=sb.client(), progress=False, sleep=sb.sleep, settle=20).run()
    assert b.answers() == [Point(1), None, None, None, Point(1)]
    errors = {r.id: r.error for r in b.results()}
    assert errors['a'] is None is errors['e']
    for k in 'bcd':
        with pytest.raises(ReplyError) as e: Client(MODEL, sb.client()).parse(k, Point)
        with pytest.raises(ReplyError) as mine: b[k]
        assert str(e.value) == str(mine.value) == errors[k]
    b.write(tmp_path/'b.csv')
    assert len((tmp_path/'b.csv').read_text().splitlines()) == 6

# ---- lazy results

def text(s): return dict(type='text', text=s)

def lazy(*parts, fail=None):
    "Ways to give parts one after the other"
    def generator():
        yield from parts
        if fail: raise fail
    async def agenerator():
        for p in parts: yield p
        if fail: raise fail
    class Aiter:
        def __init__(self): self.it = generator()
        def __aiter__(self): return self
        async def __anext__(self):
            for x in self.it: return x
            raise StopAsyncIteration
    async def later(): return generator()
    def mapped(): return map(lambda x: x, generator())
    def inner(): return agenerator()
    return [generator, agenerator, Aiter, later, mapped, inner, functools.partial(generator)]

@either
@pytest.mark.parametrize('i', range(7))
def test_lazy_results_are_read_within_the_call(i, run):
    def content(*parts, **kw):
        f = lazy(*parts, **kw)[i]
        if isinstance(f, type): f = giver(f())
        res = run({**CALL, 'name': mk_tool(f).name}, [f])
        return res['content'], res.get('is_error', False)
    assert content() == ('', False) and content('a') == ('a', False) and content(dict(n=1)) == ('{"n":1}', False)
    assert content('a', dict(n=1), None, 'b') == ([text('a'), text('{"n":1}'), text('b')], False)
    assert content('a', PNG)[0][1]['type'] == 'image' and content(['a'], ToolResult([1], 'json'))[0] == [text('["a"]'), text('[1]')]
    assert content('a', fail=KeyError('k')) == ("KeyError: 'k'", True)

@either
def test_lazy_results_without_an_end_do_end(run, monkeypatch):
    monkeypatch.setattr(tool_results, 'max_parts', 50)
    ended = []
    def forever():
        try: yield from itertools.count()
        finally: ended.append(1)
    async def aforever():
        try:
            while True: yield 'x'
        finally: ended.append(2)
    for f, last in ((forever, '49'), (aforever, 'x')):
        content = run({**CALL, 'name': f.__name__}, [f])['content']
        assert len(content) == 51 and content[49]['text'] == last and content[50]['text'] == '[cut: these are the first 50 parts]'
    assert ended == [1, 2]
    monkeypatch.undo()
    free = threading.Event()
    def stuck():
        yield 'a'
        free.wait(30)
    async def astuck():
        yield 'a'
        await asyncio.sleep(30)
    for f in (stuck, astuck):
        res = run({**CALL, 'name': f.__name__}, [mk_tool(f, timeout=0.05)])
        assert res['is_error'] and res['content'].startswith('TimeoutError')
    free.set()

def test_the_event_loop_goes_on_while_parts_come():
    async def main():
        other = asyncio.Event()
        def sync():
            yield 'a'
            asyncio.run_coroutine_threadsafe(note(), loop).result(10) # for ever, if the loop stood still
            yield 'b'
        async def busy():
            while not other.is_set(): yield 'x' # never waits by itself
        async def note(): other.set()
        loop = asyncio.get_running_loop()
        call = lambda f: {**CALL, 'name': f.__name__, 'id': f.__name__}
        from llmchat import mk_toolres_async
        msgs = await mk_toolres_async(dict(role='assistant', content=[call(busy), call(sync)]), [busy, sync])
        return [len(b['content']) for b in msgs[1]['content']]
    n, two = asyncio.run(main())
    assert two == 2 and n < 10_000

def test_structured_gives_the_parts():
    def pairs(n: int):
        for i in range(n): yield i, i * i
    assert Client(MODEL, Sandbox([[tool_use('pairs', n=3)]]).client()).structured('Go', pairs) == [[(0, 0), (1, 1), (2, 4)]]

class Mute(Exception):
    def __str__(self): raise RuntimeError('no words')
class Number(Exception):
    def __str__(self): return 3

@either
@pytest.mark.parametrize('E', [Mute, Number])
def test_an_exception_without_words_is_reported_by_its_type(E, run):
    def give(): raise E
    async def agive(): raise E
    def gen():
        yield 'a'
        raise E
    for f in (give, agive, gen):
        res = run({**CALL, 'name': f.__name__}, [f])
        assert (res['content'], res['is_error']) == (E.__name__, True)

def test_a_result_of_many_parts_is_cut_with_one_note():
    content = mk_funcres({**CALL, 'name': 'generator'}, [lazy(*['ab'] * 100)[0]], most=3)['content']
    assert [b['text'] for b in content] == ['ab', 'a\n[cut: these are the first 1 of 198 characters]']

# ---- pictures beside data

class Figure:
    def savefig(self, buf, format): Image.new('RGB', (2, 2)).save(buf, format=format)

class Axes:
    def __init__(self, figure): self.figure = figure

class Frame:
    "As a data frame of pandas"
    columns = ['a', 'b']
    def to_json(self, orient, date_format, double_precision): return '[{"a":1,"b":"x"},{"a":null,"b":"y"}]'

class Polars:
    def to_dicts(self): return [dict(a=1)]

class Array:
    "As of numpy"
    def __init__(self, o, dtype='int64'): self.o, self.dtype = o, dtype
    def tolist(self): return self.o

@dataclasses.dataclass
class Shot:
    picture: object
    where: str = 'here'

class Shown(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    picture: Image.Image
    n: int = 3

DOT, FIG, AX = Image.new('RGB', (2, 2)), Figure(), Axes(Figure())
IMG = 'image'
BESIDE = [([DOT, dict(n=3)], [IMG, '{"n":3}']), (dict(img=DOT), ['img:', IMG]), (dict(before=DOT, n=3, after=DOT), ['{"n":3}', 'before:', IMG, 'after:', IMG]),
    ((FIG, Axes(FIG)), [IMG]), (AX, [IMG]), ((FIG, Array([Axes(FIG), Axes(FIG)], dtype=object)), [IMG]), ([Axes(FIG), Axes(FIG)], [IMG]), ([FIG, Figure()], [IMG, IMG]),
    (dict(a=dict(b=[DOT, PNG]), c=None), ['{"c":null}', 'a:', 'b:', IMG, IMG]), (['See:', [DOT, 3]], ['See:', IMG, '3']), (Shot(DOT), ['{"where":"here"}', 'picture:', IMG]),
    (Shown(picture=DOT), ['{"n":3}', 'picture:', IMG]), ((PNG, Frame()), [IMG, '[{"a":1,"b":"x"},{"a":null,"b":"y"}]'])]
DATA = [(Frame(), '[{"a":1,"b":"x"},{"a":null,"b":"y"}]'), (dict(rows=Polars(), n=1), '{"rows":[{"a":1}],"n":1}'), (Array([1, 2]), '[1,2]'), ([Array(3)], '[3]'),
    ([Array([1]), Frame], None), (Shot('x'), '{"picture":"x","where":"here"}')]

@either
@pytest.mark.parametrize('value,says', BESIDE, ids=range(len(BESIDE)))
def test_pictures_beside_data_are_blocks_and_the_rest_is_json(value, says, run):
    assert [b.get('text', b['type']) for b in run(CALL, [giver(value)])['content']] == says

@pytest.mark.parametrize('value,says', DATA, ids=range(len(DATA)))
def test_tables_and_arrays_are_records_and_lists(value, says):
    content = to_content(value)
    assert content == says if says else content.startswith('[[1],"<class')

def test_real_figures_and_arrays():
    plt = pytest.importorskip('matplotlib.figure')
    fig = plt.Figure((1, 1))
    axes = fig.subplots(2, 2)
    for value in ((fig, axes), axes, axes[0, 0], axes[0, 0].plot([1, 2]), dict(plot=axes[1, 1])):
        assert [b['type'] for b in to_content(value)].count('image') == 1
    assert to_content(plt.np.arange(3)) == '[0,1,2]' and to_content(dict(n=plt.np.int64(3))) == '{"n":3}'

# ---- threads

def where(): return threading.get_ident()

def test_a_tool_that_must_not_leave_the_callers_thread_does_not():
    db = sqlite3.connect(':memory:') # which is for one thread alone
    def query(): return db.execute('select 42').fetchone()[0]
    def other(): return 'ok'
    calls = [tool_use('query') | dict(id='a'), tool_use('other') | dict(id='b'), tool_use('query') | dict(id='c')]
    given = [mk_tool(query, thread=False), other]
    def contents(chat): return [b['content'] for b in chat.h[2]['content'] if b['type'] == 'tool_result']
    for parallel in (False, True):
        chat = Chat(MODEL, Sandbox([calls]).client(), tools=given, parallel=parallel)
        chat('Go')
        assert contents(chat) == ['42', 'ok', '42']
        async def main():
            chat = AsyncChat(MODEL, Sandbox([calls, calls, 'Done']).aclient(), tools=given, parallel=parallel)
            await chat('Go')
            async for _ in chat.toolloop('Again', stream=True): pass
            return chat
        chat = asyncio.run(main())
        assert contents(chat) == ['42', 'ok', '42'] and str(chat.h).count("'42'") == 4
    assert 'SQLite objects created in a thread' in asyncio.run(_elsewhere(query))
    db.close()

async def _elsewhere(query):
    chat = AsyncChat(MODEL, Sandbox([[tool_use('query')]]).aclient(), tools=[query])
    await chat('Go')
    return chat.last[1]['content'][0]['content']

def test_parts_of_such_a_tool_come_in_the_callers_thread_too():
    def parts():
        yield where()
        yield where()
    async def main(): return await llmchat_async(parts)
    content = asyncio.run(main())
    assert {b['text'] for b in content} == {str(where())}

async def llmchat_async(f):
    from llmchat import mk_funcres_async
    return (await mk_funcres_async({**CALL, 'name': f.__name__}, [mk_tool(f, thread=False)]))['content']

def test_what_thread_goes_with():
    async def later(): ...
    def f(): ...
    for make in (lambda: mk_tool(f, thread=False, timeout=1), lambda: mk_tool(mk_tool(f, timeout=1), thread=False), lambda: mk_tool(later, thread=False)):
        with pytest.raises(ValueError, match='thread=False'): make()
    assert mk_tool(mk_tool(f, thread=False), parallel=False).thread is False and mk_tool(f).thread

# ---- memory

def closure():
    big = bytearray(10)
    def f(a: int) -> int: return a + len(big)
    return f

class Holder:
    def method(self, a: int) -> int: return a
class Called:
    def __call__(self, a: int) -> int: return a
def plain_class():
    class C:
        def __init__(self, a: int, b: 'int' = 1): ...
    return C
def data_class(): return dataclasses.make_dataclass('C', [('a', int)])

@pytest.mark.parametrize('make', [closure, Called, lambda: functools.partial(closure()), plain_class, data_class, lambda: create_model('M', a=(int, 1)),
    lambda: typing_extensions.TypedDict('T', dict(a=int))], ids=['closure', 'callable', 'partial', 'class', 'dataclass', 'model', 'TypedDict'])
def test_tools_made_on_the_fly_go(make):
    refs = []
    for _ in range(5):
        f = make()
        if not isinstance(f, type): f.__name__ = 'f'
        chat = Chat(MODEL, Sandbox(['Hi']).client(), tools=[f])
        chat('Hi')
        refs.append(weakref.ref(f))
        del f, chat
    gc.collect()
    assert not [r for r in refs if r()]

def test_the_object_of_a_bound_method_goes_and_its_schema_stays():
    first = mk_tool(Holder().method).schema
    h = Holder()
    assert mk_tool(h.method).schema is first is mk_tool(Holder().method).schema
    ref = weakref.ref(h)
    assert mk_funcres({**CALL, 'name': 'method', 'input': dict(a=3)}, [h.method])['content'] == '3'
    del h
    gc.collect()
    assert ref() is None
