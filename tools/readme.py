"Write README.md from nbs/index.ipynb, without Quarto. `to_md` also makes the plain-text copies of the site's pages."
import re

import yaml
from fastcore.nbio import join_out, read_nb
from nbdev.config import get_config
from nbdev.processors import FilterDefaults
from nbdev.readme_filter import doc_link
from smalldocs.llms import output
from smalldocs.notebook import fence_for

first_wins = ['text/markdown', 'text/html', 'image/svg+xml', 'image/png', 'image/jpeg', 'text/plain']

def plain(
    src:str, # Markdown as Quarto reads it
    link, # What each link's target becomes: a function of the target
)->str: # Markdown as everybody reads it
    "Drop the lines of Quarto's `:::` divs and the attributes of its links, rewrite the links."
    src = re.sub(r'^:::.*\n?|(?<=\))\{[^}\n]+=[^}\n]+\}', '', src, flags=re.M)
    return re.sub(r'(?<=\]\()[^)\s]+', lambda m: link(m[0]), src)

def shown(
    cell, # A cell of a processed notebook
    link, # What each link's target becomes: a function of the target
    name:str, # What the names of its pictures begin with
    pictures:dict, # Its pictures are put here, as bytes by file name
): # Pieces of Markdown
    "What a reader sees of a cell, without what only Quarto reads: directives, hidden sources, divs."
    if cell.cell_type!='code': yield plain(cell.source, link)
    elif not re.search(r'^#\| *echo: *false', cell.source, re.M):
        if code := re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M).strip('\n'): yield f'{(f := fence_for(code))}python\n{code}\n{f}'
    for i, o in enumerate(cell.get('outputs', [])):
        data = {k: join_out(o['data'][k]) for k in first_wins if k in o.get('data', {})}
        if 'text/markdown' in data: data['text/markdown'] = plain(data['text/markdown'], link)
        if data: o = o | dict(data=dict([*data.items()][:1]))
        yield output(o, f'{name}_{i}', pictures, '.', {}, 0, str)

def header(
    nb, # A notebook processed by nbdev: its first cell is the YAML header
)->dict: # Title, description and more
    "What the header says."
    return yaml.safe_load(nb.cells[0].source.split('---\n', 2)[1])

def to_md(
    nb, # A notebook processed by nbdev
    link, # What each link's target becomes: a function of the target
    prefix:str='output', # What the names of its pictures begin with
)->tuple[str,dict]: # Markdown, and the pictures it shows as bytes by file name
    "One page as plain Markdown."
    fm, pictures = header(nb), {}
    parts = [f"# {fm['title']}\n\n> {fm['description']}"]
    for n, cell in enumerate(nb.cells[1:], 1): parts += shown(cell, link, f'{prefix}_{n}', pictures)
    return re.sub(r'\n{3,}', '\n\n', '\n\n'.join(parts)).strip() + '\n', pictures

def readme(
    path, # The index notebook
)->str: # README.md, its links leading to the published site
    "What README.md should say."
    nb = read_nb(path)
    FilterDefaults()(nb)
    base = get_config().doc_url
    text, pictures = to_md(nb, lambda target: doc_link(target, base))
    assert not pictures, f'README.md is one file: no outputs that are pictures, as {list(pictures)} are'
    return text

if __name__=='__main__':
    cfg = get_config()
    (cfg.config_path/'README.md').write_text(readme(cfg.nbs_path/cfg.readme_nb), encoding='utf-8')
