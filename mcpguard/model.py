"""Values that several rooms speak: sides, eras, verdicts, decisions.

The zero value of every enumeration here is the safe one, so that an empty value denies.
"""

from __future__ import annotations

import enum
from typing import Any, TypeAlias

import msgspec

Json: TypeAlias = Any
"""A decoded JSON value: None, bool, int, float, str, list[Json] or dict[str, Json]."""

JsonObject: TypeAlias = dict[str, Any]
"""A decoded JSON object."""

MessageId: TypeAlias = int | str
"""A JSON-RPC id as MCP allows it. `7` and `"7"` are different ids; `True` is not an id."""


class Side(enum.Enum):
    """One end of a guarded connection."""

    HOST = "host"
    SERVER = "server"

    __hash__ = object.__hash__
    """Members are single objects; the inherited hash is a Python function, and sides key tables on every call."""

    @property
    def other(self) -> Side:
        """The far side."""
        return Side.SERVER if self is Side.HOST else Side.HOST


class Era(enum.Enum):
    """Which handshake a connection speaks (MCP basic/versioning, revision 2026-07-28).

    MODERN: version and capabilities in `_meta` of every request. LEGACY: `initialize` first, all revisions
    from 2024-11-05 to 2025-11-25.
    """

    LEGACY = "legacy"
    MODERN = "modern"


class Verdict(enum.IntEnum):
    """What policy says; the zero value is the safe one."""

    DENY = 0
    ASK = 1
    ALLOW = 2


_NO_RULE = "built in"


class Decision(msgspec.Struct, frozen=True):
    """A verdict and where it comes from.

    Attributes:
        verdict: What policy says.
        rule: The `id` of the rule that decided, or `default` when none matched, or `observe` built in.
        reason: One sentence for a person: why.
        origin: `file:line` of that rule, or `built in`.
        durable: The record of this call is on stable storage before the call is forwarded.
        recheck: The host is looked at again before the call is forwarded.
    """

    verdict: Verdict = Verdict.DENY
    rule: str = "default"
    reason: str = "no rule allows it"
    origin: str = _NO_RULE
    durable: bool = False
    recheck: bool = False

    @property
    def silent(self) -> bool:
        """Whether no rule speaks of it: a denial by default, not by a rule that happens to be called so."""
        return self.verdict is Verdict.DENY and self.origin == _NO_RULE


class Grade(enum.IntEnum):
    """How much the evidence about a host is worth; the zero value is the least.

    G0 its user id; G1 a live, pinned process in our user, pid and mount namespaces; G2 the same process holds both
    ends of the stdio and is the direct parent; G3 its executable is beyond the user's reach and bears no sign of
    injection; G4 the system enforces a label on it.
    """

    G0 = 0
    G1 = 1
    G2 = 2
    G3 = 3
    G4 = 4


class Caller(msgspec.Struct, frozen=True):
    """Who is on the host's side of a connection, as policy sees it.

    Attributes:
        principals: `any`, and `host:NAME` for an enrolled host.
        grade: What the evidence is worth.
        unit: systemd unit, from its control group; empty if it is in none.
        label: Security label that the system enforces; empty if it has none.
        ancestors: Paths of the executables above the host, nearest first, the host's own first of all. Evidence
            for refusing, never for allowing.
    """

    principals: tuple[str, ...] = ("any",)
    grade: Grade = Grade.G0
    unit: str = ""
    label: str = ""
    ancestors: tuple[str, ...] = ()


class Mode(enum.Enum):
    """ENFORCE: verdicts bind. OBSERVE: verdicts are recorded and nothing is refused by policy."""

    ENFORCE = "enforce"
    OBSERVE = "observe"
