"""Syslog messages: by the grammar of RFC 5424, one event is one message and one line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.audit.event import event_of
from mcpguard.audit.formats import PAYLOADS
from mcpguard.audit.syslog import FACILITIES, SHORTEST, framed, message
from mcpguard.model import escape
from tests.audit.exported import HOSTILE, ends, lines, read_cef, read_syslog


def written(line: bytes, payload: str = "json", most: int = 1 << 20, hostname: str = "box") -> bytes:
    event = event_of(line)
    return message(
        event, PAYLOADS[payload](event, hostname), hostname=hostname, facility=FACILITIES["local0"], most=most
    )


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("line", lines())
def test_every_record_is_one_message(line: bytes, payload: str) -> None:
    data = written(line, payload)
    header, params, text = read_syslog(data)
    assert ends(data.decode()) == 1
    assert (header[2], header[3], header[4]) == ("box", "mcpguard", "-")
    assert params["id"] == event_of(line).id
    if payload == "cef":
        assert read_cef(text)[1]["externalId"] == params["id"]
    else:
        found = json.loads(text)
        assert params["id"] in (found.get("event_id"), found.get("metadata", {}).get("uid"))


def test_header_and_structured_data() -> None:
    header, params, _ = read_syslog(written(lines()[0]))
    assert header == ["132", "2026-11-22T18:00:00.123456Z", "box", "mcpguard", "-", "call"]
    assert params["target"] == escape(HOSTILE)
    assert params["severity"] == "medium"


@given(st.text(max_size=60), st.text(max_size=20))
def test_any_text_anywhere_stays_in_its_place(odd: str, hostname: str) -> None:
    data = written(lines(odd)[0], hostname=hostname)
    assert ends(data.decode()) == 1
    _, params, _ = read_syslog(data)
    assert params.get("target", "") == escape(odd.encode("utf-8", "backslashreplace").decode())


def test_what_is_too_long_says_so_and_keeps_its_id() -> None:
    data = written(lines("x" * 500)[0], "ocsf", SHORTEST)
    assert len(data) <= SHORTEST
    _, params, text = read_syslog(data)
    found = json.loads(text)
    assert (found["event_id"], found["cut"]) == (params["id"], True)
    assert found["bytes"] > SHORTEST


@pytest.mark.parametrize("odd", ["\u2028" * 500, '"' * 500, "]\\" * 250, "\U000e0101" * 500])
def test_every_message_can_be_made_to_fit(odd: str) -> None:
    for line in lines(odd):
        assert len(written(line, "ocsf", SHORTEST, hostname="h" * 300)) <= 4 * SHORTEST


def test_octets_are_counted_not_characters() -> None:
    data = written(lines("ä" * 20)[0])
    size, _, rest = framed(data).partition(b" ")
    assert int(size) == len(rest) == len(data)
