"""`mcpguard secret unlock` and `lock`: the key of the vault comes into the daemon's memory, or leaves it."""

from __future__ import annotations

import click

from mcpguard.cli import client
from mcpguard.cli.secret import ready
from mcpguard.cli.terminal import errors_told, print_json, say


@click.command()
@click.option("--passphrase-file", metavar="FILE", help="Its first line is the passphrase.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def unlock(passphrase_file: str | None, *, as_json: bool) -> None:
    """Open the vault until the daemon ends; make one if there is none.

    Where a keyring or a credential of the unit has the key, nothing is asked. Else the passphrase is typed here, or
    the first line of a file.
    """
    with errors_told(as_json=as_json):
        ready(passphrase_file)
        state = client.request({"verb": "secrets"})["vault"]
        if as_json:
            print_json({"ok": True, "vault": state})
        else:
            say(f"the vault is open; its key comes from: {_WAYS.get(state['key'], state['key'])}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def lock(*, as_json: bool) -> None:
    """Have the daemon forget the key. Servers that run keep what they have."""
    with errors_told(as_json=as_json):
        client.request({"verb": "secret-lock"})
        if as_json:
            print_json({"ok": True})
        else:
            say("the vault is locked")


_WAYS = {
    "keyring": "the keyring of the desktop",
    "credential": "a credential of the daemon's unit",
    "passphrase": "a passphrase",
}
