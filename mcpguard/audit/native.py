"""An entry of journald as its own protocol carries it: fields of any bytes, so nothing is escaped but the message.

Source: systemd, JOURNAL_NATIVE_PROTOCOL (a field whose value has an LF is sent with its length),
systemd.journal-fields(7).
"""

from __future__ import annotations

import struct
from typing import Final

from mcpguard.audit.event import Event, Severity

MESSAGE_ID: Final = "6e2d9ac0b8c64c2f8d3f3a0f5f1f6c7b"
"""By which entries of ours are found: journalctl MESSAGE_ID=..."""
_LEVELS: Final = {
    Severity.INFORMATIONAL: 6,
    Severity.LOW: 5,
    Severity.MEDIUM: 4,
    Severity.HIGH: 3,
    Severity.CRITICAL: 2,
}


def entry(event: Event) -> bytes:
    """One datagram."""
    fields = {
        "MESSAGE": event.sentence,
        "MESSAGE_ID": MESSAGE_ID,
        "PRIORITY": str(_LEVELS[event.severity]),
        "SYSLOG_IDENTIFIER": "mcpguard",
        "MCPGUARD_EVENT_ID": event.id,
        "MCPGUARD_TYPE": event.record.type,
        "MCPGUARD_WORD": event.word,
        "MCPGUARD_SEVERITY": event.severity.name.lower(),
        "MCPGUARD_SEQ": str(event.record.seq or ""),
        "MCPGUARD_TIME": event.record.time,
        "MCPGUARD_SERVER": event.text("server"),
        "MCPGUARD_METHOD": event.text("method"),
        "MCPGUARD_TARGET": event.target,
        "MCPGUARD_RULE": event.text("rule"),
        "MCPGUARD_CONN": event.text("conn"),
        "MCPGUARD_HOST": str(event.host.get("host") or ""),
        "MCPGUARD_GRADE": str(event.host.get("grade") or ""),
        "MCPGUARD_RECORD": event.line,
    }
    return b"".join(_field(name, value.encode()) for name, value in fields.items() if value)


def _field(name: str, value: bytes) -> bytes:
    """A field; a value with an LF is sent with its length, so that it cannot begin another field."""
    if b"\n" in value:
        return b"%b\n%b%b\n" % (name.encode(), struct.pack("<Q", len(value)), value)
    return b"%b=%b\n" % (name.encode(), value)
