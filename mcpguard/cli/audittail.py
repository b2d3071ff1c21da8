"""`mcpguard audit tail`: the end of the audit log, and what comes after it."""

from __future__ import annotations

from pathlib import Path

import click

from mcpguard.audit.record import harmless
from mcpguard.cli.audit import errors_told
from mcpguard.cli.recordwords import Painter, colour_wanted
from mcpguard.system import journalfiles, paths
from mcpguard.system.argumentkeys import ArgumentReader


@click.command()
@click.option(
    "-n", "count", type=click.IntRange(0, 1_000_000), default=20, show_default=True, help="Records to show."
)
@click.option("-f", "follow", is_flag=True, help="Go on showing records as they are written.")
@click.option("--json", "as_json", is_flag=True, help="Print the records as they are in the log: JSON lines.")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def tail(count: int, follow: bool, as_json: bool, directory: Path | None) -> None:
    """Show the last records of the log, with the arguments that they keep.

    DIRECTORY is a log elsewhere, such as a copy.
    """
    with errors_told():
        directory = directory or paths.audit_dir()
        painter = Painter(colour=colour_wanted(), arguments=ArgumentReader(directory).arguments)
        show = harmless if as_json else painter.line
        found, path, offset = journalfiles.last(directory, count)
        for line in found:
            _say(show(line))
        if follow:
            for line in journalfiles.follow(directory, path, offset):
                _say(show(line))


def _say(line: str) -> None:
    click.echo(line, color=True)  # whether to colour was decided where the line was made
