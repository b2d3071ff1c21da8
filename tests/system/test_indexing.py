"""Bringing the index up to date: growth, rotation, deletion, change, damage; the index always is what a new one would be."""

import os
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.audit import record
from mcpguard.audit.filters import Filter
from mcpguard.errors import JournalError
from mcpguard.model import Side, Verdict
from mcpguard.system import indexing
from mcpguard.system.indexing import digest_of, milliseconds
from mcpguard.system.logindex import Index
from mcpguard.system.logplaces import Lines, place_of
from tests.cli.reported import END, Story

EVERYTHING = Filter()


@pytest.fixture
def log(tmp_path):
    return tmp_path / "audit"


def told(log: Path, many: int, **options: int) -> Story:
    """A log of so many calls with their outcomes, still open."""
    story = Story(log, END, **options)
    more(story, many)
    return story


def more(story: Story, many: int) -> None:
    for number in range(many):
        story.call(
            story.start(f"host-{number % 3}", f"server-{number % 2}", f"{number % 5}-c"), f"tool-{number % 7}"
        )


def refreshed(log: Path, home: Path | None) -> int:
    """Bring the index up to date; how many bytes were read for it."""
    read = []
    with Index(log, home) as index:
        index.read(index.work(), read.append)
        assert index.work() == []
    return sum(read)


def rows(log: Path, home: Path | None) -> dict[str, list[tuple[object, ...]]]:
    """All that the index knows of a log, with names instead of numbers."""
    with Index(log, home) as index:
        index.read(index.work())
        names = dict(index._db.execute("SELECT id, name FROM names").fetchall())
        found = index._db.execute("SELECT * FROM records ORDER BY place").fetchall()
        named = [
            tuple(
                names.get(value, "") if at in (4, 5, 6, 8, 9, 10) else value for at, value in enumerate(row)
            )
            for row in found
        ]
        return {
            "records": named,
            "names": sorted(index._db.execute("SELECT kind, name FROM names").fetchall()),
            "flaws": [tuple(index.flaws()[:2])],
        }


def same(log: Path, home: Path) -> None:
    assert rows(log, home) == rows(log, None)


def test_a_call_and_its_outcome_point_at_each_other(log, tmp_path):
    story = told(log, 1)
    start = story.start("h", "s", "c")
    first, second = (record.call_tail(Side.HOST, "tools/call", tool, Verdict.ALLOW, "r") for tool in "ab")
    story.journal.append([record.call(start, 8, first, None, 0), record.call(start, 9, second, None, 0)])
    refreshed(log, tmp_path / "index")
    story.journal.append([
        record.outcome(start, 9, record.outcome_tail(Side.HOST, "tools/call", "b"), record.OK, 1, 1),
        record.outcome(start, 77, record.outcome_tail(Side.HOST, "tools/call", "c"), record.OK, 1, 1),
        record.outcome(start, 8, record.outcome_tail(Side.HOST, "tools/call", "a"), record.OK, 1, 1),
        record.outcome(start, 8, record.outcome_tail(Side.HOST, "tools/call", "a"), record.OK, 1, 1),
    ])  # fmt: skip
    story.close()
    same(log, tmp_path / "index")
    with Index(log, tmp_path / "index") as index:
        found = index.find(Filter(conns=("c",)))
    places, others = list(found.places), list(found.others)
    assert others == [places[4], places[2], places[1], 0, places[0], 0]


def test_only_what_is_new_is_read(log, tmp_path):
    home = tmp_path / "index"
    story = told(log, 40, segment_bytes=4000)
    size = sum(path.stat().st_size for path in log.glob("*.jsonl"))
    assert refreshed(log, home) == size
    assert refreshed(log, home) == 0
    more(story, 10)
    grown = sum(path.stat().st_size for path in log.glob("*.jsonl"))
    assert refreshed(log, home) == grown - size
    story.close()
    same(log, home)


def test_segments_that_are_deleted_vanish_with_their_names(log, tmp_path):
    home = tmp_path / "index"
    story = Story(log, END, segment_bytes=2000)
    story.call(story.start("old-host", "old-server", "old-c"), "old-tool")
    more(story, 30)
    story.close()
    refreshed(log, home)
    (log / "audit-000001.jsonl").unlink()
    same(log, home)
    with Index(log, home) as index:
        assert "old-host" not in index.names("host")
        assert "host-1" in index.names("host")
    data = b"".join(path.read_bytes() for path in home.iterdir())
    assert b"old-tool" not in data


def test_a_segment_that_changed_in_place_is_read_again(log, tmp_path):
    home = tmp_path / "index"
    told(log, 30, segment_bytes=2000).close()
    refreshed(log, home)
    path = log / "audit-000002.jsonl"
    data = path.read_bytes()
    assert b"host-" in data
    path.write_bytes(data.replace(b"host-", b"hosT-", 1))
    assert refreshed(log, home) == path.stat().st_size
    same(log, home)


