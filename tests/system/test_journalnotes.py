import pytest

from mcpguard.audit import checkpoint as notes
from mcpguard.errors import JournalError
from mcpguard.system import journalnotes
from mcpguard.system.journal import Journal
from tests.system.test_journal import body


@pytest.fixture
def log(tmp_path):
    home = tmp_path / "audit"
    journal = Journal.open(home, segment_bytes=2000)
    for n in range(20):
        journal.append([body(n)])
    journal.close()
    return home


def test_the_newest_note_is_that_of_the_last_record(log):
    note, _ = notes.parse_note(journalnotes.newest(log))
    assert note.size == journalnotes.standing(log).head.seq
    sizes = [notes.parse_note(each)[0].size for each in journalnotes.kept(log)]
    assert sizes == sorted(set(sizes))
    assert len(sizes) > 2
    assert sizes[-1] == note.size


def test_a_newest_note_that_a_crash_has_cut_leaves_the_other(log):
    inside = log / "checkpoints"
    for name in ("newest-0.note", "newest-1.note"):
        whole = (inside / name).read_bytes()
        (inside / name).write_bytes(whole[:90])
        assert journalnotes.standing(log).problem == ""
        journalnotes.newest(log)
        (inside / name).write_bytes(whole)
    for name in ("newest-0.note", "newest-1.note"):
        (inside / name).write_bytes(b"")
    assert "neither" in journalnotes.standing(log).problem
    with pytest.raises(JournalError, match="neither"):
        journalnotes.newest(log)


@pytest.mark.parametrize("name", ["head", "log.vkey", "audit-000001.note", "tombstone.note"])
def test_what_is_damaged_is_named(log, name):
    (log / "checkpoints" / name).write_bytes(b"damaged")
    assert journalnotes.standing(log).problem
    (log / "checkpoints" / name).unlink()
    assert bool(journalnotes.standing(log).problem) is (name in ("head", "log.vkey"))


def test_a_log_of_version_1_has_nothing_beside_it(tmp_path):
    assert journalnotes.standing(tmp_path) == journalnotes.Standing()
    with pytest.raises(JournalError, match="no checkpoints"):
        journalnotes.newest(tmp_path)
