"""Requests and replies on admin.sock."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.errors import ProtocolError
from mcpguard.protocol.control import Request, failure, parse_request, reply


def test_request_is_read_with_its_defaults():
    assert parse_request(b'{"verb":"status"}') == Request("status")
    line = b'{"verb":"policy-apply","v":1,"source":"a.toml","text":"version = 1"}'
    assert parse_request(line) == Request("policy-apply", 1, "a.toml", "version = 1")


@pytest.mark.parametrize(
    ("line", "because"),
    [
        (b"", "not a control request"),
        (b"{}", "verb"),
        (b"[]", "not a control request"),
        (b'{"verb":5}', "not a control request"),
        (b'{"verb":"status","extra":1}', "extra"),
        (b'{"verb":"status","v":2}', "version 1"),
        (b'{"verb":"\xff"}', "not a control request"),
        (b'{"verb":"status","text":' + b"[" * 5000, "not a control request"),
    ],
)
def test_anything_else_is_refused(line, because):
    with pytest.raises(ProtocolError, match=because):
        parse_request(line)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_request_or_refused(line):
    try:
        request = parse_request(line)
    except ProtocolError:
        return
    assert request.v == 1


def test_replies_are_one_line_of_this_version():
    assert reply({"ok": True, "a": "\n"}) == b'{"v":1,"ok":true,"a":"\\n"}\n'
    answer = msgspec.json.decode(failure("not-found", "no such thing"))
    assert answer == {"v": 1, "ok": False, "code": "not-found", "error": "no such thing"}
