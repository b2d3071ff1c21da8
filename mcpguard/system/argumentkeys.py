"""The keys of recorded arguments: a ring of slots in one file beside the log, readable by its owner alone.

A slot is the number of a key, 8 bytes, and the key, 32. The N-th key is in slot (N - 1) modulo
`limits.ARGUMENT_KEYS`, so that the file is bounded: a new key takes the place of the oldest, which erases that one's
record. An erased slot keeps its number and has zeros for a key.

Rule 1: a key is in the file before its record is in the log; after a crash there may be a key without a record, which
does no harm. It is not synced: a loss of power may erase the last ones.
Rule 2: an erased key is overwritten in place, and that is on stable storage when `destroy` returns.

Decided: *A file of slots*; rejected: SQLite, whose journal and free pages keep what was deleted.

Cannot promise: that a disk which copies on write, a snapshot or a backup forgets a key. Leave the file out of those.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mcpguard import limits
from mcpguard.audit.sealed import KEY_BYTES, number_of, opened
from mcpguard.errors import JournalError
from mcpguard.model import JsonObject

NAME: Final = "arguments.keys"
"""Name of the file in the directory of the log."""
_SLOT: Final = struct.Struct(f">Q{KEY_BYTES}s")
_ERASED: Final = bytes(KEY_BYTES)
_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class ArgumentKeys:
    """The one writer. The file is made when the first key is drawn."""

    def __init__(self, directory: Path, *, most: int = limits.ARGUMENT_KEYS) -> None:
        self._path = directory / NAME
        self._most = most
        self._fd = -1
        self._last = 0

    def draw(self) -> tuple[int, bytes]:
        """A new key, and its number.

        Raises:
            JournalError: It cannot be kept, so nothing may be encrypted with it.
        """
        key = os.urandom(KEY_BYTES)
        try:
            self._open()
            self._put(self._last + 1, key)
        except OSError as error:
            raise JournalError(
                f"the key of recorded arguments cannot be kept: {(error.strerror or str(error)).lower()}",
                hint=f"check {self._path}",
            ) from error
        self._last += 1
        return self._last, key

    def destroy(self, numbers: Iterable[int]) -> int:
        """Erase these keys, on stable storage; how many there were. May be called in a thread while none is drawn.

        Raises:
            JournalError: Not all of them are erased.
        """
        count = 0
        try:
            self._open()
            for number in numbers:
                if 0 < number <= self._last and _slot(self._fd, number, self._most) != _ERASED:
                    self._put(number, _ERASED)
                    count += 1
            os.fdatasync(self._fd)
        except OSError as error:
            raise JournalError(
                f"not all keys are erased: {(error.strerror or str(error)).lower()}",
                hint="erase them again",
            ) from error
        return count

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        if self._fd >= 0:
            return
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
        try:
            _require_own(fd, self._path)
            size = os.fstat(fd).st_size
            if size % _SLOT.size:  # a crash cut the last one, which no record uses
                os.ftruncate(fd, size - size % _SLOT.size)
            self._last = _newest(fd, min(size // _SLOT.size, self._most))
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _put(self, number: int, key: bytes) -> None:
        data = _SLOT.pack(number, key)
        if os.pwrite(self._fd, data, (number - 1) % self._most * _SLOT.size) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class ArgumentReader:
    """Opens the arguments of records, as long as their keys are there. For verbs; the daemon may write meanwhile."""

    def __init__(self, directory: Path, *, most: int = limits.ARGUMENT_KEYS) -> None:
        self._path = directory / NAME
        self._most = most
        self._fd = -2

    def arguments(self, body: JsonObject) -> JsonObject | None:
        """What a record keeps of its arguments.

        Returns:
            None if it keeps none; `{"erased": true}` if its key is gone; else `arguments`, and `cut` if that is not
            all of them.

        Raises:
            JournalError: They are damaged, or the file of keys is not ours alone.
        """
        number = number_of(body)
        if not number:
            return None
        key = self._key(number)
        return opened(body, key) if key != _ERASED else {"erased": True}

    def kept(self, body: JsonObject) -> int:
        """The number of the key of a record whose arguments can be opened; 0 if there is nothing to open."""
        number = number_of(body)
        return number if number and self._key(number) != _ERASED else 0

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -2

    def _key(self, number: int) -> bytes:
        if self._fd == -2:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | _FLAGS)
            except FileNotFoundError:
                self._fd = -1  # the log was copied without it
            except OSError as error:
                raise JournalError(
                    f"cannot read {self._path}: {(error.strerror or str(error)).lower()}"
                ) from error
            else:
                _require_own(self._fd, self._path)
        return _slot(self._fd, number, self._most) if self._fd >= 0 else _ERASED


def _slot(fd: int, number: int, most: int) -> bytes:
    """The key of this number; zeros if it is erased, or another has its place."""
    data = os.pread(fd, _SLOT.size, (number - 1) % most * _SLOT.size)
    if len(data) < _SLOT.size:
        return _ERASED
    found, key = _SLOT.unpack(data)
    return bytes(key) if found == number else _ERASED


def _newest(fd: int, slots: int) -> int:
    """The highest number in the ring: numbers rise from the first slot to it, and are lower behind it."""
    if not slots:
        return 0
    first = _number(fd, 0)
    low, high = 0, slots - 1
    while low < high:
        middle = (low + high + 1) // 2
        if _number(fd, middle) >= first:
            low = middle
        else:
            high = middle - 1
    return _number(fd, low)


def _number(fd: int, slot: int) -> int:
    return int.from_bytes(os.pread(fd, 8, slot * _SLOT.size), "big")


def _require_own(fd: int, path: Path) -> None:
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o077:
        raise JournalError(f"{path} is not a file of this user alone", hint="check its owner and mode (0600)")
