"""`mcpguard audit stats`: what happened, in numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click
import msgspec

from mcpguard.audit.record import visible
from mcpguard.audit.statistics import Statistics, Tally
from mcpguard.cli.audit import errors_told
from mcpguard.cli.auditcounting import counted
from mcpguard.cli.auditfilter import Asked, filtered
from mcpguard.cli.auditreading import Reading
from mcpguard.cli.recordwords import local
from mcpguard.model import how_many

_HEAD: Final = ("calls", "denied", "observed", "asked", "errors", "p50", "p99")
_TABLES: Final = (("by host", "host"), ("by server", "server"), ("by tool", "tool"))


@click.command()
@filtered
@click.option(
    "-n", "count", type=click.IntRange(1, 5000), default=10, show_default=True, help="Lines of a table."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with all lines of all tables.")
def stats(asked: Asked, count: int, as_json: bool) -> None:
    """Count calls, denials and questions, and how long answers took.

    A call is a tools/call. "observed" counts what would not have passed, had policy not just watched. "errors" counts
    calls whose outcome is not ok. Latencies are in milliseconds, of answers of servers to calls.

    DIRECTORY is a log elsewhere, such as a copy.
    """
    with errors_told(), Reading(asked) as reading:
        reading.known_types()
        statistics = counted(reading)
    if as_json:
        click.echo(msgspec.json.encode({"v": 1, **statistics.figures()}).decode())
        return
    for line in _in_words(statistics, count):
        click.echo(line)


def _in_words(statistics: Statistics, count: int) -> Iterator[str]:
    total = statistics.total
    if not statistics.records:
        return
    yield f"{how_many(statistics.records, 'record')} from {_when(statistics.first)} to {_when(statistics.last)}"
    yield (
        f"{how_many(total.calls, 'call')}, {how_many(statistics.requests, 'other request')}, "
        f"{total.denied} denied, {total.observed} observed, {total.asked} asked, "
        f"{how_many(statistics.kinds.total(), 'finding')}"
    )
    yield f"latency p50 {milliseconds(total, 0.5)}, p99 {milliseconds(total, 0.99)}"
    for title, counts in (
        ("outcomes", statistics.outcomes),
        ("denied or observed, by rule", statistics.rules),
        ("findings", statistics.kinds),
    ):
        if counts:
            yield ""
            yield title
            for name, number in counts.most_common(count):
                yield f"  {number:>9}  {visible(name)}"
            yield from _rest(len(counts), count)
    for title, table in _TABLES:
        yield from _table(title, statistics.ranked(table), count)
    yield from _table("by day", sorted(statistics.tables["day"].items())[-count:], count)


def _table(title: str, rows: list[tuple[str, Tally]], count: int) -> Iterator[str]:
    if not rows:
        return
    shown = [(visible(name), tally) for name, tally in rows[:count]]
    width = min(60, max(len(title), *(len(name) + 2 for name, _ in shown)))
    yield ""
    yield f"{title:<{width}}" + "".join(f"{word:>10}" for word in _HEAD)
    for name, tally in shown:
        numbers = (tally.calls, tally.denied, tally.observed, tally.asked, tally.errors)
        times = (milliseconds(tally, 0.5), milliseconds(tally, 0.99))
        yield f"{'  ' + name:<{width}}" + "".join(f"{value:>10}" for value in (*numbers, *times))
    yield from _rest(len(rows), count)


def _rest(many: int, count: int) -> Iterator[str]:
    if many > count:
        yield f"  ... and {many - count} more"


def milliseconds(tally: Tally, part: float) -> str:
    """A percentile in words."""
    latency = tally.percentile(part)
    return "-" if latency is None else f"{latency / 1000:.2f} ms"


def _when(time: str) -> str:
    return local(time)[: len("2026-11-20 10:00:00")]
