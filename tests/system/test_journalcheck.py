"""Attacks on a log, by the numbers of security.md 5.6; the independent verifier of docs/ must say the same each time."""

import importlib.util
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mcpguard.audit import checkpoint as notes
from mcpguard.audit.chain import Chain, State, Verifier, hash_line
from mcpguard.audit.seal import FirstKey, parse_first_key
from mcpguard.audit.tree import Tree
from mcpguard.errors import JournalError
from mcpguard.system import checkpointkey, journalfiles, journalnotes
from mcpguard.system.firstkey import hand_over
from mcpguard.system.journal import Journal
from mcpguard.system.journalcheck import Against, check
from mcpguard.system.journalseal import newest_key
from mcpguard.system.slots import framed
from tests.system.test_journal import body
from tests.system.test_journalhome import crashed

SCRIPT = Path(__file__).parents[2] / "docs" / "verify_audit.py"
_SPEC = importlib.util.spec_from_file_location("verify_audit", SCRIPT)
independent = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(independent)

STATES = {State.OK: "ok", State.TAMPERED: "tampered", State.TORN: "torn"}


def written(home: Path, count: int, segment_bytes: int = 60_000) -> FirstKey:
    """A log of so many records, cleanly closed; its first key is taken away."""
    journal = Journal.open(home, segment_bytes=segment_bytes)
    while journal._chain.seq < count:
        journal.append([body(journal._chain.seq)])
    journal.close()
    got: list[str] = []
    hand_over(home, got.append)
    return parse_first_key(got[0])


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    home = tmp_path_factory.mktemp("kept") / "audit"
    return home, written(home, 1000)


@pytest.fixture
def log(kept, tmp_path):
    return crashed(kept[0], tmp_path / "log")


@pytest.fixture
def key(kept):
    return kept[1]


def judged(home: Path, key: FirstKey | None = None, anchors: list[bytes] | None = None) -> tuple[State, int]:
    """What we find, and the record; the independent verifier must agree on both."""
    found = check(home, Against(first_key=key, anchors=anchors)).report
    try:
        state, _, bad, _ = independent.check(home, key and (key.seq, key.key), anchors, None)
    except independent.Bad as error:
        state, bad = "tampered", error
    assert state == STATES[found.state], (found, bad and bad.problem)
    if found.state is State.TAMPERED:
        assert bad.seq == found.bad_seq, (found, bad.problem)
    return found.state, found.bad_seq


def lines_of(home: Path) -> list[list[bytes]]:
    return [path.read_bytes().splitlines(keepends=True) for path in journalfiles.segments(home)]


def change(home: Path, number: int, new: bytes) -> None:
    """Put something in the place of record `number`."""
    for path in journalfiles.segments(home):
        lines = path.read_bytes().splitlines(keepends=True)
        if number <= len(lines):
            lines[number - 1] = new
            path.write_bytes(b"".join(lines))
            return
        number -= len(lines)


def line(home: Path, number: int) -> bytes:
    return [one for lines in lines_of(home) for one in lines][number - 1]


def test_a_good_log_is_good_to_both(log, key):
    assert len(journalfiles.segments(log)) > 3
    for against in (None, key):
        assert judged(log, against) == (State.OK, 0)
    found = check(log, Against(first_key=key))
    assert found.report.seals == found.report.records >= 1000
    assert [promise.name for promise in found.promises if promise.checked] == [
        "chain",
        "seals",
        "head",
        "checkpoints",
    ]


def split(data: bytes) -> list[bytes]:
    return [part + b"\n" for part in data.split(b"\n")[:-1]] + (
        [data.rsplit(b"\n", 1)[1]] if data[-1:] != b"\n" else []
    )


