"Is all that git tracks of the package in the one that is installed, and can all of it be imported? Run outside the clone."
import subprocess, sys
from importlib import import_module
from importlib.metadata import files
from pathlib import Path

root = Path(__file__).resolve().parent.parent

def main():
    import llmchat
    if root in Path(llmchat.__file__).resolve().parents: sys.exit(f'This is the package of the clone: {llmchat.__file__}')
    tracked = subprocess.check_output(['git', 'ls-files', 'llmchat', 'pytest_llmchat.py'], cwd=root, text=True).split()
    if missing := sorted(set(tracked) - {str(f) for f in files('llmchat')}): sys.exit(f'Not in the wheel: {missing}')
    code = [n.removesuffix('.py') for n in tracked if n.startswith('llmchat/') and n.endswith('.py')]
    modules = [n.removesuffix('/__init__').replace('/', '.') for n in code]
    for name in modules: import_module(name)
    print(f'{len(tracked)} files, {len(modules)} modules')

if __name__=='__main__': main()
