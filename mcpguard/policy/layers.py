"""The policy of the system and that of a user, put together.

Rule 1: the rules of both count, each known by its own file; so deny of either beats allow of the other.
Rule 2: a key that only one of them sets is as that one says; a key that both set is as the user says, unless it is
`final`: then setting it otherwise is an error, and nothing is in force.
What follows from findings is put together kind by kind; where `findings` is final, users add kinds.
Rule 3: a name means one thing: no rule and no role may be in both. So no rule of a user `answers` one of the system.
Rule 4: each rule keeps the time zone of its file.
Rule 5: Cedar policies are never put together with another file: deny, ask and allow of two engines do not add up.

Not here: where the files are (`system.policystore`, `system.systempolicy`), the file of a project (`narrowed`).

Decided:
    *A contradiction is an error and not a silent preference*, because a person who wrote a key believes that it
    holds; rejected: the system's value with a warning, which nobody reads.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from mcpguard.errors import ConfigError
from mcpguard.model import Verdict
from mcpguard.policy.rules import CEDAR, Rule, RuleSet, When

_FIELDS: Final = {
    "mode": "mode",
    "text": "neutralise",
    "unpinned": "unpinned",
    "on_update": "on_update",
    "recheck": "recheck",
    "zone": "zone",
    "schemas": "schemas",
    "approvals": "approving",
    "restart": "restarting",
    "record": "record",
}
"""Keys at the top of a file, and what they are called as values."""
_RULES: Final = "rule"
_FINDINGS: Final = "findings"


def merge(system: RuleSet | None, user: RuleSet | None) -> RuleSet | None:
    """What is in force; None if there is neither.

    Raises:
        ConfigError: They contradict each other; the user's file, line and key, and what the system's says.
    """
    if system is None or user is None:
        return user or system
    _refuse_contradictions(system, user)
    settings = {
        field: getattr(user if key in user.given or key not in system.given else system, field)
        for key, field in _FIELDS.items()
    }
    return msgspec.structs.replace(
        user,
        **settings,
        digest=hashlib.sha256(f"{system.digest}+{user.digest}".encode()).hexdigest()[:16],
        rules=(*_placed(system), *_placed(user)),
        roles={**system.roles, **user.roles},
        labels=(*system.labels, *user.labels),
        final=system.final,
        findings={**system.findings, **user.findings},
        given={**system.given, **user.given},
    )


def _refuse_contradictions(system: RuleSet, user: RuleSet) -> None:
    if CEDAR in (system.engine, user.engine):
        raise _fault(user, "engine", f"one engine decides, and {system.file} is a policy, too")
    for key in system.final:
        if key in _FIELDS and key in user.given and _value(system, key) != _value(user, key):
            raise _fault(user, key, f"{key} is final in {system.file}, which says otherwise")
    if _FINDINGS in system.final:
        for kind, action in system.findings.items():
            if user.findings.get(kind, action) is not action:
                raise _fault(
                    user, _FINDINGS, f"{kind} of findings is final in {system.file}, which says otherwise"
                )
    for role in user.roles.keys() & system.roles.keys():
        raise _fault(user, "roles", f"the role {role!a} is that of {system.file}")
    known = {rule.id for rule in system.rules}
    for rule in user.rules:
        if rule.id in known:
            raise _about(user, rule, f"a rule of {system.file} is called {rule.id!a} already")
        if rule.effect is Verdict.ALLOW and _RULES in system.final:
            raise _about(user, rule, f"rules are final in {system.file}: those of users deny or ask")


def _value(ruleset: RuleSet, key: str) -> object:
    return getattr(ruleset, _FIELDS[key])


def _fault(user: RuleSet, key: str, message: str) -> ConfigError:
    return ConfigError(message, file=user.file, line=user.given.get(key, 0), key=key, hint="take it out")


def _about(user: RuleSet, rule: Rule, message: str) -> ConfigError:
    return ConfigError(message, file=user.file, line=rule.line, key=f"rule {rule.id}", hint="change the rule")


def _placed(ruleset: RuleSet) -> tuple[Rule, ...]:
    """The rules of a file, each with what it must know of its file."""
    placed = []
    for rule in ruleset.rules:
        when = rule.when or When()
        if ruleset.zone and not when.zone:
            rule = msgspec.structs.replace(rule, when=msgspec.structs.replace(when, zone=ruleset.zone))  # noqa: PLW2901
        placed.append(msgspec.structs.replace(rule, file=rule.file or ruleset.file))
    return tuple(placed)
