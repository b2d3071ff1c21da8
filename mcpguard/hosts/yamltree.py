"""YAML with places, from the marks that `ruamel.yaml` puts on the nodes of a file.

Not here: anchors that are used, and merged mappings. What is written in one place and used in another has no place of
its own, so neither is edited: an alias is `Kind.ALIAS`, what it stands for `Kind.OTHER`.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Any, Final

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.hosts.tree import BOM, Kind, Tree, text_of, unreadable
from mcpguard.model import Json

_STRING: Final = "tag:yaml.org,2002:str"
_MERGE: Final = "tag:yaml.org,2002:merge"
_PROPERTIES: Final = re.compile(r"(?:[&!][^\s\[\]{},]*\s+)*")
_DASH: Final = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*-")
_ALIAS: Final = re.compile(r"[ \t]*\*[^\s]+")
_BRACKET: Final = re.compile(r"[\[\]{}]")


def read(data: bytes, file: str) -> Tree:
    """The tree of a file; an empty one is an empty object.

    Raises:
        ConfigError: It is not YAML, or it is more than one document; nothing can be written.
    """
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415 (only who edits configurations pays for it)

    text = text_of(data, file)
    if len(data) > limits.YAML_CONFIG_BYTES:
        raise unreadable(file, f"longer than {limits.YAML_CONFIG_BYTES} bytes")
    depths = accumulate(1 if found[0] in "[{" else -1 for found in _BRACKET.finditer(text))
    if max(depths, default=0) > limits.YAML_CONFIG_DEPTH:
        raise unreadable(file, "not YAML: nested too deep")
    skipped = len(BOM) if data.startswith(BOM) else 0
    try:
        return _read(text, file, skipped)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        raise unreadable(file, f"not YAML: {error.problem or error.context}", line) from error
    except RecursionError as error:
        raise unreadable(file, "not YAML: nested too deep") from error
    except ConfigError:
        raise
    except Exception as error:  # the reader raises what it likes, say KeyError for `!!bool x`
        known = isinstance(error, YAMLError | ValueError)
        reason = str(error).partition("\n")[0] if known else "a value that its tag does not allow"
        raise unreadable(file, f"not YAML: {reason}") from error


def _read(text: str, file: str, skipped: int) -> Tree:
    from ruamel.yaml import YAML  # noqa: PLC0415

    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False  # YAML allows them
    node = yaml.compose(text)
    if node is None:
        end = skipped + len(text.encode())
        return Tree(Kind.OTHER, None, end, end)
    survey = _Survey(file)
    survey.weigh(node)
    value = yaml.constructor.construct_document(node)  # which writes over the nodes of merged mappings
    return _Places(text, skipped, file, survey).tree(node, value)


class _Survey:
    """What is used more than once, and what is merged.

    Attributes:
        shared: Nodes that are used more than once.
        merged: Mappings into which others are merged.
    """

    def __init__(self, file: str) -> None:
        self.shared: set[int] = set()
        self.merged: set[int] = set()
        self._file = file
        self._weights: dict[int, int] = {}

    def weigh(self, node: Any) -> int:
        """How many values a node stands for.

        Raises:
            ConfigError: It stands for too many, or stands within itself.
        """
        known = self._weights.get(id(node))
        if known is not None:
            self.shared.add(id(node))
            if not known:
                line = node.start_mark.line + 1
                raise unreadable(self._file, "not YAML: an anchor that is used within itself", line)
            return known
        self._weights[id(node)] = 0
        inner = [] if node.id == "scalar" else node.value
        if node.id == "mapping":
            if any(key.tag == _MERGE for key, _ in inner):
                self.merged.add(id(node))
            inner = [one for pair in inner for one in pair]
        total = 1 + sum(self.weigh(one) for one in inner)
        if total > limits.YAML_CONFIG_VALUES:
            raise unreadable(self._file, "not YAML: anchors within anchors that stand for too much")
        self._weights[id(node)] = total
        return total


class _Places:
    """Turns characters into bytes, and nodes into trees."""

    def __init__(self, text: str, skipped: int, file: str, survey: _Survey) -> None:
        self._text = text
        self._bytes = None if text.isascii() else [0, *accumulate(len(char.encode()) for char in text)]
        self._skipped = skipped
        self._file = file
        self._survey = survey
        self._seen: set[int] = set()
        self._last = 0
        self._depth = 0

    def tree(self, node: Any, value: Json) -> Tree:
        """A node; one that an alias stands for was met where it is written, which is before here."""
        start, end = self._place(node.start_mark.index), self._place(node.end_mark.index)
        if self._is_alias(node):
            return Tree(Kind.ALIAS, value, start, end)
        self._seen.add(id(node))
        self._last = node.start_mark.index
        if self._depth >= limits.CONFIG_DEPTH or id(node) in self._survey.shared | self._survey.merged:
            return Tree(Kind.OTHER, value, start, end)
        self._depth += 1
        try:
            return self._inner(node, value, start, end)
        finally:
            self._depth -= 1

    def _is_alias(self, node: Any) -> bool:
        return id(node) in self._seen or bool(node.start_mark.index < self._last)

    def _inner(self, node: Any, value: Json, start: int, end: int) -> Tree:
        if node.id == "mapping" and isinstance(value, dict):
            return self._mapping(node, value, start, end)
        if node.id == "sequence" and isinstance(value, list):
            return self._sequence(node, value, start, end)
        plain = node.id == "scalar" and node.tag == _STRING and node.style in (None, "'", '"')
        one_line = node.start_mark.line == node.end_mark.line
        return Tree(Kind.STRING if plain and one_line else Kind.OTHER, value, start, end)

    def _mapping(self, node: Any, value: Json, start: int, end: int) -> Tree:
        members, keys = {}, {}
        for (key, child), (name, item) in zip(node.value, value.items(), strict=True):
            if str(name) in members:
                line = key.start_mark.line + 1
                raise unreadable(self._file, f"not YAML: the key {str(name)[:80]!a} is there twice", line)
            keys[str(name)] = self._place(key.start_mark.index)
            members[str(name)] = self.tree(child, item)
        return Tree(Kind.OBJECT, value, start, end, members, keys, block=not node.flow_style)

    def _sequence(self, node: Any, value: Json, start: int, end: int) -> Tree:
        """An array; its place is that of its bracket or first dash, behind a tag or an anchor that nobody uses."""
        properties = _PROPERTIES.match(self._text, node.start_mark.index)
        index = properties.end() if properties else node.start_mark.index
        items, dashes = [], []
        for child, item in zip(node.value, value, strict=True):
            dash = None if node.flow_style else _DASH.match(self._text, index)
            if dash:
                dashes.append(self._place(dash.end() - 1))
                alias = _ALIAS.match(self._text, dash.end()) if self._is_alias(child) else None
                index = alias.end() if alias else max(dash.end(), child.end_mark.index)
            items.append(self.tree(child, item))
        if node.flow_style:
            start = self._place(index)
            known = self._text[index : index + 1] == "["
        else:
            start = dashes[0] if dashes else start
            known = len(dashes) == len(items)
        if not known:
            return Tree(Kind.OTHER, value, start, end)
        block = not node.flow_style
        return Tree(Kind.ARRAY, value, start, end, items=tuple(items), dashes=tuple(dashes), block=block)

    def _place(self, index: int) -> int:
        return self._skipped + (index if self._bytes is None else self._bytes[index])
