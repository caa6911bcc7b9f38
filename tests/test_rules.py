"What the API refuses, and that the sandbox refuses it in the same way: shape, rules, recorded requests"
import asyncio, base64, io, json, re, subprocess, sys, warnings
from datetime import datetime
from functools import cache
from importlib import import_module

import anthropic, pytest
from hypothesis import given, strategies as st
from jsonschema import Draft202012Validator
from PIL import Image

from common import MODEL, PDF, PNG, GIF, Sync, Async, needs_recordings, picture, recorded, seeded
from llmchat import mk_doc, mk_msg
from llmchat.sandbox import validation
from llmchat.protocol.requests import mk_request
from llmchat.sdk.lazy import LazyModule
from llmchat.sandbox.rules import RequestView, refusal, rules, small_request, sources
from llmchat.protocol.limits import image_size, max_image, max_marks, versions
from llmchat.sandbox import Sandbox
from llmchat.sandbox.models import beside, known_models, model_facts
from llmchat.sandbox.server import mk_model
from llmchat.sandbox.validation import bad_schema, misshapen, refused, request_schema

OLD, PLAIN = 'claude-older', 'claude-plain'
BASE = dict(max_input_tokens=200_000, max_tokens=64_000)
WITHOUT = ['image_input', 'pdf_input', 'citations', 'structured_outputs', 'effort', 'thinking']
MODELS = [mk_model(MODEL, no='thinking.types.enabled', **BASE), mk_model(OLD, no=['thinking.types.adaptive', 'effort.max'], **BASE),
    mk_model(PLAIN, no=WITHOUT, **BASE), mk_model('claude-gone', lifecycle='retired'), mk_model('claude-wide', max_input_tokens=1_000_000)]
KEYS = ['k', 'sandbox'] # 'sandbox' is what the clients of a sandbox have
HEADERS = {'x-api-key': 'k', 'anthropic-version': versions[-1]}
INVALID = 'invalid_request_error'

def text(s, **kw): return dict(type='text', text=s) | kw
def user(*content): return dict(role='user', content=list(content))
def said(*content): return dict(role='assistant', content=list(content))
def call(id='t1', name='now', **kw): return dict(type='tool_use', id=id, name=name, input={}) | kw
def result(id='t1', content='12:00'): return dict(type='tool_result', tool_use_id=id, content=content)
def image(kind='image/png', data=PNG):
    return dict(type='image', source=dict(type='base64', media_type=kind, data=data if isinstance(data, str) else base64.b64encode(data).decode()))
def pdf(data=PDF): return dict(type='document', source=dict(type='base64', media_type='application/pdf', data=base64.b64encode(data).decode()))
def tool(name='now', **schema): return dict(name=name, input_schema=dict(type='object', properties={}) | schema)
def marked(s='…', ttl='5m'): return text(s, cache_control=dict(type='ephemeral', ttl=ttl))
def asks(*msgs, **kw): return dict(model=MODEL, max_tokens=4096, messages=list(msgs) or [HI]) | kw
def without(key): return {k: v for k, v in asks().items() if k != key}

def search(id='s1', name='web_search', **kw): return dict(type='server_tool_use', id=id, name=name, input={}, **kw)

BY_CODE = dict(type='code_execution_20260120', tool_id='s1')
HI, PAGE = dict(role='user', content='Hi'), b'1 0 obj <</Type /Page>> endobj\n'
CITED = dict(type='char_location', cited_text='x', document_index=0, document_title=None, start_char_index=0, end_char_index=1)
FORMAT = dict(type='json_schema', schema=dict(type='object', properties={}, additionalProperties=False))
ON, ADAPTIVE = dict(type='enabled', budget_tokens=1024), dict(type='adaptive')
OLDER = {'anthropic-version': '2023-06-01'}

