"""On which line of a TOML text a key stands: what `tomllib` knows and does not tell.

The scan knows where keys, headers, strings and values begin and end, and nothing more. On text that `tomllib`
accepts it names every key and every element; on other text it stops where it no longer follows, and `tomllib`
says what is wrong. One pass, linear, bounded in depth; nothing is kept.

Source: TOML 1.0.0.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Generator, Iterator
from typing import Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys and array indices from the root: `("rule", 2, "tools", 0)`."""

DEPTH: Final = 16
"""Longest path that is followed. A policy needs 4; `tomllib` takes quadratic time for long dotted keys."""

# No alternative can match where another does, so nothing is tried twice; possessive quantifiers would say so, but the
# first releases of Python 3.11 get them wrong.
_TOKEN: Final = re.compile(
    r"""
    (?P<blank>  [ \t\r]+ | \#[^\n]* )
  | (?P<string> \"{3} (?: [^"\\] | \\. | ""?(?!") )* \"{3,5}
              | '{3}  (?: [^'] | ''?(?!') )* '{3,5}
              | "(?: [^"\\\n] | \\[^\n] )*"
              | '[^'\n]*' )
  | (?P<mark>   [\n\[\]{}=,.] )
  | (?P<bare>   [^ \t\r\n\#"'\[\]{}=,.]+ )
  | (?P<stray>  . )
    """,
    re.VERBOSE | re.DOTALL,
)


def scan(text: str) -> Iterator[tuple[Path, int]]:
    """Yield the path and line of every key, header and array element, in the order of the text.

    A path may come more than once, the first time where it begins. If a path is longer than `DEPTH`, it is
    the last one: the scan does not go deeper and cannot go on.
    """
    try:
        yield from _Scanner(text).document()
    except _LostError:
        return


class Lines:
    """The lines of one text, scanned when the first is asked for: a policy asks for one of every argument."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[Path, int] | None = None

    def of(self, path: Path) -> int:
        """The line of `path`, or of the nearest thing around it; 0 if there is none."""
        if self._found is None:
            self._found = {}
            for found, line in scan(self._text):
                self._found.setdefault(found, line)
        for length in range(len(path), 0, -1):
            if path[:length] in self._found:
                return self._found[path[:length]]
        return 0


class _LostError(Exception):
    """The text is not TOML, or too deep."""


class _Scanner:
    """One token at hand: `kind`, `text` and the `line` where it begins; `text` is empty at the end."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.finditer(text)
        self._last_index: dict[Path, int] = {}
        self._next_line = 1
        self._advance()

    def document(self) -> Iterator[tuple[Path, int]]:
        """Walk headers and pairs to the end."""
        table: Path = ()
        while self.text:
            if self.text == "\n":
                self._advance()
                continue
            if self.text == "[":
                table = yield from self._header()
            else:
                yield from self._pair(table)
            if self.text not in ("", "\n"):
                raise _LostError

    def _advance(self) -> None:
        self.line = self._next_line
        self.kind: str | None = None
        self.text = ""
        for token in self._tokens:
            self.kind = token.lastgroup
            if self.kind != "blank":
                self.text = token.group()
                self._next_line += self.text.count("\n")
                return

    def _take(self, text: str) -> None:
        if self.text != text:
            raise _LostError
        self._advance()

    def _skip_lines(self) -> None:
        while self.text == "\n":
            self._advance()

    def _header(self) -> Generator[tuple[Path, int], None, Path]:
        """`[a.b]` or `[[a.b]]`; returns the path that the following pairs belong to."""
        line = self.line
        self._take("[")
        array = self.text == "["
        if array:
            self._take("[")
        key = self._key()
        path: Path = ()
        for part in key:
            # A name that is an array of tables stands for its latest element.
            path = (*path, self._last_index[path]) if path in self._last_index else path
            path = (*path, part)
            yield path, line
        if array:
            self._last_index[path] = self._last_index.get(path, -1) + 1
            path = (*path, self._last_index[path])
            yield path, line
            self._take("]")
        self._take("]")
        return path

    def _pair(self, table: Path) -> Iterator[tuple[Path, int]]:
        line = self.line
        path = table
        for part in self._key():
            path = (*path, part)
            yield path, line
        self._take("=")
        yield from self._value(path)

    def _key(self) -> list[str]:
        """The parts of a dotted key; one more than `DEPTH` at most, so that its path shows that it is too deep."""
        parts = [self._key_part()]
        while self.text == "." and len(parts) <= DEPTH:
            self._advance()
            parts.append(self._key_part())
        return parts

    def _key_part(self) -> str:
        if self.kind not in ("bare", "string"):
            raise _LostError
        text = self.text
        self._advance()
        if text[0] == '"':
            return _unquoted(text)
        return text[1:-1] if text[0] == "'" else text

    def _value(self, path: Path) -> Iterator[tuple[Path, int]]:
        if len(path) > DEPTH:
            raise _LostError
        if self.text == "[":
            yield from self._array(path)
        elif self.text == "{":
            yield from self._inline_table(path)
        elif self.kind == "string":
            self._advance()
        else:
            self._scalar()

    def _scalar(self) -> None:
        """A number, a boolean or a date; a date may hold a blank, a number a dot."""
        if self.kind != "bare":
            raise _LostError
        while self.kind == "bare" or self.text == ".":
            self._advance()

    def _array(self, path: Path) -> Iterator[tuple[Path, int]]:
        self._take("[")
        self._skip_lines()
        index = 0
        while self.text != "]":
            yield (*path, index), self.line
            yield from self._value((*path, index))
            index += 1
            self._separator("]")
        self._take("]")

    def _inline_table(self, path: Path) -> Iterator[tuple[Path, int]]:
        self._take("{")
        self._skip_lines()
        while self.text != "}":
            yield from self._pair(path)
            self._separator("}")
        self._take("}")

    def _separator(self, end: str) -> None:
        self._skip_lines()
        if self.text != end:
            self._take(",")
            self._skip_lines()


def _unquoted(text: str) -> str:
    if "\\" not in text:
        return text[1:-1]
    try:
        value: str = tomllib.loads(f"key = {text}")["key"]
    except tomllib.TOMLDecodeError as error:
        raise _LostError from error
    return value
