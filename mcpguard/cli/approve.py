"""`mcpguard approve`: let a call through that waits.

Exit codes: 0 approved; 1 not approved (a no, or somebody answered before), or approved and no rule could be added;
2 usage; 5 refused, as to agents; 6 the policy cannot take a rule, nothing was approved; 124 its time was over.

Decided: *the call is approved before a rule is added*, because the policy that a question was asked under is part of
what an answer is for: under another one, it would have to be asked again.
"""

from __future__ import annotations

import re
import sys
from typing import Final

import click

from mcpguard.cli import answering, forgood
from mcpguard.cli.main import FAILED
from mcpguard.cli.terminal import errors_told, print_json, say, tell
from mcpguard.errors import GuardError
from mcpguard.model import JsonObject

_TIME: Final = re.compile(r"([1-9][0-9]{0,5})([smh])")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}


@click.command()
@click.argument("ident", metavar="ID", default="")
@click.option("--for", "lasting", metavar="TIME", help="Also for identical calls in this time: 30s, 10m, 2h.")
@click.option("--session", is_flag=True, help="Also for identical calls as long as the host runs.")
@click.option("--always", is_flag=True, help="For good: a rule is shown, and added to the policy.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--full", is_flag=True, help="Show the arguments uncut.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def approve(
    ident: str, lasting: str | None, *, session: bool, always: bool, yes: bool, full: bool, as_json: bool
) -> None:
    """Let one call through that waits, once it is shown and agreed to.

    ID may be cut short. At a terminal it may be left out while one ticket waits.
    """
    scope, seconds = _scope(lasting, session=session, always=always)
    with errors_told(as_json=as_json):
        ticket = answering.find(ident)
        if not yes or not as_json:
            answering.show(ticket, full=full)
        plan = forgood.addition(ticket) if always else None
        if plan is not None:
            for line in plan.lines():
                click.echo(line, err=True)
        if not answering.agreed(_question(scope, lasting, always=always), yes=yes):
            tell("it was not answered, and still waits")
            sys.exit(FAILED)
        reply = answering.approve(ticket, scope, seconds)
        added = plan is not None and _added(plan)
        _done(reply, lasting, as_json=as_json, added=plan.source if plan and added else "")
        if plan is not None and not added:
            sys.exit(FAILED)


def _scope(lasting: str | None, *, session: bool, always: bool) -> tuple[str, float]:
    """How far the yes goes, and for how many seconds."""
    if (lasting is not None) + session + always > 1:
        raise click.UsageError("--for, --session and --always exclude each other")
    if lasting is None:
        return ("session" if session else "once"), 0.0
    found = _TIME.fullmatch(lasting)
    if found is None:
        raise click.UsageError("--for: expected 1 to 6 digits and s, m or h, such as 10m")
    return "for", int(found[1]) * _SECONDS[found[2]]


def _question(scope: str, lasting: str | None, *, always: bool) -> str:
    if always:
        return "Approve this call, and from now on all that are identical?"
    if scope == "for":
        return f"Approve this call, and those identical for {lasting}?"
    return "Approve this call, and those identical while the host runs?" if scope == "session" else "Approve?"


def _added(plan: forgood.Addition) -> bool:
    """Add the rule; if that fails, the call was approved nevertheless, and both is said."""
    try:
        forgood.add(plan)
    except GuardError as error:
        tell(f"mcpguard: {error.sentence()}", "the call was approved, and no rule was added")
        return False
    return True


def _done(reply: JsonObject, lasting: str | None, *, as_json: bool, added: str) -> None:
    ticket, scope = reply["ticket"], reply["scope"]
    if as_json:
        print_json({"ok": True, "ticket": ticket, "scope": scope, "rule_added_to": added or None})
        return
    reach = {
        "for": f" and those identical for {lasting}",
        "session": " and those identical while the host runs",
    }
    say(f"approved {ticket['id']}: {ticket['tool']} of {ticket['server']}{reach.get(scope, '')}")
    if added:
        say(f"added the rule to {added}; it is in force")
    elif scope == "once" and not ticket["waiting"]:
        say("the host gave up waiting: one identical retry goes through")
