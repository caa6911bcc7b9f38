"Conversations as files: nothing in them comes to life, and they are read back as they were"
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, strategies as st

from common import PNG, needs_recordings, recorded, seeded
from llmchat import Chat, mk_msg, usage
from llmchat.display.notebook import Spent
from llmchat.engine.storage import read_kept
from llmchat.display.html import as_html, mk_md, mk_page
from llmchat.engine.storage import page_data
from llmchat.sandbox import Sandbox
from rendering import TAGS
from test_display import HOLES, blocks, call, check_safe, cited, nasty, result, said, text, user

MODEL = 'claude-sonnet-5-5'
VOID = {'meta', 'br', 'hr', 'img'}
OURS = TAGS | {'img', 'html', 'head', 'meta', 'title', 'style', 'body', 'header', 'main', 'footer', 'section', 'div', 'details', 'summary', 's', 'sup', 'script'}
ATTRS = dict(html={'lang'}, meta={'charset', 'name', 'content', 'http-equiv'}, p={'class'}, section={'class', 'id'}, div={'class', 'dir', 'tabindex'},
    details={'class'}, pre={'tabindex'}, code={'class'}, span={'class'}, img={'src', 'alt'}, a={'href', 'title', 'aria-label'}, li={'value', 'id'},
    ol={'class', 'start'}, th={'style'}, td={'style'}, script={'type', 'id'})

class Check(HTMLParser):
    "Reads a page; `problems` is what must not be in it"
    def __init__(self, page):
        super().__init__()
        self.problems, self.open, self.scripts = [], [], 0
        self.feed(page)
        self.close()
        if self.open: self.problems.append(f'not closed: {self.open}')

    def handle_starttag(self, tag, attrs):
        if tag not in OURS: self.problems.append(f'tag {tag}')
        for k, v in attrs:
            if k not in ATTRS.get(tag, ()): self.problems.append(f'attribute {tag} {k}={v}')
            if k == 'href' and not re.match('(?i)https?:|mailto:|#note-[0-9]+$|$', v): self.problems.append(f'link {v}')
            if k == 'src' and not v.startswith('data:image/'): self.problems.append(f'source {v}')
            if k == 'style' and v not in ('text-align:left', 'text-align:right', 'text-align:center'): self.problems.append(f'style {v}')
        if tag == 'script':
            self.scripts += 1
            if attrs != [('type', 'application/json'), ('id', 'llmchat')]: self.problems.append(f'script {attrs}')
        if tag not in VOID: self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in VOID: return
        if not self.open or self.open[-1] != tag: self.problems.append(f'</{tag}> in {self.open}')
        else: self.open.pop()

    def handle_comment(self, data): self.problems.append(f'comment {data}')
    def unknown_decl(self, data): self.problems.append(f'declaration {data}')

def check_page(page):
    c = Check(page)
    assert not c.problems, c.problems
    assert c.scripts == page.count('<script'), 'a script that the parser has not seen'

# ---- nothing comes to life

conversation = st.lists(st.builds(lambda r, c: dict(role=r, content=c), st.sampled_from(['user', 'assistant']), st.lists(blocks, max_size=3)), max_size=3)

@seeded
@given(conversation, nasty, nasty, nasty)
def test_nothing_comes_to_life(h, sp, model, title):
    data = dict(llmchat=1, h=h, sp=sp)
    page = mk_page(h, [Spent(0, 1, model, usage(1, 2), 0.1)], sp, title, data=data)
    check_page(page)
    assert page_data(page) == data

@pytest.mark.parametrize('hole', [*HOLES, '</script><script>alert(1)</script>', '<!--<script>', ']]>', '![x](https://a.b/c.png)', '[![x](https://a.b)](https://c.d)',
    '[x](data:text/html,hi)', '[x](file:///etc/passwd)', '[x](vbscript:x)', '[x](//evil.example)', '![x](data:image/png;base64,AAAA)', '<img src=x onerror=alert(1)>',
    '```"><script>alert(1)</script>\nx\n```', '[x](https://a.b "\ue0001\ue001")', '\ue0001\ue001', '{title}', '{data}', '%s', '</title><script>', '</style>'])
def test_holes(hole):
    a = call(hole, x=hole)
    h = [mk_msg(hole), said(text(hole), a, cited(hole, cited_text=hole)), user(result(a, hole)), said(text(hole))]
    page = mk_page(h, [Spent(0, 4, hole, usage(1), None)], hole, hole, data=dict(h=h))
    check_page(page)
    assert page_data(page) == dict(h=h) and page.count('href="#note-') <= 1 # of our own
    check_safe(mk_md(h, (), hole, hole), TAGS | {'details', 'summary'})

