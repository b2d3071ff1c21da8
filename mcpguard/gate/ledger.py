"""Record bodies of one connection: the gate's pen.

Decisions on names are remembered together with their encoded members, so that the record of a call costs one
format operation.
"""

from __future__ import annotations

from mcpguard import limits
from mcpguard.audit import record
from mcpguard.gate.commands import Finding
from mcpguard.gate.pending import Call
from mcpguard.gate.pinning import TOOLS, Pinning
from mcpguard.gate.tally import Tally
from mcpguard.identity.definitions import DefinitionPins
from mcpguard.model import Charge, Decision, Json, JsonObject, Side, Verdict
from mcpguard.policy.circumstances import Circumstances
from mcpguard.policy.decider import Decider
from mcpguard.protocol.strict import encode_raw

_CALL = "tools/call"
_HOST = Side.HOST
_OF_TOOL = b'"method":"tools/call",'
_PASSED = Decision(Verdict.ALLOW, "protocol", "part of every connection", "built in")
_UNKNOWN = Decision(Verdict.DENY, "protocol", "no such method here", "built in")


class Ruling:
    """A decision on one name, or on one request, with what follows from it.

    Attributes:
        decision: What policy said.
        allowed: Whether it passes: allowed, or policy only observes.
        asks: Whether a person decides.
        tail: Encoded members of the record of the decision.
        outcome: Encoded members of the record of the answer.
    """

    __slots__ = ("allowed", "asks", "decision", "outcome", "tail")

    def __init__(self, decision: Decision, tail: bytes, outcome: bytes, *, observing: bool) -> None:
        self.decision = decision
        self.allowed = decision.verdict is Verdict.ALLOW or observing
        self.asks = decision.verdict is Verdict.ASK and not observing
        self.tail = tail
        self.outcome = outcome


