"""JSON as hosts write it, with places: strict, or with comments and trailing commas (JSONC).

What is read is strict JSON after comments and trailing commas were blanked out, so that this reader accepts nothing
that a JSON parser would not: `json` decides, and then the grammar of tree-sitter finds places. A key that is there
twice is an error, because hosts and we could take different ones.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from mcpguard import limits
from mcpguard.hosts.tree import BOM, EVERY, Kind, Paths, Tree, inside, line_of, text_of, unreadable
from mcpguard.model import Json, JsonObject

_SPACE: Final = b" \t\r\n"
_COMMA: Final = 0x2C
_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"?'
_COMMENTS: Final = re.compile(
    _STRING + rb"|(?P<line>//[^\n]*)|(?P<block>/\*(?:[^*]++|\*(?!/))*+(?P<end>\*/)?)", re.DOTALL
)
_COMMAS: Final = re.compile(_STRING + rb"|,(?=[ \t\r\n]*+[\]}])", re.DOTALL)
_PLUS: Final = re.compile(_STRING + rb"|(?P<plus>[eE]\+)", re.DOTALL)
_CLOSING: Final = rb"\}"
_CONSTANT: Final = rb"-?Infinity|NaN"
_LONG: Final = rb"(?<![0-9.eE+])[0-9]{1000}[0-9]*+(?![.eE])"
_KINDS: Final = {"object": Kind.OBJECT, "array": Kind.ARRAY, "string": Kind.STRING}


def read(data: bytes, file: str, paths: Paths, *, comments: bool) -> Tree:
    """The tree of a file; an empty one holds nothing.

    Args:
        data: The file.
        file: Its name, for errors.
        paths: What is asked for; of the rest no places are told, since one host keeps megabytes of its own in there.
        comments: Whether the host allows comments and trailing commas.

    Raises:
        ConfigError: It is not that; nothing can be written.
    """
    text_of(data, file)
    skipped = len(BOM) if data.startswith(BOM) else 0
    body = data[skipped:]
    if not body.strip(_SPACE):
        return Tree(Kind.OTHER, None, len(data), len(data))
    plain = _plain(body, file) if comments else body
    value = _value(plain, file)
    root = _parse(plain)
    if root.has_error:  # the grammar does not know 1e+16
        root = _parse(_PLUS.sub(lambda found: found[0][:1] + b"0" if found["plus"] else found[0], plain))
    if root.has_error or len(root.named_children) != 1:
        raise unreadable(file, "JSON that is read in two ways")
    return _tree(root.named_children[0], value, skipped, paths, 0)


class _Twice(ValueError):
    """A key is there twice in one object."""


class _Objects:
    """Makes objects of members, and counts them, which tells where one ends."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, pairs: list[tuple[str, Json]]) -> JsonObject:
        members = dict(pairs)
        if len(members) != len(pairs):
            twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
            raise _Twice(f"the key {twice[:80]!a} is there twice in the object that ends here")
        self.made += 1
        return members


class _Constant(ValueError):
    """A number that Python knows and JSON does not."""


def _no_constant(word: str) -> Json:
    raise _Constant(f"{word} is no JSON number")


def _value(plain: bytes, file: str) -> Json:
    """What a text says.

    Raises:
        ConfigError: It is not JSON.
    """
    text, objects = plain.decode(), _Objects()
    try:
        return json.loads(text, object_pairs_hook=objects, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        line = line_of(plain, len(text[: error.pos].encode()))
        raise unreadable(file, f"not JSON: {error.msg.lower()}", line) from error
    except _Twice as error:
        raise unreadable(file, f"not JSON: {error}", _line(plain, _CLOSING, objects.made)) from error
    except _Constant as error:
        raise unreadable(file, f"not JSON: {error}", _line(plain, _CONSTANT)) from error
    except ValueError as error:
        raise unreadable(file, "a number with too many digits", _line(plain, _LONG)) from error
    except RecursionError as error:
        raise unreadable(file, "not JSON: nested too deep") from error


def _line(plain: bytes, pattern: bytes, number: int = 0) -> int:
    """The line of what a pattern finds outside strings for the first time, or after so many; 0 if nowhere."""
    every = re.finditer(_STRING + rb"|(" + pattern + rb")", plain, re.DOTALL)
    places = (found.start() for found in every if found[1] is not None)
    place = next(islice(places, number, None), -1)
    return line_of(plain, place) if place >= 0 else 0


def _parse(body: bytes) -> Any:
    import tree_sitter  # noqa: PLC0415 (only who edits configurations pays for it)
    import tree_sitter_json  # noqa: PLC0415

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_json.language())).parse(body).root_node


def _plain(body: bytes, file: str) -> bytes:
    """The same bytes with spaces for comments and for commas before a closing bracket.

    What is no comment or such a comma stays, and `json` refuses it. Not by the grammar: it recovers from errors as it
    likes, and takes minutes for a megabyte of brackets.

    Raises:
        ConfigError: A comment that some programs end where others go on.
    """
    plain = bytearray(body)
    for found in _COMMENTS.finditer(body):
        if b"\r" in (found["line"] or b"")[:-1]:
            line = line_of(body, found.start())
            raise unreadable(file, "a comment with a carriage return, where some programs end it", line)
        if found["line"] or found["end"]:
            _blank(plain, found.start(), found.end())
    for place in _trailing(bytes(plain)):
        plain[place] = _SPACE[0]
    return bytes(plain)


def _blank(plain: bytearray, start: int, end: int) -> None:
    """Spaces, but line ends stay, so that errors name the right line."""
    plain[start:end] = re.sub(rb"[^\r\n]", b" ", plain[start:end])


def _trailing(plain: bytes) -> Iterator[int]:
    """Commas between a value and a closing bracket, outside strings."""
    for found in _COMMAS.finditer(plain):
        place = found.start()
        if plain[place] == _COMMA:
            before = place - 1
            while before >= 0 and plain[before] in _SPACE:
                before -= 1
            if before >= 0 and plain[before] not in b"[{,:":
                yield place


def _tree(node: Any, value: Json, skipped: int, paths: Paths, depth: int) -> Tree:
    start, end = node.start_byte + skipped, node.end_byte + skipped
    kind = _KINDS.get(node.type, Kind.OTHER)
    if depth >= limits.CONFIG_DEPTH or not paths:
        return Tree(Kind.OTHER, value, start, end)
    if kind is Kind.OBJECT:
        members, keys = {}, {}
        for pair in node.named_children:
            key = pair.child_by_field_name("key")
            name = json.loads(key.text)
            below = inside(paths, name)
            keys[name] = key.start_byte + skipped
            members[name] = _tree(pair.child_by_field_name("value"), value[name], skipped, below, depth + 1)
        return Tree(kind, value, start, end, members, keys)
    if kind is Kind.ARRAY:
        below = inside(paths, EVERY)
        pairs = zip(node.named_children, value, strict=True)
        items = tuple(_tree(child, item, skipped, below, depth + 1) for child, item in pairs)
        return Tree(kind, value, start, end, items=items)
    return Tree(kind, value, start, end)
