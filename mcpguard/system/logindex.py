"""Where in the audit log are the records that somebody asks for?

Rule: nothing in the index is shown to anybody. It gives places; what stands there is read from the log, and a line
whose digest is not the one in the index makes the segment be read again.

A row has 60 to 90 bytes. Cost: see tests/bench/query.py.

Not here: whether a row is missing from an index that SQLite finds intact; who can change this file can change the
log. A reader who doubts it asks without the index. Whether the log is good: `audit.chain`.
"""

from __future__ import annotations

import os
import sqlite3
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Self

from mcpguard.audit.filters import Filter, Matcher, pattern
from mcpguard.system import indexfile
from mcpguard.system.indexing import DIGITS, KINDS, Indexing, Segment, milliseconds
from mcpguard.system.journalfiles import segment_name
from mcpguard.system.logplaces import place_of

_CHOICES: Final = 500
"""More names than this are not put into a question; the reader sorts out the rest."""
_SETTLED_NS: Final = 1_000_000_000


class Found(NamedTuple):
    """Records in the order asked for: places, digests of their lines, places of their outcome or call, or 0."""

    places: array[int]
    digests: array[int]
    others: array[int]


class Flaws(NamedTuple):
    """What in a log is no record.

    Attributes:
        unreadable: How many lines.
        first: Place of the first of them, -1 if there is none.
        torn: The newest segment, if its last line is not complete and has not been for a second; else empty.
    """

    unreadable: int
    first: int
    torn: str


