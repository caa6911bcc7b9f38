"Build the site into _docs without Quarto: nbdev processes the notebooks as `nbdev-docs` does, smalldocs renders them."
import re, shutil, sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbdev.config import get_config, nbpath2html
from nbdev.doclinks import _build_modidx
from nbdev.quarto import nbdev_sidebar, refresh_quarto_yml
from nbdev.serve import proc_nbs
from readme import to_md
from smalldocs.site import build

def process()->Path: # The folder of processed notebooks
    "nbdev's own steps before Quarto."
    refresh_quarto_yml()
    _build_modidx()
    nbdev_sidebar.__wrapped__()
    return proc_nbs(force=True)

def page(path)->str: # `core.ipynb` for `00_core.ipynb`
    "The name of a notebook as its published page has it, without the number."
    return str(nbpath2html(Path(path)).with_suffix('.ipynb'))

def renamed(
    text:str, # Holds names of notebooks
    before:str, # Pattern of what precedes those that are links
)->str: # The same with the names of the pages
    return re.sub(rf'(?<={before})[\w./-]+\.ipynb', lambda m: page(m[0]), text)

def stage(
    proc:Path, # Processed notebooks
    site:Path, # An empty folder
    doc_url:str, # Where the site is published: links to there become links inside the site
):
    "Copy processed notebooks to the names of their pages, and rewrite the links that hold the old names."
    for src in (p for p in proc.rglob('*') if p.is_file()):
        dest = site/src.relative_to(proc)
        dest.parent.mkdir(parents=True, exist_ok=True)
        if src.suffix=='.ipynb':
            text = src.read_text(encoding='utf-8').replace(f']({doc_url}', '](/')
            Path(page(dest)).write_text(renamed(text, r'\]\('), encoding='utf-8')
        elif src.name=='sidebar.yml': dest.write_text(renamed(src.read_text(encoding='utf-8'), '- '), encoding='utf-8')
        else: shutil.copy2(src, dest)

def copies(
    site:Path, # The staged notebooks
    docs:Path, # The rendered site
):
    "Put a plain-text copy beside each page: `core.html.md` for `core.html`, linked with the others."
    def link(target): return re.sub(r'^(?!https?:)/?([\w./-]+)\.(?:ipynb|html)(?=#|$)', r'\1.html.md', target)
    for nb in site.rglob('*.ipynb'):
        dest = docs/nb.relative_to(site).with_suffix('.html.md')
        text, pictures = to_md(nbformat.read(nb, as_version=4), link, prefix=nb.stem)
        dest.write_text(text, encoding='utf-8')
        for name, data in pictures.items(): (dest.parent/name).write_bytes(data)

fetched = [re.compile(p) for p in (
    r'<script[^>]*src="(https?:[^"]*)',
    r'<link[^>]*rel="(?:stylesheet|icon|preload)"[^>]*href="(https?:[^"]*)',
    r"""\bimport [^;]*from ["'](https?:[^"']*)""",
    r"""(?:@import|url\()\s*["']?(https?:[^"')]*)""")]

def problems(
    docs:Path, # The rendered site
    broken:list, # Broken links, as pairs of page and link
):
    "What must not be published: links to nowhere, and files fetched from elsewhere (maths, mermaid, web fonts)."
    yield from (f'{page}: broken link {href}' for page,href in broken)
    for f in docs.rglob('*'):
        if f.suffix not in ('.html', '.css'): continue
        text = f.read_text(encoding='utf-8')
        for url in (u for pat in fetched for u in pat.findall(text)): yield f'{f.relative_to(docs)} fetches {url}'

def main():
    cfg = get_config()
    sys.path.insert(0, str(cfg.nbs_path)) # The notebooks import their recordings
    with TemporaryDirectory() as tmp:
        site = Path(tmp)
        stage(process(), site, cfg.doc_url)
        built = build(site, quiet=True)
        copies(site, built.out)
        if bad := list(problems(built.out, built.broken)): sys.exit('\n'.join(bad))
        shutil.rmtree(cfg.doc_path, ignore_errors=True)
        shutil.move(built.out, cfg.doc_path)
    print(f'{len(built.pages)} pages in {cfg.doc_path.name}')

if __name__=='__main__': main()
