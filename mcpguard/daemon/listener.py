"""Listening sockets in the private directory, and the accept loop that never spins."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from mcpguard.errors import DaemonError, PeerError
from mcpguard.system.files import private_socket_path
from mcpguard.system.rundir import MAX_SOCKET_PATH

_log = logging.getLogger("mcpguard")
_BACKLOG = 1024
_PAUSE_SECONDS = 0.2
_ACCEPTS = 16
"""Connections taken at a time, so that others get their turn in between: each costs half a millisecond."""
_SO_PASSCRED = 16
_SO_PASSPIDFD = 76
_SO_PASSRIGHTS = 83
_UNKNOWN = (errno.ENOPROTOOPT, errno.EOPNOTSUPP)


class Listener:
    """One Unix socket, mode 0600 unless everybody may connect.

    Args:
        path: Where it is bound; a socket that a dead daemon left is replaced, anything else refused.
        accepted: Called with each connection, non-blocking and close-on-exec.
        most: Connections that may be unsettled at a time: accepted, and `settled` was not called for them yet. The
            others wait in the kernel's queue, and are turned away when that is full; 0 for no such bound.
        everybody: Whether every user of the machine may connect.
        handed: The socket of a service manager, bound and listening; it stays there when this listener is closed.
        shims: Whether shims connect here. Then the kernel notes with every message who sent it (SO_PASSCRED,
            SO_PASSPIDFD); set before anybody connects, so that no first message is missed. If not, nobody may pass
            descriptors (SO_PASSRIGHTS, Linux 6.16): there is no use for them.

    Raises:
        PeerError: Something that is not ours stands at `path`, or the path is too long.
        DaemonError: A socket cannot be made there.
    """

    def __init__(
        self,
        path: Path,
        accepted: Callable[[socket.socket], None],
        *,
        most: int = 0,
        shims: bool = False,
        everybody: bool = False,
        handed: socket.socket | None = None,
    ) -> None:
        self._path = path
        self._accepted = accepted
        self._most = most
        self._unsettled = 0
        self._loop = asyncio.get_running_loop()
        self._handed = handed is not None
        self._sock = handed or bound(path, 0o111 if everybody else 0o177)
        self._options = {_SO_PASSCRED: 1, _SO_PASSPIDFD: 1} if shims else {_SO_PASSRIGHTS: 0}
        self._ask(self._sock)
        self._sock.listen(_BACKLOG)  # also one that listens: from now on the kernel names us as the listener
        self._loop.add_reader(self._sock.fileno(), self._ready)

    def identity(self) -> frozenset[tuple[int, int] | str]:
        """Device and inode of the listening descriptor, and its path: what shows if it is passed back to us."""
        info = os.fstat(self._sock.fileno())
        return frozenset({(info.st_dev, info.st_ino), os.fspath(self._path)})

    def settled(self) -> None:
        """One more of the accepted connections was admitted, or refused."""
        self._unsettled -= 1
        if self._unsettled == self._most - 1:
            self._again()

    def close(self) -> None:
        """Stop listening and remove the socket, if it is ours."""
        self._loop.remove_reader(self._sock.fileno())
        if not self._handed:
            self._path.unlink(missing_ok=True)
        self._sock.close()

    def _ask(self, sock: socket.socket) -> None:
        """Set what connections inherit; a kernel that does not know an option goes without."""
        for option, value in self._options.items() if sys.platform == "linux" else ():
            try:
                sock.setsockopt(socket.SOL_SOCKET, option, value)
            except OSError as error:
                if error.errno not in _UNKNOWN:
                    raise

    def _ready(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                connection, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._rest(error)
                return
            connection.setblocking(False)
            if self._handed:  # it may be older than our options; a shim says nothing before it was greeted
                self._ask(connection)
            self._unsettled += 1
            self._accepted(connection)
            if self._unsettled == self._most:
                self._loop.remove_reader(self._sock.fileno())
                return

    def _rest(self, error: OSError) -> None:
        """Out of descriptors: look again a little later instead of spinning."""
        _log.warning("cannot accept: %s", error)
        self._loop.remove_reader(self._sock.fileno())
        self._loop.call_later(_PAUSE_SECONDS, self._again)

    def _again(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock.fileno(), self._ready)


def bound(path: Path, mask: int, *, occupied: bool = False) -> socket.socket:
    """A socket of our own at a path, in place of one that nobody listens at.

    Args:
        path: Where.
        mask: The umask that it is made with.
        occupied: Whether somebody may listen there, who is left alone then.

    Raises:
        PeerError: Something that is not ours stands there, or the path is too long.
        DaemonError: Somebody listens there, or a socket cannot be made.
    """
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise PeerError(
            f"the socket path {path} is too long", hint="set MCPGUARD_RUNTIME_DIR to a shorter directory"
        )
    if occupied:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.setblocking(False)
            probe.connect(os.fspath(path))
            raise DaemonError(f"somebody listens at {path} already", hint="choose another path")
    private_socket_path(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    before = os.umask(mask)
    try:
        sock.bind(os.fspath(path))
    except OSError as error:
        sock.close()
        raise DaemonError(f"cannot listen at {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    return sock