# What is sent: a body, or a body and headers. What the API says: a message, with its status and type where they are not 400 and the usual one
BAD = {
    # headers and size
    'no version': ((asks(), {'anthropic-version': None}), 'anthropic-version: header is required'),
    'unknown version': ((asks(), {'anthropic-version': '2024-01-01'}), 'anthropic-version: "2024-01-01" is not a valid version'),
    'no key': ((asks(), {'x-api-key': None, 'authorization': None}), 'x-api-key header is required', 401, 'authentication_error'),
    'wrong key': ((asks(), {'x-api-key': 'sk-wrong'}), 'invalid x-api-key', 401, 'authentication_error'),
    'too large': (asks(user(*[text('x' * 1_000_000)] * 34)), 'Request exceeds the maximum size', 413, 'request_too_large'),
    # shape
    'no messages key': (without('messages'), 'messages: Field required'),
    'no max_tokens': (without('max_tokens'), 'max_tokens: Field required'),
    'no model': (without('model'), 'model: Field required'),
    'unknown key': (asks(prompt='Hi'), 'prompt: Extra inputs are not permitted'),
    'max_tokens as text': (asks(max_tokens='9'), 'max_tokens: Input should be a valid integer'),
    'messages as text': (asks() | dict(messages='Hi'), 'messages: Input should be a valid list'),
    'unknown role': (asks(dict(role='tool', content='Hi')), "messages.0.role: Input should be 'user', 'assistant' or 'system'"),
    'no role': (asks(dict(content='Hi')), 'messages.0.role: Field required'),
    'no content': (asks(dict(role='user')), 'messages.0.content: Field required'),
    'content as number': (asks(dict(role='user', content=5)), 'messages.0.content: Input should be a valid list'),
    'unknown key in a message': (asks(HI | dict(name='me')), 'messages.0.name: Extra inputs are not permitted'),
    'block without type': (asks(user(dict(text='Hi'))), 'messages.0.content.0.type: Field required'),
    'block as text': (asks(user('Hi')), 'messages.0.content.0: Input should be a valid dictionary'),
    'text without text': (asks(user(dict(type='text'))), 'messages.0.content.0.text.text: Field required'),
    'unknown key in a block': (asks(user(text('Hi', id='1'))), 'messages.0.content.0.text.id: Extra inputs are not permitted'),
    'unknown key deep inside': (asks(user(text('x'), text('Hi', cache_control=dict(type='ephemeral', days=1)))), 'messages.0.content.1.text.cache_control.days: Extra inputs are not permitted'),
    'unknown lifetime': (asks(user(marked(ttl='1d'))), "messages.0.content.0.text.cache_control.ttl: Input should be '5m' or '1h'"),
    'BMP': (asks(user(image('image/bmp'))), "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"),
    'tool without schema': (asks(tools=[dict(name='now')]), 'tools.0.custom.input_schema: Field required'),
    'schema without type': (asks(tools=[dict(name='now', input_schema={})]), 'tools.0.custom.input_schema.type: Field required'),
    'schema of a list': (asks(tools=[tool(type='array')]), "tools.0.custom.input_schema.type: Input should be 'object'"),
    'picture as system prompt': (asks(system=[image()]), 'system.0.text: Field required'),
    'thinking without budget': (asks(thinking=dict(type='enabled')), 'thinking.enabled.budget_tokens: Field required'),
    'thinking block with breakpoint': (asks(HI, said(dict(type='thinking', thinking='x', signature='x', cache_control=dict(type='ephemeral')), text('x')), HI), 'messages.1.content.0.thinking.cache_control: Extra inputs are not permitted'),
    'temperature': (asks(temperature=1), 'temperature: Extra inputs are not permitted'),
    'top_p': (asks(model=OLD, top_p=1), 'top_p: Extra inputs are not permitted'),
    # model and limits
    'unknown model': (asks(model='claude-none'), 'model: claude-none', 404, 'not_found_error'),
    'retired model': (asks(model='claude-gone'), 'model: claude-gone', 404, 'not_found_error'),
    'no message': (asks() | dict(messages=[]), 'messages: at least one message is required'),
    'too many tokens': (asks(max_tokens=64_001), f'max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens for {MODEL}'),
    'negative tokens': (asks(max_tokens=-1), 'max_tokens: Input should be greater than or equal to 0'),
    # text
    'empty message': (asks(dict(role='user', content='')), 'messages.0: user messages must have non-empty content'),
    'message of nothing': (asks(user()), 'messages.0: user messages must have non-empty content'),
    'empty reply': (asks(HI, said(), HI), 'messages.1: all messages must have non-empty content except for the optional final assistant message'),
    'empty text': (asks(user(text(''))), 'messages: text content blocks must be non-empty'),
    'blank text': (asks(user(text(' \n'))), 'messages: text content blocks must contain non-whitespace text'),
    'blank message': (asks(dict(role='user', content=' ')), 'messages: text content blocks must contain non-whitespace text'),
    'blank reply': (asks(HI, said(text('\n')), HI), 'messages: text content blocks must contain non-whitespace text'),
    'empty system text': (asks(system=[text('')]), 'system: text content blocks must be non-empty'),
    'marked empty text': (asks(user(text('Hi'), marked(''))), 'messages.0.content.1.text: cache_control cannot be set for empty text blocks'),
    'blank stop sequence': (asks(stop_sequences=['x', '\n']), 'stop_sequences: each stop sequence must contain non-whitespace'),
    'long user id': (asks(metadata=dict(user_id='x' * 257)), 'metadata.user_id: String should have at most 256 characters'),
    # roles
    'call by a user': (asks(user(call())), 'messages.0: `tool_use` blocks can only be in `assistant` messages'),
    'thinking of a user': (asks(user(dict(type='thinking', thinking='x', signature='x'))), 'messages.0: `thinking` blocks can only be in `assistant` messages'),
    'result by the assistant': (asks(HI, said(result())), 'messages.1: `tool_result` blocks can only be in `user` messages'),
    'system first': (asks(dict(role='system', content='Be brief.'), HI), "messages.0: a 'system' message must come right after a user's message"),
    'thinking last': (asks(HI, said(text('x'), dict(type='redacted_thinking', data='x')), HI), 'messages.1: The final block in an assistant message cannot be `redacted_thinking`.'),
    'document of the assistant': (asks(HI, said(pdf(), text('x')), HI), 'messages.1.content.0: `document` blocks are not permitted in `assistant` messages'),
    'citations of a user': (asks(user(text('x', citations=[CITED]))), 'messages.0.content.0.text.citations: citations are not permitted in `user` messages'),
    # calls and results
    'call not answered': (asks(HI, said(call()), HI), 'messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t1. Each `tool_use` block must have a corresponding `tool_result` block in the next message.'),
    'calls not answered': (asks(HI, said(call('t1'), call('t2'), call('t3')), user(result('t2'))), 'messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t1, t3. Each `tool_use` block must have a corresponding `tool_result` block in the next message.'),
    'call at the end': (asks(HI, said(call())), 'messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t1. Each `tool_use` block must have a corresponding `tool_result` block in the next message.'),
    'answered too late': (asks(HI, said(call()), HI, said(text('x')), user(result())), 'messages.4.content.0: unexpected `tool_use_id` found in `tool_result` blocks: t1. Each `tool_result` block must have a corresponding `tool_use` block in the previous message.'),
    'result after text': (asks(HI, said(call()), user(text('Here:'), result())), 'messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t1. Each `tool_use` block must have a corresponding `tool_result` block in the next message.'),
    'result of nothing': (asks(user(result())), 'messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: t1. Each `tool_result` block must have a corresponding `tool_use` block in the previous message.'),
    'two results': (asks(HI, said(call()), user(result(), result())), 'messages.2.content.0: each tool_use must have a single result. Found multiple `tool_result` blocks with id: t1'),
    'one id twice': (asks(HI, said(call(), call()), user(result())), 'messages.1.content.1: `tool_use` ids must be unique'),
    'odd id': (asks(HI, said(call('t 1')), user(result('t 1'))), "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"),
    'odd id of a result': (asks(user(result('t 1'))), "messages.0.content.0.tool_result.tool_use_id: String should match pattern '^[a-zA-Z0-9_-]+$'"),
    'call of no name': (asks(HI, said(call(name='')), user(result())), 'messages.1.content.0.tool_use.name: String should have at least 1 character'),
    'call of a long name': (asks(HI, said(call(name='n' * 201)), user(result())), 'messages.1.content.0.tool_use.name: String should have at most 200 characters'),
    'call of an odd name': (asks(HI, said(call(name='get.time')), user(result())), "messages.1.content.0.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{1,200}$'"),
    'empty error': (asks(HI, said(call()), user(result(content='') | dict(is_error=True))), 'messages.2.content.0.tool_result: content cannot be empty if `is_error` is true'),
    'error of no blocks': (asks(HI, said(call()), user(result(content=[]) | dict(is_error=True))), 'messages.2.content.0.tool_result: content cannot be empty if `is_error` is true'),
    'server result of nothing': (asks(HI, said(dict(type='web_search_tool_result', tool_use_id='s1', content=[]), text('x')), HI), 'messages.1.content.0: unexpected `tool_use_id` found in `web_search_tool_result` blocks: s1. Each `web_search_tool_result` block must have a corresponding `server_tool_use` block before it.'),
    'server call left open': (asks(HI, said(text('x'), search()), HI), 'messages.1: `web_search` tool use with id `s1` was found without a corresponding `web_search_tool_result` block'),
    'server call before text': (asks(HI, said(search(), text('x'))), 'messages.1: `web_search` tool use with id `s1` was found without a corresponding `web_search_tool_result` block'),
    'server call, results and text': (asks(HI, said(search(), call()), user(result(), text('x'))), 'messages.1: `web_search` tool use with id `s1` was found without a corresponding `web_search_tool_result` block'),
    'call of an MCP server left open': ((asks(HI, said(dict(type='mcp_tool_use', id='m1', name='look', server_name='x', input={})), HI), {'anthropic-beta': 'mcp-client-2025-11-20'}), 'messages.1: `mcp` tool use with id `m1` was found without a corresponding `mcp_tool_result` block'),
    'waiting code without a container': (asks(HI, said(search(name='code_execution'), call(caller=BY_CODE)), user(result())), 'container_id is required when there are pending tool uses generated by code execution with tools.'),
    'unknown field of a reply': (asks(HI, said(text('x', tone='calm')), HI), 'messages.1.content.0.text.tone: Extra inputs are not permitted'),
    'unknown field of a citation': (asks(HI, said(text('x', citations=[CITED | dict(file_id='f')])), HI), 'messages.1.content.0.text.citations.0.char_location.file_id: Extra inputs are not permitted'),
    # tools
    'tool name': (asks(tools=[tool('what time')]), "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"),
    'two tools of one name': (asks(tools=[tool(), tool()]), 'tools: Tool names must be unique.'),
    'no JSON schema': (asks(tools=[tool(), tool('then', properties=dict(a=dict(type='text')))]), 'tools.1.custom.input_schema: JSON schema is invalid. It must match JSON Schema draft 2020-12 (https://json-schema.org/draft/2020-12). Learn more about tool use at https://docs.claude.com/en/docs/tool-use.'),
    'union of arguments': (asks(tools=[tool(anyOf=[])]), None),
    'argument name': (asks(tools=[tool(properties={'a b': {}})]), "tools.0.custom.input_schema.properties: Property keys should match pattern '^[a-zA-Z0-9_.-]{1,64}$'"),
    'choice without tools': (asks(tool_choice=dict(type='any')), 'tool_choice may only be specified while providing tools.'),
    'choice of no tool': (asks(tools=[tool()], tool_choice=dict(type='tool', name='then')), "Tool 'then' not found in provided tools"),
    'forced while thinking': (asks(model=OLD, tools=[tool()], tool_choice=dict(type='any'), thinking=ON), 'Thinking may not be enabled when tool_choice forces tool use.'),
    # thinking
    'small budget': (asks(model=OLD, thinking=dict(type='enabled', budget_tokens=1023)), 'thinking.enabled.budget_tokens: Input should be greater than or equal to 1024'),
    'budget of all tokens': (asks(model=OLD, thinking=dict(type='enabled', budget_tokens=4096)), '`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size'),
    'budget on a newer model': (asks(thinking=ON), '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'),
    'adaptive on an older model': (asks(model=OLD, thinking=ADAPTIVE), 'adaptive thinking is not supported on this model'),
    'effort on a plain model': (asks(model=PLAIN, output_config=dict(effort='low')), 'This model does not support the effort parameter.'),
    'too much effort': (asks(model=OLD, output_config=dict(effort='max')), "This model does not support effort level 'max'. Supported levels: high, low, medium, xhigh."),
    # sampling and prefill
    'sampling on a newer model': ((asks(top_k=3), OLDER), '`top_k` is deprecated for this model.'),
    'high temperature': ((asks(model=OLD, temperature=1.1), OLDER), 'temperature: range: 0..1'),
    'temperature while thinking': ((asks(model=OLD, temperature=0, thinking=ON), OLDER), '`temperature` may only be set to 1 when thinking is enabled.'),
    'prefill': (asks(HI, said(text('I'))), 'This model does not support assistant message prefill. The conversation must end with a user message.'),
    'prefill that ends with a space': (asks(HI, dict(role='assistant', content='I '), model=OLD), 'messages: final assistant content cannot end with trailing whitespace'),
    'prefill while thinking': (asks(HI, said(text('I')), model=OLD, thinking=ON), 'messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`. When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks).'),
    # pictures and documents
    'large picture': (asks(user(image(data='A' * (max_image + 4)))), 'messages.0.content.0.image.source.base64: image exceeds 5 MB maximum: 5242884 bytes > 5242880 bytes'),
    'no base64': (asks(user(image(data='Hello!'))), 'messages.0.content.0.image.source.base64: invalid base64 data'),
    'no picture': (asks(user(image(data=b'Hello!'))), 'Could not process image'),
    'no picture but its first bytes': (asks(user(image(data=PNG[:8] + b'and so on'))), 'Could not process image'),
    'picture of no size': (asks(user(image('image/gif', data=b'GIF89a' + bytes(20)))), 'Could not process image'),
    'picture of another kind': (asks(user(image('image/jpeg'))), 'messages.0.content.0.image.source.base64: The image was specified using the image/jpeg media type, but the image appears to be a image/png image'),
    'the same in a result': (asks(HI, said(call()), user(result(content=[text('x'), image('image/jpeg', GIF)]))), 'messages.2.content.0.tool_result.content.1.image.source.base64: The image was specified using the image/jpeg media type, but the image appears to be a image/gif image'),
    'no PDF': (asks(user(pdf(PNG))), 'messages.0.content.0.pdf.source.base64.data: The PDF specified was not valid.'),
    'long PDF': (asks(user(pdf(PDF + PAGE * 101))), 'messages.0.content.0.pdf.source.base64.data: A maximum of 100 PDF pages may be provided.'),
    'long PDF, wide model': (asks(user(pdf(PDF + PAGE * 601)), model='claude-wide'), 'messages.0.content.0.pdf.source.base64.data: A maximum of 600 PDF pages may be provided.'),
    'several PDFs': (asks(user(pdf(PDF + PAGE * 60), pdf(PDF + PAGE * 41))), 'messages.0.content.1.pdf.source.base64.data: A maximum of 100 PDF pages may be provided.'),
    'many pictures, wide model': (asks(HI, said(call()), user(result(content=[image()] * 601)), model='claude-wide'), 'too many images and documents: 601 + 0 > 600'),
    'wide picture': (asks(user(image(data=picture('PNG', size=(8001, 1))))), 'messages.0.content.0.image.source.base64.data: At least one of the image '
        'dimensions exceed max allowed size: 8000 pixels'),
    'many pictures': (asks(user(*[image()] * 100, pdf())), 'too many images and documents: 100 + 1 > 100'),
    'picture for a blind model': (asks(user(image()), model=PLAIN), 'messages.0.content.0: This model does not support image_input.'),
    'PDF for a blind model': (asks(user(pdf()), model=PLAIN), 'messages.0.content.0: This model does not support pdf_input.'),
    # citations and formats
    'some cited': (asks(user(mk_doc('x'), mk_doc('y', citations=False))), 'Citations must be enabled on all or none of the documents within a request.'),
    'cited by a plain model': (asks(user(mk_doc('x')), model=PLAIN), 'This model does not support citations.'),
    'cited in a format': (asks(user(mk_doc('x')), output_config=dict(format=FORMAT)), 'output_config.format: citations cannot be enabled together with an output format'),
    'format of a plain model': (asks(model=PLAIN, output_config=dict(format=FORMAT)), "'claude-plain' does not support output format."),
    'strict tool of a plain model': (asks(model=PLAIN, tools=[tool() | dict(strict=True)]), "'claude-plain' does not support output format."),
    'open format': (asks(output_config=dict(format=dict(type='json_schema', schema=dict(type='object')))), "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"),
    # the cache
    'many breakpoints': (asks(user(*[marked()] * 4), tools=[tool() | dict(cache_control=dict(type='ephemeral'))]), 'A maximum of 4 blocks with cache_control may be provided. Found 5.'),
    'many breakpoints, one automatic': (asks(user(*[marked()] * 4, text('x')), cache_control=dict(type='ephemeral')), 'A maximum of 4 blocks with cache_control may be provided. Found 5.'),
    'long after short': (asks(user(text('x'), marked(ttl='1h')), system=[marked()]), "messages.0.content.1.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks are processed in the following order: `tools`, `system`, `messages`."),
}
BAD['union of arguments'] = (asks(tools=[tool(anyOf=[dict(required=[])])]), 'tools.0.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level')

