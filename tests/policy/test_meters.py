"""Meters: never more than the limit in any window, budgets of days in their zones, restarts, and bounds."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.model import DAY, Charge
from mcpguard.policy.meters import Meters, key_of

SECOND = 1_000_000_000


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def passes(meters, charge, now=0, unix=0.0):
    """Look, and take if there is something left."""
    if meters.shortage(charge, now, unix):
        return False
    meters.take([charge], now, unix)
    return True


# --- rates ----------------------------------------------------------------------------------------------


def test_a_rate_lets_so_many_through_and_says_when_again():
    meters, charge = Meters(), Charge("k", 2, 60.0)
    assert [passes(meters, charge, at * SECOND) for at in (0, 10, 20)] == [True, True, False]
    assert meters.shortage(charge, 20 * SECOND, 0) == "is used up, again in 40 s"
    assert meters.shortage(charge, 60 * SECOND - 1, 0) == "is used up, again in 1 s"
    assert meters.shortage(charge, 60 * SECOND, 0) == ""
    assert meters.shortage(Charge("other", 2, 60.0), 20 * SECOND, 0) == ""


@pytest.mark.parametrize(
    ("seconds", "words"), [(1.0, "1 s"), (100.0, "100 s"), (3600.0, "60 min"), (10_000.0, "3 h")]
)
def test_how_long_is_said_in_fitting_units(seconds, words):
    meters, charge = Meters(), Charge("k", 1, seconds)
    assert passes(meters, charge)
    assert meters.shortage(charge, 0, 0) == f"is used up, again in {words}"


def test_looking_takes_nothing():
    meters, charge = Meters(), Charge("k", 1, 60.0)
    assert [meters.shortage(charge, 0, 0) for _ in range(5)] == [""] * 5


RATES = st.tuples(st.integers(1, 200), st.sampled_from([1.0, 60.0]))
STEPS = st.lists(st.integers(0, 3 * SECOND), min_size=1, max_size=300)


@given(RATES, STEPS)
def test_no_window_lets_more_through_than_the_limit(rate, steps):
    limit, seconds = rate
    meters, charge, now, let = Meters(), Charge("k", limit, seconds), 0, []
    for step in steps:
        now += step * int(seconds) // 60
        if passes(meters, charge, now):
            let.append(now)
    length = int(seconds * SECOND)
    for first in let:
        assert sum(first <= moment < first + length for moment in let) <= limit


@given(st.integers(1, 64), STEPS)
def test_small_rates_are_exact(limit, steps):
    meters, charge, now, let = Meters(), Charge("k", limit, 60.0), 0, []
    for step in steps:
        now += step
        due = sum(moment > now - 60 * SECOND for moment in let) < limit
        assert passes(meters, charge, now) is due
        if due:
            let.append(now)


@pytest.mark.parametrize("limit", [65, 1000, 100_000])
def test_high_rates_are_back_after_the_window_and_one_part_of_it(limit):
    meters, charge = Meters(), Charge("k", limit, 60.0)
    assert all(passes(meters, charge, 5) for _ in range(limit))
    assert not passes(meters, charge, 60 * SECOND)
    assert meters.shortage(charge, 61 * SECOND, 0) == ""
    assert len(meters._windows["k"]._parts) <= 66


def test_where_verdicts_do_not_bind_a_rate_keeps_no_more_than_it_needs():
    meters, charge = Meters(), Charge("k", 3, 60.0)
    for second in range(1000):
        meters.take([charge], second * SECOND // 100, 0)
    assert len(meters._windows["k"]._parts) <= 3
    assert meters.shortage(charge, 10 * SECOND, 0) != ""
    assert meters.shortage(charge, 71 * SECOND, 0) == ""


# --- requests in flight ---------------------------------------------------------------------------------


@given(st.integers(1, 5), st.lists(st.booleans(), max_size=50))
def test_never_more_in_flight_than_the_limit(limit, events):
    meters, charge, flying = Meters(), Charge("k", limit, 0.0), 0
    for begins in events:
        if begins:
            assert passes(meters, charge) is (flying < limit)
            flying = min(limit, flying + 1)
        elif flying:
            meters.give_back([charge])
            flying -= 1
    assert (meters.shortage(charge, 0, 0) == "") is (flying < limit)


def test_what_was_not_taken_gives_nothing_back():
    meters, charge = Meters(), Charge("k", 1, 0.0)
    meters.give_back([charge, Charge("r", 1, 60.0)])
    assert passes(meters, charge)
    assert meters.shortage(charge, 0, 0) == "is used up until one of its requests is answered"
    meters.give_back([charge, charge])
    assert passes(meters, charge)


def test_answers_do_not_give_rates_and_budgets_back():
    meters = Meters()
    for charge in (Charge("r", 1, 60.0), Charge("d", 1, DAY)):
        assert passes(meters, charge)
        meters.give_back([charge])
        assert not passes(meters, charge)


# --- budgets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "last", "first"),
    [
        ("UTC", "2026-01-05 23:59:59", "2026-01-06 00:00"),
        ("Europe/Berlin", "2026-01-05 22:59:59", "2026-01-05 23:00"),
        ("Europe/Berlin", "2026-03-29 21:59:59", "2026-03-29 22:00"),  # a day of 23 hours
        ("Europe/Berlin", "2026-10-25 22:59:59", "2026-10-25 23:00"),  # a day of 25 hours
        ("America/Havana", "2026-11-01 04:59:59", "2026-11-02 05:00"),  # its midnight comes twice
    ],
)
def test_a_budget_comes_back_at_midnight_in_its_zone(zone, last, first):
    meters, charge = Meters(), Charge("k", 1, DAY, zone)
    assert passes(meters, charge, 0, at(last))
    assert passes(meters, charge, 0, at(first))
    assert not passes(meters, charge, 0, at(first) + 60)


def test_a_budget_lasts_all_day_and_does_not_come_back_with_a_repeated_hour():
    meters, charge = Meters(), Charge("k", 2, DAY, "America/Havana")
    moments = [at(f"2026-11-01 {hour:02}:30") for hour in range(4, 24)]
    assert [passes(meters, charge, 0, moment) for moment in moments] == [True, True] + [False] * 18
    assert meters.shortage(charge, 0, moments[-1]) == "is used up until midnight in America/Havana"


def test_a_clock_that_is_set_back_gives_nothing_back():
    meters, charge = Meters(), Charge("k", 1, DAY)
    assert passes(meters, charge, 0, at("2026-01-05 12:00"))
    assert not passes(meters, charge, 0, at("2026-01-04 12:00"))
    assert not passes(meters, charge, 0, at("2026-01-05 13:00"))


def test_a_day_that_cannot_be_told_lets_nothing_through():
    assert Meters().shortage(Charge("k", 5, DAY, "Europe/Nowhere"), 0, 0) == (
        "cannot be counted, since the time zone Europe/Nowhere is not known"
    )
    assert Meters().shortage(Charge("k", 5, DAY), 0, 1e15) != ""


def test_budgets_survive_a_restart_and_rates_begin_anew():
    before, noon = Meters(), at("2026-01-05 12:00")
    budget, rate, flight = Charge("d", 2, DAY), Charge("r", 1, 60.0), Charge("f", 1, 0.0)
    before.take([budget, budget, rate, flight], 0, noon)
    after = Meters()
    after.load(before.dump())
    assert after.shortage(budget, 0, noon) == "is used up until midnight in UTC"
    assert after.shortage(rate, 0, noon) == after.shortage(flight, 0, noon) == ""
    assert after.shortage(budget, 0, at("2026-01-06 00:00")) == ""
    assert after.dump() == before.dump()


def test_what_is_loaded_never_gives_back_what_was_spent_since():
    meters, noon = Meters(), at("2026-01-05 12:00")
    meters.take([Charge("d", 2, DAY)] * 2, 0, noon)
    meters.load({"d": ["UTC", "2026-01-05", 1]})
    assert meters.shortage(Charge("d", 2, DAY), 0, noon) != ""


@pytest.mark.parametrize(
    "saved",
    [
        [],
        None,
        {"d": 1},
        {"d": ["UTC", "2026-01-05"]},
        {"d": ["UTC", "2026-01-05", -1]},
        {"d": ["UTC", "2026-01-05", True]},
        {"d": ["UTC", "2026-02-30", 1]},
        {"d": ["UTC", 7, 1]},
        {"ok": ["UTC", "2026-01-05", 1], "d": ["UTC", "yesterday", 1]},
    ],
)
def test_what_is_no_dump_is_refused_entirely(saved):
    meters = Meters()
    with pytest.raises(ConfigError, match="expected"):
        meters.load(saved)
    assert meters.dump() == {}


@pytest.mark.parametrize("seconds", [0.0, 60.0, DAY])
def test_a_limit_of_none_lets_nothing_through(seconds):
    assert not passes(Meters(), Charge("k", 0, seconds))


# --- bounds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.0, 60.0, DAY])
def test_names_without_end_stop_whoever_calls_them_and_nobody_else(seconds):
    meters = Meters()
    mine = [
        Charge(key_of("rule", "me", str(number)), 1, seconds) for number in range(limits.METERS_OF_ONE + 1)
    ]
    assert all(passes(meters, charge) for charge in mine[:-1])
    assert meters.shortage(mine[-1], 0, 0) == "cannot be counted, since too many names are counted apart"
    meters.take([mine[-1]], 0, 0)
    assert not passes(meters, mine[-1])
    assert not passes(meters, mine[0])
    assert passes(meters, Charge(key_of("rule", "another", "0"), 1, seconds))


def test_what_has_run_out_makes_room():
    meters, noon = Meters(), at("2026-01-05 12:00")

    def fill(seconds, now, unix):
        for number in range(limits.METERS_OF_ONE):
            meters.take([Charge(key_of("r", str(seconds), str(number)), 1, seconds)], now, unix)
        return meters.shortage(Charge(key_of("r", str(seconds), "new"), 1, seconds), now, unix)

    assert "too many" in fill(60.0, 0, noon)
    assert "too many" in fill(DAY, 10 * SECOND, noon)
    assert fill(60.0, 61 * SECOND, noon) != ""
    assert meters.shortage(Charge(key_of("r", "60.0", "new"), 1, 60.0), 125 * SECOND, noon) == ""
    assert meters.shortage(Charge(key_of("r", str(DAY), "new"), 1, DAY), 130 * SECOND, noon) != ""
    assert meters.shortage(Charge(key_of("r", str(DAY), "new"), 1, DAY), 135 * SECOND, noon + DAY) == ""


def test_answers_make_room():
    meters = Meters()
    charges = [Charge(key_of("r", "f", str(number)), 1, 0.0) for number in range(limits.METERS_OF_ONE)]
    meters.take(charges, 0, 0)
    assert not passes(meters, Charge(key_of("r", "f", "new"), 1, 0.0))
    meters.give_back(charges)
    assert passes(meters, Charge(key_of("r", "f", "new"), 1, 0.0))
    assert meters._owners == {key_of("r", "f"): 1}
