"""What the console shows, as lines of text: calls with their answers, connections, findings, and the line on top.

Rule 1: nothing of others is obeyed: whatever comes from a record or a status is made visible first.
Rule 2: no line is wider than it may be; what was cut ends with an ellipsis.
Rule 3: colour repeats what a word says, and never says it alone.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

import msgspec

from mcpguard.approvals.words import columns_of, fit
from mcpguard.cli.recordwords import COLOURS, text, told, what
from mcpguard.model import JsonObject, how_many, visible

KEPT: Final = 256
"""Calls, and findings, that can be looked back at."""
_CALLS: Final = (("TIME", 8), ("HOST", 11), ("SERVER", 10), ("TOOL", 20), ("SAID", 7), ("ANSWER", 15))
_SESSIONS: Final = (
    ("HOST", 14), ("GRADE", 5), ("SERVER", 13), ("PIN", 4), ("MCP", 10), ("ALLOWED", 7), ("DENIED", 6), ("OPEN", 4),
)  # fmt: skip
_FINDINGS: Final = (("TIME", 8), ("SEVERITY", 8), ("SERVER", 12), ("WHAT", 24))
_LEAST: Final = 6
"""A last column that has less room than this is left out."""
_FOUND: Final = ("finding", "drop")


class Line(msgspec.Struct, frozen=True):
    """One line; `colour` is the name of one, for those who see it, or empty."""

    text: str
    colour: str = ""


class Table(msgspec.Struct, frozen=True):
    """Rows, and the line that stays above them while they scroll; an empty head where there are none but words."""

    head: str
    lines: list[Line]


class Call(msgspec.Struct):
    """One call of a host or server, as far as it has come.

    Attributes:
        at: When it was decided, seconds since 1970.
        body: The record of the decision.
        answer: The record of its outcome, if there is one.
    """

    at: float
    body: JsonObject
    answer: JsonObject | None = None


class Happenings:
    """The newest calls, each with its answer, and the newest findings."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=KEPT)
        self._open: dict[tuple[Any, ...], Call] = {}
        self._findings: deque[JsonObject] = deque(maxlen=KEPT)

    def take(self, records: list[JsonObject]) -> None:
        """Records in the order in which they were written."""
        for body in records:
            kind = body.get("type")
            if kind == "call":
                self._call(Call(body.get("at", 0.0), body))
            elif kind == "outcome" and (call := self._open.pop(_key(body), None)):
                call.answer = body
            elif kind in _FOUND:
                self._findings.append(body)

    def _call(self, call: Call) -> None:
        if len(self._calls) == KEPT:
            self._open.pop(_key(self._calls[0].body), None)
        self._calls.append(call)
        self._open[_key(call.body)] = call

    @property
    def findings(self) -> int:
        """How many findings can be looked at."""
        return len(self._findings)

    def call_table(self, width: int) -> Table:
        """Calls, oldest first."""
        if not self._calls:
            return Table("", [Line("no calls yet; they appear here as they are decided")])
        return Table(_head(_CALLS, "RULE", width), [_call_line(call, width) for call in self._calls])

    def finding_table(self, width: int) -> Table:
        """Findings, oldest first: what is not as a manifest says, and lines that were not passed on."""
        if not self._findings:
            return Table("", [Line("no findings in the newest records")])
        return Table(_head(_FINDINGS, "WHY", width), [_finding_line(body, width) for body in self._findings])


def top_line(status: JsonObject | None, away: str, width: int) -> Line:
    """The line on top: the daemon, its policy, its totals; or why there is none."""
    if away:
        return Line(fit(f"waiting for the daemon: {visible(away)}", width), "yellow")
    if status is None:
        return Line("asking the daemon")
    policy, calls = status["policy"], status["calls"]
    if failure := status["audit"]["failure"]:
        return Line(fit(f"NOTHING IS RECORDED, so nothing passes: {visible(failure)}", width), "red")
    many = len(status["connections"])
    kept = _kept(status)
    return Line(
        fit(
            f"mcpguard {visible(status['version'])}  policy {policy['mode']}, {how_many(policy['rules'], 'rule')}  "
            f"{how_many(many, 'connection')}  {calls['allowed']} allowed, "
            f"{calls['denied']} denied{kept}",
            width,
        ),
        "red" if kept else "",
    )


