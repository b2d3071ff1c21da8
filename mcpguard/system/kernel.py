"""The kernel's own words about processes: one small method for each call, and no judgement.

Every other file of this room that asks about processes asks through here, so that a test can be a kernel which lacks
a call, hides other processes, or has no /proc. A method that cannot answer raises OSError with the kernel's errno.

Source: Linux include/uapi/asm-generic/socket.h, linux/pidfd.h, linux/fsverity.h; unix(7), pidfd_open(2), fcntl(2).
Python 3.11 has no names for most of these numbers.

Not here: macOS (`system.macos`); what the answers mean.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import select
import signal
import socket
import struct
from typing import Final

import msgspec

_SO_PEERSEC: Final = 31
_SO_PEERPIDFD: Final = 77
_PIDFD_GET_INFO: Final = 0xC040FF0B
"""_IOWR(0xFF, 11, 64): the smallest form, which every kernel that has the call understands (Linux 6.13)."""
_ASKED: Final = 0x1 | 0x2 | 0x4
"""PIDFD_INFO_PID, _CREDS, _CGROUPID. Never _EXIT: with it a reaped process answers without an error."""
_INFO_BYTES: Final = 64
_GET_NAMESPACE: Final = {"mnt": 0xFF03, "pid": 0xFF05, "user": 0xFF09}
_FS_IOC_MEASURE_VERITY: Final = 0xC0046686
_F_SETSIG: Final = 10
_LABEL_BYTES: Final = 256
_LABEL_TRIES: Final = 4
_DIGEST_BYTES: Final = 64


class Place(msgspec.Struct, frozen=True):
    """Which object a descriptor or a path leads to.

    Attributes:
        device: `st_dev`.
        inode: `st_ino`.
    """

    device: int
    inode: int


def place(info: os.stat_result) -> Place:
    """The object that a stat described."""
    return Place(info.st_dev, info.st_ino)


class Kernel:
    """This kernel. Tests subclass it to be another one."""

    # --- sockets -------------------------------------------------------------------------------------------

    def option(self, sock: int, number: int, size: int) -> bytes:
        """A socket option of a descriptor that stays the caller's."""
        view = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=sock)
        try:
            return view.getsockopt(socket.SOL_SOCKET, number, size)
        finally:
            view.detach()

    def peer_credentials(self, sock: int) -> tuple[int, int, int]:
        """pid, uid and gid of the far end of a Unix socket, as they were when it was connected."""
        pid, uid, gid = struct.unpack("iII", self.option(sock, socket.SO_PEERCRED, 12))
        return pid, uid, gid

    def peer_pidfd(self, sock: int) -> int:
        """A pidfd of the far end (Linux 6.5); the caller closes it."""
        return int(struct.unpack("i", self.option(sock, _SO_PEERPIDFD, 4))[0])

    def peer_label(self, sock: int) -> bytes:
        """The security label of the far end. It may change its length between two calls, hence the tries."""
        size = _LABEL_BYTES
        for _ in range(_LABEL_TRIES):
            try:
                return self.option(sock, _SO_PEERSEC, size).rstrip(b"\0\n")
            except OSError as error:
                if error.errno != errno.ERANGE:
                    raise
                size *= 4
        raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))

    def names(self, sock: int) -> tuple[str | bytes, str | bytes]:
        """The socket's own address and its peer's; both are empty for the ends of a socketpair."""
        view = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=sock)
        try:
            return view.getsockname(), view.getpeername()
        finally:
            view.detach()

    # --- processes -----------------------------------------------------------------------------------------

    def pidfd_open(self, pid: int) -> int:
        """A pidfd of whatever process has this id now; the caller closes it."""
        return os.pidfd_open(pid)

    def pidfd_info(self, pidfd: int) -> bytes:
        """`struct pidfd_info`, its first 64 bytes (Linux 6.13)."""
        answer = bytearray(struct.pack("Q", _ASKED).ljust(_INFO_BYTES, b"\0"))
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, answer)
        return bytes(answer)

    def namespace(self, pidfd: int, kind: str) -> Place:
        """The `mnt`, `pid` or `user` namespace of a process (Linux 6.11)."""
        fd: int = fcntl.ioctl(pidfd, _GET_NAMESPACE[kind])
        try:
            return place(os.fstat(fd))
        finally:
            os.close(fd)

    def exited(self, pidfd: int) -> bool:
        """Whether the process has ended."""
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def numbered(self, pidfd: int) -> bool:
        """Whether the inode of a pidfd names its process (Linux 6.9); before, all pidfds shared one inode."""
        with select.epoll() as other:
            return os.fstat(pidfd).st_dev != os.fstat(other.fileno()).st_dev

    # --- files ---------------------------------------------------------------------------------------------

    def open(self, path: str, flags: int, at: int | None = None) -> int:
        """A descriptor with close-on-exec; the caller closes it."""
        return os.open(path, flags | os.O_CLOEXEC, dir_fd=at)

    def read(self, fd: int, limit: int) -> bytes:
        """At most `limit` bytes from the beginning; for files of /proc, which give a little at each read."""
        data = bytearray()
        while len(data) < limit and (more := os.pread(fd, limit - len(data), len(data))):
            data += more
        return bytes(data)

    def content(self, path: str, limit: int) -> bytes:
        """At most `limit` bytes of a file by its path."""
        fd = self.open(path, os.O_RDONLY)
        try:
            return self.read(fd, limit)
        finally:
            os.close(fd)

    def readlink(self, path: str, at: int | None = None) -> str:
        """Where a symbolic link points, as text."""
        return os.readlink(path, dir_fd=at)

    def stat(self, path: str, at: int | None = None, *, follow: bool = True) -> os.stat_result:
        """What a path leads to."""
        return os.stat(path, dir_fd=at, follow_symlinks=follow)

    def fstat(self, fd: int) -> os.stat_result:
        """What a descriptor is."""
        return os.fstat(fd)

    def listdir(self, path: int | str) -> list[str]:
        """The names in a directory."""
        return os.listdir(path)  # noqa: PTH208 (of a descriptor)

    # --- hashing -------------------------------------------------------------------------------------------

    def lease(self, fd: int) -> None:
        """Take a read lease: granted only while nobody can write to the file, and whoever wants to has to wait.

        The kernel says so with a signal, which is set to SIGURG: its default is to be ignored, whereas the usual
        SIGIO would end the daemon.
        """
        fcntl.fcntl(fd, _F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)

    def leased(self, fd: int) -> bool:
        """Whether the read lease still stands, that is, nobody asked to write."""
        return fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_RDLCK

    def release(self, fd: int) -> None:
        """Give a lease up."""
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    def verity(self, fd: int) -> bytes:
        """The fs-verity measurement of a file, with its algorithm: the kernel lets nobody change such a file."""
        answer = array.array("B", struct.pack("HH", 0, _DIGEST_BYTES) + bytes(_DIGEST_BYTES))
        fcntl.ioctl(fd, _FS_IOC_MEASURE_VERITY, answer)
        _, size = struct.unpack_from("HH", answer)
        return answer.tobytes()[: 4 + int(size)]
