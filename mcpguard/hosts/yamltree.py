"""YAML with places, from the marks that `ruamel.yaml` puts on the nodes of a file.

Not here: anchors and merged mappings. What is written in one place and used in another has no place of its own, so a
value that an alias stands for is `Kind.OTHER`, and nobody edits it.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, Final

from mcpguard import limits
from mcpguard.hosts.tree import BOM, Kind, Tree, text_of, unreadable
from mcpguard.model import Json

_STRING: Final = "tag:yaml.org,2002:str"
_MERGE: Final = "tag:yaml.org,2002:merge"


def read(data: bytes, file: str) -> Tree:
    """The tree of a file; an empty one is an empty object.

    Raises:
        ConfigError: It is not YAML, or it is more than one document; nothing can be written.
    """
    from ruamel.yaml import YAML  # noqa: PLC0415 (only who edits configurations pays for it)
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415

    text = text_of(data, file)
    if len(data) > limits.YAML_CONFIG_BYTES:
        raise unreadable(file, f"longer than {limits.YAML_CONFIG_BYTES} bytes")
    try:
        node = YAML().compose(text)
        value = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        raise unreadable(file, f"not YAML: {error.problem or error.context}", line) from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise unreadable(file, f"not YAML: {str(error).partition(chr(10))[0]}") from error
    if node is None:
        return Tree(Kind.OTHER, None, len(data), len(data))
    skipped = len(BOM) if data.startswith(BOM) else 0
    return _Places(text, skipped).tree(node, value)


class _Places:
    """Turns characters into bytes, and nodes into trees."""

    def __init__(self, text: str, skipped: int) -> None:
        self._bytes = None if text.isascii() else [0, *accumulate(len(char.encode()) for char in text)]
        self._skipped = skipped
        self._last = 0
        self._depth = 0

    def tree(self, node: Any, value: Json) -> Tree:
        """A node; one that an alias stands for was marked where it is written, which is before here."""
        start, end = self._place(node.start_mark.index), self._place(node.end_mark.index)
        if start < self._last or self._depth >= limits.CONFIG_DEPTH:
            return Tree(Kind.OTHER, value, start, end)
        self._last = start
        self._depth += 1
        try:
            return self._inner(node, value, start, end)
        finally:
            self._depth -= 1

    def _inner(self, node: Any, value: Json, start: int, end: int) -> Tree:
        block = not node.flow_style if node.id != "scalar" else False
        if node.id == "mapping" and isinstance(value, dict):
            if any(key.tag == _MERGE for key, _ in node.value):
                return Tree(Kind.OTHER, value, start, end)
            members, keys = {}, {}
            for (key, child), (name, item) in zip(node.value, value.items(), strict=True):
                keys[str(name)] = self._place(key.start_mark.index)
                members[str(name)] = self.tree(child, item)
            return Tree(Kind.OBJECT, value, start, end, members, keys, block=block)
        if node.id == "sequence" and isinstance(value, list):
            items = tuple(self.tree(child, item) for child, item in zip(node.value, value, strict=True))
            return Tree(Kind.ARRAY, value, start, end, items=items, block=block)
        plain = node.id == "scalar" and node.tag == _STRING and node.style in (None, "'", '"')
        one_line = node.start_mark.line == node.end_mark.line
        return Tree(Kind.STRING if plain and one_line else Kind.OTHER, value, start, end)

    def _place(self, index: int) -> int:
        return self._skipped + (index if self._bytes is None else self._bytes[index])
