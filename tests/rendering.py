"What becomes of Markdown in renderers that let HTML through"
import json, os, random, re, shutil, subprocess
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import mistune
from markdown_it import MarkdownIt
from nbconvert.filters.markdown_mistune import markdown2html_mistune

commonmark = MarkdownIt('commonmark', {'html': True})
gfm = MarkdownIt('commonmark', {'html': True}).enable(['table', 'strikethrough'])
RENDERERS = dict(commonmark=commonmark.render, gfm=gfm.render, mistune=mistune.create_markdown(escape=False), nbconvert=markdown2html_mistune,
    plugins=mistune.create_markdown(escape=False, plugins=['strikethrough', 'table', 'footnotes', 'url', 'task_lists', 'def_list']))
for md in (commonmark, gfm): md.validateLink = lambda url: True # a link that only the renderer stops is a hole too

@cache
def _node():
    "A process that renders as marked, on which JupyterLab builds, and as markdown-it do"
    script = (Path(__file__).parent/'render.mjs').read_text()
    return subprocess.Popen(['node', '--input-type=module', '--eval', script], cwd=NODE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

@cache
def _by_node(text):
    _node().stdin.write(json.dumps(text) + '\n')
    _node().stdin.flush()
    return json.loads(_node().stdout.readline())

# The folder where `npm install marked markdown-it` was run; without it, or without node, these two are not tested
NODE = os.environ.get('LLMCHAT_NODE')
if NODE and shutil.which('node'): RENDERERS |= {'marked': lambda text: _by_node(text)[0], 'markdown-it': lambda text: _by_node(text)[1]}

TAGS = {*'p em strong a code pre ul ol li blockquote h1 h2 h3 h4 h5 h6 hr br del s table thead tbody tr th td span'.split(),
    *'sup section input dl dt dd div'.split()}
ATTRS = dict({f'h{i}': {'id'} for i in range(1, 7)}, span={'class'}, div={'class'}, a={'href', 'title', 'class', 'id'}, img={'src', 'alt'}, code={'class'}, ol={'start'}, li={'id', 'class'}, sup={'class', 'id'},
    section={'class'}, input={'class', 'type', 'disabled', 'checked'}, th={'style', 'align'}, td={'style', 'align'})
PICTURE = re.compile('data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+=*$') # In the page itself, so that nothing is fetched
SCHEMES = {'', 'http', 'https', 'mailto'}

MATH = re.compile(r'\$.*\$|\\\(.*\\\)|\\\[.*\\\]|\\begin\{.*\\end\{', re.S) # what MathJax looks for within one text

class Page(HTMLParser):
    "Reads a page; `problems` is what must not be in it, `code` all that shows as code, `text` the rest"
    def __init__(self, html, tags=TAGS):
        super().__init__()
        self.tags, self.problems, self.code, self.text, self._run, self._open = tags, [], [], [], '', []
        self.feed(html)
        self.close()
        self._end_run()

    def _end_run(self):
        run, self._run = self._run, ''
        if not run: return
        if any(t in ('code', 'pre') for t in self._open): return self.code.append(run)
        if MATH.search(run): self.problems.append(f'math: {run}')
        self.text.append(run)

    def handle_starttag(self, tag, attrs):
        if tag != 'span' or not {'code', 'pre'} & {*self._open}: self._end_run()
        if tag not in self.tags: self.problems.append(f'tag: {tag}')
        for k, v in attrs:
            if k not in ATTRS.get(tag, ()): self.problems.append(f'attribute: {tag} {k}={v}')
            if k == 'href' and _scheme(v or '') not in SCHEMES or k == 'src' and not PICTURE.match(v or ''):
                self.problems.append(f'link: {v}')
        if tag not in ('br', 'hr', 'img', 'input'): self._open.append(tag)

    def handle_endtag(self, tag):
        if tag != 'span' or not {'code', 'pre'} & {*self._open}: self._end_run()
        if tag in self._open: del self._open[len(self._open) - 1 - self._open[::-1].index(tag):]

    def handle_data(self, data): self._run += data
    def handle_comment(self, data): self.problems.append(f'comment: {data}')
    def handle_decl(self, decl): self.problems.append(f'declaration: {decl}')
    def handle_pi(self, data): self.problems.append(f'instruction: {data}')
    def unknown_decl(self, data): self.problems.append(f'declaration: {data}')

def _scheme(url):
    "As browsers see it: without control characters and space around, tabs and line ends anywhere"
    url = ''.join(c for c in url.strip(''.join(map(chr, range(33)))) if c not in '\t\r\n')
    head = url.partition(':')[0]
    return head.lower() if ':' in url and head[:1].isascii() and head[:1].isalpha() and all(c.isalnum() or c in '+-.' for c in head) else ''

def pages(text, tags=TAGS): return {name: Page(render(text), tags) for name, render in RENDERERS.items()}

# ---- hostile texts

PARTS = ['`', '``', '```', '~~~', '~`', 'x`', '\n', '\n\n', ' ', '  ', '    ', '\t', '> ', '- ', '1. ', '\\', '<xss>', '</xss>', '<!--', '-->',
    '[', '](', ')', '[x]: ', 'javascript:alert(1)', 'https://a.b', 'www.a.b', '$', '|', '\n|---|---|\n', '*', '_', 'a', '&lt;', '&#60;', '"', "'",
    '{', '}', '<', '>', '\r', '\r\n', '!', '[^1]', '[^1]: ', '#', '=', '---', '~', '<a href="javascript:x">', '<?', '<![CDATA[', ']]>', '\0',
    '\v', '\u2028', 'mailto:', 'data:', 'JaVaScRiPt:', '&colon;', '&Tab;', '\x01', '[x]', '[x](', ']: ', '\n```\n', '\n~~~\n', '\n  ```\n',
    '- ```\n', '> ```\n', '`<xss>`', '`c`', ',', ': ', '\n: ', '\f', '%', '://', '@a.b', '\n   ', '\n\t', '100. ', '`|`', '\\|',
    '**', '~~', '<xss onerror="x">', '`$$`', '$$', '\\\\[', '\\begin{a}', '\\end{a}', '\\(', '\\)', '\\[', '\\]', '```\n<xss>\n```', '\n- ', '\n  - ',
    '\n1. ', '\n> ', '\n>> ', '\n\n    ', '\n| a | b |\n|---|---|\n| ', ' | ', '&#106;avascript:', '![', '](https://a.b)', '](javascript:x)',
    '<https://a.b/%1b>', '<http://', '\n# ', '\n===\n', '\n---\n', '\n***\n', '* ', '+ ', '[ ] ', '&#10;', '&#13;', '&#32;', '\\\n', '  \n', '`<xss>|`',
    '```html\n', '~~~~\n', '{=html}', '[x]{onclick=y}', 'ftp://a.b', 'a@b.c', 'http://a.b`', '\ue0001\ue001', 'é', '中', '。', '\xa0', '\u200b', '&nbsp;',
    '@@0@@', '$a$', '\n    <xss>', '<details>', '<br>', '://x', '\n\n```\n$$ <xss>\n```\n', '\n   $ <xss>\n', '\n+++\n', '\x1b]52;c;x\x07', '\x9b2J', '<http://x/%9b2J%0d>']

def hostile_texts(n, seed=1):
    "`n` texts of such parts, the same each time"
    rnd = random.Random(seed)
    for _ in range(n): yield ''.join(rnd.choices(PARTS, k=rnd.randint(1, 30)))
