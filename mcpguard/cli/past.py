"""What the audit log says of requests that were decided, for the verbs that look at a policy in the light of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import msgspec

from mcpguard.audit.record import Record
from mcpguard.cli import ago
from mcpguard.cli.logrecords import records
from mcpguard.cli.recordwords import unix
from mcpguard.model import Grade, Json, JsonObject, Side, Verdict
from mcpguard.policy.replay import CALL, Past
from mcpguard.policy.rules import GATED_METHODS, HOST
from mcpguard.policy.trials import Trial

_VERDICTS: Final = {verdict.name.lower(): verdict for verdict in Verdict}
_GRADES: Final = {grade.name: grade for grade in Grade}
_WANTED: Final = (b'"type":"call"', b'"type":"outcome"', b'"type":"flow"', b'"type":"session"')


class Answered(msgspec.Struct, frozen=True):
    """A request was answered; `key` is that of its `Asked`."""

    key: tuple[str, str, int]
    good: bool


class Asked(msgspec.Struct, frozen=True):
    """A request was decided. `passed`: it reached the other side."""

    key: tuple[str, str, int]
    past: Past
    passed: bool


class Saw(msgspec.Struct, frozen=True):
    """A host has seen labels."""

    instance: str
    labels: list[str]


class Began(msgspec.Struct, frozen=True):
    """A server was started. `registered`: it has a manifest."""

    server: str
    registered: bool


def span(text: str) -> float:
    """The beginning, in Unix time, of a time that goes back from now: `90m`, `12h`, `7d`, `4w`.

    Raises:
        BadParameter: It is none.
    """
    back = ago.seconds(text)
    if back is None:
        raise click.BadParameter("expected a number and one of s, m, h, d, w: 7d")
    return time.time() - back


def read(directory: Path, since: float, label: str) -> Iterator[Asked | Answered | Saw | Began]:
    """What happened since then, in order; a bar on a terminal says how far the reading is.

    Raises:
        JournalError: There is no log, or it cannot be read.
    """
    for _, record in records(directory, label, _WANTED):
        if (event := _event(record, since)) is not None:
            yield event


def _event(record: Record, since: float) -> Asked | Answered | Saw | Began | None:
    at = unix(record.time)
    if at < since:
        return None
    body = record.body
    match record.type:
        case "call":
            return _asked(record, at)
        case "outcome":
            return Answered(_key(body), body.get("status") in ("ok", "tool_error"))
        case "flow":
            return Saw(_instance(record), [str(label) for label in body.get("labels", [])])
        case "session" if body.get("event") == "begin":
            return Began(str(body.get("server", "")), "manifest" in body)
    return None


def _asked(record: Record, at: float) -> Asked | None:
    body = record.body
    method, verdict = body.get("method"), _VERDICTS.get(str(body.get("decision")))
    if verdict is None or (method != CALL and method not in GATED_METHODS):
        return None
    host = body.get("host", {})
    trial = Trial(
        server=str(body.get("server", "")),
        tool=str(body.get("tool", "")) if method == CALL else "",
        method="" if method == CALL else str(method),
        target=str(body.get("target", "")),
        who=_principals(host),
        grade=_GRADES.get(host.get("grade"), Grade.G0),
        unit=str(host.get("unit", "")),
        label=str(host.get("label", "")),
        at=at,
    )
    passed = verdict is Verdict.ALLOW or body.get("binding") is False
    was = Verdict.ASK if "approval" in body else Verdict.ALLOW if passed else verdict
    return Asked(_key(body), Past(trial, was, _instance(record), _shape(body)), passed)


def _principals(host: JsonObject) -> tuple[str, ...]:
    name = host.get("host")
    if "principal" in host:
        return tuple(str(each) for each in host.get("principals", ()))
    return (f"uid:{host.get('uid', '')}", *((f"{HOST}{name}",) if name else ()))


def _shape(body: JsonObject) -> dict[str, str] | None:
    args = body.get("args", {})
    shape = args.get("shape")
    if isinstance(shape, dict) and all(isinstance(word, str) for word in shape.values()):
        return shape
    return {} if args.get("size") == 0 else None


def _key(body: JsonObject) -> tuple[str, str, int]:
    ident: Json = body.get("id", 0)
    side = str(body.get("side", Side.HOST.value))
    return str(body.get("conn", "")), side, ident if isinstance(ident, int) else 0


def _instance(record: Record) -> str:
    """The run of the host; without a handle on it, the connection."""
    host = record.body.get("host", {})
    if "instance" in host:
        return f"{record.boot} {host.get('pid')} {host['instance']}"
    return f"{record.boot} {record.body.get('conn')}"
