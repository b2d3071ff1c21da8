import pytest

from mcpguard.audit import record
from mcpguard.errors import JournalError
from mcpguard.system import journalfiles
from mcpguard.system.journal import Journal
from tests.system.test_journal import body


@pytest.fixture
def home(tmp_path):
    return tmp_path / "state" / "audit"


def test_followers_see_records_over_a_rotation(home):
    journal = Journal.open(home, segment_bytes=800)
    journal.append([body(0)])
    found, path, offset = journalfiles.last(home, 1)
    assert record.parse_line(found[0]).body["n"] == 0
    following = journalfiles.follow(home, path, offset)
    seen = []
    for n in range(1, 12):
        journal.append([body(n)])
    while len(seen) < 11:
        entry = record.parse_line(next(following)).body
        if entry["event"] == "test":
            seen.append(entry["n"])
    assert seen == list(range(1, 12))
    journal.close()


@pytest.mark.parametrize("count", [0, 1, 5, 29, 30, 400])
def test_the_last_lines_are_found_over_segments(home, count):
    journal = Journal.open(home, segment_bytes=3000)
    for n in range(28):
        journal.append([body(n, 100)])
    journal.close()
    everything = [
        line for path in journalfiles.segments(home) for line in path.read_bytes().splitlines(keepends=True)
    ]
    found, path, offset = journalfiles.last(home, count)
    assert found == (everything[-count:] if count else [])
    assert (path, offset) == (journalfiles.segments(home)[-1], path.stat().st_size)


def test_only_segments_count_as_segments(home):
    Journal.open(home).close()
    for name in ("audit-1.jsonl", "audit-0000002.jsonl", "audit-000002.jsonl.gz", "torn-000001-9"):
        (home / name).touch()
    assert [path.name for path in journalfiles.segments(home)] == ["audit-000001.jsonl"]
    assert journalfiles.segment_number(journalfiles.segment_name(1_000_000)) == 1_000_000


def test_a_log_that_is_not_there_is_named(tmp_path):
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(JournalError, match="no audit log at"):
            journalfiles.segments(place)


def test_the_latest_record_of_a_type_is_found_over_segments(home):
    journal = Journal.open(home, segment_bytes=3000)
    assert journalfiles.latest(home, "trust") is None
    journal.append([record.trust("start", trust=1), record.trust("trust", trust=2)])
    for n in range(28):
        journal.append([record.log("test", n=n, text='"type":"trust"', nested={"type": "trust"})])
    assert len(journalfiles.segments(home)) > 2
    found = journalfiles.latest(home, "trust")
    assert (found.body["event"], found.body["trust"]) == ("trust", 2)
    assert journalfiles.latest(home, "trust", 1) is None
    journal.close()


def test_a_torn_line_is_not_the_latest(home):
    journal = Journal.open(home)
    journal.append([record.trust("trust", trust=1)])
    journal.close()
    with journalfiles.segments(home)[-1].open("ab") as file:
        file.write(b'{"v":1,"type":"trust","event":"trust","trust":9')
    assert journalfiles.latest(home, "trust").body["trust"] == 1
