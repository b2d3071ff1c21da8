"""The members of arguments, one by one: where each stands, and what is different from the last call.

A place is a JSON Pointer (RFC 6901) to a leaf: a value that holds no other, or an empty list or object.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from mcpguard.model import Json

COMPARED: Final = 4096
"""Most leaves of arguments that are compared; nobody reads more changes."""


class Change(msgspec.Struct, frozen=True):
    """One leaf that is not as it was.

    Attributes:
        kind: `changed`, `added` or `removed`.
        pointer: Where.
        before: The value that was there; None also if there was none.
        after: The value that is there; None also if there is none.
    """

    kind: str
    pointer: str
    before: Json = None
    after: Json = None


def token(key: str) -> str:
    """One step of a pointer."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def leaves(value: Json, pointer: str = "") -> Iterator[tuple[str, Json]]:
    """Pointers and values, in the order of the text; nothing for an empty object at the top."""
    if isinstance(value, dict) and (value or not pointer):
        for key, child in value.items():
            yield from leaves(child, pointer + token(key))
    elif isinstance(value, list) and value:
        for index, child in enumerate(value):
            yield from leaves(child, f"{pointer}/{index}")
    else:
        yield pointer, value


def changes(before: Json, after: Json) -> list[Change] | None:
    """What is different, in the order of `after`, then what is gone; None if there is too much to compare.

    Numbers are compared as they are written: 1 and 1.0 differ, since a server may tell them apart.
    """
    old, new = dict(islice(leaves(before), COMPARED + 1)), dict(islice(leaves(after), COMPARED + 1))
    if len(old) > COMPARED or len(new) > COMPARED:
        return None
    found = []
    for pointer, value in new.items():
        if pointer not in old:
            found.append(Change("added", pointer, after=value))
        elif msgspec.json.encode(old[pointer]) != msgspec.json.encode(value):
            found.append(Change("changed", pointer, old[pointer], value))
    return found + [Change("removed", pointer, value) for pointer, value in old.items() if pointer not in new]
