"""What in a policy does nothing, or not what it seems to: rules that can never match, and those that others shadow.

Rule: what is reported is certain. A rule that is reported as shadowed could be taken out, and no request would be
decided otherwise; what only might be superfluous is not mentioned.

Not here: what is no policy at all (`document`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from mcpguard.model import Verdict
from mcpguard.policy.match import Pattern
from mcpguard.policy.rules import ANYBODY, CEDAR, Rule, RuleSet
from mcpguard.policy.words import place

_KINDS: Final = ("tools", "methods", "resources", "prompts", "completions", "extensions")
_FLAGS: Final = ("sampling", "roots", "logging", "tasks")
_REGEX: Final = (".*", "^", "$", "\\", "(", "[")
_PAIRS: Final = 2_000
"""Rules of one policy that are compared with each other, at most: it is quadratic."""


class Notice(msgspec.Struct, frozen=True):
    """Something to look at.

    Attributes:
        rule: The id of the rule.
        place: `file:line`.
        words: What is the matter, and what to do.
    """

    rule: str
    place: str
    words: str


def notices(ruleset: RuleSet) -> list[Notice]:
    """All of them, in the order of the rules."""
    found: list[Notice] = []
    if ruleset.engine == CEDAR:
        return found  # what Cedar policies speak of is not looked at here; Cedar's own tools analyse them
    for rule in ruleset.rules:
        where = place(rule, ruleset.file)
        found += [Notice(rule.id, where, words) for words in _alone(rule, ruleset)]
    if len(ruleset.rules) <= _PAIRS:
        found += _shadowed(ruleset)
    order = {rule.id: number for number, rule in enumerate(ruleset.rules)}
    return sorted(found, key=lambda one: order[one.rule])


def _alone(rule: Rule, ruleset: RuleSet) -> Iterator[str]:
    """What is the matter with a rule, whatever the others say."""
    when = rule.when
    if when is not None:
        if both := sorted(set(when.after) & set(when.after_not)):
            yield f"it never matches: no host has seen {both[0]} and not seen it"
        for label in sorted({*when.after, *when.after_not, *when.reads, *when.sends} - _labels(ruleset)):
            yield f"nothing in this file sets the label {label}: only a manifest could"
    for pattern in rule.tools:
        if any(mark in pattern.text for mark in _REGEX):
            yield f"{pattern.text} is no regular expression here: * is any run of characters, ? is one"
        elif "__" in pattern.text and pattern.text.startswith("mcp__"):
            bare = pattern.text.rpartition("__")[2]
            yield f"tools are named as their server names them: write {bare}, and the server in server"


def _labels(ruleset: RuleSet) -> set[str]:
    return {label for each in ruleset.labels for label in (*each.reads, *each.sends)}


# --- rules that others shadow -------------------------------------------------------------------------------


def _shadowed(ruleset: RuleSet) -> Iterator[Notice]:
    plain = [rule for rule in ruleset.rules if _plain(rule)]
    names = _answered(ruleset.rules)
    for rule in ruleset.rules:
        if rule.durable or rule.recheck or rule.record or rule.secrets or rule.answers or rule.id in names:
            continue  # it says more than its effect, or another speaks of it
        for other in plain:
            if other is not rule and _covers(other, rule) and _wins(other, rule):
                where = place(other, ruleset.file)
                why = f"it changes nothing: rule {other.id} at {where} decides all that it speaks of"
                yield Notice(rule.id, place(rule, ruleset.file), why)
                break


def _answered(rules: Iterable[Rule]) -> set[str]:
    return {ident for rule in rules for ident in rule.answers}


def _plain(rule: Rule) -> bool:
    """Whether a rule speaks of a name whatever the request, the caller's evidence and the moment are."""
    evidence = rule.grade or rule.unit or rule.label or rule.ancestor_not
    return not (evidence or rule.args or rule.when or rule.limits or rule.elicitation or rule.answers)


def _wins(other: Rule, rule: Rule) -> bool:
    """Whether the decision is the same without `rule`, where both match."""
    if other.effect is Verdict.DENY:
        return rule.effect is not Verdict.DENY or _follows(rule, other)
    if other.effect is Verdict.ASK:
        return rule.effect is Verdict.ALLOW and not rule.limits and not rule.result_bytes
    return (
        rule.effect is Verdict.ALLOW and not rule.limits and not rule.result_bytes and _follows(rule, other)
    )


def _follows(rule: Rule, other: Rule) -> bool:
    """Of two with one effect the first is named: the later one is superfluous."""
    return (other.file, other.line) < (rule.file, rule.line)


def _covers(other: Rule, rule: Rule) -> bool:
    """Whether `other` speaks of all that `rule` speaks of."""
    if not _any_who(other, rule) or not _all_within(rule.server, other.server):
        return False
    if rule.elicitation is not None:
        return False
    if any(getattr(rule, flag) and not getattr(other, flag) for flag in _FLAGS):
        return False
    return all(_all_within(getattr(rule, kind), getattr(other, kind)) for kind in _KINDS)


def _any_who(other: Rule, rule: Rule) -> bool:
    if ANYBODY in other.who:
        return True
    return set(rule.who) <= set(other.who)


def _all_within(inner: tuple[object, ...], outer: tuple[object, ...]) -> bool:
    return all(any(_within(one, another) for another in outer) for one in inner)


def _within(inner: object, outer: object) -> bool:
    """Whether one pattern matches all that another does; false if that is not plain to see."""
    if getattr(inner, "text", None) == getattr(outer, "text", ""):
        return True
    if not isinstance(inner, Pattern) or not isinstance(outer, Pattern):
        return False
    if outer.text == "*":
        return True
    if inner.exact:
        return outer.matches(inner.text)
    head, star, tail = outer.text.partition("*")
    if not star or tail or "?" in head:
        return False
    return inner.head.startswith(head)
