"Values instead of text: the calls that a model makes, or one object of a type, natively or by a forced tool"
import json
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional

import anthropic, pytest
from hypothesis import given, settings
from pydantic import BaseModel, Field

from common import MODEL, both, check_history, check_request, seeded
from llmchat import Client, ReplyError, Sandbox
from llmchat.sandbox.server import Fail, mk_model, tool_use
from llmchat.engine.structured import ReplyType, is_closed
from llmchat.engine.tool_results import to_json
from test_tools import TYPES, Address, Folder, Pair, Person, Point, Size, Tree, same

OLD = 'claude-without-formats'
MODELS = [mk_model(MODEL), mk_model(OLD, no='structured_outputs')]
NO_FORCE = Fail(400, 'tool_choice: forcing a tool is not supported by this model')

def sums(a: int, b: int) -> int:
    "Adds."
    return a + b

async def asums(a: int, b: int) -> int: return a + b
def fails(): raise ValueError('no')
SUM = tool_use('sums', a=1, b=2)
POINT = tool_use('Point', x=1, y=0.5)

def kinds(way):
    "A client and a chat, which are asked alike"
    def client(sb, model=MODEL, **kw): return way.Client(model, way.sdk(sb), **kw)
    def chat(sb, model=MODEL, **kw): return way.Chat(model, way.sdk(sb), **kw)
    return client, chat

each = pytest.mark.parametrize('kind', [0, 1], ids=['client', 'chat'])

# ---- any type, both ways

def envelope(T, value):
    "The JSON that stands for a value"
    data = json.loads(to_json(value))
    return dict(value=data) if ReplyType(T).wrapped else data

@pytest.mark.parametrize('T,values', TYPES, ids=lambda o: str(o) if not hasattr(o, 'example') else None)
@pytest.mark.parametrize('model', [MODEL, OLD])
def test_parse_any_type(model, T, values):
    @settings(seeded, max_examples=5)
    @given(values)
    def there_and_back(value):
        def reply(body):
            data = envelope(T, value)
            return [tool_use(body['tool_choice']['name'], **data)] if 'tool_choice' in body else json.dumps(data)
        sb = Sandbox(reply, models=MODELS)
        assert same(Client(model, sb.client()).parse('Go', T), value)
        for r in sb.requests[-1:]:
            check_request(r.body)
            assert ('output_config' in r.body) == (model == MODEL and is_closed(ReplyType(T).schema)) != ('tools' in r.body)
            assert (r.body.get('tool_choice') or {}).get('type', 'tool') == 'tool'
    there_and_back()

CLOSED = [int, str, list[int], Size, Point, Address, Person, Optional[int], date, Decimal, Literal['a', 'b'], set[int], list[Point], int | str]
OPEN = [dict[str, int], dict, list, Tree, Folder, tuple[int, str], Pair, Any, list[Any], dict[str, Point], list[dict[str, int]]]

@pytest.mark.parametrize('T', CLOSED + OPEN, ids=str)
def test_what_a_format_can_describe(T):
    answer = ReplyType(T)
    assert is_closed(answer.schema) == (T in CLOSED)
    if T not in CLOSED: return
    schema = answer.settings['output_config']['format']['schema']
    def objects(o):
        if isinstance(o, dict) and o.get('type') == 'object': yield o
        for x in o.values() if isinstance(o, dict) else o if isinstance(o, list) else (): yield from objects(x)
    assert all(o['additionalProperties'] is False and o['properties'] for o in objects(schema))

@both
@each
def test_a_dict_arrives_filled(way, kind):
    sb = Sandbox([[tool_use('answer', value=dict(apples=3, pears=2))]], models=MODELS)
    c = kinds(way)[kind](sb)
    assert way.call(c.parse, 'Stock?', dict[str, int]) == dict(apples=3, pears=2)
    body = sb.requests[-1].body
    assert body['tool_choice'] == dict(type='tool', name='answer') and 'output_config' not in body
    assert body['tools'][0]['input_schema']['properties']['value']['additionalProperties'] == dict(type='integer')

@both
@each
def test_parse_natively_sends_no_tool(way, kind):
    sb = Sandbox(['{"x":1,"y":2}'], models=MODELS)
    assert way.call(kinds(way)[kind](sb).parse, 'Where?', Point) == Point(1, 2)
    body = sb.requests[-1].body
    assert body['output_config']['format']['schema']['properties'].keys() == {'x', 'y'}
    assert not {'tools', 'tool_choice'} & body.keys()

