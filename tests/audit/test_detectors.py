import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.audit import record
from mcpguard.audit.detectors import OTHERS, Detectors, Memory, Throttle
from mcpguard.audit.findings import Finding, Thresholds
from mcpguard.audit.seen import Seen
from mcpguard.model import FINDING_KINDS
from tests.audit.sights import NOON, begin, call, drop, seen
from tests.audit.test_seen import JSON


def finding(subject: str = "a", kind: str = "new-tool", count: int = 1) -> Finding:
    return Finding(kind, subject, "it is so", count=count)


def test_of_one_subject_one_is_told_and_the_others_are_counted() -> None:
    throttle = Throttle(Thresholds())
    told = [throttle.take(finding(), at) for at in (0.0, 1.0, 599.0, 600.0)]
    assert [each.count if each else 0 for each in told] == [1, 0, 0, 3]
    assert list(throttle.due(700.0)) == []


def test_those_that_were_only_counted_are_told_when_the_time_is_over() -> None:
    throttle = Throttle(Thresholds())
    for at in (0.0, 1.0, 2.0):
        throttle.take(finding(count=5), at)
    assert list(throttle.due(599.0)) == []
    (late,) = throttle.due(600.0)
    assert (late.count, late.subject) == (10, "a")
    assert list(throttle.due(1300.0)) == []


def test_a_flood_of_subjects_is_no_flood_of_findings() -> None:
    throttle = Throttle(Thresholds(most=20))
    told = [each for n in range(10_000) if (each := throttle.take(finding(f"{n}"), n / 1000))]
    assert len(told) == 21
    assert told[-1].subject == OTHERS
    (rest,) = throttle.due(700.0)
    assert (rest.subject, rest.count) == (OTHERS, 10_000 - 21)
    assert throttle.take(finding("x", "volume"), 1.0), "another kind is not hidden by it"
    assert len(throttle) <= 1024


def test_a_clock_that_is_turned_back_hides_nothing_for_long() -> None:
    throttle = Throttle(Thresholds())
    assert throttle.take(finding(), 5000.0)
    assert throttle.take(finding(), 10.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5000), st.integers(1, 9)), max_size=80))
def test_no_event_is_lost_in_counting(events) -> None:
    events.sort(key=lambda event: event[1])
    throttle = Throttle(Thresholds(most=2))
    told = [
        each for subject, at, count in events if (each := throttle.take(finding(subject, count=count), at))
    ]
    told += throttle.due(1e9)
    assert sum(each.count for each in told) == sum(event[2] for event in events)


def test_what_detectors_have_said_is_not_looked_at() -> None:
    body = record.detected("new-tool", "a", "differs from the pinned definition", {"severity": "low"})
    assert Detectors().take(Seen(0.0, msgspec.json.decode(b"{%b}" % body))) == []


def test_every_kind_is_found_by_all_together() -> None:
    detectors = Detectors()
    events = [begin(credential="k", remote="a"), begin(credential="k", remote="b")]
    events += [call(n, decision="deny") for n in range(20)]
    events += [seen("approval", event="asked")] * 10
    events += [seen("session", event="refused", stage="caller", reason="")] * 5
    events += [drop("bad")] * 20 + [drop("an answer that nobody asked for")]
    events += [seen("finding", kind="tools", name="a", fault="differs from the pinned definition")]
    events += [seen("finding", kind="tools", name="a", fault="holds invisible or control characters")]
    events += [seen("log", event="gap", lost=1)]
    for day in range(40):
        events += [call(day * 86_400 + hour * 3600.0) for hour in (0, 1)]
    events += [call(40 * 86_400 + 6 * 3600.0, tool="new")]
    events += [call(41 * 86_400)] * 600
    found = {each.kind for event in events for each in detectors.take(event)}
    found |= {each.kind for pair in ((NOON, 0.0), (NOON + 9000, 1.0)) for each in detectors.tick(*pair)}
    assert found == set(FINDING_KINDS)


RECORDS = st.fixed_dictionaries(
    {"type": st.sampled_from(["call", "session", "drop", "finding", "approval", "log"])},
    optional={
        "event": st.sampled_from(["begin", "refused", "asked", "gap", "unwatched"]) | JSON,
        "decision": st.sampled_from(["allow", "deny"]) | JSON,
        **dict.fromkeys(
            (
                "host",
                "conn",
                "server",
                "tool",
                "args",
                "reason",
                "fault",
                "kind",
                "name",
                "lost",
                "credential",
                "more",
                "side",
            ),
            JSON,
        ),
    },
)


@given(st.lists(st.tuples(RECORDS, st.floats(0, 2e9)), max_size=20))
def test_whatever_comes_gives_findings_that_can_be_recorded(events) -> None:
    detectors = Detectors()
    for body, at in events:
        for found in detectors.take(Seen(at, body, 1)):
            assert record.detected(found.kind, found.subject, found.says, found.members())


def test_the_next_daemon_goes_on() -> None:
    first = Detectors()
    first.take(begin())
    first.tick(NOON, 5.0)
    second = Detectors()
    second.load(msgspec.convert(msgspec.json.decode(msgspec.json.encode(first.dump())), Memory))
    assert second.take(begin(9.0)) == []
    assert [each.kind for each in second.tick(NOON - 5000, 9.0)] == ["clock-jump"]


def test_learning_from_the_past_finds_nothing_and_knows_it_after() -> None:
    detectors = Detectors()
    detectors.learn(begin())
    assert detectors.take(begin(1.0)) == []


@pytest.mark.parametrize("event", [call(), drop("bad")], ids=["call", "drop"])
def test_cost(benchmark, event) -> None:
    detectors = Detectors()
    benchmark(detectors.take, event)
