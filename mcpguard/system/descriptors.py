"""Descriptors that a shim passed: what they must be before the daemon reads or writes one.

Refused is what could block the daemon, be something other than it seems, or belong to the daemon itself: regular
files, terminals and devices on stdin and stdout, listening sockets, O_PATH handles, wrong access modes.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import stat
import struct
import sys
from typing import Final

from mcpguard import limits
from mcpguard.errors import PeerError

_O_PATH: Final = getattr(os, "O_PATH", 0)
_CLOEXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_SCM_CREDENTIALS: Final = 2
_SCM_PIDFD: Final = 4
_MOST: Final = 3
_INT: Final = array.array("i").itemsize
_UCRED: Final = struct.Struct("iII")
_ROOM: Final = socket.CMSG_SPACE(_MOST * _INT) + socket.CMSG_SPACE(_UCRED.size) + socket.CMSG_SPACE(_INT)
"""Control data of one message: three descriptors, the sender's credentials and its pidfd."""


class Sender:
    """Who the kernel says sent a message. The holder closes it.

    Attributes:
        credentials: pid, uid and gid; None if the socket does not ask for them.
        pidfd: Of that process; -1 if the socket does not ask for it or the kernel has none (before Linux 6.5).
    """

    def __init__(self) -> None:
        self.credentials: tuple[int, int, int] | None = None
        self.pidfd = -1

    def close(self) -> None:
        """Let go of the pidfd."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def receive(sock: socket.socket, size: int) -> tuple[bytes, list[int], Sender]:
    """One read from a non-blocking socket, the descriptors that came along, and who sent it. The caller closes them.

    Raises:
        BlockingIOError: Nothing is there yet.
        PeerError: More descriptors than anybody needs; all of them were closed.
    """
    data, ancillary, flags, _ = sock.recvmsg(size, _ROOM, _CLOEXEC)
    found: list[int] = []
    sender = Sender()
    for level, kind, content in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_RIGHTS:
            found.extend(_numbers(content))
        elif kind == _SCM_CREDENTIALS and sys.platform == "linux":
            sender.credentials = _UCRED.unpack(content[: _UCRED.size])
        elif kind == _SCM_PIDFD and sys.platform == "linux":
            (sender.pidfd,) = _numbers(content)
    if flags & socket.MSG_CTRUNC or len(found) > _MOST:
        # What fitted into a short buffer is open in this process, whatever was cut off.
        close_all(found)
        sender.close()
        raise PeerError("too many descriptors were passed")
    return data, found, sender


def _numbers(content: bytes) -> array.array[int]:
    numbers = array.array("i")
    numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    return numbers


def close_all(descriptors: list[int]) -> None:
    """Close descriptors, each exactly once."""
    while descriptors:
        os.close(descriptors.pop())


def check_stdio(descriptors: list[int], own: frozenset[tuple[int, int] | str]) -> None:
    """Whether three descriptors can serve as a server's stdin, stdout and stderr.

    Args:
        descriptors: In that order.
        own: The daemon's own sockets: device and inode of each, and its path.

    Raises:
        PeerError: One of them cannot; the sentence says which and why.
    """
    if len(descriptors) != 3:
        raise PeerError(f"three descriptors are needed, {len(descriptors)} were passed")
    names = ("stdin", "stdout", "stderr")
    infos = [os.fstat(fd) for fd in descriptors]
    for name, fd, info in zip(names, descriptors, infos, strict=True):
        if (info.st_dev, info.st_ino) in own:
            raise PeerError(f"{name} is a socket of mcpguard itself")
        _check_access(name, fd, info, own)
    if not stat.S_ISSOCK(infos[0].st_mode) and os.path.samestat(infos[0], infos[1]):
        raise PeerError("stdin and stdout are the same pipe")


def _check_access(name: str, fd: int, info: os.stat_result, own: frozenset[tuple[int, int] | str]) -> None:
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if _O_PATH and flags & _O_PATH:
        raise PeerError(f"{name} is not open for reading or writing")
    mode = flags & os.O_ACCMODE
    if stat.S_ISSOCK(info.st_mode):
        _check_socket(name, fd, own)
    elif stat.S_ISFIFO(info.st_mode):
        if mode == (os.O_WRONLY if name == "stdin" else os.O_RDONLY):
            raise PeerError(f"{name} is the wrong end of a pipe")
    elif name != "stderr":
        kind = "a terminal" if os.isatty(fd) else "neither a pipe nor a socket"
        raise PeerError(
            f"{name} is {kind}", hint="mcpguard run is started by an agent host, which speaks MCP to it"
        )
    elif mode == os.O_RDONLY or not (stat.S_ISCHR(info.st_mode) or stat.S_ISREG(info.st_mode)):
        raise PeerError("stderr cannot be written to")


def _check_socket(name: str, fd: int, own: frozenset[tuple[int, int] | str]) -> None:
    with socket.socket(fileno=os.dup(fd)) as sock:
        try:
            far = sock.getpeername()
        except OSError:
            far = None
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM or far is None:
            raise PeerError(f"{name} is not a connected Unix stream socket")
        if far in own:
            raise PeerError(f"{name} is a connection to mcpguard itself")


def private_pipe(fd: int, *, writing: bool) -> int:
    """A non-blocking descriptor of our own for a passed pipe; `fd` is closed.

    O_NONBLOCK belongs to the open file, which the host's other processes may share; opening the pipe anew gives an
    open file that is ours alone. Where that cannot be done (no /proc), the shared one is used.
    """
    flags = (os.O_WRONLY if writing else os.O_RDONLY) | os.O_NONBLOCK | os.O_CLOEXEC
    if sys.platform == "linux":
        try:
            fresh = os.open(f"/proc/self/fd/{fd}", flags)
        except OSError:
            os.set_blocking(fd, False)
            return fd
        os.close(fd)
        return fresh
    os.set_blocking(fd, False)
    return fd


def widen_pipe(fd: int) -> None:
    """Let a pipe hold more, so that a large message costs fewer switches; the system may refuse, which is no harm.

    Pipes over the default size count against a limit of the user (pipe-user-pages-soft, 64 MiB), so this is for pipes
    that were seen full.
    """
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, limits.PIPE_BYTES)
