"""All that can happen to a gate. `now` is a monotonic clock in nanoseconds, given by the caller."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from mcpguard.gate.schemas import PinnedSchemas
from mcpguard.gate.shared import Manners
from mcpguard.identity.definitions import DefinitionPins
from mcpguard.model import Side
from mcpguard.policy.decider import Decider


class BytesReceived(msgspec.Struct, frozen=True, gc=False):
    """Bytes arrived from one side, cut anywhere."""

    side: Side
    data: bytes
    now: int


class StreamEnded(msgspec.Struct, frozen=True):
    """One side sent its end of file, or is gone. `reason`: why mcpguard has ended it, for who waits for an answer."""

    side: Side
    now: int
    reason: str = ""


class PolicyChanged(msgspec.Struct, frozen=True):
    """Another policy holds from the next message on, and people are asked in another way."""

    snapshot: Decider
    now: int
    manners: Manners = Manners()


class PinsChanged(msgspec.Struct, frozen=True):
    """Other definitions are pinned from the next message on: a person accepted what a server says now."""

    pins: DefinitionPins
    now: int
    schemas: PinnedSchemas | None = None


class NotRecorded(msgspec.Struct, frozen=True):
    """The `Append` of the last commands failed, and none of the calls among them has been forwarded."""

    reason: str
    now: int


class TicketSettled(msgspec.Struct, frozen=True):
    """A ticket that calls of this connection wait for was answered, expired or became void.

    Attributes:
        ident: The ticket.
        granted: Whether a grant for it is in the book.
        sentence: For the host, if it was not: why, and what to do.
        word: For the record: `granted`, `denied`, `expired` or `void`.
        by: Who answered.
    """

    ident: str
    granted: bool
    sentence: str
    word: str
    by: str
    now: int


class ServerBack(msgspec.Struct, frozen=True):
    """The server crashed, which ended its stream, and was started again: its end of the wire is new."""

    now: int


class StillWaiting(msgspec.Struct, frozen=True):
    """Time goes by while calls wait for people: keep the host's timers alive."""

    now: int


Event: TypeAlias = (
    BytesReceived
    | StreamEnded
    | PolicyChanged
    | PinsChanged
    | NotRecorded
    | TicketSettled
    | ServerBack
    | StillWaiting
)
