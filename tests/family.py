"""A script as people of the family of small notebook-first chat wrappers write it; only its import names this library.

tests/test_family.py runs it against a sandbox, which says what each call answers."""
import asyncio
from dataclasses import dataclass
from pathlib import Path

from llmchat import *

model = models[0]
img = Path(picture).read_bytes() # type: ignore[name-defined] # noqa: F821 - the test says where

# A chat that remembers
chat = Chat(model, sp='You are a helpful and concise assistant.')
chat("I'm Jeremy")
r = chat("What's my name?")
assert contents(r) == 'Your name is Jeremy.'
assert r.stop_reason == 'end_turn' and r.usage.output_tokens > 0
assert chat.h[0] == mk_msg("I'm Jeremy") and [m['role'] for m in chat.h] == ['user', 'assistant'] * 2
assert chat.use.total > 0 and chat.cost > 0 and 'In: ' in repr(chat.use)

# A stream, piece by piece
pieces = [o for o in chat('Count to five.', stream=True)]
assert ''.join(pieces) == '1, 2, 3, 4, 5'
s = chat('Count again.', stream=True)
for o in s: print(o, end='')
assert contents(s.value) == '1, 2, 3, 4, 5'

# A client without memory, with a dialog and a prefill that an older model takes
c = Client('claude-sonnet-4-5')
c(mk_msgs(["I'm Jeremy", 'Hello Jeremy!', 'Who am I?']))
r = c('Concisely, what is the meaning of life?', prefill='According to Douglas Adams, ', stop=['END'], maxtok=100)
assert contents(r).startswith('According to Douglas Adams, 42') and c.result is r and c.use.total > 0

# Tools: by hand, in a turn, in a loop
def sums(
    a: int, # First thing to sum
    b: int = 1 # Second thing to sum
) -> int: # The sum of the inputs
    "Adds a + b."
    return a + b

a, b = 604542, 6458932
r = c(f'What is {a}+{b}?', tools=[sums], tool_choice='sums')
assert find_block(r, 'tool_use').input == dict(a=a, b=b)
res = mk_toolres(r, ns=[sums])
assert mk_funcres(find_block(r, 'tool_use'), ns=[sums])['content'] == str(a + b)
c([f'What is {a}+{b}?', *res], tools=[sums])

chat = Chat(model, tools=[sums])
r = chat(f'What is {a}+{b}?')
assert r.stop_reason == 'tool_use'
r = chat()
assert str(a + b) in contents(r)

orders = dict(O1=dict(id='O1', status='Shipped'), O2=dict(id='O2', status='Processing'))
def get_order(order_id: str) -> dict:
    "Look an order up."
    return orders[order_id]

def cancel_order(order_id: str) -> bool:
    "Cancel an order."
    orders[order_id]['status'] = 'Cancelled'
    return True

chat = Chat(model, tools=[get_order, cancel_order])
for o in chat.toolloop('Please cancel order O2.', max_steps=5): print(contents(o))
assert orders['O2']['status'] == 'Cancelled' and len(chat.h) == 6
parts = chat.toolloop('And O1?', stream=True, cont_func=lambda *msgs: True)
for o in parts:
    if hasattr(o, '__iter__') and not isinstance(o, dict):
        for piece in o: print(piece, end='')

# Images, alone or with text
chat = Chat(model)
r = chat([img, 'In brief, what color flowers are in this image?'])
chat(Path(picture)) # type: ignore[name-defined] # noqa: F821
assert [p['type'] for p in chat.h[0]['content']] == ['image', 'text']

# Values instead of text
@dataclass
class President:
    "Information about a president"
    first: str # First name
    last: str # Last name
    years: list[str] # Years in office

p, = c.structured('Who was the first president?', President)
assert p == President('George', 'Washington', ['1789-1797'])
assert c.structured('What is 2+3?', [sums]) == [5]

# A cached prefix, thinking, citations
chat = Chat(model, cache=True)
chat(mk_msg(['A long text. ' * 50, 'Summarize it.'], cache=True))
chat('Shorter.', maxthinktok=2000)
chat([mk_doc('Grass is green.', title='Colors'), 'What color is grass?'])

# History is a plain list
chat = Chat(model, hist=['Hi', 'Hello!'])
chat.h += ["I'm Jeremy", 'Nice to meet you.']
chat('Who am I?')
assert [m['role'] for m in chat.h] == ['user', 'assistant'] * 3
chat.h = []
chat('Anew.')
assert len(chat.h) == 2


async def main():
    "The same, awaited"
    chat = AsyncChat(model, sp='You are concise.', tools=[sums])
    r = await chat("I'm Jeremy")
    assert contents(r) == 'Hello!'
    r = await chat('Count.', stream=True)
    async for o in r: print(o, end='')
    assert contents(r.value) == '1, 2, 3'
    async for o in chat('Count.', stream=True): print(o, end='')
    async for o in chat.toolloop(f'What is {a}+{b}?'): print(contents(o))
    async for part in await chat.toolloop(f'What is {a}+{b}?', stream=True):
        if not isinstance(part, dict):
            async for piece in part: print(piece, end='')
    c = AsyncClient(model)
    p, = await c.structured('Who was the first president?', President)
    assert p.last == 'Washington'
    r = await c('Sum.', tools=[sums])
    assert (await mk_toolres_async(r, ns=[sums]))[1]['content'][0]['content'] == '3'
    chats = [AsyncChat(model) for _ in range(3)]
    rs = await asyncio.gather(*[o('Hi') for o in chats])
    assert [contents(r) for r in rs] == ['Hi.'] * 3


asyncio.run(main())
