import contextlib
import hashlib
import itertools
import os
import queue
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.audit import record
from mcpguard.audit.chain import Report, State, Verifier
from mcpguard.audit.tree import Tree
from mcpguard.errors import JournalError
from mcpguard.system import journalfiles
from mcpguard.system.journal import Journal
from mcpguard.system.journalseal import newest_head

NOON = 1_795_000_000 * 10**9


def body(n: int, pad: int = 0) -> bytes:
    return record.log("test", n=n) + (b',"pad":"%b"' % (b"x" * pad) if pad else b"")


def check(directory: Path) -> Report:
    verifier = Verifier()
    for path in journalfiles.segments(directory):
        verifier.segment(journalfiles.lines(path), path.name)
    return verifier.finish()


def records(directory: Path) -> list[record.Record]:
    return [
        record.parse_line(line)
        for path in journalfiles.segments(directory)
        for line in path.read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n")
    ]


def root(directory: Path, size: int) -> str:
    """Of the tree over the first lines, from all of them."""
    tree = Tree()
    for line in itertools.islice(
        itertools.chain(*map(journalfiles.lines, journalfiles.segments(directory))), size
    ):
        tree.add(line)
    return tree.root().hex()


def numbers(directory: Path) -> list[int]:
    return [found.body["n"] for found in records(directory) if found.body.get("event") == "test"]


def events(directory: Path) -> list[str]:
    return [found.body["event"] for found in records(directory)]


@pytest.fixture
def home(tmp_path):
    return tmp_path / "state" / "audit"


def test_a_new_log_is_private_and_records_its_opening(home):
    journal = Journal.open(home, clock=lambda: NOON + 123_456_789)
    journal.append([body(1), body(2)])
    journal.close()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for name in ("audit-000001.jsonl", "digest.key", "lock"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    first = records(home)[0]
    assert (first.seq, first.time, first.body["event"]) == (1, "2026-11-18T11:06:40.123456Z", "opened")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    assert first.boot == boot
    assert numbers(home) == [1, 2]
    assert check(home).state is State.OK


def test_the_chain_and_the_key_go_on_after_a_restart(home):
    keys = []
    for n in range(3):
        journal = Journal.open(home)
        journal.append([body(n)])
        keys.append(journal.key)
        journal.close()
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32
    assert events(home) == ["opened", "test"] * 3
    assert [found.seq for found in records(home)] == [1, 2, 3, 4, 5, 6]
    assert check(home).state is State.OK


def test_the_time_is_that_of_the_clock_across_seconds_and_backwards(home):
    times = iter([NOON, NOON + 999_999_999, NOON + 10**9, NOON - 1, NOON + 5_000])
    journal = Journal.open(home, clock=lambda: next(times))
    for n in range(4):
        journal.append([body(n)])
    journal.close()
    assert [found.time[11:] for found in records(home)] == [
        "11:06:40.000000Z",
        "11:06:40.999999Z",
        "11:06:41.000000Z",
        "11:06:39.999999Z",
        "11:06:40.000005Z",
    ]


def test_rotation_keeps_one_chain_and_names_the_segment_before(home):
    journal = Journal.open(home, segment_bytes=2000)
    for n in range(40):
        journal.append([body(n)])
    journal.close()
    paths = journalfiles.segments(home)
    assert len(paths) > 3
    assert check(home).state is State.OK
    assert numbers(home) == list(range(40))
    for before, after in itertools.pairwise(paths):
        first = record.parse_line(after.read_bytes().splitlines(keepends=True)[0])
        last = before.read_bytes().splitlines(keepends=True)[-1]
        assert first.body == {
            "type": "log",
            "event": "rotated",
            "segment": before.name,
            "size": before.stat().st_size,
            "last": first.seq - 1,
            "hash": hashlib.sha256(last).hexdigest(),
            "root": root(home, first.seq - 1),
        }


def in_child(job) -> str:
    """What `job` returns, or the sentence it raises, in a process of its own."""
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = job()
        except JournalError as error:
            said = error.sentence()
        except BaseException as error:
            said = repr(error)
        os.write(sender, str(said).encode())
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, "rb") as file:
        said = file.read().decode()
    os.waitpid(pid, 0)
    return said


