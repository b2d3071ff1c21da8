"""`mcpguard audit`: read the audit log and check it. Each verb has a module of its own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Final

import click

from mcpguard.audit.record import visible
from mcpguard.cli.verbs import Verbs
from mcpguard.errors import JournalError

_VERBS: Final = {
    "anchor": "auditanchor",
    "erase": "auditerase",
    "export": "auditexport",
    "key": "auditkey",
    "prune": "auditprune",
    "query": "auditquery",
    "report": "auditreport",
    "ship": "auditship",
    "show": "auditshow",
    "sink": "auditsink",
    "stats": "auditstats",
    "tail": "audittail",
    "unknown": "auditunknown",
    "verify": "auditverify",
}


@click.group(cls=Verbs, table=_VERBS)
def audit() -> None:
    """Read the audit log, search and count in it, check that nobody changed it, and erase arguments that it keeps."""


@contextlib.contextmanager
def errors_told() -> Iterator[None]:
    """One sentence on standard error and exit code 1; the end of `-f` by Ctrl-C is no error."""
    try:
        yield
    except JournalError as error:
        click.echo(f"mcpguard: {visible(error.sentence())}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
