"""`mcpguard ca renew`: the same certificate again for another key, or another intermediate."""

from __future__ import annotations

from typing import Any

import click

from mcpguard.cli import certified, handedout, passphrase
from mcpguard.cli.terminal import confirm, errors_told, print_json, say, tell


@click.command()
@click.argument("name", required=False, callback=certified.name_of)
@click.option(
    "--intermediate", is_flag=True, help="Instead of a certificate: another intermediate, by the root's key."
)
@click.option(
    "--root-key", metavar="FILE", help="With --intermediate: the root's key, where it was taken away."
)
@click.option(
    "--retire", is_flag=True, help="With --intermediate: those before are void, with all that they issued."
)
@click.option("--passphrase-file", metavar="FILE", help="Its first line is the passphrase of the root's key.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@handedout.OPTIONS
def renew(name: str | None, out: str | None, csr: str | None, as_json: bool, **root: Any) -> None:
    """Renew the certificate NAME now. The one before counts until it ends.

    What is kept here is renewed by the daemon in time; this is for those written with --out or --csr.
    """
    if root["intermediate"] is (name is not None):
        raise click.UsageError("say one of NAME and --intermediate")
    with errors_told(as_json=as_json):
        if name is not None:
            handedout.carry_out("ca-renew", name, {"name": name}, handedout.Place(out, csr), as_json=as_json)
            return
        _intermediate(root["root_key"], root["passphrase_file"], retire=root["retire"], yes=root["yes"])
        if as_json:
            print_json({"ok": True, "retired": root["retire"]})
            return
        say("another intermediate issues from now on")


def _intermediate(root_key: str | None, passphrase_file: str | None, *, retire: bool, yes: bool) -> None:
    if retire:
        tell("Every certificate that was issued until now is void. Its holders need another.")
    confirm("Make another intermediate?", yes=yes)
    key = certified.read_file(root_key).decode("ascii", "replace") if root_key else ""
    words = passphrase.of("the root's key", passphrase_file)
    certified.ask("ca-intermediate", {"passphrase": words, "key": key, "retire": retire})
