"""Texts that a process has a hand in."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.system.procstat import parse_stat, parse_status

_REST = b" S 77 " + b" ".join(str(n).encode() for n in range(5, 53))


@given(st.binary(max_size=15))
def test_name_cannot_be_taken_for_fields(name):
    found = parse_stat(b"5 (" + name + b")" + _REST)
    assert (found.ppid, found.start) == (77, 22)
    assert found.layout == (26, 27, 28, 45, 46, 48, 49, 50, 51)


def test_name_made_to_look_like_fields():
    assert parse_stat(b"5 (x) R 1 1)" + _REST).ppid == 77


def test_our_own():
    found = parse_stat(Path("/proc/self/stat").read_bytes())
    assert found.ppid == os.getppid()
    assert found.start > 0
    assert all(found.layout)


@pytest.mark.parametrize("text", [b"", b"5 (x) S 1", b"5 x S 1 2 3", b"5 (x)" + b" a" * 60])
def test_what_is_no_stat(text):
    with pytest.raises(ValueError):
        parse_stat(text)


def test_status_by_names_first_one_first():
    text = b"Name:\ta:b\\nUid:\t0\nUid:\t1\t2\t3\t4\nnothing\nUid:\t9\n\xff:\t1\n"
    found = parse_status(text)
    assert found["Name"] == r"a:b\nUid:" + "\t0"
    assert found["Uid"] == "1\t2\t3\t4"
    assert found[r"\xff"] == "1"
    assert "nothing" not in found
