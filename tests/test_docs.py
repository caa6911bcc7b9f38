"The pages as they are written: each in the reading order, each with its plain-text copy"
import ast, json, re
from pathlib import Path

import docs, pytest

root = Path(__file__).parent.parent
nbs = root/'nbs'
pages = [name for _,name in docs.reading_order(root)]

def test_every_page_is_in_the_reading_order_once():
    found = sorted(p.relative_to(nbs).as_posix() for kind in ('*.ipynb', '*.md') for p in nbs.rglob(kind))
    assert sorted(pages) == found, 'website.sidebar in _quarto.yml is the one list of pages'

def test_start_page_comes_first(): assert pages[0] == 'index.ipynb'

def test_no_two_pages_have_one_name():
    names = [docs.nbpath2html(Path(p)) for p in pages]
    assert len(names) == len(set(names))

def test_changelog_page_is_the_changelog():
    assert (nbs/'changelog.md').resolve() == root.resolve()/'CHANGELOG.md'

CELLS = [(nb.name, c) for nb in sorted(nbs.rglob('*.ipynb')) for c in json.loads(nb.read_text(encoding='utf-8'))['cells']]
def sources(kind): return [(name, ''.join(c['source'])) for name, c in CELLS if c['cell_type'] == kind]

def checks_nothing(code):
    "The lines that call `expect_fail` without `with`: they look like a check and are none"
    tree = ast.parse(re.sub(r'^[!%].*', '', code, flags=re.M))
    return [n.lineno for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call)
        and getattr(n.value.func, 'id', '') == 'expect_fail']

def torn(text):
    "The lines of tables that begin without a head"
    return re.findall(r'(?:^|\n\n)(\|.*)(?!\n\|[ :-]*-)(?:\n|$)', text)

def test_every_check_checks_something():
    assert not [name for name, code in sources('code') if checks_nothing(code)]
    assert checks_nothing("x = 1\nexpect_fail(lambda: 1/0, ZeroDivisionError)") == [2]
    assert not checks_nothing("with expect_fail(ZeroDivisionError): 1/0")

def test_tables_are_whole():
    assert not [(name, line) for name, text in sources('markdown') for line in torn(text)]
    assert torn('| a |\n|---|\n| b |\n\n| c |\n') == ['| c |'] and not torn('x\n\n| a |\n|:-:|\n| b |')

STYLE = (nbs/'styles.css').read_text(encoding='utf-8')

def test_styles_are_plain_css_and_fetch_nothing():
    assert not re.search(r'@import|url\(|^\s*[$@](?!media)', STYLE, re.M)

@pytest.mark.parametrize('bad', ['<script src="https://x.org/a.js">', '<link rel="stylesheet" href="//x.org/a.css">',
    '<img alt="" src="https://x.org/a.png">', '@import url(https://fonts.x.org/css2?family=Lato);'])
def test_what_is_fetched_from_elsewhere_is_found(tmp_path, bad):
    (tmp_path/'a.html').write_text(bad)
    assert list(docs.problems(tmp_path))

def test_a_link_to_elsewhere_is_no_problem(tmp_path):
    (tmp_path/'a.html').write_text('<a href="https://x.org/">x</a>')
    assert not list(docs.problems(tmp_path))

def test_broken_links_are_problems(tmp_path):
    assert list(docs.problems(tmp_path, [('a.ipynb', 'b.html')])) == ['a.ipynb: broken link b.html']

@pytest.mark.parametrize('css', ['@import"https://x.org/a.css";', "@import 'https://x.org/a.css' screen;", '@import url(https://x.org/a.css);',
    '@import\n"//x.org/a.css";', '@import url("https://fonts.x.org/css2?family=Lato:wght@4;7");'])
def test_imports_from_elsewhere_are_taken_out(tmp_path, css):
    "Quarto's Sass writes them without a blank"
    (tmp_path/'a.css').write_text(css + 'p{margin:0}')
    docs.drop_imports(tmp_path)
    assert (tmp_path/'a.css').read_text() == 'p{margin:0}' and not list(docs.problems(tmp_path))

@pytest.mark.parametrize('name,text', [('x/a.html', '<a class="b" href="b.html#c">b</a>'), ('x/a.html.md', 'See [b](b.html.md).'),
    ('x/a.html', '<img alt="" src="../1.png">'), ('llms.txt', f'- [b]({docs.get_config().doc_url}b.html.md)')])
def test_a_link_to_a_file_that_is_not_there_is_found(tmp_path, name, text):
    "Also one that the last step adds, when the builder has made its own check"
    (tmp_path/name).parent.mkdir(exist_ok=True)
    (tmp_path/name).write_text(text)
    assert [p.startswith(f'{name}: broken link') for p in docs.problems(tmp_path)] == [True]
    for at in 'x/b.html', 'x/b.html.md', '1.png', 'b.html.md':
        (tmp_path/at).parent.mkdir(exist_ok=True)
        (tmp_path/at).write_text('<p id="c">')
    assert not list(docs.problems(tmp_path))

def test_a_link_to_a_place_that_is_not_there_is_found(tmp_path):
    (tmp_path/'a.html').write_text('<a href="b.html#it&#39;s">b</a>')
    (tmp_path/'b.html').write_text('<h2 id="its">')
    assert list(docs.problems(tmp_path)) == ['a.html: broken link b.html#it&#39;s']
    (tmp_path/'b.html').write_text('<h2 id="it&#x27;s">')
    assert not list(docs.problems(tmp_path))

def first_cell(page): return ''.join(json.loads((nbs/page).read_text(encoding='utf-8'))['cells'][0]['source'])
titles = {p: re.match('# (.*)', first_cell(p))[1] for p in pages if p.endswith('.ipynb')}
numbered = {p: m[1] for p in titles if (m := re.search(r'(?:^|/)\d\d_(\w+)\.ipynb$', p)) and not p.startswith('card/')}

# Pages of modules that are titled otherwise, each with the reason.
meant = {'sandbox/15_server.ipynb': 'sandbox'} # The folder is known by the class that this page defines

def test_no_two_pages_have_one_title():
    assert not [t for t in titles.values() if [*titles.values()].count(t) > 1]

def test_a_page_of_a_module_is_titled_as_its_file():
    assert {p: titles[p] for p in numbered} == numbered | meant

def test_links_between_notebooks_name_notebooks():
    "Also where a reader has the notebook and no site"
    assert not [(name, link) for name, text in sources('markdown') for link in re.findall(r'\]\((?!https?:)([^)]*\.html[^)]*)\)', text)]
