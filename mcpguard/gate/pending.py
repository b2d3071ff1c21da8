"""Requests in flight, one table for each direction.

Rule 1: an id given to the far side is ours, an integer counted from 1, and never given twice.
Rule 2: an answer counts once, for exactly that integer; everything else is unsolicited.

Source: MCP basic, Requests; security: SDKs match "7", " 7 ", 7.0 to request 7, so owners' ids never travel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.gate.bounded import remember
from mcpguard.model import Charge, Decision, Json, JsonObject, MessageId
from mcpguard.protocol.methods import Method
from mcpguard.protocol.strict import Refused

_MOST: Final = limits.PENDING


class Call(msgspec.Struct, gc=False):
    """One request in flight.

    Attributes:
        ident: The id its owner chose, type and all.
        method: Its row in the method table.
        target: The tool, prompt or URI it is about.
        tail: Encoded members of the record of its answer.
        began: When it was forwarded, monotonic nanoseconds.
        number: The id the far side sees.
        token: The owner's progress token, None if it gave none.
        progress: The last progress value seen.
        record: Encoded members of the record of the decision, for a server's request.
        listing: For lists, the walk through pages that it belongs to.
        binding: For calls that may answer `input_required`, what a retry must repeat.
        capabilities: What the client declared when it sent this (modern era).
        declared: What it declared before policy took something away; only for questions of ours.
        augmented: Whether the owner asked for a task, whose first status may come before the answer that names it.
        wanted: For `subscriptions/listen`, the notification kinds that were asked for.
        decision: What policy said of it when it was forwarded; None before.
        maker: For a request about a task, the call that made the task, if it was one of a tool.
        approval: The ticket by which a person approved it.
        ticket: For a question of ours that the host puts to its user, the ticket that it is about.
        marked: There may be handles of secrets in its arguments.
        replay: We said it again to a server that crashed; the host does not know of it.
    """

    ident: MessageId
    method: Method
    target: str
    tail: bytes
    began: int
    number: int = 0
    token: MessageId | None = None
    progress: float | None = None
    record: bytes = b""
    listing: Chain | None = None
    binding: bytes = b""
    capabilities: JsonObject | None = None
    declared: JsonObject | None = None
    augmented: bool = False
    wanted: JsonObject | None = None
    decision: Decision | None = None
    maker: Call | None = None
    approval: str = ""
    ticket: str = ""
    replay: bool = False
    marked: bool = False


class Chain(msgspec.Struct):
    """One walk through the pages of one list.

    Attributes:
        names: What was listed so far.
        cursors: The server's cursors so far; one that repeats would never end.
        pages: How many pages there were.
    """

    names: set[str] = msgspec.field(default_factory=set)
    cursors: set[str] = msgspec.field(default_factory=set)
    pages: int = 0


class Pending:
    """The requests of one direction that have no answer yet.

    Args:
        settled: Gets the charges of each request that leaves the table, however it ends.
    """

    __slots__ = ("_by_ident", "_calls", "_late", "_next", "_settled")

    def __init__(self, settled: Callable[[tuple[Charge, ...]], None] | None = None) -> None:
        self._settled = settled
        self._calls: dict[int, Call] = {}
        self._by_ident: dict[MessageId, Call] = {}
        self._late: dict[int, None] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._calls)

    def values(self) -> list[Call]:
        """The calls in flight, in the order they were sent."""
        return list(self._calls.values())

    def augmented(self) -> bool:
        """Whether a call that asked for a task is in flight."""
        return any(call.augmented for call in self._calls.values())

    def taken(self, ident: MessageId) -> bool:
        """Whether the owner has a request with this id in flight."""
        return ident in self._by_ident

    def add(self, call: Call) -> int:
        """Enter a call and return the number that the far side will see.

        Raises:
            Refused: Too many requests are in flight.
        """
        if len(self._calls) >= _MOST:
            raise Refused(f"more than {limits.PENDING} requests in flight", ident=call.ident)
        number = self._next
        self._next = number + 1
        call.number = number
        self._calls[number] = call
        self._by_ident[call.ident] = call
        return number

    def get(self, number: Json) -> Call | None:
        """The call in flight with exactly this number, not a string or float like it."""
        return self._calls.get(number) if type(number) is int else None

    def by_ident(self, ident: Json) -> Call | None:
        """The owner's call in flight with exactly this id."""
        return self._by_ident.get(ident) if type(ident) in (int, str) else None

    def take(self, number: Json) -> Call | None:
        """Remove and return the call that an answer settles; None if the answer is unsolicited."""
        if type(number) is not int:
            return None
        call = self._calls.pop(number, None)
        if call is not None:
            del self._by_ident[call.ident]
            if self._settled and call.decision is not None and call.decision.charges:
                self._settled(call.decision.charges)
        return call

    def cancel(self, call: Call) -> None:
        """Forget a call whose owner no longer wants the answer; a late one is recognised as late."""
        self.take(call.number)
        remember(self._late, call.number, None, limits.ANSWERED)

    def late(self, number: Json) -> bool:
        """Whether this answers a cancelled call; true once."""
        return type(number) is int and self._late.pop(number, self) is None

    def drain(self) -> list[Call]:
        """Remove and return every call in flight."""
        return [call for number in list(self._calls) if (call := self.take(number)) is not None]
