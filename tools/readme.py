"Write README.md from nbs/index.ipynb, without Quarto. `to_md` also makes the plain-text copies of the site's pages."
import re

import nbformat, yaml
from fastcore.nbio import nb2str, read_nb
from nbconvert import MarkdownExporter
from nbdev.config import get_config
from nbdev.processors import FilterDefaults
from nbdev.readme_filter import doc_link
from nbformat import NotebookNode
from traitlets.config import Config

first_wins = ['text/markdown', 'text/html', 'image/svg+xml', 'image/png', 'image/jpeg', 'text/plain']
exporter = MarkdownExporter(config=Config(NbConvertBase=dict(display_data_priority=first_wins),
    TagRemovePreprocessor=dict(enabled=True, remove_input_tags={'remove_input'})))

def plain(
    src:str, # Markdown as Quarto reads it
    link, # What each link's target becomes: a function of the target
)->str: # Markdown as everybody reads it
    "Drop the lines of Quarto's `:::` divs and the attributes of its links, rewrite the links."
    src = re.sub(r'^:::.*\n?|(?<=\))\{[^}\n]+=[^}\n]+\}', '', src, flags=re.M)
    return re.sub(r'(?<=\]\()[^)\s]+', lambda m: link(m[0]), src)

def prepare(
    cell, # A cell of a processed notebook, changed in place
    link, # What each link's target becomes: a function of the target
):
    "Take from a cell what only Quarto reads: directives, hidden sources, divs."
    if cell.cell_type=='markdown': cell.source = plain(cell.source, link)
    if cell.cell_type!='code': return
    cell.pop('has_sd', None)
    hidden = re.search(r'^#\| *echo: *false', cell.source, re.M)
    cell.metadata = NotebookNode(tags=['remove_input'] if hidden else [])
    cell.source = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M)
    for o in cell.outputs:
        if 'text/markdown' in o.get('data', {}): o.data['text/markdown'] = plain(o.data['text/markdown'], link)

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
    fm = header(nb)
    nb.cells[0] = nbformat.v4.new_markdown_cell(f"# {fm['title']}\n\n> {fm['description']}")
    for cell in nb.cells: prepare(cell, link)
    nb.metadata.language_info = dict(name='python')
    md, res = exporter.from_notebook_node(nb, resources=dict(unique_key=prefix))
    return re.sub(r'\n{3,}', '\n\n', md).strip() + '\n', res['outputs']

def readme(
    path, # The index notebook
)->str: # README.md, its links leading to the published site
    "What README.md should say."
    nb = read_nb(path)
    FilterDefaults()(nb)
    base = get_config().doc_url
    text, pictures = to_md(nbformat.reads(nb2str(nb), as_version=4), lambda target: doc_link(target, base))
    assert not pictures, f'README.md is one file: no outputs that are pictures, as {list(pictures)} are'
    return text

if __name__=='__main__':
    cfg = get_config()
    (cfg.config_path/'README.md').write_text(readme(cfg.nbs_path/cfg.readme_nb), encoding='utf-8')
