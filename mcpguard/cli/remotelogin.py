"""`mcpguard remote login`: a token for a remote server, from whoever gives them.

What a server or an authorization server says is shown before anything is opened, and a browser opens only after a
yes.

Exit codes: 0 logged in; 1 it failed, or nobody said yes; 5 refused: what a host has started may not log in.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from mcpguard import limits
from mcpguard.cli import client
from mcpguard.cli.remotewords import granted, leads_to
from mcpguard.cli.terminal import at_terminal, confirm, errors_told, say, tell
from mcpguard.credentials.oautherror import OAuthError
from mcpguard.credentials.oauthsettings import FLOWS
from mcpguard.errors import ConfigError, GuardError
from mcpguard.model import JsonObject
from mcpguard.system import browser

_ASKING: Final = "asking"
_ENDED: Final = ("done", "failed")
_POLL_SECONDS: Final = 5.0


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
def login(name: str, **options: Any) -> None:
    """Log in at the remote server NAME.

    mcpguard asks the server who gives tokens for it, shows you where that leads, and opens the browser when you say
    yes. On a machine without one, say --paste.
    """
    with errors_told():
        client.ensure()
        told = client.request({"verb": "remote-login", "name": name, "text": _wish(options)})
        with contextlib.ExitStack() as unfinished:
            unfinished.callback(_given_up, str(told["ident"]))
            told = _accompanied(told, paste=options["paste"], yes=options["yes"])
            unfinished.pop_all()
        if told["phase"] != "done":
            raise OAuthError(str(told.get("error", "the login failed")), hint=str(told.get("hint", "")))
        say(*granted(told))


def _given_up(ident: str) -> None:
    """Nobody waits for a login any more, for whatever reason: the daemon need not listen for its answer."""
    with contextlib.suppress(GuardError):
        client.request({"verb": "remote-cancel", "ident": ident})


def _accompanied(told: JsonObject, *, paste: bool, yes: bool) -> JsonObject:
    """Follow a login to its end; what is told of it then."""
    while told["phase"] not in _ENDED:
        if told["phase"] == _ASKING:
            tell(*leads_to(told))
            if not _opened(told, paste=paste, yes=yes):
                answer = {"verb": "remote-answer", "ident": told["ident"], "text": _pasted(str(told["url"]))}
                told = client.request(answer)
            else:
                tell("waiting for the browser; Ctrl-C gives up")
        told = _next(told)
    return told


def _next(told: JsonObject) -> JsonObject:
    """What is told when the phase is another."""
    phase = told["phase"]
    while told["phase"] == phase and phase not in _ENDED:
        told = client.request(
            {"verb": "remote-wait", "ident": told["ident"], "source": phase, "seconds": _POLL_SECONDS}
        )
    return told


def _opened(told: JsonObject, *, paste: bool, yes: bool) -> bool:
    """Whether a browser was opened: after a yes, and if there is one."""
    url = browser.require_url(str(told["url"]))
    if paste:
        return False
    if not browser.launcher(os.environ):
        tell("there is no browser here")
        return False
    confirm(f"Open the browser at {urlsplit(url).netloc}?", yes=yes)
    return browser.open_page(url, os.environ)


def _pasted(url: str) -> str:
    """The address at which a browser elsewhere has ended."""
    tell(
        "Open this in a browser, and log in. It ends at an address of 127.0.0.1 that may not load: copy it.",
        "",
        url,
        "",
    )
    if at_terminal():
        return str(click.prompt("The address", err=True, prompt_suffix=": ")).strip()
    line = sys.stdin.readline(limits.OAUTH_REDIRECT_CHARS).strip()
    if not line:
        raise OAuthError("no address was given")
    return line


_TEXTS: Final = ("issuer", "client_id", "key_id", "document", "provider", "assertion", "flow")
_OTHERS: Final = ("port", "dpop")
_FLAGS: Final = ("at_provider", "secret_post")


def _wish(options: dict[str, Any]) -> str:
    """What was said, and nothing that was not: what is left out stays as it was said before."""
    wish = {name: options[name] for name in _TEXTS if options[name]}
    wish |= {name: options[name] for name in _OTHERS if options[name] is not None}
    if options["scopes"]:
        wish["scopes"] = options["scopes"]
    wish |= {name: True for name in _FLAGS if options[name]}
    if options["secret_file"]:
        wish["secret"] = _secret(options["secret_file"])
    return json.dumps(wish)


def _secret(file: str) -> str:
    if file == "-":
        text = sys.stdin.read(limits.KNOWN_SECRET_BYTES + 1)
    else:
        with Path(file).open(encoding="utf-8", errors="replace") as opened:
            text = opened.read(limits.KNOWN_SECRET_BYTES + 1)
    if not text.strip() or len(text) > limits.KNOWN_SECRET_BYTES:
        raise ConfigError("there is no secret in it, or it is too long", file=file)
    return text.strip()
