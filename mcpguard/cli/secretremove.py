"""`mcpguard secret rm`: forget a secret, and end the servers that hold it."""

from __future__ import annotations

import click

from mcpguard.cli import client
from mcpguard.cli.secret import ready
from mcpguard.cli.terminal import confirm, errors_told, print_json, say
from mcpguard.errors import SecretError


@click.command()
@click.argument("name")
@click.option("--passphrase-file", metavar="FILE", help="Its first line opens the vault.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def rm(name: str, passphrase_file: str | None, *, yes: bool, as_json: bool) -> None:
    """Forget NAME. Servers that hold it are ended, and those that need it do not start any more."""
    with errors_told(as_json=as_json):
        ready(passphrase_file)
        known = {one["name"]: one for one in client.request({"verb": "secrets"})["secrets"]}
        if name not in known:
            raise SecretError(f"there is no secret {name!a}", hint="mcpguard secret list")
        servers = known[name]["servers"]
        whose = f", which {', '.join(servers)} will not start without" if servers else ""
        confirm(f"Forget the secret {name}{whose}?", yes=yes)
        reply = client.request({"verb": "secret-remove", "name": name})
        if as_json:
            print_json({"ok": True, "name": name, "ended": reply["ended"]})
            return
        say(f"removed: {name}")
        if reply["ended"]:
            say(f"ended: {', '.join(reply['ended'])}")
