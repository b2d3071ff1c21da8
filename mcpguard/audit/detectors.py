"""All detectors together: records in order in, findings out, each told once in a while.

Rule 1: nothing here stops a call. Findings are told after the fact; what follows from them is policy's.
Rule 2: of one kind and subject one finding is told in `Thresholds.again` seconds; the rest are counted, and their
number is told with the next, or when the time is over. Of one kind with many subjects, `Thresholds.most` are told in
that time, and then one that counts the others: who floods the log with names cannot flood it with findings.

Cost: 7 us for an allowed call and 4 us for a line that was dropped (CPython 3.11 on a 2-core virtual machine;
tests/audit/test_detectors.py measures it with --benchmark-enable). It is paid in batches, not where calls are
decided, and once for all calls of a batch that are alike (`daemon.fresh`).

Not here: reading, clocks, batches (`daemon.watch`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

import msgspec

from mcpguard.audit.bounded import Table
from mcpguard.audit.breaks import Clock, Gaps
from mcpguard.audit.bursts import Denials, Drops, Questions, Refusals
from mcpguard.audit.deviations import Deviations
from mcpguard.audit.findings import Finding, Thresholds
from mcpguard.audit.habits import Habits, Learned
from mcpguard.audit.seen import DETECTED, Seen

OTHERS: Final = "others"
"""The subject of a finding that counts those of too many subjects."""
_DEFAULT: Final = Thresholds()


class _Told(msgspec.Struct):
    """One kind and subject that was told: when, and what came since."""

    at: float = 0.0
    count: int = 0
    last: Finding | None = None


class Throttle:
    """Which findings are told, and with which number."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._again = thresholds.again
        self._most = thresholds.most
        self._told: Table[tuple[str, str], _Told] = Table(_Told)
        self._kinds: dict[str, tuple[float, int]] = {}

    def __len__(self) -> int:
        return len(self._told)

    def take(self, finding: Finding, now: float) -> Finding | None:
        """The finding to tell, with the number of those before it that were not; None if it is only counted."""
        told = self._told.get((finding.kind, finding.subject))
        if told is not None and 0 <= now - told.at < self._again:
            told.count += finding.count
            told.last = finding
            return None
        if not self._room(finding.kind, now):
            finding = msgspec.structs.replace(finding, subject=OTHERS, says=f"and others: {finding.says}")
            rest = self._told.get((finding.kind, OTHERS))
            if rest is not None and 0 <= now - rest.at < self._again:
                rest.count += finding.count
                rest.last = finding
                return None
            told = rest
        count = finding.count + (told.count if told else 0)
        self._told.put((finding.kind, finding.subject), _Told(now))
        return msgspec.structs.replace(finding, count=count)

    def due(self, now: float) -> Iterator[Finding]:
        """Time has gone by: findings that were only counted and whose time is over."""
        for told in self._told.values():
            if told.last is not None and not 0 <= now - told.at < self._again:
                finding, count = told.last, told.count
                told.at, told.count, told.last = now, 0, None
                yield msgspec.structs.replace(finding, count=count)

    def _room(self, kind: str, now: float) -> bool:
        since, count = self._kinds.get(kind, (now, 0))
        if not 0 <= now - since < self._again:
            since, count = now, 0
        self._kinds[kind] = since, count + 1
        return count < self._most


class Detector(Protocol):
    """Looks at records of some types."""

    def take(self, seen: Seen) -> Iterator[Finding]:
        """What one record gives."""
        ...


class Detectors:
    """Every detector, fed with one log."""

    def __init__(self, thresholds: Thresholds = _DEFAULT) -> None:
        self._habits = Habits(thresholds)
        self._clock = Clock(thresholds)
        self._throttle = Throttle(thresholds)
        deviations = Deviations()
        self._by_type: dict[str, tuple[Detector, ...]] = {
            "call": (Denials(thresholds), self._habits),
            "session": (Refusals(thresholds), self._habits),
            "approval": (Questions(thresholds),),
            "drop": (Drops(thresholds), deviations),
            "finding": (deviations,),
            "log": (Gaps(),),
            "secret": (self._habits,),
        }

    def take(self, seen: Seen) -> list[Finding]:
        """What one record gives."""
        if seen.type == "finding" and seen.event == DETECTED:
            return []
        return self._told(
            [found for each in self._by_type.get(seen.type, ()) for found in each.take(seen)], seen.at
        )

    def tick(self, wall: float, passed: float) -> list[Finding]:
        """Time has gone by; see `breaks.Clock`."""
        found = self._told(self._clock.tick(wall, passed), wall)
        return [*found, *self._throttle.due(wall)]

    def learn(self, seen: Seen) -> None:
        """A record of the past: nothing is found in it."""
        for _ in self._habits.take(seen):
            pass

    def _told(self, findings: Iterable[Finding], now: float) -> list[Finding]:
        return [told for each in findings if (told := self._throttle.take(each, now)) is not None]

    def dump(self) -> Memory:
        """What the next daemon needs."""
        return Memory(learned=self._habits.dump(), clock=self._clock.dump())

    def load(self, memory: Memory) -> None:
        """Take up what another daemon knew."""
        self._habits.load(memory.learned)
        self._clock.load(memory.clock)


class Memory(msgspec.Struct):
    """What detectors hand to the next daemon. `clock`: the latest wall-clock time."""

    v: int = 1
    learned: Learned = msgspec.field(default_factory=Learned)
    clock: float = 0.0