@pytest.mark.timeout(600)
def test_80_a_flipped_bit_in_any_byte_of_a_thousand_records_is_found_where_it_is(log, key):
    """Each byte of each record, one bit each; all eight in every fiftieth record."""
    everything = [one for lines in lines_of(log) for one in lines]
    assert len(everything) >= 1000
    chain, flips = Chain(key=key.key), 0
    for number, one in enumerate(everything[:-1], 1):
        rest = everything[number]
        for at in range(len(one)):
            for bit in range(8) if number % 50 == 1 else (at % 8,):
                changed = one[:at] + bytes([one[at] ^ 1 << bit]) + one[at + 1 :]
                for first_key in (FirstKey(number, chain.key), None) if at % 5 == bit % 5 else (None,):
                    verifier = Verifier(chain.seq, chain.prev, key=first_key)
                    verifier.segment(split(changed + rest))
                    found = verifier.finish()
                    assert found.state is State.TAMPERED, (number, at, bit)
                    assert found.line == 1 or (first_key is None and found.line == 2), (number, at, bit)
                    flips += 1
        chain = Chain(number, hash_line(one), key.at(number + 1))
    assert flips > 250_000


@pytest.mark.timeout(600)
def test_80_a_flipped_bit_is_found_by_both_verifiers_in_the_files(log, key):
    rng = random.Random(80)
    paths = journalfiles.segments(log)
    last = paths[-1].read_bytes()
    chosen = [(path, rng.randrange(path.stat().st_size)) for path in paths for _ in range(8)]
    newest = last.rstrip(b"\n").rfind(b"\n") + 1
    chosen += [(paths[-1], at) for at in range(newest, len(last), 7)]  # nothing follows the last record
    for path, at in chosen:
        whole = path.read_bytes()
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
        number = whole[:at].count(b"\n") + 1
        before = sum(len(lines) for other, lines in zip(paths, lines_of(log), strict=True) if other < path)
        first_key = rng.choice((None, key))
        state, bad = judged(log, first_key)
        found = check(log, Against(first_key=first_key)).report
        path.write_bytes(whole)
        assert state is State.TAMPERED
        if found.line:
            assert (found.file, found.line) in (
                (path.name, number),
                (path.name, number + 1),
            ) or found.line == 1
        else:
            assert bad == before + number, (path.name, at)  # the head tells of the last record
    assert judged(log, key) == (State.OK, 0)


@pytest.mark.parametrize("number", [1, 2, 300, 517, 999, 1000])
@pytest.mark.parametrize("what", ["delete", "swap", "duplicate", "insert", "rewrite"])
def test_81_records_deleted_swapped_duplicated_inserted_or_rewritten_are_found(log, key, number, what):
    one, other = line(log, number), line(log, number - 1 if number > 2 else number + 1)
    forged = Chain(number - 1, b"ab" * 32, bytes(32)).seal(
        [body(0)], b'"t":"2026-11-22T18:00:00.123456Z","boot":"%b",' % (b"0f" * 16)
    )
    match what:
        case "delete":
            change(log, number, b"")
        case "swap":
            change(log, number, other)
            change(log, number - 1 if number > 2 else number + 1, one)
        case "duplicate":
            change(log, number, one + one)
        case "insert":
            change(log, number, forged + one)
        case "rewrite":
            change(
                log,
                number,
                one.replace(b'"event":"test"', b'"event":"tost"')
                .replace(b'"pid":', b'"pit":')
                .replace(b'"size":', b'"sise":'),
            )
    for against in (None, key):
        state, bad = judged(log, against)
        assert state is State.TAMPERED
        assert number - 1 <= bad <= number + 1
    with pytest.raises(JournalError) if number >= 999 else pytest.MonkeyPatch.context():
        Journal.open(log).close()  # the end is checked when a writer comes; the whole when verified


@pytest.mark.timeout(600)
def test_82_a_tail_cut_at_any_byte_is_truncation_before_the_head_and_torn_after_it(tmp_path):
    home = tmp_path / "audit"
    journal = Journal.open(home)
    journal.append([body(1)])
    journal.sync()
    journal.append([body(2)])
    journal.append([body(3)])
    left = crashed(home, tmp_path / "left")  # killed: two records behind the head
    journal.close()
    whole = (left / "audit-000001.jsonl").read_bytes()
    ends = [at for at in range(len(whole) + 1) if whole[:at].endswith(b"\n")]
    at_head = ends[1]

    def cut(at: int) -> None:
        place = crashed(left, tmp_path / f"cut-{at}")
        (place / "audit-000001.jsonl").write_bytes(whole[:at])
        state, _ = judged(place)
        if at < at_head:
            assert state is State.TAMPERED, at
            with pytest.raises(JournalError, match="was cut"):
                Journal.open(place)
        else:
            assert state is (State.OK if at in ends else State.TORN), at
            Journal.open(place).close()
            assert judged(place)[0] is State.OK, at
        shutil.rmtree(place)

    with ThreadPoolExecutor(32) as pool:  # a torn line is waited for, 0.2 s each time
        list(pool.map(cut, range(len(whole) + 1)))


