"""Requests and replies on admin.sock: one JSON object each, one line, then the connection ends."""

from __future__ import annotations

import msgspec

from mcpguard.errors import ProtocolError
from mcpguard.model import Json, JsonObject

WIRE = 1


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the command line asks of the daemon.

    Attributes:
        verb: `status`, `metrics`, `stop`, `policy-apply`, `hosts`, `host-trust`, `host-forget`, `trust`, `trust-put`,
            `revocations-put`, `servers`, `server-show`, `server-put`, `server-remove`, `pending`, `recent`,
            `approve`, `deny`, `presence`,
            `presence-begin`, `presence-put`, `presence-remove`, `folders`, `folder-trust`, `folder-forget`,
            `audit-sign`, `audit-erase`, `quarantine`, `quarantine-put`, `quarantine-lift`, `listeners`,
            `listeners-reload`, `serve`, and those of `daemon.apikeys`, `daemon.certdesk`, `daemon.oauthdesk`.
        v: Version of this wire.
        source: Where the text comes from, for people.
        text: The policy, the enrolment or the signed envelope that is put; what is to be erased, a listener, or what
            is asked for an API key (`daemon.apikeys.Wanted`), as JSON text.
        name: The host or server that is meant; of `quarantine-put`, as `server:NAME` or `host:NAME`.
        definitions: For `server-put`, the definitions whose digests the manifest pins, as JSON text.
        ident: The ticket that is meant.
        reason: Why it is denied, or put into quarantine.
        scope: How far an approval goes: `once`, `for`, `session`.
        seconds: For `for`, how long; for `apikey-rotate`, how long the old one counts beside the new one; for
            `pending` and `recent`, how long to wait for something new, at most 5.
        since: What the caller has seen: it waits until there is something newer; -1 not to wait.
        proof: What shows presence (`daemon.presence.Proof`), as JSON text.
    """

    verb: str
    v: int = WIRE
    source: str = ""
    text: str = ""
    name: str = ""
    definitions: str = ""
    ident: str = ""
    reason: str = ""
    scope: str = "once"
    seconds: float = 0.0
    since: int = -1
    proof: str = ""


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


def failure(code: str, sentence: str, **members: Json) -> bytes:
    """A reply that says no, with its LF."""
    return reply({"ok": False, "code": code, "error": sentence, **members})