def post(way, sb, body, headers=None):
    "Send a body with the SDK as it is"
    options = dict(headers={k: anthropic.Omit() if v is None else v for k, v in (headers or {}).items()})
    cli = way.sdk(sb)
    if way is Sync: return cli.post('/v1/messages', body=body, cast_to=object, options=options)
    async def go(): return await cli.post('/v1/messages', body=body, cast_to=object, options=options)
    return asyncio.run(go())

def error(way, sent, path=None):
    "Status, type and message of the error for what is sent; None if there is none"
    body, headers = sent if isinstance(sent, tuple) else (sent, {})
    sb = Sandbox(['Hi'], models=MODELS, keys=KEYS)
    try: post(way, sb, body, headers)
    except anthropic.APIStatusError as e:
        assert len(sb.replies) == 1 and e.body['type'] == 'error' and e.request_id == 'req_0001'
        return e.status_code, e.body['error']['type'], e.body['error']['message']
    return None

def expected(name):
    sent, message, *kind = BAD[name]
    return sent, (*(kind or [400, INVALID]), message)

def test_the_table_is_long(): assert len(BAD) >= 60

@pytest.mark.parametrize('name', BAD)
def test_bad_requests(name):
    sent, wanted = expected(name)
    assert error(Sync, sent) == wanted

