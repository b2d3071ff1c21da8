"""What a process costs."""

import os
import subprocess
import sys

from mcpguard.system.memory import open_descriptors, pss

GROWTH = """
import os
from mcpguard.system.memory import pss
before = pss(os.getpid())
held = bytearray(os.urandom(1 << 20)) * 32
print(pss(os.getpid()) - before)
"""


def test_share_of_a_process_grows_with_what_it_touches() -> None:
    """In a process of its own: this one may have freed memory that it would use again."""
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 16 << 20


def test_process_that_is_gone_costs_nothing() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert pss(pid) == 0


def test_open_descriptors_are_counted() -> None:
    before = open_descriptors()
    pair = os.pipe()
    assert open_descriptors() == before + 2
    for fd in pair:
        os.close(fd)
    assert open_descriptors() == before
