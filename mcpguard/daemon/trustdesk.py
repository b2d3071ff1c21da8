"""The verbs of admin.sock that concern trust: what is in force, the next trust set, revocations.

The desk refuses every change while the files on disk fall short of what the audit log remembers: going on then would
make the loss permanent. A person ends that with `mcpguard trust restore FILE`, and the log tells.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable
from typing import Final

import msgspec

from mcpguard.errors import TrustError
from mcpguard.model import JsonObject
from mcpguard.protocol.control import Request
from mcpguard.system.truststore import RESTORE, Seen, TrustStore, compare, wall_clock

_RESTORE: Final = "restore"
"""`name` of a `trust-put` that a person vouches for although it does not follow."""


def _unrecorded(event: str, seen: Seen) -> None:
    """Tell nobody: for a desk without an audit log."""


class TrustDesk:
    """Trust as the command line reaches it.

    Args:
        store: The trust files.
        remembered: The last rollback state in the audit log; None if it has none. Later ones take its place.
        changed: Told after each change: `trust`, `trust-restored` or `revocations`, and the state to record.
        clock: Now, in UTC.
    """

    def __init__(
        self,
        store: TrustStore,
        remembered: Seen | None = None,
        changed: Callable[[str, Seen], None] = _unrecorded,
        clock: Callable[[], dt.datetime] = wall_clock,
    ) -> None:
        self.store = store
        self._remembered = remembered
        self._changed = changed
        self._clock = clock

    def remember(self, seen: Seen) -> None:
        """Compare the files with this state from now on: it is in the audit log."""
        self._remembered = seen

    def check(self) -> None:
        """Refuse to go on from files that fall short of the audit log; call before anything is verified with them.

        Raises:
            TrustError: They do, or they are damaged.
        """
        self._check(self.store.load().seen)

    def trust(self, request: Request) -> JsonObject:  # noqa: ARG002 (the signature of verbs)
        """What is in force: the envelopes in base64, empty where there is none, and the rollback state.

        Raises:
            TrustError: As for `check`.
        """
        trust, revocations = self.store.envelopes()
        seen = self.store.load().seen
        self._check(seen)
        return {
            "trust": base64.b64encode(trust).decode(),
            "revocations": base64.b64encode(revocations).decode(),
            "seen": msgspec.to_builtins(seen),
        }

    def trust_put(self, request: Request) -> JsonObject:
        """Put the first or the next trust set in force; with the name `restore` one that a person vouches for.

        Raises:
            TrustError: It does not follow, or as for `check`; nothing has changed.
        """
        data, now = _envelope(request), self._clock()
        if request.name == _RESTORE:
            version = self.store.restore(data, now, self._remembered).version
            return self._told("trust-restored", version)
        if request.name:
            raise TrustError(f"trust-put has no way {request.name[:40]!a}", hint="mcpguard trust --help")
        self.check()
        return self._told("trust", self.store.put_trust(data, now).version)

    def revocations_put(self, request: Request) -> JsonObject:
        """Put a revocation file in force.

        Raises:
            TrustError: It may not be, or as for `check`; nothing has changed.
        """
        self.check()
        return self._told(
            "revocations", self.store.put_revocations(_envelope(request), self._clock()).version
        )

    def _told(self, event: str, version: int) -> JsonObject:
        seen = self.store.load().seen
        self._changed(event, seen)
        self.remember(seen)
        return {"version": version, "seen": msgspec.to_builtins(seen)}

    def _check(self, seen: Seen) -> None:
        if self._remembered is not None and (fault := compare(self._remembered, seen)):
            raise TrustError(fault, hint=RESTORE)


def _envelope(request: Request) -> bytes:
    if not request.text:
        raise TrustError("there is no envelope in the request", hint="mcpguard trust import FILE")
    return request.text.encode()
