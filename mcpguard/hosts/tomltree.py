"""TOML with places: `tomllib` decides what the file says, the grammar of tree-sitter where it stands."""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

from mcpguard import limits
from mcpguard.hosts.tree import BOM, Kind, Tree, line_of, text_of, unreadable
from mcpguard.model import Json

_KINDS: Final = {"inline_table": Kind.OBJECT, "array": Kind.ARRAY, "string": Kind.STRING}
_TABLES: Final = ("table", "table_array_element")
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class _Node:
    """A table while it is put together: TOML writes one table in many places."""

    def __init__(self, value: Json, start: int, end: int, *, block: bool = True) -> None:
        self.value = value
        self.block = block
        self.start = start
        self.end = end
        self.members: dict[str, _Node | Tree] = {}
        self.keys: dict[str, int] = {}
        self.items: list[_Node] = []

    def tree(self) -> Tree:
        if isinstance(self.value, list):
            items = tuple(item.tree() for item in self.items)
            return Tree(Kind.ARRAY, self.value, self.start, self.end, items=items, block=True)
        members = {name: _whole(child) for name, child in self.members.items()}
        return Tree(Kind.OBJECT, self.value, self.start, self.end, members, self.keys, block=self.block)


def read(data: bytes, file: str) -> Tree:
    """The tree of a file; an empty one is an empty object.

    Raises:
        ConfigError: It is not TOML; nothing can be written.
    """
    text = text_of(data, file)
    if len(data) > limits.TOML_CONFIG_BYTES:
        raise unreadable(file, f"longer than {limits.TOML_CONFIG_BYTES} bytes")
    skipped = len(BOM) if data.startswith(BOM) else 0
    try:
        return _read(text, file, skipped)
    except tomllib.TOMLDecodeError as error:
        reason, place = str(error), _PLACE.search(str(error))
        line = int(place[1] or line_of(data, len(data))) if place else 0
        raise unreadable(file, f"not TOML: {_PLACE.sub('', reason)}", line) from error
    except ValueError as error:
        raise unreadable(file, f"not TOML: {error}") from error
    except RecursionError as error:
        raise unreadable(file, "not TOML: nested too deep") from error


def _read(text: str, file: str, skipped: int) -> Tree:
    value = tomllib.loads(text)
    parsed = _parse(text.encode())
    if parsed.has_error:
        raise unreadable(file, "TOML that is read in two ways", _wrong(parsed).start_point.row + 1)
    root = _Node(value, skipped, skipped + len(text.encode()))
    for node in parsed.named_children:
        if node.type == "pair":
            _pair(root, node, skipped)
        elif node.type in _TABLES:
            _table(root, node, skipped)
    return root.tree()


def _wrong(node: Any) -> Any:
    """The first node that the grammar does not know."""
    while not node.is_error and (inner := next((child for child in node.children if child.has_error), None)):
        node = inner
    return node


def _parse(body: bytes) -> Any:
    import tree_sitter  # noqa: PLC0415 (only who edits configurations pays for it)
    import tree_sitter_toml  # noqa: PLC0415

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_toml.language())).parse(body).root_node


def _table(root: _Node, node: Any, skipped: int) -> None:
    """A table with a header: `[a.b]`, or one element of `[[a.b]]`."""
    head, *pairs = [child for child in node.named_children if child.type != "comment"]
    names = _names(head)
    start, end = node.start_byte + skipped, node.end_byte + skipped
    table = root
    for name in names[:-1]:
        table = _inside(table, name, start, end)
    if node.type == "table_array_element":
        listed = table.members.get(names[-1])
        if not isinstance(listed, _Node):
            listed = table.members[names[-1]] = _Node(table.value[names[-1]], start, end)
            table.keys[names[-1]] = start
        element = _Node(listed.value[len(listed.items)], start, end)
        listed.items.append(element)
        table = element
    else:
        table = _inside(table, names[-1], start, end)
        table.start = start
    for pair in pairs:
        _pair(table, pair, skipped)


def _inside(table: _Node, name: str, start: int, end: int) -> _Node:
    """The table of a name, made if it was not spoken of; of an array of tables its last element."""
    found = table.members.get(name)
    if not isinstance(found, _Node):
        found = table.members[name] = _Node(table.value[name], start, end, block=table.block)
        table.keys[name] = start
    return found.items[-1] if isinstance(found.value, list) else found


def _pair(table: _Node, pair: Any, skipped: int) -> None:
    key, value = [child for child in pair.named_children if child.type != "comment"][:2]
    *outer, last = _names(key)
    for name in outer:
        table = _inside(table, name, pair.start_byte + skipped, pair.end_byte + skipped)
    table.members[last] = _value(value, table.value[last], skipped)
    table.keys[last] = pair.start_byte + skipped


def _names(node: Any) -> list[str]:
    """The names of a key: bare, in quotes, or several with dots."""
    if node.type == "dotted_key":
        return [name for child in node.named_children for name in _names(child)]
    text = node.text.decode()
    return [next(iter(tomllib.loads(f"{text} = 0")))] if node.type == "quoted_key" else [text]


def _value(node: Any, value: Json, skipped: int) -> Tree:
    start, end = node.start_byte + skipped, node.end_byte + skipped
    kind = _KINDS.get(node.type, Kind.OTHER)
    children = [child for child in node.named_children if child.type != "comment"]
    if kind is Kind.ARRAY:
        items = tuple(_value(child, item, skipped) for child, item in zip(children, value, strict=True))
        return Tree(kind, value, start, end, items=items)
    if kind is Kind.OBJECT:
        inline = _Node(value, start, end, block=False)
        for pair in children:
            _pair(inline, pair, skipped)
        return inline.tree()
    return Tree(kind, value, start, end)


def _whole(child: _Node | Tree) -> Tree:
    return child.tree() if isinstance(child, _Node) else child
