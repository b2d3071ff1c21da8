"""`mcpguard audit export`: the log, or a part of it, in a format that other programs read."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from mcpguard.audit.event import Event, event_of
from mcpguard.audit.formats import FORMATS
from mcpguard.cli.audit import errors_told
from mcpguard.cli.past import span
from mcpguard.cli.progress import progress
from mcpguard.errors import JournalError
from mcpguard.system import journalfiles, paths


def _moment(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    """A time as a person writes one, in milliseconds of Unix time."""
    if text is None:
        return None
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return int(dt.datetime.fromisoformat(text).astimezone().timestamp() * 1000)
    try:
        return int(span(text) * 1000)
    except click.BadParameter as error:
        raise click.BadParameter(
            "expected a date (2026-11-22, 2026-11-22T18:00:00Z) or a time ago (90m, 12h, 7d)"
        ) from error


@click.command()
@click.option(
    "--format",
    "name",
    type=click.Choice(list(FORMATS)),
    default="json",
    show_default=True,
    help="One event, one line.",
)
@click.option(
    "--since", callback=_moment, metavar="TIME", help="From this time on: a date, or 90m, 12h, 7d ago."
)
@click.option("--until", callback=_moment, metavar="TIME", help="Up to this time, which is left out.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE, for you alone."
)
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def export(
    name: str, since: int | None, until: int | None, output: Path | None, directory: Path | None
) -> None:
    """Write the log as JSON, OCSF, CEF or syslog lines, oldest first.

    Each event has an id that is made of its record, so that one that is imported twice can be told. A line that is no
    record is written as an event that says so. DIRECTORY is a log elsewhere, such as a copy.
    """
    write, hostname = FORMATS[name], socket.gethostname()
    with errors_told(), _opened(output) as file:
        count = 0
        for event in _events(directory or paths.audit_dir()):
            if _between(event, since, until):
                file.write(write(event, hostname).encode() + b"\n")
                count += 1
    if output is not None:
        click.echo(f"{count} events written to {output}", err=True)


def _events(directory: Path) -> Iterator[Event]:
    found = journalfiles.segments(directory)
    with progress(found, "exporting") as advance:
        for path in found:
            for line in journalfiles.lines(path, advance):
                yield event_of(line)


def _between(event: Event, since: int | None, until: int | None) -> bool:
    """Whether an event is wanted; one without a time always is, since nobody can say that it is not."""
    at = event.milliseconds
    return not at or ((since is None or at >= since) and (until is None or at < until))


@contextlib.contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """The file, private and whole, or standard output; a file that could not be completed is not left behind."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    new = output.with_name(f".{output.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor, not a path)
                yield file
                file.flush()
                os.fsync(file.fileno())
            new.replace(output)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise JournalError(f"{output} cannot be written: {(error.strerror or str(error)).lower()}") from error
