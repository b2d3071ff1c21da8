"""The reference monitor of one connection.

Rule 1: `Gate.handle(event)` is the only way in, and its list of commands the only way out. There is no `await`,
clock, socket or randomness here, so what a sequence of events leads to is decided by that sequence alone.
Rule 2: any bytes give commands, never an exception. An exception is a bug, and the caller closes both sides.
Rule 3: a call reaches the server only behind its record: `Append` comes before the `Write` that carries it.

Decided:
    *Two halves over one state* (`host`, `server`) because the two directions share nothing but what is in flight;
    rejected: one class, which no page could show.
    *A call whose record could not be written is answered as refused* instead of closing the connection, because
    a full disk must not take running work down; rejected: closing both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import assert_never

from mcpguard.errors import ProtocolError
from mcpguard.gate import asking, inband, refusals, revival, subscriptions
from mcpguard.gate.commands import Command
from mcpguard.gate.events import (
    BytesReceived,
    Event,
    NotRecorded,
    PinsChanged,
    PolicyChanged,
    ServerBack,
    StillWaiting,
    StreamEnded,
    TicketSettled,
)
from mcpguard.gate.half import Half
from mcpguard.gate.host import HostSide
from mcpguard.gate.ledger import Ledger
from mcpguard.gate.outbox import Outbox
from mcpguard.gate.pinning import Pinning
from mcpguard.gate.server import ServerSide
from mcpguard.gate.shared import Shared, alone
from mcpguard.gate.state import State
from mcpguard.gate.tally import Tally
from mcpguard.identity.definitions import DefinitionPins
from mcpguard.model import Side
from mcpguard.policy.decider import Decider
from mcpguard.protocol.framing import LineBuffer
from mcpguard.protocol.methods import Kind


class Gate:
    """Guards one connection between a host and a server.

    Args:
        snapshot: The policy for this principal and server.
        server: The server's name, for people and records.
        prefix: The encoded record members of this connection (`audit.record.prefix`).
        key: Key of argument digests.
        pins: What the server's manifest pins; None leaves definitions as they are.
        withdrawn: Digests of deviating definitions that earlier connections saw, by kind and name (`pinning`).
        shared: What it has in common with other connections; None for a gate by itself.
    """

    __slots__ = ("_buffers", "_halves", "_state")

    def __init__(
        self,
        snapshot: Decider,
        server: str,
        prefix: bytes,
        key: bytes,
        pins: DefinitionPins | None = None,
        withdrawn: Mapping[tuple[str, str], str] | None = None,
        shared: Shared | None = None,
    ) -> None:
        pinning = None if pins is None else Pinning(pins, withdrawn)
        shared = shared or alone()
        ledger = Ledger(snapshot, prefix, key, pinning, shared.circumstances)
        self._state = State(ledger, server, shared)
        self._buffers = {Side.HOST: LineBuffer(), Side.SERVER: LineBuffer()}
        self._halves: dict[Side, Half] = {
            Side.HOST: HostSide(self._state),
            Side.SERVER: ServerSide(self._state),
        }

    def handle(self, event: Event) -> list[Command]:
        """What to do about an event, in order."""
        state = self._state
        state.now = event.now
        last, out = state.out, Outbox()
        state.out = out
        match event:
            case BytesReceived():
                self._bytes(event.side, event.data, out)
            case StreamEnded():
                self._ended(event.side, event.reason)
            case PolicyChanged():
                self._state.manners = event.manners
                self._changed(lambda ledger: ledger.change(event.snapshot))
            case PinsChanged():
                state.repinned(event.pins.tools, event.schemas)
                self._changed(lambda ledger: ledger.repin(event.pins))
            case NotRecorded():
                self._unrecorded(last, event.reason)
            case TicketSettled():
                self._settled(event)
            case ServerBack():
                self._buffers[Side.SERVER] = LineBuffer()
                state.hide_given()
                revival.again(state)
            case StillWaiting():
                asking.keep_alive(state)
            case _:
                assert_never(event)
        return state.out.commands()

    @property
    def tally(self) -> Tally:
        """What was counted for metrics since the connection began."""
        return self._state.ledger.tally

    @property
    def counts(self) -> dict[str, int]:
        """Requests allowed and denied, lines dropped, since the connection began."""
        return self._state.counts

    @property
    def in_flight(self) -> int:
        """Requests of the host without an answer."""
        return len(self._state.calls)

    @property
    def replaying(self) -> bool:
        """Whether a server that was started again has not answered the handshake yet."""
        return revival.under_way(self._state)

    @property
    def waiting(self) -> int:
        """Requests that wait for a person."""
        return len(self._state.waiting)

    @property
    def claims(self) -> tuple[str, str, str]:
        """What host and server say of themselves, and the revision; shown, never believed."""
        state = self._state
        era = state.era.value if state.era else ""
        return state.peer_name, state.server_name, state.revision or era

    def partial(self, side: Side) -> int:
        """Bytes of a line that a side has begun and not ended."""
        return self._buffers[side].partial

    def _bytes(self, side: Side, data: bytes, out: Outbox) -> None:
        try:
            lines = self._buffers[side].feed(data)
        except ProtocolError as error:
            self._state.drop(side, error.message, len(data))
            out.closing = f"the {side.value} sent more than one message may hold: {error.message}"
            return
        half = self._halves[side]
        for line in lines:
            half.line(line)
            if out.closing:
                break

    def _ended(self, side: Side, reason: str) -> None:
        state = self._state
        if partial := self._buffers[side].partial:
            state.drop(side, "the stream ended inside a line", partial)
        state.tell_hushed()
        for held in state.waiting.drain():
            asking.forget(state, held)
            if side is Side.SERVER and held.side is Side.HOST:
                state.out.to_host.append(refusals.gone(held.call.ident, reason))
            elif side is Side.SERVER and held.answers is not None:
                state.out.to_host.append(refusals.gone(held.answers.ident, reason))
        if side is Side.SERVER:
            for call in state.calls.drain():
                if not call.replay:
                    state.out.to_host.append(refusals.gone(call.ident, reason))
                state.out.later.append(state.ledger.settled(call, b"lost", state.now, 0))

    def _settled(self, event: TicketSettled) -> None:
        """Let through, or answer, what waited for a ticket; a yes is good for as many calls as it was given for."""
        inband.withdraw(self._state, event.ident)
        for held in self._state.waiting.of(event.ident):
            self._halves[held.side].resume(held, event)

    def _unrecorded(self, last: Outbox, reason: str) -> None:
        """Send what may be sent without a record, and answer every call that may not travel."""
        state = self._state
        guarded, rest = last.unrecorded()
        state.out = rest
        for side, number in guarded:
            table = state.calls if side is Side.SERVER else state.asks
            call = table.take(number)
            if call is None:
                continue
            if call.replay:
                rest.closing = f"the server was started again and cannot be spoken to: {reason}"
            elif side is Side.SERVER:
                state.failed(call)
                is_tool = call.method.kind is Kind.TOOL
                rest.to_host.append(
                    refusals.unrecorded(call.ident, reason, era=state.speaking, is_tool=is_tool)
                )
            else:
                rest.to_server.append(
                    refusals.to_server(call.ident, call.method.name, "the audit log is full")
                )

    def _changed(self, change: Callable[[Ledger], None]) -> None:
        """Rule otherwise from now on, and tell the host which of the lists it saw are others now."""
        state = self._state
        ledger = state.ledger
        before = state.listing.visible(ledger.snapshot, ledger.pins)
        change(ledger)
        after = state.listing.visible(ledger.snapshot, ledger.pins)
        subscriptions.announce(state, {holds for holds in after if after[holds] != before[holds]})
