"""`mcpguard ca issue`: a certificate for a server or a client."""

from __future__ import annotations

from typing import Any

import click

from mcpguard.cli import certified, handedout
from mcpguard.cli.terminal import errors_told
from mcpguard.errors import TrustError
from mcpguard.identity.certregistry import Registry
from mcpguard.model import JsonObject

_HOUR = 3600


@click.command()
@click.argument("name", callback=certified.name_of)
@click.option("--server", is_flag=True, help="Its holder is called.")
@click.option("--client", is_flag=True, help="Its holder calls; this is the default.")
@click.option("--dns", multiple=True, metavar="HOST", help="A DNS name of it.")
@click.option("--ip", "ips", multiple=True, metavar="ADDRESS", help="An address of it.")
@click.option(
    "--uri", "uris", multiple=True, metavar="URI", help="mcpguard://HOST/NAME or spiffe://DOMAIN/PATH."
)
@click.option(
    "--hours",
    type=click.FloatRange(0.1, 744),
    metavar="N",
    default=24.0,
    help="How long it holds; 24 if it is left out.",
)
@click.option(
    "--for", "servers", multiple=True, metavar="SERVER",
    help="Bind it to a server: as a client it reaches only that one, as a server it is that one's.",
)  # fmt: skip
@handedout.OPTIONS
def issue(name: str, out: str | None, csr: str | None, as_json: bool, **wanted: Any) -> None:
    """Issue a certificate called NAME.

    Without --out or --csr its key is made and kept by the daemon, which renews it at two thirds of its life. With
    --out DIR the key is made here and written there, with certificate and root; the daemon never has it.
    """
    with errors_told(as_json=as_json):
        uses = [use for use in ("server", "client") if wanted[use]] or ["client"]
        asked: JsonObject = {
            "name": name, "uses": uses, "dns": list(wanted["dns"]), "ips": list(wanted["ips"]),
            "uris": list(wanted["uris"]), "seconds": round(wanted["hours"] * _HOUR),
            "servers": list(wanted["servers"]),
        }  # fmt: skip
        if not (asked["dns"] or asked["ips"] or asked["uris"]):
            asked |= _named(name, uses, certified.held().registry)
        handedout.carry_out("ca-issue", name, asked, handedout.Place(out, csr), as_json=as_json)


def _named(name: str, uses: list[str], registry: Registry) -> JsonObject:
    """The names of one that was given none: our own URI, and for a server this machine."""
    if registry.authority is None:
        raise TrustError("there is no certificate authority here yet", hint="mcpguard ca init")
    own: JsonObject = {"uris": [f"mcpguard://{registry.authority.domain}/{name}"]}
    return own | ({"dns": ["localhost"], "ips": ["127.0.0.1", "::1"]} if "server" in uses else {})
