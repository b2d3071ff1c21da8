"""The formats in which an event leaves, by name: what a sink or a file is given, as one line of text.

Rule: a line has no line end in it, by any reading: LF, CR, NEL, U+2028, U+2029.

Decided: *JSON is the record's own line with two members in front*. Whoever has it can take them away again, and has
the bytes whose digest the next record holds; so a copy at the far end of a sink can be verified, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from mcpguard.audit.cef import cef
from mcpguard.audit.event import Event
from mcpguard.audit.ocsf import ocsf
from mcpguard.audit.syslog import FACILITIES, message
from mcpguard.model import escape

_SYSLOG_BYTES: Final = 1 << 20
Write = Callable[[Event, str], str]
"""An event, and the name of this machine, as one line without its end."""


def as_json(event: Event, _hostname: str = "") -> str:
    """The record with the event's id and severity in front of it."""
    return f'{{"event_id":"{event.id}","severity":"{event.severity.name.lower()}",{event.line[1:]}'


def as_ocsf(event: Event, hostname: str = "") -> str:
    """The event as JSON of its OCSF class."""
    return escape(msgspec.json.encode(ocsf(event, hostname)).decode())


def as_cef(event: Event, _hostname: str = "") -> str:
    """The event as CEF."""
    return cef(event)


def as_syslog(event: Event, hostname: str = "") -> str:
    """The event as a syslog message with JSON in it."""
    return message(
        event, as_json(event), hostname=hostname, facility=FACILITIES["local0"], most=_SYSLOG_BYTES
    ).decode()


PAYLOADS: Final[dict[str, Write]] = {"json": as_json, "ocsf": as_ocsf, "cef": as_cef}
"""Formats that stand alone, and in a syslog message."""
FORMATS: Final[dict[str, Write]] = {**PAYLOADS, "syslog": as_syslog}
"""Formats of a file."""
