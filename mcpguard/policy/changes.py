"""What applying a policy changes, in words for the person who applies it and for the record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from mcpguard.model import Action
from mcpguard.policy.rules import Labelled, Rule, RuleSet
from mcpguard.policy.words import (
    approving_words,
    duration_word,
    effect_word,
    label_words,
    record_word,
    restarting_words,
    unpinned_word,
)

_NAMED: Final = 20
_REFUSED: Final = "servers without a manifest no longer start; register them: mcpguard server add"


def describe(old: RuleSet, new: RuleSet) -> list[str]:
    """One line for each kind of change; empty if both say the same. Moving a rule changes nothing.

    For the first policy of all, `old` is `builtin.OBSERVE_RULES`.
    """
    lines = []
    if old.mode is not new.mode:
        lines.append(f"mode: {old.mode.value} -> {new.mode.value}")
    if old.neutralise is not new.neutralise:
        lines.append(f"text: {_text(old)} -> {_text(new)}")
    if old.unpinned is not new.unpinned:
        meaning = "" if new.unpinned else f" ({_REFUSED})"
        lines.append(f"unpinned: {unpinned_word(old)} -> {unpinned_word(new)}{meaning}")
    if old.on_update != new.on_update:
        lines.append(f"on_update: {old.on_update} -> {new.on_update}")
    if old.recheck != new.recheck:
        lines.append(f"recheck: {duration_word(old.recheck)} -> {duration_word(new.recheck)}")
    lines += _of_people(old, new)
    before = {rule.id: rule for rule in old.rules}
    after = {rule.id: rule for rule in new.rules}
    kept = before.keys() & after.keys()
    lines += _named("added", (rule for rule in new.rules if rule.id not in before))
    lines += _named("removed", (rule for rule in old.rules if rule.id not in after))
    lines += _named("changed", (after[name] for name in kept if not after[name].same_as(before[name])))
    return lines


def _of_people(old: RuleSet, new: RuleSet) -> list[str]:
    """What else holds for all hosts."""
    lines = []
    for key, words in (("zone", "zone"), ("schemas", "schemas"), ("engine", "engine")):
        before, after = getattr(old, key), getattr(new, key)
        if before != after:
            lines.append(f"{words}: {_setting(before)} -> {_setting(after)}")
    if old.record != new.record:
        lines.append(f"record: {record_word(old)} -> {record_word(new)}")
    if old.final != new.final:
        lines.append(f"final: {', '.join(old.final) or 'nothing'} -> {', '.join(new.final) or 'nothing'}")
    if old.approving != new.approving:
        lines.append(f"approvals: {approving_words(old)} -> {approving_words(new)}")
    if old.restarting != new.restarting:
        lines.append(f"restart: {restarting_words(old)} -> {restarting_words(new)}")
    lines += [
        f"findings: {kind}: {_action(old, kind)} -> {_action(new, kind)}"
        for kind in sorted(old.findings.keys() | new.findings.keys())
        if _action(old, kind) != _action(new, kind)
    ]
    roles = sorted(old.roles.keys() | new.roles.keys())
    lines += [
        f"role {name}: {_members(old, name)} -> {_members(new, name)}"
        for name in roles
        if old.roles.get(name) != new.roles.get(name)
    ]
    return lines + _labels(old, new)


def _action(ruleset: RuleSet, kind: str) -> str:
    return ruleset.findings.get(kind, Action.RECORD).name.lower()


def _labels(old: RuleSet, new: RuleSet) -> list[str]:
    """Labels that came and went, wherever they stand."""
    before = {_unplaced(each): label_words(old, number) for number, each in enumerate(old.labels)}
    after = {_unplaced(each): label_words(new, number) for number, each in enumerate(new.labels)}
    added = [f"added: {words}" for each, words in after.items() if each not in before]
    return added + [f"removed: {words}" for each, words in before.items() if each not in after]


def _unplaced(labelled: Labelled) -> Labelled:
    return msgspec.structs.replace(labelled, line=0)


def _members(ruleset: RuleSet, name: str) -> str:
    return ", ".join(ruleset.roles.get(name, ())) or "nobody"


def _setting(value: object) -> str:
    return {True: "check", False: "ignore", "": "that of the machine"}.get(value) or str(value)


def _text(ruleset: RuleSet) -> str:
    return "neutralise" if ruleset.neutralise else "as-is"


def _named(what: str, rules: Iterable[Rule]) -> list[str]:
    names = [f"{rule.id} ({effect_word(rule)})" for rule in sorted(rules, key=lambda rule: rule.id)]
    if not names:
        return []
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return [f"{what}: {', '.join(names[:_NAMED])}{more}"]
