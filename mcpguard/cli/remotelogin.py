"""`mcpguard remote login`: a token for a remote server, from whoever gives them.

What a server or an authorization server says is shown before anything is opened, and a browser opens only after a
yes.

Exit codes: 0 logged in; 1 it failed, or nobody said yes; 5 refused: what a host has started may not log in.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

from mcpguard import limits
from mcpguard.cli.loggingin import log_in
from mcpguard.cli.remoteadd import described, remote_options
from mcpguard.cli.terminal import errors_told
from mcpguard.credentials.oauthsettings import FLOWS
from mcpguard.errors import ConfigError
from mcpguard.model import JsonObject


@click.command()
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="Ask for this, too; may be repeated.")
@click.option("--paste", is_flag=True, help="Open nothing: print the URL, and take the address it ends at.")
@click.option("--yes", is_flag=True, help="Open the browser without asking.")
@click.option("--issuer", default="", metavar="URL", help="The only authorization server that will do.")
@click.option(
    "--client-id", default="", metavar="ID", help="Who you have registered mcpguard as at --issuer."
)
@click.option(
    "--secret-file",
    default="",
    metavar="FILE",
    help="Its secret, or private key in PEM; - reads standard input.",
)
@click.option("--secret-post", is_flag=True, help="Send the secret in the form: client_secret_post.")
@click.option("--key-id", default="", metavar="KID", help="Name of that key at the authorization server.")
@click.option("--document", default="", metavar="URL", help="Where your client-id document is.")
@click.option("--flow", type=click.Choice(FLOWS), default=None, help="How tokens come about; first: code.")
@click.option("--provider", default="", metavar="URL", help="Identity provider that vouches, for enterprise.")
@click.option("--at-provider", is_flag=True, help="--client-id is one of --provider.")
@click.option("--assertion", default="", metavar="NAME", help="Of the vault: the JWT to hand in.")
@click.option("--port", type=click.IntRange(0, 65535), default=None, help="Port of the redirect; 0 for any.")
@click.option("--dpop/--no-dpop", default=None, help="Ask for tokens that are bound to a key.")
@click.option("--passphrase-file", metavar="FILE", help="Its first line opens the vault.")
@remote_options
def login(name: str, **options: Any) -> None:
    """Log in at the remote server NAME.

    mcpguard asks the server who gives tokens for it, shows you where that leads, and opens the browser when you say
    yes. On a machine without one, say --paste. Before the server is registered, say where it is, as for
    `mcpguard server add`: --url URL, and --ca, --pin, --allow-network.
    """
    with errors_told():
        place = described(options)
        wish = _wish(options)
        log_in(
            name,
            wish,
            place,
            paste=options["paste"],
            yes=options["yes"],
            passphrase_file=options["passphrase_file"],
        )


_TEXTS: Final = ("issuer", "client_id", "key_id", "document", "provider", "assertion", "flow")
_OTHERS: Final = ("port", "dpop")
_FLAGS: Final = ("at_provider", "secret_post")


def _wish(options: dict[str, Any]) -> JsonObject:
    """What was said, and nothing that was not: what is left out stays as it was said before."""
    wish: JsonObject = {name: options[name] for name in _TEXTS if options[name]}
    wish |= {name: options[name] for name in _OTHERS if options[name] is not None}
    if options["scopes"]:
        wish["scopes"] = options["scopes"]
    wish |= {name: True for name in _FLAGS if options[name]}
    if options["secret_file"]:
        wish["secret"] = _secret(options["secret_file"])
    return wish


def _secret(file: str) -> str:
    if file == "-":
        text = sys.stdin.read(limits.KNOWN_SECRET_BYTES + 1)
    else:
        with Path(file).open(encoding="utf-8", errors="replace") as opened:
            text = opened.read(limits.KNOWN_SECRET_BYTES + 1)
    if not text.strip() or len(text) > limits.KNOWN_SECRET_BYTES:
        raise ConfigError("there is no secret in it, or it is too long", file=file)
    return text.strip()