def fill(journal: Journal, pad: int) -> tuple[int, str]:
    """Append until it fails: how many are in, and the sentence."""
    n = 0
    while True:
        try:
            journal.append([body(n, pad)])
        except JournalError as error:
            return n, error.sentence()
        n += 1


def test_a_file_size_limit_leaves_no_torn_line_and_heals(home):
    def job():
        journal = Journal.open(home)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        count, sentence = fill(journal, 700)
        assert "limit on the size of a file" in sentence
        assert check(home).state is State.OK
        with pytest.raises(JournalError):
            journal.append([body(-1, 700)])
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        journal.append([body(count)])
        journal.close()
        return count

    count = int(in_child(job))
    assert count > 5
    assert numbers(home) == list(range(count + 1))
    assert check(home).state is State.OK


def test_a_burst_that_fails_is_not_there_in_part(home):
    def job():
        journal = Journal.open(home)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        try:
            journal.append([body(n, 300) for n in range(100)])
        except JournalError:
            journal.append([body(7)])
            return "took back"

    assert in_child(job) == "took back"
    assert numbers(home) == [7]


@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid():
        pytest.skip("needs uid 0 to mount a file system")
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def leave(place: Path, room: int) -> Path:
    """Fill a disk until this many bytes are left; the file that does."""
    ballast = place / "ballast"
    info = os.statvfs(place)
    ballast.write_bytes(b"x" * (info.f_bavail * info.f_bsize - room))
    return ballast


@pytest.mark.root
@pytest.mark.parametrize("pad", [0, 500, 3000, 5000])
def test_a_full_disk_stops_recording_with_a_sentence_and_heals_when_there_is_room(small_disk, pad):
    home = small_disk / "audit"
    journal = Journal.open(home, reserve_bytes=0)
    ballast = leave(small_disk, 30_000)
    count, sentence = fill(journal, pad)
    assert (
        sentence
        == "cannot write the audit log: the disk is full: free some space; recording goes on by itself"
    )
    assert check(home).state is State.OK
    for _ in range(3):
        with pytest.raises(JournalError, match="the disk is full"):
            journal.append([body(-1, 5000)])
    ballast.unlink()
    journal.append([body(count)])
    journal.close()
    assert numbers(home) == list(range(count + 1))
    assert check(home).state is State.OK


@pytest.mark.root
def test_a_rotation_on_a_full_disk_is_tried_again(small_disk):
    home = small_disk / "audit"
    journal = Journal.open(home, segment_bytes=8000, reserve_bytes=0)
    ballast = leave(small_disk, 20_000)
    count, sentence = fill(journal, 500)
    assert "the disk is full" in sentence
    ballast.unlink()
    count += fill_again(journal, count)
    journal.close()
    assert numbers(home) == list(range(count))
    assert check(home).state is State.OK
    Journal.open(home).close()


def fill_again(journal: Journal, start: int) -> int:
    for n in range(start, start + 20):
        journal.append([body(n, 500)])
    return 20


@pytest.mark.root
def test_what_waits_for_a_full_disk_is_bounded_and_the_gap_is_recorded(small_disk):
    home = small_disk / "audit"
    journal = Journal.open(home, backlog_bytes=3000, reserve_bytes=0)
    ballast = leave(small_disk, 24_000)
    fill(journal, 300)
    journal.append_later([body(n, 100) for n in range(1000, 1100)])
    with pytest.raises(JournalError, match="the disk is full"):
        journal.flush()
    ballast.unlink()
    journal.append([body(2000)])
    journal.close()
    found = records(home)
    gap = next(entry for entry in found if entry.body["event"] == "gap")
    kept = [n for n in numbers(home) if 1000 <= n < 2000]
    assert kept == list(range(1000 + gap.body["lost"], 1100))
    assert 10 < len(kept) < 30
    assert numbers(home)[-1] == 2000
    assert check(home).state is State.OK


