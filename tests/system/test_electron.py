"""Fuses of an Electron application, wherever a file is cut into pieces."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.system.electron import MARKER, Fuses


def wire(fuses, version=1):
    return MARKER + bytes([version, len(fuses)]) + fuses


def fed(data, *cuts):
    found = Fuses()
    places = [0, *sorted(cuts), len(data)]
    for start, end in itertools.pairwise(places):
        if piece := data[start:end]:
            found.feed(piece)
    found.feed(b"")
    return found.open


@pytest.mark.parametrize(
    ("fuses", "names"),
    [
        (b"00000000", ()),
        (b"10000000", ("RunAsNode",)),
        (b"01001111", ()),
        (b"0011", ("EnableNodeOptionsEnvironmentVariable", "EnableNodeCliInspectArguments")),
        (b"rrrr", ()),
        (b"\x90\x90\x90\x90", ()),
        (b"1", ("RunAsNode",)),
        (b"", ()),
    ],
)
def test_fuses_that_let_others_choose(fuses, names):
    assert fed(b"x" * 1000 + wire(fuses) + b"\0" * 1000) == names
    assert fed(wire(fuses)) == names


def test_every_copy_counts():
    assert fed(wire(b"0000") + b"\0" * 99 + wire(b"1000")) == ("RunAsNode",)
    assert fed(wire(b"0000") + wire(b"0010")) == ("EnableNodeOptionsEnvironmentVariable",)


def test_marker_without_anything_behind_it():
    assert fed(MARKER) == ()
    assert fed(MARKER + b"\x01") == ()
    assert fed(b"no marker") == ()


@given(st.binary(max_size=100), st.lists(st.integers(0, 300), max_size=20), st.binary(max_size=100))
def test_it_does_not_matter_where_the_pieces_end(before, cuts, after):
    data = before + wire(b"1011") + after + b"\0" * 40
    assert fed(data, *[min(cut, len(data)) for cut in cuts])[:1] == ("RunAsNode",)
