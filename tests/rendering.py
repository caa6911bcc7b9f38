"What becomes of Markdown in renderers that let HTML through"
import re
from html.parser import HTMLParser

import mistune
from markdown_it import MarkdownIt

commonmark = MarkdownIt('commonmark', {'html': True})
gfm = MarkdownIt('commonmark', {'html': True}).enable(['table', 'strikethrough'])
RENDERERS = dict(commonmark=commonmark.render, gfm=gfm.render, mistune=mistune.create_markdown(escape=False),
    nbconvert=mistune.create_markdown(escape=False, plugins=['strikethrough', 'table', 'footnotes', 'url', 'task_lists', 'def_list']))
for md in (commonmark, gfm): md.validateLink = lambda url: True # a link that only the renderer stops is a hole too

TAGS = {*'p em strong a code pre ul ol li blockquote h1 h2 h3 h4 h5 h6 hr br del s table thead tbody tr th td span'.split(),
    *'sup section input dl dt dd'.split()}
ATTRS = dict(a={'href', 'title', 'class', 'id'}, img={'src', 'alt'}, code={'class'}, ol={'start'}, li={'id', 'class'}, sup={'class', 'id'},
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
        self._end_run()
        if tag not in self.tags: self.problems.append(f'tag: {tag}')
        for k, v in attrs:
            if k not in ATTRS.get(tag, ()): self.problems.append(f'attribute: {tag} {k}={v}')
            if k == 'href' and _scheme(v or '') not in SCHEMES or k == 'src' and not PICTURE.match(v or ''):
                self.problems.append(f'link: {v}')
        if tag not in ('br', 'hr', 'img', 'input'): self._open.append(tag)

    def handle_endtag(self, tag):
        self._end_run()
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
