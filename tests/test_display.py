"How conversations look: nothing in them comes to life, and nothing is lost"
import asyncio, json, sys

import pytest
from hypothesis import given, strategies as st
from IPython.core.interactiveshell import InteractiveShell

from common import PDF, PNG, Async, Sync, both, message, needs_recordings, recorded, seeded
from llmchat import URL, Chat, mk_doc, mk_msg, usage
from llmchat.display.notebook import as_markdown, by_turn, Screen, show_chat, Spent, total_spent
from llmchat.display.parts import read_history
from llmchat.display.plot import plot_spent
from llmchat.display.safe import printable
from llmchat.sandbox import Sandbox
from llmchat.sandbox.server import tool_use
from rendering import TAGS, pages
from test_replies import HOLES, check_safe, cited, nasty

MODEL = 'claude-sonnet-5-5'
FOLDS = TAGS | {'details', 'summary'}

def user(*content): return dict(role='user', content=list(content))
def said(*content): return dict(role='assistant', content=list(content))
def text(s): return dict(type='text', text=s)
def result(call, content, **kw): return dict(type='tool_result', tool_use_id=call['id'], content=content, **kw)
def call(name='f', **input): return dict(tool_use(name, **input), id=f'toolu_{name}')

def shape(h):
    "What `read_history` makes of a history, in short"
    return [(o.role, [(p.kind, p.text) if not isinstance(p.more, list) else (p.kind, p.text, [q.text for q in p.more]) for p in o.parts])
        for o in read_history(h)]

# ---- pieces

def test_results_are_shown_at_their_calls():
    a, b = call('a', x=1), call('b')
    h = [mk_msg('Hi'), said(text('Let me.'), a, b), user(result(b, '2'), result(a, [text('1'), text('one')]), text('And more')), said(text('Done'))]
    assert shape(h) == [('user', [('text', 'Hi')]), ('assistant', [('text', 'Let me.'), ('call', 'a(x=1)', ['1', 'one']), ('call', 'b()', ['2'])]),
        ('user', [('text', 'And more')]), ('assistant', [('text', 'Done')])]
    assert [o.end for o in read_history(h)] == [1, 2, 3, 4]

def test_calls_that_failed_have_no_result_or_hold_much():
    a, b, long = call('a'), call('b'), call('c', text='word ' * 100)
    h = [said(a, b, long), user(result(a, 'no such file', is_error=True))]
    (_, (failed, open_, cut)), = shape(h)
    assert (failed, open_) == (('failed', 'a()', ['no such file']), ('call', 'b()', []))
    assert len(cut[1]) <= 82 and cut[1].endswith(' …') and json.loads(cut[2][0]) == long['input']
    assert len(shape([said(call('d', s='x' * 200))])[0][1][0][1]) == 82

def test_results_without_calls_are_shown():
    assert shape([user(result(call(), 'lost'))]) == [('user', [('fold', 'Result', ['lost'])])]

@pytest.mark.parametrize('content,piece', [
    (['Look', PNG], ('image', 'image/png')), ([mk_doc('A', title='T')], ('fold', 'T', ['A'])), ([mk_doc('A')], ('fold', 'text/plain', ['A'])),
    ([PDF], ('text', '[application/pdf]')), ([URL('https://a.b/c.png')], ('text', '[https://a.b/c.png](https://a.b/c.png)')),
    ([URL('https://a.b/c.pdf')], ('text', '[https://a.b/c.pdf](https://a.b/c.pdf)')),
    ([dict(type='document', title='D', source=dict(type='content', content=[text('a'), text('b')]))], ('fold', 'D', ['a', 'b'])),
    ([dict(type='image', source=dict(type='file', file_id='file_1'))], ('text', '[file_1]')),
    ([dict(type='image', source=dict(type='base64', media_type='image/svg+xml', data='PHN2Zz4='))], ('text', '[image/svg+xml]')),
    ([dict(type='image', source=dict(type='base64', media_type='image/png', data='x" onerror="alert(1)'))], ('text', '[image/png]')),
    ([dict(type='of_next_year')], ('text', '[of_next_year]'))])
