"""Requests and replies on admin.sock: one JSON object each, one line, then the connection ends."""

from __future__ import annotations

import msgspec

from mcpguard.errors import ProtocolError
from mcpguard.model import JsonObject

WIRE = 1


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the command line asks of the daemon.

    Attributes:
        verb: `status`, `policy-apply`, `stop`.
        v: Version of this wire.
        source: For `policy-apply`, where the text comes from, for people.
        text: For `policy-apply`, the policy.
    """

    verb: str
    v: int = WIRE
    source: str = ""
    text: str = ""


_requests = msgspec.json.Decoder(Request)


def parse_request(line: bytes) -> Request:
    """The request of one line.

    Raises:
        ProtocolError: It is not one.
    """
    try:
        request = _requests.decode(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not a control request: {error}") from error
    if request.v != WIRE:
        raise ProtocolError(f"the daemon speaks version {WIRE} of the control wire, not {request.v}")
    return request


def reply(content: JsonObject) -> bytes:
    """A reply with its LF."""
    return msgspec.json.encode({"v": WIRE, **content}) + b"\n"


def failure(code: str, sentence: str) -> bytes:
    """A reply that says no, with its LF."""
    return reply({"ok": False, "code": code, "error": sentence})
