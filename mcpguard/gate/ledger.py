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
from mcpguard.identity.definitions import DefinitionPins
from mcpguard.model import Decision, Json, Side, Verdict
from mcpguard.policy.snapshot import Snapshot
from mcpguard.protocol.strict import encode_raw

_PASSED = Decision(Verdict.ALLOW, "protocol", "part of every connection", "built in")
_UNKNOWN = Decision(Verdict.DENY, "protocol", "no such method here", "built in")


class Ruling:
    """A decision on one name with what follows from it.

    Attributes:
        decision: What policy said.
        allowed: Whether it passes: allowed, or policy only observes.
        tail: Encoded members of the record of the decision.
        outcome: Encoded members of the record of the answer.
    """

    __slots__ = ("allowed", "decision", "outcome", "tail")

    def __init__(self, side: Side, method: str, target: str, decision: Decision, *, observing: bool) -> None:
        self.decision = decision
        self.allowed = decision.verdict is Verdict.ALLOW or observing
        binding = self.allowed == (decision.verdict is Verdict.ALLOW)
        about = target or None
        self.tail = record.call_tail(side, method, about, decision.verdict, decision.rule, binding=binding)
        self.outcome = record.outcome_tail(side, method, about)


class Ledger:
    """Rulings and record bodies under the snapshot and the pins that hold now; without pins, policy alone decides."""

    __slots__ = ("_hash", "_prefix", "neutralise", "observing", "pins", "snapshot", "tools")

    def __init__(self, snapshot: Snapshot, prefix: bytes, key: bytes, pins: Pinning | None = None) -> None:
        self._prefix = prefix
        self._hash = record.keyed(key)
        self.tools: dict[str, Ruling] = {}
        self.pins = pins
        self.change(snapshot)

    def change(self, snapshot: Snapshot) -> None:
        """Rule by another snapshot from now on."""
        self.snapshot = snapshot
        self.observing = snapshot.observing
        self.neutralise = snapshot.neutralise
        self.tools.clear()

    def repin(self, pins: DefinitionPins) -> None:
        """Rule by other pins from now on."""
        if self.pins is None:
            self.pins = Pinning(pins)
        else:
            self.pins.change(pins)
        self.tools.clear()

    def tool(self, name: str) -> Ruling:
        """The ruling on a call of a tool; one dictionary look-up after the first."""
        ruling = self.tools.get(name)
        if ruling is None:
            if len(self.tools) >= limits.SNAPSHOT_NAMES:
                self.tools.clear()
            decision = self.snapshot.tool(name)
            if self.pins is not None:
                decision = self.pins.narrowed(TOOLS, name, decision)
            ruling = Ruling(Side.HOST, "tools/call", name, decision, observing=self.snapshot.observing)
            self.tools[name] = ruling
        return ruling

    def method(self, method: str, target: str = "", side: Side = Side.HOST) -> Ruling:
        """The ruling on a gated method other than `tools/call`, sent by `side`."""
        decision = self.snapshot.method(method)
        if self.pins is not None:
            decision = self.pins.narrowed_method(method, target, decision)
        return Ruling(side, method, target, decision, observing=self.snapshot.observing)

    def unless_denied(self, method: str) -> Ruling:
        """The ruling on what passes unless a rule speaks of it: tasks follow the call that made them."""
        return self.passed(method) if self.snapshot.method(method).silent else self.method(method)

    def passed(self, method: str, side: Side = Side.HOST) -> Ruling:
        """The ruling on what belongs to every connection: handshake, ping, lists."""
        return Ruling(side, method, "", _PASSED, observing=False)

    def unknown(self, method: str, side: Side = Side.HOST) -> Ruling:
        """The ruling on a method that is not in the table."""
        return Ruling(side, method, "", _UNKNOWN, observing=False)

    def decided(self, number: int, tail: bytes, arguments: Json) -> bytes:
        """The record of a decision on a request; `number` is 0 for one that is not forwarded."""
        if arguments is None:
            return record.call(self._prefix, number, tail, None, 0)
        encoded = encode_raw(arguments)
        return record.call(self._prefix, number, tail, record.digest(self._hash, encoded), len(encoded))

    def settled(self, call: Call, status: bytes, now: int, size: int) -> bytes:
        """The record of how a forwarded request ended; `size` of the answer in bytes."""
        return record.outcome(self._prefix, call.number, call.tail, status, (now - call.began) // 1000, size)

    def found(self, finding: Finding) -> bytes:
        """The record of something that is not as it is pinned."""
        return record.finding(
            self._prefix, finding.kind, finding.name, finding.fault, finding.pinned, finding.seen
        )

    def dropped(self, side: Side, reason: str, size: int) -> bytes:
        """The record of bytes from `side` that were not forwarded."""
        return record.drop(self._prefix, side, reason, size)