def test_what_was_sent(content, piece): assert shape([mk_msg(content)])[0][1][-1] == piece

def test_files(tmp_path):
    (tmp_path/'a.py').write_text('x = 1\n')
    piece = read_history([mk_msg([tmp_path/'a.py', 'Why?'])])[0].parts[0]
    assert (piece.kind, piece.text, piece.more) == ('fold', 'a.py', [('code', 'x = 1\n', 'py')])

@pytest.mark.parametrize('content,inside', [('', []), (None, []), ('plain', [('code', 'plain', '')]), ([mk_msg(PNG)['content'][0]], None),
    ([dict(type='web_search_result', title='T', url='https://a.b')], [('text', '- [T](https://a.b)', '')]),
    (dict(type='bash_code_execution_result', stdout='hi'), [('code', json.dumps(dict(type='bash_code_execution_result', stdout='hi'), indent=2), 'json')])])
def test_results(content, inside):
    a = call()
    p = read_history([said(a), user(result(a, content))])[0].parts[0]
    if inside is None: assert [q.kind for q in p.more] == ['image']
    else: assert p.more == inside

def test_server_tools():
    search = dict(type='server_tool_use', id='s1', name='web_search', input=dict(query='x'))
    found = dict(type='web_search_tool_result', tool_use_id='s1', content=[dict(type='web_search_result', title='T', url='https://a.b')])
    assert shape([said(search, found, text('It is.'))]) == [('assistant', [('call', "web_search(query='x')", ['- [T](https://a.b)']), ('text', 'It is.')])]

def test_footnotes_count_through_the_conversation():
    h = [mk_msg('?'), said(cited('a'), cited('b', cited_text='Other.')), mk_msg('?'), said(cited('c')), mk_msg('?'), said(cited('d', cited_text='New.'))]
    shown = [as_markdown(o) for o in read_history(h)[1::2]]
    assert shown == ['a[^1]b[^2]\n\n[^1]: “Paris is the capital.” — France\n\n[^2]: “Other.” — France', 'c[^1]', 'd[^3]\n\n[^3]: “New.” — France']

def test_marks_cannot_be_forged():
    assert as_markdown(read_history([said(text('a\ue0001\ue001b'))])[0]) == 'a1b'

@needs_recordings
def test_recorded_conversations():
    for rec in recorded:
        h = rec['request']['messages'] + ([] if rec['stream'] else [dict(role='assistant', content=json.loads(rec['response'])['content'])])
        shown = show_chat(h)
        check_safe(shown, FOLDS | {'img'})
        assert shown.strip()

# ---- nothing comes to life

blocks = st.one_of(nasty.map(text), nasty.map(lambda s: dict(type='thinking', thinking=s)), st.builds(cited, nasty, cited_text=nasty, document_title=nasty),
    st.builds(lambda s, t: call(s, x=t), nasty, nasty), nasty.map(lambda s: dict(type=s)), nasty.map(lambda s: result(call(), s)),
    st.builds(lambda s, t: text(f'<file name="{s}">\n{t}\n</file>'), nasty, nasty), st.builds(lambda s, t: mk_doc('?' + s, title=t), nasty, nasty),
    nasty.map(lambda s: dict(type='image', source=dict(type='url', url=s))),
    nasty.map(lambda s: dict(type='image', source=dict(type='base64', media_type='image/png', data=s))),
    st.builds(lambda s, t: result(call(), [dict(type='web_search_result', title=s, url=t)]), nasty, nasty))

@seeded
@given(st.lists(st.lists(blocks, max_size=3).map(lambda c: said(*c)), max_size=3), nasty, nasty)
def test_nothing_comes_to_life(h, sp, model):
    check_safe(show_chat(h, [Spent(0, 1, model, usage(1, 2), 0.1)], sp, most=1), FOLDS | {'img'})

def unspaced(s): return '\n'.join(l if l.strip() else '' for l in s.split('\n'))

@seeded
@given(nasty, nasty, nasty)
def test_code_shows_as_it_was(name, code, answer):
    a = call('f', x=1)
    for page in pages(show_chat([said(a), user(result(a, f'.{code}.')), said(text(answer))]), FOLDS).values():
        assert not page.problems and (printable(code) != code or set(code) & set('\0\t') or unspaced(f'.{code}.') in unspaced(''.join(page.code))), code

