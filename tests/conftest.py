"What holds for all tests"
import os, signal

import pytest

# A shell that runs the tests in the background lets them ignore Ctrl-C, and so would all processes that they start
signal.signal(signal.SIGINT, signal.default_int_handler)

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
