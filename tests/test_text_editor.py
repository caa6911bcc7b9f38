"The text editor: nothing outside of its folder, nothing half written, nothing changed but what was asked for"
import asyncio, errno, fcntl, os, signal, socket, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, strategies as st

from common import seeded
from llmchat import AsyncChat, Chat, mk_funcres, mk_tool, text_editor, text_editor_conf
from llmchat.editor import folder as folder_module
from llmchat.editor.folder import Folder, listing, opened, read_text, TextFile, write_text
from llmchat.sandbox import Sandbox
from llmchat.sandbox.server import tool_use
from llmchat.editor.commands import insert_after, lines_of, replace_once, splice
from llmchat.engine.tools import BadCall
from warm import program

NAME = 'str_replace_based_edit_tool'
SECRET = 'the secret'

@pytest.fixture
def outside(tmp_path):
    (tmp_path/'outside').mkdir()
    (tmp_path/'outside/secret.txt').write_text(SECRET)
    return tmp_path/'outside'

@pytest.fixture
def root(tmp_path):
    (tmp_path/'root/src').mkdir(parents=True)
    (tmp_path/'root/src/app.py').write_text('one\ntwo\n')
    return tmp_path/'root'

def call(root, command, path, **kw):
    "The result of a call as a chat would make it"
    use = dict(type='tool_use', id='toolu_01', name=NAME, input=dict(command=command, path=path, **kw))
    return mk_funcres(use, [text_editor(root)])

def refused(root, command, path, **kw):
    "The text of a result, which is an error that a model can read"
    res = call(root, command, path, **kw)
    assert res.get('is_error') and res['content'] and 'Traceback' not in res['content']
    return res['content']

def snapshot(folder):
    "What is in a folder: kind and permissions, and what is in files and links"
    def inside(p): return os.readlink(p) if p.is_symlink() else p.read_bytes() if p.is_file() else None
    return {p: (p.lstat().st_mode, inside(p)) for p in folder.rglob('*')}

COMMANDS = dict(view={}, create=dict(file_text='gotcha'), str_replace=dict(old_str='the', new_str='gotcha'),
    insert=dict(insert_line=0, insert_text='gotcha'))

# ---- attempts to escape: each prepares the folder and gives the path that a model would send

def link(root, to, name='link'):
    (root/name).symlink_to(to)
    return name

def loop(root):
    link(root, 'b', 'a')
    return link(root, 'a', 'b')

def pipe(root):
    os.mkfifo(root/'pipe')
    return 'pipe'

def listening(root):
    with socket.socket(socket.AF_UNIX) as s:
        here = os.getcwd()
        os.chdir(root) # the path of a socket has to be short
        try: s.bind('sock')
        finally: os.chdir(here)
    return 'sock'

def device(root):
    try: os.mknod(root/'null', 0o20666, os.makedev(1, 3))
    except (PermissionError, OSError): pytest.skip('only root can make a device')
    return 'null'

def hard_link(root, outside):
    os.link(outside/'secret.txt', root/'twin.txt')
    return 'twin.txt'

