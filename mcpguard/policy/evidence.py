"""What a rule asks of the caller, and what the caller lacks.

Rule 1: what is not known is not there: an empty unit or label meets no pattern, not even `*`, and a host whose
ancestors are not known meets no rule that refuses some of them.
Rule 2: a rule is met entirely or not at all.
Rule 3: sentences hold text of the policy only, never of a process: they are told to hosts.
Rule 4: a rule that asks, and whose demands are not met, refuses: the question is not put to somebody whom it is not
for, and less evidence never gets more than an answer (`refusal`).

Not here: whether the caller is what it is said to be (`identity`); what it means that a rule is not met
(`snapshot`). An ancestor that ended, or whose executable its user hid, is not seen: `ancestor_not` stops those who
do not try to hide. One whose executable is not known is called `?`, which the pattern `?` describes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from mcpguard.model import Caller
from mcpguard.policy.match import Pattern
from mcpguard.policy.rules import HOST, ROLE, Rule

_SHOWN: Final = 3
_DELETED: Final = " (deleted)"


def is_meant(rule: Rule, caller: Caller) -> bool:
    """Whether the rule speaks of one of the caller's principals."""
    return any(principal in rule.who for principal in caller.principals)


def in_roles(caller: Caller, roles: Mapping[str, Iterable[str]]) -> Caller:
    """The caller with `role:NAME` among its principals for every role that one of these is in."""
    mine = frozenset(caller.principals)
    names = tuple(f"{ROLE}{name}" for name, members in roles.items() if not mine.isdisjoint(members))
    return msgspec.structs.replace(caller, principals=(*caller.principals, *names)) if names else caller


def shortfall(rule: Rule, caller: Caller) -> str:
    """The first thing that keeps the rule from speaking of the caller, as a sentence; empty if it does."""
    if not is_meant(rule, caller):
        return f"rule {rule.id} is for {_listed(rule.who)} and {_known_as(caller)}"
    needed, found = _lacking(rule, caller)
    if needed:
        return f"rule {rule.id} needs {needed} and the host has {found}"
    return _below(rule, caller, "is not for hosts")


def refusal(rule: Rule, caller: Caller) -> str:
    """Why a rule that asks does not ask for a caller that it means, as a sentence; empty if it asks."""
    needed, found = _lacking(rule, caller)
    if needed:
        what = f"of grade {needed}" if caller.grade < rule.grade else f"of {needed}"
        return f"rule {rule.id} asks only hosts {what}, and the host has {found}"
    return _below(rule, caller, "asks no hosts")


def _lacking(rule: Rule, caller: Caller) -> tuple[str, str]:
    """The first thing that is needed and what there is instead; empty if nothing is lacking."""
    if caller.grade < rule.grade:
        return rule.grade.name, caller.grade.name
    for what, patterns, value in (("unit", rule.unit, caller.unit), ("label", rule.label, caller.label)):
        if patterns and not (value and any(pattern.matches(value) for pattern in patterns)):
            return f"{what} {_texts(patterns)}", "another" if value else "none"
    return "", ""


def _below(rule: Rule, caller: Caller, verb: str) -> str:
    if not rule.ancestor_not:
        return ""
    if not caller.ancestors:
        refused = _texts(rule.ancestor_not)
        return f"rule {rule.id} {verb} below {refused} and what this host is below is not known"
    for pattern in rule.ancestor_not:
        if any(pattern.matches(name) for path in caller.ancestors[1:] for name in _names(path)):
            return f"rule {rule.id} {verb} below {pattern.text}"
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
