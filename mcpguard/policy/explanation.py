"""Why a decision is what it is: the rules that made it, and those that nearly did.

Nothing here decides. Sentences of an explanation are for the person at the machine and may hold text of a request;
`cli` makes it visible.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mcpguard.model import Decision, Json, Verdict
from mcpguard.policy.cases import Case, Plan, place_of
from mcpguard.policy.circumstances import Circumstances
from mcpguard.policy.rules import Rule


class Missed(msgspec.Struct, frozen=True):
    """A rule that had no say, and the sentence that says why."""

    rule: Rule
    why: str


class Asked(msgspec.Struct, frozen=True):
    """A request to explain.

    Attributes:
        value: Arguments of a tool, else the params of the request.
        circumstances: What its host has done so far.
        now: Monotonic nanoseconds.
        target: What it is about, if it is not a tool: a normalised URI, the name of a prompt, what is completed.
    """

    value: Json
    circumstances: Circumstances
    now: int
    target: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """A decision and where it comes from; rules are sorted by file and line.

    Attributes:
        decision: What is decided.
        matching: Every rule that had a say in it; where no request was given, every rule that may have one.
        missed: If nothing was decided by a rule, every rule that would have allowed or asked, for a caller of whom
            more is known or for another request.
        silent: Every other rule that speaks of the name and had no say, and what would have to be otherwise.
    """

    decision: Decision
    matching: tuple[Rule, ...]
    missed: tuple[Missed, ...] = ()
    silent: tuple[Missed, ...] = ()


def explain(
    plan: Plan, never: Iterable[Missed], lacking: Iterable[Missed], asked: Asked | None
) -> Explanation:
    """Put an explanation together.

    Args:
        plan: The rules that may have a say.
        never: Those that speak of the name, but whose conditions cannot come to hold.
        lacking: Those that would allow or ask for another caller, or for more evidence.
        asked: The request; None for whatever request.
    """
    if asked is None:
        decision, counting, others = plan.bound, list(plan.cases), list(never)
    else:
        decision = plan.judged(asked.value, asked.circumstances, asked.now)
        counting = plan.holding(asked.value, asked.circumstances, asked.now)
        others = [*never, *(_other(plan, case, asked) for case in plan.cases if case not in counting)]
    near = [*(one for one in others if one.rule.effect is not Verdict.DENY), *lacking]
    missed = _sorted(near) if not counting else ()
    shown = {one.rule.id for one in missed}
    return Explanation(
        decision,
        tuple(case.rule for case in counting),
        missed,
        _sorted(one for one in others if one.rule.id not in shown),
    )


def would(rule: Rule, words: str) -> str:
    """The sentence of a near miss."""
    return f"rule {rule.id} would match if {words}"


def _other(plan: Plan, case: Case, asked: Asked) -> Missed:
    return Missed(
        case.rule, would(case.rule, plan.wanting(case, asked.value, asked.circumstances, asked.now))
    )


def _sorted(missed: Iterable[Missed]) -> tuple[Missed, ...]:
    return tuple(sorted(missed, key=lambda one: place_of(one.rule)))
