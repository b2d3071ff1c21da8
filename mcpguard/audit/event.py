"""One record on its way out: what every export format says of it, whatever the format.

Rule 1. The id of an event is made of the bytes of its line, so that whoever gets an event twice can tell.
Rule 2. No line is left out: one that cannot be read leaves as an event that says so, with the line in it.

Not here: how an event is written (`ocsf`, `cef`, `syslog`, `native`); where it goes (`system.shipping`).
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
from typing import Final

import msgspec

from mcpguard.audit.record import Record, harmless, parse_line
from mcpguard.errors import JournalError
from mcpguard.model import Json, JsonObject, visible

ID_DIGITS: Final = 32
"""Hex digits of an event's id: 128 bits of SHA-256."""
UNREADABLE: Final = "unreadable"
"""Type of an event whose line is no record."""
_SHOWN_CHARS: Final = 200


class Severity(enum.IntEnum):
    """How much a person should care; the numbers are those of OCSF `severity_id`."""

    INFORMATIONAL = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4
    CRITICAL = 5


class Event(msgspec.Struct, frozen=True):
    """A record and what is said of it in every format.

    Attributes:
        id: 32 hex digits; the same for the same line.
        record: The record.
        severity: How much it matters.
        line: The line as JSON in which nothing invisible stands, without its LF.
    """

    id: str
    record: Record
    severity: Severity
    line: str

    @property
    def body(self) -> JsonObject:
        """The members of the record."""
        return self.record.body

    @property
    def word(self) -> str:
        """On which the record turns: a decision, a status, the name of an event; empty if it has none."""
        for member in ("decision", "status", "event", "fault", "reason"):
            if isinstance(value := self.body.get(member), str):
                return value
        return ""

    @property
    def name(self) -> str:
        """What kind of event it is, in two words at most: `call deny`, `session begin`, `finding`."""
        kind = self.record.type
        return f"{kind} {self.word}" if kind not in ("finding", "drop", UNREADABLE) and self.word else kind

    @property
    def target(self) -> str:
        """The tool, prompt, URI or whatever else it is about; empty if that is nothing."""
        found = self.body.get("tool", self.body.get("target", self.body.get("name", "")))
        return found if isinstance(found, str) else ""

    @property
    def milliseconds(self) -> int:
        """When, Unix time; 0 if the record's time is none."""
        try:
            return int(dt.datetime.fromisoformat(self.record.time).timestamp() * 1000)
        except (ValueError, OverflowError, OSError):
            return 0

    @property
    def plain(self) -> str:
        """What happened, for a person; with the text of others as it is."""
        return " ".join(part for part in self._parts() if part)

    @property
    def sentence(self) -> str:
        """Likewise, in one line; nothing in it can be mistaken for the end of it."""
        return visible(self.plain)

    def text(self, member: str) -> str:
        """A member as text; empty if it is not there. Values that are no text are JSON."""
        return text(self.body.get(member))

    @property
    def host(self) -> JsonObject:
        """The evidence of who called; empty if there is none."""
        found = self.body.get("host")
        return found if isinstance(found, dict) else {}

    def _parts(self) -> list[str]:
        server = self.text("server")
        where = f"at {server}" if server else ""
        match self.record.type:
            case "call":
                rule = f"(rule {self.text('rule')})"
                watched = "observed only" if self.body.get("binding") is False else ""
                return [self.text("method"), self.target, where, self.text("decision"), rule, watched]
            case "outcome":
                return [self.text("method"), self.target, where, "answered:", self.text("status")]
            case "drop":
                return ["line of", self.text("side"), "dropped", where, self.text("reason")]
            case "finding":
                return ["finding", where, self.text("kind"), self.target, self.text("fault")]
            case "secret":
                credential = self.text("credential")
                return ["secret", credential, self.word, where, self.target, self.text("reason")]
            case "log" if self.body.get("event") == "unsent":
                return [
                    "records",
                    self.text("first"),
                    "to",
                    self.text("last"),
                    "were removed before they were sent",
                ]
            case kind if kind == UNREADABLE:
                return ["a line of the audit log is unreadable:", self.text("problem")]
            case kind:
                return [kind, self.word, where, self.target, self.text("reason")]


