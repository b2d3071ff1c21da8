"""Which calls have no outcome, from records as the gate writes them."""

from hypothesis import given
from hypothesis import strategies as st

from mcpguard.audit import record
from mcpguard.audit.chain import Chain
from mcpguard.audit.record import parse_line
from mcpguard.audit.unsettled import WANTED, Unsettled
from mcpguard.model import Side, Verdict

STAMP = b'"t":"2026-11-22T18:00:00.000000Z","boot":"' + b"0" * 32 + b'",'


def called(conn, number, verdict=Verdict.ALLOW, side=Side.HOST):
    tail = record.call_tail(side, "tools/call", "note", verdict, "r")
    return record.call(record.prefix(conn, {"uid": 1}, "s"), number, tail, None, 0)


def ended(conn, number, side=Side.HOST):
    tail = record.outcome_tail(side, "tools/call", "note")
    return record.outcome(record.prefix(conn, {"uid": 1}, "s"), number, tail, record.OK, 1, 1)


def opened():
    return record.log("opened", pid=1)


def left(*bodies, running=False):
    calls = Unsettled()
    for line in Chain().seal(bodies, STAMP).splitlines(keepends=True) if bodies else ():
        assert any(word in line for word in WANTED)
        calls.take(parse_line(line), line)
    return [
        (parse_line(line).body["conn"], parse_line(line).body["id"]) for line in calls.lines(running=running)
    ]


def test_a_call_is_open_until_its_outcome():
    assert left(called("a", 1), called("a", 2), ended("a", 1)) == [("a", 2)]
    assert left(called("a", 1), ended("b", 1), ended("a", 1, Side.SERVER)) == [("a", 1)]
    assert left(called("a", 1), called("a", 1, side=Side.SERVER), ended("a", 1)) == [("a", 1)]


def test_a_call_that_was_not_forwarded_is_none():
    assert left(called("a", 0, Verdict.DENY)) == []


def test_what_a_running_daemon_waits_for_is_not_unknown_yet():
    before = (opened(), called("a", 1), opened(), called("b", 1))
    assert left(*before, running=True) == [("a", 1)]
    assert left(*before) == [("a", 1), ("b", 1)]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 5), st.booleans()), max_size=30))
def test_it_is_what_sets_say(events):
    wanted: dict[tuple[str, int], None] = {}
    bodies = []
    for conn, number, ends in events:
        bodies.append(ended(conn, number) if ends else called(conn, number))
        if ends:
            wanted.pop((conn, number), None)
        else:
            wanted[conn, number] = None
    assert sorted(left(*bodies)) == sorted(wanted)
