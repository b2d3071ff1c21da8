"""Orphans come to us, and are told from our own children."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from mcpguard.system import subreaper, warden

ORPHAN = "import os, time\nif os.fork() == 0:\n os.setsid(); print(os.getpid(), flush=True); os.close(1); time.sleep(60)"


@pytest.fixture(autouse=True)
def _subreaper() -> Iterator[None]:
    assert subreaper.adopt_orphans()
    yield
    warden.prctl(warden.PR_SET_CHILD_SUBREAPER, 0)


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def orphan(mark: int | None) -> int:
    """Leave behind a detached process, marked or not, without an environment."""

    def limit() -> None:
        if mark:
            resource.setrlimit(warden.RLIMIT_LOCKS, (mark, mark))

    pid = int(subprocess.check_output([sys.executable, "-I", "-S", "-c", ORPHAN], env={}, preexec_fn=limit))
    wait_for(lambda: pid in warden.children(os.getpid()))
    return pid


def test_marked_orphan_is_killed_and_others_are_left_alone() -> None:
    mark = subreaper.new_mark()
    ours, other, marked_otherwise = orphan(mark), orphan(None), orphan(mark - 1)
    own = subprocess.Popen(["sleep", "60"])
    assert subreaper.orphans(mark, ()) == [ours]
    assert subreaper.orphans(mark, {ours}) == []
    wait_for(lambda: not subreaper.cull_orphans(mark, ()))
    assert not warden.slurp(f"/proc/{ours}/stat")
    for pid in (other, marked_otherwise, own.pid):
        assert not subreaper.reap(pid)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: subreaper.reap(pid))
    own.returncode = 0  # for its destructor


def test_orphan_is_found_among_the_children_of_every_thread() -> None:
    mark = subreaper.new_mark()
    found: list[list[int]] = []

    def work() -> None:
        found.append([orphan(mark)])
        found.append(subreaper.orphans(mark, ()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0] == found[1]
    wait_for(lambda: not subreaper.cull_orphans(mark, ()))


def test_marks_differ_and_fit_a_limit() -> None:
    marks = {subreaper.new_mark() for _ in range(100)}
    assert len(marks) == 100
    assert max(marks) < 2**62


def test_process_that_is_gone_carries_no_mark() -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()
    assert not subreaper.marked(child.pid, subreaper.new_mark())
    assert subreaper.reap(child.pid), "no child of ours any more"
