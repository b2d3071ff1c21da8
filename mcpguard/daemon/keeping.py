"""Arguments that a rule wants recorded: redacted, sealed under a key of their own, and erased when a person says so.

Rule: the erasure is recorded, on stable storage, before the first key is destroyed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.audit import record, sealed
from mcpguard.audit.marks import Marks
from mcpguard.daemon.control import Caller, Personal
from mcpguard.daemon.recorder import Recorder
from mcpguard.errors import JournalError, PeerError
from mcpguard.model import Json, JsonObject
from mcpguard.protocol.control import Request
from mcpguard.system.argumentkeys import ArgumentKeys

_log: Final = logging.getLogger("mcpguard")


class Erasure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `audit erase` asks for.

    Attributes:
        keys: First and last number of runs of keys.
        wanted: By what the records were chosen, as the record of the erasure has it.
    """

    keys: list[tuple[int, int]]
    wanted: dict[str, str]


class Keeping:
    """Keeps arguments for the records of one daemon, and erases them."""

    def __init__(self, keys: ArgumentKeys, recorder: Recorder) -> None:
        self._keys = keys
        self._recorder = recorder
        self._failing = ""

    def keep(self, value: Json, marks: Marks | None) -> bytes:
        """The member of a record that holds these arguments; one that says so if they cannot be kept."""
        plain = record.arguments(value, marks, limits.RECORDED_BYTES)
        try:
            number, key = self._keys.draw()
        except JournalError as error:
            if error.sentence() != self._failing:
                _log.error("%s", error)
            self._failing = error.sentence()
            return sealed.NOT_KEPT
        self._failing = ""
        return sealed.member(number, key, plain)

    def erasing(self) -> dict[str, Personal]:
        """The verb that erases."""
        return {"audit-erase": self._erase}

    def close(self) -> None:
        """Let go of the keys."""
        self._keys.close()

    def _erase(self, request: Request, caller: Caller) -> JsonObject:
        try:
            wanted = msgspec.json.decode(request.text, type=Erasure)
        except (ValueError, RecursionError) as error:
            raise PeerError(f"not an erasure: {error}") from error
        many = sum(last - first + 1 for first, last in wanted.keys)
        if any(not 0 < first <= last for first, last in wanted.keys) or many > limits.ARGUMENT_KEYS:
            raise PeerError(
                "not an erasure: a run of keys ends before it begins, or there are more than can be kept"
            )
        members: JsonObject = {"records": many, "wanted": wanted.wanted, "by": caller.words}
        self._recorder.append([record.log("erased", **members)], durable=True)
        return {"erased": self._keys.destroy(_numbers(wanted.keys))}


def _numbers(runs: list[tuple[int, int]]) -> Iterator[int]:
    for first, last in runs:
        yield from range(first, last + 1)
