"""`mcpguard audit key`: take the first sealing key away, once, for whoever verifies the log."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from mcpguard.cli.audit import errors_told
from mcpguard.errors import JournalError
from mcpguard.system import paths
from mcpguard.system.firstkey import hand_over


@click.command()
@click.option(
    "-o",
    "output",
    type=click.Path(path_type=Path),
    help="Write it to a new file (0600), not to the terminal.",
)
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def key(output: Path | None, directory: Path | None) -> None:
    """Show the first key of the log once, and destroy it here.

    Keep it on another machine: with it, `audit verify --key` finds records that were sealed again with a stolen key.
    Until it is taken away, whoever can read the log's directory can forge all of it.
    """
    with errors_told():
        try:
            hand_over(
                directory or paths.audit_dir(), _shown if output is None else lambda text: _kept(output, text)
            )
        except OSError as error:
            raise JournalError(
                f"cannot hand the key over: {(error.strerror or str(error)).lower()}"
            ) from error
    click.echo(
        "mcpguard: this key is not kept here any more; store it away from this machine, and verify with --key FILE",
        err=True,
    )


def _shown(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _kept(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)
