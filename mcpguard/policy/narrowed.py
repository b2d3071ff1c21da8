"""A policy narrowed by a project's file.

Rule 1: the verdict is the lesser of the two; where nothing of the project's file matches it has no say. Whatever the
file holds, nothing is allowed or asked that was not before.
Rule 2: neither do labels of a project allow anything. They reach the host as `project:NAME`; the policy is judged
with what the host has seen and once more with labels of projects taken for its own, and the lesser counts.

Not here: whether the folder is trusted, which rules a project's file may hold (`document`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from mcpguard.model import Caller, Decision, Json, Verdict
from mcpguard.policy.circumstances import Circumstances, Surroundings
from mcpguard.policy.decider import Decider
from mcpguard.policy.explanation import Asked, Explanation
from mcpguard.policy.index import CALL
from mcpguard.policy.rules import GATED_METHODS, Labelled, RuleSet
from mcpguard.policy.snapshot import Snapshot, snapshot_with

PROJECT: Final = "project:"
"""What a label of a project's file begins with in decisions and circumstances; its name follows."""

_ABSTAINS: Final = Decision(
    Verdict.ALLOW, "project", "the file of the project does not speak of it", "project"
)
_NOBODY: Final = Caller()
_NOWHERE: Final = Surroundings()


class Narrowed:
    """A `Decider` that a project's file narrows; made by `narrow`.

    Attributes: those of the policy that is narrowed, but `policy`, which names both.
    """

    __slots__ = (
        "_outer",
        "_project",
        "mode",
        "neutralise",
        "observing",
        "policy",
        "schemas",
        "server",
    )

    def __init__(self, outer: Decider, project: Snapshot) -> None:
        self._outer = outer
        self._project = project
        self.policy = f"{outer.policy}+{project.policy}"
        self.mode = outer.mode
        self.observing = outer.observing
        self.neutralise = outer.neutralise
        self.schemas = outer.schemas
        self.server = outer.server

    def tool(self, name: str) -> Decision:
        """As `Decider.tool`."""
        return lesser(self._outer.tool(name), self._project.tool(name))

    def method(self, method: str, target: str = "") -> Decision:
        """As `Decider.method`."""
        return lesser(self._outer.method(method, target), self._project.method(method, target))

    def extension(self, name: str) -> Decision:
        """As `Decider.extension`."""
        return lesser(self._outer.extension(name), self._project.extension(name))

    def judge(
        self, method: str, target: str, value: Json, circumstances: Circumstances, now: int
    ) -> Decision:
        """As `Decider.judge`."""
        decision = self._outer.judge(method, target, value, circumstances, now)
        coloured = _coloured(circumstances)
        if coloured is not circumstances:
            other = self._outer.judge(method, target, value, coloured, now)
            decision = other if other.verdict < decision.verdict else decision
        return lesser(decision, self._project.judge(method, target, value, coloured, now))

    def explain(self, name: str, asked: Asked | None = None) -> Explanation:
        """What the project's file has to do with it: its rules, and the decision of both.

        The rules of the policy are explained by itself.
        """
        gated = name in GATED_METHODS
        if asked is None:
            whole = self.method(name) if gated else self.tool(name)
            return msgspec.structs.replace(self._project.explain(name), decision=whole)
        method, target = (name, asked.target) if gated else (CALL, name)
        whole = self.judge(method, target, asked.value, asked.circumstances, asked.now)
        seen = msgspec.structs.replace(asked, circumstances=_coloured(asked.circumstances))
        return msgspec.structs.replace(self._project.explain(name, seen), decision=whole)


def narrow(
    outer: Decider,
    project: RuleSet,
    caller: Caller = _NOBODY,
    surroundings: Surroundings = _NOWHERE,
    labels: Iterable[Labelled] = (),
) -> Narrowed:
    """Narrow a policy for one connection; `labels` are those of the policy, which the project may speak of too."""
    known = msgspec.structs.replace(project, labels=(*labels, *project.labels))
    return Narrowed(outer, snapshot_with(known, outer.server, _ABSTAINS, caller, surroundings))


def lesser(outer: Decision, project: Decision) -> Decision:
    """The lesser of two decisions on the same thing, with what either asks for."""
    winner = project if project.verdict < outer.verdict else outer
    verdict, reason = winner.verdict, winner.reason
    if outer.silent and (project.verdict is not Verdict.ALLOW or project.depends):
        winner = project  # what passes unless a rule speaks of it: this one does, or may
        reason = project.reason if project.verdict is verdict else f"no rule allows it, and {project.reason}"
    charges = () if verdict is Verdict.DENY else (*outer.charges, *project.charges)
    sizes = [size for size in (outer.result_bytes, project.result_bytes) if size]
    return Decision(
        verdict=verdict,
        rule=winner.rule,
        reason=reason,
        origin=winner.origin,
        durable=outer.durable or project.durable,
        recheck=outer.recheck or project.recheck,
        recorded=outer.recorded,
        depends=outer.depends or project.depends,
        confirm=(outer.confirm or project.confirm) if verdict is Verdict.ASK else "",
        result_bytes=min(sizes, default=0),
        charges=charges,
        reads=_both(outer.reads, project.reads),
        sends=_both(outer.sends, project.sends),
        secrets=outer.secrets,
    )


def _both(outer: tuple[str, ...], project: tuple[str, ...]) -> tuple[str, ...]:
    return (*outer, *(f"{PROJECT}{label}" for label in project if label not in outer))


def _coloured(circumstances: Circumstances) -> Circumstances:
    """The circumstances with labels of projects among the others; the same, if there are none."""
    if not any(label.startswith(PROJECT) for label in circumstances.labels):
        return circumstances
    other = Circumstances(circumstances.meters, circumstances.instance, circumstances.offset)
    other.session = circumstances.session
    other.labels = {label.removeprefix(PROJECT): seen for label, seen in circumstances.labels.items()}
    return other
