import pytest

from mcpguard import limits
from mcpguard.audit import checkpoint as notes
from mcpguard.system import journalfiles
from mcpguard.system.journal import Journal
from tests.system.test_journal import body, root


@pytest.fixture
def home(tmp_path):
    return tmp_path / "state" / "audit"


def sizes(home) -> list[int]:
    return sorted(
        notes.parse_note(path.read_bytes())[0].size for path in (home / "checkpoints").glob("newest-*.note")
    )


def test_a_checkpoint_is_signed_after_so_many_records_and_not_before(home):
    journal = Journal.open(home)
    first = sizes(home)
    journal.append([body(n) for n in range(limits.CHECKPOINT_RECORDS - 2)])
    journal.sync()
    assert sizes(home) == first
    assert journal.unsigned == limits.CHECKPOINT_RECORDS - 1
    journal.append([body(0)])
    journal.sync()
    assert sizes(home)[-1] == limits.CHECKPOINT_RECORDS
    assert journal.unsigned == 0
    journal.close()


def test_a_checkpoint_can_be_asked_for_and_comes_with_a_clean_stop(home):
    journal = Journal.open(home)
    journal.append([body(1)])
    journal.sync(checkpoint=True)
    assert sizes(home)[-1] == 2
    journal.append([body(1)])
    journal.close()
    assert sizes(home) == [2, 3]


def test_each_segment_ends_with_a_checkpoint_that_is_kept(home):
    journal = Journal.open(home, segment_bytes=2000)
    for n in range(30):
        journal.append([body(n)])
    journal.close()
    ends = 0
    for path in journalfiles.segments(home)[:-1]:
        ends += path.read_bytes().count(b"\n")
        kept, _ = notes.parse_note((home / "checkpoints" / path.name).with_suffix(".note").read_bytes())
        assert (kept.size, kept.root.hex()) == (ends, root(home, ends))
    assert ends > 20


def test_more_than_may_wait_is_hashed_by_the_writer(home):
    journal = Journal.open(home, reserve_bytes=0)
    written = 0
    while written <= limits.AUDIT_UNHASHED_BYTES:
        burst = [body(n, 30_000) for n in range(16)]
        journal.append(burst)
        written += sum(map(len, burst))
    assert journal._settler._tree.size == journal.last
    journal.append([body(1)])
    journal.close()
    size = sizes(home)[-1]
    newest = [
        path for path in (home / "checkpoints").glob("newest-*.note") if b"\n%d\n" % size in path.read_bytes()
    ]
    assert notes.parse_note(newest[0].read_bytes())[0].root.hex() == root(home, size)
