"""Segments of the audit log, as a reader sees them: in order, line by line, forward, backward, and following.

A segment is `audit-NNNNNN.jsonl`. Lines come with their LF. The last line of the newest segment may come without one:
it is being written, or a crash has cut it. No line is read further than one byte past `limits.RECORD_BYTES`.

Not here: whether what was read is good; see `audit.chain`.
"""

from __future__ import annotations

import mmap
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from mcpguard import limits
from mcpguard.audit.record import Record, parse_line
from mcpguard.errors import JournalError

POLL_SECONDS: Final = 0.2
"""How often a follower looks for more, seconds."""

_NAME = re.compile(r"audit-([0-9]{6,9})\.jsonl")
_BLOCK: Final = 256 * limits.KIB


class Tail(NamedTuple):
    """The end of a segment: its last two complete lines (`b""` if there are fewer), and what follows them.

    `size` is where `torn` begins, bytes: the good part of the segment, if the last line is good.
    """

    before: bytes
    last: bytes
    torn: bytes
    size: int


def segment_name(number: int) -> str:
    """File name of a segment."""
    return f"audit-{number:06d}.jsonl"


def segment_number(name: str) -> int:
    """Number of a segment, 0 if the name is none."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match and segment_name(int(match[1])) == name else 0


def segments(directory: Path) -> list[Path]:
    """Segments of a log, oldest first.

    Raises:
        JournalError: There is no log, or it cannot be read.
    """
    try:
        names = [name for name in os.listdir(directory) if segment_number(name)]  # noqa: PTH208 - names only
    except FileNotFoundError as error:
        raise JournalError(f"no audit log at {directory}", hint="nothing has been recorded yet") from error
    except OSError as error:
        raise unreadable(directory, error) from error
    if not names:
        raise JournalError(f"no audit log at {directory}", hint="nothing has been recorded yet")
    return [directory / name for name in sorted(names, key=segment_number)]


def unreadable(path: Path, error: OSError) -> JournalError:
    """The sentence for a segment or directory that cannot be read."""
    return JournalError(f"the audit log at {path} cannot be read: {(error.strerror or str(error)).lower()}")


def lines(path: Path, progress: Callable[[int], object] = int) -> Iterator[bytes]:
    """Lines of one segment from its start; `progress` is told the bytes of each.

    Raises:
        JournalError: The segment cannot be read.
    """
    try:
        with path.open("rb") as file:
            while line := _settled(file):
                progress(len(line))
                yield line
    except OSError as error:
        raise unreadable(path, error) from error


def _settled(file: BinaryIO) -> bytes:
    """The next line; one that is incomplete is given one poll to be completed by a living writer."""
    line = file.readline(limits.RECORD_BYTES + 1)
    if not line or line.endswith(b"\n") or len(line) > limits.RECORD_BYTES:
        return line
    time.sleep(POLL_SECONDS)
    file.seek(-len(line), os.SEEK_CUR)
    return file.readline(limits.RECORD_BYTES + 1)


def last(directory: Path, count: int) -> tuple[list[bytes], Path, int]:
    """The last complete lines of a log, over segments, and where to follow from: segment and offset in bytes.

    Raises:
        JournalError: There is no log, or it cannot be read.
    """
    found: list[bytes] = []
    paths = segments(directory)
    end = -1
    for path in reversed(paths):
        try:
            block, size = _last_of(path, count - len(found))
        except OSError as error:
            raise unreadable(path, error) from error
        end = size if end < 0 else end
        found = block + found
        if len(found) >= count:
            break
    return found, paths[-1], end


def latest(directory: Path, kind: str, most: int = 8) -> Record | None:
    """The newest record of a type in the newest `most` segments; None if there is none.

    Raises:
        JournalError: A segment cannot be read.
    """
    wanted = b'"type":"%b"' % kind.encode()
    for path in reversed(segments(directory)[-most:]):
        try:
            with path.open("rb") as file:
                found = _latest_of(file, wanted, kind) if _size(path) else None
        except OSError as error:
            raise unreadable(path, error) from error
        if found is not None:
            return found
    return None


def _latest_of(file: BinaryIO, wanted: bytes, kind: str) -> Record | None:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place = len(data)
        while (place := data.rfind(wanted, 0, place)) >= 0:
            start, end = data.rfind(b"\n", 0, place) + 1, data.find(b"\n", place)
            if end > 0 and (record := parse_line(data[start:end])).type == kind:
                return record
    return None


def _last_of(path: Path, count: int) -> tuple[list[bytes], int]:
    """At most `count` last complete lines of a segment, and where they end."""
    with path.open("rb") as file:
        start = file.seek(0, os.SEEK_END)
        data = b""
        while start and data.count(b"\n") <= count:
            step = min(_BLOCK, start)
            start = file.seek(start - step)
            data = file.read(step) + data
        end = start + data.rfind(b"\n") + 1
    complete = _split(data)
    return complete[max(0, len(complete) - max(0, count)) :], end


def _split(data: bytes) -> list[bytes]:
    """Complete lines; LF alone ends one."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]]


def follow(directory: Path, path: Path, offset: int) -> Iterator[bytes]:
    """Complete lines from an offset on, for ever, from segment to segment, polling.

    A burst that its writer took back, because the disk was full, may have been seen: reading goes on before it.

    Raises:
        JournalError: A segment cannot be read.
    """
    while True:
        offset = min(offset, _size(path))
        following = directory / segment_name(segment_number(path.name) + 1)
        rotated = following.exists()  # asked before reading: what is written after it goes there
        for line in _more(path, offset):
            offset += len(line)
            yield line
        if rotated:
            path, offset = following, 0
        else:
            time.sleep(POLL_SECONDS)


def _size(path: Path) -> int:
    """Bytes of a segment."""
    try:
        return path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error


def _more(path: Path, offset: int) -> Iterator[bytes]:
    """Complete lines of a segment behind an offset, now."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            while (line := file.readline(limits.RECORD_BYTES + 1)).endswith(b"\n"):
                yield line
    except OSError as error:
        raise unreadable(path, error) from error


def tail(fd: int) -> Tail:
    """The end of the segment behind an open descriptor. Foreign `OSError` passes: the journal names it.

    Raises:
        JournalError: The end holds something longer than two records and a torn one.
    """
    size = os.fstat(fd).st_size
    window = min(size, 4 * limits.RECORD_BYTES)
    data = b""
    while len(data) < window:
        chunk = os.pread(fd, window - len(data), size - window + len(data))
        if not chunk:
            raise JournalError("the segment became shorter while it was read")
        data += chunk
    torn = data.rpartition(b"\n")[2]
    if len(torn) > limits.RECORD_BYTES:
        raise JournalError("the last line is longer than a record may be")
    whole = _split(data)
    if window < size and len(whole) < 3:
        raise JournalError("the last lines are longer than a record may be")
    return Tail(
        whole[-2] if len(whole) > 1 else b"",
        whole[-1] if whole else b"",
        torn,
        size - len(torn),
    )
