"""CEF: hostile values come out of a receiver's parser as one event, as they went in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import __version__
from mcpguard.audit.cef import VALUE_CHARS, cef
from mcpguard.audit.event import event_of
from mcpguard.model import escape
from tests.audit.exported import HOSTILE, ends, lines, read_cef


def shown(value: str) -> str:
    """A value as CEF has it: CR and LF as they are, what else cannot be seen as an escape."""
    return "".join(char if char in "\r\n" else escape(char) for char in value)


@pytest.mark.parametrize("line", lines())
def test_every_record_is_one_line_with_seven_header_fields(line: bytes) -> None:
    event = event_of(line)
    text = cef(event)
    assert ends(text) == 1
    header, pairs = read_cef(text)
    assert header[:4] == ["CEF:0", "mcpguard", "mcpguard", __version__]
    assert 0 <= int(header[6]) <= 10
    assert pairs["externalId"] == event.id
    assert all(len(value) <= VALUE_CHARS * 12 for value in pairs.values())


def test_values_come_back() -> None:
    header, pairs = read_cef(cef(event_of(lines()[0])))
    assert header[4:6] == ["call", "call deny"]
    assert (pairs["cs2Label"], pairs["cs2"]) == ("target", shown(HOSTILE))
    assert pairs["destinationServiceName"] == shown(HOSTILE)
    assert pairs["cs3"] == shown(HOSTILE)
    assert (pairs["act"], pairs["suid"], pairs["rt"]) == ("deny", "1000", "1795370400123")


def test_long_values_are_cut_and_no_escape_is_cut_in_two() -> None:
    for odd in ("=" * 511, "\\" * 511, "\n" * 511):
        header, pairs = read_cef(cef(event_of(lines(odd)[0])))
        assert pairs["cs2"] == odd
        assert len(pairs["msg"]) == VALUE_CHARS
        assert header[5] == "call deny"


@given(st.text(max_size=80))
def test_any_text_comes_back(odd: str) -> None:
    text = cef(event_of(lines(odd)[0]))
    assert ends(text) == 1
    _, pairs = read_cef(text)
    wanted = shown(odd.encode("utf-8", "backslashreplace").decode())
    assert pairs.get("cs2", "") == wanted
