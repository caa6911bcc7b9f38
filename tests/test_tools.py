"Tools: from functions to schemas that the SDK takes, from JSON to arguments, from values to results"
import asyncio, dataclasses, enum, functools, inspect, io, json, logging, threading
from base64 import b64encode
from collections.abc import Sequence
from datetime import date, datetime, time as clock, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypeVar, Union
from uuid import UUID

import anthropic, pydantic, pytest
from anthropic.lib.tools import ToolError
from hypothesis import given, strategies as st
from jsonschema import Draft202012Validator
from PIL import Image
from pydantic import BaseModel, Field, RootModel
from typing_extensions import NotRequired, TypedDict

from common import MODEL, PNG, BMP, case_name, check_request, seeded
from llmchat import (AsyncClient, Chat, Client, Sandbox, ToolResult, mk_funcres, mk_funcres_async, mk_tool, mk_toolres,
    mk_toolres_async)
from llmchat.sandbox.server import tool_use
from llmchat.engine.tool_results import to_json
from llmchat.engine.structured import ReplyType
from llmchat.engine.tools import bind, parallel_groups, Tool, Toolbox

# ---- types, there and back

class Size(enum.Enum): S, L = 's', 'l'
class Level(enum.IntEnum): LOW, HIGH = 1, 2

@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0

@dataclasses.dataclass
class Tree:
    label: str
    kids: list['Tree'] = dataclasses.field(default_factory=list)

class Address(BaseModel):
    street: str
    zip: Annotated[str, Field(pattern=r'^[0-9]{5}$')]

class Folder(BaseModel):
    name: str
    size: Size | None = None
    inner: list['Folder'] = []

class Person(TypedDict):
    name: str
    born: NotRequired[date]

class Pair(NamedTuple):
    left: int
    right: str = ''

class Order(BaseModel):
    id: UUID
    to: Address
    items: dict[str, tuple[int, Decimal]]

whole = st.integers(-2**53, 2**53)
number = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=['Cs']), max_size=20)
decimal = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-10**9, max_value=10**9)
point = st.builds(Point, whole, number)
address = st.builds(Address, street=text, zip=st.from_regex('[0-9]{5}', fullmatch=True))
tree = st.recursive(st.builds(Tree, text), lambda kids: st.builds(Tree, text, st.lists(kids, max_size=3)), max_leaves=8)
folder = st.recursive(st.builds(Folder, name=text, size=st.none() | st.sampled_from(Size)),
    lambda inner: st.builds(Folder, name=text, inner=st.lists(inner, max_size=3)), max_leaves=8)
person = st.fixed_dictionaries(dict(name=text), optional=dict(born=st.dates()))
order = st.builds(Order, id=st.uuids(), to=address, items=st.dictionaries(text, st.tuples(whole, decimal), max_size=3))

TYPES = [
    (int, whole), (str, text), (float, number), (bool, st.booleans()), (None, st.none()),
    (Optional[int], st.none() | whole), (int | None, st.none() | whole), (int | str, whole | text),
    (Union[bool, int, float, str, None], st.booleans() | whole | number | text | st.none()),
    (Literal['a', 'b', 3], st.sampled_from(['a', 'b', 3])), (Size, st.sampled_from(Size)), (Level, st.sampled_from(Level)),
    (list[int], st.lists(whole, max_size=5)), (Sequence[str], st.lists(text, max_size=5)), (list, st.lists(whole | text, max_size=5)),
    (dict[str, int], st.dictionaries(text, whole, max_size=5)), (dict, st.dictionaries(text, whole, max_size=5)),
    (dict[str, Any], st.dictionaries(text, whole | text | st.none(), max_size=5)),
    (dict[Size, int], st.dictionaries(st.sampled_from(Size), whole)),
    (tuple[int, str], st.tuples(whole, text)), (tuple[int, ...], st.lists(whole, max_size=5).map(tuple)),
    (set[int], st.sets(whole, max_size=5)), (frozenset[str], st.frozensets(text, max_size=5)),
    (date, st.dates()), (datetime, st.datetimes()), (clock, st.times()), (timedelta, st.timedeltas()),
    (Path, text.filter(lambda s: '\0' not in s).map(Path)), (bytes, text.map(str.encode)), (Decimal, decimal), (UUID, st.uuids()),
    (Annotated[int, Field(ge=0, le=10)], st.integers(0, 10)), (Annotated[str, Field(max_length=3)], st.text('abc', max_size=3)),
    (Point, point), (Address, address), (Person, person), (Pair, st.builds(Pair, whole, text)),
    (Tree, tree), (Folder, folder), (Order, order),
    (list[Point], st.lists(point, max_size=3)), (dict[str, list[Address]], st.dictionaries(text, st.lists(address, max_size=2), max_size=2)),
    (Optional[list[tuple[date, Size]]], st.none() | st.lists(st.tuples(st.dates(), st.sampled_from(Size)), max_size=3)),
    (Point | Address | None, point | address | st.none())]

