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


def common(ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, ...] | None:
    """What two credentials that are shown together are both for; None if that is nothing.

    Both are patterns, none of them for everything, as is the result: those of either that lie within one of the
    other. What two patterns share without one lying within the other, such as `a*` and `*b`, is left out.
    """
    if not ours or not theirs:
        return ours or theirs
    both = [*(one for one in ours if within(one, theirs)), *(one for one in theirs if within(one, ours))]
    return tuple(dict.fromkeys(both)) or None


def within(pattern: str, wider: Iterable[str]) -> bool:
    """Whether one of the others matches whatever a pattern matches, as far as is easily seen."""
    return any(
        other == pattern
        # a star stands for any run of characters, and may be looked at as one where nothing counts them
        or (not ("?" in other and "*" in pattern) and compile_pattern(other).matches(pattern))
        for other in wider
    )
