"""Who is at the other end of a Unix socket, as the kernel says.

Source: unix(7) SO_PEERCRED, SCM_CREDENTIALS; Linux 6.5 SO_PEERPIDFD, SCM_PIDFD; xnu LOCAL_PEERCRED (`struct xucred`).
SO_PEERCRED is fixed at connect time and still answers after the peer is gone, which is why the pidfd is held as well.

Two things about a caller may differ from what it was when it connected: the program that it runs, which the sentinel
shows, and who uses the connection, which every message's own credentials show (`require_sender`).

Not here: which program the peer is (grades above G0); mount and network namespaces, which confined hosts have of
their own.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path
from typing import Final

from mcpguard.errors import PeerError
from mcpguard.identity.facts import PeerFacts
from mcpguard.system.descriptors import Sender
from mcpguard.system.kernel import Kernel
from mcpguard.system.pidinfo import foreign, gone, process_info, same_process
from mcpguard.system.processes import Process
from mcpguard.system.sentinel import Sentinel

_SOL_LOCAL: Final = 0
_LOCAL_PEERCRED: Final = 1
_LOCAL_PEERPID: Final = 2
_NOBODY: Final = 65534
_NAMESPACES: Final = ("pid", "user")
_LINUX: Final = sys.platform == "linux"


class Peer:
    """A peer held by handles that no other process can take over. The holder closes it.

    Attributes:
        facts: Who it was when it connected.
        pidfd: Its pidfd; -1 if there is none.
        process: It, pinned; None where the kernel has no pidfds.
    """

    def __init__(self, facts: PeerFacts, process: Process | None = None) -> None:
        """Takes over `process`; what it runs is watched from now on."""
        self.facts = facts
        self.process = process
        self._sentinel = None if process is None else Sentinel(process)

    @property
    def pidfd(self) -> int:
        """Its pidfd, which stays the peer's; -1 if there is none."""
        return -1 if self.process is None else self.process.pidfd

    def alive(self) -> bool:
        """Whether the process still runs; true where the kernel gives no handle."""
        return self.process is None or self.process.alive()

    def changed(self) -> str:
        """Why it is no longer what connected; empty if it is."""
        return "" if self._sentinel is None else self._sentinel.changed()

    def close(self) -> None:
        """Let go of the handles."""
        if self._sentinel is not None:
            self._sentinel.close()
            self._sentinel = None
        if self.process is not None:
            self.process.close()
            self.process = None


def attest(sock: socket.socket, kernel: Kernel | None = None) -> Peer:
    """The peer of a connected Unix socket. One that has ended since is still named; `alive` tells.

    Raises:
        PeerError: The kernel cannot say: the peer lives in a namespace that ours does not contain. Or what it says
            contradicts itself.
    """
    kernel = kernel or Kernel()
    pid, uid, gid = _credentials(sock, kernel)
    if pid <= 0 or uid == _NOBODY:
        raise foreign()
    if not _LINUX:
        return Peer(PeerFacts(pid, uid, gid, pinned=False))
    pidfd, pinned = _pidfd(sock, pid, kernel)
    process = None if pidfd < 0 else Process(kernel, pidfd, pid)
    peer = Peer(PeerFacts(pid, uid, gid, pinned=pinned), process)
    try:
        _require_consistent(peer, kernel)
    except PeerError:
        peer.close()
        raise
    return peer


def _require_consistent(peer: Peer, kernel: Kernel) -> None:
    """Whether the handle and the credentials are of one process and user.

    Order: the sentinel was set before, so what is found here is true of the program that it watches.
    """
    if not peer.alive():
        return  # nothing more can be said of it, and nothing more will be done for it
    info = process_info(kernel, peer.pidfd) if peer.pidfd >= 0 else None
    if info is not None and (info.pid, info.uid) != (peer.facts.pid, peer.facts.uid):
        raise PeerError("the caller is not what it was when it connected")


