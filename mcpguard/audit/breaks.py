"""Where the log does not go on as it should: records that are missing, and clocks that were set.

Two clocks are given to `tick`: wall-clock time, and seconds since the machine was started, sleep included, which
nobody can set. Their difference is a constant as long as the clock is not set; slewing it, as time services do, moves
it by less than a second in a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mcpguard.audit.findings import Finding, Severity, Thresholds
from mcpguard.audit.seen import Seen

UNWATCHED: Final = "unwatched"
"""`event` of a log record: so many records were left out by detectors, because more came than they look at."""


class Gaps:
    """`log-gap`: records that were lost, cut, or not looked at."""

    def take(self, seen: Seen) -> Iterator[Finding]:
        """One record."""
        if seen.type != "log":
            return
        match seen.event:
            case "gap":
                lost = seen.number("lost")
                says = f"{lost} records could not be written and are lost"
                yield Finding("log-gap", "lost", says, count=max(lost, 1), seqs=(seen.seq, seen.seq))
            case "truncation":
                yield Finding(
                    "log-gap", "truncation", "the log ends before the last record that is known",
                    severity=Severity.CRITICAL, seqs=(seen.seq, seen.seq),
                )  # fmt: skip
            case "recovered":
                says = "the last record was cut short, as by a crash, and was put aside"
                yield Finding("log-gap", "torn", says, severity=Severity.LOW, seqs=(seen.seq, seen.seq))
            case "unwatched":
                left = seen.number("skipped")
                says = f"{left} records were not looked at for findings, because too many came at once"
                yield Finding(
                    "log-gap", UNWATCHED, says, severity=Severity.LOW, count=max(left, 1),
                    seqs=(seen.seq, seen.seq),
                )  # fmt: skip
            case _:
                return


class Clock:
    """`clock-jump`: wall-clock time that does not go on with the time that passes."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._jump = thresholds.jump
        self._offset: float | None = None
        self._last = 0.0

    def tick(self, wall: float, passed: float) -> Iterator[Finding]:
        """Both clocks, now. `wall`: seconds since 1970. `passed`: seconds since the machine was started."""
        offset = wall - passed
        before, self._offset = self._offset, offset
        if before is None:
            if self._last - wall > self._jump:
                yield self._found(wall - self._last, "since mcpguard ran last")
        elif abs(offset - before) > self._jump:
            yield self._found(offset - before, "while mcpguard ran")
        self._last = wall

    def _found(self, by: float, when: str) -> Finding:
        way = "forward" if by > 0 else "back"
        return Finding("clock-jump", way, f"the clock was set {way} by {abs(by):.0f} seconds {when}", evidence={
            "seconds": round(by, 3),
        })  # fmt: skip

    def dump(self) -> float:
        """The latest wall-clock time."""
        return self._last

    def load(self, last: float) -> None:
        """Take up where the last daemon ended."""
        self._last = last
