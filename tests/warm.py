"""Programs that begin at once: forks of an interpreter that has imported already what takes longer than most tests

`program(name)` is a file to start as any other: `llmchat`, or, from another interpreter, `python`, `pytest`, `nbdev-test`.
It hands streams, arguments, folder and environment to the interpreter, and then ends as its fork does. What Python reads
before it begins, such as PYTHONUTF8, has no effect; tests of that, and of what is imported when, start the real ones.
"""
import json, os, signal, socket, sys

KINDS = dict(
    llmchat=['anthropic.resources.messages', 'genai_prices', 'llmchat.cli.repl', 'rich.live', 'rich.markdown'],
    tools=['anthropic.resources.messages', 'nbdev.test', 'nbdev.clean', 'IPython', 'pytest'])
PROGRAMS = dict(llmchat='llmchat', python='tools', pytest='tools', **{'nbdev-test': 'tools', 'nbdev-clean': 'tools'})

def start(folder):
    "Put the programs into a folder; the interpreters, which import nothing before they are asked, and end with us"
    import subprocess
    for name, kind in PROGRAMS.items():
        code = f'import sys\nsys.path.insert(0, {os.path.dirname(__file__)!r})\nfrom warm import run\nrun({name!r}, {str(folder/kind)!r})\n'
        (folder/name).write_text(f'#!{sys.executable} -IS\n{code}')
        (folder/name).chmod(0o755)
    os.environ['WARM_PROGRAMS'] = str(folder)
    def interpreter(kind, modules):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(str(folder/kind))
            s.listen(100)
            return subprocess.Popen([sys.executable, __file__, str(s.fileno()), *modules], stdin=subprocess.PIPE,
                env=os.environ | dict(LC_ALL='C.UTF-8'), pass_fds=[s.fileno()], start_new_session=True, cwd=folder)
    return [interpreter(f'{kind}.socket', modules) for kind, modules in KINDS.items()]

def program(name): return os.path.join(os.environ['WARM_PROGRAMS'], name)

# ---- in the file that is started

passed_on = signal.SIGINT, signal.SIGTERM, signal.SIGHUP

def run(name, server):
    "Be the program"
    signal.pthread_sigmask(signal.SIG_BLOCK, passed_on)
    streams = [n for n in range(3) if is_open(n)]
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(server + '.socket')
        socket.send_fds(s, [bytes(streams) or b'\0'], streams)
        s.sendall(json.dumps([[name, *sys.argv[1:]], os.getcwd(), dict(os.environ)]).encode() + b'\n')
        for n in streams: os.close(n) # the program has them; the socket may have taken the place of a closed one
        answers = s.makefile()
        pid = int(answers.readline())
        for n in passed_on: signal.signal(n, lambda n, frame: send(pid, n))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, passed_on)
        status = int(answers.readline())
    if status < 0:
        for n in passed_on: signal.signal(n, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)

def send(pid, n):
    try: os.kill(pid, n)
    except ProcessLookupError: pass # it has ended

def is_open(n):
    try: return bool(os.fstat(n))
    except OSError: return False

# ---- in the interpreter

def serve(listening, modules):
    "Fork for each program that is asked for; returns in the fork what it shall do"
    import gc, importlib, select
    with socket.socket(fileno=listening) as server:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while server in select.select([server, sys.stdin], [], [])[0]:
            conn, _ = server.accept()
            for m in modules: importlib.import_module(m)
            gc.freeze()
            if not os.fork(): break
            conn.close()
        else: sys.exit()
    return told(conn)

def told(conn):
    "Take the order for a program, and fork once more: to wait for its end here, and to return there"
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    streams, fds, *_ = socket.recv_fds(conn, 3, 3)
    order = json.loads(conn.makefile().readline())
    if not (pid := os.fork()):
        conn.close()
        return *order, dict(zip(streams, fds))
    for fd in fds: os.close(fd)
    try:
        conn.sendall(b'%d\n' % pid)
        conn.sendall(b'%d\n' % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    finally: os._exit(0)

def become(args, cwd, env, streams):
    "Take on the streams, folder, environment and arguments"
    own = sys.stdin, sys.stdout, sys.stderr
    for n, (name, o) in enumerate(zip(('stdin', 'stdout', 'stderr'), own)):
        os.close(n)
        if n in streams: os.dup2(streams[n], n)
        f = open(n, 'w' if n else 'r', encoding=o.encoding, errors=o.errors, closefd=False) if n in streams else None
        setattr(sys, name, f)
        setattr(sys, f'__{name}__', f)
    if sys.stderr: sys.stderr.reconfigure(line_buffering=True)
    for fd in streams.values(): os.close(fd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = args
    sys.path[:1] = env.get('PYTHONPATH', '').split(':')

def main():
    import runpy
    become(*serve(int(sys.argv[1]), sys.argv[2:]))
    name, *args = sys.argv
    if name != 'python': args = [os.path.join(os.path.dirname(sys.executable), name), *args]
    sys.argv[:] = args[args[0] == '-m':]
    if args[0] == '-c':
        del sys.argv[1]
        exec(args[1], vars(sys.modules['__main__']))
    elif args[0] == '-m': runpy.run_module(args[1], run_name='__main__', alter_sys=True)
    else: runpy.run_path(args[0], run_name='__main__')

if __name__ == '__main__': main()
