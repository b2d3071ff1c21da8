"""Where a record stands in a log, as one number, and the line that stands there now.

A place is the number of the segment and the offset in it, so that places are in the order of the log.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from mcpguard import limits
from mcpguard.system.journalfiles import segment_name, unreadable

_OFFSET_BITS: Final = 33
SEGMENT_BYTES: Final = 1 << _OFFSET_BITS
"""What of a segment can be pointed at, bytes; `limits.JOURNAL_BYTES` is far below."""
_WINDOW: Final = 256 * limits.KIB
_STEP: Final = 4 * limits.KIB


def place_of(number: int, offset: int) -> int:
    """The place at an offset of a segment."""
    return number << _OFFSET_BITS | offset


def segment_of(place: int) -> int:
    """The number of the segment of a place."""
    return place >> _OFFSET_BITS


def offset_of(place: int) -> int:
    """The offset of a place in its segment, bytes."""
    return place & (SEGMENT_BYTES - 1)


class Lines:
    """Reads lines by place; what lies near what was read last costs no system call. Close it after use."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._number, self._fd = 0, -1
        self._start, self._data = 0, b""

    def close(self) -> None:
        """Let go of the open segment."""
        if self._fd >= 0:
            os.close(self._fd)
        self._number, self._fd, self._data = 0, -1, b""

    def path(self, place: int) -> Path:
        """The segment of a place."""
        return self.directory / segment_name(segment_of(place))

    def line(self, place: int) -> bytes | None:
        """The line that begins at a place, with its LF; `b""` if no complete one does; None: the segment is gone.

        Raises:
            JournalError: The segment cannot be read.
        """
        try:
            if segment_of(place) != self._number and not self._open(place):
                return None
            return self._line(offset_of(place))
        except OSError as error:
            raise unreadable(self.path(place), error) from error

    def number(self, place: int) -> int:
        """The number of the line at a place in its segment, from 1.

        Raises:
            JournalError: The segment cannot be read.
        """
        count, left = 1, offset_of(place)
        try:
            with self.path(place).open("rb") as file:
                while left and (data := file.read(min(left, 1 << 20))):
                    count, left = count + data.count(b"\n"), left - len(data)
        except OSError as error:
            raise unreadable(self.path(place), error) from error
        return count

    def _open(self, place: int) -> bool:
        self.close()
        try:
            self._fd = os.open(self.path(place), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._number = segment_of(place)
        return True

    def _line(self, offset: int) -> bytes:
        at = offset - self._start
        end = self._data.find(b"\n", at) if 0 <= at < len(self._data) else -1
        if end < 0:
            self._fill(offset)
            at, end = offset - self._start, self._data.find(b"\n", offset - self._start)
        if end < 0 or end - at >= limits.RECORD_BYTES or (at and self._data[at - 1] != 0x0A):
            return b""
        return self._data[at : end + 1]

    def _fill(self, offset: int) -> None:
        """Read what lies around an offset: mostly behind it when places rise, mostly before it when they fall."""
        back = _WINDOW - _STEP - limits.RECORD_BYTES if offset < self._start else 1
        self._start = max(0, offset - back)
        self._data = os.pread(self._fd, offset - self._start + _STEP + limits.RECORD_BYTES, self._start)
        if back == 1:
            self._data = self._data + os.pread(self._fd, _WINDOW, self._start + len(self._data))
