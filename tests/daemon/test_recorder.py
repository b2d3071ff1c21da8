"""The recorder on a real disk that is full, and free again."""

import asyncio
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.audit import checkpoint, record
from mcpguard.daemon.recorder import Recorder
from mcpguard.errors import JournalError
from mcpguard.system import journalnotes
from mcpguard.system.journal import Journal
from tests.daemon.loops import both_loops, eventually, run


def lines(directory: Path) -> list[str]:
    return [line for path in sorted(directory.glob("*.jsonl")) for line in path.read_text().splitlines()]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "none", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_record_is_in_the_file_when_append_returns(tmp_path: Path) -> None:
    async def story() -> None:
        recorder = Recorder(Journal.open(tmp_path / "audit"))
        assert len(recorder.key) == 32
        recorder.append([record.log("one")])
        assert '"event":"one"' in lines(tmp_path / "audit")[-1]
        recorder.append([record.log("two")], durable=True)
        assert '"event":"two"' in lines(tmp_path / "audit")[-1]
        await recorder.close()

    run(story)


def test_what_was_kept_is_written_in_a_moment_to_spare(tmp_path: Path) -> None:
    async def story() -> None:
        recorder = Recorder(Journal.open(tmp_path / "audit"))
        recorder.later([record.log("one"), record.log("two")])
        before = lines(tmp_path / "audit")
        recorder.rest()
        assert ['"event":"one"' in line for line in lines(tmp_path / "audit")[len(before) :]] == [True, False]
        recorder.rest()
        recorder.append([record.log("three")])
        assert len(lines(tmp_path / "audit")) == len(before) + 3
        await recorder.close()

    run(story)


def test_who_watches_is_shown_everything_soon_or_when_asking(tmp_path: Path) -> None:
    async def story() -> None:
        recorder = Recorder(Journal.open(tmp_path / "audit"))
        told: list[int] = []
        recorder.noticed = lambda: told.append(1)
        recorder.append([record.log("one")])
        recorder.later([record.log("two")])
        assert recorder.count == 2
        recorder.append([record.log("three")])
        assert [each["event"] for each in (await recorder.since(1, 5.0))["records"]] == ["two", "three"]
        assert [each.seq for each in recorder.take().records] == [2, 3, 4]
        recorder.later([record.log("four")])
        assert await eventually(lambda: bool(told))
        assert [each.seq for each in recorder.take().records] == [5]
        await recorder.close()

    run(story)


def test_findings_and_failures_are_counted_for_metrics(tmp_path: Path) -> None:
    async def story() -> None:
        recorder = Recorder(Journal.open(tmp_path / "audit"))
        finding = record.finding(record.prefix("1", {}, "s"), "tool", "n", "f", "p", "s")
        recorder.append([record.log("one"), finding])
        recorder.later([finding, record.log("type", finding='"type":"finding"')])
        assert recorder.findings == 2
        with pytest.raises(JournalError):
            recorder.append([b"x" * 100_000])
        assert recorder.failures == 1
        await recorder.close()

    run(story)


@both_loops
def test_later_is_written_a_moment_later_and_synced(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        journal = Journal.open(tmp_path / "audit")
        recorder = Recorder(journal)
        before = len(lines(tmp_path / "audit"))
        recorder.later([record.log("soon")])
        assert len(lines(tmp_path / "audit")) == before
        assert await eventually(lambda: len(lines(tmp_path / "audit")) > before)
        assert await eventually(lambda: not journal.dirty)
        await recorder.close()

    run(story, loop)


def test_close_writes_what_was_kept(tmp_path: Path) -> None:
    async def story() -> None:
        recorder = Recorder(Journal.open(tmp_path / "audit"))
        recorder.append([record.log("first")])
        await asyncio.sleep(0.06)  # a sync may be under way
        recorder.later([record.log("last")])
        await recorder.close()
        assert '"event":"last"' in lines(tmp_path / "audit")[-1]

    run(story)


def fill(recorder: Recorder) -> None:
    for n in range(200):
        recorder.append([record.log("filling", n=n, padding="x" * 500)])


@pytest.mark.root
@both_loops
def test_full_disk_is_told_once_and_heals_by_itself(
    small: Path, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        recorder = Recorder(Journal.open(small / "audit", reserve_bytes=0))
        recorder.append([record.log("before")])
        assert recorder.failure == ""
        ballast = small / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        with pytest.raises(JournalError, match="the disk is full"):
            fill(recorder)
        recorder.later([record.log("kept")])
        await asyncio.sleep(0.3)
        assert "the disk is full" in recorder.failure
        ballast.unlink()
        assert await eventually(lambda: recorder.failure == "")
        assert any('"event":"kept"' in line for line in lines(small / "audit"))
        recorder.append([record.log("after")])
        await recorder.close()

    with caplog.at_level(logging.ERROR, logger="mcpguard"):
        run(story, loop)
    assert caplog.text.count("the disk is full") == 1


@pytest.mark.root
@both_loops
def test_outcomes_are_recorded_on_a_full_disk_and_calls_are_not(small: Path, loop: str) -> None:
    async def story() -> None:
        recorder = Recorder(Journal.open(small / "audit", reserve_bytes=32_000))
        recorder.append([record.log("before")])
        ballast = small / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        with pytest.raises(JournalError, match="the disk is full"):
            fill(recorder)
        recorder.later([record.log("outcome")])
        assert await eventually(lambda: any('"event":"outcome"' in line for line in lines(small / "audit")))
        assert "the disk is full" in recorder.failure
        ballast.unlink()
        assert await eventually(lambda: recorder.failure == "")
        recorder.append([record.log("after")])
        await recorder.close()

    run(story, loop)


@both_loops
def test_records_that_nothing_follows_get_their_checkpoint(
    tmp_path: Path, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CHECKPOINT_SECONDS", 0.2)

    async def story() -> None:
        journal = Journal.open(tmp_path / "audit")
        recorder = Recorder(journal)
        recorder.append([record.log("one")])
        assert journal.unsigned > 0
        assert await eventually(lambda: journal.unsigned == 0)
        await recorder.close()

    run(story, loop)


def test_whoever_asks_gets_a_checkpoint_of_everything_until_now(tmp_path: Path) -> None:
    async def story() -> tuple[int, int]:
        recorder = Recorder(Journal.open(tmp_path))
        recorder.append([record.log("gap", lost=1)])
        recorder.later([record.log("gap", lost=2)])
        last = await recorder.sign()
        found, _ = checkpoint.parse_note(journalnotes.newest(tmp_path))
        assert await recorder.sign() == last
        await recorder.close()
        return last, found.size

    last, size = asyncio.run(story())
    assert last == size == 3
