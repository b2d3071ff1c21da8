"""The policy while nobody has applied one: watch, record, refuse nothing.

Decided:
    *Observe first*, because a guard that breaks a person's servers on the first day is removed on the first
    day; rejected: denying until a policy is applied. The records say `observe`, so nobody mistakes it for leave.
"""

from __future__ import annotations

from typing import Final

from mcpguard.model import Decision, Mode, Verdict
from mcpguard.policy.circumstances import Surroundings
from mcpguard.policy.rules import RuleSet
from mcpguard.policy.snapshot import Snapshot

OBSERVE: Final = Decision(
    verdict=Verdict.ALLOW,
    rule="observe",
    reason="no policy is applied; watching only",
    origin="built in",
)
"""The decision on every tool and on every gated method."""

OBSERVE_RULES: Final = RuleSet(
    file="built in", digest="built-in", mode=Mode.OBSERVE, neutralise=False, unpinned=True, schemas=False
)
"""The policy as a value: no rules, observing, text as it is, schemas left alone, every server may run."""

_NOWHERE: Final = Surroundings()


def observe_snapshot(server: str, surroundings: Surroundings = _NOWHERE) -> Snapshot:
    """The built-in policy for one server; decisions carry the labels that its manifest states."""
    return Snapshot(OBSERVE_RULES, server, default=OBSERVE, surroundings=surroundings)
