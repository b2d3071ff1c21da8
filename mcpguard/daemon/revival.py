"""Start a server again that crashed, as often as policy says, each time a little later.

Rule 1: it is started as it was the first time: its manifest is looked up and verified again.
Rule 2: a server that ends by itself with exit code 0 has not crashed.
Rule 3: one that is ended because its secrets are others now is started again without being counted.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from mcpguard import limits
from mcpguard.daemon.policies import Policies
from mcpguard.daemon.session import Upstream
from mcpguard.model import Json

_log = logging.getLogger("mcpguard")
_DOUBLED = 6


def covered(policies: Policies, server: str) -> bool:
    """Whether policy lets a server of this name be started again now."""
    return any(pattern.matches(server) for pattern in policies.rules.restarting.servers)


class Source(Protocol):
    """Where a server comes from."""

    async def start(self, stderr: int) -> tuple[Upstream, int, int]:
        """Verify and start it with this stderr, which stays the caller's.

        Raises:
            GuardError: It may not run, or cannot be started.
        """

    def tidy(self) -> None:
        """Remove what was made for it."""


class Restarts:
    """The restarts of one connection's server (`session.Revival`).

    Args:
        policies: Says how often, each time anew.
        server: The server's name.
        stderr: A descriptor of the host's stderr; taken over.
        source: Verifies and starts the server.
        note: Records an event of the connection.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        policies: Policies,
        server: str,
        stderr: int,
        source: Source,
        note: Callable[[str, dict[str, Json]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policies = policies
        self._server = server
        self._stderr = stderr
        self._source = source
        self._note = note
        self._clock = clock
        self._crashes: deque[float] = deque(maxlen=limits.RESTARTS)
        self._renewing = False

    def wanted(self, code: int) -> float | None:
        """In how many seconds it is started again; None if it is not."""
        if self._renewing and self._stderr >= 0:
            self._renewing = False
            return 0.0
        if code == 0 or self._stderr < 0 or not covered(self._policies, self._server):
            return None
        restarting, now = self._policies.rules.restarting, self._clock()
        while self._crashes and now - self._crashes[0] > restarting.seconds:
            self._crashes.popleft()
        if len(self._crashes) >= restarting.times:
            _log.warning("%s crashed too often and stays down (exit code %s)", self._server, code)
            self._note("crashed", {"code": code, "again": False})
            return None
        delay = limits.BACKOFF_SECONDS * 2.0 ** min(len(self._crashes), _DOUBLED)
        self._crashes.append(now)
        self._note("crashed", {"code": code, "again": True, "in_seconds": delay})
        return delay

    def renew(self) -> None:
        """Its next end is by our will: it is started again at once, whatever its exit code."""
        self._renewing = True

    async def start(self) -> tuple[Upstream, int, int]:
        """Start it.

        Raises:
            GuardError: It may not be started, or cannot.
        """
        upstream, source, sink = await self._source.start(self._stderr)
        self._note("restarted", {"pid": upstream.pid})
        return upstream, source, sink

    def tidy(self) -> None:
        """Let go of the host's stderr, and of what was made for the server."""
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1
            self._source.tidy()
