"""One record in the words of a person: a line of a table, for `audit tail` and for the console.

Rule: nothing in a record is obeyed; what cannot be seen appears as escapes (`model.visible`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Final

import click
import msgspec

from mcpguard.audit.record import Record, harmless, parse_line, visible
from mcpguard.errors import JournalError
from mcpguard.model import Json, JsonObject

COLOURS: Final = {
    "allow": "green",
    "ok": "green",
    "deny": "red",
    "refused": "red",
    "error": "red",
    "lost": "red",
    "tool_error": "yellow",
    "ask": "yellow",
    "drop": "yellow",
    "finding": "yellow",
    "trust": "cyan",
    "medium": "yellow",
    "high": "red",
    "critical": "red",
}
_OWN_MEMBERS: Final = {"type", "event", "conn", "host", "server"}
_ARGUMENT_CHARS: Final = 200
"""How much of the arguments that a record keeps a line shows."""
_DIGEST_CHARS: Final = 12
"""How much of a digest a line shows; `--json` shows all of it."""


class Painter:
    """Records as aligned lines: time, connection, server, what, decision, rule, latency. Every line stands alone.

    `arguments` opens what a record keeps of its arguments (`system.argumentkeys`).
    """

    def __init__(
        self, *, colour: bool, arguments: Callable[[JsonObject], JsonObject | None] = lambda _: None
    ) -> None:
        self._colour = colour
        self._arguments = arguments

    def line(self, line: bytes) -> str:
        """One record for a person; one that cannot be read says so."""
        try:
            record = parse_line(line)
        except JournalError as error:
            return f"(unreadable: {error.message}: {harmless(line)[:200]})"
        word, rest = told(record.body)
        conn, server = (text(record.body.get(name), "-") for name in ("conn", "server"))
        colour = COLOURS.get(word) if self._colour else None
        rest = f"{rest}{self._kept(record.body)}"
        decision = click.style(f"{word:<10}", fg=colour) if colour else f"{word:<10}"
        return f"{local(record.time)}  {conn:<6}  {server:<14}  {what(record.body):<32}  {decision}  {rest}".rstrip()

    def _kept(self, body: JsonObject) -> str:
        """The arguments that a record keeps, cut; that they are erased, or cannot be opened."""
        try:
            kept = self._arguments(body)
        except JournalError as error:
            return f"  ({error.message})"
        if kept is None:
            return ""
        if kept.get("erased"):
            return "  (arguments erased)"
        shown = text(kept.get("arguments"))
        more = len(shown) - _ARGUMENT_CHARS
        ends = "…" if more > 0 or kept.get("cut") else ""
        return f"  with {shown[:_ARGUMENT_CHARS]}{ends}"

    def answered(self, line: bytes, outcome: Record | None) -> str:
        """The record of a call with how it ended, in one line."""
        shown = self.line(line)
        if outcome is None:
            return shown
        word, rest = told(outcome.body)
        colour = COLOURS.get(word) if self._colour else None
        return f"{shown}  -> {click.style(word, fg=colour) if colour else word}  {rest}"


def colour_wanted() -> bool:
    """NO_COLOR, then CLICOLOR_FORCE or FORCE_COLOR, then whether a terminal reads us."""
    if os.environ.get("NO_COLOR"):
        return False
    if any(os.environ.get(name) not in (None, "", "0") for name in ("CLICOLOR_FORCE", "FORCE_COLOR")):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def what(body: JsonObject) -> str:
    """Method and what it is about, or what kind of record it is."""
    kind = text(body.get("type"))
    if kind == "approval":
        return f"approval {text(body.get('event'))} {text(body.get('target'))}".rstrip()
    if "method" in body:
        answer = "< " if kind == "outcome" else ""
        return f"{answer}{text(body['method'])} {text(body.get('tool', body.get('target')))}".rstrip()
    if kind == "finding" and "severity" in body:
        return f"finding {text(body.get('kind'))}"
    if kind == "finding":
        return f"finding {text(body.get('kind'))} {text(body.get('name'))}".rstrip()
    if kind == "trust":
        return f"trust {text(body.get('event'))} {text(body.get('name'))}".rstrip()
    return f"{kind} {text(body.get('event', body.get('side')))}".rstrip()


def told(body: JsonObject) -> tuple[str, str]:
    """The word on which a record turns, and what else there is to say."""
    match body.get("type"):
        case "call":
            note = "" if body.get("binding", True) else "  (observed only)"
            return text(body.get("decision")), f"{text(body.get('rule'))}{note}"
        case "outcome":
            latency = _milliseconds(body.get("latency_us"))
            return text(body.get("status")), f"{latency}  {text(body.get('size'))} bytes"
        case "drop":
            return "drop", f"{text(body.get('reason'))}  {text(body.get('bytes'))} bytes"
        case "finding" if "severity" in body:
            return text(body["severity"]), f"{text(body.get('fault'))}{_done(body)}"
        case "finding":
            return "finding", f"{text(body.get('fault'))}{_digests(body)}"
        case "trust":
            return "trust", _trusted(body)
        case _:
            return "", _others(body)


def _done(body: JsonObject) -> str:
    """How often it was so, and what policy made of it."""
    times = f"  {text(body['count'])} times" if body.get("count", 1) != 1 else ""
    action = text(body.get("action"))
    return f"{times}  -> {action}" if action not in ("", "record") else times


def _digests(body: JsonObject) -> str:
    """The beginning of what was pinned and of what was seen; a server's name stands in the fault already."""
    if body.get("kind") == "serverInfo":
        return ""
    pairs = ((word, text(body.get(word))[:_DIGEST_CHARS]) for word in ("pinned", "seen"))
    return "".join(f"  {word} {digest}" for word, digest in pairs if digest)


def _trusted(body: JsonObject) -> str:
    """What is trusted now: a manifest, a host, or the versions of everything."""
    manifests = body.get("manifests")
    if "trust_digest" in body:
        count = len(manifests) if isinstance(manifests, dict) else body.get("manifests_left_out", "?")
        versions = f"trust set {text(body.get('trust'))}  revocations {text(body.get('revocations'))}"
        return f"{versions}  manifests {text(count)}"
    if "manifest" in body:
        words = ("version", "pin", "publisher")
        told = "  ".join(f"{word} {text(body.get(word), '?')}" for word in words)
        return f"{told}  {text(body['manifest'])[: len('sha256:') + _DIGEST_CHARS]}"
    return text(body.get("host"))


def _others(body: JsonObject) -> str:
    """Members of a record that has no column of its own for them."""
    pairs = ((name, value) for name, value in body.items() if name not in _OWN_MEMBERS)
    return "  ".join(f"{visible(name)}={text(value)}" for name, value in pairs)


def text(value: Json, absent: str = "") -> str:
    """Any member for a person, nothing in it able to steer a terminal."""
    if value is None:
        return absent
    return visible(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def _milliseconds(latency_us: Json) -> str:
    return f"{latency_us / 1000:.3f} ms" if isinstance(latency_us, int) else "?"


def unix(time: str) -> float:
    """The time of a record in seconds since 1970; 0.0 if it is none."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def local(time: str) -> str:
    """Local time, to the millisecond; a time that is none, such as a 13th month, as it stands."""
    try:
        return datetime.fromisoformat(time).astimezone().replace(tzinfo=None).isoformat(" ", "milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{time[:23]:<23}"