@both
def test_parse_in_a_chat_with_tools_keeps_them_but_calls_none(way):
    sb = Sandbox([[SUM], '{"x":1,"y":2}', [tool_use('answer', value={})]], models=MODELS)
    chat = way.Chat(MODEL, way.sdk(sb), tools=[sums], approve=lambda call: call['name'] == 'sums', max_calls=2)
    way.call(chat, 'Hi')
    assert way.call(chat.parse, 'Where?', Point) == Point(1, 2)
    assert sb.requests[-1].body['tool_choice'] == dict(type='none') and [t['name'] for t in sb.requests[-1].body['tools']] == ['sums']
    assert way.call(chat.parse, 'All?', dict[str, int]) == {}
    assert [t['name'] for t in sb.requests[-1].body['tools']] == ['answer'] and chat.calls == 1
    check_history(chat.h)

@both
def test_other_settings_go_along(way):
    sb = Sandbox(['{"x":1}', [SUM]], models=MODELS)
    c = way.Client(MODEL, way.sdk(sb))
    way.call(c.parse, 'Where?', Point, sp='Be exact.', maxtok=99, output_config=dict(effort='low'))
    body = sb.requests[-1].body
    assert (body['system'], body['max_tokens'], body['output_config']['effort'], body['output_config']['format']['type']) == ('Be exact.', 99, 'low', 'json_schema')
    way.call(c.structured, ['Hi', 'Hello', 'Add.'], sums, tool_choice='sums')
    assert sb.requests[-1].body['tool_choice'] == dict(type='tool', name='sums') and len(sb.requests[-1].body['messages']) == 3

@both
def test_thinking_is_not_taken_for_the_answer(way):
    sb = Sandbox([[dict(type='thinking', thinking='{"x": 9}'), '{"x":1}']], models=MODELS)
    assert way.call(way.Client(MODEL, way.sdk(sb)).parse, 'Where?', Point, think='low') == Point(1)

class City(BaseModel):
    "A city of the world."
    name: Annotated[str, Field(description='In English')]

def test_the_model_is_told_what_a_type_is_for():
    sb = Sandbox([[tool_use('City', name='Rome')]], models=MODELS)
    Client(OLD, sb.client()).parse('Capital of Italy?', City)
    tool, = sb.requests[-1].body['tools']
    assert (tool['name'], tool['description'], tool['input_schema']['properties']['name']['description']) == ('City', 'A city of the world.', 'In English')

# ---- calls

@both
@each
def test_structured_gives_the_values_in_order(way, kind):
    sb = Sandbox([[SUM, POINT, tool_use('asums', a=3, b=4), 'Done.']], models=MODELS)
    c = kinds(way)[kind](sb)
    assert way.call(c.structured, 'Go', [sums, Point, asums]) == [3, Point(1, 0.5), 7]
    assert sb.requests[-1].body['tool_choice'] == dict(type='any')
    if kind: check_history(c.h)

@both
@each
def test_structured_with_a_schema_and_a_namespace(way, kind):
    c = kinds(way)[kind](Sandbox([[SUM]]))
    assert way.call(c.structured, 'Go', dict(name='sums', input_schema=dict(type='object')), ns=[sums]) == [3]

@both
@each
def test_where_force_is_refused_it_is_asked_without(way, kind):
    sb = Sandbox([NO_FORCE, [SUM], NO_FORCE, 'I would rather not.', Fail(400, 'max_tokens: too many')], models=MODELS)
    c = kinds(way)[kind](sb)
    assert way.call(c.structured, 'Go', sums) == [3]
    assert [r.body.get('tool_choice') for r in sb.requests] == [dict(type='any'), None]
    with pytest.raises(ReplyError, match='The model made no call.*I would rather not') as e: way.call(c.structured, 'Go', sums)
    assert e.value.reply.stop_reason == 'end_turn'
    with pytest.raises(anthropic.BadRequestError, match='too many'): way.call(c.structured, 'Go', sums)
    assert len(sb.requests) == 5

# ---- what does not fit

WRONG = dict(missing='{}', kind='{"x":"one"}', cut='{"x":', text='It is at one.', array='[1]', empty='')

@both
@each
@pytest.mark.parametrize('what', WRONG)
def test_a_reply_that_does_not_fit_is_an_error_that_holds_it(way, kind, what):
    c = kinds(way)[kind](Sandbox([WRONG[what] or dict(content=[])], models=MODELS))
    with pytest.raises(ReplyError, match='Wrong arguments') as e: way.call(c.parse, 'Where?', Point)
    assert e.value.reply.to_dict()['content'] == ([dict(type='text', text=WRONG[what])] if WRONG[what] else [])
    assert c.use.out == e.value.reply.usage.output_tokens and c.cost > 0
    assert isinstance(e.value, ValueError) and getattr(c, 'h', []) == []

