"""`mcpguard console`: calls as they happen, and what waits for a person, on one screen.

Exit codes: 0 left by `q`; 1 there is no terminal, or the extra `tui` is not installed; 2 usage.
"""

from __future__ import annotations

import sys

import click

from mcpguard.cli.terminal import errors_told
from mcpguard.errors import GuardError


@click.command()
def console() -> None:
    """Watch calls as they happen, and answer those that wait.

    Keys: 1 calls, 2 what waits, 3 connections, 4 findings; up and down choose a ticket; a approve, t for ten minutes,
    s while the host runs, A for good, d deny; ? help, q quit. Needs: pip install 'mcpguard[tui]'
    """
    with errors_told():
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise GuardError("the console needs a terminal", hint="elsewhere: mcpguard pending --watch")
        try:
            from mcpguard.cli.consoleapp import Console
        except ModuleNotFoundError as error:
            raise GuardError(
                f"the console needs a library that is not installed: {error.name}",
                hint="pip install 'mcpguard[tui]'",
            ) from error
        from mcpguard.cli.consolefeed import DaemonFeed

        Console(DaemonFeed()).run()
