"""What is remembered of a sink, and what is said of it."""

from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.errors import JournalError
from mcpguard.system.journal import Journal
from mcpguard.system.sinkfile import Sink
from mcpguard.system.sinkstate import SinkState, StateFile, described, waiting
from mcpguard.system.spool import Place, Spool
from tests.system.receivers import write


def test_it_comes_back_and_is_private(tmp_path: Path) -> None:
    file = StateFile(tmp_path, "siem")
    assert file.load() is None
    state = SinkState().took(Place(1, 10, 10, "ab", 3), 3, 0, 5.0).failed("away", 6.0)
    file.save(state)
    assert file.load() == state
    assert (tmp_path / "siem").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "siem" / "sent.json").stat().st_mode & 0o777 == 0o600
    file.remove()
    assert file.load() is None
    file.remove()


def test_the_trail_is_bounded_and_an_error_ends_with_a_success() -> None:
    state = SinkState().failed("away", 1.0)
    for number in range(100):
        state = state.took(Place(1, number, 1, "", number), 2, 1, 2.0)
    assert len(state.trail) == limits.TRAIL
    assert (state.seq, state.sent, state.gaps, state.error, state.failures) == (99, 200, 100, "", 1)


def test_a_damaged_file_means_the_log_once_more(tmp_path: Path) -> None:
    file = StateFile(tmp_path, "siem")
    file.save(SinkState())
    (tmp_path / "siem" / "sent.json").write_bytes(b'{"trail":[{"segment":"x"}]}')
    assert file.load() is None


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "siem").write_text("")
    with pytest.raises(JournalError, match="cannot be kept"):
        StateFile(tmp_path, "siem").load()
    found = described(Sink("siem", "syslog", "udp://x:1"), tmp_path / "audit", tmp_path)
    assert "cannot be kept" in found["error"]


def test_how_many_records_wait(tmp_path: Path) -> None:
    log = tmp_path / "audit"
    assert waiting(log, None) == 0
    journal = Journal.open(log)
    write(journal, 1, 2, 3)
    assert waiting(log, None) == 4
    batch = Spool(log, "s").read([], "")
    state = SinkState().took(batch.end, 4, 0, 1.0)
    assert waiting(log, state) == 0
    write(journal, 4)
    assert waiting(log, state) == 1
    journal.close()
