"What comes out: replies as text, and text that nothing in a renderer can bring to life"
import json, re, subprocess, sys
from html import unescape
from datetime import datetime

import pytest
from anthropic.types import Message, TextBlock, ThinkingBlock, ToolUseBlock
from hypothesis import given, strategies as st

from common import BLOCKS, CITED, PDF, PNG, REPLIES, message, needs_recordings, recorded, seeded
from llmchat import URL, Chat, contents, find_block, find_blocks, mk_doc, mk_msg
from llmchat.display.notebook import safe_contents, show_reply
from llmchat.display.safe import safe_markdown
from llmchat.sandbox import Sandbox
from llmchat.sandbox.server import tool_use
from rendering import PARTS, RENDERERS, TAGS, Page, pages

# ---- blocks

@pytest.mark.parametrize('kind,cls', [('text', TextBlock), ('thinking', ThinkingBlock), ('tool_use', ToolUseBlock)])
def test_blocks_of_a_kind(kind, cls):
    for name in BLOCKS:
        r = message(REPLIES[name])
        for o in (r, r.to_dict(), r.content, mk_msg(r)):
            found = find_blocks(o, kind)
            assert found == find_blocks(o, cls) and find_block(o, kind) == (found[0] if found else None)
            assert len(found) == sum((b['type'] if isinstance(b, dict) else 'text') == kind for b in BLOCKS[name]) or o != r
    assert find_blocks('Hi') == [dict(type='text', text='Hi')] == find_blocks(mk_msg('Hi')) and find_block('Hi', 'image') is None

# ---- text

def cited(text, **kw): return dict(type='text', text=text, citations=[CITED | kw])

@pytest.mark.parametrize('blocks,text', [
    ([], ''), ([''], ''), (['a', 'b'], 'ab'), (['a', '', 'b'], 'ab'),
    ([dict(type='thinking', thinking='Hm', signature=''), 'a'], '<details><summary>Thinking</summary>\n\nHm\n\n</details>\n\na'),
    ([dict(type='redacted_thinking', data='x'), 'a'], '<details><summary>Thinking</summary>\n\n(not shown)\n\n</details>\n\na'),
    (['a', tool_use('f', x=1, y=[None, 'é'])], "a\n\n`f(x=1, y=[None, 'é'])`"), ([tool_use('f')], '`f()`'),
    ([tool_use('f', x='a`b``c')], "```f(x='a`b``c')```"), ([tool_use('f', x='1\n2')], "`f(x='1\\n2')`"),
    ([cited('a'), ' ', cited('b'), cited('c', cited_text='Other.')], 'a[^1] b[^1]c[^2]\n\n[^1]: “Paris is the capital.” — France\n\n[^2]: “Other.” — France'),
    ([cited('```\nx\n```')], '```\nx\n```\n\n[^1]\n\n[^1]: “Paris is the capital.” — France'),
    ([cited('a', document_title=None)], 'a[^1]\n\n[^1]: “Paris is the capital.” — document 1'),
    ([cited('a', cited_text=' two\n\nlines ', start_page_number=3)], 'a[^1]\n\n[^1]: “two lines” — France, page 3'),
    ([dict(type='text', text='a', citations=[dict(type='web_search_result_location', url='https://a.b', title='T\nU', cited_text='q',
        encrypted_index='')])], 'a[^1]\n\n[^1]: “q” — [T U](https://a.b)'),
    ([dict(type='server_tool_use', name='web_search', input=dict(query='x')), dict(type='web_search_tool_result', tool_use_id='s',
        content=[dict(type='web_search_result', title='T', url='https://a.b', encrypted_content='')])],
        "`web_search(query='x')`\n\n→ [T](https://a.b)"),
    ([dict(type='web_search_tool_result', tool_use_id='s', content=dict(type='web_search_tool_result_error', error_code='x'))],
        '→ x'),
    ([dict(type='a_block_of_next_year', x=1)], '[a_block_of_next_year]')])
