"""What the console hears of the daemon: tickets, records and the standing, as they change.

Two threads ask and wait for answers, because the daemon answers a question when there is news (`pending` and `recent`
with `since`), which costs nothing while there is none. They end with the process; nothing of theirs has to be saved.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

import msgspec

from mcpguard.cli import client
from mcpguard.errors import GuardError
from mcpguard.model import JsonObject

_SECONDS: Final = 5.0
"""So long the daemon waits for something new before it answers."""
_PAUSE_SECONDS: Final = 0.5
"""Between two questions for records: people do not read faster, and a busy server writes thousands a second."""
_AWAY_SECONDS: Final = 2.0
"""Between two tries to reach a daemon that does not answer."""


class Waiting(msgspec.Struct, frozen=True):
    """What waits for a person now: `tickets` as `approvals.words.describe` has them."""

    tickets: list[JsonObject]


class Happened(msgspec.Struct, frozen=True):
    """New `records`; `afresh` if they are of another daemon than those before."""

    records: list[JsonObject]
    afresh: bool = False


class Standing(msgspec.Struct, frozen=True):
    """The answer to `status`."""

    status: JsonObject


class Away(msgspec.Struct, frozen=True):
    """The daemon does not answer; `sentence` says why."""

    sentence: str


News: TypeAlias = Waiting | Happened | Standing | Away


class Feed(Protocol):
    """Where the console gets its news from."""

    def start(self, tell: Callable[[News], None]) -> None:
        """Begin; `tell` is called from other threads."""

    def stop(self) -> None:
        """No news any more."""


class DaemonFeed:
    """News of the daemon of this user."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._tell: Callable[[News], None] = _nobody

    def start(self, tell: Callable[[News], None]) -> None:
        """Begin."""
        self._tell = tell
        for work in (self._tickets, self._records):
            threading.Thread(target=self._forever, args=(work,), daemon=True).start()

    def stop(self) -> None:
        """No news any more; a question that is on its way is not waited for."""
        self._tell = _nobody
        self._stopped.set()

    def _forever(self, work: Callable[[], None]) -> None:
        while not self._stopped.is_set():
            try:
                work()
            except GuardError as error:
                self._tell(Away(error.sentence()))
                self._stopped.wait(_AWAY_SECONDS)

    def _tickets(self) -> None:
        """Tickets until the daemon does not answer."""
        seen = -1
        while not self._stopped.is_set():
            reply = client.request({"verb": "pending", "since": seen, "seconds": _SECONDS})
            seen = reply["version"]
            self._tell(Waiting(reply["tickets"]))

    def _records(self) -> None:
        """Records and the standing until the daemon does not answer."""
        seen = -1
        while not self._stopped.is_set():
            before = time.monotonic()
            reply = client.request({"verb": "recent", "since": seen, "seconds": _SECONDS})
            afresh = reply["next"] < seen or seen < 0
            if reply["records"] or afresh:
                self._tell(Happened(reply["records"], afresh=afresh))
            seen = reply["next"]
            self._tell(Standing(client.request({"verb": "status"})))
            self._stopped.wait(max(0.0, before + _PAUSE_SECONDS - time.monotonic()))


def _nobody(_news: News) -> None:
    """Nobody listens."""
