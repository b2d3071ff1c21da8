import fcntl
import os
import shutil

import pytest

from mcpguard.audit.chain import State
from mcpguard.errors import JournalError
from mcpguard.system import journalfiles, journalnotes
from mcpguard.system.journal import Journal
from mcpguard.system.journalcheck import Against, check
from mcpguard.system.retention import plan, prune
from tests.system.test_journal import NOON, body, records
from tests.system.test_journalcheck import judged, written
from tests.system.test_journalhome import crashed, files

DAY = 86_400 * 10**9
NOW = "2026-12-31T00:00:00.000000Z"


@pytest.fixture
def home(tmp_path):
    """A log of one record an hour from noon on, in segments of a few."""
    place = tmp_path / "audit"
    hours = iter(range(10_000))
    journal = Journal.open(place, segment_bytes=2000, clock=lambda: NOON + next(hours) * DAY // 24)
    for n in range(72):
        journal.append([body(n)])
    journal.close()
    return place


def test_what_is_older_goes_and_the_rest_still_verifies(home):
    before = len(records(home))
    chosen = plan(home, before="2026-11-19T20:00:00.000000Z")
    assert 2 < len(chosen.segments) < len(journalfiles.segments(home)) - 2
    assert chosen.newest < "2026-11-19T20:00:00.000000Z"
    last = prune(home, chosen, NOW)
    rest = records(home)
    assert (rest[0].seq, len(rest)) == (last + 1, before - last)
    assert judged(home) == (State.OK, 0)
    retention = next(promise for promise in check(home).promises if promise.name == "retention")
    assert retention.says.startswith(f"records 1..{last} were deleted by retention on {NOW}")
    journal = Journal.open(home)
    journal.append([body(99)])
    journal.close()
    assert records(home)[-2].body["pruned"] == last
    assert judged(home) == (State.OK, 0)


def test_pruning_again_goes_on_from_the_tombstone(home):
    first = prune(home, plan(home, before="2026-11-19T00:00:00.000000Z"), NOW)
    second = prune(home, plan(home, limit=8000), NOW)
    assert second > first > 1
    assert sum(path.stat().st_size for path in journalfiles.segments(home)) <= 8000
    assert judged(home) == (State.OK, 0)


def test_seals_are_checked_over_the_gap(tmp_path):
    home = tmp_path / "audit"
    key = written(home, 100, 3000)
    last = prune(home, plan(home, limit=9000), NOW)
    found = check(home, Against(first_key=key)).report
    assert (found.state, found.seals) == (State.OK, found.seq - last)
    assert judged(home, key) == (State.OK, 0)


def test_the_two_newest_segments_stay(home):
    chosen = plan(home, before="9999", limit=0)
    assert len(chosen.segments) == len(journalfiles.segments(home)) - 2
    prune(home, chosen, NOW)
    assert len(journalfiles.segments(home)) == 2
    assert plan(home, before="9999", limit=0).segments == []
    Journal.open(home).close()
    assert judged(home) == (State.OK, 0)


def test_a_missing_segment_without_a_tombstone_is_tampering(home):
    journalfiles.segments(home)[0].unlink()
    assert judged(home)[0] is State.TAMPERED


def test_a_gap_larger_than_the_tombstone_or_none_at_all_is_tampering(home, tmp_path):
    whole = crashed(home, tmp_path / "whole")
    prune(home, plan(home, before="2026-11-19T00:00:00.000000Z"), NOW)
    more = crashed(home, tmp_path / "more")
    journalfiles.segments(more)[0].unlink()
    assert judged(more)[0] is State.TAMPERED
    stone = home / "checkpoints" / "tombstone.note"
    for old, new in (
        (b"audit-00000", b"audit-00001"),
        (b"\nhash ", b"\nhash 0"),
        (b"time 2026", b"time 2025"),
    ):
        note = stone.read_bytes()
        stone.write_bytes(note.replace(old, new))
        assert judged(home)[0] is State.TAMPERED
        stone.write_bytes(note)
    shutil.copy2(stone, whole / "checkpoints")  # what a crash before the deletion leaves
    assert judged(whole) == (State.OK, 0)
    Journal.open(whole).close()
    left = len(journalfiles.segments(whole))
    prune(whole, plan(whole, before="2026-11-19T00:00:00.000000Z"), NOW)
    assert len(journalfiles.segments(whole)) < left
    assert judged(whole) == (State.OK, 0)
    stone.unlink()
    assert judged(home)[0] is State.TAMPERED


def test_nothing_is_deleted_of_a_log_that_does_not_verify(home):
    path = journalfiles.segments(home)[1]
    path.write_bytes(path.read_bytes().replace(b'"event":"test"', b'"event":"tost"', 1))
    before = files(home)
    with pytest.raises(JournalError, match="nothing is deleted: the log does not verify"):
        prune(home, plan(home, limit=0), NOW)
    assert {name: data for name, data in files(home).items() if name != "prune.lock"} == before


def test_an_anchor_in_the_gap_is_no_fault_and_proves_nothing(home):
    old = journalnotes.kept(home)[0]
    prune(home, plan(home, limit=8000), NOW)
    found = check(home, Against(anchors=[old]))
    assert found.report.state is State.OK
    assert found.unanchored == found.report.seq - found.anchored
    with pytest.raises(JournalError, match="lies in what was deleted"):
        check(home, Against(since=old))


def test_pruning_works_while_the_log_is_written_and_once_at_a_time(tmp_path):
    home = tmp_path / "audit"
    journal = Journal.open(home, segment_bytes=2000)
    for n in range(60):
        journal.append([body(n)])
    prune(home, plan(home, limit=6000), NOW)
    for n in range(60):
        journal.append([body(n)])
    lock = os.open(home / "prune.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(JournalError, match="another prune"):
        prune(home, plan(home, limit=6000), NOW)
    os.close(lock)
    prune(home, plan(home, limit=6000), NOW)
    journal.close()
    assert judged(home) == (State.OK, 0)


def test_torn_files_of_deleted_segments_go_with_them(home):
    for number in (1, 99):
        (home / f"torn-{number:06d}-17").write_bytes(b"x")
    prune(home, plan(home, limit=0), NOW)
    assert [path.name for path in home.glob("torn-*")] == ["torn-000099-17"]
