import hashlib
import os
import shutil
from pathlib import Path

import pytest

from mcpguard.audit.chain import State
from mcpguard.errors import JournalError
from mcpguard.system import journalfiles
from mcpguard.system.journal import Journal
from tests.system.test_journal import body, check, events, records


@pytest.fixture
def home(tmp_path):
    return tmp_path / "state" / "audit"


def crashed(home: Path, place: Path) -> Path:
    """The log as it is on disk while its writer lives: what would be left if it were killed now."""
    shutil.copytree(home, place, copy_function=shutil.copy2)
    place.chmod(0o700)
    return place


def files(home: Path) -> dict[str, bytes]:
    """All files of a log but the lock, with what is in them."""
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def test_a_second_writer_is_told_who_holds_the_log(home):
    journal = Journal.open(home)
    with pytest.raises(
        JournalError, match=rf"written by another mcpguard daemon \(pid {os.getpid()}\)"
    ) as caught:
        Journal.open(home)
    assert caught.value.hint == "stop it with mcpguard daemon stop"
    journal.close()
    Journal.open(home).close()


def test_a_failed_opening_leaks_no_descriptor_and_no_lock(home):
    Journal.open(home).close()
    add(home / "audit-000001.jsonl", b"hello\n")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(JournalError, match="does not end as it was written"):
            Journal.open(home)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_restart_after_a_rotation_that_wrote_nothing_goes_on_in_the_new_segment(home):
    journal = Journal.open(home)
    journal.append([body(1)])
    journal.close()
    (home / "audit-000002.jsonl").touch(mode=0o600)
    journal = Journal.open(home)
    journal.append([body(2)])
    journal.close()
    assert events(home) == ["opened", "test", "rotated", "opened", "test"]
    assert check(home).state is State.OK


@pytest.mark.parametrize("keep", [1, 60, -1])
def test_a_torn_last_line_is_moved_aside_and_committed_to(home, tmp_path, keep):
    journal = Journal.open(home)
    journal.append([body(1), body(2)])
    home = crashed(home, tmp_path / "left")
    journal.close()
    segment = home / "audit-000001.jsonl"
    lines = segment.read_bytes().splitlines(keepends=True)
    good = b"".join(lines[:-1])
    torn = lines[-1][:keep]
    segment.write_bytes(good + torn)
    assert check(home).state is State.TORN
    Journal.open(home).close()
    aside = home / f"torn-000001-{len(good)}"
    assert aside.read_bytes() == torn
    found = records(home)
    assert [entry.body["event"] for entry in found] == ["opened", "test", "recovered", "opened"]
    assert found[2].body["torn_sha256"] == hashlib.sha256(torn).hexdigest()
    assert (found[2].body["torn_bytes"], found[2].body["file"]) == (len(torn), aside.name)
    assert check(home).state is State.OK
    Journal.open(home).close()
    assert events(home).count("recovered") == 1


def test_a_torn_first_line_of_a_new_segment_is_recovered_too(home, tmp_path):
    journal = Journal.open(home, segment_bytes=900)
    while len(journalfiles.segments(home)) < 3:
        journal.append([body(1)])
    home = crashed(home, tmp_path / "left")
    journal.close()
    newest = journalfiles.segments(home)[-1]
    newest.write_bytes(newest.read_bytes()[:70])
    Journal.open(home).close()
    assert events(home)[-3:] == ["rotated", "recovered", "opened"]
    assert check(home).state is State.OK


def test_a_crash_between_moving_and_recording_is_made_good(home, tmp_path):
    journal = Journal.open(home)
    journal.append([body(1)])
    journal.close()
    before = crashed(home, tmp_path / "before")
    size = (home / "audit-000001.jsonl").stat().st_size
    aside = home / f"torn-000001-{size}"
    aside.write_bytes(b'{"v":1')
    aside.chmod(0o600)
    Journal.open(home).close()
    assert events(home) == ["opened", "test", "recovered", "opened"]
    for name in (f"torn-000001-{size}", "lock"):
        shutil.copy2(home / name, before)
    home = before
    with (home / "audit-000001.jsonl").open("ab") as file:  # the same place is torn a second time, otherwise
        file.write(b'{"v":2,"seq"')
    Journal.open(home).close()
    assert (home / f"torn-000001-{size}-2").read_bytes() == b'{"v":2,"seq"'
    assert events(home) == ["opened", "test", "recovered", "recovered", "opened"]


def add(path: Path, data: bytes) -> None:
    path.write_bytes(path.read_bytes() + data)


def change(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda home: change(home / "audit-000001.jsonl", b'"n":1', b'"n":9'), "record 3: wrong prev"),
        (lambda home: change(home / "audit-000001.jsonl", b'"seq":3', b'"seq":4'), "record 4: wrong seq"),
        (
            lambda home: add(home / "audit-000001.jsonl", b"hello"),
            "not the beginning of the next",
        ),
        (lambda home: add(home / "audit-000001.jsonl", b"hello\n"), "not JSON"),
        (lambda home: add(home / "audit-000001.jsonl", b"x" * 300_000), "longer than a record"),
        (lambda home: (home / "audit-000003.jsonl").touch(mode=0o600), "the segment is missing"),
        (lambda home: (home / "audit-000001.jsonl").chmod(0o644), "not a file of this user alone"),
        (lambda home: (home / "digest.key").write_bytes(b"short"), "digest key .* is damaged"),
    ],
)
def test_anything_else_that_is_wrong_stops_the_opening_and_is_left_alone(home, damage, says):
    journal = Journal.open(home)
    journal.append([body(1)])
    journal.append([body(2)])
    journal.close()
    damage(home)
    before = files(home)
    with pytest.raises(JournalError, match=says):
        Journal.open(home)
    assert files(home) == before


def test_links_are_not_followed(home, tmp_path):
    Journal.open(home).close()
    target = tmp_path / "elsewhere"
    (home / "audit-000001.jsonl").rename(target)
    (home / "audit-000001.jsonl").symlink_to(target)
    with pytest.raises(JournalError, match="symbolic link"):
        Journal.open(home)


def test_a_directory_of_somebody_else_is_refused(tmp_path):
    if os.geteuid():
        pytest.skip("needs uid 0 to give a directory away")
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(JournalError, match="belongs to another user"):
        Journal.open(tmp_path)


def test_a_crash_between_moving_and_cutting_keeps_one_copy(home):
    Journal.open(home).close()
    segment = home / "audit-000001.jsonl"
    size = segment.stat().st_size
    add(segment, b'{"v":2,"seq"')
    aside = home / f"torn-000001-{size}"
    aside.write_bytes(b'{"v":2,"seq"')
    aside.chmod(0o600)
    Journal.open(home).close()
    assert [path.name for path in home.glob("torn-*")] == [aside.name]
    assert events(home) == ["opened", "recovered", "opened"]
    assert check(home).state is State.OK
