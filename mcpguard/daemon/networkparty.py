"""A peer of a listener as a session knows it: what its credential says of it, for as long as that holds.

Rule 1: the credential is the peer: what is remembered of it (labels, rates, approvals) outlives its connections, so
that to connect anew sheds nothing.
Rule 2: what it may is what the newest look at its credential gave; principals that it gained since its session began
count from its next session on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import msgspec

from mcpguard.credentials.presented import Authenticated, Found, Presented
from mcpguard.model import Caller, JsonObject
from mcpguard.policy.rules import ANYBODY

_UID: Final = "uid:"
_FIRST: Final = ("spiffe://", "cert:", "key:", "jwt:", _UID)


class NetworkParty:
    """One peer (`party.Party`).

    Args:
        found: Who it was found to be.
        presented: What it showed when its session began.
        listener: The name of the listener.
        pid: Its process, where it is on this machine and in our namespaces; else 0.
        still: Empty while the credential counts; else why not. Asked before sensitive calls, so it is quick.

    Attributes:
        caller: What policy sees.
        found: Who it is now.
        presented: What it showed last.
    """

    def __init__(
        self,
        found: Found,
        presented: Presented,
        listener: str,
        pid: int,
        still: Callable[[Found, Presented], str],
    ) -> None:
        self.found = found
        self.presented = presented
        self.caller = caller_of(found.whole)
        self._listener = listener
        self._pid = pid
        self._still = still
        self._first = frozenset(found.whole.principals)

    @property
    def name(self) -> str:
        """It is no enrolled host."""
        return ""

    @property
    def pid(self) -> int:
        """Its process; whatever that starts may not approve. 0 if it is on another machine."""
        return self._pid

    @property
    def handle(self) -> int:
        """Its process is not held."""
        return 0

    @property
    def uid(self) -> int:
        """The user whose process it is; of a peer from the network, ours, under whom its server runs."""
        return os.geteuid() if self.presented.uid is None else self.presented.uid

    @property
    def login(self) -> str:
        """In none that is known."""
        return ""

    def evidence(self) -> JsonObject:
        """The members of every record of the session."""
        return evidence_of(self.found.whole, self.presented, self._listener)

    def recheck(self) -> str:
        """Empty while its credential counts; else why not."""
        return self._still(self.found, self.presented)

    @property
    def instance(self) -> str:
        """Names its credential among all."""
        return self.found.whole.instance

    def renew(self, found: Found, presented: Presented) -> bool:
        """Another look at its credential gave this; whether it may something else now."""
        whole = found.whole
        kept = msgspec.structs.replace(whole, principals=whole.principals & self._first)
        self.found, self.presented = Found(kept, found.other), presented
        caller = caller_of(kept)
        changed = caller != self.caller
        self.caller = caller
        return changed

    def alive(self) -> bool:
        """Its credential outlives its connections."""
        return True

    def watch(self, gone: Callable[[], None]) -> None:
        """There is no process to watch: the listener tells when the connection has ended."""

    def close(self) -> None:
        """Nothing is held."""


def principal_of(found: Authenticated) -> str:
    """The one principal that people and records call it by: the narrowest kind."""
    for kind in _FIRST:
        for each in sorted(found.principals):
            if each.startswith(kind):
                return each
    return min(found.principals, default="?")


def caller_of(found: Authenticated) -> Caller:
    """What policy sees of it."""
    return Caller(
        principals=(ANYBODY, *sorted(found.principals - {ANYBODY})),
        instance=found.instance,
        tools=found.tools,
    )


def evidence_of(found: Authenticated, presented: Presented, listener: str) -> JsonObject:
    """The members of records; nothing of them is secret."""
    members: JsonObject = {
        "principal": principal_of(found),
        "principals": sorted(found.principals),
        "credential": found.instance,
        "listener": listener,
        "grade": "G0",
        **found.evidence,
    }
    if presented.network:
        members["network"] = presented.network
    if presented.uid is not None:
        members["uid"] = presented.uid
    return members
