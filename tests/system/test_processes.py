"""A process that is held: no other can take its place, and what is not told is an error."""

import os
import subprocess
import sys

import pytest

from mcpguard.errors import PeerError
from mcpguard.system.kernel import Kernel, place
from mcpguard.system.pidinfo import PidInfo
from mcpguard.system.processes import Process
from tests.system.kernels import Hidden, Middle, NoPidfds, NoProc, Old, Reaped, Remote, Strict

KERNEL = Kernel()


@pytest.fixture
def child():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def count():
    return len(os.listdir("/proc/self/fd"))


def test_process_is_described(child):
    before = count()
    process = Process.find(KERNEL, child.pid)
    assert process.look() == PidInfo(child.pid, os.getpid(), os.geteuid(), os.getegid())
    assert process.stated().ppid == os.getpid()
    assert process.status()["TracerPid"] == "0"
    assert process.text("cmdline") == b"sleep\x0060\0"
    assert process.text("cmdline", 3) == b"sle"
    assert process.readlink("exe").endswith("/sleep") or "coreutils" in process.readlink("exe")
    assert process.namespaces(("user", "pid")) == {
        kind: place(os.stat(f"/proc/self/ns/{kind}")) for kind in ("user", "pid")
    }
    assert process.instance > 0
    process.close()
    process.close()
    assert count() == before
    assert process.alive()  # without a handle nobody can tell


def test_handles_answer_nothing_after_the_end(child):
    process = Process.find(KERNEL, child.pid)
    child.kill()
    child.wait()
    assert not process.alive()
    with pytest.raises(PeerError, match="is gone"):
        process.look()
    for name in ("stat", "status", "cmdline"):
        with pytest.raises(OSError):
            process.text(name)
    process.close()


def test_directory_that_was_found_by_the_number_of_a_dead_process_is_not_used(child):
    pidfd = os.pidfd_open(child.pid)
    child.kill()
    child.wait()
    process = Process(KERNEL, pidfd, os.getpid())  # the number has another owner by now
    with pytest.raises(OSError, match="not to be seen"):
        process.text("stat")
    process.close()


def test_nobody_is_found_under_a_free_number():
    assert Process.find(KERNEL, 2**22 - 1) is None
    assert Process.find(NoPidfds(), os.getpid()) is None


@pytest.mark.parametrize("kernel", [Old(), Middle()])
def test_older_kernels_tell_the_same_by_proc(child, kernel):
    process = Process.find(kernel, child.pid)
    assert process.look() == PidInfo(child.pid, os.getpid(), os.geteuid(), os.getegid())
    assert process.namespaces(("pid",)) == {"pid": place(os.stat("/proc/self/ns/pid"))}
    assert process.instance == 0
    child.kill()
    child.wait()
    with pytest.raises(PeerError, match="is gone"):
        process.look()
    process.close()


@pytest.mark.parametrize("kernel", [NoProc(), Hidden()])
def test_without_proc_the_pidfd_still_tells(child, kernel):
    process = Process.find(kernel, child.pid)
    assert process.look().uid == os.geteuid()
    assert process.namespaces(("pid",))
    with pytest.raises(OSError, match="not to be seen"):
        process.stated()
    process.close()


def test_without_either_nobody_tells(child):
    class Nothing(NoProc):
        pidfd_info = Old.pidfd_info

    process = Process.find(Nothing(), child.pid)
    with pytest.raises(PeerError, match="does not say who"):
        process.look()
    process.close()


def test_process_that_may_not_be_looked_into(child):
    process = Process.find(Strict(), child.pid)
    assert process.look().pid == child.pid
    with pytest.raises(PermissionError):
        process.namespaces(("user",))
    process.close()


@pytest.mark.parametrize(("kernel", "words"), [(Remote(), "another namespace"), (Reaped(), "is gone")])
def test_process_of_which_the_kernel_says_nothing(child, kernel, words):
    process = Process.find(kernel, child.pid)
    with pytest.raises(PeerError, match=words):
        process.look()
    process.close()


def test_foreign_process_on_a_kernel_without_information():
    class Foreign(Old):
        def open(self, path, flags, at=None):
            return super().open("/dev/stdin" if "fdinfo" in path else path, flags, at)

        def read(self, fd, limit):
            return b"pos:\t0\nPid:\t0\nNSpid:\t0\n"

    process = Process.find(Foreign(), os.getpid())
    with pytest.raises(PeerError, match="another namespace"):
        process.look()
    process.close()


def test_same_process_and_another(child):
    one, two, three = (Process.find(KERNEL, pid) for pid in (child.pid, child.pid, os.getpid()))
    assert one.same(two)
    assert not one.same(three)
    assert not one.same(None)
    two.close()
    assert not one.same(two)
    one.close()
    three.close()


def test_name_that_is_made_to_look_like_fields():
    code = "import ctypes,time; ctypes.CDLL(None).prctl(15, b'x) R 1 1'); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-I", "-c", code], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        process = Process.find(KERNEL, child.pid)
        assert b"(x) R 1 1)" in process.text("stat")
        assert process.stated().ppid == os.getpid()
        assert process.status()["PPid"] == str(os.getpid())
        process.close()
        child.kill()
