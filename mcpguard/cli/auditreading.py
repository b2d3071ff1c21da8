"""Reading the records of a log that somebody asked for, whatever state the log is in.

Rule 1. The index says where to look; what is shown is what the log says, looked at again.
Rule 2. What could not be read is counted and said on standard error, and never ends the reading.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import sqlite3
import sys
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Self, TypeVar

import click

from mcpguard.audit import facets
from mcpguard.audit.facets import Facets
from mcpguard.audit.filters import Matcher, pattern
from mcpguard.audit.record import Record, parse_line, visible
from mcpguard.cli.auditfilter import Asked
from mcpguard.errors import JournalError
from mcpguard.model import how_many
from mcpguard.system import indexfile, paths
from mcpguard.system.indexing import Todo, digest_of
from mcpguard.system.journalfiles import segment_name
from mcpguard.system.logindex import Flaws, Found, Index
from mcpguard.system.logplaces import Lines, segment_of

T = TypeVar("T")
_QUIET_BYTES: Final = 4 << 20
"""Less than this is read without a bar, bytes."""
_QUIET_RECORDS: Final = 20_000
"""Fewer are looked at without a bar."""
_FIRST: Final = 1000
"""How many places are asked for at once, at the least, when not all are wanted."""


class Hit(NamedTuple):
    """A record that is wanted: the line, what it says, and the place of its outcome or call, or 0."""

    place: int
    line: bytes
    record: Record
    facets: Facets
    other: int


class Reading:
    """One reading of a log: first `records`, then `finish`. Close it after use.

    Attributes:
        directory: The log.
        matcher: What is wanted.
        lines: The lines of the log by place.
        label: What a bar says while many records are looked at; empty: nothing shows how far that is.
        told: What `finish` has said of lines and segments that could not be read.
    """

    def __init__(self, asked: Asked) -> None:
        self.directory = asked.directory or paths.audit_dir()
        self.matcher = Matcher(asked.wanted)
        self.lines = Lines(self.directory)
        self._home = paths.index_dir() if asked.indexed else None
        self.told: list[str] = []
        self.label = ""
        self._memory: Index | None = None
        self._mended: set[int] = set()
        self._gone: set[int] = set()
        self._flaws = Flaws(0, -1, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.lines.close()
        if self._memory is not None:
            self._memory.close()

    def ask(self, question: Callable[[Index], T], *, stale: int = -1) -> T:
        """Ask the index, brought up to date before; one that turns out damaged is made again.

        `stale` is the number of a segment that must be read anew.

        Raises:
            JournalError: There is no log, or it cannot be read.
        """
        try:
            return self._ask(question, stale)
        except (sqlite3.Error, TypeError, OverflowError, ValueError) as error:
            if self._memory is not None or self._home is None:
                raise JournalError(f"the index of the log fails: {error}") from error
            note("the index of the log is damaged; it is made again")
        try:
            indexfile.remove(self._home, self.directory)
            return self._ask(question, -1)
        except (sqlite3.Error, OSError) as error:
            note(f"no index of the log is kept ({str(error).lower()}), so the whole log is read")
            self._home = None
            return self._ask(question, -1)

    def _ask(self, question: Callable[[Index], T], stale: int) -> T:
        index = self._memory or Index(self.directory, self._home, _waiting)
        if index.kept:
            with index:
                return self._answer(index, question, stale)
        self._memory = index  # made once for this reading
        return self._answer(index, question, stale)

    def _answer(self, index: Index, question: Callable[[Index], T], stale: int) -> T:
        if index.note:
            note(index.note)
            index.note = ""
        if stale >= 0:
            index.forget([stale])
        todo = index.work()
        with _bar(todo, "indexing" if index.kept else "reading") as advance:
            index.read(todo, advance)
        self._flaws = index.flaws()
        return question(index)

    def records(self, *, newest: bool = False, most: int = -1) -> Iterator[Hit]:
        """What is wanted, in the order of the log or newest first; `most`: how many will be taken, -1 for all.

        Raises:
            JournalError: There is no log, or it cannot be read.
        """
        after, page = -1, max(_FIRST, 4 * most) if most >= 0 else -1
        stale = -1
        while True:
            question = functools.partial(
                Index.find, wanted=self.matcher.wanted, after=after, newest=newest, most=page
            )
            found = self.ask(question, stale=stale)
            stale = -1
            for hit in self._hits(found):
                if isinstance(hit, int):
                    stale = segment_of(hit)
                    break
                after = hit.place
                yield hit
            else:
                if page < 0 or len(found.places) < page:
                    return
                after, page = found.places[-1], -1

    def at(self, question: Callable[[Index], Found]) -> Iterator[Hit]:
        """The records at places that the index names, all of them wanted.

        Raises:
            JournalError: There is no log, or it cannot be read.
        """
        stale = -1
        while True:
            hits = list(self._hits(self.ask(question, stale=stale)))
            if not hits or isinstance(hits[-1], Hit):
                return iter([hit for hit in hits if isinstance(hit, Hit)])
            stale = segment_of(hits[-1])

    def _hits(self, found: Found) -> Iterator[Hit | int]:
        """Records at places; a place alone, and nothing after it, where the index is wrong about the log."""
        with _counter(len(found.places), self.label) as advance:
            for place, digest, other in zip(*found, strict=True):
                advance(1)
                if (hit := self._looked(place, digest, other)) is not None:
                    yield hit
                    if isinstance(hit, int):
                        return

    def _looked(self, place: int, digest: int, other: int) -> Hit | int | None:
        """The record at a place, if it is wanted; the place itself if the index is wrong about it."""
        line = self.lines.line(place)
        if line is None:
            self._gone.add(segment_of(place))
            return None
        if digest_of(line) == digest:
            return self._hit(place, line, other) if self.matcher.may(line) else None
        if segment_of(place) in self._mended:
            return None  # it changes while we read; what it was is not there to be shown
        self._mended.add(segment_of(place))
        self.lines.close()
        note(f"the index did not agree with {segment_name(segment_of(place))}, which is read again")
        return place

    def _hit(self, place: int, line: bytes, other: int) -> Hit | None:
        try:
            record = parse_line(line)
        except JournalError:
            return None  # it is counted among the flaws
        found = facets.of(record)
        return Hit(place, line, record, found, other) if self.matcher.matches(record.time, found) else None

    def other(self, hit: Hit) -> Hit | None:
        """The outcome of a call, or the call of an outcome; None if there is none.

        Raises:
            JournalError: The segment cannot be read.
        """
        if not hit.other or not (line := self.lines.line(hit.other)):
            return None
        try:
            record = parse_line(line)
        except JournalError:
            return None
        found = facets.of(record)
        kinds = {found.type, hit.facets.type}
        if found.key != hit.facets.key or kinds != {"call", "outcome"}:
            return None
        return Hit(hit.other, line, record, found, hit.place)

    def finish(self, count: int, *, asked_for: bool = True) -> None:
        """Say on standard error what could not be read, and, if there was nothing, why that may be."""
        self.told += flaws_told(self._flaws, self.lines)
        if self._gone:
            names = ", ".join(segment_name(number) for number in sorted(self._gone))
            self.told.append(f"deleted while the log was read, and not shown: {names}")
        for sentence in self.told:
            note(sentence)
        if not count and asked_for:
            note("no record matches" + self.ask(self._why))

    def known_types(self) -> None:
        """Refuse a type that neither this version writes nor this log has.

        Raises:
            UsageError: There is one.
        """
        asked = set(self.matcher.wanted.types) - set(facets.TYPES)
        if asked:
            known = sorted({*facets.TYPES, *self.ask(lambda index: index.names("type"))})
            for word in sorted(asked - set(known)):
                raise click.UsageError(f"{word!r} is no type of record; types are: {', '.join(known)}")

    def _why(self, index: Index) -> str:
        """What was asked for by name that is nowhere in the log."""
        wanted = self.matcher.wanted
        for kind, word, patterns in (
            ("host", "host", wanted.hosts),
            ("server", "server", wanted.servers),
            ("target", "tool", wanted.tools),
            ("conn", "connection", wanted.conns),
        ):
            names = index.names(kind)
            for one in patterns:
                if not any(map(pattern((one,)), names)):
                    near = difflib.get_close_matches(one, names, n=1)
                    hint = f"; did you mean {near[0]}?" if near else ""
                    return f": no {word} in this log is called {one}{hint}"
        return ""


def flaws_told(flaws: Flaws, lines: Lines) -> Iterator[str]:
    """What in the log is no record, in sentences."""
    if flaws.unreadable:
        place = str(lines.path(flaws.first))
        with contextlib.suppress(JournalError):
            place += f":{lines.number(flaws.first)}"
        lost = how_many(flaws.unreadable, "line")
        yield f"{lost} of the log cannot be read and not be shown, first {place}; see: mcpguard audit verify"
    if flaws.torn:
        yield f"the last line of {flaws.torn} is not complete, as a crash leaves it; see: mcpguard audit verify"


def note(sentence: str) -> None:
    """Say something beside the answer."""
    click.echo(f"mcpguard: {visible(sentence)}", err=True)


def _waiting() -> None:
    note("waiting for another process that has the index of the log")


@contextlib.contextmanager
def _bar(todo: list[Todo], label: str) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal where there is much to read."""
    total = 0
    for one in todo:
        with contextlib.suppress(OSError):
            total += one.path.stat().st_size - one.start
    if total < _QUIET_BYTES or not sys.stderr.isatty():
        yield int
        return
    with click.progressbar(length=total, label=label, file=sys.stderr, update_min_steps=1 << 20) as shown:
        yield shown.update


@contextlib.contextmanager
def _counter(total: int, label: str) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal where many records are looked at."""
    if not label or total < _QUIET_RECORDS or not sys.stderr.isatty():
        yield int
        return
    with click.progressbar(length=total, label=label, file=sys.stderr, update_min_steps=2000) as shown:
        yield shown.update