ESCAPES = {
    'up': lambda root, out: '../outside/secret.txt',
    'up and up': lambda root, out: '../' * 40 + 'etc/passwd',
    'down and up': lambda root, out: 'src/../../outside/secret.txt',
    'up, and back to where it was': lambda root, out: '../root/src/app.py',
    'up at the end': lambda root, out: 'src/..',
    'up after a missing folder': lambda root, out: 'missing/../../outside/secret.txt',
    'up from an absolute path inside': lambda root, out: f'{root}/../outside/secret.txt',
    'up after a double slash': lambda root, out: 'src//..//../outside/secret.txt',
    'up in the writing of Windows': lambda root, out: '..\\outside\\secret.txt',
    'absolute': lambda root, out: str(out/'secret.txt'),
    'absolute, of the system': lambda root, out: '/etc/passwd',
    'absolute, with two slashes': lambda root, out: f'/{out}/secret.txt',
    'absolute, of the process': lambda root, out: '/proc/self/environ',
    'absolute, as if the folder were all there is': lambda root, out: '/src/app.py',
    'the folder above': lambda root, out: str(root.parent),
    'a neighbour whose name begins like the root': lambda root, out: f'{root}-2/secret.txt',
    'the root in capitals': lambda root, out: f'{str(root).upper()}/src/app.py',
    'a device': lambda root, out: '/dev/zero',
    'a descriptor': lambda root, out: '/dev/fd/0',
    'home': lambda root, out: '~/.ssh/id_rsa',
    "somebody's home": lambda root, out: '~root/.bashrc',
    'a drive': lambda root, out: 'C:\\Windows\\win.ini',
    'a drive with slashes': lambda root, out: 'C:/Windows/win.ini',
    'a share': lambda root, out: '\\\\server\\share\\file',
    'an address of a file': lambda root, out: f'file://{out}/secret.txt',
    'a null character': lambda root, out: 'src/app.py\0.txt',
    'a null character before the way out': lambda root, out: 'src\0/../../outside/secret.txt',
    'a line break': lambda root, out: 'src/app.py\n',
    'half a character': lambda root, out: 'src/\udcff',
    'nothing': lambda root, out: '',
    'a link to a file': lambda root, out: link(root, out/'secret.txt'),
    'a relative link': lambda root, out: link(root, '../outside/secret.txt'),
    'a link to a folder': lambda root, out: link(root, out) + '/secret.txt',
    'a link deep in the path': lambda root, out: 'src/' + link(root/'src', '../../outside') + '/secret.txt',
    'a link to a link': lambda root, out: link(root, link(root, out/'secret.txt'), 'second'),
    'a link to a new file': lambda root, out: link(root, out/'new.txt'),
    'a new file behind a link': lambda root, out: link(root, out) + '/new.txt',
    'a new folder behind a link': lambda root, out: link(root, out) + '/new/new.txt',
    'a link to the root of the system': lambda root, out: link(root, '/') + f'{out}/secret.txt',
    'a link in a circle': lambda root, out: loop(root),
    'a link to a device': lambda root, out: link(root, '/dev/zero'),
    'a hard link': hard_link,
    'a pipe': lambda root, out: pipe(root),
    'a socket': lambda root, out: listening(root),
    'a device in the folder': lambda root, out: device(root)}

@pytest.mark.parametrize('command', COMMANDS)
@pytest.mark.parametrize('name', ESCAPES)
def test_no_way_out(root, outside, name, command):
    path = ESCAPES[name](root, outside)
    before = snapshot(root.parent)
    said = refused(root, command, path, **COMMANDS[command])
    assert SECRET not in said and said.startswith((f'{path!r}: ', 'Wrong arguments. '))
    assert snapshot(root.parent) == before

READ_OR_WRITE = {'read': lambda folder: read_text(folder, 'src/secret.txt'),
    'edit': lambda folder: write_text(folder, 'src/secret.txt', TextFile('gotcha', stat=os.stat(folder.root))),
    'create': lambda folder: write_text(folder, 'src/new.txt', TextFile('gotcha')),
    'create deep': lambda folder: write_text(folder, 'src/new/new.txt', TextFile('gotcha')),
    'list': lambda folder: list(listing(folder, folder.names('src')))}

@pytest.mark.parametrize('name', READ_OR_WRITE)
def test_no_way_out_by_a_link_that_is_made_after_looking(root, outside, name, monkeypatch):
    folder, resolve, before = Folder(root), os.path.realpath, snapshot(outside)
    def resolved(path, **kw):
        full = resolve(path, **kw)
        (root/'src').rename(root/'moved')
        (root/'src').symlink_to(outside)
        return full
    monkeypatch.setattr(os.path, 'realpath', resolved)
    with pytest.raises(OSError): READ_OR_WRITE[name](folder)
    assert (root/'src').is_symlink() and snapshot(outside) == before

