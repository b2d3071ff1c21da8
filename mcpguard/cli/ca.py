"""`mcpguard ca`: a small certificate authority of your own, or the one that you have. Most verbs have a module each.

Exit codes: 0 done; 1 declined; 2 usage; 3 no daemon runs and none can be started; 5 refused, nothing has changed.
"""

from __future__ import annotations

from typing import Any, Final

import click

from mcpguard.cli.terminal import confirm, errors_told, print_json, say, tell
from mcpguard.cli.verbs import Verbs
from mcpguard.model import JsonObject

_VERBS: Final = {
    "crl": "caexport",
    "export": "caexport",
    "init": "cainit",
    "issue": "caissue",
    "renew": "carenew",
    "revoke": "carevoke",
    "unlock": "cainit",
}
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(cls=Verbs, table=_VERBS)
def ca() -> None:
    """A small certificate authority: issue, renew and revoke certificates of servers and clients."""


@ca.command("list")
@_JSON
def list_(as_json: bool) -> None:
    """Show the authorities that count: ours with its keys and revocation list, those imported, SPIFFE sources."""
    from mcpguard.cli import certified, certwords

    with errors_told(as_json=as_json):
        found = certified.held()
        if as_json:
            print_json({"ok": True, **certwords.authorities(found)})
            return
        say(*certwords.authority_lines(found))


@ca.command("import")
@click.option("--name", required=True, metavar="NAME", help="What it is called here.")
@click.option("--chain", metavar="FILE", help="PEM: one root and its intermediates.")
@click.option(
    "--key",
    metavar="FILE",
    help="With --chain: the intermediate's key; we issue with it. With --svid: its key.",
)
@click.option("--passphrase-file", metavar="FILE", help="Its first line is the passphrase of --key.")
@click.option(
    "--domain", default="mcpguard.internal", show_default=True, help="With --key: host of our URIs."
)
@click.option(
    "--accept",
    multiple=True,
    metavar="dns:HOST|ip:NETWORK|uri:DOMAIN",
    help="What it may vouch for. Without one, only servers that are pinned count.",
)
@click.option("--crl", metavar="FILE", help="Its revocation list; read again when it changes.")
@click.option("--svid", metavar="FILE", help="PEM of an X.509-SVID; read again when it changes.")
@click.option("--bundle", metavar="FILE", help="With --svid: PEM of the trust domain's authorities.")
@click.option("--workload-api", metavar="unix:PATH", help="Take SVID and authorities from there.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
def import_(as_json: bool, **options: Any) -> None:
    """Let another authority count: step-ca, an existing PKI, or SPIFFE. Undo: mcpguard ca forget NAME."""
    from mcpguard.cli import caimport

    with errors_told(as_json=as_json):
        reply = caimport.imported(_as_json(options))
        if as_json:
            print_json({"ok": True, **reply})
            return
        say(f"imported {reply['name']}")
        if fault := reply.get("fault"):
            tell(f"but: {fault}")


def _as_json(options: dict[str, Any]) -> JsonObject:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


@ca.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
def forget(name: str, yes: bool, as_json: bool) -> None:
    """Let an imported authority no longer count. What it vouches for is refused at once."""
    from mcpguard.cli import certified

    with errors_told(as_json=as_json):
        confirm(f"Refuse what {name} vouches for?", yes=yes)
        certified.ask("ca-forget", name=name)
        if as_json:
            print_json({"ok": True, "name": name})
            return
        say(f"{name} counts no longer")
