"""Secrets that are known exactly, and every form in which they may be written.

Forms: as they are; base64 at each of the three places of a byte in it, both alphabets; hexadecimal; percent-encoded,
by need and every byte; with JSON escapes, once and twice; each long line of a value that has several.

Rule 1: a form is found wherever it stands, inside a word or not.
Rule 2: a value that could be an ordinary word is not known: `true` and `8080` stand in every log.

Cost: a text is read once by one automaton, however many values there are, and by a second one if some of them pass.
To build one takes 0.4 ms a value.

Decided: *values that pass, such as tokens, are kept apart*: they come again and again, and would displace those that
servers hold for good; and their automaton is small, and built by whoever may take the time (`prepared`).
*only whole characters of base64 are looked for*, since the first and last of a value share theirs with their
neighbours; a hit is widened by one on each side, which hides these, too.
"""

from __future__ import annotations

import base64
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple
from urllib.parse import quote, quote_plus

import msgspec
from ahocorasick_rs import BytesAhoCorasick

from mcpguard import limits
from mcpguard.audit.looks import looks_random, secret_name

LEAST: Final = 8
"""Shortest value that is known, bytes: shorter ones stand in other words."""
_LINE: Final = 16
"""Shortest line of a value of several lines that is known by itself."""
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_=-]")
_WORD: Final = re.compile(rb"[A-Za-z][a-z]*|[0-9]{1,9}|[0-9.:]+")
_PATHS: Final = re.compile(rb"(?:unix:path=|file://)?[~.]?/")
_URL: Final = re.compile(rb"[a-z][a-z0-9+.-]*://[^@]*\Z")


class Known(NamedTuple):
    """An occurrence: from where to where, in bytes, and the value that is written there."""

    start: int
    end: int
    value: bytes


class Searched(NamedTuple):
    """Values, ready to be looked for.

    Attributes:
        values: What is known, the newest last.
        forms: The value of each form, and whether an occurrence is part of base64.
        automaton: Finds the forms; None if there are none.
        longest: Bytes of the longest form.
    """

    values: tuple[bytes, ...] = ()
    forms: tuple[tuple[bytes, bool], ...] = ()
    automaton: BytesAhoCorasick | None = None
    longest: int = 0


class KnownValues:
    """The newest `limits.KNOWN_SECRETS` values, and the newest `limits.PASSING_SECRETS` of those that pass."""

    def __init__(self) -> None:
        self._values: OrderedDict[bytes, None] = OrderedDict()
        self._lasting = self._passing = Searched()
        self._stale = False

    @property
    def longest(self) -> int:
        """Bytes of the longest form; 0 if nothing is known."""
        return max(self._lasting.longest, self._passing.longest)

    def learn(self, values: Iterable[bytes]) -> None:
        """Know these values, too; the oldest are forgotten beyond the bound. Not here: whether they are secrets."""
        for value in values:
            if not LEAST <= len(value) <= limits.KNOWN_SECRET_BYTES:
                continue
            self._stale = self._stale or value not in self._values
            self._values[value] = None
            self._values.move_to_end(value)
        while len(self._values) > limits.KNOWN_SECRETS:
            self._values.popitem(last=False)
            self._stale = True
        if self._stale:
            self._build()

    def prepared(self, values: Iterable[bytes]) -> Searched | None:
        """These values that pass, and the newest of those before, ready for `pass_on`; None if all are known.

        Nothing is changed: this may run in a thread, one at a time.
        """
        fresh = [value for value in values if LEAST <= len(value) <= limits.KNOWN_SECRET_BYTES]
        before = self._passing.values
        if all(value in before or value in self._values for value in fresh):
            return None
        kept = dict.fromkeys([*(value for value in before if value not in fresh), *fresh])
        return _searched([*kept][-limits.PASSING_SECRETS :])

    def pass_on(self, passing: Searched) -> None:
        """Know what was prepared."""
        self._passing = passing

    def find(self, data: bytes) -> list[Known]:
        """Every occurrence of every form, in order; they may overlap."""
        found: list[Known] = []
        for known in (self._lasting, self._passing):
            if known.automaton is not None:
                found += _found(known.automaton, known.forms, data)
        found.sort()
        return found

    def _build(self) -> None:
        self._lasting = _searched(self._values)
        self._stale = False