def test_a_link_in_place_of_the_file_is_not_followed(root, outside, monkeypatch):
    fsync = os.fsync
    def swap(fd):
        (root/'src/app.py').unlink()
        (root/'src/app.py').symlink_to(outside/'secret.txt')
        fsync(fd)
    monkeypatch.setattr(os, 'fsync', swap)
    assert 'not a plain file but a link' in refused(root, 'str_replace', 'src/app.py', old_str='one', new_str='1')
    assert (root/'src/app.py').is_symlink() and (outside/'secret.txt').read_text() == SECRET

@pytest.mark.parametrize('edit', [False, True])
def test_a_link_that_is_made_between_looking_and_opening(root, outside, edit, monkeypatch):
    "The last look finds a plain file, and the system call is what refuses the link"
    look = folder_module.check_usable
    def swap(st, max_bytes):
        look(st, max_bytes)
        (root/'src/app.py').unlink()
        (root/'src/app.py').symlink_to(outside/'secret.txt')
    monkeypatch.setattr(folder_module, 'check_usable', swap)
    with pytest.raises(OSError) as e: read_text(Folder(root), 'src/app.py', edit=edit)
    assert e.value.errno == errno.ELOOP

@pytest.mark.parametrize('at', ['.', 'src', 'src/deep'])
@pytest.mark.parametrize('make', [False, True])
def test_no_folder_is_opened_through_a_link(root, at, make):
    "Neither the root, nor one below it, the last or one before it"
    (root/'src/deep/end').mkdir(parents=True)
    folder, real = Folder(root), (root/at).resolve()
    real.rename(root.parent/'moved')
    real.symlink_to(root.parent/'moved')
    for names in ['src', 'deep'], ['src', 'deep', 'end']:
        with pytest.raises(OSError) as e, opened(folder, names, make): pass
        assert e.value.errno in (errno.ELOOP, errno.ENOTDIR)

def test_what_is_inside_is_not_refused(root):
    link(root, 'src/app.py')
    link(root, root/'src', 'folder')
    for path in 'src/app.py', './src//app.py', f'{root}/src/app.py', 'link', 'folder/app.py', f'{root}/folder/app.py':
        assert call(root, 'view', path)['content'] == '     1\tone\n     2\ttwo'
    for path in 'Größe ½ 😊.txt', '..a/b..', '.hidden', 'a~', "it's.txt", '-rf':
        assert not call(root, 'create', path, file_text='x').get('is_error')

def test_a_root_may_be_a_link(root):
    link(root.parent, 'root', 'alias')
    for here in root, root.parent/'alias':
        assert call(here, 'view', f'{root}/src/app.py')['content'] == call(here, 'view', 'src/app.py')['content']

def test_a_root_is_a_folder(root):
    for bad in root/'missing', root/'src/app.py':
        with pytest.raises(NotADirectoryError): text_editor(bad)

def test_a_root_stays_where_it_was(root, monkeypatch):
    monkeypatch.chdir(root)
    here, fixed = text_editor(), text_editor('src')
    assert here('view', '.') == 'src/\nsrc/app.py' and fixed('view', '.') == 'app.py'
    monkeypatch.chdir(root/'src')
    assert here('view', '.') == fixed('view', '.') == 'app.py'

def test_descriptors_are_closed(root, outside):
    link(root, outside)
    def count(): return len(os.listdir('/dev/fd'))
    before = count()
    for path in 'src/app.py', 'src', 'link/x', 'missing/x', 'src/app.py/x':
        for command, args in COMMANDS.items():
            with suppress(BadCall): text_editor(root)(command, path, **args)
    with pytest.raises(OSError), opened(Folder(root), ['src', 'missing']): pass
    assert count() == before

# ---- what else is refused

