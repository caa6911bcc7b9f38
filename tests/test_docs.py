"The pages as they are written: each in the reading order, each with its plain-text copy"
import re
from pathlib import Path

import docs, drawing, pytest

root = Path(__file__).parent.parent
nbs = root/'nbs'
pages = [name for _,name in docs.reading_order(root)]

def test_every_page_is_in_the_reading_order_once():
    found = sorted(p.name for p in [*nbs.glob('*.ipynb'), *nbs.glob('*.md')])
    assert sorted(pages) == found, 'website.sidebar in _quarto.yml is the one list of pages'

def test_start_page_comes_first(): assert pages[0] == 'index.ipynb'

def test_no_two_pages_have_one_name():
    names = [docs.nbpath2html(Path(p)) for p in pages]
    assert len(names) == len(set(names))

def test_changelog_page_is_the_changelog():
    assert (nbs/'changelog.md').resolve() == root.resolve()/'CHANGELOG.md'

def test_drawing_is_what_its_text_says():
    assert drawing.drawing((nbs/'design.txt').read_text(encoding='utf-8')) == (nbs/'design.svg').read_text(encoding='utf-8')

STYLE = (nbs/'styles.css').read_text(encoding='utf-8')

def test_styles_are_plain_css_and_fetch_nothing():
    assert not re.search(r'@import|url\(|^\s*[$@](?!media)', STYLE, re.M)

@pytest.mark.parametrize('bad', ['<script src="https://x.org/a.js">', '<link rel="stylesheet" href="//x.org/a.css">',
    '<img alt="" src="https://x.org/a.png">', '@import url(https://fonts.x.org/css2?family=Lato);'])
def test_what_is_fetched_from_elsewhere_is_found(tmp_path, bad):
    (tmp_path/'a.html').write_text(bad)
    assert list(docs.problems(tmp_path))

def test_a_link_to_elsewhere_is_no_problem(tmp_path):
    (tmp_path/'a.html').write_text('<a href="https://x.org/">x</a><img alt="" src="a.svg">')
    assert not list(docs.problems(tmp_path))

def test_broken_links_are_problems(tmp_path):
    assert list(docs.problems(tmp_path, [('a.ipynb', 'b.html')])) == ['a.ipynb: broken link b.html']
