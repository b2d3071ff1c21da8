"""Patterns over paths of programs, so that a host stays the same host when its vendor writes a version into the path.

In a component `*` is any run of characters; a component `**` is any number of components. Everything else is itself.

Rule 1: a pattern matches a whole absolute path or nothing; case counts.
Rule 2: no input makes matching slow: the work is at most the product of the lengths of pattern and path.

Not here: what the file is. A path is a selector for people, never an identity; the digest is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

PATH_CHARS: Final = 4096
"""Longest path, characters (PATH_MAX of Linux)."""

_ANY: Final = "*"
_ANYWHERE: Final = "**"
_VERSION: Final = re.compile(r"v?[0-9]+(?:\.[0-9]+)+(?:[-+_.][0-9A-Za-z.+_-]*)?")
# Two dots at least, or `python3.11` would mean every `python`.
_VERSION_INSIDE: Final = re.compile(
    r"[0-9]+(?:\.[0-9]+){2,}(?:-(?:alpha|beta|rc|pre|preview|nightly|dev|canary|insider)[0-9A-Za-z.]*)?"
)
_COMMIT: Final = re.compile(r"(?<![0-9A-Za-z])(?:[0-9a-f]{64}|[0-9a-f]{40})(?![0-9A-Za-z])")
_NIX_HASH: Final = re.compile(r"[0-9a-z]{32}-")


def derive(path: str) -> str:
    """The pattern for a program: its path, with what looks like a version, commit or revision replaced.

    Known forms: `versions/2.1.328`, `v20.11.1/bin/node`, `pkg@1.2.3`, a commit of 40 or 64 hex digits, the revision
    of a snap, the hash of a path in the Nix store. The path must not hold a star (`flaw` finds one that does not
    begin with a slash; see `has_star`).
    """
    parts = path.split("/")
    place = [part for part in parts if part]
    derived = [_derived(part) for part in parts]
    if place[:1] == ["snap"] and len(place) > 3 and place[2].isascii() and place[2].isdigit():
        derived[3] = _ANY
    if place[:2] == ["nix", "store"] and len(place) > 2:
        derived[3] = _NIX_HASH.sub("*-", derived[3], count=1)
    return "/".join(derived)


def has_star(path: str) -> bool:
    """Whether a path itself holds what patterns are made of, so that no pattern can mean it alone."""
    return _ANY in path


def flaw(pattern: str) -> str:
    """Why it is not a pattern, as the end of a sentence that begins with `expected`; empty if it is one."""
    if not pattern.startswith("/") or len(pattern) > PATH_CHARS:
        return f"an absolute path of at most {PATH_CHARS} characters"
    if not pattern.isprintable():
        return "a path of visible characters"
    parts = pattern.split("/")[1:]
    if any(part in ("", ".", "..") for part in parts):
        return "a path without empty components, . and .."
    if any(_ANYWHERE in part and part != _ANYWHERE for part in parts):
        return "** as a component of its own"
    if all(not part.strip(_ANY) for part in parts):
        return "a path with a name in it"
    return ""


def matches(pattern: str, path: str) -> bool:
    """Whether the whole of `path` is described by `pattern`."""
    if not path.startswith("/"):
        return False
    return _fits(pattern.split("/"), path.split("/"), _ANYWHERE, _component)


def word_matches(pattern: str, word: str) -> bool:
    """Whether the whole of a word without slashes, such as the name of a unit, is described by `pattern`."""
    return _component(pattern, word)


def _derived(part: str) -> str:
    if _VERSION.fullmatch(part):
        return _ANY
    part = _COMMIT.sub(_ANY, _VERSION_INSIDE.sub(_ANY, part))
    while _ANYWHERE in part:
        part = part.replace(_ANYWHERE, _ANY)
    return part


def _component(pattern: str, word: str) -> bool:
    return _fits(pattern, word, _ANY, str.__eq__)


def _fits(pattern: Sequence[str], items: Sequence[str], star: str, same: Callable[[str, str], bool]) -> bool:
    """Whether a sequence is described by one with stars; only the last star is ever tried again."""
    at = place = 0
    last_star, resume = -1, 0
    while place < len(items):
        if at < len(pattern) and pattern[at] == star:
            last_star, resume = at, place
            at += 1
        elif at < len(pattern) and same(pattern[at], items[place]):
            at += 1
            place += 1
        elif last_star >= 0:
            resume += 1
            at, place = last_star + 1, resume
        else:
            return False
    return all(part == star for part in pattern[at:])
