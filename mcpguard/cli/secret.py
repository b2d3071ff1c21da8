"""`mcpguard secret`: secrets for servers, kept out of configurations. Each verb has a module of its own.

Values come from standard input or from a terminal without echo, and go nowhere but to the daemon: no option, no
argument and no variable has one, since every user of a machine can read the arguments of a program.

Exit codes: 0 done; 1 declined; 2 usage; 3 no daemon runs; 5 refused, or the secret cannot be had; 6 a configuration
could not be changed.
"""

from __future__ import annotations

import base64
import sys
import time
from typing import Final

import click

from mcpguard.cli import ago, client, passphrase
from mcpguard.cli.terminal import at_terminal, tell
from mcpguard.cli.verbs import Verbs
from mcpguard.errors import SecretError, TrustError
from mcpguard.model import JsonObject

_VERBS: Final = {
    "allow": "secretallow",
    "import": "secretimport",
    "list": "secretlist",
    "lock": "secretunlock",
    "rm": "secretremove",
    "rotate": "secretset",
    "seal": "secretseal",
    "set": "secretset",
    "unlock": "secretunlock",
}
_MOST: Final = 1 << 20


@click.group(cls=Verbs, table=_VERBS)
def secret() -> None:
    """Keep secrets for servers: encrypted here, given to one server when it starts, never in a configuration."""


def value() -> bytes:
    """A value, from standard input if that is no terminal, else typed without echo; one line end is taken away.

    Raises:
        SecretError: There is none.
    """
    if sys.stdin.isatty():
        typed: str = click.prompt(
            "Value (not shown)", hide_input=True, default="", show_default=False, err=True
        )
        given = typed.encode("utf-8", "surrogateescape")
    else:
        given = sys.stdin.buffer.read(_MOST).removesuffix(b"\n").removesuffix(b"\r")
    if not given:
        raise SecretError("there is no value", hint="give it on standard input, or type it at a terminal")
    return given


def packed(data: bytes) -> str:
    """A value as requests have it."""
    return base64.b64encode(data).decode()


def until(expires: str | None) -> float:
    """When a secret expires: a time from now on (`30d`) or a day (`2027-01-31`), as Unix seconds; 0.0 for never.

    Raises:
        BadParameter: It is neither.
    """
    if not expires or expires == "never":
        return 0.0
    if (span := ago.seconds(expires)) is not None:
        return time.time() + span
    try:
        return float(time.mktime(time.strptime(expires, "%Y-%m-%d")))
    except ValueError as error:
        raise click.BadParameter(
            f"expected a time from now on, such as 30d, a day, such as 2027-01-31, or never, not {expires!r}",
            param_hint="--expires",
        ) from error


def ready(passphrase_file: str | None = None) -> None:
    """Have the daemon run with an open vault; whoever is at the terminal is asked for the passphrase if need be.

    Raises:
        GuardError: It cannot be opened.
    """
    client.ensure()
    state: JsonObject = client.request({"verb": "secrets"})["vault"]
    if state["state"] == "open":
        return
    given = ""
    if state["key"] == "passphrase":
        if not at_terminal() and passphrase.named(passphrase_file) is None:
            raise SecretError(
                "the vault is locked" if state["state"] == "locked" else "there is no vault yet",
                hint="open it at a terminal of yours: mcpguard secret unlock",
            )
        try:
            if state["state"] == "none":
                tell("there is no keyring here to keep the key of the vault: a passphrase opens it")
                given = passphrase.new(passphrase_file)
            else:
                given = passphrase.of("the vault", passphrase_file)
        except TrustError as error:
            raise SecretError(error.message, hint=error.hint) from error
    client.request({"verb": "secret-unlock", "text": packed(given.encode("utf-8", "surrogateescape"))})