@pytest.mark.parametrize('data,why', [(b'\xff\xfeh\0i\0', 'binary'), (b'a\0b', 'binary'), (b'caf\xe9', 'UTF-8'),
    (b'x' * 51, '51 bytes; 50 are the limit')])
def test_files_that_are_not_text_or_too_long(root, data, why):
    (root/'file').write_bytes(data)
    editor = text_editor(root, max_bytes=50)
    for command in 'view', 'str_replace', 'insert':
        with pytest.raises(BadCall, match=why): editor(command, 'file', **COMMANDS[command])
    assert (root/'file').read_bytes() == data

@pytest.mark.parametrize('text,why', [('a\0b', 'null'), ('\ud800', 'half a character'), ('é' * 26, 'bytes; 50 are')])
def test_text_that_cannot_be_written(root, text, why):
    editor = text_editor(root, max_bytes=50)
    with pytest.raises(BadCall, match=why): editor('create', 'new/file', file_text=text)
    with pytest.raises(BadCall, match=why): editor('insert', 'src/app.py', insert_line=1, insert_text=text)
    assert snapshot(root).keys() == {root/'src', root/'src/app.py'}

@pytest.mark.parametrize('args,why', [
    (dict(command='view', path='src', view_range=[1, 2]), 'view_range is for files'),
    (dict(command='view', path='missing.py'), "'missing.py': No such file"),
    (dict(command='view', path='src/app.py/x'), 'Not a directory'),
    (dict(command='view', path='x' * 300), 'too long'),
    (dict(command='create', path='.', file_text='x'), 'exists already'),
    (dict(command='create', path='src', file_text='x'), 'exists already'),
    (dict(command='create', path='src/app.py', file_text='x'), 'exists already'),
    (dict(command='str_replace', path='src', old_str='x'), 'this is a folder, not a file'),
    (dict(command='str_replace', path='src/app.py', old_str=''), 'old_str is empty'),
    (dict(command='str_replace', path='src/app.py', new_str='x'), "missing a required argument: 'old_str'"),
    (dict(command='insert', path='src/app.py', insert_text='x'), "missing a required argument: 'insert_line'"),
    (dict(command='insert', path='src/app.py', insert_line=1), "missing a required argument: 'insert_text'"),
    (dict(command='insert', path='src/app.py', insert_line=-1, insert_text='x'), 'insert_line is -1'),
    (dict(command='insert', path='src/app.py', insert_line=3, insert_text='x'), 'to 2'),
    (dict(command='view', path='src/app.py', old_str='x'), "unexpected keyword argument 'old_str'"),
    (dict(command='undo_edit', path='src/app.py'), "command: Input should be 'view'"),
    (dict(command='view'), 'path: Field required')])
def test_calls_that_fail(root, args, why):
    use = dict(type='tool_use', id='toolu_01', name=NAME, input=args)
    res = mk_funcres(use, [text_editor(root)])
    assert res['is_error'] and why in res['content'] and 'Traceback' not in res['content']

@pytest.mark.parametrize('view_range', [[0, 1], [3, 4], [2, 1], [1], [1, 2, 3], [-1, -1], [1, -2]])
def test_view_ranges_that_are_none(root, view_range):
    assert 'this file has 2 lines' in refused(root, 'view', 'src/app.py', view_range=view_range)

@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everything')
def test_a_file_that_must_not_be_written(root):
    (root/'src/app.py').chmod(0o444)
    assert 'Permission denied' in refused(root, 'insert', 'src/app.py', insert_line=0, insert_text='x')

# ---- looking

def test_folders(root):
    for path in 'a/b/c/d.txt', '.git/config', 'a/.hidden', 'a/\udcff.txt':
        (root/path).parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError): (root/path).write_text('x') # macOS takes no such names
    link(root, root.parent, 'up')
    (root/'empty').mkdir()
    assert call(root, 'view', '.')['content'].split('\n') == ['a/', 'a/b/', 'empty/', 'src/', 'src/app.py', 'up']
    assert call(root, 'view', 'a')['content'].split('\n') == ['a/b/', 'a/b/c/']
    assert call(root, 'view', 'empty')['content'] == 'This folder is empty.'