@pytest.mark.parametrize('name', list(BAD)[::4])
def test_bad_requests_async(name):
    sent, wanted = expected(name)
    assert error(Async, sent) == wanted

@pytest.mark.parametrize('r', rules.values(), ids=lambda r: r.name)
def test_every_rule_is_broken_by_its_example(r):
    "And by the client's side it is the error of the API, where the example is all in the request"
    q = small_request(**r.changes)
    q.bad_schema = r.changes.get('bad_schema', bad_schema)
    wanted = r.refusal(q)
    assert wanted == refusal(q, r.early) and (r.early or misshapen(q) is None) and r.source in sources
    if r.changes.keys() & {'size', 'tokens', 'bad_schema', 'info', 'batched'}: return
    sb = Sandbox(['Hi'], keys=r.changes.get('keys'), at='2025-07-01')
    with pytest.raises(anthropic.APIStatusError) as e: post(Sync, sb, q.body, {'x-api-key': None, 'anthropic-version': None} | q.headers | {'authorization': None})
    error = e.value.body['error']
    assert (e.value.status_code, error['type'], error['message']) == wanted and len(sb.replies) == 1

GOOD = {
    'text': asks(), 'blocks': asks(user(text('Hi'), image(), pdf())), 'no tokens': asks(max_tokens=0), 'empty system prompt': asks(system=''),
    'users in a row': asks(HI, HI), 'assistant first': asks(said(text('Hello.')), HI), 'instructions': asks(HI, dict(role='system', content='Be brief.')),
    'results in two messages': asks(HI, said(call('t1'), call('t2')), user(result('t1')), user(result('t2'), text('And?'))),
    'instructions after results': asks(HI, said(call()), user(result()), dict(role='system', content='Be brief.')),
    'result without content': asks(HI, said(call()), user(dict(type='tool_result', tool_use_id='t1'))),
    'prefill': asks(HI, said(text('I')), model=OLD), 'paused': asks(HI, said(text('x'), search())), 'server call beside a call': asks(HI, said(search(), call()), user(result())),
    'waiting code': asks(HI, said(search(), call(caller=BY_CODE)), user(result()), said(call('t2', caller=BY_CODE)), user(result('t2')), container='c1'),
    'four breakpoints': asks(user(*[marked()] * max_marks), cache_control=dict(type='ephemeral')), 'long, then short': asks(user(marked(ttl='1h'), marked())),
    'many pictures for a wide model': asks(user(*[image()] * 300), model='claude-wide'), 'schema': asks(tools=[tool(additionalProperties=False, title='x')]),
    'no tools, no choice': asks(tool_choice=dict(type='none')), 'thinking': asks(model=OLD, thinking=ON), 'effort': asks(thinking=ADAPTIVE, output_config=dict(effort='max')),
    'temperature': (asks(model=OLD, temperature=0.5, top_k=3), OLDER), 'temperature 1': (asks(model=OLD, temperature=1, thinking=ON), OLDER),
    'document of the assistant, once': (asks(HI, said(pdf(), text('x')), HI), OLDER), 'format': asks(output_config=dict(format=FORMAT)),
    'adaptive thinking and a forced tool': asks(model='claude-opus-4-6', tools=[tool()], tool_choice=dict(type='any'), thinking=ADAPTIVE),
    'result of an MCP server': (asks(HI, said(dict(type='mcp_tool_use', id='m1', name='look', server_name='x', input={}), dict(type='mcp_tool_result', tool_use_id='m1',
        is_error=False, content=[text('x')])), HI), {'anthropic-beta': 'mcp-client-2025-11-20'}),
    'one id in two messages': asks(HI, said(call()), user(result()), said(call()), user(result())),
    'null that a reply had': asks(HI, said(search(name='bash_code_execution'), dict(type='bash_code_execution_tool_result', tool_use_id='s1',
        content=dict(type='bash_code_execution_result', stdout='', stderr='', return_code=0, content=[], abort_reason=None))), HI),
    'blank before a call': asks(HI, said(text('\n\n'), call()), user(result())), 'all that a model can say': asks(model='claude-sonnet-5', max_tokens=128_000),
    'default temperature': (asks(model='claude-sonnet-5', temperature=1), OLDER),
    'server tools': asks(tools=[dict(type='web_search_20250305', name='web_search'), tool()]), 'container': asks(container='c1'), 'null': asks(container=None, speed=None)}