def taker(T):
    "A tool that gives back its one argument, of type `T`"
    def take(x): return x
    take.__annotations__ = dict(x=T)
    return mk_tool(take)

def check_schema(tool):
    "Fail if the API would not take the schema"
    check_request(dict(model=MODEL, max_tokens=1, messages=[dict(role='user', content='Hi')], tools=[tool.schema]))
    assert tool.schema['input_schema']['type'] == 'object'
    Draft202012Validator.check_schema(tool.schema['input_schema'])

def same(a, b):
    "Are two values equal, and of the same types throughout?"
    if type(a) is not type(b): return False
    if isinstance(a, dict): return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(same, a, b))
    if dataclasses.is_dataclass(a) or isinstance(a, BaseModel): return same(vars(a), vars(b))
    return a == b

@pytest.mark.parametrize('T,values', TYPES, ids=lambda o: None if isinstance(o, st.SearchStrategy) else str(o))
def test_types_arrive_as_what_they_are(T, values):
    tool = taker(T)
    check_schema(tool)
    valid = Draft202012Validator(tool.schema['input_schema'])
    @seeded
    @given(values)
    def there_and_back(value):
        args = json.loads(json.dumps(dict(x=json.loads(to_json(value)))))
        assert same(bind(tool, args)(), value)
        valid.validate(args)
    there_and_back()

@pytest.mark.parametrize('T,value', [(int, 'many'), (int, 1.5), (bool, 'maybe'), (Literal['a', 'b'], 'c'), (Size, 'm'), (list[int], 3),
    (date, 'soon'), (UUID, '7'), (Annotated[int, Field(ge=0)], -1), (Point, {}), (Address, dict(street='Elm', zip='x')), (None, 0)])
def test_what_does_not_fit_is_named(T, value):
    def must_not_run(x): raise AssertionError
    must_not_run.__annotations__ = dict(x=T)
    res = mk_funcres(tool_use('must_not_run', x=value) | dict(id='t'), [must_not_run])
    assert res['is_error'] and res['content'].startswith('Wrong arguments. x') and 'received' in res['content'], res

def test_missing_and_surplus_arguments_are_named():
    def f(a: int, b: int = 0) -> int: return a + b
    res = mk_funcres(tool_use('f', b=1, c=2) | dict(id='t'), [f])
    assert res['content'] == ('Wrong arguments. a: Field required (received {"b": 1, "c": 2}); '
        'c: Extra inputs are not permitted (received 2)')

def test_a_complaint_stays_short():
    res = mk_funcres(tool_use('take', x=['?' * 5000] * 1000) | dict(id='t'), [taker(list[int])], most=1000)
    assert res['is_error'] and len(res['content']) < 1100 and '?' * 201 not in res['content']

# ---- whatever can be called

class Calc:
    "Calculates."
    def __init__(self, start: int = 0): self.start = start
    def add(self, a: int, b: int = 2) -> int:
        "Add."
        return self.start + a + b
    @classmethod
    def cls_add(cls, a: int, b: int = 2) -> int: return a + b
    @staticmethod
    def static_add(a: int, b: int = 2) -> int: return a + b
    def __call__(self, a: int, b: int = 2) -> int:
        """Add up.

        Args:
            a: First
        """
        return a + b
    __hash__ = None # as a dataclass with fields that change

class AsyncCalc:
    async def __call__(self, a: int, b: int = 2) -> int: return a + b

def add(a: int, b: int = 2) -> int: return a + b
def add3(x: str, a: int, b: int = 2) -> int: return a + b
def kw_only(*, a: int, b: int = 2) -> int: return a + b
def pos_only(a: int, b: int = 2, /) -> int: return a + b
def mixed(a: int, /, *, b: int = 2) -> int: return a + b
def later(a: 'int', b: 'int' = 2) -> 'int': return a + b
async def async_add(a: int, b: int = 2) -> int: return a + b
@functools.wraps(add)
def wrapped(*args, **kw): return add(*args, **kw)
@functools.wraps(async_add)
def wrapped_async(*args, **kw): return async_add(*args, **kw)

