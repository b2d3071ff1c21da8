"""JSON as hosts write it, with places: strict, or with comments and trailing commas (JSONC).

What is read is strict JSON after comments and trailing commas were blanked out, so that this reader accepts nothing
that a JSON parser would not: the grammar of tree-sitter finds places, `json` decides. A key that is there twice is an
error, because hosts and we could take different ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from mcpguard import limits
from mcpguard.hosts.tree import BOM, EVERY, Kind, Paths, Tree, inside, line_of, text_of, unreadable
from mcpguard.model import Json, JsonObject

_SPACE: Final = b" \t\r\n"
_COMMA: Final = 0x2C
_STRING_OR_COMMA: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|,(?=[ \t\r\n]*[\]}])', re.DOTALL)
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
    plain = _plain(body) if comments else body
    try:
        value = json.loads(plain, object_pairs_hook=_pairs, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        line = line_of(data, skipped + len(plain.decode()[: error.pos].encode()))
        raise unreadable(file, f"not JSON: {error.msg.lower()}", line) from error
    except (ValueError, RecursionError) as error:
        raise unreadable(file, f"not JSON: {error}") from error
    return _tree(_root(plain), value, skipped, paths, 0)


def _pairs(pairs: list[tuple[str, Json]]) -> JsonObject:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!a} is there twice in one object")
    return members


def _no_constant(word: str) -> Json:
    raise ValueError(f"{word} is no JSON number")


def _language() -> Any:
    import tree_sitter  # noqa: PLC0415 (only who edits configurations pays for it)
    import tree_sitter_json  # noqa: PLC0415

    return tree_sitter.Language(tree_sitter_json.language())


def _parse(body: bytes) -> Any:
    import tree_sitter  # noqa: PLC0415

    return tree_sitter.Parser(_language()).parse(body).root_node


def _root(plain: bytes) -> Any:
    """The node of the one value of a text that is JSON."""
    return next(node for node in _parse(plain).children if node.type != "comment")


def _plain(body: bytes) -> bytes:
    """The same bytes with spaces for comments and for commas before a closing bracket.

    What the grammar does not know as a comment or such a comma stays, and `json` refuses it.
    """
    plain = bytearray(body)
    for node in _comments(body):
        _blank(plain, node.start_byte, node.end_byte)
    for place in _trailing(bytes(plain)):
        plain[place] = _SPACE[0]
    return bytes(plain)


def _comments(body: bytes) -> list[Any]:
    import tree_sitter  # noqa: PLC0415

    query = tree_sitter.Query(_language(), "(comment) @comment")
    found: list[Any] = tree_sitter.QueryCursor(query).captures(_parse(body)).get("comment", [])
    return found


def _blank(plain: bytearray, start: int, end: int) -> None:
    """Spaces, but line ends stay, so that errors name the right line."""
    for place in range(start, end):
        if plain[place] not in b"\r\n":
            plain[place] = _SPACE[0]


def _trailing(plain: bytes) -> Iterator[int]:
    """Commas between a value and a closing bracket, outside strings."""
    for found in _STRING_OR_COMMA.finditer(plain):
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
        for pair in _inner(node):
            key = pair.child_by_field_name("key")
            name = json.loads(key.text)
            below = inside(paths, name)
            keys[name] = key.start_byte + skipped
            members[name] = _tree(pair.child_by_field_name("value"), value[name], skipped, below, depth + 1)
        return Tree(kind, value, start, end, members, keys)
    if kind is Kind.ARRAY:
        below = inside(paths, EVERY)
        pairs = zip(_inner(node), value, strict=True)
        items = tuple(_tree(child, item, skipped, below, depth + 1) for child, item in pairs)
        return Tree(kind, value, start, end, items=items)
    return Tree(kind, value, start, end)


def _inner(node: Any) -> list[Any]:
    return [child for child in node.named_children if child.type != "comment"]
