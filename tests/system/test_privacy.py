"""Security case 53: another process of the same user looks into ours."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mcpguard.system.privacy import keep_private
from tests.system.somebody import as_somebody, become_somebody

PTRACE_SEIZE, PIDFD_GETFD = 0x4206, 438


def attempts(pid: int) -> dict[str, Callable[[], object]]:
    """Ways to look into a process."""
    libc = ctypes.CDLL(None, use_errno=True)

    def called(result: int) -> None:
        if result < 0:
            raise OSError(ctypes.get_errno(), "refused")

    return {
        "memory": lambda: os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY)),
        "environment": lambda: os.close(os.open(f"/proc/{pid}/environ", os.O_RDONLY)),
        "descriptors": lambda: os.listdir(f"/proc/{pid}/fd"),
        "descriptor": lambda: called(libc.syscall(PIDFD_GETFD, os.pidfd_open(pid), 0, 0)),
        "ptrace": lambda: called(libc.ptrace(PTRACE_SEIZE, pid, 0, 0)),
    }


def robbed(*, private: bool) -> dict[str, str]:
    """What a second process of the victim's user gets at."""
    told, tell = os.pipe()
    over, end = os.pipe()
    victim = os.fork()
    if victim == 0:
        os.close(end)
        become_somebody()
        if private:
            keep_private()
        os.write(tell, b"x")
        os.read(over, 1)
        os._exit(0)
    assert os.read(told, 1) == b"x"

    def rob() -> str:
        found = []
        for what, deed in attempts(victim).items():
            try:
                deed()
                found.append(f"{what}=open")
            except OSError:
                found.append(f"{what}=shut")
        return " ".join(found)

    said = as_somebody(rob)
    for fd in (told, tell, over, end):
        os.close(fd)
    os.waitpid(victim, 0)
    return dict(word.split("=") for word in said.split())


@pytest.mark.root
def test_case_53_nobody_of_the_same_user_looks_in():
    assert robbed(private=True) == dict.fromkeys(attempts(0), "shut")


@pytest.mark.root
def test_without_it_they_would():
    """The attack works where nothing restricts it, so that the test above means something."""
    assert robbed(private=False) == dict.fromkeys(attempts(0), "open")


def own_needs() -> str:
    """What the daemon needs of itself afterwards."""
    held = keep_private()
    reader, writer = os.pipe()
    os.close(os.open(f"/proc/self/fd/{reader}", os.O_RDONLY | os.O_NONBLOCK))
    assert str(reader) in os.listdir("/proc/self/fd")
    assert "Pid" in Path(f"/proc/self/fdinfo/{os.pidfd_open(os.getpid())}").read_text()
    assert "/" in Path("/proc/self/mountinfo").read_text()
    os.close(reader)
    os.close(writer)
    pss = "Pss" in Path("/proc/self/smaps_rollup").read_text()
    return f"{held} {os.stat('/proc/self/ns/pid').st_ino > 0} {pss}"


@pytest.mark.root
def test_what_an_ordinary_user_needs_of_itself_is_still_there():
    assert as_somebody(own_needs) == "True True True"


@pytest.mark.skipif("sys.platform != 'linux'", reason="a Linux call")
def test_what_we_need_of_ourselves_is_still_there():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, own_needs().encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as said:
        assert said.read() == b"True True True"
    os.waitpid(pid, 0)