CALLABLES = [add, kw_only, pos_only, mixed, later, async_add, wrapped, wrapped_async, Calc().add, Calc.cls_add, Calc().static_add,
    Calc(), AsyncCalc(), functools.partial(add), functools.partial(add3, 'x'), functools.partial(add3, x='x'),
    functools.partial(async_add), functools.partial(functools.partial(add3, 'x'), b=5)]

def sync(call, ns, **kw): return mk_funcres(call, ns, **kw)
def awaited(call, ns, **kw): return asyncio.run(mk_funcres_async(call, ns, **kw))
either = pytest.mark.parametrize('run', [sync, awaited])

@either
@pytest.mark.parametrize('f', CALLABLES, ids=case_name)
def test_callables(f, run):
    tool = mk_tool(f)
    check_schema(tool)
    props = tool.schema['input_schema']['properties']
    assert props['a'].items() >= dict(type='integer').items() and tool.schema['input_schema']['required'] == ['a']
    call = dict(type='tool_use', id='t', name=tool.name, input=dict(a='40'))
    bound = getattr(f, 'keywords', {}).get('b', 2)
    assert run(call, [f]) == dict(type='tool_result', tool_use_id='t', content=str(40 + bound))
    if 'b' in props:
        assert props['b']['default'] == 2
        assert run({**call, 'input': dict(a=40, b=1)}, [f])['content'] == '41'

class Plain:
    def __init__(self, a: int, b: str = 'x'): self.a, self.b = a, b
class AsyncCall(Plain):
    "Its instances are async functions, its constructor is not."
    async def __call__(self): ...
class New(str):
    def __new__(cls, a: int): return super().__new__(cls, a)

CLASSES = [Plain, AsyncCall, New, Point, Tree, Address, Folder, Person, Pair]
ARGS = dict(Plain=dict(a=1), AsyncCall=dict(a=1), New=dict(a=7), Point=dict(x=1), Tree=dict(label='a', kids=[dict(label='b')]),
    Address=dict(street='Elm', zip='12345'), Folder=dict(name='a', inner=[dict(name='b')]),
    Person=dict(name='Jo', born='2000-01-01'), Pair=dict(left=1))

@either
@pytest.mark.parametrize('T', CLASSES, ids=lambda T: T.__name__)
def test_classes(T, run):
    tool = mk_tool(T)
    check_schema(tool)
    call = dict(type='tool_use', id='t', name=T.__name__, input=ARGS[T.__name__])
    c = Client(MODEL, Sandbox([[call]]).client())
    value, = c.structured('Make one.', T)
    assert isinstance(value, dict if T is Person else T)
    if T is Tree: assert value == Tree('a', [Tree('b')])
    if T is Person: assert value == dict(name='Jo', born=date(2000, 1, 1))
    assert not run(call, [T]).get('is_error')
    async def awaited_value(): return await AsyncClient(MODEL, Sandbox([[call]]).aclient()).structured('Make one.', T)
    other, = asyncio.run(awaited_value())
    assert vars(other) == vars(value) if type(value) in (Plain, AsyncCall) else other == value

def test_a_schema_is_made_once():
    calc = Calc()
    for f in (add, async_add, Point, Address, calc.add): assert mk_tool(f).schema is mk_tool(f).schema
    assert mk_tool(add, timeout=1).schema is mk_tool(add).schema
    assert mk_tool(mk_tool(add, timeout=1)).timeout == 1

# ---- what is refused, when it is given

def star(*orders: int): ...
def stars(a: int, **rest: int): ...
def untyped(order, to: str): ...
def anything(order: Any): ...
def some_object(order: object): ...
def told_anything(order: Annotated[Any, 'an order']): ...
T = TypeVar('T')
def generic(order: T) -> T: ...
def thread(order: threading.Thread): ...
def unknown(order: 'Ordr'): ...
class Untyped:
    def __init__(self, order): ...
class Loose(BaseModel): order: Any
class Numbers(RootModel[list[int]]): ...

