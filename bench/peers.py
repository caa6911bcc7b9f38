"""Other libraries for talking with Claude, each doing what a row asks for as its documentation says.

`pip install -e '.[peers]'` installs them; those that are missing are left out."""
import asyncio
from importlib.util import find_spec

import httpx2
from wire import async_sdk, MODEL, sdk, texts, transport

class ChatlasPeer:
    name, needs = 'chatlas', 'chatlas'
    def make(self, chunks=texts(1)):
        from chatlas import ChatAnthropic
        http = httpx2.Client(transport=transport(chunks))
        return ChatAnthropic(model=MODEL, api_key='none', kwargs=dict(http_client=http))
    def new(self):
        from chatlas import ChatAnthropic
        return lambda: ChatAnthropic(model=MODEL, api_key='none')
    def turn(self, h):
        from chatlas import AssistantTurn, UserTurn
        chat = self.make()
        turns = [UserTurn(m['content']) if m['role'] == 'user' else AssistantTurn(m['content'][0]['text']) for m in h]
        def one():
            chat.set_turns(turns)
            chat.chat('Hi', echo='none')
        return one
    def stream(self, n):
        chat = self.make(texts(n))
        def one():
            chat.set_turns([])
            for _ in chat.stream('Hi', echo='none'): pass
        return one
    def together(self, n): return None # A chat holds its own client, and its calls wait for each other

class LangChainPeer:
    name, needs = 'langchain-anthropic', 'langchain_anthropic'
    def make(self, chunks=texts(1)):
        chat = self.new()()
        vars(chat)['_client'], vars(chat)['_async_client'] = sdk(chunks), async_sdk() # They are cached properties
        return chat
    def new(self):
        from langchain_anthropic import ChatAnthropic
        return lambda: ChatAnthropic(model=MODEL, api_key='none', max_tokens=4096)
    def turn(self, h):
        from langchain_core.messages import AIMessage, HumanMessage
        chat, msgs = self.make(), [(HumanMessage if m['role'] == 'user' else AIMessage)(m['content']) for m in h]
        return lambda: chat.invoke([*msgs, HumanMessage('Hi')])
    def stream(self, n):
        chat = self.make(texts(n))
        def one():
            for _ in chat.stream('Hi'): pass
        return one
    def together(self, n):
        chat = self.make()
        async def go(): await asyncio.gather(*(chat.ainvoke('Hi') for _ in range(n)))
        return lambda: asyncio.run(go())

class PydanticAIPeer:
    name, needs = 'pydantic-ai', 'pydantic_ai'
    def make(self, cli):
        from pydantic_ai import Agent
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider
        return Agent(AnthropicModel(MODEL, provider=AnthropicProvider(anthropic_client=cli)))
    def new(self):
        cli = async_sdk()
        return lambda: self.make(cli)
    def turn(self, h):
        from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, UserPromptPart
        agent = self.make(async_sdk())
        old = [ModelRequest(parts=[UserPromptPart(m['content'])]) if m['role'] == 'user' else
            ModelResponse(parts=[TextPart(m['content'][0]['text'])]) for m in h]
        return lambda: agent.run_sync('Hi', message_history=old)
    def stream(self, n):
        agent = self.make(async_sdk(chunks=texts(n)))
        async def go():
            async with agent.run_stream('Hi') as s:
                async for _ in s.stream_text(delta=True, debounce_by=None): pass
        return lambda: asyncio.run(go())
    def together(self, n):
        agent = self.make(async_sdk())
        async def go(): await asyncio.gather(*(agent.run('Hi') for _ in range(n)))
        return lambda: asyncio.run(go())

peers = [P() for P in (ChatlasPeer, LangChainPeer, PydanticAIPeer) if find_spec(P.needs)]

def by_peers(what, *args):
    "What each peer does for a row: functions by name, without those that have no such thing"
    return {p.name: f for p in peers if (f := getattr(p, what)(*args))}
