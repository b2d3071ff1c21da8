import json
import os
import shutil
import stat

import pytest

from mcpguard.audit.chain import Chain, State
from mcpguard.errors import JournalError
from mcpguard.system import journalfiles, journalseal
from mcpguard.system.journal import Journal
from mcpguard.system.journalcheck import check
from mcpguard.system.journalseal import newest_head, newest_key
from tests.system.test_journal import body, events
from tests.system.test_journalhome import crashed, files


@pytest.fixture
def home(tmp_path):
    return tmp_path / "state" / "audit"


def head_of(home) -> journalseal.Head:
    return newest_head((home / "checkpoints" / "head").read_bytes())


def key_of(home):
    return newest_key((home / "seal.key").read_bytes())


def test_everything_beside_the_log_is_its_owners_alone(home):
    Journal.open(home).close()
    for path in home.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_head_and_key_move_with_the_sync_and_not_with_the_append(home):
    journal = Journal.open(home)
    before, key = head_of(home), key_of(home)
    journal.append([body(1), body(2)])
    assert (head_of(home), key_of(home)) == (before, key)
    journal.sync()
    assert head_of(home).seq == before.seq + 2
    assert head_of(home).offset == (home / "audit-000001.jsonl").stat().st_size
    assert key_of(home).seq == before.seq + 3
    assert key_of(home).key == key.at(before.seq + 3)
    assert key.key.hex().encode() not in (home / "seal.key").read_bytes()
    journal.close()


def test_a_key_that_is_behind_is_brought_forward(home, tmp_path):
    journal = Journal.open(home)
    journal.append([body(n) for n in range(5)])
    left = crashed(home, tmp_path / "left")  # killed before the sync: five records ahead of head and key
    journal.sync()
    shutil.copy2(home / "seal.key", tmp_path / "newer.key")
    journal.close()
    assert key_of(left).seq == 2
    Journal.open(left).close()
    assert check(left).report.state is State.OK
    between = crashed(home, tmp_path / "between")
    assert check(between).report.state is State.OK
    Journal.open(between).close()


def test_killed_between_key_and_head_goes_on(home, tmp_path):
    journal = Journal.open(home)
    journal.append([body(n) for n in range(5)])
    left = crashed(home, tmp_path / "left")
    journal.sync()
    shutil.copy2(home / "seal.key", left / "seal.key")  # the key was written, the head was not
    journal.close()
    assert head_of(left).seq + 5 == key_of(left).seq - 1
    Journal.open(left).close()
    assert check(left).report.state is State.OK


@pytest.mark.parametrize("cut", [1, 64, 100, 4095, 4096, 5000, 8191])
@pytest.mark.parametrize("name", ["seal.key", "checkpoints/head"])
def test_a_write_that_was_cut_leaves_a_copy_to_go_on_from(home, name, cut):
    journal = Journal.open(home)
    journal.append([body(1)])
    journal.close()
    data = (home / name).read_bytes()
    (home / name).write_bytes(
        bytes(reversed(data[:cut])) + data[cut:] if cut < 4096 else data[:cut] + b"\0" * (8192 - cut)
    )
    Journal.open(home).close()
    assert check(home).report.state is State.OK


def test_a_log_that_ends_before_its_head_is_refused_and_left_alone(home):
    journal = Journal.open(home)
    for n in range(5):
        journal.append([body(n)])
    journal.close()
    segment = home / "audit-000001.jsonl"
    lines = segment.read_bytes().splitlines(keepends=True)
    for end in (b"".join(lines[:-1]), b"".join(lines)[:-7], b""):
        segment.write_bytes(end)
        before = files(home)
        with pytest.raises(
            JournalError,
            match=r"was cut: record 6 was on stable storage, and audit-000001.jsonl ends after .* no crash does that",
        ):
            Journal.open(home)
        assert files(home) == before


def test_a_log_whose_newest_segment_is_gone_is_refused(home):
    journal = Journal.open(home, segment_bytes=900)
    for n in range(12):
        journal.append([body(n)])
    journal.close()
    newest = journalfiles.segments(home)[-1]
    newest.unlink()
    with pytest.raises(JournalError, match=r"was cut: .*its segment is not there"):
        Journal.open(home)
    for path in journalfiles.segments(home):
        path.unlink()
    with pytest.raises(JournalError, match="was cut"):
        Journal.open(home)
    assert not list(home.glob("audit-*"))


def test_a_head_set_back_does_not_hide_a_cut_from_the_key(home, tmp_path):
    journal = Journal.open(home)
    old = crashed(home, tmp_path / "old")
    journal.append([body(1), body(2)])
    journal.close()
    shutil.copy2(old / "audit-000001.jsonl", home)
    shutil.copy2(old / "checkpoints" / "head", home / "checkpoints")
    with pytest.raises(JournalError, match="the sealing key is that of record 4"):
        Journal.open(home)


def test_a_record_changed_behind_the_head_fails_its_seal(home, tmp_path):
    journal = Journal.open(home)
    journal.append([body(1)])
    left = crashed(home, tmp_path / "left")
    journal.close()
    segment = left / "audit-000001.jsonl"
    segment.write_bytes(segment.read_bytes().replace(b'"n":1', b'"n":9'))
    with pytest.raises(JournalError, match="record 2: wrong seal"):
        Journal.open(left)


@pytest.mark.parametrize(
    "name",
    ["seal.key", "checkpoint.key", "checkpoints/head", "checkpoints/log.vkey", "checkpoints/newest-0.note"],
)
def test_what_is_missing_beside_a_sealed_log_stops_the_opening(home, name):
    journal = Journal.open(home)
    journal.append([body(1)])
    journal.close()
    (home / name).unlink()
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(JournalError, match="missing"):
        Journal.open(home)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_damaged_keys_are_named(home):
    Journal.open(home).close()
    (home / "seal.key").write_bytes(b"x" * 8192)
    with pytest.raises(JournalError, match="damaged"):
        Journal.open(home)


def test_a_log_of_version_1_is_verified_whole_and_goes_on_sealed(home):
    stamp = b'"t":"2026-11-22T18:00:00.123456Z","boot":"%b",' % (b"0f" * 16)
    home.mkdir(parents=True, mode=0o700)
    old = Chain().seal([body(n) for n in range(20)], stamp)
    (home / "audit-000001.jsonl").write_bytes(old)
    (home / "audit-000001.jsonl").chmod(0o600)
    assert check(home).report.state is State.OK
    changed = old.replace(b'"n":3', b'"n":4')
    (home / "audit-000001.jsonl").write_bytes(changed)
    with pytest.raises(JournalError, match="record 5: wrong prev"):
        Journal.open(home)
    (home / "audit-000001.jsonl").write_bytes(old)
    journal = Journal.open(home)
    journal.append([body(20)])
    journal.close()
    found = check(home).report
    assert (found.state, found.records, found.sealed) == (State.OK, 22, 2)
    assert events(home)[-2:] == ["opened", "test"]
    assert json.loads((home / "audit-000001.jsonl").read_bytes().splitlines()[-1])["v"] == 2
    Journal.open(home).close()
