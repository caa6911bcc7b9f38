"""The pytest fixture `sandbox`. pytest imports this module in every run, so it imports nothing else: llmchat and the
SDK are loaded when a test asks for the fixture. How it is used: nbs/11_testing.ipynb."""
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING: from llmchat.sandbox import Sandbox

@pytest.fixture
def sandbox() -> 'Iterator[Sandbox]':
    "A Claude API inside the process that every client of the test talks to; its `replies` are what it will say"
    from llmchat.sandbox import Sandbox
    with Sandbox().patch() as sb: yield sb
