"""What is the SHA-256 of a file that nobody changes meanwhile?

Three ways to be sure of that, tried in this order:

- the kernel verifies every page (fs-verity): what was read once holds for ever;
- only root can write the file or a directory above it: what was read holds until its times change;
- else a read lease is held while it is read: the kernel grants it only while nobody can write, and says afterwards
  whether somebody wanted to. What was read then holds for one process that executes the file, and for no other: a
  store through a mapping that is dirty already changes the content, and neither mtime nor ctime.

Source: fcntl(2) F_SETLEASE; Documentation/filesystems/fsverity.rst.

Not here: whether the process still runs the file (`system.hostprocess`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Hashable
from typing import Final

import msgspec

from mcpguard.identity.facts import FileFacts
from mcpguard.system.electron import Fuses
from mcpguard.system.kernel import Kernel, Place, place

FILE_BYTES: Final = 512 << 20
"""Larger files are not read: the largest host known has a third of it."""
AT_ONCE: Final = 2
BURST: Final = 8
"""Files that one user may have read at once."""
PER_SECOND: Final = 0.5
"""Files that one user may have read in the long run, each second."""
REMEMBERED: Final = 256
_USERS: Final = 1024
_CHUNK: Final = 1 << 18
_OTHERS_WRITE: Final = 0o022


class Fingerprint(msgspec.Struct, frozen=True):
    """What was read of a file.

    Attributes:
        sha256: Hex; empty if it could not be taken.
        doubt: Why it could not; empty if it was.
        fuses: Fuses of an Electron application that let others choose what it runs.
    """

    sha256: str = ""
    doubt: str = ""
    fuses: tuple[str, ...] = ()


class Digests:
    """Takes digests, in any thread, and remembers what stays true.

    Args:
        kernel: Whom to ask.
        clock: Seconds, never going back.
    """

    def __init__(self, kernel: Kernel | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._kernel = kernel or Kernel()
        self._clock = clock
        self._room = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._known: dict[Hashable, Fingerprint] = {}
        self._budgets: dict[int, tuple[float, float]] = {}

    def take(self, fd: int, file: FileFacts, user: int, instance: int) -> Fingerprint:
        """The digest of an opened file. Blocks, for seconds if the file is large; call it in a worker thread.

        Args:
            fd: The file; it may have been opened as a place only. It stays the caller's.
            file: What is known of it.
            user: Who caused this; each user has a budget.
            instance: Number of the process that executes it; 0 if not known, then nothing of a user's is remembered.
        """
        if file.size > FILE_BYTES:
            return Fingerprint(doubt=f"it is larger than {FILE_BYTES >> 20} MiB")
        try:
            reading = self._kernel.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            return Fingerprint(doubt=f"it cannot be read: {error.strerror}")
        try:
            if place(self._kernel.fstat(reading)) != Place(file.device, file.inode):
                return Fingerprint(doubt="it is another file by now")
            return self._taken(reading, file, user, instance)
        except OSError as error:
            return Fingerprint(doubt=f"it cannot be read: {error.strerror}")
        finally:
            os.close(reading)

    def _taken(self, fd: int, file: FileFacts, user: int, instance: int) -> Fingerprint:
        key, leased = self._key(fd, file, instance)
        if (known := self._remembered(key)) is not None:
            return known
        with self._room:
            # Several connections of one host come at once: the first has read it for the others.
            if (known := self._remembered(key)) is not None:
                return known
            if not self._may(user):
                return Fingerprint(doubt=f"too many programs were read for uid {user} just now")
            found = self._leased(fd, file) if leased else self._read(fd)
        if key is not None and not found.doubt and self._key(fd, file, instance) == (key, leased):
            self._remember(key, found)
        return found

    def _key(self, fd: int, file: FileFacts, instance: int) -> tuple[Hashable, bool]:
        """Under what a digest may be remembered, None if under nothing; and whether reading needs a lease."""
        try:
            return ("verity", self._kernel.verity(fd)), False
        except OSError:
            info = self._kernel.fstat(fd)
        state = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        if file.lasting and not file.writable and info.st_uid == 0 and not info.st_mode & _OTHERS_WRITE:
            return ("root", *state), False
        return (("instance", instance, *state) if instance else None), True

    def _leased(self, fd: int, file: FileFacts) -> Fingerprint:
        try:
            self._kernel.lease(fd)
        except OSError as error:
            return Fingerprint(doubt=_no_lease(error, file))
        try:
            found = self._read(fd)
            if not self._kernel.leased(fd):
                return Fingerprint(doubt="somebody opened it for writing while it was read")
            return found
        finally:
            self._kernel.release(fd)

    def _read(self, fd: int) -> Fingerprint:
        before = self._kernel.fstat(fd)
        digest, fuses, size = hashlib.sha256(), Fuses(), 0
        while size <= FILE_BYTES:
            data = os.pread(fd, _CHUNK, size)
            digest.update(data)
            fuses.feed(data)
            size += len(data)
            if not data:
                break
        after = self._kernel.fstat(fd)
        if size != before.st_size or (before.st_mtime_ns, before.st_ctime_ns) != (
            after.st_mtime_ns,
            after.st_ctime_ns,
        ):
            return Fingerprint(doubt="it changed while it was read")
        return Fingerprint(digest.hexdigest(), fuses=fuses.open)

    # --- memory and budget ---------------------------------------------------------------------------------

    def _remembered(self, key: Hashable) -> Fingerprint | None:
        with self._lock:
            return self._known.get(key) if key is not None else None

    def _remember(self, key: Hashable, found: Fingerprint) -> None:
        with self._lock:
            self._known[key] = found
            while len(self._known) > REMEMBERED:
                del self._known[next(iter(self._known))]

    def _may(self, user: int) -> bool:
        """Whether a user's budget allows one more file."""
        now = self._clock()
        with self._lock:
            left, then = self._budgets.pop(user, (float(BURST), now))
            left = min(BURST, left + (now - then) * PER_SECOND)
            allowed = left >= 1
            self._budgets[user] = (left - allowed, now)
            while len(self._budgets) > _USERS:
                del self._budgets[next(iter(self._budgets))]
        return allowed


def _no_lease(error: OSError, file: FileFacts) -> str:
    if error.errno == errno.EAGAIN:
        return "somebody has it open for writing"
    if error.errno == errno.EACCES:
        return f"it belongs to uid {file.owner}, so it cannot be held still while it is read"
    return f"it cannot be held still while it is read: {error.strerror}"
