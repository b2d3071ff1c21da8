import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.system.slots import SLOT_BYTES, Slots, framed, whole


@pytest.fixture
def file(tmp_path):
    (tmp_path / "slots").write_bytes(framed(b"a") * 2)
    return tmp_path / "slots"


def opened(file) -> Slots:
    return Slots(os.open(file, os.O_RDWR))


def test_copies_are_written_in_turn_and_the_newest_is_spared(file):
    slots = opened(file)
    slots.write(b"b")
    assert sorted(slots.read()) == [b"a", b"b"]
    slots.write(b"c")
    assert sorted(slots.read()) == [b"b", b"c"]
    slots.close()
    again = opened(file)
    again.spare(b"c")
    again.write(b"d")
    assert sorted(again.read()) == [b"c", b"d"]
    again.sync()
    again.close()


def test_writing_both_leaves_nothing_older(file):
    slots = opened(file)
    slots.write(b"old-old-old")
    slots.write_both(b"new")
    slots.close()
    assert b"old" not in file.read_bytes()
    assert whole(file.read_bytes()) == [b"new", b"new"]


@given(st.integers(0, 2 * SLOT_BYTES))
def test_a_write_that_is_cut_anywhere_leaves_one_copy(cut):
    before, after = framed(b"a") + framed(b"b"), framed(b"a") + framed(b"c" * 100)
    found = whole(after[:cut] + before[cut:])
    assert b"a" in found
    assert set(found) <= {b"a", b"b", b"c" * 100}


def test_what_does_not_fit_is_a_bug(file):
    with pytest.raises(ValueError, match="do not fit"):
        framed(b"x" * SLOT_BYTES)
