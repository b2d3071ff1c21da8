"""`mcpguard audit unknown`: calls that were let through and of whose end nothing is known.

A record precedes each call, and another follows its answer. Where the second is missing, the daemon was killed or
the machine went down: the server may have done what was asked, or not. Nothing is ever sent again by itself.

Exit codes: 0 none, 7 some.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from mcpguard.audit.record import Record, parse_line
from mcpguard.audit.unsettled import WANTED, Unsettled
from mcpguard.cli import client
from mcpguard.cli.audit import errors_told
from mcpguard.cli.logrecords import records
from mcpguard.cli.main import DRIFT
from mcpguard.cli.past import span
from mcpguard.cli.recordwords import Painter, unix
from mcpguard.system import paths


@click.command()
@click.option("--since", default=None, metavar="TIME", help="Only those of this time: 90m, 12h, 7d, 4w.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def unknown(since: str | None, as_json: bool, directory: Path | None) -> None:
    """List calls that were let through and of whose end nothing is known.

    A daemon that was killed leaves them: the server may have done what was asked, or not. Exits 7 if there are any.
    Calls that a running daemon waits for are not among them. DIRECTORY is a log elsewhere, such as a copy.
    """
    begin = span(since) if since else 0.0
    with errors_told():
        running = directory is None and client.running()
        lines = list(_unsettled(directory or paths.audit_dir(), running=running))
    found = [(line, record) for line in lines if unix((record := parse_line(line)).time) >= begin]
    if as_json:
        calls = [_as_json(record) for _, record in found]
        click.echo(msgspec.json.encode({"v": 1, "calls": calls}).decode())
    else:
        painter = Painter(colour=False)
        for line, _ in found:
            click.echo(painter.line(line))
        click.echo(
            f"{len(found)} without a known end" if found else "none: every call has its outcome", err=True
        )
    sys.exit(DRIFT if found else 0)


def _unsettled(directory: Path, *, running: bool) -> Iterator[bytes]:
    """The calls of a log that have no outcome, oldest first; of a daemon that is running, those before it.

    Raises:
        JournalError: There is no log, or it cannot be read.
    """
    calls = Unsettled()
    for line, record in records(directory, "reading", WANTED):
        calls.take(record, line)
    yield from calls.lines(running=running)


def _as_json(record: Record) -> dict[str, object]:
    return {"seq": record.seq, "t": record.time, **record.body}