@pytest.mark.parametrize('f,says', [(star, r'\*orders: int'), (stars, r'\*\*rest: int'), (untyped, "'order'"), (anything, "'order'"),
    (some_object, "'order'"), (told_anything, "'order'"), (generic, "'order'"), (thread, 'Thread'), (unknown, "'Ordr'"),
    (Untyped, "'order'"), (Loose, "'order'"), (Numbers, 'named arguments'), (3, '3'), ('add', "'add'")])
def test_what_cannot_be_described_is_refused_when_given(f, says):
    with pytest.raises(TypeError, match=says): mk_tool(f)
    sb = Sandbox(['Hi'])
    with pytest.raises(TypeError, match=says): Chat(MODEL, sb.client(), tools=[f])('Hi')
    with pytest.raises(TypeError, match=says): Client(MODEL, sb.client())('Hi', tools=f)
    assert not sb.requests

def named(name):
    def f(): ...
    f.__name__ = name
    return f

def test_parameters_without_a_type_or_with_a_name_that_the_api_refuses():
    def vague(order, to: str): ...
    def pack(größe: int): ...
    with pytest.raises(TypeError, match="vague: the parameter 'order' has no type"): mk_tool(vague)
    with pytest.raises(ValueError, match="pack: the API takes no parameter of the name 'größe'"): mk_tool(pack)

@pytest.mark.parametrize('name', ['<lambda>', 'a b', 'naïve', 'a.b', 'x' * 129, 'f\n'])
def test_names_are_those_of_the_api(name):
    with pytest.raises(ValueError, match='1 to 128 letters'): mk_tool(named(name))

def test_names_that_fit():
    for name in ('x' * 128, 'a-b_C9'): assert mk_tool(named(name)).name == name

@pytest.mark.parametrize('tools', [[add, add], [add, dict(name='add', input_schema={})], [named('f'), named('f')],
    [add, functools.partial(add, b=1)], [mk_tool(add, timeout=1), add]])
def test_two_tools_of_one_name_are_refused(tools):
    with pytest.raises(ValueError, match='two tools of the name'): Toolbox(tools)

# ---- what the model is told

def docmented(
    a: int, # First number
    b: int = 1, # noqa
    *, c: str = 'x' # Third
) -> int: # The sum
    "Add up."

def google(a: int, b: int = 1, *, c: str = 'x') -> int:
    """Add up.

    Args:
        a (int): First number
        c: Third

    Returns:
        int: The sum
    """

def numpy(a: int, b: int = 1, *, c: str = 'x') -> int:
    """Add up.

    Parameters
    ----------
    a : int
        First number
    c : str, optional
        Third

    Returns
    -------
    int
        The sum
    """

def rest(a: int, b: int = 1, *, c: str = 'x') -> int:
    """Add up.

    :param a: First number
    :param str c: Third
    :returns: The sum
    """

@pytest.mark.parametrize('f', [docmented, google, numpy, rest])
def test_docstrings_of_every_style(f):
    schema = mk_tool(f).schema
    assert schema['description'] == 'Add up.\n\nReturns: The sum'
    props = schema['input_schema']['properties']
    assert {k: p.get('description') for k, p in props.items()} == dict(a='First number', b=None, c='Third')
    assert [p.get('default') for p in props.values()] == [None, 1, 'x']

def test_a_comment_beats_the_docstring_and_a_field_beats_both():
    def f(
        a: int, # By comment
        b: Annotated[int, Field(description='By field')] = 0 # By comment
    ):
        """Do.

        Args:
            a: By docstring
            b: By docstring
        """
    assert [p['description'] for p in mk_tool(f).schema['input_schema']['properties'].values()] == ['By comment', 'By field']

class Documented(BaseModel):
    "A customer."
    name: str = Field(description='Full name')

class Undocumented(BaseModel): name: str
class Constructed:
    def __init__(self, name: str):
        """A customer.

        Args:
            name: Full name
        """

def test_classes_are_described_by_what_was_written_for_them():
    for T in (Documented, Constructed):
        schema = mk_tool(T).schema
        assert schema['description'] == 'A customer.'
        assert schema['input_schema']['properties']['name']['description'] == 'Full name'
    for T in (Undocumented, Point, Person, Pair, Plain): assert mk_tool(T).schema['description'] == T.__name__
    assert mk_tool(Calc()).schema['description'] == 'Calculates.'
    assert mk_tool(Calc()).schema['input_schema']['properties']['a']['description'] == 'First'

