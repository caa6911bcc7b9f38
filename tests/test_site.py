"""The built site in a real browser: every page, wide and narrow, light and dark.

`make check-site` builds the site and runs this file; LLMCHAT_SITE names the folder of the site. It needs Chromium, npm
(for axe-core) and what the extra `site` installs. Without LLMCHAT_SITE all of it is skipped; with it nothing is."""
import json, os, re, shutil, subprocess
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest

folder = os.environ.get('LLMCHAT_SITE')
pytestmark = pytest.mark.skipif(not folder, reason='LLMCHAT_SITE names no built site (make check-site builds and checks it)')

root = Path(__file__).parent.parent
site = Path(folder or 'no-site').resolve()
axe_version = '4.14.1'
browsers = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'
flags = '''--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update
    --disable-sync'''.split()

if folder:
    import docs
    sources = {docs.nbpath2html(Path(name)).as_posix(): root/'nbs'/name for _,name in docs.reading_order(root)}
else: sources = {'no-site.html': Path('no-site')}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

@pytest.fixture(scope='session')
def base():
    "The address of the site, on this machine"
    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(site))) as server:
        Thread(target=server.serve_forever, args=[.01], daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()

@pytest.fixture(scope='session')
def axe(tmp_path_factory):
    "The source of axe-core, installed outside the tree"
    to = tmp_path_factory.mktemp('axe')
    subprocess.run(['npm', 'install', '--silent', '--no-audit', '--no-fund', f'axe-core@{axe_version}'], cwd=to, check=True)
    return (to/'node_modules/axe-core/axe.min.js').read_text(encoding='utf-8')

@pytest.fixture(scope='session')
def browser():
    from playwright.sync_api import sync_playwright
    found = next(filter(None, map(shutil.which, browsers)), None)
    assert found, f'LLMCHAT_SITE is set, and there is no browser: none of {browsers} is installed'
    with sync_playwright() as play:
        b = play.chromium.launch(executable_path=found, headless=True, args=flags, chromium_sandbox=False)
        yield b
        b.close()

@pytest.fixture(params=[1400, 400])
def width(request): return request.param

@pytest.fixture
def tab(browser, base, width):
    "A page of the browser; what it complains of, and whom else it asks"
    ctx = browser.new_context(viewport=dict(width=width, height=900), color_scheme='light' if width > 992 else 'dark')
    ctx.set_default_timeout(0) # The limit is that of every test
    page = ctx.new_page()
    page.errors, page.outside = [], []
    page.on('console', lambda m: page.errors.append(m.text) if m.type in ('error', 'warning') else None)
    page.on('pageerror', lambda e: page.errors.append(str(e)))
    page.on('requestfailed', lambda r: page.errors.append(f'{r.url} failed'))
    def guard(route):
        url = route.request.url
        if url.startswith((base, 'data:', 'blob:')): return route.continue_()
        page.outside.append(url)
        route.abort()
    ctx.route('**/*', guard)
    yield page
    ctx.close()

def normal(text): return ' '.join(text.split())

def outputs(nb):
    "What must be on the page of a notebook: the number of outputs, and those that are plain text"
    n, texts = 0, []
    for c in json.loads(nb.read_text(encoding='utf-8'))['cells']:
        src = ''.join(c['source'])
        if c['cell_type'] != 'code' or re.search(r'^#\| *(hide$|hide\b|output: *false|include: *false|default_exp)', src, re.M): continue
        for o in c['outputs']:
            if o['output_type'] == 'error': continue
            n += 1
            plain = o.get('text') or (o['data'].get('text/plain') if set(o.get('data', ())) == {'text/plain'} else None)
            if plain: texts.append(''.join(plain))
    return n, texts

beyond = '''() => [...document.querySelectorAll('main *, header *')].filter(e => {
    const r = e.getBoundingClientRect()
    if (!r.width || !r.height || r.right <= innerWidth + 1) return false
    for (let p = e.parentElement; p; p = p.parentElement)
        if (p.id != 'quarto-content' && getComputedStyle(p).overflowX != 'visible' && p != document.body) return false
    return true
}).map(e => e.outerHTML.slice(0, 120))'''

@pytest.mark.parametrize('name', sources)
def test_page(tab, base, axe, width, name):
    tab.goto(f'{base}/{name}')
    assert tab.title().strip() and tab.locator('h1').count() == 1
    check_outputs(tab, sources[name])
    check_code(tab, sources[name])
    check_links(tab, base)
    check_folds(tab)
    assert tab.evaluate('document.documentElement.scrollWidth') <= width
    assert not tab.evaluate(beyond)
    tab.evaluate(axe)
    found = tab.evaluate("axe.run(document, {resultTypes: ['violations']})")['violations']
    serious = [(v['id'], n['target'], n['failureSummary']) for v in found if v['impact'] in ('serious', 'critical') for n in v['nodes']]
    assert not serious
    assert not tab.outside and not tab.errors

def check_outputs(tab, src):
    if src.suffix != '.ipynb': return
    n, texts = outputs(src)
    assert tab.locator('main .cell-output').count() >= n
    shown = normal(tab.locator('main').text_content())
    assert [t for t in texts if normal(re.sub(r'\x1b\[[\d;]*m', '', t)) not in shown] == []
    assert tab.locator('main .answered-by').count() == ('recorded()' in src.read_text(encoding='utf-8'))

def check_code(tab, src):
    "Code is as it was written, to be copied, however it is wrapped; signatures name types as the source does"
    if src.suffix != '.ipynb': return
    shown = tab.evaluate("[...document.querySelectorAll('main .cell pre.sourceCode')].map(e => e.textContent.trim())")
    cells = json.loads(src.read_text(encoding='utf-8'))['cells']
    written = [''.join(c['source']).strip() for c in cells if c['cell_type'] == 'code']
    assert [s for s in written if s and '#|' not in s and not s.startswith('show_doc') and s not in shown] == []
    assert not [s for s in shown if s.startswith('def ') and '__main__' in s]

def ids(path): return set(map(unescape, re.findall(r'\bid="([^"]+)"', path.read_text(encoding='utf-8'))))

def check_links(tab, base):
    "Links inside the site lead to files, and to places on them"
    for href in tab.evaluate('[...document.links].map(a => a.href)'):
        if not href.startswith(base): continue
        url = urlsplit(href)
        path = site/(unquote(url.path).strip('/') or 'index.html')
        assert path.is_file(), href
        if url.fragment: assert unquote(url.fragment) in ids(path), href

def check_folds(tab):
    if not tab.locator('main details:not([open])').count(): return
    fold = tab.locator('main details:not([open])').first
    fold.evaluate("e => e.setAttribute('data-seen', '')")
    seen = tab.locator('main details[data-seen]')
    seen.click(position=dict(x=20, y=12)) # on its summary, or on the browser's own word for one
    assert seen.evaluate('e => e.open') and seen.evaluate('e => e.lastElementChild.getBoundingClientRect().height > 0')

def open_menu(tab):
    menu = tab.locator('.navbar-toggler')
    if menu.is_visible(): menu.click()

@pytest.mark.parametrize('word, where', [('toolloop', 'toolloop.html'), ('mk_doc', 'protocol/messages.html#mk_doc')])
def test_search_goes_to_the_right_section(tab, base, word, where):
    tab.goto(f'{base}/index.html')
    open_menu(tab)
    tab.get_by_role('searchbox').or_(tab.locator('.aa-Input')).first.fill(word)
    tab.locator('.search-result, .aa-Item a').first.click()
    tab.wait_for_url(f'{base}/{where}')
    place = urlsplit(tab.url).fragment
    target = tab.locator(f'[id="{place}"]' if place else 'h1').first
    assert word in target.inner_text() and target.is_visible()
    assert not tab.errors

def test_menu_of_pages_opens_below_the_header(tab, base, width):
    if width > 992: pytest.skip('it is always open')
    tab.goto(f'{base}/index.html')
    tab.locator('.quarto-btn-toggle').first.click()
    first = tab.locator('#quarto-sidebar a').first
    tab.wait_for_function('document.querySelector("#quarto-sidebar").getBoundingClientRect().left >= 0')
    assert first.bounding_box()['y'] >= tab.locator('#quarto-header').bounding_box()['height']

@pytest.mark.parametrize('name', ['index.html', 'sandbox/clouds.html'])
def test_list_of_pages_shows_the_current_one(tab, base, width, name):
    tab.goto(f'{base}/{name}')
    if width < 992: tab.locator('.quarto-btn-toggle').first.click()
    tab.wait_for_function('document.querySelector("#quarto-sidebar").getBoundingClientRect().left >= 0')
    box = tab.locator('#quarto-sidebar .sidebar-link.active').first.bounding_box()
    assert 0 < box['y'] < 900 - box['height'] and not tab.evaluate('scrollY')

def background(tab):
    return sum(map(int, re.findall(r'\d+', tab.evaluate('getComputedStyle(document.body).backgroundColor'))[:3]))

def test_dark_mode(tab, base, width):
    "It follows the reader's system, changes with the button, and the choice stays"
    tab.goto(f'{base}/index.html')
    dark = width < 992
    assert (background(tab) < 200) == dark
    open_menu(tab)
    tab.locator('.quarto-color-scheme-toggle').first.click()
    tab.wait_for_function('dark => Boolean(document.querySelector(".quarto-dark")) != dark', arg=dark)
    assert (background(tab) < 200) != dark
    tab.goto(f'{base}/core.html')
    assert (background(tab) < 200) != dark

def test_search_results_are_readable(tab, base):
    tab.goto(f'{base}/index.html')
    open_menu(tab)
    tab.locator('.smalldocs-search input').first.fill('chat')
    hit = tab.locator('.search-result').first
    hit.wait_for()
    box, page = tab.locator('.smalldocs-search-results').evaluate('e => getComputedStyle(e).backgroundColor'), tab.evaluate(
        'getComputedStyle(document.body).backgroundColor')
    assert box == page

def test_next_leads_through_all_pages(tab, base, width):
    if width < 992: pytest.skip('once is enough')
    tab.goto(f'{base}/index.html')
    seen = ['index.html']
    while tab.locator('.nav-page-next a').count() and len(seen) <= len(sources):
        tab.goto(tab.locator('.nav-page-next a').evaluate('a => a.href'))
        seen.append(urlsplit(tab.url).path.strip('/'))
    assert seen == list(sources)

def test_plain_text_is_complete():
    listed = re.findall(r'\]\(https://[^/)]+/[^/)]+/([\w./-]+)\.md\)', (site/'llms.txt').read_text(encoding='utf-8'))
    assert listed == list(sources)
    for name in sources:
        text = (site/f'{name}.md').read_text(encoding='utf-8')
        assert text.startswith('# ') and not re.search(r'^(:::|#\|)', text, re.M)
