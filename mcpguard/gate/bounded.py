"""Tables that the far side fills: they hold so much and no more, and forget the oldest first."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def remember(table: dict[K, V], key: K, value: V, most: int) -> None:
    """Enter a value; a new one beyond `most` takes the place of the oldest."""
    if key not in table and len(table) >= most:
        del table[next(iter(table))]
    table[key] = value
