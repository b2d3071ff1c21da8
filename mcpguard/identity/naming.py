"""The name of a server that was given as a command: what policy and people call it.

A name found here is a convenience, not an identity: whoever writes the command chooses it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from mcpguard import limits

_RUNNERS: Final = frozenset(
    {"npx", "uvx", "bunx", "pnpx", "pipx", "npm", "pnpm", "yarn", "uv", "bun", "deno", "docker"}
)
_INTERPRETERS: Final = re.compile(r"(?:python|pypy|node|ruby|perl|bash|sh|dash|zsh)[0-9.]*")
_VERBS: Final = frozenset({"run", "exec", "x", "dlx", "tool", "start"})
_SUFFIX: Final = re.compile(r"(?:\.(?:py|js|mjs|cjs|ts|sh|exe))$")
_KEPT: Final = re.compile(r"[^A-Za-z0-9_.-]+")


def server_name(argv: Sequence[str]) -> str:
    """A short name for a command: the package, module or script that it runs; `server` if nothing is left."""
    command = argv[0].rsplit("/", 1)[-1]
    if command in _RUNNERS or _INTERPRETERS.fullmatch(command):
        command = _subject(argv[1:]) or command
    name = _KEPT.sub("-", _SUFFIX.sub("", _base(command)))[: limits.NAME_CHARS]
    return name.strip("-.") or "server"


def _subject(arguments: Sequence[str]) -> str:
    """The first argument that names what is run; after `-m`, the module."""
    for place, argument in enumerate(arguments):
        if argument == "-m" and place + 1 < len(arguments):
            return arguments[place + 1]
        if not argument.startswith("-") and argument not in _VERBS:
            return argument
    return ""


def _base(word: str) -> str:
    """A package without its version and scope, a path without its directories."""
    if word.startswith("@"):
        return "/".join(part.split("@")[0] for part in word[1:].split("/")).replace("/", "-")
    return word.rsplit("/", 1)[-1].split("@", maxsplit=1)[0].split("==", maxsplit=1)[0]
