"""Writes down connections that were refused because who calls could not be established.

Rule: a flood of them fills no log: of one second a few have a record of their own, and the next record has the number
of the others.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Final

from mcpguard.audit import record
from mcpguard.audit.bursts import CALLER
from mcpguard.daemon.recorder import Recorder
from mcpguard.errors import GoneError, GuardError, PeerError, ProtocolError
from mcpguard.model import JsonObject
from mcpguard.system.peercred import Peer

MOST: Final = 10
"""Records in one second."""


class Refused:
    """The pen for refused callers; `recorder` is where it writes."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._second = 0.0
        self._count = 0
        self._more = 0

    @contextlib.contextmanager
    def noting(self, peer: Peer | None = None) -> Iterator[None]:
        """Note a refusal that is raised inside."""
        try:
            yield
        except GuardError as error:
            self.note(error, peer)
            raise

    def note(self, error: GuardError, peer: Peer | None = None) -> None:
        """A caller was refused; whoever hung up by itself, or is of another version, is not."""
        if isinstance(error, GoneError) or not isinstance(error, PeerError | ProtocolError):
            return
        self._note(error, {"uid": peer.facts.uid, "shim": peer.facts.pid} if peer is not None else {})

    def note_peer(self, error: GuardError, host: JsonObject) -> None:
        """A peer of a listener was refused; `host`: what is known of it."""
        self._note(error, host)

    def _note(self, error: GuardError, host: JsonObject) -> None:
        now = time.monotonic()
        if now - self._second >= 1.0:
            self._second, self._count = now, 0
        self._count += 1
        if self._count > MOST:
            self._more += 1
            return
        more = {"more": self._more} if self._more else {}
        self._more = 0
        start = record.prefix("", host, "")
        self._recorder.later(
            [record.session(start, "refused", stage=CALLER, reason=error.sentence(), **more)]
        )
