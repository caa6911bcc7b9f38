"The scripts in tools/: README.md, the site, the comparison of outputs."
import check_outputs, docs, readme
import pytest
from fastcore.nbio import mk_cell, mk_display, mk_result, new_nb, write_nb

header = mk_cell('---\ntitle: A page\ndescription: Its promise\n---\n', 'raw')

def notebook(path, out):
    write_nb(new_nb([mk_cell('chat', id='a', outputs=[mk_result(**{'text/plain': out})])]), path)
    return path

def differences(tmp_path, stored, fresh):
    a, b = notebook(tmp_path/'a.ipynb', stored), notebook(tmp_path/'b.ipynb', fresh)
    return list(check_outputs.differences(a, b))

def test_a_wrong_output_is_shown(tmp_path):
    diff, = differences(tmp_path, 'Hello Jeremy', 'Hello Jerome')
    assert 'a.ipynb, cell 0: chat' in diff and '-Hello Jeremy' in diff and '+Hello Jerome' in diff

@pytest.mark.parametrize('stored,fresh', [
    ('msg_01Xab6BWHBDSLsUCNpgkdQDL', 'msg_01YZ1CUHqSJWHANRZdJLyUuo'),
    ('at 2026-11-23T03:24:00Z', 'at 2026-11-24T13:24:59Z'),
    ('<object at 0x7f0123456789>', '<object at 0x7f9876543210>')])
def test_ids_dates_and_addresses_may_differ(tmp_path, stored, fresh):
    assert not differences(tmp_path, stored, fresh)

@pytest.mark.parametrize('stored,fresh', [('In: 10', 'In: 11'), ('file_name', 'file_path'), ('$0.0012', '$0.0013')])
def test_nothing_else_may_differ(tmp_path, stored, fresh):
    assert differences(tmp_path, stored, fresh)

def page(*cells):
    return readme.to_md(new_nb([header, *cells]), lambda target: target.replace('.ipynb', '.html'))

def test_plain_markdown():
    text, pictures = page(
        mk_cell('::: {.callout-note}\nSee [core](00_core.ipynb#chat){.x a="b"}.\n:::', 'markdown'),
        mk_cell('#| code-fold: true\nx = 1'),
        mk_cell('#| echo: false\nshow_doc(f)', outputs=[mk_display(**{'text/markdown': '*f*'})]))
    assert text == '# A page\n\n> Its promise\n\nSee [core](00_core.html#chat).\n\n```python\nx = 1\n```\n\n*f*\n'
    assert not pictures

@pytest.mark.parametrize('html', [
    '<script defer src="https://cdn.example/katex.js">', '<link rel="stylesheet" href="https://cdn.example/x.css">',
    "import mermaid from 'https://cdn.example/mermaid.mjs'", '@import url(https://fonts.example/css)'])
def test_nothing_is_fetched_from_elsewhere(tmp_path, html):
    (tmp_path/'index.html').write_text(html)
    problem, = docs.problems(tmp_path, [])
    assert problem.startswith('index.html fetches https://')

def test_links_may_lead_elsewhere(tmp_path):
    html = '<a href="https://docs.example">x</a> <link rel="canonical" href="https://docs.example">'
    (tmp_path/'index.html').write_text(html)
    assert not list(docs.problems(tmp_path, []))

def test_readme_is_current():
    cfg = readme.get_config(docs.__file__)
    assert (cfg.config_path/'README.md').read_text(encoding='utf-8') == readme.readme(cfg.nbs_path/cfg.readme_nb)
