"""Brings the audit log to one sink: read a batch, hand it over, remember that it was taken.

Rule 1. In this order: a crash between two steps sends a batch twice, and loses none.
Rule 2. Nobody waits for a sink: not the writer of the log, not the other sinks. One that is away is tried again, less
and less often, and what it has not got stays in the log.
Rule 3. What went into a stream that broke is sent again, as far as the receiver may not have read it.
"""

from __future__ import annotations

import datetime as dt
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import GuardError, JournalError
from mcpguard.system.delivery import Delivery, SinkError
from mcpguard.system.httpssink import HttpsSink
from mcpguard.system.journaldsink import JournaldSink
from mcpguard.system.journalfiles import POLL_SECONDS
from mcpguard.system.sinkfile import Sink
from mcpguard.system.sinkstate import SinkState, StateFile
from mcpguard.system.spool import BEGINNING, Place, Read, Spool
from mcpguard.system.syslogsink import SyslogSink

_FIRST_SECONDS: Final = 0.5


def delivery(sink: Sink) -> Delivery:
    """The way to a sink; nothing is connected yet.

    Raises:
        SinkError: A library that it needs is not installed.
    """
    hostname = socket.gethostname()
    match sink.kind:
        case "syslog":
            return SyslogSink(sink, hostname)
        case "journald":
            return JournaldSink(sink, hostname)
        case "https":
            return HttpsSink(sink, hostname)
        case _:
            from mcpguard.system.otlpsink import OtlpSink  # noqa: PLC0415 (an extra)

            return OtlpSink(sink, hostname)


class Shipper:
    """One sink, in a thread of its own.

    Args:
        sink: Where to.
        audit: The log.
        states: Where it is remembered how far each sink is.
        stop: Set when it is to end.
        connect: Makes the way to it.
        clock: Unix time.
    """

    def __init__(
        self,
        sink: Sink,
        audit: Path,
        states: Path,
        stop: threading.Event,
        connect: Callable[[Sink], Delivery] = delivery,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sink = sink
        self._spool = Spool(audit, sink.name)
        self._file = StateFile(states, sink.name)
        self._stop = stop
        self._connect = connect
        self._clock = clock
        self._way: Delivery | None = None
        self._state = SinkState()
        self._unread: deque[tuple[float, int, Place]] = (
            deque()
        )  # batches of this stream: when, bytes, before it
        self._tries = 0

    def run(self) -> None:
        """Until it is to stop."""
        while not self._stop.is_set() and not self._prepared():
            self._stop.wait(limits.SINK_BACK_OFF_SECONDS)
        while not self._stop.is_set():
            self._stop.wait(self.step())
        if self._way is not None:
            self._way.close()

    def _prepared(self) -> bool:
        try:
            known = self._file.load()
            if known is None:
                first = self._spool.end() if self._sink.start == "now" else BEGINNING
                known = SinkState(trail=(first,))
                self._file.save(known)
        except GuardError:
            return False
        self._state = known
        return True

    def step(self) -> float:
        """One batch; how long to rest after it, seconds."""
        try:
            batch = self._spool.read(self._state.trail, _stamp(self._clock()))
            self._way = self._way or self._connect(self._sink)
            if not batch.events:
                self._way.look()
                self._well()
                return POLL_SECONDS
            before = self._state.trail[-1]
            self._way.send(batch.events)
        except GuardError as error:
            return self._failed(error)
        except Exception as error:  # noqa: BLE001 (a bug: one sink must not end in silence)
            return self._failed(SinkError(f"a bug in mcpguard: {error!r}"))
        self._tries = 0
        self._took(batch, before)
        return 0.0

    def _took(self, batch: Read, before: Place) -> None:
        gaps = sum(event.body.get("event") == "unsent" for event in batch.events)
        self._state = self._state.took(batch.end, len(batch.events), gaps, self._clock())
        self._unread.append((time.monotonic(), batch.size, before))
        while sum(size for _, size, _ in self._unread) > limits.REPEAT_BYTES and len(self._unread) > 1:
            self._unread.popleft()
        self._save()

    def _well(self) -> None:
        """Nothing to send, and nothing wrong any more."""
        if self._state.error:
            self._state = msgspec.structs.replace(self._state, error="")
            self._save()
        self._tries = 0

    def _failed(self, error: GuardError) -> float:
        if isinstance(error, SinkError) and error.broken:
            self._go_back()
        self._state = self._state.failed(error.sentence(), self._clock())
        self._save()
        wait: float = min(_FIRST_SECONDS * 2**self._tries, limits.SINK_BACK_OFF_SECONDS)
        self._tries = min(self._tries + 1, 16)
        asked = error.wait if isinstance(error, SinkError) else 0.0
        return max(wait * random.uniform(0.75, 1.25), asked)  # noqa: S311 (so that sinks do not try in step)

    def _go_back(self) -> None:
        """Before what the receiver may not have read."""
        oldest = time.monotonic() - limits.REPEAT_SECONDS
        while len(self._unread) > 1 and self._unread[0][0] < oldest:
            self._unread.popleft()
        if self._unread:
            place = self._unread[0][2]
            self._state = msgspec.structs.replace(
                self._state, trail=(*self._state.trail[-limits.TRAIL + 1 :], place)
            )
        self._unread.clear()

    def _save(self) -> None:
        """Remember; if the disk refuses, what was sent is sent again after a restart."""
        try:
            self._file.save(self._state)
        except JournalError as error:
            self._state = msgspec.structs.replace(self._state, error=error.sentence())


def _stamp(now: float) -> str:
    """A time as records have it."""
    return dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
