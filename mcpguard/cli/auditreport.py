"""`mcpguard audit report`: one page about what happened, for a person with a browser."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click

from mcpguard import __version__
from mcpguard.audit.page import About, page
from mcpguard.audit.record import visible
from mcpguard.audit.statistics import Statistics
from mcpguard.cli.audit import errors_told
from mcpguard.cli.auditcounting import counted
from mcpguard.cli.auditfilter import Asked, filtered
from mcpguard.cli.auditreading import Reading
from mcpguard.cli.recordwords import local
from mcpguard.errors import JournalError
from mcpguard.model import how_many

_HOURS_OF: Final = 72
"""A span of at most so many hours is drawn by the hour."""
_COLUMNS: Final = 400
"""Most columns of a chart; of a longer time, the newest days are drawn."""


@click.command()
@filtered
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The file to write; - is stdout."
)
def report(asked: Asked, output: Path) -> None:
    """Write one HTML page about what happened: calls and denials over time, rules, tools per host, findings.

    The page needs nothing else and runs nothing: it can be kept, mailed and printed. It has names of hosts, servers
    and tools, and is written for you alone (0600).

    DIRECTORY is a log elsewhere, such as a copy.
    """
    with errors_told(), Reading(asked) as reading:
        reading.known_types()
        statistics = counted(reading)
        labels, table = _labels(statistics)
        data = page(statistics, _about(asked, reading, statistics), labels, table)
        if str(output) == "-":
            sys.stdout.write(data)
            return
        _write(output, data)
    click.echo(f"{visible(str(output))}: {how_many(statistics.records, 'record')}")


def _labels(statistics: Statistics) -> tuple[list[str], str]:
    """Every hour or day from the first to the last record, and the table that has them."""
    days = sorted(statistics.tables["day"])
    hours = sorted(statistics.tables["bucket"])
    try:
        first, last = (dt.datetime.fromisoformat(f"{one}:00") for one in (hours[0], hours[-1]))
        if last - first <= dt.timedelta(hours=_HOURS_OF):
            steps = int((last - first).total_seconds() // 3600) + 1
            return [f"{first + dt.timedelta(hours=at):%Y-%m-%d %H}" for at in range(steps)], "bucket"
        begin, end = (dt.date.fromisoformat(one) for one in (days[0], days[-1]))
        many = min(_COLUMNS, (end - begin).days + 1)
        return [f"{end - dt.timedelta(days=at):%Y-%m-%d}" for at in reversed(range(many))], "day"
    except (IndexError, ValueError):
        return days[-_COLUMNS:], "day"  # nothing, or times that are none


def _about(asked: Asked, reading: Reading, statistics: Statistics) -> About:
    wanted = asked.wanted
    since, until = wanted.since or statistics.first, wanted.until or statistics.last
    span = f"{_minute(since)} to {_minute(until)}" if since and until else "no records"
    words = [
        f"{name.removesuffix('s')} {' or '.join(values)}"
        for name in ("hosts", "servers", "tools", "decisions", "types", "principals", "conns")
        if (values := getattr(wanted, name))
    ]
    words += [f"with the text {wanted.text!r}"] if wanted.text else []
    now = dt.datetime.fromtimestamp(time.time(), dt.UTC).astimezone()
    return About(
        made=now.strftime("%Y-%m-%d %H:%M %Z"),
        log=str(reading.directory),
        span=span,
        wanted=", ".join(words),
        notes=tuple(reading.told),
        version=__version__,
        times={one.time: local(one.time)[: len("2026-11-20 10:00:00")] for one in statistics.findings},
    )


def _minute(moment: str) -> str:
    return local(moment)[: len("2026-11-20 10:00")]


def _write(output: Path, data: str) -> None:
    """Put the page where it was asked for, whole or not at all."""
    try:
        descriptor, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 (a descriptor)
                file.write(data)
            os.replace(name, output)  # noqa: PTH105 - the name is a text
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)  # noqa: PTH108
            raise
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise JournalError(f"{output} cannot be written: {why}") from error
