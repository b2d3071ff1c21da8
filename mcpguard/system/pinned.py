"""Is this executable still the one that the manifest names? What is hashed is what is executed.

A file is opened once, hashed through that descriptor, and executed through that descriptor (execveat), so a name
that changes hands in between changes nothing. Against a change of its content while it has a name, a read lease is
held: the kernel grants it only when nobody can write to the file (no writable descriptor, no writable mapping), and
makes the next who opens it for writing wait until the lease is given up. As long as the lease stands, the digest
holds, and need not be taken again at the next start.

A file that cannot be leased (another user's) is hashed at every start and copied into sealed memory if its owner or
others could write to it.

Source: fcntl(2) F_SETLEASE, F_GETLEASE; memfd_create(2) and file seals; execveat(2).

Not here: what an interpreter reads after it was started (`system.tree` looks at package trees); scripts, which are
executed by their path, since their interpreter has to open them by a name.

Decided:
    *Leases instead of remembered file times*: a store through a mapping that is dirty already changes the content
    and neither mtime nor ctime; rejected: fs-verity alone, which few file systems have.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import sys
from collections.abc import Callable
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import TrustError

_CHUNK: Final = 1 << 18
_SEALS: Final = 0x1 | 0x2 | 0x4 | 0x8
"""F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE (linux/fcntl.h)."""
_ADD_SEALS: Final = 1033
_NO_WRITERS: Final = 0o022


class Pinned:
    """An executable that was opened and hashed. The holder closes it, unless a `Shelf` keeps it.

    Attributes:
        path: The path that it was opened at.
        sha256: Hex digest of what the descriptor reads.
        script: Whether it begins with `#!`.
        fd: What to execute: the file itself, or a sealed copy of it.
    """

    def __init__(self, path: str, fd: int, sha256: str, *, leased: bool) -> None:
        self.path = path
        self.fd = fd
        self.sha256 = sha256
        self.leased = leased
        self.script = os.pread(fd, 2, 0) == b"#!"

    def holds(self) -> bool:
        """Whether nobody can have written to it since it was hashed."""
        return not self.leased or _lease(self.fd) == fcntl.F_RDLCK

    def close(self) -> None:
        """Give up the lease and the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Identity(msgspec.Struct, frozen=True):
    """Which file a path leads to now."""

    device: int
    inode: int


class Shelf:
    """Executables whose digest still holds, by what their path leads to; at most `limits.SHELF_FILES`.

    Give up what others wait for: `release_broken` belongs into the handler of SIGIO, which the kernel sends when
    somebody wants to write to a leased file, and whose default action ends the process.
    """

    def __init__(self) -> None:
        self._kept: dict[Identity, Pinned] = {}

    def open(self, path: str, sha256: str) -> Pinned:
        """The executable at `path`, which must be the one with this digest. It stays ours: do not close it.

        Blocking, for as long as hashing takes, unless it is kept here.

        Raises:
            TrustError: It is missing, is another file, is being written to, or is too large.
        """
        fd = _opened(path)
        info = os.fstat(fd)
        place = Identity(info.st_dev, info.st_ino)
        known = self._kept.get(place)
        if known is not None and known.holds():
            os.close(fd)
        else:
            self._drop(place)
            known = _hashed(path, fd, info)
            self._keep(place, known)
        if known.sha256 != sha256:
            raise TrustError(
                f"the executable {path!a} has changed: its digest is {known.sha256[:12]} and the manifest says "
                f"{sha256[:12]}",
                hint="see: mcpguard server verify NAME; accept it with: mcpguard server trust NAME --probe",
            )
        return known

    def release_broken(self) -> None:
        """Let those write who wait for a lease to be given up."""
        for place in [place for place, known in self._kept.items() if not known.holds()]:
            self._drop(place)

    def close(self) -> None:
        """Give up everything."""
        for place in list(self._kept):
            self._drop(place)

    def _keep(self, place: Identity, known: Pinned) -> None:
        if len(self._kept) >= limits.SHELF_FILES:
            self._drop(next(iter(self._kept)))
        self._kept[place] = known

    def _drop(self, place: Identity) -> None:
        known = self._kept.pop(place, None)
        if known is not None:
            known.close()


def digest_of(path: str) -> str:
    """SHA-256 of an executable now, hex; for a draft, or to compare by hand.

    Raises:
        TrustError: It is missing, is being written to, or is too large.
    """
    fd = _opened(path)
    pinned = _hashed(path, fd, os.fstat(fd))
    pinned.close()
    return pinned.sha256


def _opened(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise TrustError(
            f"the executable {path!a} cannot be opened: {error.strerror}",
            hint="install it again, or change the manifest: mcpguard server add",
        ) from error
    info = os.fstat(fd)
    fault = ""
    if not stat.S_ISREG(info.st_mode):
        fault = "is not a regular file"
    elif info.st_size > limits.EXECUTABLE_BYTES:
        fault = f"is larger than {limits.EXECUTABLE_BYTES >> 20} MiB"
    if fault:
        os.close(fd)
        raise TrustError(f"the executable {path!a} {fault}", hint="see: mcpguard server show NAME")
    return fd


def _hashed(path: str, fd: int, info: os.stat_result) -> Pinned:
    """Hash what `fd` reads, in a way that what is executed later is the same; takes over `fd`."""
    try:
        leased = _take_lease(fd)
        if not leased and _replaceable(info):
            copy, sha256 = _sealed(fd, path)
            os.close(fd)
            return Pinned(path, copy, sha256, leased=False)
        sha256 = _sha256(fd)
        if leased and _lease(fd) != fcntl.F_RDLCK:
            raise _written(path)
    except TrustError:
        os.close(fd)
        raise
    except OSError as error:
        os.close(fd)
        if error.errno == errno.EAGAIN:
            raise _written(path) from error
        raise TrustError(f"the executable {path!a} cannot be read: {error.strerror}") from error
    return Pinned(path, fd, sha256, leased=leased)


def _written(path: str) -> TrustError:
    return TrustError(
        f"somebody has the executable {path!a} open for writing", hint="try again when it is done"
    )


def _lease(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_GETLEASE) if sys.platform == "linux" else fcntl.F_UNLCK


def _take_lease(fd: int) -> bool:
    """Whether a read lease was granted; false where we may not have one.

    Raises:
        OSError: EAGAIN: somebody can write to the file now.
    """
    if sys.platform != "linux":
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise
        return False  # EACCES: not our file. EINVAL: a file system without leases
    return True


def _replaceable(info: os.stat_result) -> bool:
    """Whether somebody other than root could write to it."""
    return info.st_uid != 0 or bool(info.st_mode & _NO_WRITERS)


def _sha256(fd: int, sink: Callable[[bytes], object] | None = None) -> str:
    found = hashlib.sha256()
    place = 0
    while chunk := os.pread(fd, _CHUNK, place):
        found.update(chunk)
        if sink is not None:
            sink(chunk)
        place += len(chunk)
    return found.hexdigest()


def _sealed(fd: int, path: str) -> tuple[int, str]:
    """A copy in memory that nobody can change any more, and its digest."""
    copy = os.memfd_create(path.rpartition("/")[2][:200], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(copy, "wb", closefd=False) as sink:
            sha256 = _sha256(fd, sink.write)
        os.fchmod(copy, 0o500)
        fcntl.fcntl(copy, _ADD_SEALS, _SEALS)
        reader = os.open(f"/proc/self/fd/{copy}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(copy)
    return reader, sha256