def test_82_a_copy_without_keys_shows_a_cut_by_its_head(tmp_path):
    journal = Journal.open(tmp_path / "audit")
    journal.append([body(1), body(2)])
    journal.sync()  # the head moves, no checkpoint is due yet
    left = crashed(tmp_path / "audit", tmp_path / "left")
    journal.close()
    for name in ("seal.key", "checkpoint.key", "first.key"):
        (left / name).unlink()
    assert judged(left) == (State.OK, 0)
    whole = line(left, 3)
    change(left, 3, whole.replace(b'"n":2', b'"n":9'))  # nothing follows it that could tell
    assert judged(left) == (State.TAMPERED, 3)
    change(left, 3, whole)
    assert judged(left) == (State.OK, 0)
    change(left, 3, b"")
    assert judged(left) == (State.TAMPERED, 3)


@pytest.mark.parametrize("which", [0, 1, -1])
def test_83_a_deleted_segment_is_found(log, key, which):
    journalfiles.segments(log)[which].unlink()
    for against in (None, key):
        assert judged(log, against)[0] is State.TAMPERED


def test_83_a_log_deleted_whole_is_found_by_what_stands_beside_it(log):
    for path in journalfiles.segments(log):
        path.unlink()
    assert judged(log) == (State.TAMPERED, 1)


def test_83_checkpoints_deleted_with_the_tail_are_missed_by_none(log):
    shutil.rmtree(log / "checkpoints")
    assert judged(log)[0] is State.TAMPERED


def forge(home: Path, number: int) -> None:
    """Rewrite record `number` with everything that lies on the machine: current key, checkpoint key, head."""
    stolen = newest_key((home / "seal.key").read_bytes())
    seed = (home / "checkpoint.key").read_bytes()
    public = checkpointkey.log_key(seed)
    tree, chain = Tree(), Chain(key=bytes(32))
    segments = journalfiles.segments(home)
    for path in segments:
        lines = []
        for old in path.read_bytes().splitlines(keepends=True):
            if chain.seq + 1 < number:
                new = old
                chain.seq, chain.prev = chain.seq + 1, hash_line(old)
            else:
                text = old[old.index(b'"type"') : -75]
                if chain.seq + 1 == number:
                    text = text.replace(b'"event":"test"', b'"event":"lies"')
                    assert b"lies" in text
                if b'"rotated"' in text:
                    start = text.index(b',"last"')
                    text = text[:start] + b',"last":%d,"hash":"%b","root":"%b"' % (
                        chain.seq,
                        chain.prev,
                        tree.root().hex().encode(),
                    )
                if chain.seq + 1 >= stolen.seq:
                    chain.key = stolen.at(chain.seq + 1)
                stamp = old[old.index(b'"t":') : old.index(b'"type"')]
                new = chain.seal([text], stamp)
            tree.add(new)
            lines.append(new)
        path.write_bytes(b"".join(lines))
        note = notes.Checkpoint(public.name, tree.size, tree.root()).note(
            public, lambda text: checkpointkey.sign(seed, text)
        )
        if path != segments[-1]:
            (home / "checkpoints" / path.name).with_suffix(".note").write_bytes(note)
    for name in ("newest-0.note", "newest-1.note"):
        (home / "checkpoints" / name).write_bytes(note)
    head = b'{"seq":%d,"segment":%d,"offset":%d,"hash":"%b","frontier":[%b]}' % (
        tree.size,
        len(segments),
        segments[-1].stat().st_size,
        chain.prev,
        b",".join(b'"%b"' % node.hex().encode() for node in tree.frontier()),
    )
    (home / "checkpoints" / "head").write_bytes(framed(head) * 2)


def test_85_records_sealed_again_with_a_stolen_key_are_found_with_the_first_key_or_an_anchor(log, key):
    anchor = journalnotes.newest(log)
    forge(log, 400)
    assert judged(log) == (State.OK, 0)  # as SECURITY.md says: the thief has all that lies on the machine
    assert judged(log, key) == (State.TAMPERED, 400)
    assert judged(log, anchors=[anchor])[0] is State.TAMPERED


