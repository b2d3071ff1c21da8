import pytest

from mcpguard.audit.breaks import Clock, Gaps
from mcpguard.audit.findings import Severity, Thresholds
from tests.audit.sights import seen


@pytest.mark.parametrize(
    ("members", "severity", "count"),
    [
        ({"event": "gap", "lost": 7}, Severity.HIGH, 7),
        ({"event": "truncation"}, Severity.CRITICAL, 1),
        ({"event": "recovered", "torn_bytes": 9}, Severity.LOW, 1),
        ({"event": "unwatched", "skipped": 300}, Severity.LOW, 300),
    ],
)
def test_what_is_missing_is_found(members, severity, count) -> None:
    (found,) = Gaps().take(seen("log", **members))
    assert (found.kind, found.weight, found.count) == ("log-gap", severity, count)


@pytest.mark.parametrize("event", ["opened", "rotated", "new", ""])
def test_the_ordinary_life_of_a_log_is_none(event) -> None:
    assert list(Gaps().take(seen("log", event=event))) == []
    assert list(Gaps().take(seen("call", event="gap"))) == []


def ticks(clock: Clock, *pairs: tuple[float, float]) -> list[float]:
    return [found.evidence["seconds"] for pair in pairs for found in clock.tick(*pair)]


def test_a_clock_that_is_set_is_found_and_one_that_is_corrected_is_not() -> None:
    assert ticks(Clock(Thresholds()), (1000, 0), (1010, 10), (1069, 10), (1075, 16)) == []
    assert ticks(Clock(Thresholds()), (1000, 0), (4601, 1), (4602, 2)) == [3600]
    assert ticks(Clock(Thresholds()), (5000, 0), (1401, 1)) == [-3600]


def test_sleep_is_no_jump() -> None:
    """The second clock goes on in sleep."""
    assert ticks(Clock(Thresholds()), (1000, 0), (1000 + 8 * 3600, 8 * 3600)) == []


def test_a_clock_that_was_turned_back_while_nobody_ran_is_found() -> None:
    first = Clock(Thresholds())
    ticks(first, (10_000, 0))
    for wall, expected in ((10_001.0, []), (9950.0, []), (9000.0, [-1000.0]), (99_999.0, [])):
        clock = Clock(Thresholds())
        clock.load(first.dump())
        assert ticks(clock, (wall, 5)) == expected
