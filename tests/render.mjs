// Renders Markdown as marked and markdown-it do: a JSON string a line in, a JSON list of their HTML a line out.
// Loaded from the folder in which they are installed: the working directory.
import {createInterface} from 'node:readline'
import {marked} from 'marked'
import MarkdownIt from 'markdown-it'

const md = new MarkdownIt({html: true, linkify: true})
md.validateLink = () => true // A link that only the renderer stops is a hole too
for await (const line of createInterface({input: process.stdin})) {
  const text = JSON.parse(line)
  console.log(JSON.stringify([marked.parse(text), md.render(text)]))
}