@pytest.mark.parametrize('hole', HOLES)
def test_holes_that_were_found(hole):
    a = call(hole, x=hole)
    name = hole.replace('"', '')
    h = [mk_msg(hole), said(text(hole), a), user(result(a, hole)), said(text(hole), text(f'<file name="{name}">\n{hole}\n</file>'))]
    check_safe(show_chat(h, [Spent(2, 4, hole, usage(1), None)], hole), FOLDS)

# ---- turns

def test_turns_are_unique_ids_by_where_they_end():
    h = [mk_msg('a'), said(text('b')), mk_msg('c'), said(text('d')), mk_msg('e')]
    spent = [Spent(0, 2, 'm', usage(1), 0.1), Spent(2, 4, 'm', usage(2), 0.2), Spent(3, 4, 'm', usage(4), 0.4)]
    turns = by_turn(read_history(h), spent)
    assert [([o.end for o in t], s) for t, s in turns] == [([1, 2], spent[:1]), ([3, 4], spent[1:]), ([5], [])]
    assert total_spent(spent) == (usage(7), pytest.approx(0.7)) and total_spent([]) == (usage(), 0)
    assert by_turn([], spent)[0] == ([], spent) and by_turn([], []) == []

def test_model_and_cost_of_each_turn_are_shown():
    h = [mk_msg('a'), said(text('b')), mk_msg('c'), said(text('d'))]
    shown = show_chat(h, [Spent(0, 2, 'first', usage(1, 2), 0.1), Spent(2, 4, 'second', usage(3), None)])
    assert shown == '**You**\n\na\n\n**first**\n\nb\n\n*1 in · 2 out · 0.10 USD*\n\n**You**\n\nc\n\n**second**\n\nd\n\n*3 in*'

# ---- growing

class Shell:
    "Stands for IPython: notes what is displayed, and the updates of it"
    def __init__(self, monkeypatch, live=True):
        self.shown = []
        monkeypatch.setattr('llmchat.display.notebook.display', self)
        monkeypatch.setattr('llmchat.display.notebook.monotonic', lambda: 0.0)
        monkeypatch.setattr('llmchat.display.notebook.in_notebook', lambda: True)
        monkeypatch.delenv('IN_TEST', raising=False) if live else monkeypatch.setenv('IN_TEST', '1')
    def Markdown(self, s): return s
    def display(self, s, display_id):
        self.shown.append(s)
        return self
    def update(self, s): self.shown.append(s)

def test_screen_grows(monkeypatch):
    shell = Shell(monkeypatch)
    with Screen(every=0) as screen:
        for s in ('Blue ', '<b>', ' *is*'): screen.add(s)
    assert shell.shown == ['Blue', 'Blue &lt;b>', 'Blue &lt;b> *is*', 'Blue &lt;b> *is*']

def test_screen_waits_between_updates(monkeypatch):
    shell, clock = Shell(monkeypatch), [0.0]
    monkeypatch.setattr('llmchat.display.notebook.monotonic', lambda: clock[0])
    with Screen(every=1) as screen:
        for i in range(40):
            screen.add('x')
            clock[0] += 0.1
    assert len(shell.shown) == 5 and shell.shown[-1] == 'x' * 40

def test_screen_takes_a_small_part_of_the_time(monkeypatch):
    shell, clock = Shell(monkeypatch), [0.0]
    monkeypatch.setattr('llmchat.display.notebook.monotonic', lambda: clock[0])
    def slow(s):
        clock[0] += 1
        return s
    shell.Markdown = slow
    with Screen(every=0.1) as screen:
        for i in range(100):
            screen.add('x')
            clock[0] += 0.3
    assert len(shell.shown) <= 5 # each took 1 s, of 30 + 5

def test_in_tests_only_the_end_shows(monkeypatch):
    shell = Shell(monkeypatch, live=False)
    with Screen(every=0) as screen:
        for s in 'abc': screen.add(s)
    assert shell.shown == ['abc']

