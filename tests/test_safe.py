"Markdown of somebody else in the renderers people use: as it was meant, and nothing in it comes to life"
import io, os, re, time
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from common import LARGE, message
from llmchat import mk_msg
from llmchat.display.notebook import Spent
from llmchat.display.html import as_html, mk_md, mk_page
from llmchat.display.notebook import show_reply
from llmchat.protocol.replies import as_call
from llmchat.display.safe import printable, read_markdown, safe_line, safe_markdown, safe_text
from llmchat.sandbox.server import tool_use
from llmchat.cli.repl import Approver
from llmchat.cli.terminal import View
from llmchat.protocol.usage import usage
from rendering import RENDERERS, TAGS, hostile_texts, pages
from test_pages import check_page
from test_replies import check_safe, cited

TEXTS = int(os.environ.get('LLMCHAT_TEXTS', 20_000 if LARGE else 200))
FOLDS = TAGS | {'details', 'summary'}

# ---- nothing comes to life

@pytest.mark.parametrize('part', range(8))
def test_hostile_texts(part):
    "In notebook Markdown, in a page, and on a terminal"
    for text in hostile_texts(TEXTS // 8, seed=part):
        check_safe(safe_markdown(text))
        check_page(mk_page([mk_msg('?' + text)]))
        check_terminal(shown(text))

@pytest.mark.parametrize('part', range(4))
def test_hostile_texts_in_all_places(part):
    "Names, titles, addresses, passages, keys of calls"
    texts = hostile_texts(10 ** 9, seed=100 + part)
    for a, b, c, _ in zip(texts, texts, texts, range(TEXTS // 80)):
        found = dict(type='web_search_tool_result', tool_use_id='s', content=[dict(type='web_search_result', title=a, url=b)])
        blocks = [cited(a, cited_text=b, document_title=c), tool_use(a, **{b: c}), dict(type='thinking', thinking=c), found,
            dict(type='text', text=a, citations=[dict(title=b, url=c, cited_text=a, type='web_search_result_location')])]
        check_safe(show_reply(message(dict(content=blocks, stop_sequence=b))), FOLDS)
        h = [mk_msg('?' + a), dict(role='assistant', content=blocks[:3])]
        check_page(mk_page(h, [Spent(0, 2, b, usage(1), None)], c, a))
        check_safe(mk_md(h, [Spent(0, 2, b, usage(1), None)], c, a), FOLDS)

@pytest.mark.parametrize('text', ['``[[`]<img src=x onerror="…">](`)``', '[[`]<img src=x onerror="…">](`)', '[c](&#106;avascript:alert(1))', '[c](javascript&colon;x)',
    '[x](https://a.b "`<xss>`")', '> > > > > > > ```\n> > > > > > > <xss>', 'a `$$` b\n\n```\n$$ <xss>\n```', 'http://a.b!https://c.d`', '[x][1]\n\n[1]: &#100;ata:text/html,x'])
def test_what_once_came_to_life(text): check_safe(safe_markdown(text))

def test_formulas_of_jupyter_are_not_put_aside():
    for text in ('@@0@@', '`` @@0@@` ``', '- @@0@@'):
        assert not any('@@' in RENDERERS[k](safe_markdown(text)) for k in RENDERERS)

# ---- on a terminal

class Terminal(io.StringIO):
    def isatty(self): return True

def shown(text, title=''):
    "What reaches a terminal, without the sequences that Rich makes itself"
    screen = Terminal()
    view = View(screen)
    view.add(text + '\n')
    view.end()
    return re.sub(r'\x1b\[(?:\?25[lh]|2K|1A|[0-9;]*m)|\r', '', screen.getvalue())

def check_terminal(out):
    bad = [c for c in out if c not in '\n\t' and printable(c) == '']
    assert not bad, (bad, out)

@pytest.fixture(autouse=True)
def no_colour(monkeypatch):
    for k, v in dict(TERM='xterm', COLUMNS='80', LINES='24', NO_COLOR='1').items(): monkeypatch.setenv(k, v)

@pytest.mark.parametrize('text', ['<http://x/%1b]52;c;aGVsbG8=%1b%5c>', '<http://x/%9b2J>', '<mailto:a%0d@b.c>', 'a&#13;b', '&#12;', '[x](https://a.b "&#13;")', '# &#13;T', '| &#13; |\n|---|',
    '```\x1b]0;x\x07\n\x1b[2J\n```', '![&#13;](https://a.b/%1b)', '\x9b2J', '`\x1b[2J`', '`&#13;\x1b`'])
def test_nothing_drives_the_terminal(text): check_terminal(shown(text))

@pytest.mark.parametrize('call', [tool_use('f', **{'a\x1b[2J': 1}), tool_use('f', **{'x=1)\nRun g(': 1}), tool_use('f\r\x1b[2Jg', x=1), tool_use('f', x='\x1b]52;c;x\x07\u202e')])
def test_approval_in_one_line(call, monkeypatch):
    "What a person is asked shows all of the call, and nothing else"
    out, keys = Terminal(), Terminal('n\n')
    monkeypatch.setattr('sys.stderr', out)
    monkeypatch.setattr('sys.stdin', keys)
    assert Approver(View(io.StringIO()))(call) is False
    check_terminal(out.getvalue())
    assert out.getvalue().startswith('Run ') and '\n' not in out.getvalue() and '\u202e' not in out.getvalue()

def test_calls_are_written_as_before():
    assert as_call(tool_use('get-weather', city='Rome', n=1)) == "get-weather(city='Rome', n=1)"
    assert as_call(tool_use('f', **{'a b': 1})) == "f('a b'=1)"

# ---- it shows as it was meant

PLAIN = ['a *b* **c** _d_ ~~e~~', '# T\n\n- a\n- b\n\n1. c\n   - d\n\n> quoted > twice', '[x](https://a.b/A_(b))', '[x](mailto:a@b.c "Mail \'it\'")', '`a<b> & {d} \\e`', '- [ ] a\n- [x] b',
    'a\n\n---\n\nb  \nc\\\nd', '```python\nif a < b: print("$x$ &amp; {y} \\n")\n```', '1. Do:\n\n   ```sh\n   a && b\n   ```\n\n2. End', '1. Do:\n   ```sh\n   a && b\n   ```\n2. End',
    'naïve “quotes” – 1 > 0; 50% of (a) [b] c: d', 'a https://a.b/c_d?e=f b. Or', '**a *b* c**d ***x*** **Hi:** a**b**c', 'snake_case __init__', '- a\n\n  b\n- c\n\n- - x\n  - y\n    > q\n',
    'Title\n===\na\n\n    code\n    x\n', '- a\n  ***\n* b', '1. a\n1. b\n\n10) c', '> a\n> > b\n>\n> - c\n> ```py\n> x\n> ```\n', '| a | b |\n|:--|--:|\n| **1** | `x` |\n| [a](https://b.c) | ~~x~~ |\n\nEnd',
    '***a** b*', '**a *b***', 'Line\nbreak', '1. a\n\n   b\n\n   - c\n\n     d\n2. e', 'Use `a` and `b|c` or ``d`e``.', '- a\n  b\n\n      code\n', '* a\n\n* b\n\n\n1) x', '2 * 3 * 4 < 5 & 6',
    '## A `code` **title** #', '<https://a.b/c?d=e&f=g>', '[a][b] and [b]\n\n[b]: https://x.y "T"', 'AT&T &amp; &copy; &lt;b&gt;', '\\*not\\* \\_x\\_ \\# \\`', 'Hello\n- a\n- b',
    '- **a**: b\n  - c\n    1. d\n    2. e\n- f', '- a\n    - b\n        - c', '中文**重点**，和*强调*。', '> **Note**\n> text', 'term  with  spaces', '- `a`: b\n- *c*', '"quoted" \'s -- ... (c)', 'a@b.c', '5. five\n6. six',
    '- x\n\n  | a | b |\n  |---|---|\n  | 1 | 2 |\n', 'It is $5.', 'C:\\new\\dir', 'No. #1 and +2 and =3', '12. a\n13. b', 'Hi! [a](https://b.c)!', '~~~js\nx\n~~~\n\ntext `~/.bashrc`']

class Shape(HTMLParser):
    "A page as its tags and texts, without what only renderers add"
    def __init__(self, html):
        super().__init__()
        self.all, self.pre = [], False
        self.feed(html)
        self.close()
    def handle_starttag(self, tag, attrs):
        if tag in ('span', 'div'): return
        self.pre |= tag == 'pre'
        self.all.append((tag, sorted((k, unquote(v or '')) for k, v in attrs if k not in ('id', 'class') or (tag, k) == ('code', 'class'))))
    def handle_endtag(self, tag):
        self.pre &= tag != 'pre'
        if tag not in ('span', 'div'): self.all.append('/' + tag)
    def handle_data(self, data):
        data = data if self.pre else re.sub(r'\s+', ' ', data)
        if self.all and isinstance(self.all[-1], list): self.all[-1][0] += data
        else: self.all.append([data])

def shape(html):
    html = re.sub('<a class="anchor-link".*?</a>', '', html) # nbconvert's
    texts = [[o[0].strip()] if isinstance(o, list) else o for o in Shape(html).all]
    return [o for o in texts if o != ['']]

@pytest.mark.parametrize('renderer', RENDERERS)
def test_plain_text_looks_as_before(renderer):
    for text in PLAIN: assert shape(RENDERERS[renderer](safe_markdown(text))) == shape(RENDERERS[renderer](text)), text

def test_safe_text_is_stable():
    "Safe Markdown of safe Markdown looks the same"
    for text in PLAIN:
        once = safe_markdown(text)
        if '<' not in once: assert shape(as_html(safe_markdown(once))) == shape(as_html(once)), text

@pytest.mark.parametrize('text', [r'\(a\,b\)', r'\[x_1^{2}*y*z\]', r'$\{a, b\}$', 'We have\n\\[\n\\begin{aligned}\na &= b \\\\\n+ c\n\\end{aligned}\n\\]', '$$\na\\,b\n- c\n$$', '\\begin{align*}\na \\\\\n# b\n\\end{align*}'])
def test_formulas_keep_their_characters(text):
    for name, page in pages(safe_markdown(text)).items():
        assert not page.problems and ''.join(''.join(page.text).split()) == ''.join(text.split()), name
    assert ''.join(text.split()) in ''.join(re.sub('<[^>]*>', '', as_html(text)).replace('&amp;', '&').split())

def test_prices_are_no_formulas():
    assert safe_markdown('from $5 *or* $6').count('*or*') == 1 and safe_markdown('`a`: $x `b$`').count('`') == 4

def test_emphasis_may_end_before_a_footnote():
    said = dict(role='assistant', content=[cited('**It is Paris.**')])
    assert mk_md([said]).count('**It is Paris.**[^1]') == 1 and '<strong>It is Paris.</strong><sup>' in mk_page([said])

def test_what_lies_too_deep_is_shown_as_it_was(): assert safe_markdown('> ' * 30 + 'deep') == f"```\n{'> ' * 30}deep\n```"

def test_one_line():
    assert safe_line('# a\n- b') == '&#35; a - b' and safe_line('') == '' and safe_text('a\x1b_b') == 'a&#95;b'

def test_pictures_are_links():
    assert safe_markdown('![a](https://a.b) [![b](https://c.d)](https://e.f) ![](https://g.h)') == '[a](https://a.b) [b](https://e.f) [https://g.h](https://g.h)'
    assert not [t for t in read_markdown('![a](data:image/png;base64,AA)')[1].children if t.type != 'text']

@pytest.mark.parametrize('part', ['Some **words** with `code` and a [link](https://a.b).\n\n', '- item *is*\n', '[', '![', '*a ', '`a``', '\\[\n', '\\( ', '$$a ', '\\begin{a}\n', 'https://', 'a@', '> '])
def test_time_grows_with_length(part):
    "Eight times the text takes about eight times the time"
    def took(n):
        began = time.process_time()
        safe_markdown(part * (n // len(part)))
        return time.process_time() - began
    small = min(took(8_000) for _ in range(3))
    assert min(took(64_000) for _ in range(3)) < 30 * small + 0.1
