"What holds for all tests"
import os, signal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest, warm

# A shell that runs the tests in the background lets them ignore Ctrl-C, and so would all processes that they start
signal.signal(signal.SIGINT, signal.default_int_handler)

@pytest.hookimpl
def pytest_configure(config):
    "The first process, of one or several that test, has what starts programs"
    if hasattr(config, 'workerinput'): return
    folder = TemporaryDirectory()
    config.add_cleanup(folder.cleanup)
    for p in warm.start(Path(folder.name)): config.add_cleanup(lambda p=p: (p.stdin.close(), p.wait()))

@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    "One more than processors, since some tests wait"
    return (os.cpu_count() or 1) + 1

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    "What a test prints or logs may hold half a character, which pytest-xdist cannot send from process to process"
    report = yield
    report.sections = [(name, text.encode(errors='backslashreplace').decode()) for name, text in report.sections]
    return report