def test_what_came_shows_where_it_broke_off(monkeypatch):
    shell = Shell(monkeypatch, live=False)
    with pytest.raises(ZeroDivisionError), Screen() as screen:
        screen.add('abc')
        1 / 0
    assert shell.shown == ['abc']

def test_without_notebook_it_is_printed(monkeypatch, capsys):
    monkeypatch.setattr('llmchat.display.notebook.in_notebook', lambda: False)
    with Screen() as screen:
        for o in ['Let \x1b[2Jme.', message([text('Let me.'), call('a', x=1)]), user(result(call('a'), '2')), 'Done', message(['Done'])]: screen.add(o)
    assert capsys.readouterr().out == 'Let [2Jme.\n`a(x=1)`\n→ 2\nDone\n'

@pytest.mark.parametrize('shell,notebook', [('TerminalInteractiveShell', False), ('ZMQInteractiveShell', True), (None, False)])
def test_where_markdown_renders(monkeypatch, shell, notebook):
    from llmchat.display.notebook import in_notebook
    module = type('M', (), dict(get_ipython=staticmethod(lambda: shell and type(shell, (), {})())))
    monkeypatch.setitem(sys.modules, 'IPython', module)
    assert in_notebook() == notebook

# ---- plots

def test_without_matplotlib(monkeypatch):
    monkeypatch.setattr('llmchat.display.plot.find_spec', lambda name: None)
    with pytest.raises(ImportError, match='pip install matplotlib'): plot_spent([Spent(0, 1, 'm', usage(1), None)])

def test_alternative_text_is_text():
    svg = plot_spent([Spent(0, 1, '<script>"', usage(1, 2), 0.5)] * 2).svg()
    assert svg.count('<svg') == 1 and 'aria-label="Tokens and cost of 1 turn; in all 2 in · 4 out · 1.00 USD"' in svg and '<script' not in svg

# ---- show() on streams, sync and async

def show(stream):
    "Show it to its end"
    shown = stream.show(every=0)
    return shown if not hasattr(shown, '__await__') else asyncio.run(_awaited(shown))

async def _awaited(o): return await o

def chat_of(way, *replies, **kw): return way.Chat(MODEL, way.sdk(Sandbox(list(replies))), **kw)

@both
def test_show_a_reply(way, monkeypatch):
    shell, chat = Shell(monkeypatch), chat_of(way, 'One, <b>two</b>, three.')
    s = chat('Count', stream=True)
    assert show(s) is None and s.value.content[0].text == 'One, <b>two</b>, three.' and len(chat.h) == 2
    assert len(shell.shown) > 2 and shell.shown[-1].startswith('One, &lt;b>two&lt;/b>, three.\n\n<details>') and '<b>' not in ''.join(shell.shown)
    with pytest.raises(ValueError, match='has begun'): s.show()
    assert s.value is not None

@both
@pytest.mark.parametrize('stream', [True, False])
def test_show_a_loop(way, monkeypatch, stream):
    def double(n: int): return 2 * n
    shell = Shell(monkeypatch)
    chat = chat_of(way, ['Let me.', tool_use('double', n=21)], 'It is 42.', tools=[double])
    s = chat.toolloop('What is twice 21?', stream=stream)
    show(s)
    assert len(chat.h) == 4 and len(s.value) == 3
    assert shell.shown[-1] == 'Let me.\n\n<details><summary><code>double(n=21)</code></summary>\n\n```\n42\n```\n\n</details>\n\nIt is 42.'

@both
def test_show_with_thinking(way, monkeypatch):
    shell = Shell(monkeypatch)
    s = chat_of(way, [dict(type='thinking', thinking='A *name*.', signature='c2ln'), 'Hi!'])('Hi', stream=True, thinking=True)
    show(s)
    assert any('<summary>Thinking</summary>\n\nA' in o for o in shell.shown[:-1])

@both
def test_show_events(way, monkeypatch):
    shell = Shell(monkeypatch)
    show(chat_of(way, 'Hello')('Hi', stream=True, events=True))
    assert shell.shown[-1].startswith('Hello\n\n<details>')