class Index:
    """The index of one log, ours until it is closed.

    Args:
        directory: The log.
        home: Where indexes are kept; None makes one in memory.
        waiting: Called once if another process has it.

    Attributes:
        note: A sentence, if something about the index should be known.
        kept: Whether it is on the disk.
    """

    def __init__(self, directory: Path, home: Path | None, waiting: Callable[[], object] = int) -> None:
        self._db, self._lock, self.note = indexfile.opened(home, directory, waiting)
        self.kept = self._lock >= 0
        self._indexing = Indexing(directory, self._db)
        self.work, self.read, self.forget = self._indexing.work, self._indexing.read, self._indexing.forget

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others have it."""
        self._db.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def find(self, wanted: Filter, *, after: int = -1, newest: bool = False, most: int = -1) -> Found:
        """Places of what may be wanted.

        Whoever reads them looks at each record again: text is not looked at here, and times only to the millisecond.

        Args:
            wanted: What to look for.
            after: Only what comes after this place in the order asked for; -1: everything.
            newest: Newest first, not in the order of the log.
            most: How many at most; -1: all.
        """
        terms, values = self._terms(wanted)
        if after >= 0:
            terms.append("place < ?" if newest else "place > ?")
            values.append(after)
        return self._found(terms, values, newest=newest, most=most)

    def by_seq(self, seq: int) -> Found:
        """Records with this number; more than one only in a log that was tampered with."""
        return self._found(["seq = ?"], [seq])

    def by_digest(self, start: str) -> Found:
        """Records whose lines have digests that begin like this, as far as is remembered; hexadecimal."""
        low, high = (int(start[:DIGITS].ljust(DIGITS, fill), 16) for fill in "0f")
        return self._found(["digest BETWEEN ? AND ?"], [low, high])

    def around(self, place: int, conn: str, count: int) -> Found:
        """So many records of a connection before a place, and after it, the one there included."""
        row = self._db.execute(
            "SELECT id FROM names WHERE kind = ? AND name = ?", (KINDS["conn"], conn)
        ).fetchone()
        if row is None:
            return self._found(["place = ?"], [place])
        before = self._found(["conn = ?", "place < ?"], [row[0], place], newest=True, most=count)
        after = self._found(["conn = ?", "place >= ?"], [row[0], place], most=count + 1)
        return Found(*(array("q", [*reversed(one), *two]) for one, two in zip(before, after, strict=True)))

    def names(self, kind: str) -> list[str]:
        """Every name of a kind of `indexing.KINDS` that the log has, sorted."""
        return _names(self._db, kind)

    def flaws(self) -> Flaws:
        """What in the log is no record, as far as it is indexed."""
        rows = self._db.execute("SELECT * FROM segments ORDER BY number").fetchall()
        known = [Segment(*row) for row in rows]
        bad = [(one.unreadable, one.bad) for one in known if one.unreadable]
        bad += [(1, place_of(one.number, one.indexed)) for one in known[:-1] if one.size > one.indexed]
        torn = ""
        if known and known[-1].size > known[-1].indexed:
            changed = int(known[-1].stamp.split()[1])
            torn = segment_name(known[-1].number) if time.time_ns() - changed > _SETTLED_NS else ""
        return Flaws(sum(count for count, _ in bad), min((place for _, place in bad), default=-1), torn)

    def _found(self, terms: list[str], values: list[int], *, newest: bool = False, most: int = -1) -> Found:
        where = f" WHERE {' AND '.join(terms)}" if terms else ""
        order = "DESC" if newest else "ASC"
        question = f"SELECT place, digest, other FROM records{where} ORDER BY place {order} LIMIT ?"  # noqa: S608 - ours
        found = Found(array("q"), array("q"), array("q"))
        places, digests, others = (one.append for one in found)
        for place, digest, other in self._db.execute(question, [*values, most]):
            places(place)
            digests(digest)
            others(other)
        return found

    def _terms(self, wanted: Filter) -> tuple[list[str], list[int]]:
        """A filter as far as the index can tell, as terms of a question."""
        terms, values = list[str](), list[int]()
        if wanted.since:
            terms.append("time >= ?")
            values.append(milliseconds(wanted.since))
        if wanted.until:
            terms.append("time <= ?")
            values.append(milliseconds(wanted.until))
        tests: list[tuple[str, Callable[[str], bool]]] = []
        for kind, words in (("type", wanted.types), ("decision", wanted.decisions)):
            if words:
                tests.append((kind, frozenset(words).__contains__))
        named = (
            ("host", wanted.hosts),
            ("server", wanted.servers),
            ("target", wanted.tools),
            ("conn", wanted.conns),
        )
        tests += [(kind, pattern(patterns)) for kind, patterns in named if patterns]
        for kind, matches in tests:
            found = self._numbers(kind, matches)
            if len(found) <= _CHOICES:
                terms.append(f"{kind} IN ({_marks(found)})")
                values += found
        if wanted.principals:
            asked = Matcher(wanted)
            hosts = self._numbers("host", lambda name: asked.principal(-1, name))
            uids = [int(one.removeprefix("uid:")) for one in wanted.principals if one.startswith("uid:")]
            if len(hosts) + len(uids) <= _CHOICES:
                terms.append(f"(host IN ({_marks(hosts)}) OR uid IN ({_marks(uids)}))")
                values += [*hosts, *uids]
        return terms, values

    def _numbers(self, kind: str, matches: Callable[[str], bool]) -> list[int]:
        """Names that match; the empty one, which has no number, as 0."""
        rows = self._db.execute("SELECT id, name FROM names WHERE kind = ?", (KINDS[kind],))
        return [ident for ident, name in rows if matches(name)] + [0] * matches("")


def known_names(directory: Path, home: Path, kind: str) -> list[str]:
    """Names of a kind, for completion: from the index as it is, none if it is not at hand now."""
    opened = indexfile.at_hand(home, directory)
    if opened is None:
        return []
    try:
        return _names(opened.database, kind)
    except sqlite3.Error:
        return []
    finally:
        opened.database.close()
        os.close(opened.lock)


def _names(database: sqlite3.Connection, kind: str) -> list[str]:
    rows = database.execute("SELECT name FROM names WHERE kind = ? ORDER BY name", (KINDS[kind],))
    return [str(name) for (name,) in rows]


def _marks(values: list[int]) -> str:
    return ",".join("?" * len(values))
