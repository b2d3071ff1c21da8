"""Whether a process still runs what was looked at: exec, ordinary growth, and the end."""

import os
import subprocess
import sys

import pytest

from mcpguard.system.kernel import Kernel
from mcpguard.system.processes import Process
from mcpguard.system.sentinel import Sentinel
from tests.system.kernels import NoProc, Strict

_OBEY = """
import mmap, os, sys, threading
kept = []
print("done", flush=True)
for line in sys.stdin:
    if line == "grow\\n":
        kept.append(bytearray(50_000_000))
        kept.extend(mmap.mmap(-1, 4096) for _ in range(200))
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        import ssl, sqlite3
        print("done", flush=True)
    else:
        os.execv(sys.executable, [sys.executable, "-I", "-c", sys.argv[1], sys.argv[1]])
"""


@pytest.fixture
def child():
    with subprocess.Popen(
        [sys.executable, "-I", "-c", _OBEY, _OBEY],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "done\n"
        yield process
        process.kill()


def tell(child, word):
    child.stdin.write(word + "\n")
    assert child.stdout.readline() == "done\n"


def held(child, kernel=None):
    process = Process.find(kernel or Kernel(), child.pid)
    return process, Sentinel(process)


def test_growth_threads_and_libraries_are_no_change(child):
    process, sentinel = held(child)
    assert sentinel.blind == ""
    assert sentinel.changed() == ""
    for _ in range(3):
        tell(child, "grow")
        assert sentinel.changed() == ""
    sentinel.close()
    process.close()


def test_exec_is_seen_even_of_the_same_program(child):
    process, sentinel = held(child)
    tell(child, "exec")
    assert process.alive()
    assert sentinel.changed() == "it runs another program than before"
    sentinel.close()
    sentinel.close()
    process.close()


def test_exec_is_seen_by_the_places_in_memory_where_a_helper_keeps_the_old_map(child):
    process, sentinel = held(child)
    mine = os.open("/proc/self/maps", os.O_RDONLY)
    os.dup2(mine, sentinel._map)  # as readable as it would stay with a helper that shares the memory
    os.close(mine)
    assert sentinel.changed() == ""
    tell(child, "exec")
    assert sentinel.changed() == "it runs another program than before"
    sentinel.close()
    process.close()


def test_end_is_seen(child):
    process, sentinel = held(child)
    child.kill()
    child.wait()
    assert sentinel.changed() == "it has ended"
    sentinel.close()
    process.close()


@pytest.mark.parametrize("kernel", [NoProc(), Strict()])
def test_what_cannot_be_watched_is_said(child, kernel):
    before = len(os.listdir("/proc/self/fd"))
    process, sentinel = held(child, kernel)
    assert "does not show whether" in sentinel.blind
    assert sentinel.changed() == ""
    child.kill()
    child.wait()
    assert sentinel.changed() == "it has ended"
    sentinel.close()
    process.close()
    assert len(os.listdir("/proc/self/fd")) == before
