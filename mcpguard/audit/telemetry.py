"""What of an event OpenTelemetry counts and names, by its semantic conventions for MCP.

Trace and span ids are made of connection, side and request: a call and its answer have the same, whoever is told.

Source: OpenTelemetry semantic conventions, gen-ai/mcp (status: Development).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.audit.event import Event

BOUNDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
"""Upper bounds of the histograms' buckets, seconds, as the conventions advise."""
_OPERATION: Final = "mcp.client.operation.duration"
_SESSION: Final = "mcp.client.session.duration"
_SESSIONS: Final = 4096
_ERRORS: Final = {"error": "_OTHER", "ok": "", "deny": "denied"}
"""`error.type` of a status or decision that is not called as it is."""
_Key = tuple[tuple[str, str], ...]


class Summary(msgspec.Struct):
    """One series of a histogram."""

    count: int = 0
    total: float = 0.0
    least: float = float("inf")
    most: float = 0.0
    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def add(self, seconds: float) -> None:
        """One more."""
        self.count += 1
        self.total += seconds
        self.least, self.most = min(self.least, seconds), max(self.most, seconds)
        self.buckets[bisect_left(BOUNDS, seconds)] += 1


class Totals(msgspec.Struct):
    """What was counted since this process began.

    Attributes:
        durations: By name of the histogram and attributes.
        decisions: By attributes.
        began: When connections that are open began, Unix time in seconds.
    """

    durations: dict[tuple[str, _Key], Summary] = {}
    decisions: dict[_Key, int] = {}
    began: dict[str, float] = {}

    def copied(self) -> Totals:
        """Another one to count on in: what was not taken counts as not counted."""
        durations = {
            key: msgspec.structs.replace(one, buckets=list(one.buckets))
            for key, one in self.durations.items()
        }
        return Totals(durations, dict(self.decisions), dict(self.began))

    def add(self, event: Event) -> None:
        """Count an event."""
        body, conn, at = event.body, event.text("conn"), event.milliseconds / 1000
        match event.record.type, event.word:
            case "outcome", _ if type(latency := body.get("latency_us")) is int:
                self._took(_OPERATION, tuple(sorted(measured(event).items())), latency / 1e6)
            case "call", _:
                key: _Key = (("mcpguard.decision", event.word), ("mcpguard.server", event.text("server")))
                key = key if key in self.decisions or len(self.decisions) < limits.SERIES else _other(key)
                self.decisions[key] = self.decisions.get(key, 0) + 1
            case "session", "begin":
                if len(self.began) >= _SESSIONS:
                    del self.began[next(iter(self.began))]
                self.began[conn] = at
            case "session", "end" if conn in self.began:
                self._took(_SESSION, (("network.transport", "pipe"),), max(0.0, at - self.began.pop(conn)))

    def _took(self, name: str, key: _Key, seconds: float) -> None:
        if (name, key) not in self.durations and len(self.durations) >= limits.SERIES:
            key = _other(key)
        self.durations.setdefault((name, key), Summary()).add(seconds)


def _other(key: _Key) -> _Key:
    """The series that stands for all beyond the bound."""
    folded = ("gen_ai.tool.name", "gen_ai.prompt.name", "mcpguard.server", "mcp.method.name")
    return tuple((name, "_other" if name in folded else value) for name, value in key)


def measured(event: Event) -> dict[str, str]:
    """Attributes of few values: of a metric, and of a span."""
    method, target = event.text("method"), event.target
    found = {"mcp.method.name": method, "network.transport": "pipe"}
    if method == "tools/call":
        found |= {"gen_ai.tool.name": target, "gen_ai.operation.name": "execute_tool"}
    elif method == "prompts/get":
        found["gen_ai.prompt.name"] = target
    if error := _ERRORS.get(event.word, event.word):
        found["error.type"] = error
    return found


def identified(event: Event) -> tuple[int, int]:
    """Trace and span of the request that an event belongs to; zeros if it is no request."""
    if event.record.type not in ("call", "outcome"):
        return 0, 0
    number = event.body.get("id")
    name = f"{event.record.boot} {event.text('conn')} {event.text('side')} {number or event.id}"
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:16], "big"), int.from_bytes(digest[16:24], "big")