@pytest.mark.root
def test_91_on_a_full_disk_calls_are_refused_and_outcomes_go_into_the_reserve(small_disk):
    home = small_disk / "audit"
    journal = Journal.open(home, reserve_bytes=32_000)
    ballast = leave(small_disk, 4096)
    with contextlib.suppress(OSError), (small_disk / "rest").open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    count, sentence = fill(journal, 300)
    assert "the disk is full" in sentence
    assert journal.refusing == sentence
    for n in range(1000, 1040):
        journal.append_later([body(n, 300)])
        journal.flush()
        with pytest.raises(JournalError, match="the disk is full"):
            journal.append([body(-1)])
        journal.sync()
    assert numbers(home) == [*range(count), *range(1000, 1040)]
    assert check(home).state is State.OK
    with pytest.raises(JournalError, match="the disk is full"):  # the reserve ends too; nothing is torn then
        fill_later(journal)
    assert check(home).state is State.OK
    ballast.unlink()
    journal.append([body(3000)])
    assert journal.refusing == ""
    journal.close()
    found = numbers(home)
    assert found[-1] == 3000
    assert [n for n in found if 2000 <= n < 3000] == list(range(2000, 2000 + 100))
    Journal.open(home, reserve_bytes=0).close()


def fill_later(journal: Journal) -> None:
    for n in range(2000, 2100):
        journal.append_later([body(n, 600)])
    journal.flush()


@pytest.mark.root
def test_91_a_refused_call_leaves_what_was_kept_in_the_reserve(small_disk):
    home = small_disk / "audit"
    journal = Journal.open(home, reserve_bytes=32_000)
    ballast = leave(small_disk, 0)
    fill(journal, 300)
    journal.append_later([body(7000)])
    with pytest.raises(JournalError, match="the disk is full"):
        journal.append([body(8000)])
    assert numbers(home)[-1] == 7000
    journal.close()
    ballast.unlink()
    journal = Journal.open(home, reserve_bytes=32_000)
    journal.append([body(9000)])
    journal.close()
    assert numbers(home)[-2:] == [7000, 9000]
    assert check(home).state is State.OK


@pytest.mark.root
def test_a_disk_without_room_for_a_reserve_is_opened_and_takes_no_calls(small_disk):
    journal = Journal.open(small_disk / "audit")
    with pytest.raises(JournalError, match="the disk is full"):
        journal.append([body(1)])
    journal.close()
    assert events(small_disk / "audit") == ["opened"]


def test_the_reserve_costs_no_space_after_the_end(home):
    journal = Journal.open(home)
    journal.append([body(1)])
    segment = home / "audit-000001.jsonl"
    assert segment.stat().st_blocks * 512 >= limits.AUDIT_RESERVE_BYTES
    journal.close()
    assert segment.stat().st_blocks * 512 < 64 * limits.KIB


@pytest.mark.root
def test_a_read_only_disk_is_named(small_disk):
    Journal.open(small_disk / "audit").close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(JournalError, match="cannot open the audit log: the file system is read-only"):
        Journal.open(small_disk / "audit")


@pytest.mark.root
def test_a_torn_line_on_a_full_disk_stays_where_it_is(small_disk):
    home = small_disk / "audit"
    journal = Journal.open(home, reserve_bytes=0)
    journal.append([body(1)])
    journal.close()
    segment = home / "audit-000001.jsonl"
    with segment.open("ab") as file:
        file.write(b'{"v":2')
    before = segment.read_bytes()
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    with pytest.raises(JournalError, match="the disk is full"):
        Journal.open(home)
    assert segment.read_bytes() == before
    ballast.unlink()
    Journal.open(home).close()
    assert check(home).state is State.OK
    assert "recovered" in events(home)


