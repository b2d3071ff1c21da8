"""What a connection counts: exactly, in bounded space, and at next to no cost."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.audit import record
from mcpguard.gate.tally import BOUNDS, Tally
from mcpguard.model import Side, Verdict

ALLOWED = record.call_tail(Side.HOST, "tools/call", "read", Verdict.ALLOW, "r")


def denied(tool: str) -> bytes:
    return record.call_tail(Side.HOST, "tools/call", tool, Verdict.DENY, "r")


def test_decisions_are_counted_by_what_they_are_on() -> None:
    tally = Tally()
    for tail in (ALLOWED, ALLOWED, denied("read"), denied("write")):
        tally.decided(tail)
    assert tally.calls == {ALLOWED: 2, denied("read"): 1, denied("write"): 1}


def test_approved_calls_are_one_kind_whatever_their_tickets() -> None:
    tally = Tally()
    for number in range(10):
        tally.decided(record.approved(ALLOWED, f"t{number}"))
    assert tally.calls == {ALLOWED: 10}


@given(st.text(max_size=40))
def test_text_of_others_is_never_taken_for_a_mark(odd: str) -> None:
    tally = Tally()
    for number in range(limits.SERIES):
        tally.decided(denied(str(number)))
    before = sum(tally.calls.values())
    tally.decided(denied(f'{odd}","decision":"allow","approval":"t1'))
    assert tally.calls[b'"decision":"deny",'] == 1
    assert sum(tally.calls.values()) == before + 1


def test_a_flood_of_names_takes_bounded_space_and_is_still_counted() -> None:
    tally = Tally()
    for number in range(3 * limits.SERIES):
        tally.decided(denied(f"tool-{number}"))
        tally.decided(ALLOWED)
    assert len(tally.calls) <= limits.SERIES + 2
    assert sum(tally.calls.values()) == 6 * limits.SERIES
    assert tally.calls[ALLOWED] == 3 * limits.SERIES


@given(st.lists(st.integers(0, 400 * 10**9), max_size=30))
def test_latencies_are_in_the_bucket_that_holds_them(taken: list[int]) -> None:
    tally = Tally()
    for nanoseconds in taken:
        tally.settled(record.OK, nanoseconds)
    assert tally.nanoseconds == sum(taken)
    assert sum(tally.buckets) == len(taken) == tally.outcomes.get(b"ok", 0)
    for at, bound in enumerate(BOUNDS):
        assert sum(tally.buckets[: at + 1]) == sum(each <= int(bound * 1e9) for each in taken)


def test_cost_of_a_decision(benchmark: Any) -> None:
    benchmark(Tally().decided, ALLOWED)


def test_cost_of_an_answer(benchmark: Any) -> None:
    benchmark(Tally().settled, record.OK, 1_234_567)
