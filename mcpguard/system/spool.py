"""How far a sink has the audit log, and what comes next: the log itself is the spool.

Rule 1. A place is the end of a line and the digest of that line. It holds only while that very line stands there.
Rule 2. If the newest place does not hold, because the log lost its end, an older one does; so a record may come
twice, and none is passed over.
Rule 3. Records that are gone before they were read leave a gap event with their numbers.
Rule 4. Only files are shared with the writer: it never waits for a reader.

Not here: whether the chain is good (`audit.chain`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from mcpguard import limits
from mcpguard.audit.event import Event, event_of, line_id, unsent
from mcpguard.errors import JournalError
from mcpguard.system.journalfiles import last, segment_name, segment_number, segments, unreadable


class Place(msgspec.Struct, frozen=True):
    """Behind a record.

    Attributes:
        segment: Number of the file; 0 for the beginning of the log.
        offset: Where the record ends in it, bytes.
        size: Of its line, bytes; 0 for the beginning of a file.
        id: Of its event.
        seq: Its position in the chain; 0 if the line is no record.
    """

    segment: int = 0
    offset: int = 0
    size: int = 0
    id: str = ""
    seq: int = 0


BEGINNING: Final = Place()


class Read(msgspec.Struct, frozen=True):
    """What comes next.

    Attributes:
        events: In order; a gap event may be the first.
        end: Behind the last of them.
        size: Bytes of their lines.
    """

    events: list[Event]
    end: Place
    size: int


class Spool:
    """The log in `directory`, read in batches for one sink; `sink` is what gap events call it."""

    def __init__(self, directory: Path, sink: str) -> None:
        self._directory = directory
        self._sink = sink

    def end(self) -> Place:
        """Behind the newest record; the beginning if there is no log yet.

        Raises:
            JournalError: It cannot be read.
        """
        try:
            found, path, offset = last(self._directory, 1)
        except JournalError:
            if not self._directory.exists():
                return BEGINNING
            raise
        if not found:
            return Place(segment_number(path.name))
        return Place(
            segment_number(path.name), offset, len(found[0]), line_id(found[0]), event_of(found[0]).record.seq
        )

    def read(self, trail: Sequence[Place], time: str) -> Read:
        """The next records after the newest place of `trail` that holds; none if there are none yet.

        `time`, as records have it, is that of a gap event.

        Raises:
            JournalError: There is no log, or it cannot be read.
        """
        numbers = [segment_number(path.name) for path in segments(self._directory)]
        place, missed = self._resolved(trail, numbers)
        while True:
            following = next((number for number in numbers if number > place.segment), 0)
            batch = self._batch(place, rotated=bool(following))
            if batch.events or not following:
                break
            place = Place(following, seq=place.seq)
        if not missed or not batch.events:
            return batch
        return msgspec.structs.replace(
            batch, events=[*self._gap(trail[-1], batch.events[0], missed, time), *batch.events]
        )

    def _resolved(self, trail: Sequence[Place], numbers: list[int]) -> tuple[Place, int]:
        """Where to go on, and how many files were missed; at least 1 if what is missed is not known."""
        newest = trail[-1] if trail else BEGINNING
        if newest.segment == 0:
            return Place(numbers[0]), 0
        held = next(
            (place for place in reversed(trail) if place.segment in numbers and self._holds(place)), None
        )
        if held is not None:
            return held, 0
        if newest.segment in numbers:
            return Place(newest.segment), 0
        later = [number for number in numbers if number > newest.segment]
        if later:
            return Place(later[0], seq=newest.seq), later[0] - newest.segment
        return Place(numbers[0]), 1

    def _holds(self, place: Place) -> bool:
        if not place.size:
            return True
        try:
            with self._path(place.segment).open("rb") as file:
                line = os.pread(file.fileno(), place.size, place.offset - place.size)
        except OSError as error:
            raise unreadable(self._path(place.segment), error) from error
        return len(line) == place.size and line_id(line) == place.id

    def _batch(self, place: Place, *, rotated: bool) -> Read:
        events: list[Event] = []
        size = 0
        path = self._path(place.segment)
        try:
            with path.open("rb") as file:
                file.seek(place.offset)
                while len(events) < limits.BATCH_RECORDS and size < limits.BATCH_BYTES:
                    line = _line(file, rotated=rotated)
                    if not line:
                        break
                    event = event_of(line)
                    events.append(event)
                    size += len(line)
                    offset = place.offset + len(line)
                    place = Place(place.segment, offset, len(line), event.id, event.record.seq or place.seq)
        except OSError as error:
            raise unreadable(path, error) from error
        return Read(events, place, size)

    def _gap(self, before: Place, first: Event, missed: int, time: str) -> list[Event]:
        """What was missed between a place and the record after the gap; nothing if the chain goes on there."""
        begins, ends = before.seq + 1, first.record.seq - 1
        if first.record.seq and begins == first.record.seq:
            return []
        known = before.seq and begins <= ends
        return [unsent(self._sink, begins if known else 0, ends if known else 0, missed, time)]

    def _path(self, number: int) -> Path:
        return self._directory / segment_name(number)


def _line(file: BinaryIO, *, rotated: bool) -> bytes:
    """The next line that is whole; empty if there is none yet.

    What no writer of ours leaves counts as a line as well, so that it stops nobody: one that is too long, in pieces,
    and one without an end in a segment that nobody writes any more.
    """
    line = file.readline(limits.RECORD_BYTES + 1)
    whole = line.endswith(b"\n") or len(line) > limits.RECORD_BYTES or rotated
    return line if whole else b""