def test_text_of_replies(blocks, text):
    r = message(dict(content=blocks))
    assert contents(r) == contents(r.to_dict(warnings=False)) == contents(r.content) == text

@pytest.mark.parametrize('content,text', [('Hi', 'Hi'), (['Look:', PNG], 'Look:\n\n[image/png]'), (PDF, '[application/pdf]'),
    (URL('https://a.b/c'), '[https://a.b/c]'), (mk_doc('x', title='T'), '[T]'), (mk_doc('x'), '[text/plain]'),
    (dict(type='tool_result', tool_use_id='t', content='one'), '→ one'), (dict(type='tool_result', tool_use_id='t'), '→ '),
    (dict(type='tool_result', tool_use_id='t', content='one\ntwo'), '→\n\none\ntwo'),
    (dict(type='tool_result', tool_use_id='t', content=[dict(type='text', text='one'), mk_msg(PNG)['content'][0]]), '→ one [image/png]'),
    (dict(type='image', source=dict(type='file', file_id='f1')), '[f1]')])
def test_text_of_messages(content, text):
    assert contents(mk_msg(content)) == text

@needs_recordings
def test_text_of_recorded_replies():
    for rec in recorded:
        if rec['stream']: continue
        msg = json.loads(rec['response'])
        text = contents(Message.construct(**msg))
        assert text == contents(msg) and text.strip()
        for b in msg['content']: assert b.get('text', '') in text and b.get('thinking', '') in text and (b['type'] != 'tool_use' or b['name'] in text)
        assert text.count('\n[^') == len({c['cited_text'] + str(c.get('url')) for b in msg['content'] for c in b.get('citations') or ()})
        for name, page in pages(show_reply(Message.construct(**msg)), TAGS | {'details', 'summary'}).items(): assert not page.problems

# ---- nothing comes to life

nasty = st.lists(st.sampled_from(PARTS), max_size=30).map(''.join)

def check_safe(markdown, tags=TAGS):
    for name, page in pages(markdown, tags).items(): assert not page.problems, f'{name}: {page.problems} in {markdown!r}'

@seeded
@given(nasty)
def test_nothing_comes_to_life(text): check_safe(safe_markdown(text))

@seeded
@given(st.text())
def test_nothing_comes_to_life_in_any_text(text): check_safe(safe_markdown(text))

blocks = st.one_of(nasty, nasty.map(lambda s: dict(type='thinking', thinking=s, signature='')),
    st.builds(tool_use, nasty, x=nasty), st.builds(cited, nasty, cited_text=nasty, document_title=nasty),
    st.builds(lambda s, u: dict(type='text', text=s, citations=[dict(title=s, url=u, cited_text=s, type='web_search_result_location')]), nasty, nasty),
    nasty.map(lambda s: dict(type='web_search_tool_result', tool_use_id='s', content=[dict(type='web_search_result', title=s, url=s)])),
    nasty.map(lambda s: dict(type=s)))

@seeded
@given(st.lists(blocks, max_size=4), nasty)
def test_nothing_comes_to_life_in_a_reply(content, word):
    r = message(dict(content=content, stop_sequence=word, stop_details=dict(type='refusal', category=None, explanation=word)))
    check_safe(show_reply(r), TAGS | {'details', 'summary'})

@seeded
@given(nasty, nasty)
def test_nothing_comes_to_life_in_a_chat(said, answered):
    chat = Chat('claude-sonnet-5-5', Sandbox([[answered, tool_use('f', x=said)], answered]).client(), hist=['?' + said, '!' + answered])
    chat('?' + said)
    check_safe(chat._repr_markdown_(), TAGS | {'details', 'summary'})
    check_safe(chat.c._repr_markdown_(), TAGS | {'details', 'summary'})

