"""`mcpguard presence`: how you show that you are there, where a rule says `confirm = "presence"`.

A passphrase is read from the terminal and from nothing else: no option, no file, no variable has it, because an agent
can fill those.

Exit codes: 0 done; 2 usage; 5 not shown.
"""

from __future__ import annotations

import json
import os
import termios
from collections.abc import Callable
from typing import Final

import click

from mcpguard.cli import client
from mcpguard.cli.terminal import errors_told, print_json, say
from mcpguard.errors import TrustError
from mcpguard.model import JsonObject

_WORDS: Final = {
    "polkit": "a window of the system",
    "fido2": "a touch of a security key",
    "passphrase": "a passphrase",
}


@click.group()
def presence() -> None:
    """How you show that you are there: a passphrase, a security key, or polkit."""


@presence.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(as_json: bool) -> None:
    """List the ways, which are set up, and which policy accepts."""
    with errors_told(as_json=as_json):
        reply = client.request({"verb": "presence"})
    if as_json:
        print_json({"ok": True, **{key: reply[key] for key in ("ways", "accepted", "keys")}})
        return
    for way, there in reply["ways"].items():
        accepted = "" if way in reply["accepted"] else ", which policy does not accept"
        keys = f": {', '.join(reply['keys'])}" if way == "fido2" and there else ""
        say(f"{way:<10}  {'set up' if there else 'not set up'}{keys}{accepted}")


@presence.command("set")
@click.argument("way", type=click.Choice(["passphrase", "fido2"]))
@click.option("--name", default="key", show_default=True, help="What you call the security key.")
def set_(way: str, name: str) -> None:
    """Set up a WAY. If one is set up already, it has to be used first."""
    with errors_told():
        client.ensure()
        if way == "passphrase":
            _shown({"verb": "presence-put", "name": way}, text=_chosen)
        else:
            _enrol(name)
        say(f"set up: {_WORDS[way]}")


@presence.command()
@click.argument("way", type=click.Choice(["passphrase", "fido2"]))
@click.option("--name", default="key", show_default=True, help="What you call the security key.")
def remove(way: str, name: str) -> None:
    """Give up a WAY. It, or another, has to be used first."""
    with errors_told():
        _shown({"verb": "presence-remove", "name": way, "source": name if way == "fido2" else ""})
        say(f"removed: {_WORDS[way]}")


def prove(methods: list[str], challenge: str) -> str:
    """Show presence by the first of these ways; what the daemon wants to see of it.

    Raises:
        TrustError: There is no terminal, no security key, or nothing was typed.
    """
    given: JsonObject = {"challenge": json.loads(challenge)["challenge"], "way": methods[0]}
    if methods[0] == "passphrase":
        given["passphrase"] = _typed("Passphrase for approvals")
    elif methods[0] == "fido2":
        from mcpguard.cli import touch

        given["response"] = touch.answer(challenge)
    return json.dumps(given)


def _shown(request: JsonObject, text: Callable[[], str] | None = None) -> JsonObject:
    """A request that may want presence, with what is asked for afterwards."""
    more = {"text": text()} if text else {}
    try:
        return client.request({**request, **more})
    except client.PresenceWanted as wanted:
        return client.request({**request, **more, "proof": prove(wanted.methods, wanted.challenge)})


def _enrol(name: str) -> None:
    from mcpguard.cli import touch

    challenge = _shown({"verb": "presence-begin"})["challenge"]
    answer = {
        "challenge": json.loads(challenge)["challenge"], "way": "fido2", "response": touch.enrol(challenge),
    }  # fmt: skip
    client.request({"verb": "presence-put", "name": "fido2", "source": name, "text": json.dumps(answer)})


def _chosen() -> str:
    first = _typed("New passphrase for approvals")
    if _typed("The same again") != first:
        raise TrustError("the passphrases differ", hint="try again")
    return first


def _typed(words: str) -> str:
    """What a person types, unseen, on the terminal of this process, wherever its input comes from.

    Raises:
        TrustError: There is no terminal, or nothing was typed.
    """
    try:
        terminal = open("/dev/tty", "r+b", buffering=0)  # noqa: PTH123, SIM115 (closed below)
    except OSError as error:
        raise TrustError(
            "a passphrase is needed and there is no terminal to ask on",
            hint="call from a terminal of your own",
        ) from error
    with terminal:
        typed = _unseen(terminal.fileno(), f"{words}: ")
    if not typed:
        raise TrustError("the passphrase is empty", hint="try again")
    return typed


def _unseen(terminal: int, words: str) -> str:
    """One line, without echo; what was typed before the question is thrown away."""
    before = termios.tcgetattr(terminal)
    quiet = [*before]
    quiet[3] &= ~termios.ECHO
    line = b""
    try:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, quiet)
        os.write(terminal, words.encode())
        while not line.endswith(b"\n") and (more := os.read(terminal, 1024)):
            line += more
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        os.write(terminal, b"\n")
    return line.removesuffix(b"\n").decode("utf-8", "surrogateescape")