class Ledger:
    """Rulings and record bodies under the policy and the pins that hold now; without pins, policy alone decides."""

    __slots__ = (
        "_hash",
        "_judged",
        "_prefix",
        "_tails",
        "circumstances",
        "neutralise",
        "observing",
        "pins",
        "snapshot",
        "tally",
        "tools",
    )

    def __init__(
        self,
        snapshot: Decider,
        prefix: bytes,
        key: bytes,
        pins: Pinning | None = None,
        circumstances: Circumstances | None = None,
    ) -> None:
        self._prefix = prefix
        self._hash = record.keyed(key)
        self._tails: dict[tuple[Side, str, str, Verdict, str], tuple[bytes, bytes]] = {}
        self._judged: dict[tuple[str, str], Ruling] = {}
        self.tools: dict[str, Ruling] = {}
        self.tally = Tally()
        self.pins = pins
        self.circumstances = circumstances or Circumstances()
        self.change(snapshot)

    def change(self, snapshot: Decider) -> None:
        """Rule by another policy from now on."""
        self.snapshot = snapshot
        self.observing = snapshot.observing
        self.neutralise = snapshot.neutralise
        self.tools.clear()
        self._judged.clear()
        self._tails.clear()

    def repin(self, pins: DefinitionPins) -> None:
        """Rule by other pins from now on."""
        if self.pins is None:
            self.pins = Pinning(pins)
        else:
            self.pins.change(pins)
        self.tools.clear()

    def tool(self, name: str) -> Ruling:
        """The ruling on the name of a tool; one dictionary look-up after the first.

        Where its decision `depends`, `judged` has the last word.
        """
        ruling = self.tools.get(name)
        if ruling is None:
            if len(self.tools) >= limits.SNAPSHOT_NAMES:
                self.tools.clear()
            decision = self.snapshot.tool(name)
            if self.pins is not None:
                decision = self.pins.narrowed(TOOLS, name, decision)
            ruling = self.tools[name] = self._ruled(Side.HOST, _CALL, name, decision)
        return ruling

    def method(self, method: str, target: str = "", side: Side = Side.HOST) -> Ruling:
        """The ruling on a gated method other than `tools/call`, sent by `side`; likewise by names alone."""
        decision = self.snapshot.method(method, target)
        if self.pins is not None:
            decision = self.pins.narrowed_method(method, target, decision)
        return self._ruled(side, method, target, decision)

    def judged(self, method: str, target: str, value: Json, now: int, side: Side = Side.HOST) -> Ruling:
        """The ruling on one request; `value`: the arguments of a tool, else the params.

        Policy gives the same object where it decides the same, so the last ruling on a name often is the next one.
        """
        decision = self.snapshot.judge(method, target, value, self.circumstances, now)
        if self.pins is not None:
            if method == _CALL:
                decision = self.pins.narrowed(TOOLS, target, decision)
            else:
                decision = self.pins.narrowed_method(method, target, decision)
        if side is not _HOST:
            return self._ruled(side, method, target, decision)
        ruling = self._judged.get((method, target))
        if ruling is None or ruling.decision is not decision:
            if len(self._judged) >= limits.SNAPSHOT_NAMES:
                self._judged.clear()
            ruling = self._judged[method, target] = self._ruled(side, method, target, decision)
        return ruling

    def withhold(self, capabilities: JsonObject) -> bool:
        """Remove extensions that a rule denies from what a side declares; True if there were any."""
        found = capabilities.get("extensions")
        if type(found) is not dict or self.observing:
            return False
        denied = [name for name in found if self._denies(name)]
        for name in denied:
            del found[name]
        return bool(denied)

    def _denies(self, extension: str) -> bool:
        decision = self.snapshot.extension(extension)
        return decision.verdict is Verdict.DENY and not decision.silent

    def forbids(self, method: str) -> bool:
        """Whether a rule denies what passes unless one does."""
        decision = self.snapshot.method(method)
        return decision.verdict is Verdict.DENY and not decision.silent and not self.observing

    def unless_denied(self, method: str) -> Ruling:
        """The ruling on what passes unless a rule speaks of it: tasks follow the call that made them."""
        return self.passed(method) if self.snapshot.method(method).silent else self.method(method)

    def passed(self, method: str, side: Side = Side.HOST) -> Ruling:
        """The ruling on what belongs to every connection: handshake, ping, lists."""
        return self._ruled(side, method, "", _PASSED, observing=False)

    def unknown(self, method: str, side: Side = Side.HOST) -> Ruling:
        """The ruling on a method that is not in the table."""
        return self._ruled(side, method, "", _UNKNOWN, observing=False)

    def denied(self, method: str, target: str, decision: Decision, side: Side = Side.HOST) -> Ruling:
        """The ruling on a request that is denied for another reason than a rule."""
        return self._ruled(side, method, target, decision, observing=False)

    def _ruled(
        self, side: Side, method: str, target: str, decision: Decision, *, observing: bool | None = None
    ) -> Ruling:
        """A ruling, its encoded members remembered: requests differ, what is said of them seldom does."""
        observing = (self.observing if observing is None else observing) and not decision.binding
        known = (side, method, target, decision.verdict, decision.rule)
        tails = self._tails.get(known)
        if tails is None:
            if len(self._tails) >= limits.SNAPSHOT_NAMES:
                self._tails.clear()
            about = target or None
            binding = not observing or decision.verdict is Verdict.ALLOW
            tail = record.call_tail(side, method, about, decision.verdict, decision.rule, binding=binding)
            tails = self._tails[known] = tail, record.outcome_tail(side, method, about)
        return Ruling(decision, *tails, observing=observing)

    def take(self, charges: tuple[Charge, ...], now: int) -> None:
        """A request that these charges are of is forwarded."""
        circumstances = self.circumstances
        circumstances.meters.take(charges, now, circumstances.unix(now))

    def give_back(self, charges: tuple[Charge, ...]) -> None:
        """A request that these charges are of is settled."""
        self.circumstances.meters.give_back(charges)

    def decided(self, number: int, tail: bytes, arguments: Json, kept: bytes = b"") -> bytes:
        """The record of a decision on a request; `number` is 0 for one that is not forwarded.

        `kept`: the arguments themselves, sealed; empty where no rule wants them.
        """
        self.tally.decided(tail)
        if arguments is None:
            return record.call(self._prefix, number, tail, None, 0)
        encoded = encode_raw(arguments)
        hashed = record.digest(self._hash, encoded)
        if self.observing and type(arguments) is dict and _OF_TOOL in tail:
            shaped = record.shaped(arguments)
            return record.call(self._prefix, number, tail, hashed, len(encoded), shaped, kept)
        return record.call(self._prefix, number, tail, hashed, len(encoded), b"", kept)

    def settled(self, call: Call, status: bytes, now: int, size: int) -> bytes:
        """The record of how a forwarded request ended; `size` of the answer in bytes."""
        took = now - call.began
        self.tally.settled(status, took)
        return record.outcome(self._prefix, call.number, call.tail, status, took // 1000, size)

    def found(self, finding: Finding) -> bytes:
        """The record of something that is not as it is pinned."""
        return record.finding(
            self._prefix, finding.kind, finding.name, finding.fault, finding.pinned, finding.seen
        )

    def approval(self, event: str, ticket: str, **members: Json) -> bytes:
        """The record of something that happened to a question to a person."""
        return record.approval(event, ticket, self._prefix, **members)

    def filled(self, name: str, call: Call) -> bytes:
        """The record of a secret that goes to the server in the place of its handle."""
        return record.secret("filled", f"vault://{name}", self._prefix, tool=call.target)

    def flowed(self, labels: list[str], call: Call) -> bytes:
        """The record of labels that an answer has brought, which this host had not seen."""
        return record.flow(self._prefix, labels, call.target)

    def dropped(self, side: Side, reason: str, size: int) -> bytes:
        """The record of bytes from `side` that were not forwarded."""
        return record.drop(self._prefix, side, reason, size)
