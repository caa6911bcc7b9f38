"Run the notebooks in a copy of the tree; fail where outputs differ from the stored ones, ids, dates, addresses aside."
import re, shutil, subprocess, sys
from difflib import unified_diff
from pathlib import Path
from tempfile import TemporaryDirectory

from fastcore.nbio import read_nb

changing = [
    (r'\b(msg|toolu|srvtoolu|req|msgbatch|file|chatcmpl)[-_][0-9A-Za-z]{10,}', r'\1_ID'),
    (r'\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b', 'UUID'),
    (r'\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?', 'DATE'),
    (r'\b0x[0-9a-fA-F]{6,}', 'ADDRESS'),
    (r'(?s)<svg.*?</svg>', 'PLOT'),
]

def copy_tree(
    root:Path, # A git working tree
    dest:Path, # An empty folder
):
    "Copy the tracked files as they are now, changes included."
    files = subprocess.check_output(['git', 'ls-files', '-z'], cwd=root, text=True)
    for name in filter(None, files.split('\0')):
        (dest/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root/name, dest/name, follow_symlinks=False)

def shown(
    cell, # A notebook cell
)->list[str]: # Its outputs as lines, with what changes from run to run masked
    "What a reader sees under a cell."
    text = ''
    for o in cell.get('outputs', []):
        parts = o.get('data') or {o.get('name') or o.output_type: o.get('text') or o.get('traceback') or []}
        for kind,part in sorted(parts.items()): text += f'[{kind}]\n{"".join(part)}\n'
    for pat,repl in changing: text = re.sub(pat, repl, text)
    return text.splitlines()

def differences(
    stored:Path, # A notebook
    fresh:Path, # The same one, run again
):
    "A diff for each cell whose outputs are not the stored ones."
    for a,b in zip(read_nb(stored).cells, read_nb(fresh).cells, strict=True):
        if diff := list(unified_diff(shown(a), shown(b), 'stored', 'came out', lineterm='')):
            yield '\n'.join([f'{stored.name}, cell {a.idx_}: {a.source.splitlines()[-1]}', *diff, ''])

def main():
    root = Path(__file__).resolve().parent.parent
    with TemporaryDirectory() as tmp:
        copy = Path(tmp)/root.name
        copy_tree(root, copy)
        for cmd in (['nbdev-test', '--save'], ['nbdev-clean']): subprocess.run(cmd, cwd=copy, check=True)
        nbs = sorted((root/'nbs').rglob('*.ipynb'))
        found = [d for nb in nbs for d in differences(nb, copy/nb.relative_to(root))]
    if found: sys.exit('\n'.join(found))
    print(f'{len(nbs)} notebooks give their stored outputs')

if __name__=='__main__': main()
