"""The keys of `[[rule]]` and `[[label]]`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from mcpguard import limits
from mcpguard.model import Grade, Json, JsonObject, Verdict
from mcpguard.policy.conditionkeys import ConditionReader
from mcpguard.policy.lines import Path
from mcpguard.policy.match import Pattern
from mcpguard.policy.reading import found, is_name, nearest
from mcpguard.policy.rules import (
    ANYBODY,
    ARGUMENTS,
    CREDENTIALS,
    GATED_METHODS,
    HOST,
    PRESENCE,
    ROLE,
    Labelled,
    Limit,
    Rule,
)

_DURATION: Final = re.compile(r"[0-9]{1,6}[smh]")
_UID: Final = re.compile(r"uid:(?:0|[1-9][0-9]{0,9})")
_CREDENTIAL: Final = re.compile(rf"(?:{'|'.join(CREDENTIALS)})[!-~]{{1,{limits.PRINCIPAL_CHARS}}}")
_GROUP: Final = re.compile(r"group:[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}\$?")
_GRADES: Final = {grade.name: grade for grade in Grade}
_EFFECTS: Final = {"allow": Verdict.ALLOW, "ask": Verdict.ASK, "deny": Verdict.DENY}
_CONFIRM: Final = {PRESENCE: PRESENCE}
_RECORD: Final = {ARGUMENTS: ARGUMENTS}
_SECRET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_EVIDENCE_KEYS: Final = ("grade", "unit", "label", "ancestor_not")
_LIMIT_KEYS: Final = ("rate", "concurrency", "budget")
_TARGET_KEYS: Final = (
    "tools", "methods", "resources", "prompts", "completions", "sampling", "elicitation", "roots", "logging",
    "tasks", "extensions",
)  # fmt: skip
KEYS: Final = (
    "id", "who", "server", "effect", "durable", "recheck", *_EVIDENCE_KEYS, *_TARGET_KEYS, "args", "when",
    *_LIMIT_KEYS, "result_bytes", "confirm", "answers", "record", "secrets",
)  # fmt: skip
_GIVING: Final = (*_LIMIT_KEYS, "result_bytes", "secrets")
"""Keys about what a rule lets pass: a rule that denies lets nothing pass."""


class RuleReader(ConditionReader):
    """Reads rules and labels.

    Args:
        file: The name that errors show.
        text: The document, for the lines of its keys.
        roles: The roles of the document, whose names rules may use.
    """

    def __init__(self, file: str, text: str, roles: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__(file, text)
        self._roles = roles

    def rules(self, tables: Json, lines: Mapping[int, int]) -> tuple[Rule, ...]:
        """`[[rule]]`; `lines` says on which line each begins."""
        if not isinstance(tables, list):
            raise self.fault(("rule",), f"expected tables, found {found(tables)}", "write [[rule]]")
        if len(tables) > limits.RULES:
            message = f"expected at most {limits.RULES} rules, found {len(tables)}"
            raise self.fault(("rule", limits.RULES), message)
        seen: dict[str, int] = {}
        rules = []
        for index, table in enumerate(tables):
            rule = self._rule(table, ("rule", index), lines.get(index, 0))
            if rule.id in seen:
                message = (
                    f'expected a unique id, found "{rule.id}" here and in the rule of line {seen[rule.id]}'
                )
                raise self.fault(("rule", index, "id"), message)
            seen[rule.id] = rule.line
            rules.append(rule)
        self._check_answers(rules)
        return tuple(rules)

    def labels(self, tables: Json) -> tuple[Labelled, ...]:
        """`[[label]]`."""
        if not isinstance(tables, list) or len(tables) > limits.LABEL_RULES:
            message = f"expected at most {limits.LABEL_RULES} tables, found {found(tables)}"
            raise self.fault(("label",), message, "write [[label]]")
        return tuple(self._label(table, ("label", index)) for index, table in enumerate(tables))

    def who(self, value: Json, path: Path) -> tuple[str, ...]:
        """Principals and roles."""
        names = self.list(value, path, "principals", '["any"]')
        for index, name in enumerate(names):
            self.principal(name, (*path, index))
        return tuple(dict.fromkeys(names))

    def principal(self, name: Json, path: Path) -> str:
        """One principal, or one role of this document."""
        if not isinstance(name, str):
            raise self.fault(path, f"expected a principal, found {found(name)}", 'write who = ["any"]')
        if name == ANYBODY or _UID.fullmatch(name) or _GROUP.fullmatch(name):
            return name
        if name.startswith(ROLE):
            if name.removeprefix(ROLE) in self._roles:
                return name
            near = nearest(name.removeprefix(ROLE), self._roles) or "roles stand in [roles]"
            raise self.fault(path, f"expected a role of this file, found {found(name)}", near)
        if name.startswith(HOST) and is_name(name.removeprefix(HOST)):
            return name
        if name.startswith(CREDENTIALS):
            if _CREDENTIAL.fullmatch(name):
                return name
            raise self.fault(
                path,
                f"expected up to {limits.PRINCIPAL_CHARS} visible characters after the kind, found {found(name)}",
                'write who = ["cert:build-agent"]',
            )
        hint = "" if name.startswith(HOST) else 'write who = ["host:claude-code"]'
        message = (
            'expected "any", "host:NAME", "role:NAME", "uid:N", "group:NAME" or what a credential gives ("cert:", '
            '"key:", "jwt:", "spiffe://"), a name of 1 to 64 of '
            f"a-z 0-9 _ . -, found {found(name)}"
        )
        raise self.fault(path, message, hint)

    def _rule(self, value: Json, path: Path, line: int) -> Rule:
        table = self.table(value, path, "write [[rule]]")
        self.known(table, path, KEYS)
        if "id" not in table:
            raise self.missing(path, "id", "a name for this rule")
        rule = Rule(
            id=self.name(table["id"], (*path, "id")),
            effect=self.choice(table, path, "effect", _EFFECTS),
            who=self.who(table.get("who", [ANYBODY]), (*path, "who")),
            server=self.one_or_more(table.get("server", "*"), (*path, "server")),
            tools=self.optional(table, path, "tools", self.patterns, ()),
            methods=self.optional(table, path, "methods", self._methods, ()),
            durable=self.optional(table, path, "durable", self.flag, default=False),
            grade=self.choice(table, path, "grade", _GRADES) if "grade" in table else Grade.G0,
            unit=self.optional(table, path, "unit", self.one_or_more, ()),
            label=self.optional(table, path, "label", self.one_or_more, ()),
            ancestor_not=self.optional(table, path, "ancestor_not", self._ancestors, ()),
            recheck=self.optional(table, path, "recheck", self._recheck, default=False),
            line=line,
            resources=self.optional(table, path, "resources", self.one_or_more, ()),
            prompts=self.optional(table, path, "prompts", self.one_or_more, ()),
            completions=self.optional(table, path, "completions", self.one_or_more, ()),
            sampling=self.optional(table, path, "sampling", self.flag, default=False),
            elicitation=self.optional(table, path, "elicitation", self.elicitation, None),
            roots=self.optional(table, path, "roots", self.flag, default=False),
            logging=self.optional(table, path, "logging", self.flag, default=False),
            tasks=self.optional(table, path, "tasks", self.flag, default=False),
            extensions=self.optional(table, path, "extensions", self.one_or_more, ()),
            args=self.optional(table, path, "args", self.arguments, ()),
            when=self.optional(table, path, "when", self.when, None),
            limits=self._limits(table, path),
            result_bytes=self.optional(table, path, "result_bytes", self._bytes, 0),
            confirm=self.choice(table, path, "confirm", _CONFIRM) if "confirm" in table else "",
            answers=self.optional(table, path, "answers", self.names, ()),
            record=self.choice(table, path, "record", _RECORD) if "record" in table else "",
            secrets=self.optional(table, path, "secrets", self._secrets, ()),
        )
        self._fits_together(rule, table, path)
        return rule

    def _fits_together(self, rule: Rule, table: JsonObject, path: Path) -> None:
        """Refuse keys that mean nothing, or the opposite, beside others."""
        if not any(getattr(rule, key) for key in _TARGET_KEYS):
            raise self.missing(path, "tools", f"one of {', '.join(_TARGET_KEYS)}")
        if rule.effect is Verdict.DENY:
            self._unconditional(table, path)
        if rule.confirm and rule.effect is not Verdict.ASK:
            raise self.fault((*path, "confirm"), 'expected effect = "ask" beside confirm')
        if rule.answers and rule.effect is not Verdict.ALLOW:
            raise self.fault((*path, "answers"), 'expected effect = "allow" beside answers')
        if rule.secrets and not rule.tools:
            raise self.fault(
                (*path, "secrets"), "expected tools beside secrets, since only their arguments have handles"
            )
        if rule.args and not (rule.tools or rule.prompts):
            raise self.fault(
                (*path, "args"), "expected tools or prompts beside args, since nothing else has arguments"
            )
        if rule.args and any(getattr(rule, key) for key in _TARGET_KEYS if key not in ("tools", "prompts")):
            message = "expected only tools and prompts beside args, since nothing else has arguments"
            raise self.fault((*path, "args"), message, "write two rules")

    def _unconditional(self, table: JsonObject, path: Path) -> None:
        """A denial that asks for evidence would not reach whoever has less of it."""
        for key in _EVIDENCE_KEYS:
            if key in table:
                message = f"expected no {key} in a rule that denies, since a host with less evidence would escape it"
                hint = f"deny it without {key}, or allow it by narrower rules only: what no rule allows is denied"
                raise self.fault((*path, key), message, hint)
        for key in _GIVING:
            if key in table:
                message = f"expected no {key} in a rule that denies, since it lets nothing pass"
                raise self.fault((*path, key), message, "put it on the rule that allows")

    def _secrets(self, value: Json, path: Path) -> tuple[str, ...]:
        """Names of secrets in the vault."""
        items = self.list(value, path, "names of secrets", '["github"]')
        for index, item in enumerate(items):
            if not isinstance(item, str) or not _SECRET.fullmatch(item):
                message = f"expected the name of a secret, found {found(item)}"
                raise self.fault((*path, index), message, "mcpguard secret list")
        return tuple(dict.fromkeys(items))

    def _check_answers(self, rules: list[Rule]) -> None:
        """Each rule that is answered is one that asks."""
        asking = {rule.id for rule in rules if rule.effect is Verdict.ASK}
        for index, rule in enumerate(rules):
            for number, name in enumerate(rule.answers):
                if name not in asking:
                    near = nearest(name, asking) or 'it answers rules with effect = "ask" of this file'
                    path = ("rule", index, "answers", number)
                    raise self.fault(path, f"expected the id of a rule that asks, found {found(name)}", near)

    def _label(self, value: Json, path: Path) -> Labelled:
        table = self.table(value, path, "write [[label]]")
        self.known(table, path, ("server", "tools", "reads", "sends"))
        if "tools" not in table:
            raise self.missing(path, "tools", "patterns over tools")
        labelled = Labelled(
            server=self.one_or_more(table.get("server", "*"), (*path, "server")),
            tools=self.one_or_more(table["tools"], (*path, "tools")),
            reads=self.optional(table, path, "reads", self._label_names, ()),
            sends=self.optional(table, path, "sends", self._label_names, ()),
            line=self.line(path),
        )
        if not labelled.reads and not labelled.sends:
            raise self.missing(path, "reads", "reads or sends")
        return labelled

    def _label_names(self, value: Json, path: Path) -> tuple[str, ...]:
        return (self.name(value, path),) if isinstance(value, str) else self.names(value, path)

    def _limits(self, table: JsonObject, path: Path) -> tuple[Limit, ...]:
        readers = {"rate": self.rate, "concurrency": self.concurrency, "budget": self.budget}
        return tuple(read(table[key], (*path, key)) for key, read in readers.items() if key in table)

    def _bytes(self, value: Json, path: Path) -> int:
        return self.number(value, path, limits.LINE_BYTES)

    def _recheck(self, value: Json, path: Path) -> bool:
        if isinstance(value, str) and _DURATION.fullmatch(value):
            message = f"expected true or false, found {found(value)}"
            raise self.fault(path, message, "a time stands at the top of the file, for all hosts")
        return self.flag(value, path)

    def _ancestors(self, value: Json, path: Path) -> tuple[Pattern, ...]:
        items = self.list(value, path, "patterns", '["bash", "/usr/bin/ssh"]')
        return tuple(self.pattern(item, (*path, index)) for index, item in enumerate(items))

    def _methods(self, value: Json, path: Path) -> tuple[Pattern, ...]:
        patterns = self.patterns(value, path)
        for index, pattern in enumerate(patterns):
            if any(pattern.matches(method) for method in GATED_METHODS):
                continue
            near = nearest(pattern.text, sorted(GATED_METHODS))
            if pattern.matches("tools/call"):
                near = "tools are named in tools"
            message = f"expected a gated method, found {found(pattern.text)}, which matches none"
            raise self.fault((*path, index), message, near)
        return patterns
