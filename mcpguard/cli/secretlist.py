"""`mcpguard secret list`: what is kept, until when, when it was last used, and who has it; never a value."""

from __future__ import annotations

import time

import click

from mcpguard.cli import client
from mcpguard.cli.terminal import errors_told, print_json, say, tell
from mcpguard.model import JsonObject


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(*, as_json: bool) -> None:
    """List the secrets: when each expires, when it was last used, which servers have it. No value is shown."""
    with errors_told(as_json=as_json):
        client.ensure()
        reply = client.request({"verb": "secrets"})
    if as_json:
        print_json({key: reply[key] for key in ("ok", "vault", "secrets", "own", "references")})
        return
    for one in reply["secrets"]:
        say(f"{one['name']:<24}  {_expiry(one):<20}  {_used(one):<24}  {_servers(one)}".rstrip())
    for one in reply["references"]:
        say(
            f"{one['ref']:<24}  {'kept elsewhere':<20}  {_used(one):<24}  {', '.join(one['servers'])}".rstrip()
        )
    if not reply["secrets"] and not reply["references"]:
        tell("no secrets yet: mcpguard secret set NAME, or mcpguard secret import")
    if reply["vault"]["state"] == "locked":
        tell(
            "the vault is locked: servers that need it are not started; open it with: mcpguard secret unlock"
        )


def _expiry(one: JsonObject) -> str:
    if one["expired"]:
        return f"expired {_day(one['expires'])}"
    return f"until {_day(one['expires'])}" if one["expires"] else "does not expire"


def _used(one: JsonObject) -> str:
    return f"used {_day(one['used'])}, {one['uses']} times" if one["uses"] else "never used"


def _servers(one: JsonObject) -> str:
    running = set(one["running"])
    return ", ".join(f"{server} (running)" if server in running else str(server) for server in one["servers"])


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(moment))
