"""What happened in a time, counted: calls, denials, questions to people, findings, and how long answers took.

A call is a `tools/call`; other requests are counted apart. A denial is a request that policy, a person, or the
protocol did not let pass; what only would have been denied, had policy not just watched, is counted apart. Latencies
are exact, of answers of servers to calls; percentiles are the nearest rank.

Days and other buckets of time are the caller's, which knows the time zone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from mcpguard.audit.facets import Facets
from mcpguard.audit.record import Record
from mcpguard.model import JsonObject

OTHERS: Final = "(others)"
"""Stands for all names beyond `MOST`."""
MOST: Final = 5000
"""Names that are counted apart in one table; a hostile server can make any number."""
FINDINGS: Final = 200
"""Findings that are kept whole, the newest."""
_CALL: Final = "tools/call"
_ANSWERED: Final = ("ok", "tool_error", "error")
_ENVELOPE: Final = ("conn", "host")


class Tally:
    """Counts of one name.

    Attributes:
        calls: Tool calls decided.
        denied: Requests that did not pass.
        observed: Requests that passed and would not have, had policy not just watched.
        asked: Questions to a person.
        errors: Answers to calls that say that something went wrong, and calls without an answer.
        latencies: Microseconds that answers to calls took, and how often.
    """

    __slots__ = ("asked", "calls", "denied", "errors", "latencies", "observed")

    def __init__(self) -> None:
        self.calls = self.denied = self.observed = self.asked = self.errors = 0
        self.latencies: Counter[int] = Counter()

    def percentile(self, part: float) -> int | None:
        """The latency that this part of answers do not exceed, microseconds; None without any."""
        total = self.latencies.total()
        left = math.ceil(part * total)
        for latency in sorted(self.latencies):
            left -= self.latencies[latency]
            if left <= 0:
                return latency
        return None

    def figures(self) -> JsonObject:
        """All of it as JSON."""
        return {
            "calls": self.calls,
            "denied": self.denied,
            "observed": self.observed,
            "asked": self.asked,
            "errors": self.errors,
            "latency_p50_us": self.percentile(0.5),
            "latency_p99_us": self.percentile(0.99),
        }


class Finding(msgspec.Struct, frozen=True):
    """A finding: when, where, and every member that the record has about it."""

    time: str
    seq: int
    server: str
    host: str
    about: JsonObject


class Statistics:
    """Counts records one by one.

    Attributes:
        records: How many there were.
        first: Time of the earliest, UTC; empty without any.
        last: Time of the latest.
        requests: Requests other than tool calls.
        total: Everything.
        tables: By `host`, `server`, `tool` (server and tool, joined by a space), `day` and `bucket`.
        rules: Requests that did not pass, or would not have, by the rule.
        used: Calls by host and tool.
        outcomes: Outcomes of calls by their word.
        kinds: Findings by their kind.
        findings: The newest findings.
    """

    def __init__(self) -> None:
        self.records = self.requests = 0
        self.first = self.last = ""
        self.total = Tally()
        self.tables: dict[str, dict[str, Tally]] = {
            "host": {}, "server": {}, "tool": {}, "day": {}, "bucket": {},
        }  # fmt: skip
        self.rules: Counter[str] = Counter()
        self.used: Counter[tuple[str, str]] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.findings: list[Finding] = []

    def add(self, record: Record, facets: Facets, day: str, bucket: str = "") -> None:
        """Count a record that belongs to this day and this bucket of time."""
        self.records += 1
        self.first = min(self.first or record.time, record.time)
        self.last = max(self.last, record.time)
        match record.type:
            case "call":
                self._call(record, facets, self._tallies(facets, day, bucket))
            case "outcome":
                self._outcome(record, facets, self._tallies(facets, day, bucket))
            case "approval" if facets.decision == "asked":
                for tally in self._tallies(facets, day, bucket):
                    tally.asked += 1
            case "finding":
                self._found(record, facets)
            case _:
                pass

    def _tallies(self, facets: Facets, day: str, bucket: str) -> Iterable[Tally]:
        """Every tally that a record counts in."""
        found = [self.total, self._tally("day", day)]
        if bucket:
            found.append(self._tally("bucket", bucket))
        if facets.host:
            found.append(self._tally("host", facets.host))
        if facets.server:
            found.append(self._tally("server", facets.server))
            if facets.target:
                found.append(self._tally("tool", f"{facets.server} {facets.target}"))
        return found

    def _tally(self, table: str, name: str) -> Tally:
        tallies = self.tables[table]
        found = tallies.get(name)
        if found is None:
            name = name if len(tallies) < MOST else OTHERS
            found = tallies.setdefault(name, Tally())
        return found

    def _call(self, record: Record, facets: Facets, tallies: Iterable[Tally]) -> None:
        body = record.body
        called = body.get("method") == _CALL
        passed = facets.decision == "allow"
        observed = not passed and body.get("binding") is False
        if called:
            name = (facets.host, facets.target)
            self.used[name if name in self.used or len(self.used) < MOST else (OTHERS, OTHERS)] += 1
        else:
            self.requests += 1
        if not passed:
            rule = str(body.get("rule"))
            self.rules[rule if rule in self.rules or len(self.rules) < MOST else OTHERS] += 1
        for tally in tallies:
            tally.calls += called
            tally.observed += observed
            tally.denied += not passed and not observed

    def _outcome(self, record: Record, facets: Facets, tallies: Iterable[Tally]) -> None:
        if record.body.get("method") != _CALL:
            return
        self.outcomes[facets.decision if len(self.outcomes) < MOST else OTHERS] += 1
        latency = record.body.get("latency_us")
        if facets.decision not in _ANSWERED or type(latency) is not int or latency < 0:
            latency = None
        for tally in tallies:
            tally.errors += facets.decision != "ok"
            if latency is not None:
                tally.latencies[latency] += 1

    def _found(self, record: Record, facets: Facets) -> None:
        kind = str(record.body.get("kind"))
        self.kinds[kind if kind in self.kinds or len(self.kinds) < MOST else OTHERS] += 1
        about = {name: value for name, value in record.body.items() if name not in _ENVELOPE}
        self.findings.append(Finding(record.time, record.seq, facets.server, facets.host, about))
        if len(self.findings) > 2 * FINDINGS:
            del self.findings[:-FINDINGS]

    def figures(self) -> JsonObject:
        """Everything that was counted, as JSON; findings by kind alone."""
        return {
            "records": self.records,
            "first": self.first,
            "last": self.last,
            "total": {**self.total.figures(), "other_requests": self.requests},
            "outcomes": dict(self.outcomes.most_common()),
            "denials_by_rule": dict(self.rules.most_common()),
            "findings": dict(self.kinds.most_common()),
            "hosts": self._table("host"),
            "servers": self._table("server"),
            "tools": [self._of_tool(name, tally) for name, tally in self.ranked("tool")],
            "days": [{"day": name, **tally.figures()} for name, tally in sorted(self.tables["day"].items())],
        }

    def ranked(self, table: str) -> list[tuple[str, Tally]]:
        """Names of a table with their counts, those with the most calls and denials first."""
        tallies = self.tables[table].items()
        return sorted(tallies, key=lambda pair: (-pair[1].calls, -pair[1].denied, pair[0]))

    def _table(self, table: str) -> list[JsonObject]:
        return [{table: name, **tally.figures()} for name, tally in self.ranked(table)]

    @staticmethod
    def _of_tool(name: str, tally: Tally) -> JsonObject:
        server, _, tool = name.partition(" ")
        return {"server": server, "tool": tool, **tally.figures()}
