import os

import pytest

from mcpguard.audit import record
from mcpguard.cli.logrecords import records
from mcpguard.errors import JournalError
from mcpguard.system import journalfiles
from mcpguard.system.journal import Journal


@pytest.fixture
def log(tmp_path):
    journal = Journal.open(tmp_path / "audit", segment_bytes=1500)
    for number in range(12):
        journal.append([record.log("gap" if number % 2 else "unwatched", lost=number)])
    journal.close()
    return tmp_path / "audit"


def numbers(*found, **more):
    return [each.body["lost"] for _, each in records(*found, "reading", (b'"event":"gap"',), **more)]


def test_lines_with_a_word_come_in_order_over_segments(log):
    assert len(journalfiles.segments(log)) > 1
    assert numbers(log) == [1, 3, 5, 7, 9, 11]
    lines = b"".join(path.read_bytes() for path in journalfiles.segments(log))
    assert all(line in lines for line, _ in records(log, "reading", (b'"event":"gap"',)))


def test_a_line_that_cannot_be_read_is_passed_over(log):
    newest = journalfiles.segments(log)[-1]
    newest.write_bytes(newest.read_bytes() + b'"event":"gap" is no record\n')
    assert numbers(log) == [1, 3, 5, 7, 9, 11]


def test_segments_of_before_are_not_read(log):
    oldest = journalfiles.segments(log)[0]
    kept = oldest.read_bytes().count(b'"event":"gap"')
    assert kept
    os.utime(oldest, (1000, 1000))
    assert numbers(log, written_since=1000.0) == [1, 3, 5, 7, 9, 11]
    assert numbers(log, written_since=1001.0) == [1, 3, 5, 7, 9, 11][kept:]


def test_no_log_is_one_sentence(tmp_path):
    with pytest.raises(JournalError, match="no audit log"):
        list(records(tmp_path / "nothing", "reading", (b"x",)))
