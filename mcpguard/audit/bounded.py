"""Memory with a bound, for what is counted by names that come from outside.

Rule: whatever names come, no table here grows beyond its bound; the least recently used entry makes room. Who floods
a table with names makes it forget, and is itself found by what it floods with (`limits` of throttled findings).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

KEYS: Final = 1024
"""Names that are counted apart at a time."""
NAME_CHARS: Final = 256
"""Longest name that is kept, characters; longer ones are cut, so that two of them may be counted as one."""


class Table(Generic[Key, Value]):
    """A dictionary of at most `most` entries; the least recently used one is dropped."""

    def __init__(self, make: Callable[[], Value], most: int = KEYS) -> None:
        self._make = make
        self._most = most
        self._held: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: Key) -> bool:
        return key in self._held

    def __iter__(self) -> Iterator[Key]:
        """Keys, the least recently used first."""
        return iter(self._held)

    def of(self, key: Key) -> Value:
        """The entry of a key, made if there is none, and used now."""
        found = self._held.get(key)
        if found is None:
            found = self._held[key] = self._make()
            if len(self._held) > self._most:
                self._held.popitem(last=False)
        else:
            self._held.move_to_end(key)
        return found

    def put(self, key: Key, value: Value) -> None:
        """Set an entry, used now."""
        self._held[key] = value
        self._held.move_to_end(key)
        if len(self._held) > self._most:
            self._held.popitem(last=False)

    def get(self, key: Key) -> Value | None:
        """The entry of a key, which is not used by this."""
        return self._held.get(key)

    def drop(self, key: Key) -> None:
        """Forget an entry, if there is one."""
        self._held.pop(key, None)

    def values(self) -> list[Value]:
        """All values, likewise."""
        return list(self._held.values())

    def items(self) -> list[tuple[Key, Value]]:
        """All entries, the least recently used first."""
        return list(self._held.items())


class Burst:
    """Whether `count` events of one key came within `seconds`; exact, in a memory of `count` times each key.

    After it has said so it begins anew: the next burst needs as many events again.
    """

    def __init__(self, threshold: tuple[int, float], most: int = KEYS) -> None:
        count, self._seconds = threshold
        self._times: Table[str, deque[tuple[float, int]]] = Table(lambda: deque(maxlen=count), most)

    def __len__(self) -> int:
        return len(self._times)

    def add(self, key: str, at: float, seq: int = 0) -> tuple[int, int] | None:
        """Count one event; the first and last record of a burst, or None if there is none yet."""
        times = self._times.of(key[:NAME_CHARS])
        times.append((at, seq))
        if len(times) < (times.maxlen or 1) or at - times[0][0] > self._seconds:
            return None
        first = times[0][1]
        times.clear()
        return first, seq