@pytest.mark.parametrize('name', GOOD)
def test_good_requests(name): assert error(Sync, GOOD[name]) is None

def test_rules_can_be_switched_off():
    assert post(Sync, Sandbox('Hi', validate=False), dict(model='x', messages=[], more=1))['type'] == 'message'

def test_a_model_that_nobody_knows_is_there_where_a_test_gives_it():
    future = asks(model='claude-of-the-future')
    assert post(Sync, Sandbox('Hi', models=['claude-of-the-future']), future)['type'] == 'message'
    with pytest.raises(anthropic.NotFoundError, match='model: claude-of-the-future'): post(Sync, Sandbox('Hi'), future)

def test_a_wrong_key_is_refused_on_every_route():
    sb = Sandbox(lambda body: 'Hi', keys={'right'})
    right, wrong, ask = sb.client(api_key='right'), sb.client(api_key='wrong'), dict(model=MODEL, max_tokens=9, messages=[HI])
    ways = [lambda c: c.messages.create(**ask), lambda c: c.messages.count_tokens(model=MODEL, messages=[HI]), lambda c: c.models.list(),
        lambda c: c.models.retrieve(MODEL), lambda c: c.messages.batches.create(requests=[dict(custom_id='a', params=ask)]),
        lambda c: c.messages.batches.list(), lambda c: c.beta.files.list(), lambda c: c.beta.files.upload(file=('a.txt', b'a', 'text/plain'))]
    for go in ways:
        with pytest.raises(anthropic.AuthenticationError, match='invalid x-api-key'): go(wrong)
        go(right)