def test_a_segment_that_was_only_touched_is_not_read_again(log, tmp_path):
    home = tmp_path / "index"
    told(log, 10).close()
    refreshed(log, home)
    os.utime(log / "audit-000001.jsonl", ns=(1, 1))
    (log / "audit-000001.jsonl").chmod(0o400)
    assert refreshed(log, home) == 0
    same(log, home)


def test_a_segment_that_grew_from_other_bytes_is_read_from_its_start(log, tmp_path):
    home = tmp_path / "index"
    told(log, 10).close()
    refreshed(log, home)
    path = log / "audit-000001.jsonl"
    data = path.read_bytes().replace(b"server-0", b"server-9", 1)
    with path.open("r+b") as file:
        file.write(data + data.splitlines(keepends=True)[-1])
    same(log, home)


def test_a_segment_that_became_shorter_is_read_again(log, tmp_path):
    home = tmp_path / "index"
    told(log, 10).close()
    refreshed(log, home)
    path = log / "audit-000001.jsonl"
    os.truncate(path, path.stat().st_size - 700)
    same(log, home)


def test_a_line_that_is_being_written_is_read_when_it_is_complete(log, tmp_path):
    home = tmp_path / "index"
    told(log, 3).close()
    path = log / "audit-000001.jsonl"
    data = path.read_bytes()
    for cut in range(1, 500, 60):
        path.write_bytes(data[:-cut])
        refreshed(log, home)
        with path.open("ab") as file:
            file.write(data[-cut:])
        same(log, home)


def test_lines_that_are_no_records_are_counted(log, tmp_path):
    home = tmp_path / "index"
    told(log, 3).close()
    path = log / "audit-000001.jsonl"
    before = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"\xff\xfe\n{}\n" + b"x" * (limits.RECORD_BYTES + 7) + b"\n")
    same(log, home)
    with Index(log, home) as index:
        assert index.flaws() == (4, place_of(1, before), "")


def test_an_interrupted_build_goes_on_where_it_stopped(log, tmp_path, monkeypatch):
    home = tmp_path / "index"
    told(log, 60).close()
    monkeypatch.setattr(indexing, "_BATCH", 10)

    def stop(_: int) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt

    left = 45
    with Index(log, home) as index, pytest.raises(KeyboardInterrupt):
        index.read(index.work(), stop)
    size = (log / "audit-000001.jsonl").stat().st_size
    assert 0 < refreshed(log, home) < size * 0.8
    same(log, home)


def test_no_log_and_no_segment(tmp_path):
    with Index(tmp_path / "none", None) as index, pytest.raises(JournalError, match="no audit log"):
        index.work()


def test_a_full_disk_is_an_error_and_no_half_index(log, tmp_path):
    home = tmp_path / "index"
    told(log, 400).close()
    with Index(log, home) as index:
        index._db.execute("PRAGMA max_page_count = 12")
        with pytest.raises(sqlite3.Error, match="full"):
            index.read(index.work())
    same(log, home)


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["more", "ask", "cut", "flip", "drop", "junk"]), min_size=2, max_size=9))
def test_whatever_happens_to_a_log_the_index_is_that_of_the_log(steps):
    with tempfile.TemporaryDirectory() as root:
        log, home = Path(root) / "audit", Path(root) / "index"
        told(log, 12, segment_bytes=3000).close()
        for step in steps:
            paths = sorted(log.glob("*.jsonl"))
            target = paths[len(steps) % len(paths)]
            if step == "ask":
                refreshed(log, home)
            elif step == "more":
                with paths[-1].open("ab") as file:
                    file.write(paths[0].read_bytes())
            elif step == "cut":
                os.truncate(target, target.stat().st_size // 2)
            elif step == "flip":
                target.write_bytes(target.read_bytes().replace(b"tool-1", b"tool-9"))
            elif step == "junk":
                with target.open("ab") as file:
                    file.write(b"junk\n")
            elif len(paths) > 1:
                paths[0].unlink()
        with Index(log, home) as index:
            index.read(index.work())
            kept = dict(zip(*index.find(EVERYTHING)[:2], strict=True))
        with Index(log, None) as index:
            index.read(index.work())
            fresh = dict(zip(*index.find(EVERYTHING)[:2], strict=True))
        assert kept == fresh
        lines = Lines(log)
        for place, digest in kept.items():
            assert digest_of(lines.line(place) or b"") == digest
        lines.close()


def test_times_have_the_order_of_their_numbers():
    times = [
        "2026-01-01T00:00:00.000000Z",
        "2026-01-01T00:00:00.001000Z",
        "2026-01-02T00:00:00.000000Z",
        "2027-01-01T00:00:00.000000Z",
    ]
    assert [milliseconds(one) for one in times] == sorted({milliseconds(one) for one in times})
    assert milliseconds("9999-12-31T23:59:59.999999Z") < 1 << 63
