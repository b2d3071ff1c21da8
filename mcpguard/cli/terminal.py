"""What verbs say to a person and ask of one: every character is visible, silence is no yes."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator

import click
import msgspec

from mcpguard.audit.record import visible
from mcpguard.cli.main import FAILED, exit_code
from mcpguard.errors import GuardError, TrustError
from mcpguard.model import JsonObject


def at_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def say(*lines: str) -> None:
    """Print lines to standard output."""
    for line in lines:
        click.echo(visible(line))


def tell(*lines: str) -> None:
    """Print lines to standard error: what stands beside an answer, or before a question."""
    for line in lines:
        click.echo(visible(line), err=True)


def print_json(value: JsonObject) -> None:
    """One object on one line, ASCII only: names of others may hold anything."""
    click.echo(json.dumps({"v": 1, **msgspec.to_builtins(value)}))


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless the answer was given with `--yes`; on anything but a yes the command ends with exit code 1.

    Raises:
        TrustError: There is nobody to ask.
    """
    if yes:
        return
    if not at_terminal():
        raise TrustError("this needs a yes, and there is no terminal to ask on", hint="say it with --yes")
    if not click.confirm(visible(question), default=False, err=True):
        tell("nothing was changed")
        sys.exit(FAILED)


@contextlib.contextmanager
def errors_told(*, as_json: bool = False) -> Iterator[None]:
    """One sentence on standard error and an exit code; also as JSON if that was asked for."""
    try:
        yield
    except GuardError as error:
        if as_json:
            print_json({"ok": False, "error": {"message": error.message, "hint": error.hint}})
        tell(f"mcpguard: {error.sentence()}")
        sys.exit(exit_code(error))
