r"""Common Event Format: one event, one line, whatever is in it.

A header has `\` and `|` escaped, a value of the extension `\`, `=`, CR and LF, as CEF says. Other characters that
end a line or steer a terminal somewhere (U+2028, ESC and the like) become JSON escapes, of which CEF knows nothing: a
reader sees `\u2028` as text.

Source: ArcSight Common Event Format, version 0 (revision 25): escaping, dictionary of keys, lengths.

Decided: *The record is not in it*: values are cut at `VALUE_CHARS`, so that a record would not survive. `externalId`
names it; the JSON formats have it whole.
"""

from __future__ import annotations

import re
from typing import Final

from mcpguard import __version__
from mcpguard.audit.event import Event, Severity, text
from mcpguard.model import escape

VALUE_CHARS: Final = 1023
"""Longest value of a key, characters before escaping: what CEF allows most of its text fields."""
_SHORT: Final = {
    "act": 63,
    "outcome": 63,
    "app": 31,
    "externalId": 40,
    "sourceServiceName": 255,
    "reason": 1023,
}
_LEVELS: Final = {
    Severity.INFORMATIONAL: 1,
    Severity.LOW: 3,
    Severity.MEDIUM: 5,
    Severity.HIGH: 8,
    Severity.CRITICAL: 10,
}
_HEADER_CHARS: Final = 512
_ENDS: Final = {"\r": "\\r", "\n": "\\n"}
_END: Final = re.compile("([\r\n])")
_PLAIN: Final = re.compile(r"[ -<>-\[\]-~]*")
"""What stands for itself: printable ASCII but `=` and the backslash."""


def cef(event: Event) -> str:
    """The event as a line of CEF, without an end."""
    head = "|".join(
        _header(part)
        for part in ("CEF:0", "mcpguard", "mcpguard", __version__, event.record.type, event.name)
    )
    pairs = [
        f"{key}={_value(value, _SHORT.get(key, VALUE_CHARS))}" for key, value in _extension(event) if value
    ]
    return f"{head}|{_LEVELS[event.severity]}|{' '.join(pairs)}"


def _extension(event: Event) -> list[tuple[str, str]]:
    """Keys of the dictionary; what has none gets one of the custom ones, with its label."""
    body, host = event.body, event.host
    pairs = [
        ("rt", str(event.milliseconds or "")),
        ("externalId", event.id),
        ("cat", event.record.type),
        ("act", event.word),
        ("outcome", event.text("status") or event.text("decision")),
        ("msg", event.plain),
        ("app", "mcp" if "method" in body else ""),
        ("suid", text(host.get("uid"))),
        ("spid", text(host.get("pid"))),
        ("sproc", text(host.get("exe"))),
        ("sourceServiceName", text(host.get("host"))),
        ("destinationServiceName", event.text("server")),
        ("reason", event.text("reason") or event.text("fault")),
    ]
    texts = {
        "method": event.text("method"),
        "target": event.target,
        "rule": event.text("rule"),
        "connection": event.text("conn"),
        "grade": text(host.get("grade")),
        "ticket": event.text("ticket") or event.text("approval"),
    }
    numbers = {
        "seq": str(event.record.seq or ""),
        "latency_us": event.text("latency_us"),
        "size": event.text("size"),
    }
    return pairs + _custom("cs", texts) + _custom("cn", numbers)


def _custom(key: str, values: dict[str, str]) -> list[tuple[str, str]]:
    """Custom keys, each always for the same thing, with its label."""
    return [
        pair
        for number, (label, value) in enumerate(values.items(), 1)
        if value
        for pair in ((f"{key}{number}", value), (f"{key}{number}Label", label))
    ]


def _header(value: str) -> str:
    return escape(value[:_HEADER_CHARS]).replace("\\", "\\\\").replace("|", "\\|")


def _value(value: str, most: int) -> str:
    """Cut, then what cannot be seen as JSON escapes, then the escapes of CEF, so that the first are text to it."""
    if _PLAIN.fullmatch(value, 0, most + 1):
        return value[:most]
    shown = (escape(part) if part not in _ENDS else part for part in _END.split(value[:most]))
    return "".join(_ENDS.get(part) or part.replace("\\", "\\\\").replace("=", "\\=") for part in shown)