def test_the_page_is_allowed_nothing():
    page = mk_page([mk_msg('Hi')])
    policy = re.search('Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'") and 'script-src' not in policy and 'img-src data:;' in policy
    assert not re.search(r'url\(|@import|https?://', page)

# ---- what it shows

def test_what_is_in_a_page():
    a = call('f', x=1)
    h = [mk_msg([PNG, 'What **is** this?\nSay.']), said(dict(type='thinking', thinking='Hm'), cited('A dot.'), a), user(result(a, 'no', is_error=True)), said(text('# End'))]
    page = mk_page(h, [Spent(0, 2, MODEL, usage(1200, 34), 0.5)], 'Be *brief*.', total='all of it')
    for s in ('<title>What is this? Say.</title>', '<p>What <strong>is</strong> this?<br />', 'alt="Picture (image/png)"', '<details class="fold"><summary>Thinking</summary>',
        '<details class="failed"><summary><code>f(x=1)</code></summary>', 'A dot.<sup><a href="#note-1"', '<li value="1" id="note-1">', '“Paris is the capital.” — France', '<h3>End</h3>',
        '1,200 in · 34 out · 0.50 USD', f'{MODEL} · 2 turns · all of it', 'Be <em>brief</em>.', '<h2>Assistant</h2>'): assert s in page, s
    check_page(page)

def test_titles():
    assert '<title>A conversation</title>' in mk_page([])
    title = re.search('<title>(.*)</title>', mk_page([mk_msg('word ' * 100)]))[1]
    assert title.endswith('word …') and len(title) <= 81
    assert '<title>Own</title>' in mk_page([mk_msg('Hi')], title='Own') and mk_md([], title='*x*').startswith('# &#42;x&#42;')

@pytest.mark.parametrize('markdown,html', [('a  b', '<p>a  b</p>\n'), ('~~a~~', '<p><s>a</s></p>\n'), ('| a |\n|--:|\n| 1 |', 'text-align:right'),
    ('<b>x</b> &amp; $x$', '<p>&lt;b&gt;x&lt;/b&gt; &amp; $x$</p>\n'), ('```c++\nint x;\n```', '<span class="kt">int</span>'), ('```nonsense\n<x>\n```', '&lt;x&gt;'),
    ('###### h', '<h6>h</h6>\n'), ('![a dot](https://a.b/c.png "T")', '<a href="https://a.b/c.png">a dot</a>')])
def test_markdown(markdown, html): assert html in as_html(markdown)

def test_long_code_is_not_coloured(): assert '<span' not in as_html('```python\n' + 'x = 1\n' * 50_000 + '```')

def test_without_pygments(monkeypatch):
    monkeypatch.setattr('llmchat.display.html.find_spec', lambda name: name != 'pygments')
    assert '<code class="language-python">x = &quot;1&quot;\n</code>' in as_html('```python\nx = "1"\n```')

# ---- chats

def chat_of(*replies, **kw): return Chat(MODEL, Sandbox(list(replies)).client(), **kw)

def test_pages_of_a_chat(tmp_path):
    chat = chat_of('It is <b>Paris</b>.', 'Yes.', sp='Be brief.')
    chat('What is the capital of France?')
    chat('Sure?')
    page = chat.to_html(title='Capitals')
    assert page.count('<section class="turn"') == 2 and '<title>Capitals</title>' in page
    assert chat.to_html(tmp_path/'a.html', title='Capitals') == tmp_path/'a.html' and (tmp_path/'a.html').read_text(encoding='utf-8') == page
    for kept in (page_data((tmp_path/'a.html').read_text(encoding='utf-8')), read_kept(tmp_path/'a.html')[0]): assert kept['h'] == chat.h and kept['settings']['sp'] == 'Be brief.' and kept['llmchat'] == 1
    assert chat.to_md(str(tmp_path/'a.md')) == tmp_path/'a.md' and (tmp_path/'a.md').read_text(encoding='utf-8') == chat.to_md()
    assert chat.to_md().startswith('# What is the capital of France?\n\n*') and '&lt;b>Paris' in chat.to_md()

def test_a_page_is_gone_on_with(tmp_path):
    chat = chat_of('Paris.', sp='Be brief.')
    chat([PNG, 'What is the capital of France? </script>'])
    again = Chat.load(chat.to_html(tmp_path/'a.html'), cli=Sandbox(['On the Seine.']).client())
    assert (again.h, again.spent, again.use, again.cost, again.settings['sp']) == (chat.h, chat.spent, chat.use, chat.cost, 'Be brief.')
    again('Where?')
    assert len(again.h) == 4 and again.to_html().count('<section class="turn"') == 2

def test_pictures_beside_markdown(tmp_path):
    chat = chat_of('A dot.')
    chat([PNG, 'What is this?'])
    chat.to_md(tmp_path/'a chat.md')
    assert (tmp_path/'a chat_files/1.png').read_bytes() == PNG and '![image/png](a%20chat_files/1.png)' in (tmp_path/'a chat.md').read_text()
    assert 'data:image/png;base64,' in chat.to_md()

def test_code_that_looks_like_a_picture_stays(tmp_path):
    "Text of a model makes no files"
    chat = chat_of('```\n![x](data:image/png;base64,AAAA)\n```\n![x](data:image/png;base64,AAAA)')
    chat('Hi')
    chat.to_md(tmp_path/'a.md')
    assert [p.name for p in tmp_path.iterdir()] == ['a.md'] and '\n![x](data:image/png;base64,AAAA)\n```' in (tmp_path/'a.md').read_text()

@pytest.mark.parametrize('page', ['<!DOCTYPE html><p>Hi', '<!doctype html>', '<!DOCTYPE html>' + '<script type="application/json" id="llmchat">{nonsense}</script>'])
def test_pages_that_are_none(tmp_path, page):
    (tmp_path/'a.html').write_text(page)
    with pytest.raises(ValueError): page_data((tmp_path/'a.html').read_text(encoding='utf-8'))
    with pytest.raises(ValueError, match='a.html is not a saved chat'): read_kept(tmp_path/'a.html')

def test_page_of_a_later_version(tmp_path):
    (tmp_path/'a.html').write_text(mk_page([], data=dict(llmchat=99, h=[])))
    with pytest.raises(ValueError, match='format 99'): read_kept(tmp_path/'a.html')

@needs_recordings
def test_recorded_conversations():
    for rec in recorded:
        h = rec['request']['messages']
        page = mk_page(h, data=dict(h=h))
        check_page(page)
        assert page_data(page)['h'] == h
