"""A house, a remote server behind a login, whoever gives tokens for it, and a browser of a few lines; all real."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

import trustme

from tests.daemon.oauthworld import AUTHORITY, World, world
from tests.lifecycle.forms import FORMS
from tests.lifecycle.stage import MCPGUARD, Host, House

BROWSER = """#!{python}
import ssl, sys, urllib.request
open({seen!r}, "a").write(repr(sys.argv[1:]) + "\\n")
page = urllib.request.urlopen(sys.argv[1], context=ssl.create_default_context(cafile={ca!r}))
assert b"go back to the terminal" in page.read()
"""
PHRASE = "correct horse battery"
POLICY = (
    'version = 1\nmode = "enforce"\n[[rule]]\nid = "look"\nserver = "*"\ntools = ["look"]\neffect = "allow"\n'
)
TOOLS = [
    {"name": name, "description": f"Does {name}.", "inputSchema": {"type": "object", "properties": {}}}
    for name in ("look", "write")
]
LEGACY = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "far", "version": "1"},
}


def served(message: dict[str, Any]) -> dict[str, Any] | None:
    """What the server answers, once it has let somebody in."""
    if "id" not in message:
        return None
    results = {
        "initialize": LEGACY,
        "tools/list": {"tools": TOOLS},
        "tools/call": {"content": [{"type": "text", "text": "done"}]},
    }
    head = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] not in results:
        return head | {"error": {"code": -32601, "message": "not here"}}
    return head | {"result": results[message["method"]]}


def apart(place: House, name: str) -> Host:
    """A host of a process of its own, so that the test is a person beside it."""
    host = Host([*FORMS["pairs"], *MCPGUARD, "run", name], place.env)
    place.hosts.append(host)
    return host


def furnish(house: House, authority: trustme.CA) -> tuple[Path, Path]:
    """A file with the authority of far servers, and a browser that trusts it; where that writes down what it saw."""
    ca, browser, seen = (house.root / name for name in ("ca.pem", "browser", "seen"))
    authority.cert_pem.write_to_path(str(ca))
    browser.write_text(BROWSER.format(python=sys.executable, seen=str(seen), ca=str(ca)))
    browser.chmod(0o755)
    house.env["MCPGUARD_BROWSER"] = str(browser)
    return ca, seen


def give_phrase(house: House) -> None:
    """A file with the passphrase, named in the environment."""
    file = house.root / "phrase"
    file.write_text(f"{PHRASE}\n")
    file.chmod(0o600)
    house.env["MCPGUARD_PASSPHRASE_FILE"] = str(file)


class Stage(House):
    """A house that has heard of one remote server."""

    at: World
    seen: Path
    ca: Path

    async def verb(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(self.mcpguard, *words, **more)

    @property
    def place(self) -> list[str]:
        """Where it is, as options."""
        return ["--url", self.at.resource.url, "--ca", str(self.ca), "--allow-network", "loopback"]

    def values(self) -> list[str]:
        """Everything that must not be shown."""
        provider = self.at.provider
        return [text for token in provider.tokens for text in (token.access, token.refresh) if text] + [
            client.secret for client in provider.clients.values() if client.secret
        ]

    def files_with(self, values: list[str]) -> list[str]:
        """Files of the whole HOME that have one of these."""
        return [
            str(path)
            for path in self.root.rglob("*")
            if path.is_file() and any(value.encode() in path.read_bytes() for value in values)
        ]


S = TypeVar("S", bound=Stage)


@contextlib.asynccontextmanager
async def far(kind: type[S] = Stage, *, phrase: bool = True, **traits: object) -> AsyncIterator[S]:
    """An empty house, with a file that has a passphrase or without, and no daemon yet."""
    with kind() as made:
        async with world(**traits) as at:
            at.resource.serve = served
            made.at = at
            made.ca, made.seen = furnish(made, AUTHORITY)
            if phrase:
                give_phrase(made)
            try:
                yield made
            finally:
                await asyncio.to_thread(made.__exit__)