# what was found by trying; each of these came to life once
HOLES = ['~~~ a`b\n```\n~~~\n<xss>\n```', '- a\n  1000. b\n\n        ```\n\t<xss>\n        ```', '- ~~~\n  ```\n  ~~~\n  <xss>\n  ```', '```\n```\r\n<xss>\n```',
    '| `a|b` x `<xss>` |\n|---|---|', '| `a|b` x `<xss>` |', '[x](a`) y` `<xss>`', '[x](a "t)`") y` `<xss>`', '[x\\](javascript:alert(1))',
    '[x](\njavascript:alert(1))', '[x]\n\n[x]:\njavascript:alert(1)', 'https://a.b`c y` `<xss>`', '[a\n\n```\n]: b\n<xss>\n```', '~`<xss>`', '~x `a~<xss>`',
    '*x ``a* <xss>``', '```\n```~\n<xss>\n```', 'a\n\n  ```\n  x\n: <xss>\n  ```', '```', '```\n<a href="javascript:x">', '$x$ \\\\(x\\\\) \\begin{align}x\\end{align}', '\\$5 and \\$6', '&#36;5 and &#36;6']

@pytest.mark.parametrize('text', HOLES)
def test_holes_that_were_found(text): check_safe(safe_markdown(text))

@pytest.mark.parametrize('content', [[cited('```\nx\n```'), 'y\n```\n<xss>\n```'], ['```\nx', 'abc\n```\n<xss>\n```'], ['`` c ``', '`<xss>`'],
    [dict(type='web_fetch_tool_result', tool_use_id='s', content=[dict(type='text', text='```\n<xss>\n```')])],
    [dict(type='tool_result', tool_use_id='s', content=[dict(type='text', text='a'), dict(type='text', text='```\n<xss>\n```')])]])
def test_holes_between_blocks(content): check_safe(safe_contents(dict(role='assistant', content=[mk_msg(c)['content'][0] if isinstance(c, dict)
    else dict(type='text', text=c) for c in content])))

def test_what_is_tested_can_be_seen():
    "Without `safe_markdown` all of it comes to life somewhere"
    for text in ('<xss>', '<!--x-->', '[x](javascript:x)', '[x]\n\n[x]: javascript:x', '$x$', '\\\\(x\\\\)', '<?x?>', '<a href=x onclick=y>'):
        assert any(p.problems for p in pages(text).values()), text

# ---- what is not dangerous stays as it was

@pytest.mark.parametrize('text', ['plain', 'a *b* **c** ~~e~~', '# T\n\n- a\n- b\n\n1. c\n   - d\n\n> quoted > twice', '[x](https://a.b/c?d=1#e)',
    '[x](mailto:a@b.c "Mail")', '| a | b |\n|---|--:|\n| 1 | 2 |',
    '`a<b> & $c$ {d} \\e`', '- [ ] a\n- [x] b', 'a\n\n___\n\nb\\\nc', '```python\nif a < b: print("$x$ &amp; {y} \\n")\n```', '````\n```\n````',
    '1. Do:\n\n   ```sh\n   a && b\n   ```\n\n2. End', 'naïve “quotes” – 1 > 0; 50% of (a) c: d', 'a https://a.b/c_d?e=f b'])
def test_harmless_text_stays(text): assert safe_markdown(text) == text

@pytest.mark.parametrize('text', ['1 < 2 & 3 > 2', 'costs $5 or $6', 'C:\\new\\dir', '{a}', 'a `b', '\\*not\\* \\[em] \\`c\\` \\\\ \\$5', '<b>&lt;</b>', '[x](javascript:1)',
    ': a', '[a', 'a `b|c` d', '&amp; &#60;', 'Hi! [a]', '[x](/a) [y](#b)', r'\(a\,b\) and \[x_1\] and $\{y*z*\}$'])
@pytest.mark.parametrize('renderer', RENDERERS)
def test_prose_shows_as_it_was_written(text, renderer):
    "Markdown's own escapes and entities aside; LaTeX keeps its own"
    shown = text if '\\(' in text else unescape(re.sub(r'\\([!-/:-@\[-`{-~])', r'\1', text).replace('`b|c`', 'b|c'))
    assert ''.join(Texts(RENDERERS[renderer](safe_markdown(text))).all).strip() == shown