def test_retired_by_the_clock_of_the_sandbox():
    old = asks(model='claude-sonnet-4-5')
    assert post(Sync, Sandbox('Hi'), old)['model'] == 'claude-sonnet-4-5-20250929'
    assert post(Sync, Sandbox('Hi', at='2026-11-30'), old)['type'] == 'message'
    with pytest.raises(anthropic.NotFoundError, match='model: claude-sonnet-4-5'): post(Sync, Sandbox('Hi', at='2026-12-01'), old)
    sb = Sandbox(lambda body: 'Hi', at='2026-11-30T23:00:00Z')
    assert post(Sync, sb, old)['type'] == 'message'
    sb.sleep(3600)
    with pytest.raises(anthropic.NotFoundError): post(Sync, sb, old)
    assert sb.client().models.retrieve('claude-sonnet-4-5').lifecycle == 'retired'

def test_each_fact_about_a_model_is_said_once_and_has_a_source():
    facts = model_facts()
    said = [(id, k, f['source']) for f in facts['facts'] for id in f['models'] for k in f['says']]
    assert len({(id, k) for id, k, _ in said}) == len(said)
    assert {s for *_, s in said} | {a['source'] for a in facts['aliases'].values()} | {'sdk'} == facts['sources'].keys()
    known = known_models()
    assert {id for id, *_ in said} == set(facts['models']) == known.keys() - facts['aliases'].keys()
    assert set(anthropic.types.model_param.ModelParam.__args__[0].__args__) <= known.keys()
    last_days = import_module('anthropic._data').DEPRECATED_MODELS
    for id, day in last_days.items():
        assert known[id]['retires_at'][:10] == datetime.strptime(re.sub('(st|nd|rd|th),', ',', day), '%B %d, %Y').strftime('%Y-%m-%d')
    def paths(o, at=''): return {at} | {p for k, v in o.items() if isinstance(v, dict) for p in paths(v, f'{at}.{k}'.strip('.'))}
    capable = paths(known[MODEL]['capabilities'])
    own = {'max_input_tokens', 'max_tokens', 'created_at', 'deprecated_at', 'retires_at', *beside}
    assert {k for _, k, _ in said} - own - capable == {'thinking.supported'}

def test_counting_is_checked_too():
    sb = Sandbox(models=MODELS)
    count = sb.client().messages.count_tokens
    assert count(model=MODEL, messages=[HI]).input_tokens > 0
    with pytest.raises(anthropic.BadRequestError, match='max_tokens: Extra inputs are not permitted'): count(model=MODEL, messages=[HI], extra_body=dict(max_tokens=3))
    with pytest.raises(anthropic.BadRequestError, match='at least one message'): count(model=MODEL, messages=[])
    with pytest.raises(anthropic.NotFoundError, match='model: claude-none'): count(model='claude-none', messages=[HI])

def batched(**kw):
    "The result of a request in a batch, and the sandbox"
    sb = Sandbox(lambda body: 'Hi')
    sb.batch_seconds = 0
    batches = sb.client().beta.messages.batches
    b = batches.create(requests=[dict(custom_id='a', params=asks(**kw.pop('params', {})))], **kw)
    return [o.result for o in batches.results(b.id)][0]

