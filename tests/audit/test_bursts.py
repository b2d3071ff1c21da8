"""Each detector at its threshold, just below it, and under a flood of names."""

from collections.abc import Callable
from typing import Any

import pytest

from mcpguard.audit import bursts
from mcpguard.audit.bounded import KEYS
from mcpguard.audit.findings import Finding, Thresholds
from mcpguard.audit.seen import Seen
from mcpguard.gate import host as gate_host
from mcpguard.gate import server as gate_server
from tests.audit.sights import call, drop, seen


def denied(at: float, **more: Any) -> Seen:
    return call(at, int(at * 10), decision="deny", **more)


def refused(at: float, **more: Any) -> Seen:
    members = {"event": "refused", "stage": "caller", "reason": "no", "host": {"uid": 3}}
    return seen("session", at, **(members | more))


def asked(at: float, **more: Any) -> Seen:
    return seen("approval", at, event="asked", target="write", **more)


Make = Callable[[float], Seen]
CASES: dict[str, tuple[type, Make, int, float]] = {
    "denied-burst": (bursts.Denials, denied, 20, 60.0),
    "auth-failures": (bursts.Refusals, refused, 5, 300.0),
    "approval-flood": (bursts.Questions, asked, 10, 60.0),
    "protocol-violation": (bursts.Drops, lambda at: drop("a duplicate key", at), 20, 60.0),
}


def fed(detector: Any, events: list[Seen]) -> list[Finding]:
    return [found for event in events for found in detector.take(event)]


@pytest.mark.parametrize("kind", CASES)
def test_it_fires_at_the_threshold_and_not_just_below(kind: str) -> None:
    make, event, count, seconds = CASES[kind]
    step = seconds / count
    assert fed(make(Thresholds()), [event(step * n) for n in range(count - 1)]) == []
    (found,) = fed(make(Thresholds()), [event(step * n) for n in range(count)])
    assert (found.kind, found.count) == (kind, count)
    slow = seconds / (count - 1) * 1.01
    assert fed(make(Thresholds()), [event(slow * n) for n in range(3 * count)]) == []


@pytest.mark.parametrize(
    ("make", "event"),
    [
        (bursts.Denials, call(decision="allow")),
        (bursts.Denials, call(decision="ask")),
        (bursts.Denials, call(decision="deny", side="server")),
        (bursts.Refusals, refused(0.0, stage="policy")),
        (bursts.Refusals, refused(0.0, event="end")),
        (bursts.Questions, seen("approval", event="denied")),
        (bursts.Drops, drop("not a message")),
        (bursts.Drops, drop("a late answer", side="nobody", type="call")),
    ],
)
def test_what_is_none_of_it_is_not_counted(make: type, event: Seen) -> None:
    assert fed(make(Thresholds()), [event] * 200) == []


def test_a_denial_is_counted_apart_for_each_run_of_a_host() -> None:
    events = [denied(n / 10, host={"pid": n % 2, "instance": n % 2}) for n in range(38)]
    assert fed(bursts.Denials(Thresholds()), events) == []


def test_a_burst_names_what_was_tried_and_the_records() -> None:
    (found,) = fed(bursts.Denials(Thresholds()), [denied(n, tool=f"t{n}") for n in range(20)])
    assert found.evidence == {"tried": [f"t{n}" for n in range(8)]}
    assert (found.seqs, found.tool, found.server) == ((0, 190), "t19", "files")


def test_one_answer_that_nobody_asked_for_is_enough() -> None:
    (found,) = fed(bursts.Drops(Thresholds()), [drop(bursts.SPOOFED)])
    assert (found.kind, found.culprit) == ("response-spoofing", "server")
    (found,) = fed(bursts.Drops(Thresholds()), [drop(bursts.SPOOFED, side="host")])
    assert found.culprit == "host"
    assert fed(bursts.Drops(Thresholds()), [drop("a late answer")]) == []


def test_drops_that_had_no_record_of_their_own_count() -> None:
    detector = bursts.Drops(Thresholds())
    (found,) = fed(detector, [drop("19 more lines, too many to record each"), drop("bad")])
    assert found.kind == "protocol-violation"
    assert len(fed(detector, [drop("999999999 more lines, too many to record each", at=900.0)])) == 1


def test_more_refusals_than_records_count() -> None:
    assert len(fed(bursts.Refusals(Thresholds()), [refused(0.0, more=4)])) == 1
    assert fed(bursts.Refusals(Thresholds()), [refused(0.0, more=3)]) == []
    assert len(fed(bursts.Refusals(Thresholds()), [refused(0.0, more=10**12)])) == 1


def test_the_words_are_those_of_the_gate() -> None:
    assert f'"{bursts.SPOOFED}"' in _source(gate_server)
    assert f'"{bursts.SPOOFED}"' in _source(gate_host)
    assert f'"{bursts.NOISE}"' in _source(gate_server)


def _source(module: Any) -> str:
    with open(module.__file__) as file:
        return file.read()


@pytest.mark.parametrize("kind", CASES)
def test_a_flood_of_hostile_names_takes_no_more_memory_than_the_bound(kind: str) -> None:
    make, _, _, _ = CASES[kind]
    detector = make(Thresholds())
    for n in range(3 * KEYS):
        name = f"{n}\u202e" * 300
        for event in (
            denied(n, tool=name, conn=name, host={"exe": name}),
            refused(n, host={"exe": name}),
            asked(n, conn=name, host={}),
            drop(name, n, conn=name),
        ):
            list(detector.take(event))
    tables = [table for table in vars(detector).values() if hasattr(table, "__len__")]
    assert tables
    assert all(len(table) <= KEYS for table in tables)
