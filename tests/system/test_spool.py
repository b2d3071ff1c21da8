"""The log as a spool: nothing is passed over, whatever happens to files and places."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.system import journalfiles
from mcpguard.system.journal import Journal
from mcpguard.system.spool import BEGINNING, Place, Read, Spool
from tests.system.receivers import write

NOW = "2026-11-22T18:00:00.000000Z"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "state" / "audit"


def everything(spool: Spool, place: Place) -> tuple[list[Any], Place]:
    events: list[Any] = []
    while (batch := spool.read([place], NOW)).events:
        events += batch.events
        place = batch.end
    return events, place


def numbers(events: list[Any]) -> list[int]:
    return [event.body["n"] for event in events if event.body.get("event") == "test"]


def test_from_the_beginning_over_segments_and_on(log: Path) -> None:
    journal = Journal.open(log, segment_bytes=2000)
    for number in range(40):
        write(journal, number)
    assert len(journalfiles.segments(log)) > 3
    events, place = everything(Spool(log, "s"), BEGINNING)
    assert numbers(events) == list(range(40))
    assert place.seq == events[-1].record.seq
    assert Spool(log, "s").read([place], NOW).events == []
    write(journal, 40)
    assert numbers(Spool(log, "s").read([place], NOW).events) == [40]
    journal.close()


def test_from_now_on(log: Path) -> None:
    spool = Spool(log, "s")
    assert spool.end() == BEGINNING
    journal = Journal.open(log)
    write(journal, 1)
    place = spool.end()
    write(journal, 2)
    assert numbers(everything(spool, place)[0]) == [2]
    journal.close()


def test_a_batch_is_bounded(log: Path) -> None:
    journal = Journal.open(log)
    write(journal, *range(limits.BATCH_RECORDS + 10))
    batch = Spool(log, "s").read([], NOW)
    assert len(batch.events) == limits.BATCH_RECORDS
    write(journal, *range(3000), pad=500)
    batch = Spool(log, "s").read([batch.end], NOW)
    assert batch.size < limits.BATCH_BYTES + limits.RECORD_BYTES
    journal.close()


def test_a_line_that_is_being_written_waits(log: Path) -> None:
    journal = Journal.open(log)
    write(journal, 1)
    journal.close()
    (path,) = journalfiles.segments(log)
    whole = path.read_bytes()
    _, place = everything(Spool(log, "s"), BEGINNING)
    path.write_bytes(whole + b'{"v":1,"seq":9')
    assert Spool(log, "s").read([place], NOW).events == []
    path.write_bytes(whole + b'{"v":1,"seq":9}\n')
    assert [event.record.type for event in Spool(log, "s").read([place], NOW).events] == ["unreadable"]


def test_removed_segments_leave_a_gap_with_its_numbers(log: Path) -> None:
    journal = Journal.open(log, segment_bytes=2000)
    write(journal, 0)
    spool = Spool(log, "siem")
    place = spool.read([], NOW).end
    for number in range(1, 40):
        write(journal, number)
    paths = journalfiles.segments(log)
    for path in paths[:3]:
        path.unlink()
    batch = spool.read([place], NOW)
    gap, first = batch.events[0], batch.events[1]
    assert (gap.body["event"], gap.body["sink"], gap.record.time) == ("unsent", "siem", NOW)
    assert (gap.body["first"], gap.body["last"]) == (place.seq + 1, first.record.seq - 1)
    assert gap.body["lost"] == first.record.seq - 1 - place.seq > 0
    assert spool.read([place], NOW).events[0].id == gap.id
    assert [event.body.get("event") for event in everything(spool, batch.end)[0]].count("unsent") == 0
    journal.close()


def test_removed_segments_that_were_sent_leave_none(log: Path) -> None:
    journal = Journal.open(log, segment_bytes=2000)
    spool, place = Spool(log, "s"), BEGINNING
    for number in range(20):
        write(journal, number)
    events, place = everything(spool, place)
    write(journal, 20)
    for path in journalfiles.segments(log):
        if journalfiles.segment_number(path.name) < place.segment:
            path.unlink()
    events, _ = everything(spool, place)
    assert numbers(events) == [20]
    assert all(event.body.get("event") != "unsent" for event in events)
    journal.close()


def test_another_log_in_its_place_is_told_and_read_from_its_beginning(log: Path, tmp_path: Path) -> None:
    journal = Journal.open(log, segment_bytes=1000)
    write(journal, *range(5))
    for number in range(20):
        write(journal, number)
    _, place = everything(Spool(log, "s"), BEGINNING)
    journal.close()
    log.rename(tmp_path / "evidence")
    fresh = Journal.open(log)
    write(fresh, 77)
    events, _ = everything(Spool(log, "s"), place)
    assert events[0].body["event"] == "unsent"
    assert numbers(events) == [77]
    fresh.close()


def cut(path: Path, records: int) -> None:
    """The log loses its last records, as a power loss leaves it."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-records]))


def test_a_log_that_lost_what_was_sent_is_taken_up_where_it_still_holds(log: Path, tmp_path: Path) -> None:
    """As a loss of power or a back-up that comes back leaves it: whole, and shorter than what was sent."""
    spool = Spool(log, "s")
    trail: list[Place] = []
    journal = Journal.open(log)
    for number in range(4):
        write(journal, number)
        trail.append(spool.read(trail, NOW).end)
    journal.close()
    shutil.copytree(log, tmp_path / "kept")
    journal = Journal.open(log)
    for number in range(4, 6):
        write(journal, number)
        trail.append(spool.read(trail, NOW).end)
    journal.close()
    shutil.rmtree(log)
    shutil.copytree(tmp_path / "kept", log)
    again = Journal.open(log)
    write(again, 100, 101)
    batch = spool.read(trail, NOW)
    assert numbers(batch.events) == [100, 101]
    assert [event.body["event"] for event in batch.events] == ["opened", "test", "test"]
    again.close()


def test_if_no_place_holds_the_segment_comes_again(log: Path) -> None:
    spool = Spool(log, "s")
    journal = Journal.open(log)
    write(journal, 1, 2)
    place = spool.read([], NOW).end
    journal.close()
    cut(journalfiles.segments(log)[0], 1)
    assert numbers(spool.read([place], NOW).events) == [1]


def test_a_line_without_an_end_stops_nobody(log: Path) -> None:
    journal = Journal.open(log, segment_bytes=500)
    for number in range(4):
        write(journal, number)
    journal.close()
    first, *_ = journalfiles.segments(log)
    first.write_bytes(first.read_bytes() + b"x" * (2 * limits.RECORD_BYTES))
    events, _ = everything(Spool(log, "s"), BEGINNING)
    assert numbers(events) == list(range(4))
    assert [event.record.type for event in events].count("unreadable") == 2


@settings(max_examples=30)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.data())
def test_reading_in_any_pieces_gives_every_record_once(
    tmp_path_factory: Any, bursts: list[int], data: Any
) -> None:
    log = tmp_path_factory.mktemp("log") / "audit"
    journal = Journal.open(log, segment_bytes=3000)
    spool = Spool(log, "s")
    seen: list[int] = []
    trail: list[Place] = []
    written = 0
    for burst in bursts:
        write(journal, *range(written, written + burst))
        written += burst
        for _ in range(data.draw(st.integers(0, 2))):
            batch: Read = spool.read(trail, NOW)
            seen += numbers(batch.events)
            trail = [*trail, batch.end][-limits.TRAIL :]
    seen += numbers(everything(spool, trail[-1] if trail else BEGINNING)[0])
    assert seen == list(range(written))
    journal.close()
