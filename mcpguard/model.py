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
    """

    verdict: Verdict = Verdict.DENY
    rule: str = "default"
    reason: str = "no rule allows it"
    origin: str = _NO_RULE
    durable: bool = False

    @property
    def silent(self) -> bool:
        """Whether no rule speaks of it: a denial by default, not by a rule that happens to be called so."""
        return self.verdict is Verdict.DENY and self.origin == _NO_RULE


class Mode(enum.Enum):
    """ENFORCE: verdicts bind. OBSERVE: verdicts are recorded and nothing is refused by policy."""

    ENFORCE = "enforce"
    OBSERVE = "observe"
