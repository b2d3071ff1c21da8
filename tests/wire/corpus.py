"""The corpus of hostile and tricky inputs, `tests/vectors/attacks.jsonl`, as values.

Group `http` belongs to the HTTP listener and is left out.
"""

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

from tests.wire import registered

VECTORS = Path(__file__).parent.parent / "vectors"
WIRE_GROUPS = frozenset({
    "framing", "utf8", "grammar", "duplicate-keys", "ids-numbers", "method", "batch", "correlation", "control",
    "tool-name",
})  # fmt: skip
"""Groups in which every verdict must hold. The others also contain default limits that a policy may relax."""


@dataclasses.dataclass(frozen=True)
class Step:
    """A message that precedes an input: who sends it, and its bytes."""

    direction: str
    data: bytes


@dataclasses.dataclass(frozen=True)
class Case:
    """One input and what must become of it.

    `expected` is reject, canonicalise or pass; `action`, for rejects, error, drop or kill. `server` is the name that
    policy knows the server by, which tells the fixture policies apart; `gone` is what must not occur in what arrives.
    """

    id: str
    group: str
    direction: str
    data: bytes
    expected: str
    action: str = ""
    era: str = "any"
    handshake: bool = True
    setup: tuple[Step, ...] = ()
    description: str = ""
    server: str = "wire"
    gone: tuple[bytes, ...] = ()


_SERVERS = {
    "mta-032": "wire-approved",
    "mta-033": "wire-approved",
    "mta-034": "wire-approved",
    "cnt-044": "wire-prompts",
    **dict.fromkeys(
        (
            "cnt-001", "cnt-014", "cnt-018", "cnt-019", "cnt-020", "cnt-021", "cnt-024", "cor-031", "cor-032",
            "ctl-022", "ctl-023", "ctl-024", "mta-022",
        ),
        registered.NAME,
    ),
}  # fmt: skip
"""Cases whose set-up needs more than the fixture policy: `sensitive_tool` approved, `prompts/get` granted, definitions
pinned."""


def _case(entry: dict[str, Any]) -> Case:
    setup = tuple(Step(s["direction"], base64.b64decode(s["bytes_b64"])) for s in entry.get("setup", ()))
    return Case(
        id=entry["id"],
        group=entry["group"],
        direction=entry["direction"],
        data=base64.b64decode(entry["bytes_b64"]),
        expected=entry["expected"],
        action=entry.get("action") or "",
        era=entry["era"],
        handshake=entry["handshake"],
        setup=setup,
        description=entry["description"],
        server=_SERVERS.get(entry["id"], "wire"),
    )


def _load() -> tuple[Case, ...]:
    lines = (VECTORS / "attacks.jsonl").read_bytes().split(b"\n")
    entries = [json.loads(line) for line in lines if line]
    return tuple(_case(entry) for entry in entries if entry["group"] != "http")


CASES = _load()
FIXTURE = json.loads((VECTORS / "fixture.json").read_text())
