"""Bringing the index of the audit log up to date: which segments have changed, and what their lines are about.

Rule 1. A segment that grew or was touched is read from where the index ends, if all that is indexed of it still has
the same digest; one that changed in any other way is read anew; one that is gone vanishes from the index, and the
names that only it had.
Rule 2. A batch is stored whole or not at all, so that whoever is interrupted loses one batch.

Cost: a segment that a daemon writes has its indexed part hashed once for each question, 44 ms for 64 MiB.

Decided: *a call and its outcome point at each other from when they are indexed*; looking each up while reading would
need an index on connections that is larger than the rest.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from mcpguard import limits
from mcpguard.audit import facets
from mcpguard.audit.record import parse_line
from mcpguard.errors import JournalError
from mcpguard.system import journalfiles
from mcpguard.system.logplaces import SEGMENT_BYTES, place_of

COLUMNS: Final = ("type", "server", "host", "target", "decision", "conn")
KINDS: Final = {name: number for number, name in enumerate(COLUMNS, 1)}
"""What names are of, and the number that says so in the index."""
_CHECK_BYTES: Final = 6
DIGITS: Final = 2 * _CHECK_BYTES
"""Hexadecimal digits of the SHA-256 of a line that the index remembers."""
_CHUNK: Final = 1 << 20
_BATCH: Final = 20_000
_PENDING: Final = 100_000
"""Calls without an outcome that are remembered; of older ones the outcome stands alone."""
_NAMES: Final = 50_000
_SIDES: Final = {"host": 1, "server": 2}
_OTHER: Final = 13  # place of `other` in a row
_INSERT: Final = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_UNUSED: Final = (
    "DELETE FROM names WHERE id NOT IN (SELECT type FROM records UNION SELECT server FROM records UNION SELECT host "
    "FROM records UNION SELECT target FROM records UNION SELECT decision FROM records UNION SELECT conn FROM records)"
)

_Key = tuple[int, int, int]


class Segment(NamedTuple):
    """What the index knows of a segment.

    Attributes:
        number: Of the segment.
        stamp: Size, times of change, inode when it was read; `-1` comes first while it has not been read to its end.
        indexed: Where the lines that are indexed end, bytes.
        digest: SHA-256 of everything up to there, hex.
        unreadable: Lines that are no records.
        bad: Place of the first of those.
    """

    number: int
    stamp: str
    indexed: int
    digest: str
    unreadable: int
    bad: int

    @property
    def size(self) -> int:
        """Bytes of the segment when it was read, -1 if it was not read to its end."""
        return int(self.stamp.split(maxsplit=1)[0])


class Todo(NamedTuple):
    """A segment that must be read, from where, and the SHA-256 of what is before that."""

    path: Path
    start: int
    hashed: hashlib._Hash


def digest_of(line: bytes) -> int:
    """What the index remembers of a line, LF included: the beginning of its SHA-256."""
    return int.from_bytes(hashlib.sha256(line).digest()[:_CHECK_BYTES])


def milliseconds(time: str) -> int:
    """`2026-11-22T18:00:00.123456Z` as the number 20261122180000123, which has the same order."""
    return int(time[:4] + time[5:7] + time[8:10] + time[11:13] + time[14:16] + time[17:19] + time[20:23])


class Indexing:
    """Writes into the database of an index, which has the tables of `indexfile`."""

    def __init__(self, directory: Path, database: sqlite3.Connection) -> None:
        self._directory = directory
        self._db = database
        self._ids: dict[tuple[int, str], int] = {}

    def work(self) -> list[Todo]:
        """Segments that must be read; those that are gone are forgotten now.

        Raises:
            JournalError: There is no log, or it cannot be read.
            sqlite3.Error: The index is damaged.
        """
        known = {row[0]: Segment(*row) for row in self._db.execute("SELECT * FROM segments")}
        todo, there = list[Todo](), set[int]()
        for path in journalfiles.segments(self._directory):
            number = journalfiles.segment_number(path.name)
            try:
                with path.open("rb") as file:
                    todo += _todo(path, file.fileno(), known.get(number))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise journalfiles.unreadable(path, error) from error
            there.add(number)
        again = {journalfiles.segment_number(one.path.name) for one in todo if not one.start}
        self.forget([*(again & known.keys()), *(known.keys() - there)])
        return todo

    def read(self, todo: list[Todo], advance: Callable[[int], object] = int) -> None:
        """Read what `work` has named; `advance` is told the bytes.

        Raises:
            JournalError: A segment cannot be read.
            sqlite3.Error: The index is damaged, or its disk is full.
        """
        pending = self._pending() if todo else {}
        for one in todo:
            try:
                _Reading(self._db, self.name, pending, one).read(advance)
            except FileNotFoundError:
                continue  # retention was faster
            except OSError as error:
                raise journalfiles.unreadable(one.path, error) from error

    def forget(self, numbers: Iterable[int]) -> None:
        """Drop segments, their rows, and the names that nothing else has."""
        numbers = list(numbers)
        with self._db:
            for number in numbers:
                ends = (place_of(number, 0), place_of(number + 1, 0))
                self._db.execute("DELETE FROM records WHERE place >= ? AND place < ?", ends)
                self._db.execute("UPDATE records SET other = 0 WHERE other >= ? AND other < ?", ends)
                self._db.execute("DELETE FROM segments WHERE number = ?", (number,))
            if numbers:
                self._db.execute(_UNUSED)
        self._ids.clear()

    def name(self, kind: str, name: str) -> int:
        """The number of a name, made if there is none; 0 for the empty one."""
        if not name:
            return 0
        key = (KINDS[kind], name)
        found = self._ids.get(key)
        if found is None:
            if len(self._ids) >= _NAMES:
                self._ids.clear()
            self._db.execute("INSERT OR IGNORE INTO names (kind, name) VALUES (?, ?)", key)
            (found,) = self._db.execute("SELECT id FROM names WHERE kind = ? AND name = ?", key).fetchone()
            self._ids[key] = found
        return found

    def _pending(self) -> dict[_Key, int]:
        """Calls without an outcome so far, oldest first."""
        rows = self._db.execute(
            "SELECT conn, side, ident, place FROM records WHERE other = 0 AND ident > 0 AND type = ? "
            "ORDER BY place DESC LIMIT ?",
            (self.name("type", "call"), _PENDING),
        ).fetchall()
        return {(conn, side, ident): place for conn, side, ident, place in reversed(rows)}


class _Reading:
    """Puts the lines of one segment into the index, batch by batch."""

    def __init__(
        self,
        database: sqlite3.Connection,
        name: Callable[[str, str], int],
        pending: dict[_Key, int],
        todo: Todo,
    ) -> None:
        self._db = database
        self._name = name
        self._pending = pending
        self._path, self._start, self._hashed = todo
        self._number = journalfiles.segment_number(self._path.name)
        self._rows: list[list[int]] = []
        self._numbers: dict[tuple[str, ...], tuple[int, ...]] = {}
        self._at: dict[int, int] = {}  # place of a call -> its row in this batch
        self._met: list[tuple[int, int]] = []  # outcomes of calls of earlier batches
        self._unreadable, self._bad = 0, 0

    def read(self, advance: Callable[[int], object]) -> None:
        """Read complete lines from where the index ends to where the segment ends now. Foreign `OSError` passes."""
        row = self._db.execute("SELECT * FROM segments WHERE number = ?", (self._number,)).fetchone()
        if row is not None and self._start:
            known = Segment(*row)
            self._unreadable, self._bad = known.unreadable, known.bad
        with self._path.open("rb") as file:
            info = os.fstat(file.fileno())
            if info.st_size >= SEGMENT_BYTES:
                raise JournalError(f"{self._path} is no segment of an audit log: {info.st_size} bytes")
            offset = file.seek(self._start)
            while offset < info.st_size and (line := file.readline(limits.RECORD_BYTES + 1)):
                if not line.endswith(b"\n") and len(line) <= limits.RECORD_BYTES:
                    break  # it is being written, or a crash has cut it
                self._take(offset, line)
                self._hashed.update(line)
                offset += len(line)
                advance(len(line))
                if len(self._rows) >= _BATCH:
                    self._store("-1", offset)
            self._store(_stamp(info), offset)

    def _take(self, offset: int, line: bytes) -> None:
        place = place_of(self._number, offset)
        try:
            record = parse_line(line)
            found, at = facets.of(record), milliseconds(record.time)
        except (JournalError, ValueError):
            self._bad = self._bad if self._unreadable else place
            self._unreadable += 1
            return
        words = (found.type, found.server, found.host, found.target, found.decision, found.conn)
        numbers = self._numbers.get(words)
        if numbers is None:
            if len(self._numbers) >= _NAMES:
                self._numbers.clear()
            numbers = self._numbers[words] = tuple(map(self._name, COLUMNS, words))
        kind, server, host, target, decision, conn = numbers
        side = _SIDES.get(found.side, 0)
        other = self._paired(found.type, (conn, side, found.ident), place) if found.ident > 0 else 0
        self._rows.append([
            place, record.seq, digest_of(line), at, kind, server, host, found.uid, target, decision, conn, side,
            found.ident, other,
        ])  # fmt: skip

    def _paired(self, kind: str, key: _Key, place: int) -> int:
        """Remember a call; find that of an outcome, and point it here. The place of the call, or 0."""
        if kind == "call":
            if len(self._pending) >= 2 * _PENDING:
                self._pending.clear()
            self._pending[key] = place
            self._at[place] = len(self._rows)
        elif kind == "outcome" and (call := self._pending.pop(key, 0)):
            if (row := self._at.get(call)) is not None:
                self._rows[row][_OTHER] = place
            else:
                self._met.append((place, call))
            return call
        return 0

    def _store(self, stamp: str, indexed: int) -> None:
        known = Segment(self._number, stamp, indexed, self._hashed.hexdigest(), self._unreadable, self._bad)
        with self._db:
            self._db.executemany(_INSERT, self._rows)
            self._db.executemany("UPDATE records SET other = ? WHERE place = ?", self._met)
            self._db.execute("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?)", known)
        self._rows.clear()
        self._at.clear()
        self._met.clear()


def _stamp(info: os.stat_result) -> str:
    """What changes when a segment does."""
    return f"{info.st_size} {info.st_mtime_ns} {info.st_ctime_ns} {info.st_ino}"


def _todo(path: Path, descriptor: int, known: Segment | None) -> list[Todo]:
    """What must be read of a segment: nothing, what is behind the indexed part, or all."""
    info = os.fstat(descriptor)
    if known is not None and known.stamp == _stamp(info):
        return []
    hashed = hashlib.sha256()
    if known is None or info.st_size < known.indexed:
        return [Todo(path, 0, hashed)]
    left = known.indexed
    while left and (data := os.pread(descriptor, min(left, _CHUNK), known.indexed - left)):
        hashed.update(data)
        left -= len(data)
    if hashed.hexdigest() == known.digest:
        return [Todo(path, known.indexed, hashed)]
    return [Todo(path, 0, hashlib.sha256())]
