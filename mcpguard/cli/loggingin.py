"""A login at a remote server from its beginning to its end, with a person at the terminal.

What a server or an authorization server says is shown before anything is opened, and a browser opens only after a
yes. Where the token will be kept is open before anybody is sent anywhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Final
from urllib.parse import urlsplit

import click
import msgspec

from mcpguard import limits
from mcpguard.cli import client, secret
from mcpguard.cli.remotewords import granted, leads_to
from mcpguard.cli.terminal import at_terminal, confirm, say, tell
from mcpguard.credentials.oautherror import OAuthError
from mcpguard.errors import GuardError
from mcpguard.identity.remote import Remote
from mcpguard.model import JsonObject
from mcpguard.system import browser

_ASKING: Final = "asking"
_ENDED: Final = ("done", "failed")
_POLL_SECONDS: Final = 5.0


def log_in(
    name: str, wish: JsonObject | None = None, place: Remote | None = None,
    *, paste: bool = False, yes: bool = False, passphrase_file: str | None = None,
) -> None:  # fmt: skip
    """Log in.

    Args:
        name: The server.
        wish: What is said about the login (`daemon.oauthdesk.Wish`).
        place: Where the server is, if it is not registered yet.
        paste: Whether nothing is to be opened.
        yes: Whether the browser opens without a question.
        passphrase_file: Opens the vault.

    Raises:
        GuardError: It failed, and why.
    """
    said = dict(wish or {}) | ({"place": msgspec.to_builtins(place)} if place is not None else {})
    secret.ready(passphrase_file)
    told = client.request({"verb": "remote-login", "name": name, "text": json.dumps(said)})
    with contextlib.ExitStack() as unfinished:
        unfinished.callback(_given_up, str(told["ident"]))
        told = _accompanied(told, paste=paste, yes=yes)
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
