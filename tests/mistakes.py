"What type checkers must find: each line that is marked, and no other. Never run."
from dataclasses import dataclass

from llmchat import AsyncChat, AsyncClient, Batch, Chat, Client


@dataclass
class City:
    name: str


def talk(m: str) -> None:
    chat, c = Chat(m), Client(m)
    Chat(m, toolz=[])  # wrong
    Client(m, timout=3)  # wrong
    chat('Hi', maxtoks=3)  # wrong
    c('Hi', maxtoks=3)  # wrong
    chat.toolloop('Hi', max_step=3)  # wrong
    chat.structured('Hi', [City], retry=3)  # wrong
    chat.parse('Where?', City, retry=3)  # wrong
    chat.retry(maxtoks=3)  # wrong
    print(chat.parse('Where?', City).nome)  # wrong
    print(c.parse('Where?', City).nome)  # wrong
    print(c.structured('Where?', City)[0].nome)  # wrong
    print(chat('Hi', stream=True).content)  # wrong
    print(chat('Hi').value)  # wrong
    print(Batch(m, ['Hi'], maxtoks=3))  # wrong
    chat('Hi', maxtok=3, max_cost=1), chat.toolloop('Hi', max_steps=3, approve=None), chat.retry(maxtok=3)
    print(Chat(m, tools=[], maxtok=3, timeout=3, max_calls=3), Client(m, timeout=3, default_headers={}))


async def awaited(m: str) -> None:
    chat, c = AsyncChat(m), AsyncClient(m)
    print(chat('Hi').content)  # wrong
    print(c.count('Hi') + 1)  # wrong
    print(chat.parse('Where?', City).name)  # wrong
    print((await chat.parse('Where?', City)).nome)  # wrong
    chat.toolloop('Hi', max_step=3)  # wrong
    AsyncChat(m, toolz=[])  # wrong
    await chat('Hi', maxtoks=3)  # wrong
    print((await chat.parse('Where?', City)).name, (await chat('Hi')).content, await c.count('Hi') + 1)