@both
def test_show_what_breaks_off(way, monkeypatch):
    from llmchat.sandbox.server import Cut
    shell, chat = Shell(monkeypatch, live=False), chat_of(way, Cut('One, two, three.', events=6), 'Again.')
    s = chat('Count', stream=True)
    with pytest.raises(Exception, match='broke off'): show(s)
    assert chat.h == [] and 'broken off' in repr(s) and len(shell.shown) == 1 and shell.shown[0].startswith('One')
    way.call(chat, 'Count')
    assert len(chat.h) == 2

@both
def test_show_what_has_begun(way):
    s = chat_of(way, 'One, two, three.')('Count', stream=True)
    way.leave(s, 'close')
    with pytest.raises(ValueError, match='has begun'): s.show()

def test_show_a_part():
    for part in chat_of(Sync, 'One.').toolloop('Count', stream=True):
        with pytest.raises(ValueError, match='toolloop'): part.show()

def test_show_cancelled(monkeypatch):
    shell, chat = Shell(monkeypatch, live=False), chat_of(Async, 'One, two, three.', 'Again')
    async def go():
        s = chat('Count', stream=True)
        with pytest.raises(asyncio.CancelledError):
            task = asyncio.create_task(_awaited(s.show()))
            await asyncio.sleep(0)
            task.cancel()
            await task
        assert 'broken off' in repr(s) and chat.h == []
        await chat('Count')
    asyncio.run(go())
    assert len(chat.h) == 2 and len(shell.shown) <= 1

def test_show_is_interrupted(monkeypatch):
    Shell(monkeypatch, live=False)
    chat = chat_of(Sync, 'One, two, three.', 'Again')
    monkeypatch.setattr(Screen, 'add', lambda self, o: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt): chat('Count', stream=True).show()
    assert chat.h == []
    chat('Count')

# ---- chats

@both
def test_spent_by_turn(way):
    def double(n: int): return 2 * n
    chat = chat_of(way, tool_use('double', n=21), 'It is 42.', 'Bye.', 'Ciao.', tools=[double], hist=['Hi', 'Hello!'])
    way.read(chat, 'What is twice 21?')
    way.call(chat)
    assert [s.end for s in chat.spent] == [4, 6] and total_spent(chat.spent) == (chat.use, pytest.approx(chat.cost))
    way.call(chat, 'Bye')
    way.call(chat.retry)
    assert [s.end for s in chat.spent] == [4, 6, 8]
    chat.undo()
    assert [s.end for s in chat.spent] == [4, 6] and len(chat.plot().figure.axes) == 2
    shown = chat._repr_markdown_()
    assert shown.count('**claude-sonnet-5-5**') == 2 and shown.count('**Assistant**') == 1 and 'double(n=21)' in shown

def test_spent_where_an_answer_is_asked_again():
    chat = Chat('local', Sandbox(['no', '{"value": 3}'], models=['local']).client())
    assert chat.parse('How many?', int, retries=1) == 3
    assert len(chat.spent) == 1 and chat.spent[0].use == chat.use

def test_long_conversations_fold_what_is_old():
    chat = chat_of(Sync, *map(str, range(30)))
    for i in range(30): chat('?')
    shown = chat._repr_markdown_()
    assert '<summary>20 earlier turns</summary>' in shown and shown.index('</details>') < shown.index('\n\n20\n\n')

def test_chat_without_turns():
    assert chat_of(Sync)._repr_markdown_().startswith('No reply yet')
    with pytest.raises(ValueError, match='no turn yet'): chat_of(Sync).plot()

def test_ipython_gets_what_is_shown():
    "A formatter that raises is swallowed: what comes out is looked at"
    shell = InteractiveShell.instance()
    chat = chat_of(Sync, 'Hello!')
    chat('Hi')
    data, _ = shell.display_formatter.format(chat)
    assert data['text/markdown'] == chat._repr_markdown_()
    assert shell.display_formatter.format(chat.use)[0]['text/markdown'].startswith('| Input | Output | **Total** |')
    data, meta = shell.display_formatter.format(chat.plot())
    assert data['image/svg+xml'].startswith('<svg role="img"') and meta['image/svg+xml']['alt'] == data['text/plain']
