"""Who is above a process: real children, orphans, and parents that change while one looks."""

import os
import subprocess
import sys
import time

import pytest

from mcpguard.system.ancestry import LEVELS, Ancestor, above, parent
from mcpguard.system.kernel import Kernel
from mcpguard.system.processes import Process
from tests.system.kernels import NoProc, Old, Remote, Strict


@pytest.fixture
def child():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("kernel", [Kernel(), Old(), NoProc()])
def test_parent_is_held(child, kernel):
    process = Process.find(kernel, child.pid)
    if isinstance(kernel, NoProc):
        process = Process(kernel, os.pidfd_open(child.pid), child.pid)
    found = parent(process)
    assert found.pid == os.getpid()
    assert found.alive()
    found.close()
    process.close()


def test_process_that_is_gone_or_foreign_has_no_parent(child):
    process = Process.find(Kernel(), child.pid)
    remote = Process.find(Remote(), child.pid)
    assert parent(remote) is None
    child.kill()
    child.wait()
    assert parent(process) is None
    process.close()
    remote.close()


def test_parent_that_changes_between_two_looks_is_none():
    class Moving(Kernel):
        """Between two looks the child was given to another: the number found first has a new owner."""

        def pidfd_info(self, pidfd):
            answer = bytearray(super().pidfd_info(pidfd))
            self.asked = getattr(self, "asked", 0) + 1
            if self.asked == 1:
                answer[24:28] = os.getppid().to_bytes(4, "little")
            return bytes(answer)

    with subprocess.Popen(["sleep", "60"]) as child:
        before = len(os.listdir("/proc/self/fd"))
        process = Process.find(Moving(), child.pid)
        assert parent(process) is None
        process.close()
        assert len(os.listdir("/proc/self/fd")) == before
        child.kill()


def test_parent_that_is_younger_than_its_child_is_none():
    with subprocess.Popen(["sleep", "60"]) as elder:
        time.sleep(0.05)
        with subprocess.Popen(["sleep", "60"]) as younger:

            class Wrong(Kernel):
                def pidfd_info(self, pidfd):
                    answer = bytearray(super().pidfd_info(pidfd))
                    answer[24:28] = younger.pid.to_bytes(4, "little")
                    return bytes(answer)

            process = Process.find(Wrong(), elder.pid)
            assert parent(process) is None
            process.close()
            younger.kill()
            elder.kill()


def test_chain_ends_below_process_one_and_after_some_levels():
    depth = LEVELS + 2
    code = (
        "import subprocess,sys; n=int(sys.argv[2])\n"
        "if n: subprocess.run([sys.executable,'-I','-c',sys.argv[1],sys.argv[1],str(n-1)])\n"
        "else: import os; print(os.getpid(), flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-c", code, code, str(depth)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as top:
        deepest = int(top.stdout.readline())
        before = len(os.listdir("/proc/self/fd"))
        process = Process.find(Kernel(), deepest)
        chain = above(process)
        assert chain[0] == Ancestor(deepest, os.readlink("/proc/self/exe"))
        assert len(chain) == LEVELS
        assert process.alive()
        process.close()
        own = Process.find(Kernel(), os.getpid())
        assert all(one.pid > 1 for one in above(own))
        own.close()
        assert len(os.listdir("/proc/self/fd")) == before
        top.communicate()
    assert above(None) == []


def test_executable_that_may_not_be_known_is_marked(child):
    process = Process.find(Strict(), child.pid)
    assert above(process)[0] == Ancestor(child.pid, "?")
    process.close()
