"""How a decoded TOML document is read: each value is what it must be, or an error points at it.

Rule 1: nothing is overlooked: a key or a value that is not understood is an error, never a default.
Rule 2: a message says what was expected, what was found, and on which line.

Not here: what the keys mean (`document`, `rulekeys`, `conditionkeys`, `trials`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.model import Json, JsonObject
from mcpguard.policy.lines import Lines, Path
from mcpguard.policy.match import Pattern, compile_pattern, flaw

Choice = TypeVar("Choice")
Value = TypeVar("Value")

ID: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
ID_WORDS: Final = "1 to 64 of a-z 0-9 _ . - beginning with a letter or digit"
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"([0-9]{1,6})([smh])")
_SHOWN_CHARS: Final = 60


def is_name(text: str) -> bool:
    """Whether a rule, role, label or enrolled host can be called so: 1 to 64 of a-z 0-9 _ . -, no mark first."""
    return ID.fullmatch(text) is not None


class Reader:
    """Reads the values of one document, and knows where to point when it cannot.

    Args:
        file: The name that errors show.
        text: The document, for the lines of its keys.
    """

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self._lines = Lines(text)

    def line(self, path: Path) -> int:
        """The line on which a key stands; 0 if it does not."""
        return self._lines.of(path)

    def fault(self, path: Path, message: str, hint: str = "") -> ConfigError:
        """The error that points at a key."""
        key = next((part for part in reversed(path) if isinstance(part, str)), "")
        shown = key if ID.fullmatch(key) else found(key)
        return ConfigError(message, file=self.file, line=self.line(path), key=shown if key else "", hint=hint)

    def missing(self, path: Path, key: str, wanted: str) -> ConfigError:
        """The error that says that a key is not there; it points at what should hold it."""
        line = self.line(path) if path else 0
        return ConfigError(f"expected {wanted}, found nothing", file=self.file, line=line, key=key)

    def known(self, table: JsonObject, path: Path, keys: Iterable[str]) -> None:
        """Refuse a key that is not one of these."""
        allowed = tuple(keys)
        for key in table:
            if key not in allowed:
                near = nearest(key, allowed) or f"known are {', '.join(allowed)}"
                message = "expected a known key, found one that is not a key of this place"
                raise self.fault((*path, key), message, near)

    def optional(
        self, table: JsonObject, path: Path, key: str, read: Callable[[Json, Path], Value], default: Value
    ) -> Value:
        """What `read` makes of a key, or the default if it is not there."""
        return read(table[key], (*path, key)) if key in table else default

    def table(self, value: Json, path: Path, hint: str = "") -> JsonObject:
        """A table."""
        if not isinstance(value, dict):
            raise self.fault(path, f"expected a table, found {found(value)}", hint)
        return value

    def choice(self, table: JsonObject, path: Path, key: str, choices: Mapping[str, Choice]) -> Choice:
        """What one of some words stands for; the key must be there."""
        if key not in table:
            raise self.missing(path, key, _or(choices))
        return self.word(table[key], (*path, key), choices)

    def word(self, value: Json, path: Path, choices: Mapping[str, Choice]) -> Choice:
        """What one of some words stands for."""
        if isinstance(value, str) and value in choices:
            return choices[value]
        near = nearest(value, choices) if isinstance(value, str) else ""
        raise self.fault(path, f"expected {_or(choices)}, found {found(value)}", near)

    def flag(self, value: Json, path: Path) -> bool:
        """True or false."""
        if not isinstance(value, bool):
            raise self.fault(path, f"expected true or false, found {found(value)}")
        return value

    def number(self, value: Json, path: Path, most: int) -> int:
        """A whole number from 1."""
        if type(value) is not int or not 1 <= value <= most:
            raise self.fault(path, f"expected a whole number from 1 to {most}, found {found(value)}")
        return value

    def text(self, value: Json, path: Path, what: str, most: int) -> str:
        """Some text, not empty."""
        if not isinstance(value, str) or not value or len(value) > most:
            raise self.fault(path, f"expected {what} of at most {most} characters, found {found(value)}")
        return value

    def name(self, value: Json, path: Path) -> str:
        """A name of ours."""
        if not isinstance(value, str) or not is_name(value):
            raise self.fault(path, f"expected {ID_WORDS}, found {found(value)}")
        return value

    def names(self, value: Json, path: Path) -> tuple[str, ...]:
        """Names of ours, each once."""
        items = self.list(value, path, "names", '["untrusted"]')
        return tuple(dict.fromkeys(self.name(item, (*path, index)) for index, item in enumerate(items)))

    def list(self, value: Json, path: Path, what: str, example: str) -> list[Json]:
        """A list that is not empty."""
        if isinstance(value, list) and value:
            return value
        shown = "an empty list" if value == [] else found(value)
        raise self.fault(path, f"expected a list of {what}, found {shown}", f"write {path[-1]} = {example}")

    def duration(self, value: Json, path: Path) -> float:
        """Seconds, from `90s`, `5m` or `2h`."""
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        seconds = int(match[1]) * _SECONDS[match[2]] if match else 0.0
        if seconds < 1:
            message = f"expected 1 to 6 digits and s, m or h, at least 1s, found {found(value)}"
            raise self.fault(path, message, f'write {path[-1]} = "5m"')
        return seconds

    def one_or_more(self, value: Json, path: Path) -> tuple[Pattern, ...]:
        """A pattern, or a list of patterns."""
        return (self.pattern(value, path),) if isinstance(value, str) else self.patterns(value, path)

    def patterns(self, value: Json, path: Path) -> tuple[Pattern, ...]:
        """A list of patterns."""
        items = self.list(value, path, "patterns", '["read_*"]')
        return tuple(self.pattern(item, (*path, index)) for index, item in enumerate(items))

    def pattern(self, value: Json, path: Path) -> Pattern:
        """A pattern over names."""
        if not isinstance(value, str):
            raise self.fault(path, f"expected a pattern, found {found(value)}")
        wrong = flaw(value)
        if wrong:
            raise self.fault(path, f"bad glob {found(value)}: expected {wrong}")
        return compile_pattern(value)


def nearest(word: str, known: Iterable[str]) -> str:
    """A question that names the nearest of some words; empty if none is near."""
    from difflib import get_close_matches  # noqa: PLC0415 (0.2 MiB, for a slip of the hand)

    near = get_close_matches(word[: limits.PATTERN_CHARS], known, n=1)
    return f"did you mean {near[0]}?" if near else ""


def found(value: Json) -> str:
    """A TOML value in a sentence: short, on one line, without a character that a terminal obeys."""
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN_CHARS else value[:_SHOWN_CHARS] + "..."
        return f'"{cut}"' if cut.isprintable() else ascii(cut)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):  # str() of an int of thousands of digits raises
        return f"the number {value}" if abs(value) <= limits.ID_MAX else "an absurdly large number"
    if isinstance(value, float):
        return f"the number {value}"
    if isinstance(value, list):
        return "a list"
    return "a table" if isinstance(value, dict) else "a date or time"


def _or(choices: Iterable[str]) -> str:
    return " or ".join(f'"{choice}"' for choice in choices)
