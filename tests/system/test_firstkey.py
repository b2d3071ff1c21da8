import pytest

from mcpguard.audit.seal import parse_first_key
from mcpguard.errors import JournalError
from mcpguard.system.firstkey import hand_over
from mcpguard.system.journal import Journal
from mcpguard.system.journalnotes import standing
from mcpguard.system.journalseal import FIRST_KEY, TAKEN_KEY


def test_the_key_is_handed_over_once_and_nothing_of_it_stays(tmp_path):
    Journal.open(tmp_path / "audit").close()
    got: list[str] = []
    file = (tmp_path / "audit" / FIRST_KEY).open("rb")  # sees what becomes of the bytes
    hand_over(tmp_path / "audit", got.append)
    assert parse_first_key(got[0]).seq == 1
    assert set(file.read()) == {0}
    file.close()
    assert not list((tmp_path / "audit").glob("first.key*"))
    with pytest.raises(JournalError, match="handed over"):
        hand_over(tmp_path / "audit", got.append)
    Journal.open(tmp_path / "audit").close()
    assert not list((tmp_path / "audit").glob("first.key*"))
    assert len(got) == 1


def test_a_key_that_nobody_received_stays(tmp_path):
    Journal.open(tmp_path / "audit").close()

    def full(_: str) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        hand_over(tmp_path / "audit", full)
    got: list[str] = []
    hand_over(tmp_path / "audit", got.append)
    assert len(got) == 1


def test_no_log_is_named(tmp_path):
    with pytest.raises(JournalError, match="no audit log"):
        hand_over(tmp_path / "none", print)


def test_a_hand_over_that_was_killed_is_told_and_still_counts_as_a_key_that_is_here(tmp_path):
    home = tmp_path / "audit"
    Journal.open(home).close()
    (home / FIRST_KEY).rename(home / TAKEN_KEY)
    with pytest.raises(JournalError, match="did not end"):
        hand_over(home, print)
    assert standing(home).first_key
