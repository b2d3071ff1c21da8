"""`mcpguard audit stats`: the numbers of a log."""

import json
from collections import Counter

from mcpguard.audit import record
from mcpguard.model import Verdict
from tests.cli.reported import END, Story, busy_week, hostile
from tests.cli.test_auditquery import lines, raw, run, state

__all__ = ["state"]


def test_numbers_are_those_of_the_log(state):
    busy_week(state / "audit")
    told = json.loads(run("stats", "--json").stdout)
    records = [json.loads(line) for line in raw(state / "audit")]
    calls = [one for one in records if one["type"] == "call"]
    latencies = sorted(one["latency_us"] for one in records if one["type"] == "outcome")
    assert told["records"] == len(records)
    total = told["total"]
    assert (total["calls"], total["denied"]) == (len(calls), sum(one["decision"] == "deny" for one in calls))
    assert total["asked"] == sum(one.get("event") == "asked" for one in records)
    assert total["latency_p50_us"] == latencies[-(-len(latencies) // 2) - 1]
    assert total["latency_p99_us"] == latencies[-(-len(latencies) * 99 // 100) - 1]
    assert {one["server"]: one["calls"] for one in told["servers"]} == Counter(one["server"] for one in calls)
    assert {one["day"]: one["calls"] for one in told["days"] if one["calls"]} == Counter(
        one["t"][:10] for one in calls
    )
    assert {one["host"] for one in told["hosts"]} == {"claude-code", "vscode", "(node)"}
    assert told["denials_by_rule"] == Counter(one["rule"] for one in calls if one["decision"] == "deny")
    assert told["findings"] == {"tools": 2, "instructions": 1}


def test_filters_narrow_them(state):
    busy_week(state / "audit")
    told = json.loads(run("stats", "--json", "--server", "github", "--host", "vscode").stdout)
    assert [one["server"] for one in told["servers"]] == ["github"]
    assert [one["host"] for one in told["hosts"]] == ["vscode"]
    assert (
        json.loads(run("stats", "--json", "--no-index", "--server", "github", "--host", "vscode").stdout)
        == told
    )


def test_in_words(state):
    story = Story(state / "audit", END)
    start = story.start("claude", "files", "c")
    for tool in ("read", "read", "write"):
        story.call(start, tool, us=2000)
    story.call(start, "write", Verdict.DENY, "no-writes")
    story.call(start, "write", Verdict.DENY, "no-writes", binding=False, status=record.TOOL_ERROR, us=9000)
    story.close()
    shown = lines("stats", "-n", "1")
    assert shown[:3] == [
        "10 records from 2026-11-23 00:00:00 to 2026-11-23 00:00:00",
        "5 calls, 0 other requests, 1 denied, 1 observed, 0 asked, 0 findings",
        "latency p50 2.00 ms, p99 9.00 ms",
    ]
    assert "          2  no-writes" in shown
    tools = shown[shown.index(next(line for line in shown if line.startswith("by tool"))) :]
    assert tools[1].split() == ["files", "write", "3", "1", "1", "0", "1", "2.00", "ms", "9.00", "ms"]
    assert tools[2] == "  ... and 1 more"


def test_nothing_is_no_error(state):
    Story(state / "audit", END).close()
    told = run("stats", "--server", "none")
    assert (told.exit_code, told.stdout) == (0, "")
    assert "no record matches" in told.stderr


def test_hostile_names_steer_no_terminal(state):
    hostile(state / "audit")
    assert all(line.isprintable() for line in lines("stats", "-n", "100"))
    json.loads(run("stats", "--json").stdout)
