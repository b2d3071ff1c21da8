"""Lines: LF alone ends one, and no line grows past its bound however it arrives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.errors import ProtocolError
from mcpguard.protocol.framing import LineBuffer

AWKWARD = "a\r\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e\x00\n".encode()


def fed(pieces, limit=100):
    buffer = LineBuffer(limit)
    lines = [line for piece in pieces for line in buffer.feed(piece)]
    return lines, buffer.partial


@pytest.mark.parametrize(
    ("pieces", "lines", "partial"),
    [
        ([b""], [], 0),
        ([b"a"], [], 1),
        ([b"a\n"], [b"a"], 0),
        ([b"\n\n"], [b"", b""], 0),
        ([b"a", b"b", b"\n"], [b"ab"], 0),
        ([b"a\nb", b"c\nd"], [b"a", b"bc"], 1),
        ([b"a\n", b"", b"\nb"], [b"a", b""], 1),
        ([AWKWARD], [AWKWARD[:-1]], 0),
        ([b"a\r\nb\r", b"\n"], [b"a\r", b"b\r"], 0),
    ],
)
def test_only_a_line_feed_ends_a_line(pieces, lines, partial):
    assert fed(pieces) == (lines, partial)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"12345"],
        [b"123", b"45"],
        [b"1"] * 5,
        [b"\n12345"],
        [b"12345\n"],
        [b"123", b"45\n"],
        [b"\n", b"12345\n\n"],
    ],
)
def test_longer_line_than_the_bound_is_refused(pieces):
    with pytest.raises(ProtocolError, match="longer than 4 bytes"):
        fed(pieces, 4)


@pytest.mark.parametrize(
    "pieces", [[b"1234\n"], [b"12", b"34\n"], [b"1234\n1234\n", b"1234"], [b"\n" * 9], [b"1234", b"", b"\n"]]
)
def test_line_of_exactly_the_bound_passes(pieces):
    *lines, tail = b"".join(pieces).split(b"\n")
    assert fed(pieces, 4) == (lines, len(tail))


@given(st.lists(st.binary(max_size=6).map(lambda data: data.replace(b"\0", b"\n")), max_size=12))
def test_lines_do_not_depend_on_how_bytes_arrive(pieces):
    whole = b"".join(pieces)
    assert fed(pieces) == fed([whole]) == fed([whole[i : i + 1] for i in range(len(whole))])
    lines, partial = fed(pieces)
    assert b"\n".join([*lines, whole[len(whole) - partial :]]) == whole
