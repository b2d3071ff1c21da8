"""Who is behind a pidfd; the answer that looks like root and is nobody."""

import os
import struct
import subprocess

import pytest

from mcpguard.errors import PeerError
from mcpguard.system.kernel import Kernel
from mcpguard.system.pidinfo import PidInfo, instance, named, parse_info, process_info, same_process
from tests.system.kernels import Middle, NoProc, Old, Reaped, Remote

KERNEL = Kernel()


def answer(mask=7, pid=42, size=64):
    return struct.pack("QQ11Ii", mask, 9, pid, pid, 41, 1, 2, 1000, 1001, 3, 4, 5, 6, 0).ljust(size, b"\0")


@pytest.mark.parametrize("size", [64, 72, 80])
def test_answers_of_every_kernel_are_read(size):
    assert parse_info(answer(size=size)) == PidInfo(pid=42, ppid=41, uid=1000, gid=1001)


@pytest.mark.parametrize("mask", [0, 1, 2, 4, 0xC, 8, 16])
def test_answer_without_what_was_asked_is_not_read(mask):
    with pytest.raises(PeerError, match="is gone"):
        parse_info(answer(mask=mask))


def test_reaped_process_is_not_root():
    with pytest.raises(PeerError, match="is gone"):
        process_info(Reaped(), 0)
    with pytest.raises(PeerError, match="is gone"):
        parse_info(answer(mask=3, pid=0))


def test_foreign_and_old():
    with pytest.raises(PeerError, match="another namespace"):
        process_info(Remote(), 0)
    assert process_info(Old(), 0) is None


def test_descriptor_that_is_none():
    with pytest.raises(PeerError, match="does not say who the caller is"):
        process_info(KERNEL, 99999)


def test_process_and_its_end():
    with subprocess.Popen(["sleep", "60"]) as child:
        pidfd = os.pidfd_open(child.pid)
        again = os.pidfd_open(child.pid)
        mine = os.pidfd_open(os.getpid())
        assert process_info(KERNEL, pidfd) == PidInfo(child.pid, os.getpid(), os.geteuid(), os.getegid())
        for kernel in (KERNEL, Middle()):
            assert same_process(kernel, pidfd, again)
            assert not same_process(kernel, pidfd, mine)
        assert instance(KERNEL, pidfd) == instance(KERNEL, again) != instance(KERNEL, mine)
        assert instance(Middle(), pidfd) == 0
        assert named(KERNEL, pidfd) == child.pid
        child.kill()
    with pytest.raises(PeerError, match="is gone"):
        process_info(KERNEL, pidfd)
    assert named(KERNEL, pidfd) == -1
    assert same_process(KERNEL, pidfd, again)
    assert not same_process(Middle(), pidfd, again)  # nobody can tell any more
    for fd in (pidfd, again, mine):
        os.close(fd)


def test_without_proc_no_pidfd_has_a_name():
    pidfd = os.pidfd_open(os.getpid())
    assert named(NoProc(), pidfd) == -1
    assert named(KERNEL, 99999) == -1
    with open("/dev/null") as other:
        assert named(KERNEL, other.fileno()) == -1
    os.close(pidfd)