@pytest.mark.parametrize('params', [dict(max_tokens=0), dict(stream=True), dict(speed='fast')])
def test_what_a_batch_cannot_have(params):
    "Its request fails, and the batch does not"
    res = batched(params=params, betas=['fast-mode-2026-02-01'])
    assert res.type == 'errored' and res.error.error.message == f'{[*params][0]}: not supported in a batch'

def test_a_request_of_a_batch_has_the_betas_of_the_batch():
    thread = dict(params=dict(context_management=dict(edits=[])))
    assert batched(**thread).type == 'errored'
    assert batched(**thread, betas=['context-management-2025-06-27']).type == 'succeeded'
    assert batched(params=dict(stream=False)).type == 'succeeded'

def test_a_prompt_without_an_answer():
    "It costs no reply of the script and brings nothing"
    sb = Sandbox('Hi')
    for cli in sb.client(), Sandbox('Hi', pace=dict(first=1, rate=1), limits=dict(output_tokens=9)).client():
        r = cli.messages.create(**asks(max_tokens=0))
        assert (r.content, r.stop_reason, r.usage.output_tokens) == ([], 'max_tokens', 0)
        assert cli.messages.create(**asks()).content[0].text == 'Hi'
    for no in dict(stream=True), dict(output_config=dict(format=FORMAT)), dict(tools=[tool()], tool_choice=dict(type='any')):
        with pytest.raises(anthropic.BadRequestError, match='max_tokens: 0 is not supported|tool_choice'): Sandbox('Hi').client().messages.create(
            **asks(max_tokens=0, model='claude-opus-4-6') | no)

def test_a_thought_of_the_sandbox_comes_back_as_it_was():
    sb = Sandbox([[dict(type='thinking', thinking='Hm, 7?'), 'Yes.'], 'Hi', [dict(type='thinking', thinking='', signature='c2ln'), 'Hm.'], 'Hi'])
    cli = sb.client()
    def said_then(r): return cli.messages.create(**asks(HI, said(*[b.to_dict() for b in r.content]), HI))
    first = cli.messages.create(**asks())
    said_then(first)
    first.content[0].thinking = 'Hm, 8?'
    with pytest.raises(anthropic.BadRequestError, match='messages.1.content.0: Invalid `signature` in `thinking` block'): said_then(first)
    said_then(cli.messages.create(**asks())) # Who knows what the API signs
    with Sandbox([[dict(type='thinking', thinking='a b'), 'x']]).client().messages.stream(**asks()) as s:
        streamed = s.get_final_message()
    assert Sandbox('Hi').client().messages.create(**asks(HI, said(*[b.to_dict() for b in streamed.content]), HI))

@pytest.mark.parametrize('name', ['a' * 256, 'a:b', 'a/b', 'a\\b', 'a?', 'a<b', 'a>b', 'a|b', 'a*'])
def test_names_of_files(name):
    cli = Sandbox().client()
    with pytest.raises(anthropic.BadRequestError, match='filename: needs 1 to 255 characters'): cli.files.upload(file=(name, b'x'))
    assert cli.files.upload(file=('a' * 255, b'x')).filename == 'a' * 255

def test_files_in_their_place():
    cli = Sandbox(lambda body: 'Hi').client()
    ids = {m: cli.files.upload(file=('a', b'x', m)).id for m in ('image/png', 'application/pdf', 'text/plain', 'text/csv')}
    def put(kind, mime): return cli.messages.create(**asks(user(dict(type=kind, source=dict(type='file', file_id=ids[mime])))))
    for kind, mime in [('image', 'image/png'), ('document', 'application/pdf'), ('document', 'text/plain')]: put(kind, mime)
    for kind, mime in [('document', 'image/png'), ('image', 'application/pdf')]:
        with pytest.raises(anthropic.BadRequestError, match=f'Invalid file type: {mime}'): put(kind, mime)

def test_lists_of_files_by_id():
    cli = Sandbox().client()
    id = cli.files.upload(file=('a', b'x')).id
    assert [f.id for f in cli.files.list(ids=[id] * 100)] == [id]
    with pytest.raises(anthropic.BadRequestError, match='at most 100 ids'): cli.files.list(ids=[id] * 101)

def test_betas_have_more_parameters():
    body = asks(context_management=dict(edits=[]))
    assert error(Sync, body)[2] == 'context_management: Extra inputs are not permitted'
    assert error(Sync, (body, {'anthropic-beta': 'context-management-2025-06-27'})) is None

def test_what_is_sent_need_not_be_a_dict():
    for body in (None, [], 'x', b'x'): assert refused(body, MODELS[0], HEADERS) == (400, INVALID, 'The request body is not valid JSON')

def test_without_jsonschema_a_warning_says_what_to_install(monkeypatch):
    validation._warn.cache_clear(), validation._is_bad.cache_clear()
    monkeypatch.setattr(validation, 'jsonschema', LazyModule('jsonschema')) # One that has not been used yet
    monkeypatch.setitem(sys.modules, 'jsonschema', None)
    with pytest.warns(UserWarning, match=r"pip install -e '.\[sandbox\]'"): assert not bad_schema(dict(type='text'))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert not bad_schema(dict(type='text'))
    monkeypatch.undo()
    assert bad_schema(dict(type='text'))

