"""Who is at the other end of a Unix socket, as the kernel says.

Source: unix(7) SO_PEERCRED; Linux 6.5 SO_PEERPIDFD; xnu LOCAL_PEERCRED (`struct xucred`). SO_PEERCRED is fixed at
connect time and still answers after the peer is gone, which is why the pidfd is held as well.

Not here: which program the peer is (grades above G0); mount and network namespaces, which confined hosts have of
their own.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
from pathlib import Path
from typing import Final

from mcpguard.errors import PeerError
from mcpguard.identity.facts import PeerFacts

_SO_PEERPIDFD: Final = 77
_SOL_LOCAL: Final = 0
_LOCAL_PEERCRED: Final = 1
_LOCAL_PEERPID: Final = 2
_NOBODY: Final = 65534
_NAMESPACES: Final = ("pid", "user")


class Peer:
    """A peer held by a handle that no other process can take over. The holder closes it."""

    def __init__(self, facts: PeerFacts, pidfd: int) -> None:
        self.facts = facts
        self.pidfd = pidfd

    def alive(self) -> bool:
        """Whether the process still runs; true where the kernel gives no handle."""
        if self.pidfd < 0:
            return True
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Let go of the handle."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def attest(sock: socket.socket) -> Peer:
    """The peer of a connected Unix socket.

    Raises:
        PeerError: The kernel cannot say: the peer lives in a namespace that ours does not contain.
    """
    pid, uid, gid = _credentials(sock)
    if pid <= 0 or uid == _NOBODY:
        raise _foreign()
    pidfd = _pidfd(sock)
    return Peer(PeerFacts(pid, uid, gid, pinned=pidfd >= 0), pidfd)


def require_namespaces(peer: Peer) -> None:
    """Refuse a caller that lives in a pid or user namespace of its own, such as a sandbox or a container.

    Order: the peer was attested before; its handle says that what was looked at is still the peer.
    Not here: systems without namespaces, or without /proc, have nothing to compare.

    Raises:
        PeerError: It does, or it is gone.
    """
    for kind in _NAMESPACES:
        try:
            ours = Path(f"/proc/self/ns/{kind}").stat()
        except OSError:
            return
        try:
            theirs = Path(f"/proc/{peer.facts.pid}/ns/{kind}").stat()
        except OSError as error:
            raise PeerError("the kernel does not say in which namespaces the caller lives") from error
        if not os.path.samestat(ours, theirs):
            raise _foreign()
    if not peer.alive():
        raise PeerError("the caller is gone")


def _foreign() -> PeerError:
    return PeerError("the caller lives in another namespace", hint="run it outside the sandbox or container")


def require_user(sock: socket.socket, uid: int) -> int:
    """The uid of a peer that must be `uid`, on either side of a connection.

    Raises:
        PeerError: It is another user's.
    """
    _, found, _ = _credentials(sock)
    if found != uid:
        raise PeerError(f"the other end belongs to uid {found}, not {uid}")
    return found


def far_process(fd: int) -> int:
    """The process id at the far end of a connected Unix socket that was passed to us; `fd` stays the caller's.

    For a socketpair that is the process that made it. A name for people, never acted upon.

    Raises:
        PeerError: The kernel does not say.
    """
    with socket.socket(fileno=os.dup(fd)) as sock:
        return _credentials(sock)[0]


def _credentials(sock: socket.socket) -> tuple[int, int, int]:
    try:
        if sys.platform == "linux":
            raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            pid, uid, gid = struct.unpack("iII", raw)
            return pid, uid, gid
        raw = sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 76)
        _, uid, groups, gid = struct.unpack_from("IIhxxI", raw)
        pid = struct.unpack("i", sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID, 4))[0]
    except (OSError, struct.error) as error:
        raise PeerError("the kernel does not say who is at the other end") from error
    return pid, uid, gid if groups else -1


def _pidfd(sock: socket.socket) -> int:
    """A pidfd of the peer, or -1 where the kernel has none to give."""
    if sys.platform != "linux":
        return -1
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, 4)
    except OSError:
        return -1
    return int(struct.unpack("i", raw)[0])
