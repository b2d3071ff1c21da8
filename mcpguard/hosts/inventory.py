"""What there is to say of the servers of all hosts: which are wrapped, and what a person should look at.

Nothing here starts or asks anything; it is read off the configurations.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from mcpguard.hosts.entries import Entry, Form
from mcpguard.hosts.places import Place, Scope
from mcpguard.hosts.wrapping import is_wrapped, original

_SECRET_NAME: Final = re.compile(
    r"(?i)(token|secret|password|passwd|api[_-]?key|credential|private[_-]?key|access[_-]?key|authorization)"
)
_SECRET_VALUE: Final = re.compile(
    r"(?:gh[pousr]_|github_pat_|sk-|xox[abpr]-|AKIA|glpat-|AIza|eyJ)[A-Za-z0-9_.-]{12,}|(?i:bearer) [^\s$\"']{16,}"
)
_IN_URL: Final = re.compile(r"(?<=://)[^/@\s\"':]*:([^/@\s\"'$]+)(?=@)")
"""The password of `scheme://user:password@host`."""
_MEMBER: Final = re.compile(
    r"""(?ix) (?:token|secret|password|passwd|api[_-]?key|credential|private[_-]?key|access[_-]?key
    |authorization)[\w-]{0,64}["']?\s*[:=]\s* ("(?:[^"\\]|\\.)*"|'[^']*'|[^\s"',}{\[\]]+)"""
)
"""A member of a configuration whose name says that its value is a secret, in whatever way the file writes it.

What may stand around the word is bounded: without a bound a text of 100 KB without spaces takes minutes.
"""
_ASSIGNED: Final = re.compile(r"(?s)-{0,2}([A-Za-z][\w.-]*)=(.*)")
_REFERENCE: Final = re.compile(
    r"^mcpguard-secret://|\$\{|\{env:|\{file:|^(?:\w+ )?(?:\$[A-Za-z_]\w*|%[A-Za-z_]\w*%|\$\(.*\)|<[^>]+>)$|^$"
)
_ELSEWHERE: Final = re.compile(r"/|~/|--?\w")
"""How a value begins that says where a secret is, or is the next option."""
_LEAST: Final = 8
"""A shorter value of a member with such a name is taken for a number or a switch."""
_FETCHERS: Final = {
    "npx": "npm", "bunx": "npm", "pnpx": "npm", "uvx": "PyPI", "pipx": "PyPI", "docker": "a container registry",
    "podman": "a container registry",
}  # fmt: skip
_FETCHING: Final = {("npm", "exec"), ("pnpm", "dlx"), ("yarn", "dlx"), ("bun", "x"), ("uv", "tool")}
_SHELLS: Final = ("cmd", "sh", "bash", "zsh", "dash")
_BEFORE: Final = ("env", "/usr/bin/env", "exec")
"""Words that may stand before a command, assignments besides."""
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
    words = argv
    while words and (words[0] in _BEFORE or _ASSIGNED.fullmatch(words[0])):
        words = words[1:]
    if not words:
        return ""
    program = words[0].replace("\\", "/").rpartition("/")[2].lower().removesuffix(".cmd").removesuffix(".exe")
    if program in _SHELLS and len(words) > 2 and words[1].startswith(("-", "/")):
        return fetches(tuple(" ".join(words[2:]).split()))
    if (program, *words[1:2]) in _FETCHING:
        return "PyPI" if program == "uv" else "npm"
    return _FETCHERS.get(program, "")


def secrets_of(entry: Entry) -> list[str]:
    """Names of variables and numbers of arguments that hold what looks like a secret in plain text."""
    return [label for label, _ in _secrets(entry)]


def plain_secrets(entry: Entry) -> tuple[dict[str, str], list[str]]:
    """Variables whose values look like secrets in plain text, and where else such values are."""
    found = list(_secrets(entry))
    return (
        {label: value for label, value in found if label in entry.env},
        [label for label, _ in found if label not in entry.env],
    )


def without_secrets(text: str, entries: Iterable[Entry]) -> str:
    """A text of a configuration for a screen: values that look like secrets are stars."""
    for entry in entries:
        for _, value in _secrets(entry):
            for written in _as_written(value):
                text = text.replace(written, _STARS)
    text = _MEMBER.sub(_starred, text)
    text = _IN_URL.sub(lambda found: found[0].removesuffix(found[1]) + _STARS, text)
    return _SECRET_VALUE.sub(_STARS, text)


def _secrets(entry: Entry) -> Iterator[tuple[str, str]]:
    """What looks like a secret in plain text: where it is, and the secret."""
    for name, value in entry.env.items():
        if _is_secret(name, value):
            yield name, value
    flag = ""
    for number, word in enumerate(entry.argv):
        assigned = _ASSIGNED.fullmatch(word)
        if assigned and _is_secret(assigned[1], assigned[2]):
            yield f"argument {number}", assigned[2]
        elif _SECRET_VALUE.search(word) or _IN_URL.search(word) or _is_secret(flag, word):
            yield f"argument {number}", word
        flag = word if word.startswith("-") and not assigned else ""


def _as_written(value: str) -> Iterator[str]:
    """The ways in which a file may write a value on one line, or part of it on each of several."""
    for ascii_only in (False, True):
        yield json.dumps(value, ensure_ascii=ascii_only)[1:-1]
    for line in value.splitlines():
        if len(line) >= _LEAST:
            yield line


def _starred(found: re.Match[str]) -> str:
    """A member with stars for its value, unless that is a reference, or too short to be a secret."""
    value = found[1]
    quote = value[0] if value[0] in "\"'" else ""
    plain = value.strip(quote) if quote else value
    if len(plain) < _LEAST or _REFERENCE.search(plain):
        return found[0]
    return f"{found[0].removesuffix(value)}{quote}{_STARS}{quote}"


def _is_secret(name: str, value: str) -> bool:
    if _SECRET_VALUE.search(value) or _IN_URL.search(value):
        return True
    if _REFERENCE.search(value) or not _SECRET_NAME.search(name) or len(value) < _LEAST:
        return False
    return not _ELSEWHERE.match(value)


def _of_one(server: Server) -> list[Remark]:
    entry, found = server.entry, []

    def say(kind: str, words: str) -> None:
        found.append(Remark(kind, server.file, entry.line, entry.name, words))

    if server.place.old:
        say("old", f"{server.place.title} reads {server.place.old} now")
    if entry.form is Form.UNKNOWN or (entry.form is Form.SCRIPT and not server.wrapped):
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