def test_a_directory_that_may_not_be_written_is_named(tmp_path):
    place = tmp_path / "state"
    place.mkdir(mode=0o555)

    def job():
        if os.geteuid() == 0:
            os.chroot(place)
            os.setresuid(65534, 65534, 65534)
            Journal.open(Path("/audit"))
        Journal.open(place / "audit")

    assert in_child(job).startswith("cannot open the audit log: permission denied: check owner")


def test_records_for_later_stand_in_front_of_the_next(home):
    journal = Journal.open(home)
    journal.append_later([body(1)])
    journal.append_later([body(2)])
    assert numbers(home) == []
    journal.append([body(3)])
    journal.append_later([body(4)])
    journal.flush()
    journal.flush()
    journal.append_later([body(5)])
    journal.close()
    assert numbers(home) == [1, 2, 3, 4, 5]


def test_a_large_backlog_is_written_in_pieces_and_in_order(home):
    journal = Journal.open(home, segment_bytes=300_000)
    journal.append_later([body(n, 1000) for n in range(2000)])
    journal.append([body(2000)])
    journal.close()
    assert numbers(home) == list(range(2001))
    assert check(home).state is State.OK
    assert len(journalfiles.segments(home)) > 3


def test_a_record_that_is_too_long_is_refused_or_counted(home):
    journal = Journal.open(home)
    with pytest.raises(JournalError, match="longer than the audit log takes"):
        journal.append([body(1), body(2, limits.RECORD_BYTES)])
    journal.append_later([body(3, limits.RECORD_BYTES), body(4)])
    journal.append([body(5, limits.RECORD_BYTES - 500)])
    journal.close()
    assert events(home) == ["opened", "gap", "test", "test"]
    assert (journal.gaps, journal.last) == (1, 4)
    assert numbers(home) == [4, 5]
    assert check(home).state is State.OK


def test_dirty_counts_what_no_sync_has_begun_with(home):
    journal = Journal.open(home)
    assert journal.dirty == 0
    size = (home / "audit-000001.jsonl").stat().st_size
    journal.append([body(1)])
    assert journal.dirty == (home / "audit-000001.jsonl").stat().st_size - size
    journal.sync()
    assert journal.dirty == 0
    journal.close()


def test_sync_in_another_thread_while_segments_rotate(home):
    journal = Journal.open(home, segment_bytes=1500)
    prepared, failures = queue.SimpleQueue(), []

    def syncing():
        while (sync := prepared.get()) is not None:
            try:
                journal.finish(sync)
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=syncing) for _ in range(2)]
    descriptors = len(os.listdir("/proc/self/fd"))
    for thread in threads:
        thread.start()
    for n in range(600):
        journal.append([body(n)])
        prepared.put(journal.prepare())
    for _ in threads:
        prepared.put(None)
    for thread in threads:
        thread.join()
    assert not failures
    assert journal.dirty == 0
    assert len(os.listdir("/proc/self/fd")) == descriptors
    journal.sync()
    assert journal.dirty == 0
    journal.close()
    assert numbers(home) == list(range(600))
    assert check(home).state is State.OK


def test_a_segment_deleted_under_the_writer_ends_recording(home):
    journal = Journal.open(home)
    (home / "audit-000001.jsonl").unlink()
    with pytest.raises(JournalError, match="was deleted while it was written"):
        journal.sync()
    with pytest.raises(JournalError, match="was deleted while it was written"):
        journal.append([body(1)])
    journal.close()


def test_a_closed_journal_writes_nothing_and_may_be_closed_again(home):
    journal = Journal.open(home)
    journal.close()
    journal.close()
    for act in (lambda: journal.append([body(1)]), journal.sync):
        with pytest.raises(JournalError, match="closed"):
            act()
    assert numbers(home) == []