@pytest.mark.parametrize('view_range,numbers',
    [(None, '12'), ([1, -1], '12'), ([2, 2], '2'), ([1, 99], '12'), ([2, -1], '2')])
def test_lines(root, view_range, numbers):
    lines = call(root, 'view', 'src/app.py', view_range=view_range)['content'].split('\n')
    assert [l.split('\t')[0].strip() for l in lines] == list(numbers)

def test_an_empty_file(root):
    call(root, 'create', 'empty', file_text='')
    assert call(root, 'view', 'empty')['content'] == 'This file is empty.'
    call(root, 'insert', 'empty', insert_line=0, insert_text='x')
    assert (root/'empty').read_text() == 'x\n'

# ---- writing

@pytest.mark.parametrize('mode', [0o644, 0o600, 0o755, 0o640])
@pytest.mark.parametrize('bom', [b'', b'\xef\xbb\xbf'])
@pytest.mark.parametrize('end', [b'', b'\n'])
@pytest.mark.parametrize('newline', [b'\n', b'\r\n'])
def test_what_is_kept(root, newline, end, bom, mode):
    file, lines = root/'file', ['één', 'two', 'three']
    def data(*lines): return bom + newline.join(l.encode() for l in lines) + end.replace(b'\n', newline)
    file.write_bytes(data(*lines))
    file.chmod(mode)
    call(root, 'str_replace', 'file', old_str='n\ntwo', new_str='n\n2\n2½')
    assert file.read_bytes() == data('één', '2', '2½', 'three')
    call(root, 'insert', 'file', insert_line=0, insert_text='zero\n')
    call(root, 'insert', 'file', insert_line=5, insert_text='four')
    assert file.read_bytes() == data('zero', 'één', '2', '2½', 'three', 'four')
    assert file.stat().st_mode & 0o7777 == mode and [p.name for p in root.iterdir() if p.name != 'src'] == ['file']

def test_a_new_file(root):
    before = os.umask(0o027)
    try: call(root, 'create', 'a/b/new.txt', file_text='one\r\ntwo')
    finally: os.umask(before)
    assert (root/'a/b/new.txt').read_bytes() == b'one\r\ntwo'
    assert (root/'a/b/new.txt').stat().st_mode & 0o777 == 0o640

def test_insert_takes_the_argument_of_older_models_too(root):
    call(root, 'insert', 'src/app.py', insert_line=0, new_str='zero')
    assert (root/'src/app.py').read_text() == 'zero\none\ntwo\n'

CRASH = '''
import os, signal, sys
from llmchat.editor import text_editor
def die(*args, **kw): os.kill(os.getpid(), signal.SIGKILL)
point, root, command = sys.argv[1:]
if point == 'write':
    import builtins
    make = builtins.open
    def half(name, mode='r', **kw):
        f = make(name, mode, **kw)
        if 'x' not in mode: return f
        f.write(b'half'); f.flush(); die()
    builtins.open = half
else: setattr(os, point, die)
editor = text_editor(root)
if command == 'create': editor('create', 'new.txt', file_text='new')
else: editor('str_replace', 'src/app.py', old_str='one', new_str='new')
'''

