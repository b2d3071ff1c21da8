"""What a process costs."""

import os

from mcpguard.system.memory import open_descriptors, pss


def test_share_of_this_process_grows_with_what_it_touches() -> None:
    before = pss(os.getpid())
    held = bytearray(os.urandom(1 << 20)) * 32
    after = pss(os.getpid())
    assert after - before > 16 << 20
    del held


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
