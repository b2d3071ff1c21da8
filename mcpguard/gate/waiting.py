"""Requests that wait for a person: held back here, known to nobody on the far side.

Rule 1: a request that waits has no number, so no answer of the far side can be meant for it.
Rule 2: its id is in use until it is answered; the same id again is refused.
"""

from __future__ import annotations

import msgspec

from mcpguard import limits
from mcpguard.gate.pending import Call
from mcpguard.model import Json, JsonObject, MessageId, Side
from mcpguard.protocol.strict import Refused


class Held(msgspec.Struct):
    """One request that waits.

    Attributes:
        side: Who sent it.
        message: The request as it will be forwarded, but for its id and progress token.
        call: What the gate knows of it.
        ticket: The ticket that it waits for.
        steps: Notifications that kept the host's timer alive.
        answer: For a request inside an answer of the server, that answer, which waits with it.
        answers: The call that this answer is of.
    """

    side: Side
    message: JsonObject
    call: Call
    ticket: str
    steps: int = 0
    answer: JsonObject | None = None
    answers: Call | None = None


class Waiting:
    """The requests of one connection that wait."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[tuple[Side, MessageId], Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, held: Held) -> None:
        """Hold a request.

        Raises:
            Refused: Too many wait already.
        """
        if len(self._held) >= limits.HELD:
            raise Refused(
                f"more than {limits.HELD} requests wait for approval on this connection",
                ident=held.call.ident,
            )
        self._held[held.side, held.call.ident] = held

    def taken(self, side: Side, ident: Json) -> bool:
        """Whether a request of `side` with this id waits."""
        return type(ident) in (int, str) and (side, ident) in self._held

    def take(self, side: Side, ident: Json) -> Held | None:
        """Remove and return the request of `side` with this id."""
        return self._held.pop((side, ident), None) if type(ident) in (int, str) else None

    def of(self, ticket: str) -> list[Held]:
        """Remove and return the requests that wait for a ticket, in the order they came."""
        found = [held for held in self._held.values() if held.ticket == ticket]
        for held in found:
            del self._held[held.side, held.call.ident]
        return found

    def values(self) -> list[Held]:
        """The requests that wait, in the order they came."""
        return list(self._held.values())

    def drain(self) -> list[Held]:
        """Remove and return all."""
        found = self.values()
        self._held.clear()
        return found