def test_85_what_is_sealed_after_the_theft_is_the_thiefs(tmp_path):
    home = tmp_path / "audit"
    journal = Journal.open(home)
    got: list[str] = []
    hand_over(home, got.append)
    key = parse_first_key(got[0])
    for n in range(50):
        journal.append([body(n)])
    journal.sync(checkpoint=True)
    anchor = journalnotes.newest(home)
    stolen = (home / "seal.key").read_bytes()
    for n in range(50):
        journal.append([body(n)])
    journal.close()
    (home / "seal.key").write_bytes(stolen)
    before = crashed(home, tmp_path / "before")
    forge(home, 80)
    assert judged(home, key)[0] is State.OK  # forward security protects what was before, nothing after
    assert judged(home, anchors=[anchor])[0] is State.OK
    forge(before, 30)
    assert judged(before, key) == (State.TAMPERED, 30)


def test_a_log_that_was_replaced_whole_is_found_by_its_anchor_and_by_the_key_handed_over(log, key, tmp_path):
    anchor = journalnotes.newest(log)
    other = tmp_path / "other"
    written(other, 1100)
    assert judged(other)[0] is State.OK
    assert judged(other, anchors=[anchor])[0] is State.TAMPERED
    assert judged(other, key)[0] is State.TAMPERED
    public = journalnotes.standing(log).log_key
    assert check(other, Against(log_key=public)).report.state is State.TAMPERED


def test_an_anchor_says_how_many_records_it_does_not_cover(log, kept):
    anchor = journalnotes.newest(log)
    Journal.open(log).close()
    found = check(log, Against(anchors=[anchor]))
    assert (found.report.state, found.unanchored) == (State.OK, 1)
    assert independent.check(log, None, [anchor], None)[3] == 1
    assert check(log, Against(anchors=[anchor, journalnotes.newest(log)])).unanchored == 0
    assert check(log).unanchored == 0
    ahead = journalnotes.newest(log)
    behind = crashed(kept[0], log.parent / "behind")  # set back as a whole, head and keys too
    assert judged(behind)[0] is State.OK
    assert judged(behind, anchors=[ahead])[0] is State.TAMPERED


def test_since_a_checkpoint_the_rest_is_looked_at_and_what_was_before_is_compared(log, key):
    since = journalnotes.kept(log)[1]
    size = notes.parse_note(since)[0].size
    found = check(log, Against(first_key=key, since=since))
    assert found.report.state is State.OK
    assert found.report.seals == found.report.records - size
    assert "since" in [promise.name for promise in found.promises if promise.checked]
    for number in (size - 3, size + 3):
        copy = crashed(log, log.parent / f"changed-{number}")
        change(copy, number, line(copy, number).replace(b'"test"', b'"tost"'))
        assert check(copy, Against(since=since)).report.state is State.TAMPERED
    forged = since.replace(b"\n%d\n" % size, b"\n%d\n" % (size - 1))
    assert "no valid signature" in check(log, Against(since=forged)).report.problem


def test_the_independent_verifier_runs_alone_and_says_what_it_could_not_check(log, key, tmp_path):
    (tmp_path / "key").write_text(key.text())
    ran = subprocess.run(
        [sys.executable, "-I", "-S", SCRIPT, log, "--key", tmp_path / "key"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "1000 seals checked" in ran.stdout or "1003 seals checked" in ran.stdout
    assert "not checked: signatures" in ran.stdout
    change(log, 7, line(log, 7).replace(b'"test"', b'"tost"'))
    ran = subprocess.run([sys.executable, SCRIPT, log, "--json"], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert '"state": "tampered"' in ran.stdout
    imports = {
        word.split()[1]
        for word in SCRIPT.read_text().splitlines()
        if word.strip().startswith(("import ", "from "))
    }
    assert not {name for name in imports if name.startswith("mcpguard")}


def test_a_log_being_written_verifies(tmp_path):
    journal = Journal.open(tmp_path / "audit", segment_bytes=3000)
    for n in range(60):
        journal.append([body(n)])
        if n % 7 == 0:
            journal.sync()
            assert judged(tmp_path / "audit")[0] is State.OK
    journal.close()
