"""`mcpguard quarantine`: keep a server or a host away at once, until a person lets it back.

Exit codes: 0 done; 1 it could not be recorded or written; 3 no daemon runs (for `--list`); 5 refused: what a host
has started that is connected may not change this, or there is no such quarantine.
"""

from __future__ import annotations

import click

from mcpguard.cli import client
from mcpguard.cli.terminal import errors_told, print_json, say
from mcpguard.errors import TrustError
from mcpguard.model import JsonObject, how_many

_LIST = "list"


@click.command()
@click.argument("subject", required=False, metavar="[SERVER|server:NAME|host:NAME|list]")
@click.option("--reason", default="", help="Why, for whoever is refused and for the log.")
@click.option("--list", "listed", is_flag=True, help="Show what is in quarantine.")
@click.option(
    "--lift",
    metavar="NAME",
    help="Let a server or a host back, or its calls pass unasked.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def quarantine(subject: str | None, reason: str, listed: bool, lift: str | None, as_json: bool) -> None:
    """End every connection of a server, or of an enrolled host, now, and refuse new ones.

    It holds over restarts until you lift it: mcpguard quarantine --lift NAME. A server that is called list is
    server:list.
    """
    listed = listed or subject == _LIST
    if sum((listed, lift is not None, subject is not None and subject != _LIST)) != 1:
        raise click.UsageError("say one of SERVER or host:NAME, --lift NAME, or --list")
    with errors_told(as_json=as_json):
        if listed:
            _show(client.request({"verb": "quarantine"}), as_json=as_json)
        elif lift is not None:
            client.ensure()
            reply = client.request({"verb": "quarantine-lift", "name": lift})
            _answer(reply, f"lifted {reply['lifted']}", as_json=as_json)
        elif subject is not None:
            client.ensure()
            reply = client.request({"verb": "quarantine-put", "name": _full(subject), "reason": reason})
            ended = reply["ended"]
            connections = f"{how_many(ended, 'connection')} ended"
            _answer(
                reply,
                f"{reply['subject']} is in quarantine: {connections}, new ones are refused",
                f"undo: mcpguard quarantine --lift {subject}",
                as_json=as_json,
            )


def _full(subject: str) -> str:
    """The name with its kind.

    Raises:
        TrustError: It is empty.
    """
    kind, colon, name = subject.partition(":")
    if colon and kind in ("server", "host"):
        if not name:
            raise TrustError(f"{subject!a} names nobody", hint="host:NAME, of: mcpguard host list")
        return subject
    return f"server:{subject}"


def _answer(reply: JsonObject, *lines: str, as_json: bool) -> None:
    if as_json:
        print_json({key: value for key, value in reply.items() if key not in ("v", "ok")})
    else:
        say(*lines)


def _show(reply: JsonObject, *, as_json: bool) -> None:
    if as_json:
        print_json({"entries": reply["entries"], "failure": reply["failure"]})
        return
    if reply["failure"]:
        say(f"everybody is kept out: {reply['failure']}")
    if not reply["entries"]:
        say("nothing is in quarantine")
    for entry in reply["entries"]:
        how = "refused" if entry["how"] == "refuse" else "every call needs approval"
        why = f": {entry['reason']}" if entry["reason"] else ""
        say(f"{entry['subject']}  {how} since {entry['since']}, by {entry['by']}{why}")
