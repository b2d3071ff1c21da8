"""Calls that were let through and whose outcome is not in the log.

Rule: a record of type `call` with a number was forwarded; the `outcome` with the same connection, side and number
ends it. What a daemon has left open when the next one opens the log stays open for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Final

from mcpguard.audit.record import Record

WANTED: Final = (b'"type":"call"', b'"type":"outcome"', b'"type":"log"')
"""Words of which every line that has to be taken holds one."""


class Unsettled:
    """Takes the records of a log in order, and knows which calls have no outcome."""

    def __init__(self) -> None:
        self._earlier: list[bytes] = []
        self._open: dict[tuple[object, object, object], bytes] = {}

    def take(self, record: Record, line: bytes) -> None:
        """The next record, and its line, which is kept while it is open."""
        body = record.body
        key = (body.get("conn"), body.get("side"), body.get("id"))
        if record.type == "call" and body.get("id"):
            self._open[key] = line
        elif record.type == "outcome":
            self._open.pop(key, None)
        elif record.type == "log" and body.get("event") == "opened":
            self._earlier += self._open.values()
            self._open.clear()

    def lines(self, *, running: bool) -> Iterable[bytes]:
        """The lines of the calls without an outcome, oldest first. `running`: the last daemon may yet record some."""
        return self._earlier if running else chain(self._earlier, self._open.values())
