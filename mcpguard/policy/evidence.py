"""What a rule asks of the caller, and what the caller lacks.

Rule 1: what is not known is not there: an empty unit or label meets no pattern, not even `*`, and a host whose
ancestors are not known meets no rule that refuses some of them.
Rule 2: a rule is met entirely or not at all.
Rule 3: sentences hold text of the policy only, never of a process: they are told to hosts.

Not here: whether the caller is what it is said to be (`identity`); what it means that a rule is not met
(`snapshot`). An ancestor that ended, or whose executable its user hid, is not seen: `ancestor_not` stops those who
do not try to hide. One whose executable is not known is called `?`, which the pattern `?` describes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mcpguard.model import Caller
from mcpguard.policy.match import Pattern
from mcpguard.policy.rules import HOST, Rule

_SHOWN: Final = 3
_DELETED: Final = " (deleted)"


def is_meant(rule: Rule, caller: Caller) -> bool:
    """Whether the rule speaks of one of the caller's principals."""
    return any(principal in rule.who for principal in caller.principals)


def shortfall(rule: Rule, caller: Caller) -> str:
    """The first thing that keeps the rule from speaking of the caller, as a sentence; empty if it does."""
    if not is_meant(rule, caller):
        return f"rule {rule.id} is for {_listed(rule.who)} and {_known_as(caller)}"
    if caller.grade < rule.grade:
        return f"rule {rule.id} needs {rule.grade.name} and the host has {caller.grade.name}"
    for what, patterns, value in (("unit", rule.unit, caller.unit), ("label", rule.label, caller.label)):
        if patterns and not (value and any(pattern.matches(value) for pattern in patterns)):
            has = "another" if value else "none"
            return f"rule {rule.id} needs {what} {_texts(patterns)} and the host has {has}"
    return _below(rule, caller)


def _below(rule: Rule, caller: Caller) -> str:
    if not rule.ancestor_not:
        return ""
    if not caller.ancestors:
        refused = _texts(rule.ancestor_not)
        return f"rule {rule.id} is not for hosts below {refused} and what this host is below is not known"
    for pattern in rule.ancestor_not:
        if any(pattern.matches(name) for path in caller.ancestors[1:] for name in _names(path)):
            return f"rule {rule.id} is not for hosts below {pattern.text}"
    return ""


def _names(path: str) -> tuple[str, str]:
    """What an executable may be called; the kernel marks one that was replaced while it ran."""
    path = path.removesuffix(_DELETED)
    return path, path.rpartition("/")[2]


def _known_as(caller: Caller) -> str:
    names = [principal for principal in caller.principals if principal.startswith(HOST)]
    return f"the host is {_listed(names)}" if names else "the host is not an enrolled one"


def _texts(patterns: Iterable[Pattern]) -> str:
    return _listed([pattern.text for pattern in patterns])


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:_SHOWN]) + (" and others" if len(shown) > _SHOWN else "")
