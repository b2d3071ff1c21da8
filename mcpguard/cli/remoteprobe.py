"""What a server at a URL says of itself, asked by the daemon; and the login that it may want before.

Decided: *the daemon asks servers on the network*, because tokens and our certificates never leave it. Sockets of this
machine are asked from here: what may be connected to there is decided by who we are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from mcpguard.cli import client, secret
from mcpguard.cli.terminal import at_terminal, confirm, tell
from mcpguard.credentials.oautherror import OAuthError
from mcpguard.daemon.probed import Probed
from mcpguard.errors import GuardError, SecretError, TrustError, UpstreamError
from mcpguard.identity.remote import Remote
from mcpguard.model import JsonObject


class LoginWanted(OAuthError):
    """The server says nothing of itself before somebody has logged in."""


def probed(name: str, remote: Remote, log_in: Callable[[], None], said: str, *, yes: bool) -> Probed:
    """What the server says of itself; whoever is at a terminal may log in for that.

    Args:
        name: What it is to be called.
        remote: Where it is.
        log_in: Logs in there.
        said: How its place was said, as options.
        yes: Whether nothing is to be asked. It is no yes to a login.

    Raises:
        LoginWanted: It wants a login, and there is nobody to ask.
        GuardError: It is not the one that is meant, cannot be reached, or answers in no era.
    """
    tell(f"connecting to {remote.url}")
    try:
        return _opened(name, remote)
    except LoginWanted as error:
        step = f"mcpguard remote login {name} {said}"
        if yes or not at_terminal():
            raise LoginWanted(error.message, hint=f"{step}; then register it again, as you did") from error
        tell(f"{error.message}; to log in later: {step}")
    confirm(f"Log in at {remote.target.shown} now?", yes=False)
    log_in()
    return _asked(name, remote)


def again(name: str, remote: Remote) -> Probed:
    """What a registered server says of itself now.

    Raises:
        LoginWanted: It wants a login.
        GuardError: As for `probed`.
    """
    tell(f"connecting to {remote.url}")
    try:
        return _opened(name, remote)
    except LoginWanted as error:
        raise LoginWanted(error.message, hint=f"mcpguard remote login {name}") from error


def _opened(name: str, remote: Remote) -> Probed:
    """The same; a vault that is locked is opened by whoever is at the terminal, or by a file with its passphrase."""
    try:
        return _asked(name, remote)
    except SecretError:
        secret.ready()
    return _asked(name, remote)


def _asked(name: str, remote: Remote) -> Probed:
    if remote.target.socket:
        from mcpguard.daemon.probe import probe_remote_now

        return probe_remote_now(remote, tell=tell)
    client.ensure()
    place = msgspec.json.encode(remote).decode()
    told = client.request({"verb": "remote-probe", "name": name, "text": place})
    shown = 0
    while True:
        words: list[Any] = told["told"]
        tell(*map(str, words[shown:]))
        shown = len(words)
        if told["phase"] != "asking":
            break
        told = client.request({"verb": "remote-probed", "ident": told["ident"], "since": shown})
    if told["phase"] != "done":
        raise _failure(told, remote)
    return msgspec.convert(told["probed"], Probed)


def _failure(told: JsonObject, remote: Remote) -> GuardError:
    message, hint = str(told["error"]), str(told["hint"])
    if told["login"]:
        return LoginWanted(f"the server at {remote.target.shown} wants a login before it says what it offers")
    match told["code"]:
        case "trust":
            return TrustError(message, hint=hint)
        case "secret":
            return SecretError(message, hint=hint)
        case _:
            return UpstreamError(message, code=125, hint=hint)
