"""Rules and settings in words, as they stand in the file: for `policy show`, `explain`, and the diff of `apply`.

Nothing is left out that a rule says; what it does not say is not mentioned.

Not here: making every character visible.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mcpguard.model import DAY, Json, JsonObject, Verdict
from mcpguard.policy.rules import ANYBODY, ASK, PER, Approving, Argument, Limit, Rule, RuleSet, When

_EFFECTS: Final = {Verdict.DENY: "deny", Verdict.ASK: "ask", Verdict.ALLOW: "allow"}
_UNITS: Final = {1.0: "s", 60.0: "min", 3600.0: "h", DAY: "day"}
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PATTERNS: Final = ("resources", "prompts", "completions", "extensions")
_FLAGS: Final = ("sampling", "roots", "logging", "tasks")
_EVIDENCE: Final = ("unit", "label", "ancestor_not")


def effect_word(rule: Rule) -> str:
    """The word that stands in the file for the effect of a rule."""
    return _EFFECTS[rule.effect]


def unpinned_word(ruleset: RuleSet) -> str:
    """The word that stands in the file for what happens to servers without a manifest."""
    return "allow" if ruleset.unpinned else "refuse"


def record_word(ruleset: RuleSet) -> str:
    """The word that stands in the file for what records may hold of arguments."""
    return "rules" if ruleset.record else "digests"


def duration_word(seconds: float) -> str:
    """Seconds as they stand in the file, in the largest unit that fits; `never` for none."""
    whole = int(seconds)
    for size, unit in ((3600, "h"), (60, "m")):
        if whole and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s" if whole else "never"


def members(rule: Rule) -> JsonObject:
    """What a rule says, by the keys of the file; keys that every rule has are always there."""
    said: JsonObject = {
        "id": rule.id,
        "effect": effect_word(rule),
        "who": list(rule.who),
        "server": _texts(rule.server),
        "tools": _texts(rule.tools),
        "methods": _texts(rule.methods),
        "durable": rule.durable,
    }
    return said | _conditional(rule)


def sentence(rule: Rule, file: str) -> str:
    """A rule on one line, with the place where it stands; of a Cedar policy what it says is to be read there."""
    parts = [f"{effect_word(rule):<5} {rule.id}"]
    if rule.who != (ANYBODY,):
        parts.append(f"who {', '.join(rule.who)}")
    for word, patterns in (("server", rule.server), ("tools", rule.tools), ("methods", rule.methods)):
        if patterns:
            parts.append(f"{word} {', '.join(_texts(patterns))}")
    flags = ["durable"] if rule.durable else []
    for key, value in _conditional(rule).items():
        if key == "cedar":
            continue
        if value is True:
            flags.append(key)
        else:
            parts.append(f"{key} {_shown(value)}")
    return "  ".join([*parts, *flags, place(rule, file)])


def place(rule: Rule, file: str) -> str:
    """Where a rule stands; `file` is that of the whole policy."""
    return f"{rule.file or file}:{rule.line}"


def settings(ruleset: RuleSet) -> list[str]:
    """What holds for all hosts, if it is not what holds by itself; a line each."""
    lines = ["unpinned allow: servers without a manifest run"] if ruleset.unpinned else []
    if ruleset.on_update != ASK:
        lines.append(f"on_update {ruleset.on_update}: a changed host is recognised if its owner is the same")
    if ruleset.recheck:
        lines.append(f"recheck {duration_word(ruleset.recheck)}: hosts are looked at again and again")
    if not ruleset.record:
        lines.append("record digests: no arguments are recorded, whatever rules say")
    if ruleset.zone:
        lines.append(f"zone {ruleset.zone}: of hours and days")
    lines += [f"role {name}: {', '.join(who) or 'nobody'}" for name, who in sorted(ruleset.roles.items())]
    lines += [label_words(ruleset, number) for number in range(len(ruleset.labels))]
    if ruleset.approving != Approving():
        lines.append(f"approvals {approving_words(ruleset)}")
    if ruleset.restarting.servers:
        lines.append(f"restart {restarting_words(ruleset)}")
    if ruleset.final:
        lines.append(f"final {', '.join(ruleset.final)}: users cannot set it otherwise")
    return lines


def label_words(ruleset: RuleSet, number: int) -> str:
    """One `[[label]]` on a line."""
    labelled = ruleset.labels[number]
    said = [f"server {', '.join(_texts(labelled.server))}  tools {', '.join(_texts(labelled.tools))}"]
    said += [f"{key} {', '.join(value)}" for key in ("reads", "sends") if (value := getattr(labelled, key))]
    return f"label  {'  '.join(said)}"


def approving_words(ruleset: RuleSet) -> str:
    """How people are asked."""
    approving = ruleset.approving
    return (
        f"timeout {duration_word(approving.timeout)}, elicitation {', '.join(approving.elicitation) or 'nobody'}, "
        f"notify {'true' if approving.notify else 'false'}, presence {', '.join(approving.presence) or 'none'}"
    )


def restarting_words(ruleset: RuleSet) -> str:
    """Which servers are started again when they crash."""
    restarting = ruleset.restarting
    if not restarting.servers:
        return "none"
    return (
        f"{', '.join(_texts(restarting.servers))}: at most {restarting.times} times in "
        f"{duration_word(restarting.seconds)}"
    )


def _conditional(rule: Rule) -> JsonObject:
    """What a rule says that most do not."""
    said: JsonObject = {key: _texts(getattr(rule, key)) for key in _PATTERNS if getattr(rule, key)}
    said |= {key: True for key in _FLAGS if getattr(rule, key)}
    if rule.elicitation is not None:
        said["elicitation"] = {"mode": list(rule.elicitation.modes), "hosts": _texts(rule.elicitation.hosts)}
    if rule.grade:
        said["grade"] = rule.grade.name
    said |= {key: _texts(getattr(rule, key)) for key in _EVIDENCE if getattr(rule, key)}
    if rule.args:
        said["args"] = {argument.name: _argument(argument) for argument in rule.args}
    if rule.when is not None:
        said["when"] = _when(rule.when)
    said |= dict(_limit(limit) for limit in rule.limits)
    if rule.result_bytes:
        said["result_bytes"] = rule.result_bytes
    if rule.confirm:
        said["confirm"] = rule.confirm
    if rule.answers:
        said["answers"] = list(rule.answers)
    if rule.record:
        said["record"] = rule.record
    if rule.secrets:
        said["secrets"] = list(rule.secrets)
    if rule.recheck:
        said["recheck"] = True
    if rule.cedar:
        said["cedar"] = msgspec.json.decode(rule.cedar)
    return said


def _argument(argument: Argument) -> JsonObject:
    said: JsonObject = {key: list(value) for key in ("under", "deny") if (value := getattr(argument, key))}
    if argument.hosts:
        said["hosts"] = _texts(argument.hosts)
    said |= argument.schema or {}
    return said | ({"optional": True} if argument.optional else {})


def _when(when: When) -> JsonObject:
    said: JsonObject = {}
    if when.hours:
        said["hours"] = [f"{_clock(start)}-{_clock(end)}" for start, end in when.hours]
    if when.days:
        said["days"] = [_DAYS[day] for day in sorted(when.days)]
    if when.zone:
        said["zone"] = when.zone
    for key in ("after", "after_not", "reads", "sends", "session", "cwd"):
        if value := getattr(when, key):
            said[key] = list(value)
    if when.release:
        said["host_version"] = [f"{how}{version}" for how, version in when.release]
    if when.annotations:
        said["annotations"] = when.annotations
    if when.risk:
        said["risk"] = _texts(when.risk)
    return said


def _limit(limit: Limit) -> tuple[str, Json]:
    if not limit.seconds:
        key, value = "concurrency", str(limit.count)
    else:
        unit = _UNITS.get(limit.seconds) or f"{limit.seconds:g} s"
        key, value = "budget" if limit.seconds == DAY else "rate", f"{limit.count}/{unit}"
    return key, value if limit.per == PER else {"limit": value, "per": list(limit.per)}


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _texts(patterns: tuple[object, ...]) -> list[str]:
    return [getattr(pattern, "text", str(pattern)) for pattern in patterns]


def _shown(value: Json) -> str:
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
