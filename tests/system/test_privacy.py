"""Security case 53: another process of the same user looks into ours."""

import os
import subprocess
import sys

import pytest

from mcpguard.system import privacy

VICTIM = """
import sys
if sys.argv[1] == "private":
    from mcpguard.system.privacy import keep_private
    assert keep_private()
SECRET = "se" + "cret"
print("ready", flush=True)
sys.stdin.read()
"""

THIEF = """
import ctypes, os, sys
pid = int(sys.argv[1])
def attempt(what, deed):
    try:
        deed()
        print(what, "open")
    except OSError:
        print(what, "shut")
def attach():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(0x4206, pid, 0, 0):
        raise OSError(ctypes.get_errno(), "ptrace")
def grab():
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.pidfd_open(pid)
    if libc.syscall(438, fd, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
attempt("memory", lambda: os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY)))
attempt("environment", lambda: open(f"/proc/{pid}/environ", "rb").read())
attempt("descriptors", lambda: os.listdir(f"/proc/{pid}/fd"))
attempt("grab", grab)
attempt("ptrace", attach)
"""

AS_SOMEBODY = ["setpriv", "--reuid", "65533", "--regid", "65533", "--clear-groups"]


def robbed(kind: str) -> dict[str, str]:
    """What a second process of the victim's user gets at."""
    victim = subprocess.Popen(
        [*AS_SOMEBODY, sys.executable, "-c", VICTIM, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
    )
    try:
        assert victim.stdout.readline() == b"ready\n"
        found = subprocess.run(
            [*AS_SOMEBODY, sys.executable, "-c", THIEF, str(victim.pid)],
            capture_output=True, text=True, check=True, cwd="/",
        )  # fmt: skip
    finally:
        victim.communicate()
    return dict(line.split() for line in found.stdout.splitlines())


@pytest.mark.root
def test_case_53_nobody_of_the_same_user_looks_in():
    assert set(robbed("private").values()) == {"shut"}


@pytest.mark.root
def test_without_it_they_would():
    """The attack works where nothing restricts it, so that the test above means something."""
    assert set(robbed("open").values()) == {"open"}


def test_what_it_needs_of_itself_is_still_there():
    code = (
        "import os, resource; from mcpguard.system.privacy import keep_private; print(keep_private());"
        "r, w = os.pipe(); os.close(os.open(f'/proc/self/fd/{r}', os.O_RDONLY | os.O_NONBLOCK));"
        "os.stat('/proc/self/ns/pid'); print(open('/proc/self/smaps_rollup').read()[:0] + 'fine')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "fine"], done.stderr


@pytest.mark.root
def test_also_for_an_ordinary_user():
    code = (
        "import os; from mcpguard.system.privacy import keep_private; print(keep_private());"
        "r, w = os.pipe(); os.close(os.open(f'/proc/self/fd/{r}', os.O_RDONLY | os.O_NONBLOCK));"
        "os.stat('/proc/self/ns/pid'); print(open('/proc/self/smaps_rollup').read()[:0] + 'fine')"
    )
    done = subprocess.run([*AS_SOMEBODY, sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.stdout.split() == ["True", "fine"], done.stderr


@pytest.mark.skipif("sys.platform != 'linux'", reason="a Linux call")
def test_it_is_said_whether_it_could_be_had():
    pid = os.fork()
    if pid == 0:
        os._exit(0 if privacy.keep_private() else 1)
    assert os.waitpid(pid, 0)[1] == 0
