"""Programs that begin at once: forks of a process that has imported the SDK already, which takes longer than most tests

For programs whose own start and end are not what is tested; nothing that Python reads before it begins can be set.
"""
import fcntl, os, signal, sys, termios
from multiprocessing import get_context
from multiprocessing.reduction import DupFd

from pexpect.fdpexpect import fdspawn

context = get_context('forkserver')
context.set_forkserver_preload(['anthropic.resources.messages', 'genai_prices', 'llmchat.talk', 'rich.live', 'rich.markdown', 'pytest'])

def forked(f, *args):
    "A process that calls a function of a module; `sys.exit` in it tells its exit status"
    p = context.Process(target=f, args=args)
    p.start()
    return p

class Fd:
    "A file descriptor, on its way to another process"
    def __init__(self, fd): self.fd = fd
    def __reduce__(self): return _arrived, (DupFd(self.fd),)

def _arrived(dup): return dup.detach()

def _command(terminal, args, env):
    "The command, in a terminal that is its own"
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for n in range(3): os.dup2(terminal, n)
    os.close(terminal)
    sys.stdin, sys.stdout, sys.stderr = (open(n, mode, encoding='utf-8', closefd=False) for n, mode in enumerate('rww'))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(env)
    from llmchat.cli import main
    sys.exit(main(args))

class Command(fdspawn):
    "The command in a terminal of 24 lines, as `pexpect.spawn` has it"
    def __init__(self, args, env, **kw):
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        self.process = forked(_command, Fd(theirs), args, env)
        os.close(theirs)
        super().__init__(ours, **kw)
    def sendintr(self): self.send('\x03')
    def sendeof(self): self.send('\x04')
    def close(self, force=False):
        "Wait for its end, or with `force` bring it about"
        if force: self.process.kill()
        self.process.join(20)
        self.exitstatus = self.process.exitcode
        super().close()
