"""What Prometheus reads: counters of the daemon as text, made when somebody asks.

Rule 1. Nothing here is on the path of a call: connections count for themselves (`gate.tally`), and are read here.
Rule 2. However many names servers and hosts make up, there are at most `limits.SERIES` label sets of a kind; what is
beyond is counted under `_other`.

Source: Prometheus text exposition format 0.0.4; its conventions for names and units.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import __version__, limits
from mcpguard.gate.tally import BOUNDS, Tally
from mcpguard.model import JsonObject, visible

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_OTHER: Final = "_other"
_LABEL_CHARS: Final = 128

Labels = tuple[tuple[str, str], ...]
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Counts:
    """Counts of connections, those that have ended included."""

    def __init__(self) -> None:
        self.calls: dict[Labels, int] = {}
        self.outcomes: dict[Labels, int] = {}
        self.latencies: dict[Labels, list[int]] = {}
        self.seconds: dict[Labels, float] = {}
        self.dropped: dict[Labels, int] = {}

    def copied(self) -> Counts:
        """Another one to count on in."""
        other = Counts()
        other.calls, other.outcomes = dict(self.calls), dict(self.outcomes)
        other.latencies = {key: list(one) for key, one in self.latencies.items()}
        other.seconds, other.dropped = dict(self.seconds), dict(self.dropped)
        return other

    def add(self, server: str, tally: Tally, dropped: int) -> None:
        """Count a connection."""
        of_server: Labels = (("server", server),)
        for tail, count in tally.calls.items():
            _more(self.calls, _decided(server, tail), count)
        for status, count in tally.outcomes.items():
            _more(self.outcomes, (*of_server, ("status", status.decode())), count)
        if dropped:
            _more(self.dropped, of_server, dropped)
        if any(tally.buckets):
            key = _bounded(self.latencies, of_server)
            before = self.latencies.get(key, [0] * len(tally.buckets))
            self.latencies[key] = [one + more for one, more in zip(before, tally.buckets, strict=True)]
            self.seconds[key] = self.seconds.get(key, 0.0) + tally.nanoseconds / 1e9


def _decided(server: str, tail: bytes) -> Labels:
    """Labels of a decision, from the members of its record."""
    members = msgspec.json.decode(b"{" + tail.removesuffix(b",") + b"}")
    method = str(members.get("method", _OTHER))
    return (
        ("server", server),
        ("method", method),
        ("tool", str(members.get("tool", _OTHER if "method" not in members else ""))),
        ("decision", str(members.get("decision", ""))),
        ("binding", "false" if members.get("binding") is False else "true"),
    )


def _more(counts: dict[Labels, int], key: Labels, count: int) -> None:
    key = _bounded(counts, key)
    counts[key] = counts.get(key, 0) + count


def _bounded(known: Mapping[Labels, object], key: Labels) -> Labels:
    """The label set, or, where there are too many, the one for all others; what we choose ourselves stays."""
    if key in known or len(known) < limits.SERIES:
        return key
    return tuple((name, _OTHER if name in ("server", "method", "tool") else value) for name, value in key)


def exposed(counts: Counts, status: JsonObject, told: Mapping[str, int]) -> str:
    """The whole text.

    Args:
        counts: Of all connections.
        status: What the verb `status` answers.
        told: Other counts by the name of their metric: see `_COUNTERS` and `_GAUGES`.
    """
    return "".join(f"{line}\n" for line in _lines(counts, status, told))


_COUNTERS: Final = {
    "mcpguard_audit_records_total": "Records written to the audit log, or kept for it.",
    "mcpguard_audit_failures_total": "Times that something could not be written to the audit log.",
    "mcpguard_findings_total": "Records of findings.",
}
_GAUGES: Final = {"mcpguard_tickets_waiting": "Questions that wait for a person."}


def _lines(counts: Counts, status: JsonObject, told: Mapping[str, int]) -> Iterator[str]:
    yield from _family("mcpguard_build_info", "gauge", "Version.", [((("version", __version__),), 1)])
    yield from _family("mcpguard_calls_total", "counter", "Requests by decision.", counts.calls.items())
    ended = counts.outcomes.items()
    yield from _family("mcpguard_outcomes_total", "counter", "Forwarded requests by how they ended.", ended)
    yield from _durations(counts)
    dropped = counts.dropped.items()
    yield from _family("mcpguard_dropped_lines_total", "counter", "Lines that were not passed on.", dropped)
    for name, words in (_COUNTERS | _GAUGES).items():
        yield from _family(name, "counter" if name in _COUNTERS else "gauge", words, [((), told[name])])
    failing = int(bool(status["audit"]["failure"]))
    yield from _family("mcpguard_audit_failing", "gauge", "1 while nothing can be recorded.", [((), failing)])
    connections = status["connections"]
    in_flight = sum(each["in_flight"] for each in connections)
    yield from _family("mcpguard_connections", "gauge", "Open connections.", [((), len(connections))])
    yield from _family(
        "mcpguard_connections_total", "counter", "Connections since the start.", [((), status["served"])]
    )
    yield from _family(
        "mcpguard_requests_in_flight", "gauge", "Requests without an answer yet.", [((), in_flight)]
    )
    yield from _sinks(status["export"])
    yield from _process(status)


def _durations(counts: Counts) -> Iterator[str]:
    name = "mcpguard_request_duration_seconds"
    yield from _head(name, "histogram", "From the forwarding of a request to its answer.")
    for labels, buckets in counts.latencies.items():
        total = 0
        for bound, count in zip((*BOUNDS, float("inf")), buckets, strict=True):
            total += count
            yield f"{name}_bucket{_braced((*labels, ('le', _number(bound))))} {total}"
        yield f"{name}_sum{_braced(labels)} {counts.seconds[labels]!r}"
        yield f"{name}_count{_braced(labels)} {total}"


def _sinks(export: JsonObject) -> Iterator[str]:
    rows = [((("sink", each["name"]), ("kind", each["kind"])), each) for each in export["sinks"]]
    lags = [(labels, each["waiting"]) for labels, each in rows if each["waiting"] >= 0]
    yield from _family("mcpguard_export_waiting_records", "gauge", "Records that a sink has not got.", lags)
    for name, kind, member, words in (
        ("mcpguard_export_events_total", "counter", "sent", "Events that a sink took."),
        ("mcpguard_export_failures_total", "counter", "failures", "Tries that failed."),
        (
            "mcpguard_export_gaps_total",
            "counter",
            "gaps",
            "Times that records were removed before they were sent.",
        ),
        (
            "mcpguard_export_last_success_timestamp_seconds",
            "gauge",
            "sent_at",
            "When a sink took something last.",
        ),
    ):
        yield from _family(name, kind, words, [(labels, each[member]) for labels, each in rows])
    failing = [(labels, int(bool(each["error"]))) for labels, each in rows]
    yield from _family("mcpguard_export_failing", "gauge", "1 while a sink takes nothing.", failing)
    invalid = int(bool(export["error"]))
    yield from _family(
        "mcpguard_export_invalid", "gauge", "1 while export.toml is not valid.", [((), invalid)]
    )


def _process(status: JsonObject) -> Iterator[str]:
    """What every process exposes, under the names that Prometheus' own libraries use."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = usage.ru_utime + usage.ru_stime
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for name, kind, words, value in (
        ("process_cpu_seconds_total", "counter", "Time on processors.", seconds),
        ("process_resident_memory_bytes", "gauge", "Resident memory.", _resident()),
        ("process_open_fds", "gauge", "Open descriptors.", status["descriptors"]),
        ("process_max_fds", "gauge", "Most open descriptors.", most),
        ("process_start_time_seconds", "gauge", "When the daemon began.", status["since"]),
    ):
        yield from _family(name, kind, words, [((), value)])


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def _family(name: str, kind: str, words: str, rows: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    yield from _head(name, kind, words)
    for labels, value in rows:
        yield f"{name}{_braced(labels)} {_number(value)}"


def _head(name: str, kind: str, words: str) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {kind}"


def _braced(labels: Labels) -> str:
    """Labels; text of others is cut, and shown with escapes for what cannot be seen."""
    pairs = ",".join(
        f'{name}="{visible(value[:_LABEL_CHARS]).translate(_ESCAPES)}"' for name, value in labels
    )
    return f"{{{pairs}}}" if pairs else ""


def _number(value: float) -> str:
    return "+Inf" if value == float("inf") else repr(value)


class Meter:
    """The metrics of one daemon: connections that have ended, and what is asked when somebody scrapes."""

    def __init__(self) -> None:
        self._ended = Counts()

    def ended(self, server: str, tally: Tally, dropped: int) -> None:
        """A connection is over."""
        self._ended.add(server, tally, dropped)

    def text(
        self, open_now: Iterable[tuple[str, Tally, int]], status: JsonObject, told: Mapping[str, int]
    ) -> str:
        """Everything now; `open_now`: the server, tally and dropped lines of each open connection."""
        counts = self._ended.copied()
        for server, tally, dropped in open_now:
            counts.add(server, tally, dropped)
        return exposed(counts, status, told)
