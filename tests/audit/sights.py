"""Records as detectors see them, for the tests of each."""

from typing import Any

from mcpguard.audit.seen import Seen

NOON = 1_767_096_000.0
"""A day at 12:00 UTC."""
HOST: dict[str, Any] = {"uid": 1000, "pid": 7, "instance": 70, "exe": "/usr/bin/acme"}


def seen(kind: str, at: float = 0.0, seq: int = 0, /, *, stands: float = 1.0, **members: Any) -> Seen:
    body = {"type": kind, "conn": "1-a", "host": HOST, "server": "files", **members}
    return Seen(NOON + at, body, seq, stands=stands)


def call(at: float = 0.0, seq: int = 0, *, decision: str = "allow", tool: str = "read", **more: Any) -> Seen:
    members = {"side": "host", "method": "tools/call", "tool": tool, "args": {"size": 10}, **more}
    return seen("call", at, seq, decision=decision, **members)


def begin(at: float = 0.0, **more: Any) -> Seen:
    return seen("session", at, event="begin", **more)


def drop(reason: str, at: float = 0.0, side: str = "server", **more: Any) -> Seen:
    return seen("drop", at, reason=reason, side=side, bytes=1, **more)
