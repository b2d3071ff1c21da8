"""A small value on disk in two copies, so that a write that is cut leaves one of them whole.

Each copy has a sector of its own to begin with, a checksum in front, and a fixed size: writing takes no new space, so
it works on a full disk. Nothing is synced here but by `sync`.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

SLOT_BYTES: Final = 4096
"""Size of one copy, bytes."""
_SUM_BYTES: Final = 64
_VALUE_BYTES: Final = SLOT_BYTES - _SUM_BYTES - 2


class Slots:
    """The two copies in an open file. Owns the descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._turn = 0

    def write(self, value: bytes) -> None:
        """Overwrite the copy that was not written last.

        Raises:
            OSError: It is not written.
        """
        self._put(framed(value), self._turn * SLOT_BYTES)
        self._turn ^= 1

    def write_both(self, value: bytes) -> None:
        """Overwrite both copies with one write, so that nothing older is left.

        Raises:
            OSError: They are not written.
        """
        self._put(framed(value) * 2, 0)

    def read(self) -> list[bytes]:
        """The whole copies."""
        return whole(os.pread(self._fd, 2 * SLOT_BYTES, 0))

    def spare(self, value: bytes) -> None:
        """The copy with this value is the one to keep at the next `write`."""
        data = os.pread(self._fd, SLOT_BYTES, 0)
        self._turn = 1 if data == framed(value) else 0

    def sync(self) -> None:
        """Wait until what was written is on stable storage.

        Raises:
            OSError: It may not be there.
        """
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _put(self, data: bytes, place: int) -> None:
        if os.pwrite(self._fd, data, place) != len(data):
            raise OSError(f"short write of {len(data)} bytes")


def whole(data: bytes) -> list[bytes]:
    """The copies in a file's content whose checksum is right."""
    found = []
    for place in (0, SLOT_BYTES):
        slot = data[place : place + SLOT_BYTES]
        value = slot[_SUM_BYTES + 1 :].rstrip(b" \n")
        if len(slot) == SLOT_BYTES and len(value) <= _VALUE_BYTES and slot == framed(value):
            found.append(value)
    return found


def framed(value: bytes) -> bytes:
    """Checksum, value and padding."""
    if len(value) > _VALUE_BYTES:
        raise ValueError(f"{len(value)} bytes do not fit")
    head = hashlib.sha256(value).hexdigest().encode() + b" " + value
    return head.ljust(SLOT_BYTES - 1) + b"\n"
