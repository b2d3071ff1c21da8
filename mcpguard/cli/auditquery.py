"""`mcpguard audit query`: the records that somebody looks for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import click

from mcpguard.audit.record import harmless
from mcpguard.cli.audit import errors_told
from mcpguard.cli.auditfilter import Asked, filtered
from mcpguard.cli.auditreading import Hit, Reading
from mcpguard.cli.recordwords import Painter, colour_wanted
from mcpguard.system.argumentkeys import ArgumentReader


@click.command()
@filtered
@click.option("-n", "count", type=click.IntRange(0, 100_000_000), help="Only the last so many.")
@click.option("--reverse", is_flag=True, help="Newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print the records as they are in the log: JSON lines.")
def query(asked: Asked, count: int | None, reverse: bool, as_json: bool) -> None:
    """Show the records that match.

    Options are joined with "and", one that is given twice with "or". `*` and `?` stand for other text in names.
    A call shows its outcome; an outcome whose call is shown has no line of its own. Times are local.

    DIRECTORY is a log elsewhere, such as a copy.
    """
    with errors_told(), Reading(asked) as reading:
        painter = Painter(colour=colour_wanted(), arguments=ArgumentReader(reading.directory).arguments)
        reading.known_types()
        shown = 0
        for hit in _ordered(reading, count, reverse=reverse, fold=not as_json):
            outcome = reading.other(hit) if hit.facets.type == "call" and not as_json else None
            if as_json:
                click.echo(harmless(hit.line))
            else:
                click.echo(painter.answered(hit.line, outcome.record if outcome else None), color=True)
            shown += 1
        reading.finish(shown, asked_for=count != 0)


def _ordered(reading: Reading, count: int | None, *, reverse: bool, fold: bool) -> Iterable[Hit]:
    """The last `count` hits, all if None, in the order asked for."""
    if count is None:
        return _folded(reading, reading.records(newest=reverse), fold=fold)
    hits = _folded(reading, reading.records(newest=True, most=count), fold=fold)
    last = list(itertools.islice(hits, max(count, 1)))[:count]  # none: the log is looked at all the same
    return last if reverse else reversed(last)


def _folded(reading: Reading, hits: Iterator[Hit], *, fold: bool) -> Iterator[Hit]:
    """Hits without outcomes whose call is a hit too."""
    for hit in hits:
        if fold and hit.facets.type == "outcome" and (call := reading.other(hit)) is not None:
            matcher = reading.matcher
            if matcher.may(call.line) and matcher.matches(call.record.time, call.facets):
                continue
        yield hit