@pytest.mark.parametrize('command', ['create', 'str_replace'])
@pytest.mark.parametrize('point', ['write', 'fsync', 'replace'])
def test_a_crash_leaves_the_old_file(root, point, command):
    done = subprocess.run([sys.executable, '-c', CRASH, point, root, command])
    assert done.returncode == -signal.SIGKILL
    assert (root/'src/app.py').read_text() == 'one\ntwo\n' and not (root/'new.txt').exists()
    left, = set(root.rglob('*')) - {root/'src', root/'src/app.py'}
    link(root, left)
    assert call(root, 'view', '.')['content'] == 'link\nsrc/\nsrc/app.py'
    for path in str(left), 'link':
        for c, args in COMMANDS.items(): assert 'left from an edit that was killed' in refused(root, c, path, **args)
    assert left.exists()
    assert not call(root, 'create', str(left.with_name('next')), file_text='x').get('is_error') and not left.exists()

@pytest.mark.parametrize('error', [OSError(28, 'No space left on device'), KeyboardInterrupt()])
@pytest.mark.parametrize('point', ['fsync', 'fchmod', 'replace'])
def test_a_failure_leaves_the_old_file(root, point, error, monkeypatch):
    def fail(*args, **kw): raise error
    with monkeypatch.context() as m:
        m.setattr(os, point, fail)
        with pytest.raises(BadCall if isinstance(error, OSError) else KeyboardInterrupt) as e:
            text_editor(root)('str_replace', 'src/app.py', old_str='one', new_str='new')
    if isinstance(error, OSError): assert str(e.value) == "'src/app.py': No space left on device"
    assert (root/'src/app.py').read_text() == 'one\ntwo\n' and snapshot(root).keys() == {root/'src', root/'src/app.py'}

def test_what_others_changed_meanwhile_is_left_alone(root):
    "Also what is another kind of thing now, or gone"
    folder, path = Folder(root), root/'src/app.py'
    def edit(): write_text(folder, 'src/app.py', replace(file, text='mine'))
    file = read_text(folder, 'src/app.py', edit=True)
    path.write_text('theirs')
    with pytest.raises(BadCall, match='somebody else has changed this'): edit()
    path.unlink()
    with pytest.raises(FileNotFoundError): edit()
    path.mkdir()
    with pytest.raises(BadCall, match='a folder'): edit()
    with pytest.raises(BadCall, match='exists already'): write_text(folder, 'src/app.py', TextFile('mine'))
    assert [p.name for p in (root/'src').iterdir()] == ['app.py']

WORKER = """
import sys
from llmchat.editor import text_editor
from llmchat.engine.tools import BadCall
root, n = sys.argv[1:]
edit, done = text_editor(root), []
def attempt(*args, **kw):
    try: edit(*args, **kw)
    except BadCall as e: assert 'somebody else' in str(e) or 'exists already' in str(e), e
    else: return True
print('ready', flush=True)
sys.stdin.readline()
for i in range(15):
    if attempt('insert', 'log', insert_line=0, insert_text=f'{n}.{i}'): done.append(f'{n}.{i}')
    if attempt('create', f'new{i}', file_text=n): done.append(f'new{i}={n}')
print(*done)
"""

def test_no_edit_of_several_processes_is_lost(root):
    "Each that was said to be done is there, and no other; of those who create one file, one is told that it did"
    (root/'log').write_text('begin\n')
    args, kw = [program('python'), '-c', WORKER, str(root)], dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    workers = [subprocess.Popen([*args, str(n)], **kw) for n in range(4)]
    for w in workers: assert w.stdout.readline() == 'ready\n'
    for w in workers: print('go', file=w.stdin, flush=True)
    done = [o for w in workers for o in w.communicate()[0].split()]
    assert [w.returncode for w in workers] == [0] * 4
    there = (root/'log').read_text().split() + [f'{p.name}={p.read_text()}' for p in root.glob('new*')]
    assert sorted([*done, 'begin']) == sorted(there) and len(list(root.glob('new*'))) == 15
    assert not list(root.glob('.*'))

def test_a_lock_of_somebody_else_is_not_waited_for_for_ever(root, monkeypatch):
    waits = []
    monkeypatch.setattr(folder_module, 'sleep', waits.append)
    with opened(Folder(root), ['src']) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert not call(root, 'insert', 'src/app.py', insert_line=0, insert_text='zero').get('is_error')
    assert sum(waits) > 1 and (root/'src/app.py').read_text() == 'zero\none\ntwo\n'

