"""A configuration file as a tree that knows where each value stands.

Rule 1: places are bytes of the file as it is; whoever edits replaces bytes and touches nothing else.
Rule 2: a file that its own format does not allow is not read at all (`unreadable`), however much of it could be
guessed: other programs have emptied files that they only half understood.

Each format has a reader of its own: `jsontree`, `tomltree`, `yamltree`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final, TypeAlias

import msgspec

from mcpguard.errors import ConfigError
from mcpguard.model import Json

BOM: Final = b"\xef\xbb\xbf"
EVERY: Final = "*"
"""In a path, every member."""
Paths: TypeAlias = tuple[tuple[str, ...], ...]
"""Paths from the top; all that stands below one of them is meant."""


class Kind(enum.Enum):
    """What a value is."""

    OBJECT = "object"
    ARRAY = "array"
    STRING = "string"
    ALIAS = "alias"
    """It stands for what is written elsewhere, and its place is that one (YAML)."""
    OTHER = "other"


class Tree(msgspec.Struct, frozen=True):
    """A value and where it stands.

    Attributes:
        kind: What it is.
        value: It, in plain types.
        start: Its first byte.
        end: The byte after its last.
        members: Of an object: its members, in the order of the file.
        keys: Of an object: where the key of each member begins.
        items: Of an array: its elements.
        dashes: Of an array that is written one element a line (YAML): where the dash of each element is.
        block: Whether an array or object is written without brackets, one element a line (YAML, tables of TOML).
    """

    kind: Kind
    value: Json
    start: int
    end: int
    members: dict[str, Tree] = {}
    keys: dict[str, int] = {}
    items: tuple[Tree, ...] = ()
    dashes: tuple[int, ...] = ()
    block: bool = False

    def at(self, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Tree]]:
        """What stands at a path, in which `*` is every member; with the path as it is in this file."""
        if not path:
            yield (), self
            return
        if self.kind is not Kind.OBJECT:
            return
        names = tuple(self.members) if path[0] == EVERY else (path[0],) if path[0] in self.members else ()
        for name in names:
            for rest, found in self.members[name].at(path[1:]):
                yield (name, *rest), found


def inside(paths: Paths, name: str) -> Paths:
    """The rest of those paths that lead through a member; one that ends here leads everywhere."""
    return tuple(path[1:] for path in paths if not path or name == path[0] or EVERY in (path[0], name))


def unreadable(file: str, reason: str, line: int = 0) -> ConfigError:
    """What is raised of a file that is not read, so that nothing is written."""
    return ConfigError(reason, file=file, line=line, hint="nothing was written")


def line_of(data: bytes, place: int) -> int:
    """The line of a byte, from 1."""
    return data.count(b"\n", 0, place) + 1


def text_of(data: bytes, file: str) -> str:
    """The text of a file without its byte order mark.

    Raises:
        ConfigError: It is not UTF-8, or holds a NUL.
    """
    try:
        text = data.removeprefix(BOM).decode()
    except UnicodeDecodeError as error:
        raise unreadable(file, "not UTF-8", line_of(data, error.start)) from error
    if "\0" in text:
        raise unreadable(file, "holds a NUL character", line_of(data, data.index(b"\0")))
    return text
