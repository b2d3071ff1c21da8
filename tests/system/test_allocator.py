"""Keeping freed memory: it is accepted where glibc is, and memory that is freed stays bounded."""

import platform
import subprocess
import sys

PROGRAM = """
from mcpguard.system.allocator import keep_freed_memory
from mcpguard.system.memory import pss
import os
print(keep_freed_memory())
blocks = [b"x" * (1 << 20) + bytes(n) for n in range(64)]
full = pss(os.getpid())
del blocks
print(full, pss(os.getpid()))
"""


def test_freed_memory_is_kept_up_to_a_bound_only():
    out = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    ).stdout.split()
    assert out[0] == str(platform.libc_ver()[0] == "glibc")
    assert int(out[1]) > 60 << 20
    assert int(out[2]) < int(out[1]) - (40 << 20)


IDLE = """
from mcpguard.system.allocator import give_back, keep_freed_memory
from mcpguard.system.memory import pss
import os
keep_freed_memory()
blocks = [b"x" * (1 << 20) + bytes(n) for n in range(6)]
keep = b"y" * 100_000
del blocks
before = pss(os.getpid())
print(give_back(), before - pss(os.getpid()))
"""


def test_what_is_kept_is_given_back_when_nothing_is_going_on():
    out = subprocess.run(
        [sys.executable, "-c", IDLE], check=True, capture_output=True, text=True
    ).stdout.split()
    if platform.libc_ver()[0] == "glibc":
        assert out[0] == "True"
        assert int(out[1]) > 4 << 20
    else:
        assert out == ["False", "0"]
