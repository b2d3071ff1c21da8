"""What a record is about, as flat values: what filters ask for, what an index holds, what statistics count by.

A host that is not enrolled has no name that could be relied on: it appears as what its process calls itself, in
parentheses, which no enrolled name has.

Cost: `of` 1.1 us (CPython 3.11 on a 2-core virtual machine; tests/audit/test_facets.py measures it with
--benchmark-enable).
"""

from __future__ import annotations

from typing import Final

import msgspec

from mcpguard.audit.record import Record
from mcpguard.model import Json, JsonObject

TYPES: Final = (
    "call", "outcome", "drop", "finding", "approval", "flow", "session", "policy", "trust", "host", "log",
    "quarantine", "credential",
)  # fmt: skip
"""Types of records that this version writes; a log may have others."""
DECISIONS: Final = (
    "allow", "deny", "ask", "ok", "tool_error", "error", "refused", "lost",
    "asked", "granted", "denied", "expired", "void", "left",
)  # fmt: skip
"""Words on which records turn: of calls, of their outcomes, of questions to people."""


class Facets(msgspec.Struct, frozen=True, gc=False):
    """One record in flat values; a text is empty, a number -1, where the record does not say.

    Attributes:
        type: As in the record.
        conn: Short name of the connection.
        server: The server's name.
        host: Name of the enrolled host, or `(NAME)`, or `(uid N)`.
        uid: User id of the host.
        target: The tool, prompt or URI; of a finding, what it names; of a question, what it is about.
        decision: One of `DECISIONS`: the decision of a call, the status of an outcome, the event of a question.
        side: Who sent the request.
        ident: Id of the request on our side of the wire; 0 if it was not forwarded.
    """

    type: str
    conn: str = ""
    server: str = ""
    host: str = ""
    uid: int = -1
    target: str = ""
    decision: str = ""
    side: str = ""
    ident: int = -1

    @property
    def key(self) -> tuple[str, str, int]:
        """What a call and its outcome have in common."""
        return self.conn, self.side, self.ident


def of(record: Record) -> Facets:
    """The facets of a record, whatever it holds: a member that is not of its kind counts as absent."""
    body = record.body
    kind, evidence = record.type, body.get("host")
    host, uid = _caller(evidence) if type(evidence) is dict else ("", -1)
    target = body.get("tool") or body.get("target")
    decision: Json = None
    if kind == "call":
        decision = body.get("decision")
    elif kind == "outcome":
        decision = body.get("status")
    else:
        server, host, target, decision = _others(kind, body, host, target)
        return Facets(kind, _text(body.get("conn")), server, host, uid, _text(target), _text(decision),
                      _text(body.get("side")), _number(body.get("id")))  # fmt: skip
    return Facets(kind, _text(body.get("conn")), _text(body.get("server")), host, uid, _text(target),
                  _text(decision), _text(body.get("side")), _number(body.get("id")))  # fmt: skip


def _others(kind: str, body: JsonObject, host: str, target: Json) -> tuple[str, str, Json, Json]:
    """Server, host, target and decision of what is neither a call nor an outcome."""
    server, name, event = _text(body.get("server")), body.get("name"), body.get("event")
    match kind:
        case "approval":
            return server, host, target, event
        case "finding":
            return server, host, target or name, None
        case "session" if event == "refused":
            return server, host, target, event
        case "trust" if "manifest" in str(event):
            return server or _text(name), host, target, None
        case "host":
            return server, _text(name), target, None
        case _:
            return server, host, target, None


def _caller(evidence: JsonObject) -> tuple[str, int]:
    """Name and user id of a host."""
    uid = _number(evidence.get("uid"))
    if name := _text(evidence.get("host")):
        return name, uid
    if name := _text(evidence.get("name")):
        return f"({name})", uid
    return (f"(uid {uid})" if uid >= 0 else ""), uid


def _text(value: Json) -> str:
    return value if type(value) is str else ""


def _number(value: Json) -> int:
    """A number that fits an index: whatever is none, or too large, is no number."""
    return value if type(value) is int and 0 <= value < 1 << 62 else -1
