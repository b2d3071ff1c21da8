"""Which processes are above a process?

A parent's id is read, held, and read again: if it is the same, what is held is the parent. An orphan is given to
another ancestor, so that a process can arrange who its parent is; what is above it is evidence for refusing, and for
allowing only together with what the parent holds (`system.stdioholder`).

Source: systemd, pidref_get_parent.

Not here: a user's service manager is listed like any other process: a name by which to recognise it can be borrowed.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mcpguard.errors import PeerError
from mcpguard.system.processes import Process

LEVELS: Final = 8
"""Most processes looked at above one: a host, its launchers, shells and terminal are fewer."""
_UNKNOWN: Final = "?"


class Ancestor(msgspec.Struct, frozen=True):
    """A process above another.

    Attributes:
        pid: Its id.
        path: Its executable, as the kernel calls it; `?` if we may not know.
    """

    pid: int
    path: str


def parent(child: Process) -> Process | None:
    """Its parent, held; the caller closes it. None if it cannot be told, or is in no namespace of ours."""
    try:
        ppid = child.look().ppid
        found = Process.find(child.kernel, ppid) if ppid > 0 else None
    except PeerError:
        return None
    if found is None:
        return None
    if _still(child, ppid) and _older(found, child):
        return found
    found.close()
    return None


def above(first: Process | None) -> list[Ancestor]:
    """`first`, which stays the caller's, and what is above it, nearest first, up to process 1 exclusively."""
    chain: list[Ancestor] = []
    process = first
    while process is not None and process.pid > 1 and len(chain) < LEVELS:
        chain.append(Ancestor(process.pid, _path(process)))
        following = parent(process)
        if process is not first:
            process.close()
        process = following
    if process is not None and process is not first:
        process.close()
    return chain


def _still(child: Process, ppid: int) -> bool:
    try:
        return child.look().ppid == ppid
    except PeerError:
        return False


def _older(found: Process, child: Process) -> bool:
    """Whether the parent began first. Without /proc nobody can tell, and it is believed."""
    try:
        return found.stated().start <= child.stated().start
    except OSError:
        return found.alive()


def _path(process: Process) -> str:
    try:
        return process.readlink("exe")
    except OSError:
        return _UNKNOWN
