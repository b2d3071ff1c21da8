"""What one HTTP response stream says, kept until it is delivered, and as long after as its peer may come back.

Rule 1: what was put is in order, and none of it is lost while it waits: only what was delivered is forgotten, oldest
first.
Rule 2: one reader at a time. A newer one takes over; the older one ends.
"""

from __future__ import annotations

import asyncio
from collections import deque

from mcpguard import limits
from mcpguard.model import MessageId


class EventStream:
    """One stream.

    Args:
        ident: Names it among the streams of its session; event ids begin with it.
        pending: Ids of the requests whose answers it carries; it is over after the last of them.

    Attributes:
        size: Bytes that are kept.
        delivered: Number of the last event that a reader has taken.
    """

    def __init__(self, ident: str, pending: set[MessageId] | None = None) -> None:
        self.ident = ident
        self.pending = pending if pending is not None else set()
        self.size = 0
        self.delivered = 0
        self.over = False
        self._events: deque[tuple[int, bytes]] = deque()
        self._last = 0
        self._news = asyncio.Event()
        self._reader = 0

    @property
    def read(self) -> bool:
        """Whether somebody reads it."""
        return self._reader % 2 == 1

    @property
    def waiting(self) -> int:
        """Bytes that nobody has taken yet."""
        return sum(len(data) for number, data in self._events if number > self.delivered)

    @property
    def count(self) -> int:
        """How many events there have been."""
        return self._last

    async def changed(self) -> None:
        """Until something comes, or nothing more does."""
        if not self.over:
            self._news.clear()
            await self._news.wait()

    def put(self, data: bytes) -> None:
        """One message, encoded."""
        self._last += 1
        self._events.append((self._last, data))
        self.size += len(data)
        self._news.set()

    def close(self) -> None:
        """Nothing more comes."""
        self.over = True
        self._news.set()

    def forget(self) -> int:
        """Forget the oldest event that was delivered; its bytes, 0 if there is none."""
        if not self._events or self._events[0][0] > self.delivered:
            return 0
        _, data = self._events.popleft()
        self.size -= len(data)
        return len(data)

    def holds(self, after: int) -> bool:
        """Whether everything after an event is still there."""
        first = self._events[0][0] if self._events else self._last + 1
        return first - 1 <= after <= self._last

    def attach(self) -> int:
        """Begin to read; the number of this reader. An older one is told that it is over."""
        self._reader += 1 if self._reader % 2 == 0 else 2
        self._news.set()
        return self._reader

    def detach(self, reader: int) -> None:
        """A reader has gone."""
        if self._reader == reader:
            self._reader += 1

    async def next(self, after: int, reader: int) -> tuple[int, bytes] | None:
        """The next event and its number; None at the end, or once there is a newer reader."""
        while True:
            if self._reader != reader:
                return None
            if found := self._after(after):
                self.delivered = max(self.delivered, found[0])
                if len(self._events) > limits.STREAM_EVENTS:
                    self.forget()
                return found
            if self.over:
                return None
            self._news.clear()
            await self._news.wait()

    def _after(self, after: int) -> tuple[int, bytes] | None:
        if not self._events or self._events[-1][0] <= after:
            return None
        first = self._events[0][0]
        return self._events[max(0, after + 1 - first)]
