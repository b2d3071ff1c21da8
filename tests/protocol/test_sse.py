"""Event streams: what every reader reads, however the bytes are cut, within bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.errors import ProtocolError
from mcpguard.protocol import sse
from mcpguard.protocol.sse import Event, EventStream


def read(data: bytes, size: int = 1 << 20) -> tuple[list[Event], EventStream]:
    stream = EventStream()
    found = [event for at in range(0, len(data), size) for event in stream.feed(data[at : at + size])]
    return found, stream


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: a\n\n", [Event(b"a")]),
        (b"data:a\n\n", [Event(b"a")]),
        (b"data:  a\n\n", [Event(b" a")]),
        (b"data: a\r\rdata: b\r\n\r\n", [Event(b"a"), Event(b"b")]),
        (b"data: a\ndata: b\n\n", [Event(b"a\nb")]),
        (b"data: a\ndata\n\n", [Event(b"a\n")]),
        (b"event: ping\ndata: a\n\ndata: b\n\n", [Event(b"a", "ping"), Event(b"b")]),
        (b": comment\nevent: x\n\ndata: a\n\n", [Event(b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", [Event(b"a")]),
        (b"Data: a\n\nunknown: b\ndata : c\n\n", []),
        (b"data: a\n", []),
        (b"data:\n\n", []),
        (b"data: a\xe2\x80\xa8b\x85c\x0bd\n\n", [Event(b"a\xe2\x80\xa8b\x85c\x0bd")]),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events_are_those_of_the_standard_however_the_bytes_are_cut(
    data: bytes, events: list[Event], size: int
) -> None:
    assert read(data, size)[0] == events


@pytest.mark.parametrize(
    ("data", "last_id", "retry"),
    [
        (b"id: 1\ndata:\n\n", "1", None),
        (b"id: 1\n\n", "1", None),
        (b"id: 1\n", "", None),
        (b"id: 1\n\nid\n\n", "", None),
        (b"id: a\x00b\n\n", "", None),
        (b"retry: 1500\n\n", "", 1.5),
        (b"retry: 999999999\n\n", "", limits.SSE_RETRY_SECONDS),
        (b"retry: 1e3\nretry: -1\n\n", "", None),
    ],
)
def test_where_to_resume_and_when(data: bytes, last_id: str, retry: float | None) -> None:
    _, stream = read(data)
    assert (stream.last_id, stream.retry) == (last_id, retry)


@pytest.mark.parametrize(
    "data",
    [
        b"data: " + b"x" * limits.SSE_LINE_BYTES,
        b"data: " + b"x" * (limits.SSE_LINE_BYTES + 1) + b"\n\n",
        (b"data: " + b"x" * 1_000_000 + b"\n") * 9,
        b":\n" * limits.SSE_CHATTER_BYTES,
        b"\n" * (limits.SSE_CHATTER_BYTES + 1),
        (b"event: x\n" + b"data:\n\n") * (limits.SSE_CHATTER_BYTES // 8),
        b"id: " + b"x" * (limits.SSE_ID_CHARS + 1) + b"\n",
        b"id: \xc3\xa4\n",
        b"id: a\tb\n",
    ],
)
def test_what_has_no_end_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(data, 65536)


def test_line_that_comes_byte_by_byte_costs_no_more_than_its_length() -> None:
    """Quadratic work would take minutes here."""
    stream = EventStream()
    stream.feed(b"data: ")
    for _ in range(300_000):
        assert stream.feed(b"x") == []
    (event,) = stream.feed(b"\n\n")
    assert len(event.data) == 300_000


@given(
    st.lists(
        st.sampled_from([b"data: a", b"data", b"id: 1", b"retry: 5", b": c", b"", b"event: e"]), max_size=12
    ),
    st.sampled_from([b"\n", b"\r", b"\r\n"]),
    st.integers(1, 7),
)
def test_line_ends_and_cuts_do_not_matter(lines: list[bytes], end: bytes, size: int) -> None:
    whole, one = read(b"\n".join([*lines, b"", b""]))
    cut, other = read(end.join([*lines, b"", b""]), size)
    assert whole == cut
    assert (one.last_id, one.retry) == (other.last_id, other.retry)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_give_events_or_a_refusal(data: bytes, size: int) -> None:
    try:
        whole, _ = read(data)
    except ProtocolError:
        with pytest.raises(ProtocolError):
            read(data, size)
    else:
        assert read(data, size)[0] == whole


def test_an_event_is_one_message() -> None:
    assert sse.event(b'{"a":1}') == b'event: message\ndata: {"a":1}\n\n'
    assert sse.event(b"{}", "3-7") == b"id: 3-7\nevent: message\ndata: {}\n\n"


def test_a_priming_event_has_an_id_and_no_data() -> None:
    assert sse.priming("3-0", 1000) == b"id: 3-0\nretry: 1000\ndata: \n\n"


def test_a_comment_is_no_event() -> None:
    assert sse.COMMENT.startswith(b":")
    assert sse.COMMENT.endswith(b"\n\n")
