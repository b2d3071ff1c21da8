"""One guarded connection: feeds its gate, carries out what it says, and ends without leaving anything behind.

Rule 1: between an event and the end of its commands there is no `await`.
Rule 2: commands are carried out in order. If a record cannot be written, no call of that event travels.
Rule 3: any exception is a bug in here or in the gate: it is logged, and both sides are closed.

How a connection ends (the host's patience is the bound, see limits): the host's end of file, its death, another
program in its place, the shim's death or SIGTERM, the server's exit, a fatal line from either side, the daemon's own
end. Each sets `_over` or ends the wait
for the server, and `run` goes through the same steps to the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Protocol, assert_never

from mcpguard import limits
from mcpguard.daemon.linger import Linger, cores
from mcpguard.daemon.party import Party
from mcpguard.daemon.policies import Standing
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.registry import Registered
from mcpguard.daemon.streams import Inlet, Outlet
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import GuardError, JournalError
from mcpguard.gate.commands import (
    Announce,
    Append,
    Close,
    Command,
    Finding,
    Later,
    LookAgain,
    Noticed,
    Remember,
    Write,
)
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
from mcpguard.gate.gate import Gate
from mcpguard.gate.schemas import PinnedSchemas
from mcpguard.gate.shared import Manners
from mcpguard.gate.tally import Tally
from mcpguard.identity.definitions import DefinitionPins
from mcpguard.model import JsonObject, Side
from mcpguard.policy.decider import Decider

_log = logging.getLogger("mcpguard")
_OWN_BYTES = 2 * limits.QUEUE_BYTES
"""Beyond this, what waits for a side that does not read is our own answers to it: it is not read either."""
_LOOK_SECONDS = 0.02
"""How often it is looked whether calls are in flight while a server is to be started again."""
_HURRY_SECONDS = 0.05
"""Time for what is left to be delivered when the host does not wait: it kills 0.5 s after its first signal."""


class Upstream(Protocol):
    """A running server, whatever reaches it."""

    pid: int
    """0 for a server that runs elsewhere, whose answers are not worth lingering for."""

    async def wait(self) -> int:
        """Its exit code as a shell gives it."""

    async def gone(self) -> None:
        """Until no process of it is left."""

    def end(self) -> None:
        """Its input has ended: let it exit by itself, then make it."""

    def term(self) -> None:
        """Make it exit now."""

    def kill(self) -> None:
        """Kill it."""


class Revival(Protocol):
    """What starts a server again that crashed, if policy says so."""

    def wanted(self, code: int) -> float | None:
        """In how many seconds, after an exit with this code; None if it is not started again."""

    def renew(self) -> None:
        """Its next end is by our will: it is wanted again at once."""

    async def start(self) -> tuple[Upstream, int, int]:
        """Start it; and the descriptors to read from and write to it.

        Raises:
            GuardError: It may not be started, or cannot.
            OSError: Likewise.
        """

    def tidy(self) -> None:
        """There is nothing more to start."""


class Outside(Protocol):
    """What a gate's commands reach beside its two sides and the log."""

    def noticed(self, findings: tuple[Finding, ...]) -> None:
        """Keep what the server said of itself and its manifest does not pin."""

    def announce(self) -> None:
        """The book of approvals has changed."""

    def remember(self) -> None:
        """This run of the host has seen something new: it must not be forgotten."""


