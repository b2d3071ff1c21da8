"""Tickets at the command line: found by what a person typed, shown, and answered.

Decided: *an answer that was typed before the question could be read is none*, because a person types ahead, and
because somebody may have put text into the terminal; rejected: asking twice.
"""

from __future__ import annotations

import difflib
import importlib
import select
import sys
import termios
import time
from typing import Final

import click

from mcpguard.approvals.book import ApprovalError
from mcpguard.approvals.words import ticket_lines
from mcpguard.cli import client
from mcpguard.cli.terminal import at_terminal
from mcpguard.errors import TrustError
from mcpguard.model import JsonObject, visible

READING_SECONDS: Final = 0.5
"""So long a question is shown before an answer is taken."""
_SHOWN: Final = 5


def waiting() -> list[JsonObject]:
    """The tickets that wait, oldest first.

    Raises:
        GuardError: The daemon does not answer.
    """
    tickets: list[JsonObject] = client.request({"verb": "pending"})["tickets"]
    return tickets


def find(typed: str) -> JsonObject:
    """The ticket that waits under an ident or the beginning of one; without any, the only one that waits.

    Raises:
        ApprovalError: There is none, or more than one; or it was answered, by whom, or has expired.
    """
    tickets = waiting()
    if not typed:
        return _only(tickets)
    found = [ticket for ticket in tickets if ticket["id"] == typed]
    found = found or [ticket for ticket in tickets if ticket["id"].startswith(typed)]
    if len(found) == 1:
        return found[0]
    if found:
        raise _unclear(f"{typed[:40]!a} begins {len(found)} tickets", found)
    client.request({"verb": "pending", "ident": _utf8(typed)})  # says what became of one that waits no longer
    near = difflib.get_close_matches(typed[:40], [ticket["id"] for ticket in tickets], n=1, cutoff=0.5)
    hint = f"did you mean {visible(near[0])}?" if near else "what waits is shown by: mcpguard pending"
    raise ApprovalError(f"no ticket {typed[:40]!a} waits", code="unknown", hint=hint)


def _only(tickets: list[JsonObject]) -> JsonObject:
    if not at_terminal():
        raise click.UsageError("Missing argument 'ID': without a terminal the ticket has to be named")
    if len(tickets) == 1:
        return tickets[0]
    if not tickets:
        raise ApprovalError("nothing waits for approval", code="unknown")
    raise _unclear(f"{len(tickets)} tickets wait", tickets)


def _unclear(message: str, tickets: list[JsonObject]) -> ApprovalError:
    names = [visible(ticket["id"]) for ticket in tickets[:_SHOWN]]
    more = ", ..." if len(tickets) > _SHOWN else ""
    return ApprovalError(message, code="unknown", hint=f"name one of {', '.join(names)}{more}")


def show(ticket: JsonObject, *, full: bool = False) -> None:
    """Print a ticket to standard error, where questions are asked."""
    for line in ticket_lines(ticket, full=full):
        click.echo(line, err=True)


def agreed(question: str, *, yes: bool) -> bool:
    """Whether a person says yes to what is shown; `yes`: it was said on the command line.

    Raises:
        TrustError: There is nobody to ask.
    """
    if yes:
        return True
    if not at_terminal():
        raise TrustError("this needs a yes, and there is no terminal to ask on", hint="say it with --yes")
    click.echo(f"{visible(question)} [y/N]: ", nl=False, err=True)
    _let_read()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        click.echo(err=True)
    return answer.strip().lower() in ("y", "yes")


def _let_read() -> None:
    """Wait until the question can have been read, and throw away what was typed before that."""
    until = time.monotonic() + READING_SECONDS
    while (left := until - time.monotonic()) > 0:
        select.select([], [], [], left)
    termios.tcflush(sys.stdin, termios.TCIFLUSH)


def approve(ticket: JsonObject, scope: str, seconds: float) -> JsonObject:
    """Say yes; where presence is wanted, show it first. The reply of the daemon.

    Raises:
        ApprovalError: It was answered in the meantime, or has expired.
        PeerError: The daemon does not take approvals from here.
    """
    request = {"verb": "approve", "ident": ticket["id"], "scope": scope, "seconds": seconds}
    try:
        return client.request(request)
    except client.PresenceWanted as wanted:
        prove = importlib.import_module("mcpguard.cli.presence").prove
        return client.request({**request, "proof": prove(wanted.methods, wanted.challenge)})


def deny(ticket: JsonObject, reason: str) -> JsonObject:
    """Say no; the reply of the daemon.

    Raises:
        ApprovalError: It was answered in the meantime, or has expired.
    """
    return client.request({"verb": "deny", "ident": ticket["id"], "reason": _utf8(reason)})


def _utf8(typed: str) -> str:
    """What was typed, which may be any bytes, as JSON can say it."""
    return typed.encode(errors="backslashreplace").decode()
