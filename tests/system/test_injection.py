"""Signs of foreign code: in real processes into which it was put, and in texts."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mcpguard.identity.facts import FileFacts
from mcpguard.system.injection import ENVIRONMENT_BYTES, signs, variables
from mcpguard.system.kernel import Kernel
from mcpguard.system.processes import Process

SLEEP = os.path.realpath(shutil.which("sleep"))
PYTHON = os.path.realpath(sys.executable)
ROOTS = FileFacts(SLEEP, 1, os.stat(SLEEP).st_ino, 3, 0, writable=False)
ROOTS_PYTHON = FileFacts(PYTHON, 1, os.stat(PYTHON).st_ino, 3, 0, writable=False)
USERS = FileFacts(PYTHON, 1, os.stat(PYTHON).st_ino, 3, 1000, writable=True)
OWN = FileFacts("/tmp/own", 1, 2, 3, 1000, writable=True)


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        (b"HOME=/root\0PATH=/bin\0", []),
        (b"LD_PRELOAD=/tmp/x.so\0A=1\0", ["LD_PRELOAD"]),
        (b"LD_PRELOAD=\0", []),
        (b"LD_LIBRARY_PATH=/x\0LD_AUDIT=/y", ["LD_LIBRARY_PATH", "LD_AUDIT"]),
        (b"NODE_OPTIONS=--require /tmp/x\0NODE_ENV=test\0", ["NODE_OPTIONS"]),
        (b"ELECTRON_RUN_AS_NODE=1\0", ["ELECTRON_RUN_AS_NODE"]),
        (b"PYTHONPATH=/x\0PYTHONSTARTUP=/y\0PYTHONWARNINGS=error::x.y", ["PYTHONPATH", "PYTHONSTARTUP", "PYTHONWARNINGS"]),
        (b"PYTHONUNBUFFERED=1\0PYTHONDONTWRITEBYTECODE=1\0PYTHONUTF8=1", []),
        (b"PYTHONUNBUFFEREDX=1", ["PYTHONUNBUFFEREDX"]),
        (b"DYLD_INSERT_LIBRARIES=x\0", ["DYLD_INSERT_LIBRARIES"]),
        (b"LD_PRELOAD=a\0LD_PRELOAD=b\0", ["LD_PRELOAD"]),
        (b"XLD_PRELOAD=a\0ld_preload=b\0LD_PRELOAD", []),
        (b"", []),
        (b"\xff\xfe=x\0LD_\xff=x", ["LD_\ufffd"]),
    ],
)  # fmt: skip
def test_variables(environment, names):
    assert variables(environment) == names


@pytest.fixture
def running():
    children = []

    def start(*words, **more):
        child = subprocess.Popen(words, **more)
        children.append(child)
        process = Process.find(Kernel(), child.pid)
        deadline = time.monotonic() + 10
        while b"libc" not in process.text("maps") and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        return process

    yield start
    for child in children:
        child.kill()
        child.wait()


def told(process, file=ROOTS, arguments=()):
    found = signs(process, file, list(arguments))
    process.close()
    return found


def test_program_of_the_system_bears_none(running):
    assert told(running("sleep", "60", env={"PATH": "/bin"})) == ()


def library(tmp_path):
    libm = next(
        line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libc.so" in line
    )
    copy = tmp_path / "evil.so"
    shutil.copy(Path(libm).with_name("libm.so.6"), copy)
    return copy


@pytest.mark.root
def test_preloaded_library_is_seen_in_the_environment_and_in_memory(running, tmp_path):
    evil = library(tmp_path)
    found = told(running("sleep", "60", env={"PATH": "/bin", "LD_PRELOAD": str(evil)}))
    assert found == ("LD_PRELOAD", str(evil))


@pytest.mark.root
def test_library_of_another_user_is_a_sign_in_a_program_of_roots(running):
    where = Path("/opt/mcpguard-inject")
    where.mkdir(exist_ok=True)
    try:
        evil = library(where)
        code = "import ctypes,sys,time; ctypes.CDLL(sys.argv[1]); time.sleep(60)"
        process = running(sys.executable, "-I", "-c", code, str(evil), env={"PATH": "/bin"})
        while str(evil).encode() not in process.text("maps"):
            time.sleep(0.01)
        assert signs(process, USERS, []) == ()
        before = signs(process, ROOTS_PYTHON, [])
        os.chown(evil, 65533, 65533)
        assert set(signs(process, ROOTS_PYTHON, [])) - set(before) == {str(evil)}
        os.chown(evil, 0, 0)
        evil.chmod(0o666)
        assert set(signs(process, ROOTS_PYTHON, [])) - set(before) == {str(evil)}
        evil.unlink()
        assert f"{evil} (deleted)" in signs(process, USERS, [])
        process.close()
    finally:
        shutil.rmtree(where)


def test_debugger_on_the_command_line(running):
    process = running("sleep", "60", env={})
    for line, names in (
        ("app --inspect", ("--inspect",)),
        ("app --inspect-brk=0.0.0.0:9229 x", ("--inspect-brk",)),
        ("app --remote-debugging-port=1", ("--remote-debugging-port",)),
        ("app --inspector --no-inspect inspect", ()),
    ):
        assert signs(process, ROOTS, line.split()) == names
    process.close()


class Said(Process):
    """Ourselves, with other texts."""

    def __init__(self, **texts):
        super().__init__(Kernel(), os.pidfd_open(os.getpid()), os.getpid())
        self.texts = texts

    def text(self, name, limit=65536):
        return self.texts.get(name, b"")[:limit]


def test_lines_of_a_memory_map():
    maps = (
        b"55d0-55d1 r-xp 00000000 fe:00 2                  /tmp/own\n"
        b"7f00-7f01 r-xp 00000000 00:01 77                 /memfd:jit code (deleted)\n"
        b"7f00-7f01 rwxp 00000000 00:01 78                 /dev/shm/a b\n"
        b"7f00-7f01 r--p 00000000 00:01 79                 /tmp/data\n"
        b"7f00-7f01 r-xp 00000000 00:00 0 \n"
        b"7f00-7f01 r-xp 00000000 00:00 0                  [vdso]\n"
        b"7f00-7f01 r-xp 00000000 00:00 80                 /tmp/\\012newline\n"
        b"7f00-7f01 r-xp 00001000 00:00 80                 /tmp/\\012newline\n"
        b"no line at all\n"
    )
    assert told(Said(maps=maps), OWN) == ("/memfd:jit code (deleted)", "/dev/shm/a b", "/tmp/\\012newline")
    assert told(Said(maps=maps), None)[0] == "/tmp/own"


def test_executable_that_is_not_in_memory():
    maps = b"55d0-55d1 r--p 00000000 fe:00 2 /tmp/own\n55d0-55d1 r-xp 00000000 fe:00 9 /usr/lib/x\n"
    assert told(Said(maps=maps), OWN) == ("its executable is not in its memory",)
    renamed = b"55d0-55d1 r-xp 00000000 fe:00 2 /elsewhere\n"
    other_numbers = b"55d0-55d1 r-xp 00000000 fe:00 9 /tmp/own\n"
    for text in (renamed, other_numbers):
        assert told(Said(maps=text), OWN) == ()


def test_texts_that_are_too_long_to_be_read_are_a_sign():
    padding = b"A=" + b"x" * ENVIRONMENT_BYTES + b"\0LD_PRELOAD=/tmp/x\0"
    assert told(Said(environ=padding), None) == ("more than can be read",)


def test_signs_have_an_end():
    many = b"\0".join(b"LD_%d=x" % n for n in range(1000))
    assert len(told(Said(environ=many), None)) == 16
