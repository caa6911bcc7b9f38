"""Build the site into _docs without Quarto: nbdev processes the notebooks as `nbdev-docs` does, smalldocs renders them.
`python tools/docs.py finish` completes a site that Quarto rendered: what both have in common is added here."""
import json, re, shutil, sys
from functools import cache
from html import unescape
from os.path import relpath
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from urllib.parse import unquote

import yaml
from fastcore.nbio import join_out, read_nb
from nbdev.config import get_config, nbpath2html
from nbdev.doclinks import _build_modidx
from nbdev.quarto import refresh_quarto_yml
from nbdev.serve import proc_nbs
from readme import header, to_md
from smalldocs.config import load
from smalldocs.site import Site

def process()->Path: # The folder of processed notebooks
    "nbdev's own steps before Quarto."
    refresh_quarto_yml()
    _build_modidx()
    return proc_nbs(force=True)

class NbSite(Site):
    "smalldocs' site with the pages where nbdev's links look for them: `core.html` for `00_core.ipynb`."
    def read(self, src):
        page = super().read(src)
        page.out = PurePosixPath(nbpath2html(src))
        return page

    def find_page(self, target):
        return super().find_page(target) or next((p for p in self.pages.values() if p.out==target), None)

    def resolve(self, href, page, record=True):
        url = get_config().doc_url.rstrip('/')
        return super().resolve(href.removeprefix(url) if href.startswith(f'{url}/') else href, page, record)

def contents(
    items, # `contents` of a sidebar
    section:str='', # The section they are in
): # Pairs of section and page: the reading order
    "What the sidebar lists, in its order."
    for o in items:
        if isinstance(o, str): yield section, o
        else: yield from contents(o['contents'], o['section'])

def reading_order(
    path:Path, # A folder with `_quarto.yml`
)->list: # Pairs of section and page
    cfg = yaml.safe_load((path/'_quarto.yml').read_text(encoding='utf-8'))
    return list(contents(cfg['website']['sidebar']['contents']))

modules = re.compile(r'\b(?:[a-z_]\w*(?:<span class="op">)?\.(?:</span>)?)+(?=[A-Z])')

def short_types(
    text:str, # Of a signature as `show_doc` gives it, Markdown or HTML
)->str:
    "Types by their names alone, as in the source: `Any`, not `typing.Any`. Comments stay."
    def short(line):
        before, comment, after = line.partition('<span class="co">' if '<span' in line else ' # ')
        return modules.sub('', before) + comment + after
    return '\n'.join(map(short, text.split('\n')))

def text_of(
    src:Path, # A processed page, a notebook or Markdown
    name:str, # Its path within the site's sources
)->tuple[str,str,str,dict]: # Title, description, the page as plain text, its pictures by file name
    "A page for readers without a browser."
    def link(target):
        url = get_config().doc_url.rstrip('/') + '/'
        if target.startswith(url): target = relpath(target.removeprefix(url), Path(name).parent)
        target = re.sub(r'^(?!https?:)([\w./-]+)\.ipynb(?=#|$)', lambda m: str(nbpath2html(Path(m[0]))), target)
        return re.sub(r'^(?!https?:)([\w./-]+)\.html(?=#|$)', r'\1.html.md', target)
    if src.suffix=='.md':
        text = src.read_text(encoding='utf-8')
        return re.search('^# (.*)', text, re.M)[1], '', text, {}
    nb = read_nb(src)
    fm = header(nb)
    for o in (o for c in nb.cells for o in c.get('outputs', ())):
        if (md := join_out(o.get('data', {}).get('text/markdown', ''))).startswith('---\n'): o['data']['text/markdown'] = short_types(md)
    text, pictures = to_md(nb, link, prefix=nbpath2html(src).stem)
    return fm['title'], fm['description'], text, pictures

def write_text(
    proc:Path, # Processed pages
    docs:Path, # The rendered site
):
    "Put a plain-text copy beside each page, `core.html.md` for `core.html`, and list all of them in `llms.txt`."
    cfg = get_config()
    lines, last = [f'# {cfg.title}', '', f'> {cfg.description}', ''], ''
    for section, name in reading_order(proc):
        title, description, text, pictures = text_of(proc/name, name)
        dest = docs/f'{nbpath2html(Path(name))}.md'
        dest.parent.mkdir(parents=True, exist_ok=True)
        dest.write_text(text, encoding='utf-8')
        for n, data in pictures.items(): (dest.parent/n).write_bytes(data)
        if section!=last: lines += ['', f'## {section}', '']
        last = section
        lines.append(f'- [{title}]({cfg.doc_url}{dest.relative_to(docs).as_posix()})' + (f': {description}' if description else ''))
    (docs/'llms.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')

