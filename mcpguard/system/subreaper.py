"""Which of this process's children are orphans of a server's tree?

A subreaper inherits the orphans of its descendants instead of init (prctl(2), PR_SET_CHILD_SUBREAPER). They
then look like children it started itself, and must be told apart: everything below a zygote carries a mark,
an otherwise meaningless limit on file locks that survives fork, exec, setsid and a cleared environment.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Container
from typing import Final

from mcpguard.system import warden

_MARK_BITS: Final = 61
"""A limit is 64 bits with the topmost value for "unlimited"; some readers take it as signed."""


def adopt_orphans() -> bool:
    """Make this process a subreaper; False on systems that have none, such as macOS."""
    return warden.prctl(warden.PR_SET_CHILD_SUBREAPER, 1)


def new_mark() -> int:
    """Draw a mark; no other process on this system has it."""
    return 1 << _MARK_BITS | secrets.randbits(_MARK_BITS)


def marked(pid: int, mark: int) -> bool:
    """Tell whether a process carries the mark; False if it is gone."""
    for line in warden.slurp(f"/proc/{pid}/limits").splitlines():
        if line.startswith(b"Max file locks"):
            return line.split()[4] == str(mark).encode()
    return False


def orphans(mark: int, spare: Container[int]) -> list[int]:
    """Children of this process that carry the mark and are not spared; those that were dead are reaped first.

    In this order: a child that dies leaves its own children to us before it can be reaped.
    """

    def look() -> list[int]:
        return [pid for pid in warden.children(os.getpid()) if pid not in spare and marked(pid, mark)]

    for pid in look():
        reap(pid)
    return look()


def reap(pid: int) -> bool:
    """Collect one child; True when it is no child of ours any more. Never touches another child."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def cull_orphans(mark: int, spare: Container[int]) -> bool:
    """Kill orphans with all their descendants; True if there were any: look again."""
    if not orphans(mark, spare):
        return False
    warden.cull(lambda: orphans(mark, spare))
    return True
