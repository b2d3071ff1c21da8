"""Counting by local days and hours."""

import time
from pathlib import Path

import pytest

from mcpguard.audit.filters import Filter
from mcpguard.cli.auditcounting import counted
from mcpguard.cli.auditfilter import Asked
from mcpguard.cli.auditreading import Reading
from tests.cli.reported import END, Story


@pytest.mark.parametrize(
    ("zone", "days", "hours"),
    [
        ("UTC", ["2026-11-22", "2026-11-23"], ["2026-11-22 23", "2026-11-23 00"]),
        ("America/New_York", ["2026-11-22"], ["2026-11-22 18", "2026-11-22 19"]),
        ("Asia/Kathmandu", ["2026-11-23"], ["2026-11-23 05", "2026-11-23 06"]),
    ],
)
def test_days_are_local(tmp_path: Path, monkeypatch, zone, days, hours):
    monkeypatch.setenv("TZ", zone)
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path))
    time.tzset()
    story = Story(tmp_path / "audit", END)
    start = story.start("h", "s", "c")
    for minutes in (-65 + 45, 20):  # 23:40, 00:20
        story.now = (END + minutes * 60) * 10**9
        story.call(start, "t")
    story.close()
    with Reading(Asked(None, Filter(types=("call",)), indexed=True)) as reading:
        found = counted(reading)
    assert sorted(found.tables["day"]) == days
    assert sorted(found.tables["bucket"]) == hours
    assert found.total.calls == 2
    monkeypatch.undo()
    time.tzset()
