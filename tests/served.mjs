// The official SDK for JavaScript against a served sandbox: what comes out, as JSON. Replies: tests/test_served.py
import Anthropic, { toFile } from '@anthropic-ai/sdk'

const client = new Anthropic({ maxRetries: 0 }), out = {}
const ask = { model: 'claude-sonnet-5', max_tokens: 100, messages: [{ role: 'user', content: 'Hi' }] }
const failure = async promise => { try { await promise } catch (e) { return [e.constructor.name, e.status, e.message] } }

out.create = (await client.messages.create(ask)).content[0].text
const stream = client.messages.stream(ask), pieces = []
stream.on('text', text => pieces.push(text))
const final = await stream.finalMessage()
out.stream = [pieces.length > 1, final.content[0].text, pieces.join('')]
out.events = []
for await (const event of await client.messages.create({ ...ask, stream: true })) out.events.push(event.type)
const tools = [{ name: 'sums', input_schema: { type: 'object', properties: { a: { type: 'number' } } } }]
const call = (await client.messages.create({ ...ask, tools })).content[0]
out.tool = [call.type, call.name, call.input]
const result = { type: 'tool_result', tool_use_id: call.id, content: '3' }
const dialog = [...ask.messages, { role: 'assistant', content: [call] }, { role: 'user', content: [result] }]
out.result = (await client.messages.create({ ...ask, tools, messages: dialog })).stop_reason
out.count = (await client.messages.countTokens({ model: ask.model, messages: ask.messages })).input_tokens
out.models = []
for await (const model of client.models.list({ limit: 2 })) out.models.push(model.id)
out.model = (await client.models.retrieve('claude-sonnet-5')).id

const batch = await client.messages.batches.create({ requests: ['a', 'b'].map(custom_id => ({ custom_id, params: ask })) })
out.batch = (await client.messages.batches.retrieve(batch.id)).processing_status
out.results = {}
for await (const o of await client.messages.batches.results(batch.id)) out.results[o.custom_id] = o.result.message.content[0].text
out.deleted = (await client.messages.batches.delete(batch.id)).type
const file = await client.files.upload({ file: await toFile(Buffer.from('abc'), 'a.txt', { type: 'text/plain' }) })
out.file = [file.filename, file.size_bytes, file.mime_type]
out.files = (await client.files.list()).data.length

out.invalid = await failure(client.messages.create({ ...ask, max_tokens: 'many' }))
out.overloaded = await failure(client.messages.create(ask))
out.refused = await failure(client.messages.create(ask))
const broken = client.messages.stream(ask)
out.cut = await failure(broken.finalMessage())
out.after = (await client.messages.create(ask)).content[0].text
console.log(JSON.stringify(out))
