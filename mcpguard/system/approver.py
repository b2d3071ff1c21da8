"""What is above a caller, and is any of it, or was it, a host?

Each process is held while it is looked at, and each parent is older than its child: a number that changed hands is
not followed.

Not here: what follows from it (`identity.approver`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from mcpguard.errors import PeerError
from mcpguard.identity.approver import ELSEWHERE, Link, Watched, objection
from mcpguard.system.ancestry import parent
from mcpguard.system.kernel import Kernel
from mcpguard.system.peercred import Peer
from mcpguard.system.placement import control_group
from mcpguard.system.processes import Process

_LEVELS: Final = 256
"""Processes above a caller that are looked at; a caller with more above it is refused."""


class Below(msgspec.Struct, frozen=True):
    """What is known of what a connected host starts.

    Attributes:
        words: It, as the beginning of a sentence.
        adopter: The process that is said to be given its orphans; 0 if nobody said so. Counts only if it is above
            the host: nobody else adopts them.
    """

    words: str
    adopter: int = 0


def require_person(
    peer: Peer, hosts: Mapping[int, Below], keepers: Mapping[int, str], kernel: Kernel | None = None
) -> None:
    """Refuse a caller that one of these processes has started, or may have.

    Args:
        peer: The caller.
        hosts: Connected hosts, by process id.
        keepers: Processes that no orphan can leave, by process id, each with the words for what is below it.
        kernel: The kernel.

    Raises:
        PeerError: It is refused, or what it is cannot be told.
    """
    kernel = kernel or Kernel()
    watched = [Watched(pid, words) for pid, words in keepers.items()]
    watched += [each for pid, below in hosts.items() if (each := _watched(kernel, pid, below))]
    if why := objection(_line(peer), watched):
        raise _refused(why)


def _refused(message: str) -> PeerError:
    return PeerError(message, hint=ELSEWHERE)


def _watched(kernel: Kernel, pid: int, below: Below) -> Watched | None:
    """A host that lives; None if it is gone, and somebody else may have its number."""
    process = Process.find(kernel, pid)
    if process is None:
        return None
    try:
        start, group = process.stated().start, control_group(process)
        adopter = below.adopter if below.adopter and _is_above(process, below.adopter) else 0
        return Watched(pid, below.words, start, group, adopter)
    except OSError:
        if process.alive():
            raise _refused("what a connected host is cannot be told") from None
        return None
    finally:
        process.close()


def _is_above(process: Process, pid: int) -> bool:
    """Whether the second is an ancestor of the first, as far as that can be told."""
    held = process
    for _ in range(_LEVELS):
        try:
            above = parent(held)
        finally:
            if held is not process:
                held.close()
        if above is None:
            return False
        if above.pid == pid:
            above.close()
            return True
        held = above
    held.close()
    return False


def _line(peer: Peer) -> list[Link]:
    """From the caller up to process 1, or to one that entered our namespaces and has nobody above it.

    Raises:
        PeerError: It cannot be told.
    """
    line, process, whole = list[Link](), peer.process, False
    while process is not None and len(line) < _LEVELS:
        try:
            line.append(_link(process))
            whole = process.pid == 1 or process.look().ppid == 0
        except (OSError, PeerError):
            whole = False
            above = None
        else:
            above = None if whole else parent(process)
        if process is not peer.process:
            process.close()
        process = above
    if process is not None and process is not peer.process:
        process.close()
    if not whole:
        raise _refused("what the caller is below cannot be told")
    return line


def _link(process: Process) -> Link:
    stat = process.stated()
    name = process.text("comm").decode("utf-8", "replace").rstrip("\n")
    return Link(
        process.pid, stat.start, process.look().uid, stat.session, name=name, group=control_group(process)
    )