def _searched(values: Iterable[bytes]) -> Searched:
    values = tuple(values)
    table: dict[bytes, tuple[bytes, bool]] = {}
    for value in values:
        for form, widened in forms(value):
            table.setdefault(form, (value, widened))
    automaton = BytesAhoCorasick(list(table)) if table else None
    return Searched(values, tuple(table.values()), automaton, max(map(len, table), default=0))


def _found(
    automaton: BytesAhoCorasick, forms: tuple[tuple[bytes, bool], ...], data: bytes
) -> Iterator[Known]:
    for index, start, end in automaton.find_matches_as_indexes(data, overlapping=True):
        value, widened = forms[index]
        if widened:
            start, end = _wider(data, start, end)  # noqa: PLW2901
        yield Known(start, end, value)


def _wider(data: bytes, start: int, end: int) -> tuple[int, int]:
    """A hit in base64, with the characters that hold the rest of its first and its last byte."""
    if start and _BASE64.match(data, start - 1):
        start -= 1
    if _BASE64.match(data, end):
        end += 1
    return start, end


def forms(value: bytes) -> list[tuple[bytes, bool]]:
    """How a value may be written, and whether an occurrence is part of base64."""
    made: dict[bytes, bool] = {}
    lines = [line for line in value.splitlines() if len(line) >= _LINE] if b"\n" in value else []
    for part in (value, *lines):
        _forms_of(part, made)
    return list(made.items())


def _forms_of(value: bytes, made: dict[bytes, bool]) -> None:
    plain = [value, value.hex().encode(), value.hex().upper().encode()]
    for quoted in (
        quote(value, safe=""),
        quote(value),
        quote_plus(value),
        "".join(f"%{byte:02X}" for byte in value),
    ):
        plain += [quoted.encode(), re.sub("%..", lambda each: each[0].lower(), quoted).encode()]
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if text:
        for escaped in (msgspec.json.encode(text)[1:-1], _ascii(text)):
            plain += [escaped, msgspec.json.encode(escaped.decode())[1:-1], escaped.replace(b"/", b"\\/")]
    for form in plain:
        made.setdefault(form, False)
    for offset, skipped in ((0, 0), (1, 2), (2, 3)):
        whole = base64.b64encode(b"\0" * offset + value)
        inner = whole[skipped : (offset + len(value)) * 8 // 6]
        made.setdefault(inner, True)
        made.setdefault(inner.translate(bytes.maketrans(b"+/", b"-_")), True)


def _ascii(text: str) -> bytes:
    r"""JSON text in which everything beyond visible ASCII is `\uXXXX`, DEL included, as Python writes it."""
    encoded = msgspec.json.encode(text)[1:-1].decode()
    units = (char if char <= "~" else "".join(f"\\u{unit:04x}" for unit in _units(char)) for char in encoded)
    return "".join(units).encode()


def _units(char: str) -> list[int]:
    raw = char.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]


def of_environment(entries: Iterable[bytes], passed: frozenset[bytes] = frozenset()) -> list[bytes]:
    """The values of `NAME=value` entries that are secrets, as far as name and value tell.

    Args:
        entries: An environment.
        passed: Names that somebody gave on purpose; of these a value is one unless it is a word, a path or a URL.
    """
    found = []
    for entry in entries:
        name, _, value = entry.partition(b"=")
        if LEAST <= len(value) <= limits.KNOWN_SECRET_BYTES and _is_secret(name, value, given=name in passed):
            found.append(value)
    return found


def _is_secret(name: bytes, value: bytes, *, given: bool) -> bool:
    if _WORD.fullmatch(value) or _URL.match(value):
        return False
    if secret_name(name.decode("utf-8", "replace")):
        return not _PATHS.match(value) or looks_random(value, 3.5)
    if _PATHS.match(value):
        return False
    if given:
        return looks_random(value, 2.5)
    return len(value) >= 20 and b" " not in value and b":" not in value and looks_random(value, 3.3)
