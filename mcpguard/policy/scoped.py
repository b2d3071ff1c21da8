"""A policy narrowed by the credential that a caller showed: one that is for some tools only reaches no others.

Rule 1: it narrows and never widens: a tool that the credential is not for is denied, whatever policy says; of every
other tool policy decides, as without the credential.
Rule 2: it binds while policy only watches, too, since it is no policy: whoever made the credential has said so.

Not here: whether the credential is good (`credentials`); which servers it reaches, which is asked before one is
started.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mcpguard.model import Decision, Json, Verdict
from mcpguard.policy.circumstances import Circumstances
from mcpguard.policy.decider import Decider
from mcpguard.policy.index import CALL
from mcpguard.policy.match import Pattern, compile_pattern

RULE: Final = "credential"
"""The id of the rule that denies, in records and refusals."""
BEYOND: Final = Decision(
    Verdict.DENY, RULE, "the credential that was shown is not for this tool", RULE, binding=True
)


class Scoped:
    """A `Decider` for callers whose credential is for some tools only; made by `scoped`.

    Attributes: those of the policy that is narrowed.
    """

    __slots__ = ("_outer", "_tools", "mode", "neutralise", "observing", "policy", "schemas", "server")

    def __init__(self, outer: Decider, tools: tuple[Pattern, ...]) -> None:
        self._outer = outer
        self._tools = tools
        self.policy = outer.policy
        self.mode = outer.mode
        self.observing = outer.observing
        self.neutralise = outer.neutralise
        self.schemas = outer.schemas
        self.server = outer.server

    def tool(self, name: str) -> Decision:
        """As `Decider.tool`."""
        return self._outer.tool(name) if self._covers(name) else BEYOND

    def method(self, method: str, target: str = "") -> Decision:
        """As `Decider.method`."""
        return self._outer.method(method, target)

    def extension(self, name: str) -> Decision:
        """As `Decider.extension`."""
        return self._outer.extension(name)

    def judge(
        self, method: str, target: str, value: Json, circumstances: Circumstances, now: int
    ) -> Decision:
        """As `Decider.judge`."""
        if method == CALL and not self._covers(target):
            return BEYOND
        return self._outer.judge(method, target, value, circumstances, now)

    def _covers(self, name: str) -> bool:
        return any(pattern.matches(name) for pattern in self._tools)


def scoped(outer: Decider, tools: Iterable[str]) -> Decider:
    """The same policy, for these tools only; `tools` are patterns (`match`), none of them for all tools."""
    patterns = tuple(compile_pattern(text) for text in tools)
    return Scoped(outer, patterns) if patterns else outer
