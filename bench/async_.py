"""What async costs against the SDK it stands on, measured in one run on an in-memory transport: `python bench/async_.py`"""
import asyncio, gc, sys, time, tracemalloc
from statistics import mean

import anthropic, httpx2
from core import MODEL, REPLY, row, times
from llmchat import AsyncChat, AsyncClient, Sandbox
from llmchat.sandbox.server import tool_use

ASK = dict(model=MODEL, max_tokens=4096, messages=[dict(role='user', content='Hi')])


def sdk_client(text='Hello!'):
    "An async SDK client with a transport that answers from memory, after a turn of the event loop"
    reply = REPLY | dict(content=[dict(type='text', text=text)])
    async def answer(request):
        await asyncio.sleep(0)
        return httpx2.Response(200, json=reply)
    return anthropic.AsyncAnthropic(api_key='none', http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(answer)))


def eight_tools(is_async):
    "Seconds of a turn that calls eight tools of 0.2 seconds"
    async def wait(n: int) -> int:
        await asyncio.sleep(0.2)
        return n
    def block(n: int) -> int:
        time.sleep(0.2)
        return n
    f = wait if is_async else block
    async def go():
        chat = AsyncChat(MODEL, Sandbox(lambda body: [tool_use(f.__name__, n=n) for n in range(8)]).aclient(), tools=[f])
        await chat('Hi')
        chat.h.clear()
        began = time.perf_counter()
        await chat('Hi')
        assert [b['content'] for b in chat.last[1]['content']] == list('01234567')
        return time.perf_counter() - began
    return min(asyncio.run(go()) for _ in range(3))


def together(n, one):
    "`n` calls at once, in an event loop of their own"
    async def go(): await asyncio.gather(*(one() for _ in range(n)))
    asyncio.run(go())


def size(o):
    "Bytes that plain data takes, all in all, each object once"
    seen, todo, res = set(), [o], 0
    while todo:
        x = todo.pop()
        if id(x) in seen: continue
        seen.add(id(x))
        res += sys.getsizeof(x)
        todo += [*x.keys(), *x.values()] if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else []
    return res


def memory(n, turns):
    "Bytes that `n` chats of some turns have added, and bytes that their histories hold"
    async def go():
        cli = AsyncClient(MODEL, sdk_client('word ' * 400))
        async def talk(chat):
            for i in range(turns): await chat(f'Turn {i}')
        await asyncio.gather(*(talk(AsyncChat(cli=cli)) for _ in range(20)))
        assert cli.cost # the price list is in memory
        gc.collect()
        tracemalloc.start()
        chats = [AsyncChat(cli=cli) for _ in range(n)]
        await asyncio.gather(*map(talk, chats))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return grown, size([c.h for c in chats])
    return asyncio.run(go())


def main():
    print(f'{"seconds":44} {"took":>10} {"at most":>8}')
    for what, is_async, limit in (('8 async tools of 0.2 s', True, 0.26), ('8 sync tools of 0.2 s', False, 0.3)):
        print(f'{what:44} {eight_tools(is_async):10.3f} {limit:8}')
    print(f'\n{"milliseconds":44} {"llmchat":>10} {"SDK":>10} {"ratio":>8} {"at most":>8}')
    cli = sdk_client()
    c = AsyncClient(MODEL, cli)
    ours, theirs = (lambda: AsyncChat(cli=c)('Hi')), (lambda: cli.messages.create(**ASK))
    together(10, ours), together(10, theirs)
    # The mean: a full garbage collection takes as long as 200 chats, and falls into some runs and not into others
    row('500 chats at once', *times(lambda: together(500, ours), lambda: together(500, theirs), n=25, middle=mean), 1.3)
    print(f'\n{"KB":44} {"grown":>10} {"in .h":>10} {"ratio":>8}')
    for n, turns in ((100, 4), (100, 16), (400, 4)):
        grown, held = memory(n, turns)
        print(f'{f"{n} chats of {turns} turns":44} {grown/1024:10.0f} {held/1024:10.0f} {grown/held:8.3f}')


if __name__ == '__main__': main()
