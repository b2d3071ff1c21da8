"""`mcpguard deny`: refuse a call that waits.

Exit codes: 0 denied; 1 somebody answered before; 2 usage; 5 refused, as to agents; 124 its time was over.
"""

from __future__ import annotations

import click

from mcpguard import limits
from mcpguard.cli import answering
from mcpguard.cli.terminal import errors_told, print_json, say


@click.command()
@click.argument("ident", metavar="ID", default="")
@click.option("--reason", default="", metavar="TEXT", help="Why; the host reads it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def deny(ident: str, reason: str, as_json: bool) -> None:
    """Refuse a call that waits.

    ID may be cut short. At a terminal it may be left out while one ticket waits.
    """
    if len(reason) > limits.REASON_CHARS:
        raise click.UsageError(f"--reason: expected at most {limits.REASON_CHARS} characters")
    with errors_told(as_json=as_json):
        reply = answering.deny(answering.find(ident), reason)
    ticket = reply["ticket"]
    if as_json:
        print_json({"ok": True, "ticket": ticket})
    else:
        say(f"denied {ticket['id']}: {ticket['tool']} of {ticket['server']}")