def _kept(status: JsonObject) -> str:
    """Who is kept out, for the end of the line."""
    held = status.get("quarantine", {"entries": [], "failure": ""})  # a daemon of before has none
    if held["failure"]:
        return "  QUARANTINE cannot be read: everybody is kept out"
    names = ", ".join(visible(entry["subject"]) for entry in held["entries"])
    return f"  QUARANTINE: {names}" if names else ""


def session_table(status: JsonObject | None, width: int) -> Table:
    """Connections."""
    if status is None or not status["connections"]:
        return Table("", [Line("no connections: a host makes one with mcpguard run")])
    return Table(
        _head(_SESSIONS, "ID", width), [_session_line(entry, width) for entry in status["connections"]]
    )


def host_name(host: Any) -> str:
    """The host as the kernel knows it: its enrolled name, else the last part of its program."""
    if not isinstance(host, dict):
        return "-"
    known = (
        host.get("host")
        or host.get("principal")
        or str(host.get("script") or host.get("exe") or "").rpartition("/")[2]
    )
    return visible(str(known)) or "-"


def _key(body: JsonObject) -> tuple[Any, ...]:
    """What joins a call and its outcome."""
    return body.get("conn"), body.get("side"), body.get("id")


def _call_line(call: Call, width: int) -> Line:
    body = call.body
    decision = text(body.get("decision"))
    said = decision if body.get("binding", True) else f"({decision})"
    cells = (
        _clock(call.at), host_name(body.get("host")), text(body.get("server")), _subject(body), said, _answer(call),
    )  # fmt: skip
    word = text(call.answer.get("status")) if call.answer and decision == "allow" else decision
    return Line(_row(_CALLS, cells, text(body.get("rule")), width), COLOURS.get(word, ""))


def _subject(body: JsonObject) -> str:
    """The tool; of other messages the method, and what it is about."""
    if body.get("method") == "tools/call":
        return text(body.get("tool"))
    return f"{text(body.get('method'))} {text(body.get('target'))}".rstrip()


def _answer(call: Call) -> str:
    if call.answer is None:
        passed = call.body.get("decision") == "allow" or not call.body.get("binding", True)
        return "in flight" if passed else "-"
    latency = call.answer.get("latency_us")
    took = f" {latency / 1000:.1f} ms" if isinstance(latency, int) else ""
    return f"{text(call.answer.get('status'))}{took}"


def _session_line(entry: JsonObject, width: int) -> Line:
    host = entry["host"]
    cells = (
        host_name(host), text(host.get("grade")), text(entry["server"]), _pin(entry),
        text(entry["revision"]) or "-", str(entry["allowed"]), str(entry["denied"]), str(entry["in_flight"]),
    )  # fmt: skip
    return Line(_row(_SESSIONS, cells, text(entry["id"]), width))


def _pin(entry: JsonObject) -> str:
    """The level of the manifest, if there is one."""
    level = text(entry["pin"]).partition(" ")[0]
    return level if level.startswith("P") else "none"


def _finding_line(body: JsonObject, width: int) -> Line:
    word, rest = told(body)
    named = what(body).removeprefix("finding ")
    severity = text(body.get("severity"), "-")
    cells = (_clock(body.get("at", 0.0)), severity, text(body.get("server"), "-"), named)
    return Line(_row(_FINDINGS, cells, rest, width), COLOURS.get(word, ""))


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _head(columns: tuple[tuple[str, int], ...], last: str, width: int) -> str:
    return _row(columns, tuple(name for name, _ in columns), last, width)


def _row(columns: tuple[tuple[str, int], ...], cells: tuple[str, ...], last: str, width: int) -> str:
    row = ""
    for (_, room), cell in zip(columns, cells, strict=True):
        shown = fit(cell, room)
        row += shown + " " * (room + 1 - columns_of(shown))
    room = width - columns_of(row)
    return fit((row + fit(last, room) if room >= _LEAST else row).rstrip(), width)