def require_sender(peer: Peer, sender: Sender, kernel: Kernel | None = None) -> None:
    """Refuse a message that somebody else than the peer sent over its connection.

    A process can hand its connection on, and a program can be executed over the one that connected. Either is seen
    here, because the kernel notes with each message who sends it.

    Order: the listening socket asked for credentials before the connection came in.

    Raises:
        PeerError: Another process or user sent it, or the kernel does not say who did.
    """
    if not _LINUX:
        return
    if sender.credentials is None:
        raise PeerError("the kernel does not say who sent the handshake")
    if sender.credentials[:2] != (peer.facts.pid, peer.facts.uid):
        raise PeerError("the handshake was sent by another process than the one that connected")
    if not peer.facts.pinned:
        return
    if sender.pidfd < 0 or not same_process(kernel or Kernel(), sender.pidfd, peer.pidfd):
        raise PeerError("the handshake was sent by another process than the one that connected")


def require_namespaces(peer: Peer, *, strangers: bool = False) -> None:
    """Refuse a caller that lives in a pid or user namespace of its own, such as a sandbox or a container.

    Order: the peer was attested before; its handle says that what was looked at is still the peer.
    Not here: systems without namespaces, or without /proc, have nothing to compare.

    Args:
        peer: The caller.
        strangers: Whether it may be of another user, whose namespaces are told to nobody. Then what everybody may
            read of it has to be as it is of us.

    Raises:
        PeerError: It does, or it is gone.
    """
    if strangers and peer.facts.uid != os.geteuid():
        _require_mapped(peer)
        return
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
            raise foreign()
    if not peer.alive():
        raise gone()


def _require_mapped(peer: Peer) -> None:
    """As `require_namespaces`, of a process of another user.

    A process in a pid namespace below ours has more than one id. A user namespace has a map of its own; one whose map
    is that of ours can be made by root alone.
    """
    try:
        same = peer.process is not None and _mapped(peer.process) == _mapped(None)
    except OSError as error:
        if not peer.alive():
            raise gone() from error
        raise PeerError("the kernel does not say in which namespaces the caller lives") from error
    if not same:
        raise foreign()
    if not peer.alive():
        raise gone()


def _mapped(process: Process | None) -> tuple[bytes, bytes, int]:
    """Maps of user and group ids, and how many process ids it has, as everybody may read them; None: of us."""

    def text(name: str) -> bytes:
        return Path(f"/proc/self/{name}").read_bytes() if process is None else process.text(name)

    (ids,) = [line for line in text("status").splitlines() if line.startswith(b"NSpid:")] or [b""]
    return text("uid_map"), text("gid_map"), len(ids.split())


def require_user(sock: socket.socket, *uids: int) -> int:
    """The uid of a peer that must be one of `uids`, on either side of a connection.

    Raises:
        PeerError: It is another user's.
    """
    _, found, _ = _credentials(sock, Kernel())
    if found not in uids:
        wanted = " or ".join(map(str, uids)) or "anybody who can be trusted with that place"
        raise PeerError(f"the other end belongs to uid {found}, not {wanted}")
    return found


def _credentials(sock: socket.socket, kernel: Kernel) -> tuple[int, int, int]:
    try:
        if _LINUX:
            return kernel.peer_credentials(sock.fileno())
        raw = sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 76)
        _, uid, groups, gid = struct.unpack_from("IIhxxI", raw)
        pid = struct.unpack("i", sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID, 4))[0]
    except (OSError, struct.error) as error:
        raise PeerError("the kernel does not say who is at the other end") from error
    return pid, uid, gid if groups else -1


def _pidfd(sock: socket.socket, pid: int, kernel: Kernel) -> tuple[int, bool]:
    """A pidfd of the peer, and whether it is first-hand.

    Before Linux 6.5 the kernel gives no pidfd of a peer. One that is opened by number tells whether that process
    lives, but the number may have changed hands since the connection was made: it is not evidence.
    """
    try:
        return kernel.peer_pidfd(sock.fileno()), True
    except OSError:
        try:
            return kernel.pidfd_open(pid), False
        except OSError:
            return -1, False