@pytest.mark.skipif(os.geteuid() != 0, reason='only root may give files away')
@pytest.mark.parametrize('mode', [0o640, 0o2755])
def test_owner_and_group_are_kept(root, mode):
    os.chown(root/'src/app.py', 12345, 54321)
    (root/'src/app.py').chmod(mode)
    call(root, 'insert', 'src/app.py', insert_line=0, insert_text='zero')
    st = (root/'src/app.py').stat()
    assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (12345, 54321, mode)

def test_an_owner_that_cannot_be_kept(root, monkeypatch):
    "The group is tried by itself; bits that lend an owner's rights go with the owner"
    tried = []
    def chown(fd, uid, gid):
        tried.append((uid, gid))
        raise PermissionError(1, 'Operation not permitted')
    monkeypatch.setattr(os, 'fchown', chown)
    (root/'src/app.py').chmod(0o4755)
    assert not call(root, 'insert', 'src/app.py', insert_line=0, insert_text='zero').get('is_error')
    st = (root/'src/app.py').stat()
    assert tried == [(st.st_uid, st.st_gid), (-1, st.st_gid)] and st.st_mode & 0o7777 == 0o755

def test_no_edit_is_lost(root):
    call(root, 'create', 'log', file_text='')
    def add(i): return text_editor(root)('insert', 'log', insert_line=0, insert_text=f'line {i}')
    with ThreadPoolExecutor(8) as pool: list(pool.map(add, range(50)))
    assert sorted((root/'log').read_text().splitlines()) == sorted(f'line {i}' for i in range(50))

# ---- editing, against a model of the text: a list of lines, each with its break

words = st.text('ab ', max_size=3)
breaks = st.sampled_from(['\n', '\r\n'])
texts = st.lists(st.tuples(words, breaks)).flatmap(lambda rows: words.map(lambda end: (rows, end)))
uniform = breaks.flatmap(lambda br: st.lists(words).map(br.join).map(lambda text: (text, br)))

def whole(rows, end): return ''.join(map(''.join, rows)) + end

@seeded
@given(uniform, st.text('ab\n', min_size=1, max_size=4), st.text('ab\n', max_size=4))
def test_replace_is_what_it_would_be_with_plain_breaks(given, old, new):
    text, br = given
    plain = text.replace('\r\n', '\n')
    at = [i for i in range(len(plain)) if plain.startswith(old, i)]
    if len(at) != 1:
        with pytest.raises(BadCall, match=f'there {len(at)} times'): replace_once(text, old, new)
        return
    wanted, line = plain.replace(old, new), plain[:at[0]].count('\n') + 1
    assert replace_once(text, old, new) == (wanted.replace('\n', br) if '\n' in plain else wanted, line)

@seeded
@given(texts, st.data())
def test_a_piece_is_exchanged_and_nothing_else(given, data):
    rows, end = given
    chars = [c for word, br in rows for c in (*word, br)] + [*end]
    i = data.draw(st.integers(0, len(chars)))
    j = data.draw(st.integers(i, len(chars)))
    new = data.draw(st.text('xy', max_size=3))
    assert splice(whole(rows, end), i, j, new) == ''.join(chars[:i]) + new + ''.join(chars[j:])

@seeded
@given(texts, st.lists(words), st.text('ab', min_size=1), st.booleans(), st.data())
def test_insert_is_that_of_a_list(given, new, last, ends, data):
    rows, end = given
    new = [*new, last]
    text, kinds = whole(rows, end), [br for _, br in rows]
    br = '\r\n' if kinds.count('\r\n') * 2 > len(kinds) else '\n'
    full = [word + br for word, br in rows] + [end] * bool(end)
    at = data.draw(st.integers(0, len(full)))
    res, line = insert_after(text, at, '\n'.join(new) + '\n' * ends)
    if at == len(rows) + 1: wanted = text + ''.join(br + word for word in new)
    else: wanted = ''.join(full[:at]) + ''.join(word + br for word in new) + ''.join(full[at:])
    assert (res, line) == (wanted, at + 1)
    assert lines_of(res)[at:at+len(new)] == new

