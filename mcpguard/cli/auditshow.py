"""`mcpguard audit show`: one record, and what belongs to it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import click
import msgspec

from mcpguard.audit.filters import Filter
from mcpguard.audit.record import harmless, visible
from mcpguard.cli.audit import errors_told
from mcpguard.cli.auditfilter import Asked, unfiltered
from mcpguard.cli.auditreading import Hit, Reading, note
from mcpguard.cli.recordwords import Painter, colour_wanted, local, text
from mcpguard.errors import JournalError
from mcpguard.model import JsonObject
from mcpguard.system.argumentkeys import ArgumentReader

_SEQ: Final = re.compile(r"[1-9][0-9]{0,17}")
_DIGEST: Final = re.compile(r"(?:sha256:)?([0-9a-f]{8,64})")
_MOST: Final = 100
"""Records of one ticket that are shown."""


class _Belonging(NamedTuple):
    """What belongs to a record: its outcome or call, the records of its ticket, its neighbours."""

    other: Hit | None
    ticket: list[Hit]
    around: list[Hit]


@click.command()
@click.argument("name", metavar="SEQ|EVENT-ID")
@unfiltered
@click.option(
    "--around",
    type=click.IntRange(0, 1000),
    default=0,
    help="So many records of its connection before and after.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(name: str, asked: Asked, around: int, as_json: bool) -> None:
    """Show one record in full, with its outcome or its call, and the questions to people about it.

    SEQ is its number. EVENT-ID is the SHA-256 of its line, or the first 8 or more digits: the id that exports have,
    what the next record has as `prev`, and what `audit verify` prints of the last record.

    DIRECTORY is a log elsewhere, such as a copy.
    """
    with errors_told(), Reading(asked) as reading:
        found = _found(reading, name)
        if not found:
            raise JournalError(f"no record {visible(name)} in the log at {reading.directory}")
        if len(found) > 1:
            note(f"{len(found)} records are called {name}; see: mcpguard audit verify")
        for hit in found:
            belonging = _belonging(reading, hit, around)
            if as_json:
                click.echo(harmless(msgspec.json.encode(_as_json(reading, hit, belonging))))
            else:
                for line in _in_words(reading, hit, belonging):
                    click.echo(line, color=True)


def _found(reading: Reading, name: str) -> list[Hit]:
    """Records by number, else by digest; a number is a number first.

    Raises:
        UsageError: It is neither.
    """
    found = list[Hit]()
    if _SEQ.fullmatch(name):
        seq = int(name)
        hits = reading.at(lambda index: index.by_seq(seq))
        found = [hit for hit in hits if hit.record.seq == seq]
    digest = _DIGEST.fullmatch(name)
    if not found and digest is not None:
        start = digest[1]
        hits = reading.at(lambda index: index.by_digest(start))
        found = [hit for hit in hits if hashlib.sha256(hit.line).hexdigest().startswith(start)]
    if digest is None and not _SEQ.fullmatch(name):
        raise click.UsageError(
            f"{name!r} is neither the number of a record nor 8 or more digits of its SHA-256"
        )
    return found


def _belonging(reading: Reading, hit: Hit, around: int) -> _Belonging:
    other = reading.other(hit)
    call = hit if hit.facets.type == "call" else other
    ticket = hit.record.body.get("ticket") or (call.record.body.get("approval") if call else None)
    told = list[Hit]()
    if isinstance(ticket, str) and ticket:
        wanted = Filter(types=("approval",))
        for one in reading.at(lambda index: index.find(wanted, newest=True)):
            if one.record.body.get("ticket") == ticket and one.place != hit.place and len(told) < _MOST:
                told.append(one)
    near = list[Hit]()
    if around and hit.facets.conn:
        near = list(reading.at(lambda index: index.around(hit.place, hit.facets.conn, around)))
    return _Belonging(other, told[::-1], near)


def _where(reading: Reading, hit: Hit) -> str:
    return f"{reading.lines.path(hit.place)}:{reading.lines.number(hit.place)}"


def _in_words(reading: Reading, hit: Hit, belonging: _Belonging) -> Iterator[str]:
    arguments, record = ArgumentReader(reading.directory).arguments, hit.record
    painter = Painter(colour=colour_wanted(), arguments=arguments)
    yield painter.line(hit.line)
    yield ""
    for name, value in (
        ("number", str(record.seq)),
        ("time", f"{local(record.time)} here, {record.time}"),
        ("place", _where(reading, hit)),
        ("sha256", hashlib.sha256(hit.line).hexdigest()),
        ("boot", record.boot),
    ):
        yield f"{name:<10} {visible(value)}"
    yield from _members(record.body)
    if belonging.other is not None:
        yield ""
        yield "its outcome" if hit.facets.type == "call" else "its call"
        yield f"  {belonging.other.record.seq:>9}  {painter.line(belonging.other.line)}"
    elif hit.facets.type == "call" and hit.facets.ident > 0:
        yield ""
        yield "its outcome is not in the log: the call runs, or what came of it is not known"
    for title, hits in (("its ticket", belonging.ticket), ("on its connection", belonging.around)):
        if hits:
            yield ""
            yield title
            for one in hits:
                mark = ">" if one.place == hit.place else " "
                yield f"{mark} {one.record.seq:>9}  {painter.line(one.line)}"
    yield ""
    yield harmless(hit.line)


def _members(body: JsonObject) -> Iterator[str]:
    """Every member of a body, those of the host on lines of their own."""
    for name, value in body.items():
        if isinstance(value, dict) and value:
            yield visible(name)
            for inner, item in value.items():
                yield f"  {visible(str(inner)):<8} {text(item)}"
        else:
            yield f"{visible(name):<10} {text(value)}"


def _as_json(reading: Reading, hit: Hit, belonging: _Belonging) -> JsonObject:
    def raw(one: Hit) -> msgspec.Raw:
        return msgspec.Raw(one.line.rstrip(b"\n"))

    return {
        "v": 1,
        "file": str(reading.lines.path(hit.place)),
        "line": reading.lines.number(hit.place),
        "sha256": hashlib.sha256(hit.line).hexdigest(),
        "record": raw(hit),
        "other": raw(belonging.other) if belonging.other else None,
        "ticket": [raw(one) for one in belonging.ticket],
        "around": [raw(one) for one in belonging.around],
    }
