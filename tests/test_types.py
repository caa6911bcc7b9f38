"What mypy and pyright say of what users write. Both come with `pip install -e '.[types]'`."
import ast, json, re, subprocess, sys
from pathlib import Path

import pytest

import llmchat

mypy, pyright = pytest.importorskip('mypy'), pytest.importorskip('pyright')
root = Path(__file__).parent.parent
scripts = sorted(map(str, root.glob('tests/typed_*.py')))
mistakes = root/'tests/mistakes.py'

def run(*args): return subprocess.run([sys.executable, '-m', *args], cwd=root, capture_output=True, text=True).stdout

def lines_of_mypy(*files):
    return {int(n) for n in re.findall(r'^tests/\w+\.py:(\d+): error', run('mypy', *files), re.MULTILINE)}

def lines_of_pyright(*files):
    found = json.loads(run('pyright', '--outputjson', *files))['generalDiagnostics']
    return {d['range']['start']['line'] + 1 for d in found if d['severity'] == 'error'}

@pytest.mark.parametrize('lines', [lines_of_mypy, lines_of_pyright])
def test_mistakes_are_found(lines):
    wrong = {i for i, line in enumerate(mistakes.read_text().split('\n'), 1) if line.endswith('# wrong')}
    assert lines(str(mistakes)) == wrong

@pytest.mark.parametrize('lines', [lines_of_mypy, lines_of_pyright])
def test_what_is_right_passes(lines): assert lines(*scripts) == set()

def test_the_scripts_use_every_public_name():
    used = {n.id for s in scripts for n in ast.walk(ast.parse(Path(s).read_text())) if isinstance(n, ast.Name)}
    assert set(llmchat.__all__) <= used

def test_the_types_of_the_package_are_known():
    assert float(re.search(r'completeness score: ([\d.]+)%', run('pyright', '--verifytypes', 'llmchat', '--ignoreexternal'))[1]) >= 98
