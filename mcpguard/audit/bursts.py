"""Too many of something in a short time, or one that must not be: denials, refusals, questions, dropped lines.

Each detector is told every record and gives findings; what it keeps is bounded (`bounded`). Times are those of the
records.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from mcpguard.audit.bounded import Burst, Table
from mcpguard.audit.findings import Finding, Thresholds
from mcpguard.audit.seen import Seen

SPOOFED: Final = "an answer that nobody asked for"
"""The reason of a drop (`gate.server`, `gate.host`)."""
NOISE: Final = "not a message"
"""The reason of a drop that is no violation: servers print logs where messages belong (`gate.server`)."""
CALLER: Final = "caller"
"""`stage` of a session record `refused`: who calls could not be established."""
_MORE: Final = re.compile(r"([0-9]{1,9}) more lines, too many to record each")
_TOOLS: Final = 8


class Denials:
    """`denied-burst`: calls of one run of a host that were denied, whether or not the denial was carried out."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._count, self._seconds = thresholds.denied
        self._burst = Burst(thresholds.denied)
        self._tools: Table[str, list[str]] = Table(list)

    def take(self, seen: Seen) -> Iterator[Finding]:
        """One record."""
        if seen.type != "call" or seen.body.get("decision") != "deny" or seen.body.get("side") == "server":
            return
        run = seen.run
        tools = self._tools.of(run)
        name = seen.text("tool") or seen.text("method")
        if name not in tools and len(tools) < _TOOLS:
            tools.append(name)
        if seqs := self._burst.add(run, seen.at, seen.seq):
            yield Finding(
                "denied-burst", f"{seen.who} {run}",
                f"{self._count} calls were denied within {self._seconds:.0f} seconds, the last of {name!a}",
                conn=seen.text("conn"), host=seen.host, server=seen.text("server"), tool=seen.text("tool"),
                count=self._count, seqs=seqs, evidence={"tried": list(tools)},
            )  # fmt: skip
            tools.clear()


class Refusals:
    """`auth-failures`: callers that were refused before anything was asked of policy."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._count, self._seconds = thresholds.failures
        self._burst = Burst(thresholds.failures)

    def take(self, seen: Seen) -> Iterator[Finding]:
        """One record."""
        if seen.type != "session" or seen.event != "refused" or seen.body.get("stage") != CALLER:
            return
        for _ in range(1 + min(seen.number("more"), self._count)):
            if seqs := self._burst.add(seen.who, seen.at, seen.seq):
                yield Finding(
                    "auth-failures", seen.who,
                    f"{self._count} connections were refused within {self._seconds:.0f} seconds, "
                    f"the last because {seen.text('reason')}",
                    host=seen.host, count=self._count, seqs=seqs,
                )  # fmt: skip


class Questions:
    """`approval-flood`: questions to people by one run of a host."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._count, self._seconds = thresholds.asked
        self._burst = Burst(thresholds.asked)

    def take(self, seen: Seen) -> Iterator[Finding]:
        """One record."""
        if seen.type != "approval" or seen.event != "asked":
            return
        if seqs := self._burst.add(seen.run, seen.at, seen.seq):
            yield Finding(
                "approval-flood", f"{seen.who} {seen.run}",
                f"{self._count} approvals were asked for within {self._seconds:.0f} seconds",
                conn=seen.text("conn"), host=seen.host, server=seen.text("server"), tool=seen.text("target"),
                count=self._count, seqs=seqs,
            )  # fmt: skip


class Drops:
    """`response-spoofing` and `protocol-violation`: lines that were not passed on."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._violations = Burst(thresholds.violations)
        self._spoofed = Burst(thresholds.spoofed)

    def take(self, seen: Seen) -> Iterator[Finding]:
        """One record."""
        if seen.type != "drop" or (reason := seen.text("reason")) == NOISE:
            return
        side = seen.text("side")
        key = f"{side} {seen.text('conn')}"
        if reason == SPOOFED:
            if seqs := self._spoofed.add(key, seen.at, seen.seq):
                count = self._thresholds.spoofed[0]
                yield self._found(
                    "response-spoofing", seen, count, seqs, f"the {side} sent an answer that nobody asked for"
                )
            return
        count, seconds = self._thresholds.violations
        more = _MORE.fullmatch(reason)
        for _ in range(min(int(more[1]), count) if more else 1):
            if seqs := self._violations.add(key, seen.at, seen.seq):
                says = f"{count} lines of the {side} were dropped within {seconds:.0f} seconds, the last: {reason}"
                yield self._found("protocol-violation", seen, count, seqs, says)

    def _found(self, kind: str, seen: Seen, count: int, seqs: tuple[int, int], says: str) -> Finding:
        side, server = seen.text("side"), seen.text("server")
        subject = f"server {server}" if side == "server" else f"{seen.who} {seen.run}"
        return Finding(
            kind, subject, says, conn=seen.text("conn"), host=seen.host, server=server, count=count,
            seqs=seqs, about=side, evidence={"side": side, "reason": seen.text("reason")},
        )  # fmt: skip