WRITER = """
import queue, random, sys, threading
from pathlib import Path
from mcpguard.audit import record
from mcpguard.system.journal import Journal
journal = Journal.open(Path(sys.argv[1]), segment_bytes=200_000)
n = int(sys.argv[2])
prepared = queue.Queue(1)
threading.Thread(target=lambda: [journal.finish(prepared.get()) for _ in iter(int, 1)], daemon=True).start()
while True:
    count = random.choice((1, 1, 2, 40))
    journal.append([record.log("test", n=n + k, pad="x" * random.choice((1, 300, 4000))) for k in range(count)])
    n += count
    if prepared.empty():
        prepared.put(journal.prepare())
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
"""


def test_kill_loses_no_acknowledged_record_and_never_looks_like_tampering(home):
    rng = random.Random(1)
    acknowledged: list[range] = []
    for turn in range(30):
        start = turn * 1_000_000
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, home, str(start)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert child.stdout is not None
        line = child.stdout.readline()
        killer = threading.Timer(rng.random() * 0.05, child.send_signal, (signal.SIGKILL,))
        killer.start()
        rest = child.stdout.read().splitlines(keepends=True)
        killer.join()
        assert child.wait() == -signal.SIGKILL
        child.stdout.close()
        last = [entry for entry in [line, *rest] if entry.endswith(b"\n")][-1]
        acknowledged.append(range(start, int(last)))
        assert check(home).state in (State.OK, State.TORN)
    Journal.open(home).close()
    assert check(home).state is State.OK
    written = set(numbers(home))
    for some in acknowledged:
        assert written.issuperset(some)


@pytest.mark.parametrize("burst", [1, 16])
def test_cost_of_an_append(benchmark, home, burst):
    journal = Journal.open(home)
    benchmark(journal.append, [body(1, 200)] * burst)
    journal.close()


def test_a_rotation_syncs_the_old_segment_first_and_sees_that_it_was_deleted(home):
    journal = Journal.open(home, segment_bytes=600)
    journal.append([body(1, 300)])
    (home / "audit-000001.jsonl").unlink()
    with pytest.raises(JournalError, match="was deleted while it was written"):
        journal.append([body(2)])
    journal.close()
    assert not list(home.glob("audit-*"))


FAILING = """
import sys
from pathlib import Path
from mcpguard.audit import record
from mcpguard.errors import JournalError
from mcpguard.system.journal import Journal
journal = Journal.open(Path(sys.argv[1]))
journal.append([record.log("test", n=1)])
for act in (journal.sync, journal.sync, journal.sync_data, lambda: journal.append([record.log("test", n=2)])):
    try:
        act()
    except JournalError as error:
        print(error.sentence())
    else:
        print("believed")
journal.close()
"""


@pytest.mark.skipif(
    not shutil.which("strace"), reason="strace, which makes a system call fail, is not installed"
)
def test_an_io_error_of_a_sync_is_never_retried_and_believed(home):
    Journal.open(home).close()
    segment = home / "audit-000001.jsonl"
    before = newest_head((home / "checkpoints" / "head").read_bytes())
    ran = subprocess.run(
        [
            *("strace", "-f", "-qq", "-o", "/dev/null", "-P", segment, "-e", "trace=fdatasync"),
            *("-e", "inject=fdatasync:error=EIO:when=2", sys.executable, "-c", FAILING, home),
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    if "PTRACE" in ran.stderr or "ptrace" in ran.stderr:
        pytest.skip("tracing is not permitted here")
    assert (
        ran.stdout.splitlines()
        == ["cannot sync the audit log: the disk reports an I/O error: see dmesg, then restart the daemon"]
        * 4
    )
    assert (
        newest_head((home / "checkpoints" / "head").read_bytes()).seq == before.seq + 1
    )  # that of the opening
    assert numbers(home) == [1]
    Journal.open(home).close()
    assert check(home).state is State.OK