@pytest.mark.parametrize('text', ['![x](https://a.b/c.png)', '[![x](https://a.b/c.png)](https://a.b)', 'a!![x](https://a.b)', '!\\[x](https://a.b)', '![x][y]\n\n[y]: https://a.b/c.png',
    '![x]\n\n[x]: https://a.b', '\\![x](https://a.b/c.png)', '\\\\![x](https://a.b/c.png)', '!\n[x](https://a.b)', '`a`![x](https://a.b)'])
def test_pictures_are_not_fetched(text):
    for name, render in RENDERERS.items(): assert '<img' not in render(safe_markdown(text)), name

class Texts(Page):
    "All text of a page, in order"
    def __init__(self, html):
        self.all = []
        super().__init__(html)
    def handle_data(self, data):
        self.all.append(data)
        super().handle_data(data)

CODE = ['a<b>', 'x & y', '$a$', '{b}', '\\n', 'print("é")', "f'{x}'", '&lt;', '<script>', '*a*', '_b_', '[x](y)', 'a | b', '~x', '`', '``', 'http://a.b', ' ', '#', 'C:\\']
line = st.lists(st.sampled_from(CODE), min_size=1, max_size=4).map(''.join)
span = line.filter(lambda s: s.strip() and '`' not in s)
fence = st.lists(line.filter(lambda s: not s.lstrip().startswith(('```', '~~~')) and s.strip()), max_size=4)

@seeded
@given(st.lists(span, min_size=1, max_size=4))
def test_code_spans_show_as_they_were_written(codes):
    page = commonmark('text ' + ' and '.join(f'`{c}`' for c in codes) + ' end')
    assert page.code == [c[1:-1] if c[0] == c[-1] == ' ' else c for c in codes]

def commonmark(text): return Page(RENDERERS['commonmark'](safe_markdown(text)))

@seeded
@given(st.lists(fence, min_size=1, max_size=3), st.sampled_from(['```', '~~~', '````']), st.sampled_from(['', 'python', 'c++']), st.sampled_from(['', '   ']))
def test_fences_show_as_they_were_written(codes, marks, lang, pad):
    text = ('1. a\n' if pad else 'a\n') + '\n'.join('\n'.join(pad + l for l in [marks + lang, *c, marks]) + f'\n{pad}and `x<y>`' for c in codes)
    page = commonmark(text)
    assert [c for c in page.code if c != '\n'] == [t for c in codes for t in ('\n'.join(c) + '\n', 'x<y>') if t != '\n']
    assert all('\n'.join(pad + l for l in c) in safe_markdown(text) for c in codes if not pad or '$' not in str(c))

@pytest.mark.parametrize('text', ['```\na\n<b>', '```\na\n<b>\n```', '> ```\n> a\n> <b>\n> ```\n> c', '- ```\n  a\n  <b>\n  ```\n- c', '1. x\n   ```py\n   a\n   <b>\n   ```',
    'x\n```\r\na\r\n<b>\r\n```\r\n', '~~~~\na\n<b>\n~~~~~', '* x\n\n      ```\n      a\n      <b>\n      ```', '>```\n>a\n><b>\nc'])
def test_fences_wherever_they_stand(text):
    for name, render in RENDERERS.items(): assert 'a\n<b>\n' in ''.join(Page(render(safe_markdown(text))).code).replace('  ', ''), name

# ---- in a notebook

def test_fields_of_a_reply_are_shown():
    r = message(dict(content='Hi', container=dict(id='box', expires_at='2026-11-23T00:00:00Z'), stop_sequence='a`b\nc'))
    assert isinstance(r.container.expires_at, datetime)
    shown = show_reply(r)
    assert shown.startswith('Hi\n\n<details>') and '- stop_reason: `stop_sequence`' in shown and '2026-11-23T00:00:00Z' in shown
    check_safe(shown, TAGS | {'details', 'summary'})

def test_the_display_costs_nothing_without_a_notebook():
    code = "import sys, llmchat.display.notebook as r; assert not r.register_display() and not {'IPython', 'anthropic'} & sys.modules.keys()"
    subprocess.run([sys.executable, '-c', code], check=True)