def test_the_table_loads_nothing_heavy():
    code = "import sys, llmchat.sandbox.rules, llmchat.sandbox.validation; assert not {'anthropic', 'jsonschema', 'pydantic', 'pydantic_core'} & sys.modules.keys()"
    subprocess.run([sys.executable, '-c', code], check=True)

@seeded
@given(st.sampled_from([('PNG', 'RGB', {}), ('GIF', 'P', {}), ('JPEG', 'RGB', {}), ('JPEG', 'L', dict(progressive=True, exif=b'Exif\0\0x')), ('WEBP', 'RGB', {}),
    ('WEBP', 'RGBA', dict(lossless=True)), ('WEBP', 'RGB', dict(exif=b'Exif\0\0'))]), st.integers(1, 5000), st.integers(1, 9))
def test_the_size_of_an_image_is_read_of_its_header(how, width, height):
    kind, mode, kw = how
    Image.new(mode, (width, height)).save(buf := io.BytesIO(), kind, **kw)
    assert image_size(buf.getvalue()) == (width, height)
    for n in (4, 9, 15, 25): assert image_size(buf.getvalue()[:n]) is None

# ---- recorded requests

@needs_recordings
def test_recorded_requests():
    "They were made under the version before: as they are all pass there, and under the newest one all but those with a temperature"
    info = mk_model('claude-sonnet-4-6')
    for rec in recorded: assert refused(rec['request'], info, HEADERS | OLDER) is None
    now = [(refused(rec['request'], info, HEADERS), 'temperature' in rec['request']) for rec in recorded]
    assert {said and said.message for said, warm in now if warm} == {'temperature: Extra inputs are not permitted'}
    assert {said for said, warm in now if not warm} == {None} and len(now) == 76

# ---- any request

@cache
def judge(): return Draft202012Validator(request_schema())

names, words = st.from_regex('[a-z]{1,8}', fullmatch=True), st.text(st.characters(codec='utf-8'), min_size=1, max_size=20).filter(str.strip)
parts = words | st.sampled_from([PNG, GIF, PDF])
contents = words | st.lists(parts, min_size=1, max_size=3)
schemas = st.fixed_dictionaries(dict(name=names, description=words, input_schema=st.just(dict(type='object', properties=dict(a=dict(type='string'))))))
settings = st.fixed_dictionaries({}, optional=dict(sp=words, maxtok=st.integers(2000, 64_000), think=st.sampled_from(['low', 'high', 'max']), stop=st.lists(words, min_size=1, max_size=2),
    cache=st.booleans(), tools=st.lists(schemas, max_size=3, unique_by=lambda t: t['name']), tool_choice=st.none() | st.just(False)))

@st.composite
def dialogs(draw):
    msgs = [draw(contents)]
    for i in range(draw(st.integers(0, 3))):
        if draw(st.booleans()): msgs += [mk_msg(draw(words), 'assistant'), draw(contents)]
        else: msgs += [said(call(f't{i}', draw(names))), mk_msg([result(f't{i}', draw(words)), *draw(st.lists(parts, max_size=1))])]
    return msgs

requests = st.builds(lambda msgs, kw: json.loads(json.dumps(mk_request(MODEL, msgs, None, **kw))), dialogs(), settings)

@seeded
@given(requests)
def test_our_own_requests_always_pass(body):
    assert refused(body, MODELS[0], HEADERS) is None
    assert judge().is_valid(body)

def dicts(o, path=()):
    "All dicts in a request that the SDK's types describe"
    if isinstance(o, dict): yield o
    for k, v in o.items() if isinstance(o, dict) else enumerate(o) if isinstance(o, list) else ():
        if k not in ('input', 'input_schema'): yield from dicts(v, (*path, k))

@seeded
@given(requests, st.data())
def test_a_key_too_many_is_refused(body, data):
    data.draw(st.sampled_from(list(dicts(body))))['surplus'] = data.draw(st.none() | st.booleans() | words)
    no = refused(body, MODELS[0], HEADERS)
    assert (no.status, no.type) == (400, INVALID) and no.message.endswith('surplus: Extra inputs are not permitted')
    assert not judge().is_valid(body)

NEEDED = 'model', 'max_tokens', 'messages', 'role', 'content', 'type', 'text', 'source', 'data', 'media_type', 'tool_use_id', 'id', 'name', 'input', 'input_schema', 'effort'

@seeded
@given(requests, st.data())
def test_a_missing_key_is_refused(body, data):
    o = data.draw(st.sampled_from([d for d in dicts(body) if d.keys() & set(NEEDED)]))
    key = data.draw(st.sampled_from(sorted(o.keys() & set(NEEDED))))
    del o[key]
    optional = judge().is_valid(body)
    assert (misshapen(RequestView(body, None)) is None) == optional
    if not optional: assert refused(body, MODELS[0], HEADERS).status == 400

@seeded
@given(requests, st.data())
def test_both_validators_agree_on_any_change(body, data):
    "Pydantic's core, which speaks as the API does, and `jsonschema`, on the schema of a request"
    o = data.draw(st.sampled_from(list(dicts(body))))
    key = data.draw(st.sampled_from(sorted(o)) if o else st.just('x'))
    o[key] = data.draw(st.none() | st.booleans() | st.integers(0, 9) | words | st.just([]) | st.just({}) | st.just([{}]))
    assert (misshapen(RequestView(body, None)) is None) == judge().is_valid(body)