answered = '<p><em>The replies on this page'
elsewhere = r'(?:https?:)?//(?!localhost|127\.)[^"\')\s>]+'

def sources(
    name:str, # A notebook or a Markdown file in nbs
)->str: # HTML
    "Where a page comes from, said at its end."
    cfg = get_config()
    what = 'the notebook' if name.endswith('.ipynb') else 'made from'
    url = f'{cfg.git_url}/blob/{cfg.branch}/{cfg.nbs_path.name}/{name}'
    return (f'<p class="page-sources">This page is {what} <a href="{url}">{cfg.nbs_path.name}/{name}</a>; '
        f'here it is as <a href="{nbpath2html(Path(name)).name}.md">plain text</a>. '
        f'<a href="{"../"*name.count("/")}llms.txt">llms.txt</a> lists all pages.</p>')

def inlined(
    img:re.Match, # An `img` of a drawing of ours
)->str: # HTML
    "The drawing itself, which takes its colours from the page, with the picture's text for those who do not see it."
    alt = re.search(r'\balt="([^"]*)"', img[0])[1]
    return (get_config().nbs_path/img[1]).read_text(encoding='utf-8').strip().replace('<svg ', f'<svg aria-label="{alt}" ', 1)

def hung(
    code:re.Match, # The start of a code block, and what is in it
)->str: # HTML
    "Code line by line, so that a line that is too long for the page hangs at its own beginning."
    if '<span id="cb' in code[2]: return code[0] # Quarto has done it
    lines, spans, shell = [], [], re.search(r'\b(?:ba)?sh\b', code[1])
    source = re.sub(r'(?<=\s)--[a-z-]+', r'<span class="flag">\g<0></span>', code[2]) if shell else code[2]
    for line in source.removesuffix('\n').split('\n'):
        at, text = len(line) - len(line.lstrip(' ')), ''.join(spans) + line
        for tag in re.findall(r'<span\b[^>]*>|</span>', line): spans.pop() if tag=='</span>' else spans.append(tag)
        style = f' style="--at: {at}ch"' if at else ''
        lines.append(f'<span class="line"{style}>{text}{"</span>"*len(spans)}</span>')
    return code[1] + '\n'.join(lines) + '</code></pre>'

# A sidebar of all pages begins with the first; this one begins where the reader is.
here = """<script>{
  const bar = document.querySelector('#quarto-sidebar'), link = bar?.querySelector('.sidebar-link.active')
  if (link) bar.scrollTop += link.getBoundingClientRect().top - bar.getBoundingClientRect().top - bar.clientHeight / 2
}</script>"""

def mend(
    page:Path, # A rendered page
    name:str, # Its source
):
    "Add to a page what both builders leave out, and take what would be fetched from elsewhere."
    text = page.read_text(encoding='utf-8')
    text = text.replace(answered, answered.replace('<p>', '<p class="answered-by">'))
    text = re.sub(rf'<script[^>]*src="{elsewhere}"[^>]*></script>', '', text)
    text = re.sub(r'<img\b[^>]*\bsrc="(?:\.\./)*([\w-]+\.svg)"[^>]*>', inlined, text)
    text = re.sub(r'>source</a></p>\s*<h\d.*?</pre>', lambda m: short_types(m[0]), text, flags=re.S)
    text = re.sub(r'(<h\d[^>]*>[\w.]+)<strong>(\w+)</strong>(?=</h)', r'\1__\2__', text) # `__init__` is no bold type
    text = re.sub(r'(<pre\b[^>]*><code\b[^>]*>)(.*?)</code></pre>', hung, text, flags=re.S)
    text = re.sub(r'<table\b(?![^>]*\btabindex)', '<table tabindex="0"', text) # It may scroll, also by keyboard
    text = re.sub(r'<svg role="img"(?=[^>]*\bwidth="[\d.]+pt")', '<svg role="img" tabindex="0"', text) # A plot may too
    text = re.sub(r'<img\b(?![^>]*\balt=)', '<img alt="The picture that this code gives"', text)
    before, end, after = text.rpartition('<nav class="page-navigation' if '<nav class="page-navigation' in text else '</main>')
    text = f'{before}{sources(name)}{end}{after}'
    before, end, after = text.rpartition('</body>')
    page.write_text(f'{before}{here}{end}{after}', encoding='utf-8')

def drop_imports(
    docs:Path, # The rendered site
):
    "Take from its styles what they import from elsewhere."
    for css in docs.rglob('*.css'):
        text = css.read_text(encoding='utf-8')
        local = re.sub(rf'@import\s*(?:url\()?["\']?{elsewhere}["\']?\)?[^;]*;', '', text)
        if local!=text: css.write_text(local, encoding='utf-8')

