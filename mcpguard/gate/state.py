"""What one guarded connection knows about itself."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mcpguard import limits
from mcpguard.gate.bounded import remember
from mcpguard.gate.handles import Veil
from mcpguard.gate.ledger import Ledger
from mcpguard.gate.listing import Listing
from mcpguard.gate.outbox import Outbox
from mcpguard.gate.pending import Call, Pending
from mcpguard.gate.pinning import Pinning
from mcpguard.gate.rounds import Rounds
from mcpguard.gate.schemas import PinnedSchemas
from mcpguard.gate.shared import Shared, alone
from mcpguard.gate.waiting import Waiting
from mcpguard.model import HANDLE, Decision, Era, Json, JsonObject, Side
from mcpguard.protocol.methods import REQUESTS
from mcpguard.protocol.strict import Refused
from mcpguard.protocol.uri import normalise

_SECOND = 1_000_000_000
_SUBSCRIBE = "resources/subscribe"


class Lasting:
    """What a server that crashed is told when it runs again (`gate.revival`).

    Attributes:
        opening: Params of the handshake as they were forwarded; None before.
        greeting: What the server said of itself then.
        confirmed: The host has said that it is initialized.
        level: Params of the last `logging/setLevel`.
        watched: Resources that the host watches.
    """

    __slots__ = ("confirmed", "greeting", "level", "opening", "watched")

    def __init__(self) -> None:
        self.opening: JsonObject | None = None
        self.greeting = b""
        self.confirmed = False
        self.level: JsonObject | None = None
        self.watched: dict[str, None] = {}


class State:
    """Shared by the two halves of a gate; only they touch it.

    Attributes:
        era: Fixed by the first message of the host; `server/discover` alone does not lock it.
        locked: A modern request other than `server/discover` was forwarded.
        opened: `initialize` was forwarded (legacy).
        revision: The revision that `initialize` negotiated, empty before.
        client: Capabilities that the client declared in `initialize`, and that policy lets it have.
        declared: The capabilities that it declared.
        waiting: Requests of either side that wait for a person.
        shared: What this connection has in common with others.
        manners: How people are asked about it.
        calls: Requests of the host in flight.
        asks: Requests of the server in flight (legacy).
        tasks: Task ids that were given on this connection, with the call that made the task, if known.
        loose: Calls that ended in a task and whose progress may go on, by number.
        lasting: What a server that crashed is told when it runs again.
        veil: What hides the secrets of the server in its messages; None while it has none.
        logs: Some request of this connection opted in to log notifications (modern).
        counts: For `status`: requests allowed, refused; lines dropped.
    """

    __slots__ = (
        "_drop_second", "_drops", "_hushed",
        "asks", "calls", "client", "counts", "declared", "era", "lasting", "ledger", "listing", "locked", "logs",
        "loose", "manners", "methods", "name", "now", "opened", "out", "peer_name", "revision", "rounds",
        "server_name", "shared", "tasks", "veil", "waiting",
    )  # fmt: skip

    def __init__(self, ledger: Ledger, name: str, shared: Shared | None = None) -> None:
        self.ledger = ledger
        self.name = name
        self.shared = shared or alone()
        self.manners = self.shared.manners
        self.veil = Veil(self.shared.given) if self.shared.given else None
        self.era: Era | None = None
        self.locked = False
        self.opened = False
        self.revision = ""
        self.client: JsonObject = {}
        self.declared: JsonObject = {}
        self.calls = Pending(ledger.give_back)
        self.asks = Pending(ledger.give_back)
        self.waiting = Waiting()
        self.tasks: dict[str, Call | None] = {}
        self.loose: dict[int, Call] = {}
        self.lasting = Lasting()
        self.logs = False
        self.listing = Listing()
        self.rounds = Rounds()
        self.counts = {"allowed": 0, "denied": 0, "dropped": 0}
        self.peer_name = ""
        self.server_name = ""
        self.now = 0
        self._drop_second = 0
        self._drops: dict[Side, int] = {}
        self._hushed: dict[Side, int] = {}
        self.methods = REQUESTS[Era.LEGACY, Side.HOST]
        self.out = Outbox()

    def enter(self, era: Era) -> None:
        """Fix the era; its methods are the only ones from now on."""
        self.era = era
        self.methods = REQUESTS[era, Side.HOST]

    @property
    def speaking(self) -> Era:
        """The era, legacy before anything was said."""
        return self.era or Era.LEGACY

    def drop(self, side: Side, reason: str, size: int) -> None:
        """Record bytes that are not forwarded; of a flood, the first of each second and the number of the rest."""
        self.counts["dropped"] += 1
        if self.now - self._drop_second > _SECOND:
            self.tell_hushed()
            self._drop_second = self.now
            self._drops.clear()
        count = self._drops[side] = self._drops.get(side, 0) + 1
        if count <= limits.DROP_RECORDS_PER_SECOND:
            self.out.later.append(self.ledger.dropped(side, reason, size))
        else:
            self._hushed[side] = self._hushed.get(side, 0) + 1

    def tell_hushed(self) -> None:
        """Record how many dropped lines had no record of their own."""
        for side, count in self._hushed.items():
            self.out.later.append(
                self.ledger.dropped(side, f"{count} more lines, too many to record each", 0)
            )
        self._hushed.clear()

    def tell_findings(self, pins: Pinning) -> None:
        """Record what a server said that is not as it is pinned, and forget rulings that this makes untrue."""
        if findings := pins.take():
            self.out.later += [self.ledger.found(finding) for finding in findings]
            self.out.noticed += tuple(findings)
        if pins.moved:
            self.ledger.tools.clear()
            pins.moved = False

    def repinned(self, definitions: Mapping[str, str], schemas: PinnedSchemas | None) -> None:
        """Other definitions are pinned: approvals are for these, and arguments are held against these."""
        self.shared = msgspec.structs.replace(self.shared, definitions=definitions, schemas=schemas)

    def forwarded(self, call: Call, decision: Decision) -> None:
        """A request passes: take from the meters, and keep what its answer is judged by."""
        call.decision = decision
        if decision.charges:
            self.ledger.take(decision.charges, self.now)

    def heard(self, call: Call) -> None:
        """The far side said something about a call: this run of the host has seen what its tool reads."""
        if call.decision is not None and call.decision.reads:
            new = self.ledger.circumstances.saw(call.decision.reads, self.now)
            if new:
                self.out.remember = True
                self.out.later.append(self.ledger.flowed(new, call))

    def hide_given(self) -> None:
        """A server that was started again may have been given other secrets."""
        for value, word in self.shared.given.items():
            self.veil = self.veil or Veil()
            self.veil.add(value, word)

    def hide(self, name: str, value: str) -> None:
        """The server has a secret now, which stands in no message of it from here on."""
        if self.veil is None:
            self.veil = Veil()
        self.veil.add(value.encode(), f"{HANDLE}{name}}}")

    def failed(self, call: Call) -> None:
        """A request of the host ended without a result: after `initialize`, the host may try again."""
        if call.method.name == "initialize":
            self.opened = False
        if call.binding:
            self.rounds.completed(call.binding)

    def knows_task(self, task: Json) -> bool:
        """Whether a task id was given on this connection."""
        return type(task) is str and task in self.tasks

    def remember_task(self, task: Json, call: Call | None = None) -> None:
        """Note a task id that was given, and keep the progress of the host's call that made the task alive."""
        if type(task) is str:
            remember(self.tasks, task, call, limits.TASKS)
        if call is not None and call.token is not None:
            remember(self.loose, call.number, call, limits.TASKS)

    def granted(self, method: str) -> bool:
        """Whether policy lets some request of a gated method pass now, if need be after asking a person."""
        ruling = self.ledger.method(method)
        return ruling.allowed or ruling.asks

    def granted_uri(self, uri: str) -> bool:
        """Whether policy lets the host follow a resource; a filter cannot wait for a person."""
        if not self.ledger.snapshot.method(_SUBSCRIBE).depends:
            return self.ledger.method(_SUBSCRIBE, uri).allowed
        try:
            uri = normalise(uri)
        except Refused:
            return False
        return self.ledger.judged(_SUBSCRIBE, uri, {"uri": uri}, self.now).allowed
