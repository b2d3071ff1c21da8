"""What a check of `mcpguard doctor` finds: how bad it is, in which words, and what helps."""

from __future__ import annotations

import enum
from collections.abc import Callable

import msgspec


class Level(enum.Enum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


class Finding(msgspec.Struct, frozen=True):
    """What one check has found.

    Attributes:
        check: Which check.
        level: How bad it is.
        words: What was found.
        fix: The command or the step that helps; empty if none is needed.
        mend: Does it, if it can be done without asking; `--fix` calls it.
    """

    check: str
    level: Level
    words: str
    fix: str = ""
    mend: Callable[[], None] | None = None


def ok(check: str, words: str) -> Finding:
    """Nothing to do."""
    return Finding(check, Level.OK, words)


def note(check: str, words: str, fix: str = "") -> Finding:
    """Something to know."""
    return Finding(check, Level.NOTE, words, fix)


def bad(check: str, words: str, fix: str = "", mend: Callable[[], None] | None = None) -> Finding:
    """Something to mend."""
    return Finding(check, Level.BAD, words, fix, mend)
