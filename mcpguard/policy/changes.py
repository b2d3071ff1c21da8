"""What applying a policy changes, in words for the person who applies it and for the record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mcpguard.model import Verdict
from mcpguard.policy.rules import Rule, RuleSet

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
    before = {rule.id: rule for rule in old.rules}
    after = {rule.id: rule for rule in new.rules}
    kept = before.keys() & after.keys()
    lines += _named("added", (rule for rule in new.rules if rule.id not in before))
    lines += _named("removed", (rule for rule in old.rules if rule.id not in after))
    lines += _named("changed", (after[name] for name in kept if not after[name].same_as(before[name])))
    return lines


def effect_word(rule: Rule) -> str:
    """The word that stands in the file for the effect of a rule."""
    return "deny" if rule.effect is Verdict.DENY else "allow"


def unpinned_word(ruleset: RuleSet) -> str:
    """The word that stands in the file for what happens to servers without a manifest."""
    return "allow" if ruleset.unpinned else "refuse"


def duration_word(seconds: float) -> str:
    """Seconds as they stand in the file, in the largest unit that fits; `never` for none."""
    whole = int(seconds)
    for size, unit in ((3600, "h"), (60, "m")):
        if whole and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s" if whole else "never"


def _text(ruleset: RuleSet) -> str:
    return "neutralise" if ruleset.neutralise else "as-is"


def _named(what: str, rules: Iterable[Rule]) -> list[str]:
    names = [f"{rule.id} ({effect_word(rule)})" for rule in sorted(rules, key=lambda rule: rule.id)]
    if not names:
        return []
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return [f"{what}: {', '.join(names[:_NAMED])}{more}"]
