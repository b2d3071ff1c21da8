"""`mcpguard ca revoke`: a certificate counts no longer, at once and for good."""

from __future__ import annotations

import click

from mcpguard.cli import certified
from mcpguard.cli.terminal import confirm, errors_told, print_json, say, tell
from mcpguard.identity.revocationlist import REASONS


@click.command()
@click.argument("what", metavar="NAME|FINGERPRINT")
@click.option("--reason", type=click.Choice(list(REASONS)), default="unspecified", show_default=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def revoke(what: str, reason: str, yes: bool, as_json: bool) -> None:
    """Revoke every certificate called NAME, or one by its fingerprint. This cannot be undone.

    Connections that were made with it end, and the revocation list is signed anew. The name can be issued again.
    """
    with errors_told(as_json=as_json):
        found = certified.held().registry.named(what)
        count = sum(not each.revoked for each in found)
        tell(
            f"{count} certificate{'' if count == 1 else 's'} of {found[0].name}. This is final: there is no undo."
        )
        confirm("Revoke?", yes=yes)
        reply = certified.ask("ca-revoke", text="", name=what, reason=reason)
        if as_json:
            print_json({"ok": True, "revoked": reply["revoked"], "unlisted": reply["unlisted"]})
            return
        say(*(f"revoked {each}" for each in reply["revoked"]))
        if reply["unlisted"]:
            tell(f"it holds here; the revocation list for others is not signed yet: {reply['unlisted']}")