def test_long_docstrings_and_none():
    def f():
        """One line.

        More lines,
        and more.
        """
    def g(): ...
    assert mk_tool(f).schema['description'] == 'One line.\n\nMore lines,\nand more.'
    assert mk_tool(g).schema == dict(name='g', description='g', input_schema=dict(type='object', properties={}, additionalProperties=False))

def test_defaults_show_as_json_where_they_can():
    def f(a: Size = Size.L, b: date = date(2026, 1, 2), c: list[int] = [1], d: Optional[Point] = None, e: Path = Path('x'), g: float = 1): ...
    props = mk_tool(f).schema['input_schema']['properties']
    assert [p.get('default', '-') for p in props.values()] == ['l', '2026-01-02', [1], None, 'x', 1]
    marker = object()
    def h(a: Optional[int] = marker): return a is marker
    assert 'default' not in mk_tool(h).schema['input_schema']['properties']['a']
    assert mk_funcres(tool_use('h') | dict(id='t'), [h])['content'] == 'true'

# ---- results

class Figure:
    def savefig(self, buf, format): Image.new('RGB', (2, 2)).save(buf, format=format)

class Odd:
    def __str__(self): return 'an odd thing'

def numbers():
    yield 1
    yield 2

PICTURE = dict(type='image', source=dict(type='base64', media_type='image/png', data=b64encode(PNG).decode()))
NOTE = dict(type='text', text='See:')
FOUND = dict(type='search_result', source='https://example.com', title='T', content=[dict(type='text', text='x')])

RESULTS = [ # what a tool returns, the content that the model reads
    ('text', 'text'), ('', ''), (' ', ' '), (None, ''), (3, '3'), (1.5, '1.5'), (True, 'true'), (float('nan'), '"NaN"'),
    ([1, 'a', None], '[1,"a",null]'), (dict(a=[1, dict(b=2)]), '{"a":[1,{"b":2}]}'), ([], '[]'), ({}, '{}'), (['a', 'b'], '["a","b"]'),
    ((1, 2), '[1,2]'), ({3}, '[3]'), (Size.L, '"l"'), (Decimal('1.50'), '"1.50"'), (date(2026, 1, 2), '"2026-01-02"'),
    (UUID(int=7), '"00000000-0000-0000-0000-000000000007"'), (Path('a/b'), '"a/b"'),
    (Point(1, 2.5), '{"x":1,"y":2.5}'), (Address(street='Elm', zip='12345'), '{"street":"Elm","zip":"12345"}'),
    ([Point(1)], '[{"x":1,"y":0.0}]'), (Pair(1, 'b'), '[1,"b"]'), (numbers(), [dict(type='text', text='1'), dict(type='text', text='2')]), (Odd(), 'an odd thing'), ([Odd()], '["an odd thing"]'),
    (b'plain', 'plain'), (b'\xff', '\ufffd'), ([b'\xff'], "[b'\\xff']"), ('a\ud800', 'a\\ud800'), (['a\ud800'], "['a\\ud800']"),
    (PNG, [PICTURE]), (Image.open(io.BytesIO(PNG)), 'image'), (Figure(), 'image'), ([NOTE, PICTURE, FOUND], [NOTE, PICTURE, FOUND]), (PICTURE, [PICTURE]),
    (['See:', PNG], [NOTE, PICTURE]), ([' ', PNG, ''], [PICTURE]), ([dict(type='text', text=' ')], ''),
    (anthropic.types.TextBlock(type='text', text='See:'), [NOTE]),
    (dict(type='text', n=1), '{"type":"text","n":1}'), (dict(type='image', source='a.png'), '{"type":"image","source":"a.png"}'),
    (dict(type=['image']), '{"type":["image"]}'), ([PICTURE, 3], [PICTURE, dict(type='text', text='3')]), (dict(type='tool_use', id='x'), '{"type":"tool_use","id":"x"}'),
    (ToolResult('text'), 'text'), (ToolResult([1], 'json'), '[1]'), (ToolResult(PNG, 'image/png'), [PICTURE]),
    (ToolResult(PICTURE['source']['data'], 'image/png'), [PICTURE]), (ToolResult('no', is_error=True), 'no')]

def giver(value):
    def give(): return value
    return give

CALL = dict(type='tool_use', id='t', name='give', input={})