@both
@each
@pytest.mark.parametrize('reason,says', [('max_tokens', 'cut at `maxtok`'), ('refusal', 'refused'), ('model_context_window_exceeded', 'context is full'), ('stop_sequence', 'stop sequence')])
def test_a_cut_reply_is_not_asked_for_again(way, kind, reason, says):
    for reply, ask in [('{"x":', lambda c: c.parse), ([POINT], lambda c: c.structured)]:
        sb = Sandbox([dict(content=reply, stop_reason=reason), 'Well.'], models=MODELS)
        c = kinds(way)[kind](sb)
        with pytest.raises(ReplyError, match=f'{says}.*{reason}'): way.call(ask(c), 'Where?', Point, retries=3)
        assert len([r for r in sb.requests if r.method == 'POST']) == 1 and getattr(c, 'h', []) == []

@both
@each
def test_a_cut_reply_that_fits_is_taken(way, kind):
    c = kinds(way)[kind](Sandbox([dict(content='{"x":1}', stop_reason='max_tokens')], models=MODELS))
    assert way.call(c.parse, 'Where?', Point) == Point(1)

@both
@each
def test_retries_tell_the_model_what_was_wrong(way, kind):
    sb = Sandbox(['{"x":"one"}', 'Sorry.', '{"x":1}', 'Thanks.'], models=MODELS)
    c = kinds(way)[kind](sb)
    assert way.call(c.parse, 'Where?', Point, retries=2) == Point(1)
    msgs = sb.requests[-1].body['messages']
    assert [m['role'] for m in msgs] == ['user', 'assistant'] * 2 + ['user']
    assert msgs[2]['content'] == 'Wrong arguments. x: Input should be a valid integer, unable to parse string as an integer (received "one")'
    if kind:
        assert len(c.h) == 6
        check_history(c.h)

@both
@each
def test_retries_of_calls_send_their_results(way, kind):
    sb = Sandbox([[tool_use('sums', a='x', b=1), SUM], [SUM]], models=MODELS)
    c = kinds(way)[kind](sb)
    assert way.call(c.structured, 'Go', sums, retries=1) == [3]
    results = sb.requests[-1].body['messages'][2]['content']
    assert [r.get('is_error', False) for r in results] == [True, False] and results[0]['content'].startswith('Wrong arguments. a')
    if kind: check_history(c.h)

@both
@each
@pytest.mark.parametrize('reply,says', [([tool_use('fails')], 'ValueError: no'), ([tool_use('nope')], "There is no tool 'nope'"), ('Words.', 'made no call'),
    ([SUM, tool_use('fails')], 'ValueError: no')])
def test_calls_that_fail_are_errors(way, kind, reply, says):
    c = kinds(way)[kind](Sandbox([reply]))
    with pytest.raises(ReplyError, match=says): way.call(c.structured, 'Go', [sums, fails])
    assert getattr(c, 'h', []) == [] and c.use.total > 0

@both
def test_every_attempt_is_counted(way):
    chat = way.Chat(MODEL, way.sdk(Sandbox(['{', '{', '{'], models=MODELS)), log=True)
    with pytest.raises(ReplyError): way.call(chat.parse, 'Where?', Point, retries=2)
    assert len(chat.c.log) == 3 and chat.use.out == sum(e['reply'].usage.output_tokens for e in chat.c.log) and chat.h == []

@both
def test_a_limit_holds_between_attempts(way):
    sb = Sandbox(lambda body: '{', models=MODELS)
    chat = way.Chat(MODEL, way.sdk(sb), max_cost=1e-9)
    with pytest.raises(RuntimeError, match='max_cost'): way.call(chat.parse, 'Where?', Point, retries=5)
    assert len([r for r in sb.requests if r.path == '/v1/messages']) == 1 and chat.h == []

@both
@each
def test_a_type_without_a_schema_is_refused_before_anything_is_sent(way, kind):
    import threading
    sb = Sandbox(['x'])
    c = kinds(way)[kind](sb)
    with pytest.raises(TypeError, match='no JSON schema'): way.call(c.parse, 'Go', threading.Thread)
    with pytest.raises(TypeError, match="'order'"):
        def f(order): ...
        way.call(c.structured, 'Go', f)
    assert not sb.requests

@both
def test_a_model_that_the_api_does_not_know_is_asked_natively(way):
    sb = Sandbox(['{"x":1}'], models=[], validate=False)
    assert way.call(way.Client('claude-unknown', way.sdk(sb)).parse, 'Where?', Point) == Point(1)
    assert 'output_config' in sb.requests[-1].body
