"""The newest records, for who watches: a console, `pending --watch`.

Records are kept as the bytes that were written; they are read only when somebody asks.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from itertools import repeat
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.model import JsonObject

_MOST_SECONDS: Final = 5.0
"""A watcher waits at most so long for an answer, and asks again."""


class Recent:
    """The newest records of one daemon.

    Attributes:
        count: Records so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._bodies: deque[tuple[float, bytes]] = deque(maxlen=limits.RECENT)
        self._news = Bell()

    def add(self, bodies: list[bytes]) -> float:
        """Records were written; now, in seconds since 1970."""
        now = time.time()
        self._bodies.extend(zip(repeat(now), bodies))
        self.count += len(bodies)
        self._news.ring()
        return now

    async def since(self, seen: int, seconds: float) -> JsonObject:
        """The records after the first `seen`; waits for one if there is none yet and `seen` is not -1.

        Each has when it was written as `at`, in seconds since 1970.
        """
        if seen >= 0:
            await self._news.wait(lambda: self.count != seen, seconds)
        fresh = min(len(self._bodies), self.count - max(seen, 0)) if seen <= self.count else len(self._bodies)
        chosen = list(self._bodies)[len(self._bodies) - fresh :]
        return {
            "records": [msgspec.json.decode(b'{"at":%.3f,%b}' % one) for one in chosen],
            "next": self.count,
        }


class Bell:
    """Wakes those who wait for news; nothing is kept for those who do not."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """There is news."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def wait(self, arrived: Callable[[], bool], seconds: float) -> None:
        """Until `arrived()` is true at a ring, or the time is up; at once if it is true already."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(max(seconds, 0.0), _MOST_SECONDS)
        while not arrived() and (left := deadline - loop.time()) > 0:
            future: asyncio.Future[None] = loop.create_future()
            self._waiting.add(future)
            try:
                await asyncio.wait((future,), timeout=left)
            finally:
                self._waiting.discard(future)
