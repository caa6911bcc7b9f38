"Pages are run as they are read: what a reader sees, in order, and nothing else"
import json, re, subprocess
from pathlib import Path

import docs, pytest
from fastcore.nbio import read_nb

from warm import program

root = Path(__file__).parent.parent
pages = [name for _,name in docs.reading_order(root) if name.endswith('.ipynb')]

RUN = """
import faulthandler, sys
faulthandler.dump_traceback_later(500, exit=True)
from execnb.shell import CaptureShell
from nbdev.test import nb_test_cells
from nbs.recording import recorded

shell = CaptureShell(mpl_format=None)
recorded()
for cell in nb_test_cells(sys.argv[1], skip_flags=['hide', 'echo']):
    seen = '\\n'.join(l for l in cell.source.splitlines() if not l.endswith('#| hide_line'))
    shell.run(seen)
    if shell.exc: sys.exit(f'This cell does not run as it is read:\\n\\n{seen}\\n\\n{shell.exc!r}')
"""

@pytest.mark.parametrize('name', pages)
def test_what_is_seen_runs(name, monkeypatch, tmp_path):
    "In a namespace of its own, in replay: there is no key and no model that could answer"
    page = root/'nbs'/name
    for k in ('API_KEY', 'AUTH_TOKEN', 'BASE_URL'): monkeypatch.delenv(f'ANTHROPIC_{k}', raising=False)
    for k, v in dict(IN_TEST='1', PYTHONPATH=root, HF_HOME=tmp_path, LLMCHAT_LOCAL_MODEL=tmp_path/'none.gguf').items():
        monkeypatch.setenv(k, str(v))
    r = subprocess.run([program('python'), '-c', RUN, page], cwd=tmp_path, capture_output=True, text=True)
    if r.returncode: pytest.fail(r.stderr, pytrace=False)

def test_pages_name_the_model_that_answered():
    "Those with recorded replies, in a line that is seen"
    answered = json.loads((root/'nbs/recorded/about.json').read_text())['model']
    for name in pages:
        code = '\n'.join(c.source for c in read_nb(root/'nbs'/name).cells if c.cell_type == 'code')
        if re.search(r'^recorded\(\);?$', code, re.M): assert f'\nmodel = {answered!r}' in code, name
