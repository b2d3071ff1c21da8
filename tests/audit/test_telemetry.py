"""What is counted and named for OpenTelemetry."""

from mcpguard import limits
from mcpguard.audit import record
from mcpguard.audit.chain import Chain
from mcpguard.audit.event import Event, event_of
from mcpguard.audit.telemetry import BOUNDS, Totals, identified, measured
from mcpguard.model import Side
from tests.audit.exported import STAMP, lines


def events(bodies: list[bytes]) -> list[Event]:
    return [event_of(line) for line in Chain().seal(bodies, STAMP).split(b"\n")[:-1]]


def answer(tool: str, number: int = 1, latency: int = 1000) -> bytes:
    start = record.prefix("1-a", {}, "files")
    return record.outcome(
        start, number, record.outcome_tail(Side.HOST, "tools/call", tool), record.OK, latency, 1
    )


def test_series_are_bounded_and_nothing_is_left_uncounted() -> None:
    totals = Totals({}, {}, {})
    for event in events([answer(f"tool-{number}") for number in range(limits.SERIES + 50)]):
        totals.add(event)
    assert len(totals.durations) == limits.SERIES + 1
    assert sum(each.count for each in totals.durations.values()) == limits.SERIES + 50
    others = [one for (_, key), one in totals.durations.items() if ("gen_ai.tool.name", "_other") in key]
    assert [one.count for one in others] == [50]


def test_a_copy_counts_for_itself() -> None:
    totals = Totals({}, {}, {})
    totals.add(events([answer("x")])[0])
    other = totals.copied()
    other.add(events([answer("x", latency=10**9)])[0])
    ((_, before),) = totals.durations.items()
    ((_, after),) = other.durations.items()
    assert (before.count, after.count) == (1, 2)
    assert (before.buckets[0], after.buckets[-1]) == (1, 1)
    assert len(after.buckets) == len(BOUNDS) + 1


def test_a_call_and_its_answer_are_one_trace_and_others_are_not() -> None:
    call, _, _, nobody, good = [event_of(line) for line in lines()[:5]]
    assert identified(call) == identified(good) != (0, 0)
    assert identified(nobody) != identified(call)
    assert identified(event_of(lines()[-3])) == (0, 0)


def test_attributes_follow_the_conventions() -> None:
    assert measured(events([answer("x")])[0]) == {
        "mcp.method.name": "tools/call", "network.transport": "pipe",
        "gen_ai.tool.name": "x", "gen_ai.operation.name": "execute_tool",
    }  # fmt: skip


def test_sessions_that_never_end_are_forgotten() -> None:
    totals = Totals({}, {}, {})
    for event in events([record.session(record.prefix(f"{n}-a", {}, "s"), "begin") for n in range(5000)]):
        totals.add(event)
    assert len(totals.began) == 4096
