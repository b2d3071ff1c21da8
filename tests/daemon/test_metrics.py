"""The text that Prometheus reads, read back by prometheus_client's own parser."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mcpguard import limits
from mcpguard.audit import record
from mcpguard.daemon.metrics import Meter
from mcpguard.gate.tally import Tally
from mcpguard.model import Side, Verdict

STATUS: dict[str, Any] = {
    "audit": {"failure": ""},
    "connections": [{"in_flight": 2}, {"in_flight": 1}],
    "served": 7,
    "descriptors": 20,
    "since": 1000.5,
    "export": {
        "error": "",
        "sinks": [{"name": "siem", "kind": "syslog", "waiting": 5, "sent": 10, "failures": 1, "gaps": 0, "sent_at": 99.5, "error": "x"}],
    },
}  # fmt: skip
TOLD = {
    "mcpguard_audit_records_total": 3, "mcpguard_audit_failures_total": 1, "mcpguard_findings_total": 2,
    "mcpguard_tickets_waiting": 4,
}  # fmt: skip
ODD = 'a"b\\c\nd\u2028\x1b[31m}{,='


def tallied(*tools: str, verdict: Verdict = Verdict.DENY) -> Tally:
    tally = Tally()
    for tool in tools:
        tally.decided(record.call_tail(Side.HOST, "tools/call", tool, verdict, "r"))
        tally.settled(record.OK, 3_000_000)
    return tally


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    found = {(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples}
    assert len(found) == len(samples), "a series stands there twice"
    return found


def values(text: str, name: str) -> list[float]:
    return [value for (each, _), value in read(text).items() if each == name]


def test_everything_is_there_and_parses() -> None:
    meter = Meter()
    meter.ended("files", tallied("read", "read"), 3)
    text = meter.text(
        [("files", tallied("read"), 1), ("web", tallied("get", verdict=Verdict.ALLOW), 0)], STATUS, TOLD
    )
    found = read(text)
    labels = {
        "server": "files",
        "method": "tools/call",
        "tool": "read",
        "decision": "deny",
        "binding": "true",
    }
    assert found["mcpguard_calls_total", tuple(sorted(labels.items()))] == 3
    assert found["mcpguard_outcomes_total", (("server", "files"), ("status", "ok"))] == 3
    assert found["mcpguard_dropped_lines_total", (("server", "files"),)] == 4
    assert found["mcpguard_request_duration_seconds_bucket", (("le", "0.0025"), ("server", "files"))] == 0
    assert found["mcpguard_request_duration_seconds_bucket", (("le", "0.005"), ("server", "files"))] == 3
    assert found["mcpguard_request_duration_seconds_bucket", (("le", "+Inf"), ("server", "files"))] == 3
    total = found["mcpguard_request_duration_seconds_sum", (("server", "files"),)]
    assert total == pytest.approx(0.009)
    assert found["mcpguard_export_waiting_records", (("kind", "syslog"), ("sink", "siem"))] == 5
    assert found["mcpguard_export_failing", (("kind", "syslog"), ("sink", "siem"))] == 1
    assert found["mcpguard_requests_in_flight", ()] == 3
    assert found["mcpguard_tickets_waiting", ()] == 4
    assert found["process_resident_memory_bytes", ()] > 1 << 20
    types = {family.name: family.type for family in text_string_to_metric_families(text)}
    assert types["mcpguard_calls"] == "counter"
    assert types["mcpguard_request_duration_seconds"] == "histogram"


def test_asking_twice_counts_once() -> None:
    meter = Meter()
    meter.ended("files", tallied("read"), 0)
    first = meter.text([("files", tallied("read"), 0)], STATUS, TOLD)
    assert values(first, "mcpguard_calls_total") == values(
        meter.text([("files", tallied("read"), 0)], STATUS, TOLD), "mcpguard_calls_total"
    )


def test_text_of_others_stays_in_its_label() -> None:
    text = Meter().text([(ODD, tallied(ODD), 0)], STATUS, TOLD)
    assert "\x1b" not in text
    assert "\u2028" not in text
    names = {name for (name, _) in read(text)}
    assert all(name.startswith(("mcpguard_", "process_")) for name in names)
    labels = next(dict(labels) for (name, labels) in read(text) if name == "mcpguard_calls_total")
    assert labels["server"] == 'a"b\\\\c\\u000ad\\u2028\\u001b[31m}{,='


def test_series_are_bounded_whatever_servers_are_called() -> None:
    meter = Meter()
    for number in range(3 * limits.SERIES):
        meter.ended(f"server-{number}", tallied(f"tool-{number}"), 1)
    text = meter.text([], STATUS, TOLD)
    for name in ("mcpguard_calls_total", "mcpguard_outcomes_total", "mcpguard_dropped_lines_total"):
        assert len(values(text, name)) == limits.SERIES + 1
        assert sum(values(text, name)) == 3 * limits.SERIES


def test_what_a_connection_folded_is_other_here() -> None:
    tally = Tally()
    for number in range(limits.SERIES + 10):
        tally.decided(record.call_tail(Side.HOST, "tools/call", f"t{number}", Verdict.DENY, "r"))
    text = Meter().text([("files", tally, 0)], STATUS, TOLD)
    assert sum(values(text, "mcpguard_calls_total")) == limits.SERIES + 10
