"""What tools cost, as ratios measured in one run on an in-memory transport: `python bench/tools.py`"""
from time import process_time

from core import MODEL, row, sdk_client, times
from llmchat import Chat, mk_tool
from llmchat.protocol.schemas import bind


def weather(i):
    "A function like those that people give as tools"
    def get_weather(
        city: str, # Name of the city
        units: str = 'celsius', # Unit of the temperature
        days: int = 1 # How many days ahead
    ) -> str: # What the weather is like
        "Get the weather of a city."
        return f'{city}: 21 {units}'
    get_weather.__name__ = f'get_weather_{i}'
    return get_weather


def turn(chat):
    chat.h.clear()
    chat('Hi')


def main():
    print(f'{"milliseconds":44} {"with":>10} {"without":>10} {"ratio":>8} {"at most":>8}')
    tools, cli = [weather(i) for i in range(50)], sdk_client()
    began = process_time()
    schemas = [mk_tool(t).schema for t in tools]
    first = process_time() - began
    some, none = Chat(MODEL, cli, tools=tools), Chat(MODEL, cli)
    ask = dict(model=MODEL, max_tokens=4096, messages=[dict(role='user', content='Hi')])
    turn(some), turn(none), cli.messages.create(**ask, tools=schemas)
    with_, without, sdk_with, sdk_without = times(lambda: turn(some), lambda: turn(none),
        lambda: cli.messages.create(**ask, tools=schemas), lambda: cli.messages.create(**ask), n=41, reps=10)
    row('a turn with 50 tools', with_, without, 1.3)
    row('  the same call of the SDK alone', sdk_with, sdk_without, '')
    assert all(mk_tool(t).schema is s for t, s in zip(tools, schemas)), 'a schema is made once for each tool'
    again, = times(lambda: [mk_tool(t) for t in tools], n=21, reps=20)
    row('50 schemas, known against new', again, first, 0.01)
    call, args = mk_tool(tools[0]), dict(city='Rome', days=2)
    checked, bare = times(lambda: bind(call, args)(), lambda: tools[0](**args), n=21, reps=500)
    print(f'a call: arguments checked {checked*1e6:.1f} µs, the function alone {bare*1e6:.1f} µs')


if __name__ == '__main__': main()
