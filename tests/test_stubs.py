"The stubs that editors and type checkers read: each rule of `tools/stubs.py` on a small package."
import ast
from pathlib import Path

import pytest

import stubs

root = Path(__file__).parent.parent
source = {
'__init__': "__version__ = '1'\nfrom .box import *\nfrom .box import __all__",
'box': '''
from __future__ import annotations
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload
from fastcore.basics import patch
from fastcore.meta import delegates
from collections.abc import AsyncIterator
from .base import Base, Flow, helper

__all__ = ['Box', 'Ring', 'Part', 'helper', 'opened']
if TYPE_CHECKING: import decimal
else: decimal = None
_secret = 3

class Rest(TypedDict, total=False):
    "More"
    depth: int

class Wide(Rest, total=False):
    T: Any

@dataclass
class Part:
    name: str
    n: int = 1
    tags: list[str] = field(default_factory=list)

class Box(Base):
    "A box"
    def __init__(self,
        size: int = 3, # In cm
        *more: str,
        **kw: Unpack[Rest]
    ) -> None:
        self.size, self.tag, self._own = size, 'x', 1
        self.parts: 'dict[str, Part]' = {}

    if TYPE_CHECKING:
        def only(self) -> decimal.Decimal: ...
    @overload
    def at(self, i: int) -> str: ...
    @overload
    def at(self, i: slice) -> list[str]: ...
    def at(self, i): return i
    def _inner(self): pass

@patch
def call(self: Box,
    pr: str, # What to say
    temp: float = 0.5, # How warm
    stream: bool = False, # Piece by piece?
    **kw: Unpack[Rest]
) -> 'str | Flow': # The text
    "Say it"

@patch
def parse(self: Box, pr: str, T: Any, **kw: Unpack[Wide]) -> Any: "An object"
@patch
def structured(self: Box, pr: str, tools: Any) -> list[Any]: "Values"
@patch(as_prop=True)
def cost(self: Box) -> float: return 1.
@patch(cls_method=True)
def load(cls: Box, path: str) -> Box: return cls()

class Ring(Box):
    "A ring"
@patch
@delegates(Box.call, but=['temp'])
async def call(self: Ring, pr: str, **kwargs: Any) -> 'str | Flow': pass
@patch
async def pieces(self: Ring):
    async def inner(): yield 1
@patch
async def stream_of(self: Ring) -> AsyncIterator[int]: yield 1

def opened(a, /, b: Literal['x', 'y'] = 'x', *, c: int = max(1, 2)) -> Rest: "Open it # now" # no comment of a parameter
''',
'base': '''
from collections.abc import AsyncIterator
from fastcore.basics import patch
__all__ = ['Flow', 'Base', 'helper']
Flow = AsyncIterator[int]
class Base:
    "What is shared"
    width = 3
def helper(x: int = 1) -> int: "Help"
''',
'late': '''
from fastcore.basics import patch
from pathlib import Path
from .box import Box, helper
__all__ = ['helper']
@patch
def write(self: Box, to: Path) -> Path: "Write it"
'''}

@pytest.fixture(scope='module')
def texts(tmp_path_factory):
    root = tmp_path_factory.mktemp('stubs')/'pkg'
    root.mkdir()
    for name, text in source.items(): (root/f'{name}.py').write_text(text)
    (root/'gone.pyi').write_text('')
    stubs.main(root)
    res = {p.stem: p.read_text() for p in root.glob('*.pyi')}
    for text in res.values(): ast.parse(text)
    return res

def test_each_module_has_a_stub_and_nothing_else_has(texts): assert texts.keys() == source.keys()

rules = {
'a parameter with its default, the rest a TypedDict': 'def __init__(self, size: int=3, *more: str, **kw: Unpack[Rest]) -> None:',
'comments of parameters': 'Args:\n            size: In cm',
'attributes of __init__ by parameter': '    size: int\n    tag: str\n    parts: dict[str, Part]\n',
'for type checkers alone': 'def only(self) -> decimal.Decimal: ...',
'overloads of the source without what implements them':
    'def at(self, i: int) -> str: ...\n    @overload\n    def at(self, i: slice) -> list[str]: ...\n    @overload\n    def call',
'patched, stream=True': 'def call(self, pr: str, temp: float=0.5, *, stream: Literal[True], **kw: Unpack[Rest]) -> Flow:',
'patched, stream=False': 'def call(self, pr: str, temp: float=0.5, stream: Literal[False]=False, **kw: Unpack[Rest]) -> str:',
'patched, not known': 'def call(self, pr: str, temp: float=0.5, *, stream: bool, **kw: Unpack[Rest]) -> str | Flow:',
'what is returned': 'stream: Piece by piece?\n\n        Returns:\n            The text"""',
'an object of a type; a key that is a parameter, too': 'def parse(self, pr: str, T: type[_T], *, depth: int=...) -> _T:',
'an object of what is no type': 'def parse(self, pr: str, T: Any, *, depth: int=...) -> Any:',
'values of tools': 'tools: Callable[..., _T] | Sequence[Callable[..., _T]]) -> list[_T]:',
'a property': '    @property\n    def cost(self) -> float: ...',
'a class method': '    @classmethod\n    def load(cls, path: str) -> Box: ...',
'from another module': 'def write(self, to: Path) -> Path:',
'and what it needs': 'from pathlib import Path',
'delegated': 'async def call(self, pr: str, *, stream: Literal[True], **kw: Unpack[Rest]) -> Flow:\n        """Say it',
'a coroutine with a generator in it': 'async def pieces(self) -> Any: ...',
'an async generator': '    def stream_of(self) -> AsyncIterator[int]: ...',
'kinds of parameters': "def opened(a, /, b: Literal['x', 'y']='x', *, c: int=...) -> Rest:\n    \"\"\"Open it # now\"\"\"",
'fields': '    name: str\n    n: int = ...\n    tags: list[str] = field(default_factory=list)',
'names from elsewhere': "from pkg.base import Base, Flow, helper\n",
'all': "__all__ = ['Box', 'Ring', 'Part', 'helper', 'opened']"}

@pytest.mark.parametrize('rule', rules)
def test_rule(texts, rule): assert rules[rule] in texts['box']

def test_what_a_module_hands_on_comes_from_where_it_is(texts):
    assert texts['late'].split('\n', 1)[1] == "\nfrom pkg.base import helper\n\n__all__ = ['helper']\n"

def test_a_package_has_the_names_of_its_module_in_full(texts):
    head, *lines = texts['__init__'].split('\n')
    assert lines == ['', "__version__ = '1'", 'from .box import *', rules['all']]

def test_private_names_and_what_is_patched_elsewhere_stay_out(texts):
    assert '_inner' not in texts['box'] and '_secret' not in texts['box'] and 'write' not in texts['late']
    assert 'Flow = AsyncIterator[int]' in texts['base'] and '    width: int = ...' in texts['base']

def test_stubs_of_the_repository_are_current():
    new, old = stubs.stubs(root/'llmchat'), {*(root/'llmchat').rglob('*.pyi')}
    assert old == {*new}
    assert [p.name for p in old if p.read_text(encoding='utf-8') != new[p]] == []