@seeded
@given(texts)
def test_lines_are_those_of_the_breaks(given):
    rows, end = given
    assert lines_of(whole(rows, end)) == [word for word, _ in rows] + [end] * bool(end)

def test_an_answer_to_many_places_comes_soon():
    with pytest.raises(BadCall, match='there 100 or more times'): replace_once('a' * 1_000_000, 'a' * 500_000, 'b')

# ---- which tool

@pytest.mark.parametrize('model,version', [('claude-3-7-sonnet-20250219', '20250124'),
    ('anthropic.claude-3-7-sonnet-20250219-v1:0', '20250124'), ('claude-opus-4-20250514', '20250429'),
    ('claude-opus-4-1@20250805', '20250728'), ('claude-sonnet-4-5-20250929', '20250728'),
    ('claude-3-haiku-20240307', '20250124')])
def test_the_tool_of_a_dated_model(model, version): assert text_editor_conf(model)['type'] == f'text_editor_{version}'

def test_the_newest_tool_is_the_default():
    newest = max(text_editor_conf(f'claude-9-{date}')['type'] for date in ('20250601', '20991231'))
    for model in None, 'claude-sonnet-5-5', 'claude-opus-4-6': assert text_editor_conf(model)['type'] == newest
    assert text_editor_conf(max_characters=5)['max_characters'] == 5 and 'max_characters' not in text_editor_conf()

# ---- in a chat

use = partial(tool_use, NAME)
TALK = [use(command='view', path='.'), [use(command='create', path='a.txt', file_text='one\n'),
    use(command='str_replace', path='a.txt', old_str='one', new_str='two'),
    use(command='insert', path='a.txt', insert_line=1, insert_text='three')],
    use(command='view', path='/etc/passwd'), use(command='view'), use(command='view', path='a.txt'), 'Done.']

def talk(**kw):
    chat = Chat('claude-sonnet-5-5', Sandbox(TALK).client(), **kw)
    chat.toolloop('Go').run()
    return chat

def atalk(**kw):
    async def go():
        chat = AsyncChat('claude-sonnet-5-5', Sandbox(TALK).aclient(), **kw)
        await chat.toolloop('Go').run()
        return chat
    return asyncio.run(go())

GIVEN = {'schema and dict': lambda f: dict(tools=[text_editor_conf()], ns={NAME: f}),
    'schema and list': lambda f: dict(tools=[text_editor_conf()], ns=[f]),
    'function': lambda f: dict(tools=[f])}

@pytest.mark.parametrize('given', GIVEN)
@pytest.mark.parametrize('talk', [talk, atalk])
def test_in_a_chat(root, talk, given):
    chat = talk(**GIVEN[given](text_editor(root)))
    results = [b for m in chat.h if m['role'] == 'user' and isinstance(m['content'], list) for b in m['content']]
    assert [bool(b.get('is_error')) for b in results] == [False] * 4 + [True] * 2 + [False]
    assert [results[i]['content'] for i in (0, 6)] == ['src/\nsrc/app.py', '     1\ttwo\n     2\tthree']
    assert chat.h[-1]['content'][0]['text'] == 'Done.' and (root/'a.txt').read_text() == 'two\nthree\n'

def test_calls_of_one_reply_run_in_their_order(root): assert not mk_tool(text_editor(root)).parallel

def test_the_sdk_is_not_imported():
    code = "import sys, llmchat.editor as _; print(*{'anthropic', 'httpx2', 'pydantic'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, '-c', code], text=True).strip() == ''
