"""`mcpguard remote logout`: give a token back, and forget it.

Exit codes: 0 done; 1 there was none, or it could not be removed; 5 refused: what a host has started may not log out.
"""

from __future__ import annotations

import sys

import click

from mcpguard.cli import client
from mcpguard.cli.main import FAILED
from mcpguard.cli.terminal import errors_told, say, tell


@click.command()
@click.argument("name")
def logout(name: str) -> None:
    """Give the token of the remote server NAME back, as far as its issuer takes tokens back, and forget it."""
    with errors_told():
        client.ensure()
        reply = client.request({"verb": "remote-logout", "name": name})
        if not reply["was_there"]:
            tell(f"there is no token for {name}")
            sys.exit(FAILED)
        say(f"{name}: logged out; the token is forgotten" + (" and revoked" if reply["revoked"] else ""))
        if not reply["revoked"]:
            tell("its issuer did not take it back: it counts until it expires")
