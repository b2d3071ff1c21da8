"""`mcpguard audit export`: the log, or a part of it, in a format that other programs read."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from mcpguard.audit import facets
from mcpguard.audit.event import Event, event_of
from mcpguard.audit.filters import Filter, Matcher
from mcpguard.audit.formats import FORMATS
from mcpguard.cli.audit import errors_told, signed_now
from mcpguard.cli.auditfilter import Asked, filtered_whole
from mcpguard.cli.progress import progress
from mcpguard.errors import JournalError
from mcpguard.model import how_many
from mcpguard.system import journalfiles


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
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE, for you alone."
)
@filtered_whole
def export(asked: Asked, name: str, output: Path | None) -> None:
    """Write the log as JSON, OCSF, CEF or syslog lines, oldest first.

    Each event has an id that is made of its record, so that one that is imported twice can be told. A line that is no
    record is written as an event that says so. DIRECTORY is a log elsewhere, such as a copy.
    """
    write, hostname = FORMATS[name], socket.gethostname()
    with errors_told(), _opened(output) as file:
        count = 0
        for event in _events(asked.directory or signed_now(), asked.wanted):
            file.write(write(event, hostname).encode() + b"\n")
            count += 1
    if output is not None:
        click.echo(f"{how_many(count, 'event')} written to {output}", err=True)


def _events(directory: Path, wanted: Filter) -> Iterator[Event]:
    """What is wanted; lines that are no record, too, unless more is asked for than times: nobody knows theirs."""
    matcher, found = Matcher(wanted), journalfiles.segments(directory)
    whole = msgspec.structs.replace(wanted, since="", until="") == Filter()
    with progress(found, "exporting") as advance:
        for path in found:
            for line in journalfiles.lines(path, advance):
                if not matcher.may(line):
                    continue
                event = event_of(line)
                known = bool(event.milliseconds)
                if matcher.matches(event.record.time, facets.of(event.record)) if known else whole:
                    yield event


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
