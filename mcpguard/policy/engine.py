"""Which engine decides: rules, or Cedar policies. Both answer the same questions (`decider`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mcpguard.model import Caller
from mcpguard.policy.circumstances import Surroundings
from mcpguard.policy.rules import CEDAR, RuleSet
from mcpguard.policy.snapshot import Snapshot, compile_snapshot

if TYPE_CHECKING:
    from mcpguard.policy.cedar import CedarPolicy

_NOBODY: Final = Caller()
_NOWHERE: Final = Surroundings()


def compile_policy(
    ruleset: RuleSet, server: str, caller: Caller = _NOBODY, surroundings: Surroundings = _NOWHERE
) -> Snapshot | CedarPolicy:
    """Compile a policy for one connection; by default for somebody of whom nothing is known."""
    if ruleset.engine == CEDAR:
        from mcpguard.policy.cedar import compile_cedar  # noqa: PLC0415 (few have it)

        return compile_cedar(ruleset, server, caller, surroundings)
    return compile_snapshot(ruleset, server, caller, surroundings)
