"""Syslog messages: a header, structured data, and the event in another format as the message.

Rule: what is made is ASCII or text without a control, bidirectional or unassigned character, so that one event is one
message in any framing, and one line in any file.

Source: RFC 5424 (the message), RFC 6587 3.4.1 (octet counting), RFC 5425 4.3 (over TLS).

Decided:
    *The message has no byte order mark*, which RFC 5424 asks for before UTF-8: receivers that look for JSON or CEF at
    the start of a message do not find it behind one. A message that says nothing about its encoding is MSG-ANY.
    *`mcpguard@32473`* names the structured data: the number is the one for documentation (RFC 5612), as the project
    has none of its own.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from mcpguard import __version__
from mcpguard.audit.event import Event, Severity
from mcpguard.model import escape

SD_ID: Final = "mcpguard@32473"
"""Name of our structured data."""
FACILITIES: Final = {
    "user": 1, "daemon": 3, "auth": 4, "authpriv": 10, "audit": 13,
    **{f"local{number}": 16 + number for number in range(8)},
}  # fmt: skip
"""Facilities by the names that syslog daemons give them."""
SHORTEST: Final = 2048
"""Every message fits into this many bytes if it has to: what every receiver should take (RFC 5424 6.1)."""
_LEVELS: Final = {
    Severity.INFORMATIONAL: 6,
    Severity.LOW: 5,
    Severity.MEDIUM: 4,
    Severity.HIGH: 3,
    Severity.CRITICAL: 2,
}
_SEQUENCE: Final = 2**31 - 1  # RFC 5424 7.3.1: starts over at 1
_PARAMETER_CHARS: Final = 100
_NOT_NAME: Final = re.compile(r"[^!-~]")


def message(event: Event, payload: str, *, hostname: str, facility: int, most: int) -> bytes:
    """One message, without framing.

    Args:
        event: What it is about.
        payload: The event in another format.
        hostname: Of this machine.
        facility: One of `FACILITIES`.
        most: Longest message, bytes; of a longer one the payload is left out, and JSON in its place says so.
    """
    host = _NOT_NAME.sub("", hostname)[:255] or "-"
    kind = _NOT_NAME.sub("", event.record.type)[:32] or "-"
    priority = facility * 8 + _LEVELS[event.severity]
    head = f"<{priority}>1 {event.record.time or '-'} {host} mcpguard - {kind} {_data(event)} "
    whole = (head + escape(payload)).encode()
    if len(whole) <= most:
        return whole
    left_out = {"event_id": event.id, "cut": True, "bytes": len(payload.encode())}
    return (head + msgspec.json.encode(left_out).decode()).encode()


def framed(data: bytes) -> bytes:
    """A message for a stream: octet counting."""
    return b"%d %b" % (len(data), data)


def _data(event: Event) -> str:
    sequence = f' sequenceId="{(event.record.seq - 1) % _SEQUENCE + 1}"' if event.record.seq else ""
    members = {
        "id": event.id,
        "severity": event.severity.name.lower(),
        "event": event.word,
        "server": event.text("server"),
        "target": event.target,
        "conn": event.text("conn"),
    }
    pairs = "".join(f' {name}="{_parameter(value)}"' for name, value in members.items() if value)
    return f'[meta{sequence}][origin software="mcpguard" swVersion="{__version__}"][{SD_ID}{pairs}]'


def _parameter(value: str) -> str:
    shown = escape(value[:_PARAMETER_CHARS])
    return shown.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