class Session:
    """Drives one gate between a host's descriptors and a server's.

    Args:
        ident: Short name of the connection in records and `status`.
        gate: Its gate.
        recorder: Where records go.
        standing: What its policy is compiled for.
        upstream: The running server.
        host: Who is on the host's side; closed with the session.
        registered: The server's manifest; None if it has none.
        outside: What the gate's other commands are for.
    """

    def __init__(
        self,
        ident: str,
        gate: Gate,
        recorder: Recorder,
        standing: Standing,
        upstream: Upstream,
        host: Party,
        registered: Registered | None,
        outside: Outside,
    ) -> None:
        self.ident = ident
        self.server = standing.server
        self.standing = standing
        self.host = host
        self.registered = registered
        self.began = time.time()
        self._gate = gate
        self._recorder = recorder
        self._upstream = upstream
        self._outside = outside
        self._revival: Revival | None = None
        self._reviving = False
        self._renewing = False
        self._downtime: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        alone = cores() == 1 or not upstream.pid
        self._linger = Linger(self._loop, alone=alone, spare=recorder.rest)
        self._over = asyncio.Event()
        self._server_ended = asyncio.Event()
        self._reason = ""
        self._patience = limits.DRAIN_SECONDS
        self._line_began = 0.0
        self._kept = 0
        self.host_ended = False
        self._verdict = ""
        self._inlets: dict[Side, Inlet] = {}
        self._outlets: dict[Side, Outlet] = {}

    # --- life ----------------------------------------------------------------------------------------------

    def attach(self, side: Side, source: int, sink: int) -> None:
        """Take over the two descriptors of one side."""
        self._inlets[side] = Inlet(
            self._loop, source, lambda data: self._received(side, data), lambda: self._ended(side)
        )
        self._outlets[side] = Outlet(
            self._loop, sink, lambda full: self._pressed(side, full), lambda: self._broken(side)
        )

    def revive_with(self, revival: Revival) -> None:
        """Start the server again if it crashes, before `run`; the session owns `revival` from now on."""
        self._revival = revival

    async def run(self) -> int:
        """Relay until the connection is over and the host has all that is its; the server's exit code."""
        self.host.watch(lambda: self.end("the host is gone"))
        for inlet in self._inlets.values():
            inlet.resume()
        over = spawn_task(self._over.wait(), name=f"end of {self.ident}")
        while True:
            exited = spawn_task(self._upstream.wait(), name=f"exit of {self.server}")
            await asyncio.wait((exited, over), return_when=asyncio.FIRST_COMPLETED)
            if exited.done():
                await self._drain()
            if not exited.done() or not await self._revived(await exited):
                break
        over.cancel()
        self._hang_up(exited.done())
        code = await exited
        await self._flush()
        self._close()
        self.host_ended = not self.host.alive()
        self.host.close()
        return code

    async def gone(self) -> None:
        """Until no process of the server is left."""
        await self._upstream.gone()

    def end(self, reason: str, *, now: bool = False) -> None:
        """End the connection. `now`: the host does not wait, so the server gets its SIGTERM at once."""
        if now:
            self._upstream.term()
            self._patience = _HURRY_SECONDS
        if not self._over.is_set():
            self._reason = reason
            self._over.set()

    def cut(self, reason: str) -> None:
        """End the connection and read nothing more; every request without an answer gets one that says why."""
        self._verdict = reason
        self._shut(reason)

    async def renew(self) -> bool:
        """Start the server again with what it is given now, once nothing is in flight; False if that cannot be.

        The host is not read meanwhile, so that no call of its meets a server that ends.
        """
        revival = self._revival
        if revival is None or self._renewing or self._reviving or self._over.is_set():
            return False
        self._renewing = True
        self._inlets[Side.HOST].pause()
        deadline = self._loop.time() + limits.ROTATION_SECONDS
        while self._gate.in_flight and self._loop.time() < deadline and not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._over.wait()
        if self._over.is_set() or self._reviving:
            self._renewing = False
            return False
        revival.renew()
        self._outlets[Side.SERVER].finish()
        self._upstream.end()
        return True

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._upstream.pid

    @property
    def reason(self) -> str:
        """Why the connection ended, empty for an ordinary end."""
        return self._reason

    def change_policy(self, standing: Standing, snapshot: Decider, manners: Manners) -> None:
        """Another policy holds from the next message on; `standing`: what it was compiled for."""
        self.standing = standing
        self._feed(PolicyChanged(snapshot, time.monotonic_ns(), manners))

    @property
    def tally(self) -> tuple[str, Tally, int]:
        """Its server, what it has counted for metrics, and how many lines it has dropped."""
        return self.server, self._gate.tally, self._gate.counts["dropped"]

    @property
    def waiting(self) -> int:
        """Requests that wait for a person."""
        return self._gate.waiting

    def settled(self, event: TicketSettled) -> None:
        """A ticket was settled that requests of this connection may wait for."""
        self._feed(event)

    def still_waiting(self) -> None:
        """Time goes by while requests wait for a person."""
        self._feed(StillWaiting(time.monotonic_ns()))

    def change_pins(self, pins: DefinitionPins, schemas: PinnedSchemas) -> None:
        """A person accepted what the server says of itself: other definitions are pinned from the next message on."""
        self._feed(PinsChanged(pins, time.monotonic_ns(), schemas))

    def look_again(self) -> None:
        """End the connection if the host is no longer what was attested."""
        if changed := self.host.recheck():
            self._shut(changed)

    def overdue(self, now: float, allowed: float = limits.IDLE_LINE_SECONDS) -> bool:
        """Whether the host began a line and does not end it, though nothing keeps it from doing so (slow loris).

        `allowed` is the time, in seconds, that it may take.
        """
        began = self._line_began
        return bool(began) and self._inlets[Side.HOST].watching and now - began > allowed

    def abandoned(self) -> bool:
        """Whether the host hung up while we do not read it because nobody takes anything. Asked now and then.

        Without this nobody would notice: the end of file is behind bytes that nobody reads.
        """
        before, self._kept = self._kept, sum(outlet.kept for outlet in self._outlets.values())
        inlet = self._inlets[Side.HOST]
        return bool(self._kept) and self._kept == before and not inlet.watching and inlet.hung_up()

    def status(self) -> JsonObject:
        """What `mcpguard status` shows of the connection."""
        host, server, revision = self._gate.claims
        return {
            "id": self.ident,
            "server": self.server,
            "pid": self._upstream.pid,
            "host": self.host.evidence(),
            "pin": f"{self.registered.manifest.pin} version {self.registered.manifest.version}"
            if self.registered
            else "no manifest",
            "claims": {"host": host, "server": server},
            "revision": revision,
            "since": self.began,
            "in_flight": self._gate.in_flight,
            "waiting": self._gate.waiting,
            **self._gate.counts,
        }

    # --- events --------------------------------------------------------------------------------------------

    def _received(self, side: Side, data: bytes) -> None:
        self._feed(BytesReceived(side, data, time.monotonic_ns()))
        self._linger.event()
        if self._reviving:
            self._up_again()
        if self._outlets[side].kept > _OWN_BYTES:
            self._inlets[side].pause()
        if side is Side.HOST:
            if not self._gate.partial(side):
                self._line_began = 0.0
            elif not self._line_began or b"\n" in data:
                self._line_began = self._loop.time()

    def _ended(self, side: Side) -> None:
        self._feed(StreamEnded(side, time.monotonic_ns()))
        if side is Side.SERVER:
            self._server_ended.set()
            if self._revival is not None:  # it may be started again: what the host sends waits for that
                self._down()
                return
            self._inlets[Side.HOST].close()  # nothing that comes now would be answered
        self._over.set()

    def _broken(self, side: Side) -> None:
        if side is Side.HOST:
            self.end("the host no longer reads")

    def _pressed(self, side: Side, full: bool) -> None:
        """The queue towards `side` is over its bound, or empty again: stop or go on reading the other side."""
        if full:
            self._inlets[side.other].pause()
            return
        held = self._over.is_set() or self._reviving or self._renewing
        for source in Side:
            if not self._outlets[source.other].full and (source is Side.SERVER or not held):
                self._inlets[source].resume()
        self._line_began = self._loop.time() if self._line_began else 0.0

    def _feed(self, event: Event) -> None:
        try:
            self._carry_out(self._gate.handle(event))
        except Exception:  # noqa: BLE001 (rule 3 of this file: bugs are caught here, once)
            _log.exception("connection %s is closed because of a bug in mcpguard", self.ident)
            self._shut("an internal error; nothing more is let through")

    def _carry_out(self, commands: list[Command]) -> None:
        refused = ""
        for command in commands:
            match command:
                case Write():
                    if not refused:
                        self._outlets[command.side].write(command.data)
                case LookAgain():
                    if changed := self.host.recheck():
                        self._shut(changed)
                        return
                case Append():
                    try:
                        self._recorder.append(command.bodies, durable=command.durable)
                    except JournalError as error:
                        refused = error.sentence()
                case Later():
                    self._recorder.later(command.bodies)
                case Remember() | Noticed() | Announce():
                    self._tell(command)
                case Close():
                    self._shut(command.reason)
                case _:
                    assert_never(command)
        if refused:
            self._carry_out(self._gate.handle(NotRecorded(refused, time.monotonic_ns())))

    def _tell(self, command: Remember | Noticed | Announce) -> None:
        match command:
            case Remember():
                self._outside.remember()
            case Noticed():
                self._outside.noticed(command.findings)
            case Announce():
                self._outside.announce()

    # --- a server that crashes -----------------------------------------------------------------------------

    def _down(self) -> None:
        """The server's output has ended. Unless the server itself ends now, too, the connection does."""
        self._reviving = True
        self._inlets[Side.HOST].pause()
        self._downtime = self._loop.call_later(limits.DOWN_SECONDS, self._over.set)

    async def _revived(self, code: int) -> bool:
        """Start the server again after a crash, if policy says so and the host is still there."""
        if self._revival is None or self._over.is_set() or (delay := self._revival.wanted(code)) is None:
            return False
        if not self._server_ended.is_set():  # something that it started holds its output
            self._inlets[Side.SERVER].close()
            self._ended(Side.SERVER)
        if self._downtime is not None:
            self._downtime.cancel()
        self._outlets[Side.SERVER].close()
        try:
            async with asyncio.timeout(delay):
                await self._over.wait()
        except TimeoutError:
            await self._upstream.gone()
        if self._over.is_set():
            return False
        try:
            upstream, source, sink = await self._revival.start()
        except (GuardError, OSError) as error:
            why = error.sentence() if isinstance(error, GuardError) else str(error)
            self.end(f"the server crashed (exit code {code}) and cannot be started again: {why}")
            return False
        self._upstream = upstream
        self._renewing = False
        self.attach(Side.SERVER, source, sink)
        self._server_ended.clear()
        self._inlets[Side.SERVER].resume()
        self._feed(ServerBack(time.monotonic_ns()))
        self._loop.call_later(limits.REPLAY_SECONDS, self._still_replaying, upstream)
        self._up_again()
        return True

    def _up_again(self) -> None:
        """Read the host again, once the server has taken the handshake."""
        if self._server_ended.is_set() or self._gate.replaying or self._over.is_set():
            return
        self._reviving = False
        if not self._outlets[Side.SERVER].full:
            self._inlets[Side.HOST].resume()

    def _still_replaying(self, upstream: Upstream) -> None:
        if self._reviving and self._upstream is upstream and not self._server_ended.is_set():
            self.end("the server was started again and does not answer the handshake", now=True)

    # --- the end -------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """The server exited: what it wrote before is still delivered."""
        try:
            async with asyncio.timeout(self._patience):
                await self._server_ended.wait()
        except TimeoutError:
            return

    def _shut(self, reason: str) -> None:
        """End the connection and read nothing more from either side, not even what is there already."""
        for inlet in self._inlets.values():
            inlet.close()
        self.end(reason, now=True)

    def _hang_up(self, exited: bool) -> None:
        self._inlets[Side.HOST].close()
        if not exited:
            self._outlets[Side.SERVER].finish()
            self._upstream.end()

    async def _flush(self) -> None:
        """Deliver what is left for the host: answers that came, and an error for each that will not come."""
        if not self._server_ended.is_set():
            await self._drain()
        if not self._server_ended.is_set():
            self._inlets[Side.SERVER].close()
            self._feed(StreamEnded(Side.SERVER, time.monotonic_ns(), self._verdict))
        await self._outlets[Side.HOST].emptied(self._patience)

    def _close(self) -> None:
        for inlet in self._inlets.values():
            inlet.close()
        for outlet in self._outlets.values():
            outlet.close()
        if self._revival is not None:
            self._revival.tidy()
