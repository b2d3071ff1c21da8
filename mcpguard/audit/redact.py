"""Secrets taken out of what is kept or shown: before it is hashed, cut or formatted.

Sources, in this order: values known exactly (`knownvalues`), what a schema marks (`marks`), names of members,
variables and options, and looks (`looks`). In their place stands `«redacted:kind:hmac12»`: 12 hexadecimal digits
of an HMAC under the key of the log, so that equal secrets are seen to be equal and short ones cannot be tried out.

Rule 1: what is cut is redacted first. A piece of a secret is not recognised any more.
Rule 2: a known value is found across the texts of one value: those of members of one name are searched as one.
Rule 3: without a key there are no digits: nothing that could be tried out leaves this module.

Cost: a text of 60 characters without a secret 2.3 us, 1 MiB of it 4.6 ms; with 100 known values 3.0 us and 7.7 ms
(CPython 3.11, 2-core virtual machine; tests/audit/test_redact.py measures it with --benchmark-enable). The worst text
that was found, a word that announces a secret again and again, takes half a second for a MiB; records look at 17 KiB.

Decided:
    *One redactor for the process* (`current`, `install`), which every function that writes a record asks, because one
    that could be called without would be a leak; rejected: an argument of each, which each new one may forget.
    *Whoever approves is shown what cannot be a bare secret* (`shown`): only a single token, no path and no command,
    is hidden for its name or its schema, since those are chosen by whoever is to be judged. Rejected: hiding a value
    of several words in a member that is called `token`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from mcpguard import limits
from mcpguard.audit import looks
from mcpguard.audit.knownvalues import KnownValues, Searched
from mcpguard.audit.looks import looks_random, secret_name
from mcpguard.audit.marks import Marks
from mcpguard.model import HANDLE, Json, JsonObject

MARK: Final = "«redacted:"
"""What stands in the place of a secret begins with this."""
_DIGITS: Final = 12
_WHOLE_MARK: Final = re.compile(r"«redacted:[a-z-]+(?::[0-9a-f]{12})?»")
_TOKEN: Final = re.compile(rb"[A-Za-z0-9_.~+=%!@#^*\-]{1,512}")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{16,}={0,2}")
_FLAG: Final = re.compile(r"--?([A-Za-z][A-Za-z0-9_-]*)")
_MARK: Final = HANDLE.encode()
_HANDLE: Final = re.compile(rb"\$\{secret:[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\}")
"""A handle, which names a secret: whoever approves must see which. What looks like a secret in it is hidden still."""
_LOOKAHEAD: Final = 4096
_REACH: Final = 16_384
_LINE: Final = 65_536
_BREAK: Final = re.compile(rb"-----END[A-Z0-9 ]*-{0,5}")


class Redactor:
    """Takes secrets out.

    Args:
        key: Of the digests of a log, of which that of the marks is made; empty for none.
    """

    def __init__(self, key: bytes = b"") -> None:
        self._key = key and hashlib.blake2b(key=key, digest_size=32, person=b"mcpguard-redact").digest()
        self._names: dict[str, str] = {}
        self.known = KnownValues()

    @property
    def reach(self) -> int:
        """Characters behind a place that are looked at to tell whether a secret begins before it."""
        return max(self.known.longest, _REACH)

    def learn(self, values: Iterable[bytes]) -> None:
        """Know these values, too (`knownvalues.of_environment`)."""
        self.known.learn(values)
        self._names.clear()

    def pass_on(self, passing: Searched) -> None:
        """Know these values that pass, too, such as tokens (`KnownValues.prepared`)."""
        self.known.pass_on(passing)
        self._names.clear()

    def name(self, name: str) -> str:
        """A short text that comes again and again, without secrets; remembered."""
        found = self._names.get(name)
        if found is None:
            found = self.text(name)
            if len(self._names) >= limits.SNAPSHOT_NAMES:
                self._names.clear()
            if len(name) <= limits.KEY_CHARS:
                self._names[name] = found
        return found

    def mark(self, kind: str, secret: bytes) -> str:
        """What stands in the place of a secret."""
        if not self._key:
            return f"{MARK}{kind}»"
        return f"{MARK}{kind}:{hmac.digest(self._key, secret, 'sha256').hex()[:_DIGITS]}»"

    def text(self, text: str) -> str:
        """A text without secrets; the same object if there are none."""
        data = text.encode("utf-8", "surrogatepass")
        cuts = self._cuts(data)
        return self._without(data, cuts) if cuts else text

    def value(self, value: Json, marks: Marks | None = None, *, names: bool = True) -> Json:
        """A JSON value without secrets, keys included; it may share parts with the one that is given.

        Not `names`: the names of members are ours, or mean nothing; they hide nothing and stay as they are.
        """
        return _Walk(self, names=names).value(value, marks)

    def shown(self, value: Json, marks: Marks | None = None) -> Json:
        """Likewise, for whoever decides on it: nothing that could be a command or a path is hidden for its place."""
        return _Walk(self, shown=True).value(value, marks)

    def stream(self) -> Stream:
        """What takes secrets out of a text that comes in chunks."""
        return Stream(self)

    def _cuts(
        self, data: bytes, known: Iterable[tuple[int, int, bytes]] | None = None
    ) -> list[tuple[int, int, str]]:
        """What is to be replaced, by what; in order, nothing overlapping. `known` if it was looked for already."""
        spans: list[tuple[int, int, str, bytes]] = [
            (start, end, "known", secret)
            for start, end, secret in (self.known.find(data) if known is None else known)
        ]
        names = _HANDLE.finditer(data) if data.find(_MARK) >= 0 else ()
        handles = [found.span() for found in names]
        spans += [
            (start, end, kind, data[start:end])
            for start, end, kind in looks.find(data)
            if kind != "named" or not any(first <= start and end <= last for first, last in handles)
        ]
        if not spans:
            return []
        return [(start, end, self.mark(kind, secret)) for start, end, kind, secret in _merged(spans, data)]

    def _without(self, data: bytes, cuts: list[tuple[int, int, str]], errors: str = "surrogatepass") -> str:
        parts, past = [], 0
        for start, end, mark in cuts:
            parts += [data[past:start].decode("utf-8", errors), mark]
            past = end
        return "".join([*parts, data[past:].decode("utf-8", errors)])


def _merged(spans: list[tuple[int, int, str, bytes]], data: bytes) -> list[tuple[int, int, str, bytes]]:
    """Overlapping spans as one; a known value gives it its name."""
    spans.sort(key=lambda span: span[:2])
    joined = [spans[0]]
    for start, end, kind, secret in spans[1:]:
        first, last, before, held = joined[-1]
        if start >= last:
            joined.append((start, end, kind, secret))
            continue
        if before == "known" or kind != "known":
            kind, secret = before, held  # noqa: PLW2901
        if kind != "known":
            secret = data[first : max(last, end)]  # noqa: PLW2901
        joined[-1] = (first, max(last, end), kind, secret)
    return joined


class _Leaf(NamedTuple):
    """A value that holds no other, why it is a secret as a whole (empty for none), and the member it belongs to."""

    value: Json
    why: str
    name: str


class _Walk:
    """One pass over a JSON value: collect its leaves, search them together, build it again."""

    def __init__(self, redactor: Redactor, *, shown: bool = False, names: bool = True) -> None:
        self._redactor = redactor
        self._by_name = names
        self._shown = shown
        self._leaves: list[_Leaf] = []
        self._texts: Iterator[Json] = iter(())

    def value(self, value: Json, marks: Marks | None) -> Json:
        if type(value) is str and marks is None:
            return self._redactor.text(value)
        self._collect(value, marks, "", "")
        self._texts = self._redacted()
        return self._built(value)

    def _collect(self, value: Json, marks: Marks | None, why: str, name: str) -> None:
        """Note every leaf, and for what reason it is a secret as a whole; empty for none."""
        if marks is not None and marks.whole:
            why = why or "schema"
        if type(value) is dict:
            named = _named_pair(value)
            for key, item in value.items():
                hidden = self._by_name and (key == named or secret_name(key))
                because = why or ("named" if hidden else "")
                self._collect(item, marks.of(key) if marks is not None else None, because, key)
        elif type(value) is list or type(value) is tuple:
            option = False
            for item in value:
                because = why or ("named" if option else "")
                self._collect(item, marks.items if marks is not None else None, because, name)
                flag = _FLAG.fullmatch(item) if type(item) is str else None
                option = flag is not None and secret_name(flag[1])
        else:
            self._leaves.append(_Leaf(value, why, name))

    def _redacted(self) -> Iterator[Json]:
        encoded = [
            each.value.encode("utf-8", "surrogatepass") if type(each.value) is str else b""
            for each in self._leaves
        ]
        known = self._known(encoded)
        for (leaf, why, _), data, found in zip(self._leaves, encoded, known, strict=True):
            if why and leaf is not None and type(leaf) is not bool and leaf != "" and self._hides(leaf, data):
                already = type(leaf) is str and _WHOLE_MARK.fullmatch(leaf)
                yield leaf if already else self._redactor.mark(why, data or str(leaf).encode())
            elif data and (cuts := self._redactor._cuts(data, found)):  # noqa: SLF001 (one class in two parts)
                yield self._redactor._without(data, cuts)  # noqa: SLF001
            else:
                yield leaf

    def _hides(self, leaf: Json, data: bytes) -> bool:
        """Whether a leaf is hidden for its place."""
        if not self._shown or type(leaf) is not str:
            return True
        return bool(_TOKEN.fullmatch(data) or (_BASE64.fullmatch(data) and looks_random(data)))

    def _known(self, encoded: list[bytes]) -> list[list[tuple[int, int, bytes]]]:
        """For each leaf what is known of it: those of one name are searched as one text, in their order."""
        found: list[list[tuple[int, int, bytes]]] = [[] for _ in encoded]
        if not self._redactor.known.longest:
            return found
        order = sorted(range(len(encoded)), key=lambda number: self._leaves[number].name)
        parts, starts, at, last = [], [], 0, ""
        for number in order:
            name = self._leaves[number].name
            parts.append(encoded[number] if name == last else b"\0" + encoded[number])
            at += len(parts[-1])
            starts.append(at - len(encoded[number]))
            last = name
        first = 0
        for start, end, secret in self._redactor.known.find(b"".join(parts)):
            while first + 1 < len(order) and starts[first + 1] <= start:
                first += 1
            for place in range(first, len(order)):
                number, begins = order[place], starts[place]
                if begins >= end:
                    break
                piece = max(start - begins, 0), min(end - begins, len(encoded[number]))
                if piece[0] < piece[1]:
                    found[number].append((*piece, secret))
        return found

    def _built(self, value: Json) -> Json:
        if type(value) is dict:
            return self._object(value)
        if type(value) is list or type(value) is tuple:
            return [self._built(item) for item in value]
        return next(self._texts)

    def _object(self, value: JsonObject) -> JsonObject:
        made: JsonObject = {}
        for key, item in value.items():
            name = self._redactor.text(key) if self._by_name else key
            while name in made:
                name += "'"
            made[name] = self._built(item)
        return made


def _named_pair(value: JsonObject) -> str:
    """`value`, where the member beside it, `name` or `key`, names a secret."""
    if "value" not in value:
        return ""
    named = value.get("name", value.get("key"))
    return "value" if type(named) is str and secret_name(named) else ""


class Stream:
    """A text that comes in chunks, without its secrets: what could be the beginning of one is kept until it is known.

    It comes line by line; a line longer than 64 KiB is cut.
    A secret without an end is hidden until it ends, however long that is; a line break does not end a PEM key.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._kept = b""
        self._within = False

    def feed(self, data: bytes) -> str:
        """What can be shown now."""
        self._kept += data
        if self._within:
            self._skip()
        hold = max(self._redactor.known.longest, _LOOKAHEAD)
        safe = self._kept.rfind(b"\n", 0, max(len(self._kept) - hold, 0)) + 1
        if (
            not safe and len(self._kept) > hold + _LINE
        ):  # what announces a secret may stand before it on its line
            safe = len(self._kept) - hold
        return self._shown(safe, last=False) if safe > 0 else ""

    def flush(self) -> str:
        """The rest; the stream has ended, or nothing that comes belongs to what came."""
        shown = "" if self._within else self._shown(len(self._kept), last=True)
        self._kept, self._within = b"", False
        return shown

    def _shown(self, safe: int, *, last: bool) -> str:
        cuts = self._redactor._cuts(self._kept)  # noqa: SLF001
        while not last and safe > 0 and self._kept[safe] & 0xC0 == 0x80:
            safe -= 1
        for start, end, mark in cuts:
            if start < safe < end or (not last and start < safe and end == len(self._kept)):
                safe = start
                if len(self._kept) - start > limits.REDACTED_STREAM_BYTES:
                    shown = self._plain(start, cuts)
                    self._kept, self._within = self._kept[start:], True
                    self._skip()
                    return shown + mark
        shown = self._plain(safe, cuts)
        self._kept = self._kept[safe:]
        return shown

    def _plain(self, end: int, cuts: list[tuple[int, int, str]]) -> str:
        """What is kept, up to `end`, without secrets; bytes that are no UTF-8 become escapes."""
        before = [cut for cut in cuts if cut[1] <= end]
        return self._redactor._without(self._kept[:end], before, "backslashreplace")  # noqa: SLF001

    def _skip(self) -> None:
        """Drop what belongs to a secret that was too long to be kept."""
        end = _BREAK.search(self._kept)
        if end is None:
            self._kept = self._kept[-16:]
        else:
            self._kept, self._within = self._kept[end.end() :], False


_NOBODYS: Final = Redactor()
_installed: Final = [_NOBODYS]


def current() -> Redactor:
    """The redactor of this process; one without a key and without known values until one is installed."""
    return _installed[0]


def install(redactor: Redactor) -> None:
    """Use this one from now on; the daemon does when its log is open, since the key is the log's."""
    _installed[0] = redactor