def event_of(line: bytes) -> Event:
    """The event of one line of the log, with or without its LF. Never fails: rule 2."""
    raw = line.rstrip(b"\n")
    ident = line_id(line)
    try:
        record = parse_line(raw)
    except JournalError as error:
        body: JsonObject = {
            "type": UNREADABLE,
            "problem": error.message,
            "line": harmless(raw)[:_SHOWN_CHARS],
        }
        record = Record(0, "", "", "", UNREADABLE, body)
    return Event(ident, record, severity(record), _shown(raw, record))


def line_id(line: bytes) -> str:
    """The id of a line, with or without its LF: SHA-256 of the line with it, the first 32 hex digits.

    It is the beginning of `prev` in the record behind it.
    """
    return hashlib.sha256(line.rstrip(b"\n") + b"\n").hexdigest()[:ID_DIGITS]


def unsent(sink: str, first: int, last: int, segments: int, time: str) -> Event:
    """The event that stands for records which retention has removed before a sink had them.

    `first` and `last` are positions in the chain, 0 where they are not known; `segments` how many files were missed;
    `time` as records have it.
    """
    body: JsonObject = {
        "type": "log", "event": "unsent", "sink": sink, "first": first, "last": last,
        "lost": max(0, last - first + 1) if first and last else 0, "segments": segments,
    }  # fmt: skip
    ident = line_id(msgspec.json.encode(body))  # without the time: said twice, it is the same gap
    record = Record(0, "", time, "", "log", body)
    return Event(ident, record, Severity.HIGH, msgspec.json.encode({"t": time, **body}).decode())


def severity(record: Record) -> Severity:
    """How much a record matters."""
    body = record.body
    match record.type, body.get("event"), body.get("decision", body.get("status")):
        case "finding", _, _:
            return _stated(body.get("severity"), Severity.HIGH)
        case "quarantine", "imposed", _:
            return Severity.HIGH
        case "call", _, "deny":
            return Severity.LOW if body.get("binding") is False else Severity.MEDIUM
        case (
            ("outcome", _, "refused")
            | ("session", "refused", _)
            | ("secret", "unlock-failed" | "revealed", _)
        ):
            return Severity.MEDIUM
        case ("call", _, "ask") | ("outcome", _, "error" | "tool_error" | "lost") | ("drop", _, _):
            return Severity.LOW
        case "certificate", "refused" | "revoke" | "root-exported" | "root-removed", _:
            return Severity.MEDIUM
        case "certificate", "list" | "renew", _:
            return Severity.INFORMATIONAL
        case ("approval", "denied" | "expired" | "void", _) | (
            "policy" | "trust" | "host" | "certificate" | "credential",
            _,
            _,
        ):
            return Severity.LOW
        case ("log", "gap" | "recovered", _) | ("unreadable", _, _):
            return Severity.HIGH
        case _:
            return Severity.INFORMATIONAL


def _stated(value: Json, default: Severity) -> Severity:
    """A severity that the record itself states, as a word or a number."""
    if isinstance(value, str) and value.upper() in Severity.__members__:
        return Severity[value.upper()]
    words = {"info": Severity.INFORMATIONAL, "fatal": Severity.CRITICAL}
    return words.get(value, default) if isinstance(value, str) else default


def text(value: Json) -> str:
    """Any member as text: JSON unless it is text already, empty for nothing."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _shown(raw: bytes, record: Record) -> str:
    """The line as JSON; what is none becomes the JSON that says so."""
    if record.type == UNREADABLE:
        return msgspec.json.encode(record.body).decode()
    return harmless(raw)
