"""Counting."""

import json
import random

import pytest

from mcpguard.audit import statistics as module
from mcpguard.audit.facets import of
from mcpguard.audit.record import Record
from mcpguard.audit.statistics import FINDINGS, OTHERS, Statistics, Tally

TIME = "2026-11-18T11:06:40.123456Z"
HOST = {"uid": 1000, "host": "claude"}


def record(kind: str, seq: int = 1, time: str = TIME, /, **body: object) -> Record:
    base = {"conn": "c", "host": HOST, "server": "files", "side": "host"}
    return Record(seq, "", time, "", kind, {"type": kind, **base, **body})


def added(*records: Record) -> Statistics:
    found = Statistics()
    for one in records:
        found.add(one, of(one), one.time[:10], one.time[:13])
    return found


def call(decision: str, tool: str = "read", **more: object) -> Record:
    return record(
        "call", method="tools/call", tool=tool, decision=decision, rule=f"r-{decision}", id=1, **more
    )


def answer(status: str, us: object, tool: str = "read") -> Record:
    return record("outcome", method="tools/call", tool=tool, status=status, latency_us=us, id=1)


def test_calls_denials_questions_and_what_only_was_watched():
    found = added(
        call("allow"),
        call("deny"),
        call("deny", binding=False),
        call("ask", binding=False),
        record("call", method="resources/read", target="file:///x", decision="deny", rule="r-deny"),
        record("approval", event="asked", target="read"),
        record("approval", event="granted", target="read"),
    )
    total = found.total
    assert (total.calls, total.denied, total.observed, total.asked, found.requests) == (4, 2, 2, 1, 1)
    assert found.rules == {"r-deny": 3, "r-ask": 1}
    assert found.tables["tool"]["files read"].calls == 4
    assert found.tables["tool"]["files file:///x"].denied == 1
    assert found.tables["host"]["claude"].asked == 1
    assert found.used == {("claude", "read"): 4}
    assert list(found.tables["day"]) == ["2026-11-18"]
    assert list(found.tables["bucket"]) == ["2026-11-18T11"]


def test_latencies_are_those_of_answers():
    found = added(
        answer("ok", 100), answer("tool_error", 300), answer("error", 200), answer("lost", 9), answer("refused", 9),
        answer("ok", None), answer("ok", True), answer("ok", "7"), answer("ok", -1),
        record("outcome", method="ping", status="ok", latency_us=1, id=2),
    )  # fmt: skip
    assert sorted(found.total.latencies.elements()) == [100, 200, 300]
    assert found.total.errors == 4
    assert found.outcomes == {"ok": 5, "tool_error": 1, "error": 1, "lost": 1, "refused": 1}


def test_percentiles_are_the_nearest_rank():
    rng = random.Random(7)
    for size in (1, 2, 3, 99, 100, 101):
        values = [rng.randrange(50) for _ in range(size)]
        tally = Tally()
        tally.latencies.update(values)
        for part in (0.5, 0.99):
            rank = -(-size * round(part * 100) // 100)
            assert tally.percentile(part) == sorted(values)[rank - 1]
    assert Tally().percentile(0.5) is None


def test_findings_keep_what_the_record_says_and_only_the_newest():
    found = added(*(
        record("finding", seq, kind="tools", name=f"t{seq}", fault="f", severity="high", atlas=["AML.T0051"])
        for seq in range(1, 3 * FINDINGS)
    ))  # fmt: skip
    assert found.kinds == {"tools": 3 * FINDINGS - 1}
    assert FINDINGS <= len(found.findings) <= 2 * FINDINGS
    assert found.findings[-1].about == {
        "type": "finding", "server": "files", "side": "host", "kind": "tools", "name": f"t{3 * FINDINGS - 1}",
        "fault": "f", "severity": "high", "atlas": ["AML.T0051"],
    }  # fmt: skip


def test_names_without_end_become_others(monkeypatch):
    monkeypatch.setattr(module, "MOST", 10)
    denied = (
        record("call", method="tools/call", tool=f"t{n}", decision="deny", rule=f"r{n}") for n in range(30)
    )
    found = added(*denied)
    assert len(found.tables["tool"]) <= 11
    assert found.tables["tool"][OTHERS].calls == 20
    assert found.rules[OTHERS] == 20
    assert found.used[OTHERS, OTHERS] == 20


def test_figures_are_json_and_in_order():
    found = added(call("allow", "a"), call("allow", "b"), call("allow", "b"), answer("ok", 5, "b"),
                  record("finding", kind="k"), record("log", event="opened"))  # fmt: skip
    figures = json.loads(json.dumps(found.figures()))
    assert [row["tool"] for row in figures["tools"]] == ["b", "a"]
    assert figures["tools"][0] == {
        "server": "files", "tool": "b", "calls": 2, "denied": 0, "observed": 0, "asked": 0, "errors": 0,
        "latency_p50_us": 5, "latency_p99_us": 5,
    }  # fmt: skip
    assert (figures["records"], figures["first"], figures["findings"]) == (6, TIME, {"k": 1})


@pytest.mark.parametrize("value", [None, 7, [], {}])
def test_members_of_the_wrong_kind_are_counted_all_the_same(value):
    found = added(
        record("call", method=value, tool=value, decision=value, rule=value, server=value, host=value),
        record("outcome", method="tools/call", status=value, latency_us=value),
        record("finding", kind=value, name=value),
    )
    assert found.records == 3
    json.dumps(found.figures())
