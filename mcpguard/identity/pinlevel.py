"""How much of a server is pinned: P0 to P4, and the words for it.

Rule: a level says what was done, never more. What may still change is part of its text.

Decided:
    *Nothing but a package tree in our own store is more than P1*, because a digest of a command says nothing of
    what that command loads: a Python script imports, a binary maps libraries and starts others; rejected: a level
    of its own for single binaries, which cannot be told from launchers by looking at them.
    *A runner with an option that we do not know is P0*, because the option's value could be the package.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

LABELS: Final = {
    "P0": "not pinned",
    "P1": "command or version named, content not pinned",
    "P2": "content pinned by lock file",
    "P3": "tree pinned",
    "P4": "tree pinned, kernel enforced",
}
"""What a person reads."""

FREE: Final = {
    "P0": "everything: what runs is chosen anew at each start",
    "P1": "everything that the command loads, downloads or starts",
    "P2": "the store while the server runs, interpreter, shared libraries, code downloaded at run time",
    "P3": "shared libraries, kernel, code downloaded at run time",
    "P4": "the operating system, code downloaded at run time",
}
"""What may still change without our noticing."""

_RUNNERS: Final = {
    "npx": (), "bunx": (), "pnpx": (), "uvx": (), "pipx": ("run",), "npm": ("exec", "x"), "pnpm": ("dlx",),
    "yarn": ("dlx",), "uv": ("tool", "run"), "bun": ("x",),
}  # fmt: skip
"""Programs that fetch what they run, and the words before the package."""
_CONTAINERS: Final = frozenset({"docker", "podman", "nerdctl"})
_LAUNCHERS: Final = frozenset({
    "env", "sudo", "doas", "su", "nice", "ionice", "timeout", "nohup", "setsid", "stdbuf", "taskset", "xargs",
    "busybox", "flatpak", "snap", "nix", "nix-shell", "bwrap", "firejail", "unshare", "setpriv", "ssh", "deno",
})  # fmt: skip
"""Programs that start another one, or fetch it, and leave no trace of that in their own digest."""
_SHELL: Final = re.compile(r"(?:ba|da|z|k|fi)?sh")
_SWITCHES: Final = frozenset({"-y", "--yes", "-q", "--quiet", "-s", "--silent", "--no-progress", "--"})
_INSTEAD: Final = frozenset({"-p", "--package", "--from", "--spec"})
"""Options that name the package, so that the first word is a command in it."""
_BESIDES: Final = frozenset({"--with"})
_EXACT: Final = re.compile(r".+(?:@|==)v?[0-9]+\.[0-9]+[0-9A-Za-z.+!_-]*")
_IMAGE: Final = re.compile(r".+(?::v?[0-9][0-9A-Za-z._-]*|@sha256:[0-9a-f]{64})")


def command_level(argv: Sequence[str]) -> str:
    """P0 or P1: what a command that is not run from our store deserves; `argv` as a host would write it."""
    program, words = argv[0].rsplit("/", 1)[-1], argv[1:]
    if program in _RUNNERS:
        return "P1" if _names_version(words, _RUNNERS[program]) else "P0"
    if program in _CONTAINERS:
        return "P1" if any(_IMAGE.fullmatch(word) for word in words) else "P0"
    if program in _LAUNCHERS or (_SHELL.fullmatch(program) and _script_in_words(words)):
        return "P0"
    return "P1"


def _script_in_words(words: Sequence[str]) -> bool:
    """Whether a shell is told what to do on its command line, or on its stdin, instead of by a file."""
    return not words or words[0].startswith("-")


def _names_version(words: Sequence[str], verbs: Sequence[str]) -> bool:
    """Whether every package that a runner is told to fetch has an exact version."""
    instead: list[str] = []
    besides: list[str] = []
    place = 0
    while place < len(words):
        word = words[place]
        option, _, value = word.partition("=")
        if option in _INSTEAD | _BESIDES:
            place += 0 if value else 1
            (instead if option in _INSTEAD else besides).append(value or "".join(words[place : place + 1]))
        elif word.startswith("-") and word not in _SWITCHES:
            return False
        elif word not in _SWITCHES and word not in verbs:
            instead = instead or [word]
            break
        place += 1
    return bool(instead) and all(_EXACT.fullmatch(package) for package in (*instead, *besides))
