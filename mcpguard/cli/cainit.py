"""`mcpguard ca init` and `ca unlock`: make the authority, open its keys."""

from __future__ import annotations

from typing import Any, Final

import click

from mcpguard.cli import certified, passphrase
from mcpguard.cli.terminal import confirm, errors_told, print_json, say, tell

DOMAIN: Final = "mcpguard.internal"
_PASSPHRASE = click.option("--passphrase-file", metavar="FILE", help="Its first line is the passphrase.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command()
@click.option("--name", default="mcpguard", show_default=True, callback=certified.name_of)
@click.option("--domain", default=DOMAIN, show_default=True, help="Host of URIs: mcpguard://HOST/NAME.")
@click.option(
    "--permit",
    multiple=True,
    metavar="dns:HOST|ip:NETWORK|uri:DOMAIN",
    help="What it may vouch for, besides its domain and this machine's loopback.",
)
@click.option(
    "--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="Life of the intermediate."
)
@click.option(
    "--root-days", type=click.IntRange(1, 9125), default=3650, show_default=True, help="Life of the root."
)
@click.option(
    "--lock", is_flag=True, help="Encrypt every key: after each start of the daemon, mcpguard ca unlock."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@_PASSPHRASE
@_JSON
def init(yes: bool, passphrase_file: str | None, as_json: bool, **plan: Any) -> None:
    """Make a certificate authority: a root, and an intermediate that issues.

    The root's key is encrypted with a passphrase. It is needed once in the intermediate's life: take it away with
    mcpguard ca export --root-key FILE --remove.
    """
    with errors_told(as_json=as_json):
        name, domain = plan["name"], plan["domain"]
        permitted = ["dns:localhost", f"dns:{domain}", "ip:127.0.0.0/8", "ip:::1/128", *plan.pop("permit")]
        tell(
            f"This makes the certificate authority {name!r} on this machine.",
            f"It will vouch for: {', '.join(permitted)}, uri:{domain}",
            "Each certificate that it issues may call, or be called, as policy allows.",
        )
        confirm("Make it?", yes=yes)
        words = passphrase.new(passphrase_file)
        certified.ask("ca-init", {**plan, "permitted": permitted, "passphrase": words})
        if as_json:
            print_json({"ok": True, "name": name})
            return
        say(f"made {name}")
        tell("next: mcpguard ca issue NAME --server | --client")


@click.command()
@_PASSPHRASE
@_JSON
def unlock(passphrase_file: str | None, as_json: bool) -> None:
    """Open the keys of an authority made with --lock, for as long as the daemon runs."""
    with errors_told(as_json=as_json):
        certified.ask(
            "ca-unlock", {"passphrase": passphrase.of("the certificate authority", passphrase_file)}
        )
        if as_json:
            print_json({"ok": True})
            return
        say("unlocked until the daemon ends")