def finish(
    proc:Path, # Processed pages
    docs:Path, # The rendered site
):
    "Everything that is added to a rendered site, whoever rendered it."
    write_text(proc, docs)
    for _,name in reading_order(proc): mend(docs/nbpath2html(Path(name)), name)
    drop_imports(docs)

fetched = [re.compile(p) for p in (
    rf'<script[^>]*src="({elsewhere})',
    rf'<link[^>]*rel="(?:stylesheet|icon|preload)"[^>]*href="({elsewhere})',
    rf'<(?:img|iframe|video|source)[^>]*src="({elsewhere})',
    rf"""\bimport [^;]*from ["']({elsewhere})""",
    rf"""(?:@import|url\()\s*["']?({elsewhere})""")]

links = {'.html': re.compile(r'<[a-z][^>]*\s(?:href|src)="([^"]+)"'), '.md': re.compile(r'(?<!`)\]\(([^()\s]+)\)(?!`)'),
    '.txt': re.compile(r'\]\(([^()\s]+)\)')}

def astray(
    docs:Path, # The rendered site
): # Pairs of file and link
    "Links of pages, of their plain-text copies and of `llms.txt` that lead to no file of the site, or no place on its page."
    url = get_config().doc_url.rstrip('/') + '/'
    places = cache(lambda page: set(map(unescape, re.findall(r'\bid="([^"]+)"', page.read_text(encoding='utf-8')))))
    for f in docs.rglob('*'):
        if f.suffix not in links or '_files' in str(f.parent): continue
        text = f.read_text(encoding='utf-8')
        if f.suffix=='.html': text = re.sub(r'<(script|style|pre|code)\b.*?</\1>', '', text, flags=re.S)
        if f.suffix=='.md': text = re.sub(r'^( *)(`{3,}|~{3,}).*?^\1\2|^ {4}[^\n]*$|`[^`\n]+`', '', text, flags=re.S|re.M)
        for link in links[f.suffix].findall(text):
            here = docs/link.removeprefix(url) if link.startswith(url) else f.parent/link
            if re.match(r'[a-z]+:|//|#|&#', link) and not link.startswith(url): continue
            path, _, place = unquote(unescape(str(here))).partition('#')
            path = Path(path.partition('?')[0])
            if path.is_dir(): path /= 'index.html'
            if not path.is_file() or place and path.suffix=='.html' and place not in places(path): yield f.relative_to(docs), link

def problems(
    docs:Path, # The rendered site
    broken:list=(), # Broken links, as pairs of page and link
): # Lines of text
    "What must not be published: links to nowhere, and files fetched from elsewhere (maths, mermaid, web fonts)."
    yield from (f'{page}: broken link {href}' for page,href in [*broken, *astray(docs)])
    for f in docs.rglob('*'):
        if f.suffix not in ('.html', '.css'): continue
        text = f.read_text(encoding='utf-8')
        for url in (u for pat in fetched for u in pat.findall(text)): yield f'{f.relative_to(docs)} fetches {url}'

def check(docs, broken=()):
    if bad := list(problems(docs, broken)): sys.exit('\n'.join(bad))

def rank(
    path:Path, # smalldocs' index for its search
):
    """Let a page whose title is searched for come before its sections: the beginning of a page is a section named like it.
    A section ends before the link to the next one's source, and a signature has short types as on the page."""
    def text(s): return (modules.sub('', s) if s.startswith('def ') else s).removesuffix(' source')
    entries = [e | dict(section=e['section'] or e['title'], text=text(e['text']))
        for e in json.loads(path.read_text(encoding='utf-8'))]
    path.write_text(json.dumps(entries, ensure_ascii=False), encoding='utf-8')

def build(
    dest:Path, # Where the site goes; what is there is replaced
)->int: # The number of pages
    "The whole site, by smalldocs."
    proc = process()
    with TemporaryDirectory() as tmp:
        root = Path(tmp)/'site'
        shutil.copytree(proc, root)
        site = NbSite(load(root), quiet=True)
        n = site.build()
        rank(site.out/'search.json')
        finish(root, site.out)
        check(site.out, site.broken)
        shutil.rmtree(dest, ignore_errors=True)
        shutil.move(site.out, dest)
    return n

def main():
    cfg = get_config()
    if 'finish' in sys.argv:
        finish(cfg.config_path/'_proc', cfg.doc_path)
        check(cfg.doc_path)
    else: print(f'{build(cfg.doc_path)} pages in {cfg.doc_path.name}')

if __name__=='__main__': main()
