"""Local time: zones by name, changes of the clocks in both directions, what is not a zone."""

from datetime import UTC, datetime

import pytest

from mcpguard.policy.zones import local, zone_of


def unix(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("moment", "zone", "wall"),
    [
        ("2026-03-29 00:59", "Europe/Berlin", "2026-03-29 01:59"),
        ("2026-03-29 01:00", "Europe/Berlin", "2026-03-29 03:00"),
        ("2026-10-25 00:30", "Europe/Berlin", "2026-10-25 02:30"),
        ("2026-10-25 01:30", "Europe/Berlin", "2026-10-25 02:30"),
        ("2026-03-08 07:00", "America/New_York", "2026-03-08 03:00"),
        ("2026-01-01 00:00", "Asia/Kathmandu", "2026-01-01 05:45"),
        ("2026-01-01 00:00", "UTC", "2026-01-01 00:00"),
    ],
)
def test_the_clock_on_the_wall(moment, zone, wall):
    assert local(unix(moment), zone).replace(tzinfo=None) == datetime.fromisoformat(wall)


def test_an_empty_zone_is_that_of_the_machine():
    assert local(unix("2026-07-01 12:00"), "") == datetime(2026, 7, 1, 12, tzinfo=UTC).astimezone()


@pytest.mark.parametrize(
    "name", ["Europe/Nowhere", "../etc/passwd", "/etc/localtime", "Europe", "\0", "a" * 5000]
)
def test_what_is_not_a_zone(name):
    assert zone_of(name) is None
    assert local(0.0, name) is None
