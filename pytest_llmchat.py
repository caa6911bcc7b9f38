"""The pytest fixtures `sandbox` and `sandbox_url`. pytest imports this module in every run, so it imports nothing else:
llmchat and the SDK are loaded when a test asks for one of them. How they are used: nbs/howto/testing.ipynb."""
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING: from llmchat.sandbox import Sandbox

@pytest.fixture
def sandbox() -> 'Iterator[Sandbox]':
    "A Claude API inside the process that every client of the test talks to; its `replies` are what it will say"
    from llmchat.sandbox import Sandbox
    with Sandbox().patch() as sb: yield sb

@pytest.fixture
def sandbox_url(sandbox: 'Sandbox', monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    "The address where the fixture `sandbox` is served, for programs that the test starts; their environment has it"
    from llmchat.sandbox.serving import client_env
    with sandbox.serve() as url:
        for name, value in client_env(url).items(): monkeypatch.setenv(name, value)
        yield url