@either
@pytest.mark.parametrize('value,content', RESULTS, ids=case_name)
def test_results(value, content, run):
    if value.__class__.__name__ == 'generator': value = numbers()
    res = run(CALL, [giver(value)])
    assert res.get('is_error', False) is getattr(value, 'is_error', False)
    if content == 'image': assert res['content'][0]['source']['media_type'] == 'image/png'
    elif content == 'json': assert json.loads(res['content'])[1] == 3
    else: assert res['content'] == content
    check_request(dict(model=MODEL, max_tokens=1, messages=[dict(role='user', content=[json.loads(json.dumps(res))])]))

def test_pictures_that_cannot_be_sent_are_errors():
    for value in (b'\x89PNG\r\n\x1a\n' + bytes(6_000_000), ToolResult('bm90IGFuIGltYWdl', 'image/png'), ToolResult('?', 'image/png')):
        assert mk_funcres(CALL, [giver(value)])['is_error']
    assert mk_funcres(CALL, [giver(BMP)])['content'].startswith('BM')

@either
def test_long_results_are_cut_with_a_note(run):
    full = 'x' * 100_000
    assert run(CALL, [giver(full)])['content'] == full
    note = '\n[cut: these are the first 100,000 of 100,001 characters]'
    assert run(CALL, [giver(full + 'x')])['content'] == full + note
    assert run(CALL, [giver('abcdef')], most=3)['content'] == 'abc\n[cut: these are the first 3 of 6 characters]'
    blocks = run(CALL, [giver(['abc', PNG, 'def'])], most=4)['content']
    assert [b.get('text') for b in blocks] == ['abc', None, 'd\n[cut: these are the first 1 of 3 characters]']

def test_max_result_of_a_chat():
    chat = Chat(MODEL, Sandbox([[tool_use('give')], 'Done.']).client(), tools=[giver('abcdef')], max_result=2)
    chat('Hi')
    assert chat.last[1]['content'][0]['content'].startswith('ab\n[cut:')

def raiser(e):
    def give(): raise e
    return give
def async_raiser(e):
    async def give(): raise e
    return give

@either
@pytest.mark.parametrize('make', [raiser, async_raiser])
@pytest.mark.parametrize('e,says', [(ZeroDivisionError('division by zero'), 'ZeroDivisionError: division by zero'), (KeyError('k'), "KeyError: 'k'"),
    (TimeoutError(), 'TimeoutError: '), (TimeoutError('mine'), 'TimeoutError: mine'), (ValueError('\ud800'), 'ValueError: \\ud800'),
    (ToolError('text'), 'text'), (ToolError([NOTE, PICTURE]), [NOTE, PICTURE]), (ToolError([dict(type='text', text='')]), 'The tool failed, and said nothing about it.')])
def test_exceptions_tell_type_and_message_and_log_the_rest(make, e, says, run, caplog):
    caplog.set_level(logging.INFO, 'llmchat')
    res = run(CALL, [make(e)])
    assert res == dict(type='tool_result', tool_use_id='t', content=says, is_error=True)
    record, = caplog.records
    assert record.name == 'llmchat' and record.exc_info[1] is e and 'Traceback' in caplog.text and __file__ in caplog.text
    assert '.py' not in str(res)

def test_the_log_is_quiet_by_default(capfd):
    mk_funcres(CALL, [raiser(ValueError('x'))])
    assert capfd.readouterr() == ('', '')

