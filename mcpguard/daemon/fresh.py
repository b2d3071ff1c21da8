"""Records that detectors have not seen yet, as bytes, between two of their looks.

Rule 1: to add costs one method call for a list of records, whatever is in them.
Rule 2: beyond a bound, calls that were allowed and answers are left out first, and counted; then whatever comes. What
was left out is in the audit log all the same.

Cost: 0.2 us to add a list; once for each batch, 0.6 us for each call that is like the one before it (timeit, CPython
3.11 on a 2-core virtual machine, `tests/bench/micro.py`).
"""

from __future__ import annotations

from typing import Final

import msgspec

MOST: Final = 2048
"""Records that are looked at in one batch."""
_ANSWER: Final = b'"type":"outcome"'
_CALL: Final = b'"type":"call"'
_ALLOWED: Final = b'"decision":"allow"'
_IDENT: Final = b',"id":'
_SIDE: Final = b',"side":'
_ARGS: Final = b',"args":{'
_SIZE: Final = b'"size":'
_NONE: Final = b"\0"
"""No text of others can hold one of the six before the last: its quotes are escaped."""


class Record(msgspec.Struct):
    """One record, or several calls that were allowed and differ in nothing but id and arguments.

    Attributes:
        at: When it came, seconds since 1970.
        seq: Its position in the log; 0 if not known.
        body: Its bytes; of several the first.
        count: How many they are.
        size: Bytes of the arguments of all of them, if they are several.
    """

    at: float
    seq: int
    body: bytes
    count: int = 1
    size: int = 0


class Batch(msgspec.Struct):
    """Records to look at.

    Attributes:
        records: In order, without answers.
        allowed: How many calls that were allowed are among them.
        skipped: Calls that were allowed and left out.
        others: Other records that were left out, answers not among them.
    """

    records: list[Record]
    allowed: int = 0
    skipped: int = 0
    others: int = 0


class Fresh:
    """What has come since the last look."""

    def __init__(self) -> None:
        self._lists: list[tuple[float, int, list[bytes]]] = []
        self._beyond: list[tuple[float, int, list[bytes]]] = []
        self._count = self._skipped = self._others = self._spilled = 0

    def __bool__(self) -> bool:
        return bool(self._count)

    def add(self, at: float, bodies: list[bytes], last: int = 0) -> None:
        """Records came; `last` is the position of the last of them, if it is known."""
        self._count += len(bodies)
        if self._count > MOST:
            self._spill(at, bodies)
        else:
            self._lists.append((at, last, bodies))

    def anchor(self, last: int) -> None:
        """Everything so far is written, and `last` is the position of the last record."""
        if self._lists and self._count <= MOST:
            self._lists.append((0.0, last, []))

    def _spill(self, at: float, bodies: list[bytes]) -> None:
        chosen = []
        for body in bodies:
            if body.startswith(_ANSWER):
                continue
            if body.startswith(_CALL) and _ALLOWED in body:
                self._skipped += 1
            elif self._spilled < MOST:
                self._spilled += 1
                chosen.append(body)
            else:
                self._others += 1
        if chosen:
            self._beyond.append((at, 0, chosen))

    def take(self) -> Batch:
        """What came, without answers; nothing of it is kept here."""
        batch = Batch([], 0, self._skipped, self._others)
        alike: dict[tuple[bytes, bytes], Record] = {}
        head = rest = _NONE  # of the last call that was allowed: the next one is like it more often than not
        same = Record(0.0, 0, b"")
        for at, first, bodies in (*self._placed(), *self._beyond):
            for number, body in enumerate(bodies):
                if body.startswith(head) and body.startswith(rest, after := body.find(b",", len(head))):
                    same.count += 1
                    same.size += _size(body, after + len(rest))
                    continue
                if body.startswith(_ANSWER):
                    continue
                seq = first + number if first else 0
                if not (body.startswith(_CALL) and _ALLOWED in body):
                    batch.records.append(Record(at, seq, body))
                    continue
                head, rest = mark = _mark(body)
                known = alike.get(mark)
                if known is None:
                    known = alike[mark] = Record(at, seq, body, 0)
                    batch.records.append(known)
                known.count += 1
                known.size += _size(body, body.find(_ARGS, len(head)))
                same = known
        batch.allowed = sum(each.count for each in alike.values())
        self._lists, self._beyond = [], []
        self._count = self._skipped = self._others = self._spilled = 0
        return batch

    def _placed(self) -> list[tuple[float, int, list[bytes]]]:
        """Each list with the position of its first record: what is not known follows from what comes after it."""
        placed: list[tuple[float, int, list[bytes]]] = []
        after = 0
        for at, last, bodies in reversed(self._lists):
            last = last or (after - 1 if after else 0)  # noqa: PLW2901
            after = last - len(bodies) + 1 if last else 0
            placed.append((at, after, bodies))
        placed.reverse()
        return placed


def _mark(body: bytes) -> tuple[bytes, bytes]:
    """What stands before a call's id, and between it and its arguments."""
    ident = body.find(_IDENT)
    return body[: ident + len(_IDENT)], body[body.find(_SIDE, ident) : body.find(_ARGS, ident) + len(_ARGS)]


def _size(body: bytes, args: int) -> int:
    """Bytes of a call's arguments, of which the record begins at `args`."""
    start = body.find(_SIZE, args) + len(_SIZE)
    try:
        return int(body[start:-1])  # nothing follows it but a brace
    except ValueError:
        return int(body[start : body.find(b",", start)])  # or the shape of the arguments
