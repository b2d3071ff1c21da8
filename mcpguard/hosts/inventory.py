"""What there is to say of the servers of all hosts: which are wrapped, and what a person should look at.

Nothing here starts or asks anything; it is read off the configurations.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec

from mcpguard.hosts.entries import Entry, Form
from mcpguard.hosts.places import Place, Scope
from mcpguard.hosts.wrapping import is_wrapped, original

_SECRET_NAME: Final = re.compile(r"(?i)(token|secret|password|passwd|api_?key|credential|private_?key)")
_SECRET_VALUE: Final = re.compile(
    r"(?:gh[pousr]_|github_pat_|sk-|xox[abpr]-|AKIA|glpat-|AIza|eyJ)[A-Za-z0-9_.-]{12,}|(?i:bearer) [^\s$]{16,}"
)
_REFERENCE: Final = re.compile(r"\$\{|\$[A-Z_]|\{env:|\{file:|%[A-Z_]+%|^\$\(|<[^>]+>$|^$")
_FETCHERS: Final = {
    "npx": "npm", "bunx": "npm", "pnpx": "npm", "uvx": "PyPI", "pipx": "PyPI", "docker": "a container registry",
    "podman": "a container registry",
}  # fmt: skip
_FETCHING: Final = {("npm", "exec"), ("pnpm", "dlx"), ("yarn", "dlx"), ("bun", "x"), ("uv", "tool")}
_SHOWN: Final = 4
_STARS: Final = "********"


class Server(msgspec.Struct, frozen=True):
    """One server of one configuration.

    Attributes:
        place: The kind of file.
        file: The file.
        entry: The entry.
    """

    place: Place
    file: str
    entry: Entry

    @property
    def wrapped(self) -> bool:
        """Whether it starts behind mcpguard."""
        return is_wrapped(self.entry.argv)

    @property
    def argv(self) -> tuple[str, ...]:
        """What is started, mcpguard left out; empty for what a manifest says."""
        return original(self.entry.argv) if self.wrapped else self.entry.argv


class Remark(msgspec.Struct, frozen=True):
    """Something that a person should look at.

    Attributes:
        kind: `secret`, `fetches`, `twice`, `project`, `old`, `unclear`.
        file: Where.
        line: Which line, from 1; 0 if it is about no line.
        server: The server, or empty.
        words: What is to be said, one sentence without a full stop.
    """

    kind: str
    file: str
    line: int
    server: str
    words: str


def remarks(servers: Iterable[Server]) -> list[Remark]:
    """What is to be said of these servers, by file and line."""
    every = list(servers)
    found = [remark for server in every for remark in _of_one(server)]
    found += _twice(every)
    return sorted(found, key=lambda one: (one.file, one.line, one.kind))


def fetches(argv: tuple[str, ...]) -> str:
    """From where a command fetches code each time it starts; empty if it does not, as far as its words tell."""
    if not argv:
        return ""
    program = argv[0].replace("\\", "/").rpartition("/")[2].removesuffix(".cmd").removesuffix(".exe")
    if program in ("cmd", "sh", "bash", "zsh") and len(argv) > 2:
        words = tuple(" ".join(argv[2:]).split())
        return fetches(words)
    if (program, *argv[1:2]) in _FETCHING:
        return "PyPI" if program == "uv" else "npm"
    return _FETCHERS.get(program, "")


def secrets_of(entry: Entry) -> list[str]:
    """Names of variables and numbers of arguments that hold what looks like a secret in plain text."""
    found = [name for name, value in entry.env.items() if _is_secret(name, value)]
    found += [f"argument {number}" for number, word in enumerate(entry.argv) if _SECRET_VALUE.search(word)]
    return found


def without_secrets(text: str, entries: Iterable[Entry]) -> str:
    """A text of a configuration for a screen: values that look like secrets are stars."""
    for entry in entries:
        for name, value in entry.env.items():
            if _is_secret(name, value):
                text = text.replace(value, _STARS)
    return _SECRET_VALUE.sub(_STARS, text)


def _is_secret(name: str, value: str) -> bool:
    if _REFERENCE.search(value):
        return False
    return bool(_SECRET_VALUE.search(value) or (_SECRET_NAME.search(name) and len(value) >= 8))


def _of_one(server: Server) -> list[Remark]:
    entry, found = server.entry, []

    def say(kind: str, words: str) -> None:
        found.append(Remark(kind, server.file, entry.line, entry.name, words))

    if server.place.old:
        say("old", f"{server.place.title} reads {server.place.old} now")
    if entry.form is Form.UNKNOWN:
        say("unclear", entry.why)
    if names := secrets_of(entry):
        more = ", ..." if len(names) > _SHOWN else ""
        say("secret", f"a secret in plain text: {', '.join(names[:_SHOWN])}{more}")
    if origin := fetches(server.argv):
        say("fetches", f"fetches code from {origin} each time it starts")
    if server.place.scope is Scope.PROJECT and entry.starts and not server.wrapped:
        say("project", "a file of this folder starts it, once the host trusts the folder")
    return found


def _twice(servers: list[Server]) -> list[Remark]:
    """One command under two names, which policy would take for two servers."""
    named: dict[tuple[str, ...], dict[str, Server]] = defaultdict(dict)
    for server in servers:
        if server.argv:
            named[server.argv].setdefault(server.entry.name, server)
    return [
        Remark(
            "twice",
            server.file,
            server.entry.line,
            name,
            f"the same command is called {', '.join(sorted(set(names) - {name}))} elsewhere",
        )
        for names in named.values()
        if len(names) > 1
        for name, server in names.items()
    ]
