"""A policy under which a person looks at every call of one server: what `ask` of a finding makes of it.

Rule: it narrows (`narrowed`). What was denied stays denied, what was asked is asked, what was allowed is asked; where
policy only watches, nothing is refused and the record says what would have been.
"""

from __future__ import annotations

from typing import Final

from mcpguard.model import Caller, Mode, Verdict
from mcpguard.policy.circumstances import Surroundings
from mcpguard.policy.decider import Decider
from mcpguard.policy.match import compile_pattern
from mcpguard.policy.narrowed import Narrowed, narrow
from mcpguard.policy.rules import Rule, RuleSet

RULE: Final = "finding"
"""The id of the rule that asks, in records and refusals."""
_ANY: Final = (compile_pattern("*"),)
_ASKS: Final = RuleSet(
    file="mcpguard quarantine",
    digest="asks",
    mode=Mode.ENFORCE,
    neutralise=False,
    rules=(Rule(id=RULE, effect=Verdict.ASK, server=_ANY, tools=_ANY),),
)


def cautious(outer: Decider, caller: Caller, surroundings: Surroundings) -> Narrowed:
    """The same policy, except that a person decides on what it allows of tools."""
    return narrow(outer, _ASKS, caller, surroundings)