@either
@pytest.mark.parametrize('e', [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_gets_through(e, run):
    if run is awaited: return # asyncio itself ends its loop on these
    with pytest.raises(e): run(CALL, [raiser(e)])

@either
def test_time_limits(run):
    done = threading.Event()
    def sleepy(): done.wait()
    async def asleep():
        try: await asyncio.Event().wait()
        finally: ended.append(True)
    ended = []
    for f in (sleepy, asleep):
        tool = mk_tool(f, timeout=0.02)
        assert run({**CALL, 'name': tool.name}, [tool])['content'] == 'TimeoutError: no result within 0.02 seconds'
    assert ended == [True]
    done.set()
    for f in (giver('ok'), async_raiser(TimeoutError())):
        res = run(CALL, [mk_tool(f, timeout=999)])
        assert res['content'] in ('ok', 'TimeoutError: ')

@either
def test_only_what_was_given_can_run(run):
    for name in ('eval', 'giver', '__import__', 'os.system', '', 'give '):
        res = run({**CALL, 'name': name}, [giver('x')])
        assert res['is_error'] and res['content'] == f'There is no tool {name!r} here to run. There is: give.'
    res = run(CALL, dict(give=3))
    assert res['is_error'] and 'no tool' in res['content']

def test_a_schema_of_ones_own_runs_from_the_namespace_alone():
    schema = dict(name='give', input_schema=dict(type='object', properties={}))
    sb = Sandbox([[tool_use('give', a=1)], [tool_use('give', a='1')]])
    chat = Chat(MODEL, sb.client(), tools=[schema])
    chat('Hi')
    assert chat.last[1]['content'][0]['content'] == "There is no tool 'give' here to run. There is: none."
    def give(a: int): return a + 1
    chat = Chat(MODEL, sb.client(), tools=[schema], ns=[give])
    chat('Hi')
    assert sb.requests[-1].body['tools'] == [schema] and chat.last[1]['content'][0]['content'] == '2'

def test_what_is_not_checked_is_a_copy():
    def give(a, *rest, **more):
        a.append('spoilt')
        return 'ok'
    call = dict(type='tool_use', id='t', name='give', input=dict(a=[1]))
    assert mk_funcres(call, dict(give=give))['content'] == 'ok' and call['input'] == dict(a=[1])

def test_every_call_of_a_reply_has_one_result():
    reply = dict(role='assistant', content=['Let me see.', *(tool_use(n) | dict(id=f't{i}') for i, n in enumerate(['give', 'nope', 'fail']))])
    reply['content'][0] = dict(type='text', text='Let me see.')
    def fail(): raise ValueError('no')
    ns = [giver(1), fail]
    msgs = mk_toolres(reply, ns)
    assert msgs == asyncio.run(mk_toolres_async(reply, ns)) == mk_toolres(reply, ns, parallel=True)
    assert [(b['tool_use_id'], b.get('is_error')) for b in msgs[1]['content']] == [('t0', None), ('t1', True), ('t2', True)]
    assert mk_toolres(dict(role='assistant', content='Hi'), ns) == [dict(role='assistant', content='Hi')]

def test_a_tool_in_hand_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError): mk_tool(add).timeout = 3
    assert isinstance(mk_tool(add), Tool)

def test_the_file_of_a_class_is_parsed_only_if_it_may_hold_the_class(monkeypatch):
    "To find a class in its file takes ten times as long as all the rest of making a tool"
    sought, real = [], inspect.getsource
    monkeypatch.setattr(inspect, 'getsource', lambda o: sought.append(o) or real(o))
    def f(a: int, # A number
        b: str = 'x'): "F"
    assert mk_tool(f).schema['input_schema']['properties']['a']['description'] == 'A number'
    for T in list[int], Literal['a'], pydantic.create_model('Made', a=(int, 1)), TypedDict('Without', dict(x=int)): ReplyType(T)
    assert [o for o in sought if inspect.isclass(o)] == []
    @dataclasses.dataclass
    class Order:
        "An order"
        n: int # How many
    assert mk_tool(Order).schema['input_schema']['properties']['n']['description'] == 'How many'
    assert {o for o in sought if inspect.isclass(o)} == {Order}

def test_a_chat_sees_what_changes_in_its_tools():
    "Functions added, taken away, and a mark set by hand, after a call"
    def f(): "F"
    def g(): "G"
    chat = Chat(MODEL, Sandbox(lambda body: 'Hi').client(), tools=[f])
    box = lambda: chat._toolbox(chat.settings['tools'])
    assert box() is box() and [*box().ns] == ['f']
    assert [*parallel_groups(box().ns.values())] == [0]
    f.parallel = False
    assert [*parallel_groups(box().ns.values())] == ['shared']
    chat.settings['tools'][:] = [g]
    box()
    chat.settings['tools'][:] = [f]
    assert [*parallel_groups(box().ns.values())] == ['shared']
    del f.parallel
    assert [*parallel_groups(box().ns.values())] == [0]
    f.parallel = False
    chat.settings['tools'].append(g)
    assert [*box().ns] == ['f', 'g']
    chat.settings['tools'][:] = [g, f]
    assert [*box().ns] == ['g', 'f']
    chat.settings['tools'].append(dict(name='h', input_schema=dict(type='object')))
    assert box() is not box() and len(box().schemas) == 3
