"""The policy file: bytes in, a `RuleSet` or one sentence that says what is wrong and where.

Rule 1: whatever the bytes are, the answer is a valid `RuleSet` or a `ConfigError`.
Rule 2: nothing is overlooked: a key or a value that is not understood is an error, never a default.
Rule 3: a message says what was expected, what was found, and on which line.

Not here: reading the file (`system.policystore`, `cli.policy`), what the rules mean (`snapshot`).

Decided:
    *Keys read by hand* instead of `msgspec.convert`, because its messages know neither lines nor near misses;
    rejected: tomlkit for the positions, a second reading of the text that may differ from the first.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.model import Grade, Json, JsonObject, Mode, Verdict
from mcpguard.policy.lines import DEPTH, Path, line_of, scan
from mcpguard.policy.match import Pattern, compile_pattern, flaw
from mcpguard.policy.rules import ALLOW_SAME_OWNER, ANYBODY, ASK, GATED_METHODS, HOST, Rule, RuleSet

Choice = TypeVar("Choice")

VERSION: Final = 1
"""The version of the file format that is read here."""

_KEYS: Final = ("version", "mode", "text", "rule", "unpinned", "on_update", "recheck")
_EVIDENCE_KEYS: Final = ("grade", "unit", "label", "ancestor_not")
_RULE_KEYS: Final = (
    "id", "who", "server", "tools", "methods", "effect", "durable", *_EVIDENCE_KEYS, "recheck",
)  # fmt: skip
_LATER: Final = frozenset({"roles", "args", "when", "rate"})
_MODES: Final = {"enforce": Mode.ENFORCE, "observe": Mode.OBSERVE}
_TEXTS: Final = {"neutralise": True, "as-is": False}
_UNPINNED: Final = {"refuse": False, "allow": True}
_ON_UPDATE: Final = {word: word for word in (ASK, ALLOW_SAME_OWNER)}
_GRADES: Final = {grade.name: grade for grade in Grade}
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"([0-9]{1,6})([smh])")
_EFFECTS: Final = {"allow": Verdict.ALLOW, "deny": Verdict.DENY}
_ID: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_LINE: Final = re.compile(r" \(at line (\d+), (column \d+)\)$")
_SHOWN_CHARS: Final = 60


def parse(data: bytes, file: str) -> RuleSet:
    """Read a policy; `file` is the name that errors and explanations show.

    Raises:
        ConfigError: The bytes are not a policy of this version. The first fault found is named.
    """
    text = _text(data, file)
    rule_lines = _rule_lines(text, file)
    reader = _Reader(file, text)
    return reader.ruleset(_toml(text, file), rule_lines, digest(data))


def digest(data: bytes) -> str:
    """The name of a policy by its content: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def is_name(text: str) -> bool:
    """Whether a rule, or an enrolled host, can be called so: 1 to 64 of a-z 0-9 _ . -, no mark first."""
    return _ID.fullmatch(text) is not None


def _text(data: bytes, file: str) -> str:
    if len(data) > limits.POLICY_BYTES:
        raise ConfigError(f"expected at most {limits.POLICY_BYTES} bytes, found more", file=file)
    if data.startswith(b"\xef\xbb\xbf"):
        raise ConfigError(
            "expected plain UTF-8, found a byte order mark", file=file, line=1, hint="save it without one"
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"expected UTF-8, found byte 0x{data[error.start]:02x} at offset {error.start}",
            file=file,
            line=data.count(b"\n", 0, error.start) + 1,
        ) from error
    if not text.strip():
        raise ConfigError(
            "expected a policy, found an empty file",
            file=file,
            hint='begin with version = 1, mode = "observe"',
        )
    return text


def _rule_lines(text: str, file: str) -> dict[int, int]:
    """The line on which each rule begins."""
    found: dict[int, int] = {}
    for path, line in scan(text):
        if len(path) > DEPTH:
            raise ConfigError(f"expected at most {DEPTH} levels, found more", file=file, line=line)
        if len(path) == 2 and path[0] == "rule" and isinstance(path[1], int):
            found.setdefault(path[1], line)
    return found


def _toml(text: str, file: str) -> JsonObject:
    """Order: `_rule_lines` has refused what is too deep for `tomllib`, which recurses."""
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and what int() and datetime say of absurd numbers
        message = str(error)
        place = _LINE.search(message)
        last = text.rstrip().count("\n") + 1 if "end of document" in message else 0
        line = int(place[1]) if place else last
        what = f"{message[: place.start()]} at {place[2]}" if place else message
        raise ConfigError(f"expected TOML: {what[:1].lower()}{what[1:]}", file=file, line=line) from error


class _Reader:
    """Turns the decoded document into values; knows where to point when it cannot."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._text = text

    def ruleset(self, document: JsonObject, rule_lines: Mapping[int, int], name: str) -> RuleSet:
        """The whole document; `name` is its digest."""
        self._version(document)
        self._known(document, (), _KEYS)
        mode = self._choice(document, (), "mode", _MODES)
        neutralise = mode is Mode.ENFORCE
        if "text" in document:
            neutralise = self._choice(document, (), "text", _TEXTS)
        unpinned = "unpinned" in document and self._choice(document, (), "unpinned", _UNPINNED)
        on_update = self._choice(document, (), "on_update", _ON_UPDATE) if "on_update" in document else ASK
        recheck = self._duration(document["recheck"], ("recheck",)) if "recheck" in document else 0.0
        rules = self._rules(document.get("rule", []), rule_lines)
        return RuleSet(self._file, name, mode, neutralise, rules, unpinned, on_update, recheck)

    def _fault(self, path: Path, message: str, hint: str = "") -> ConfigError:
        key = next((part for part in reversed(path) if isinstance(part, str)), "")
        shown = key if _ID.fullmatch(key) else _found(key)
        return ConfigError(
            message, file=self._file, line=line_of(self._text, path), key=shown if key else "", hint=hint
        )

    def _version(self, document: JsonObject) -> None:
        if "version" not in document:
            raise self._missing((), "version", f"version = {VERSION}")
        version = document["version"]
        if type(version) is not int or version != VERSION:
            raise self._fault(
                ("version",), f"expected {VERSION}, the only version read here, found {_found(version)}"
            )

    def _missing(self, path: Path, key: str, wanted: str) -> ConfigError:
        line = line_of(self._text, path) if path else 0
        return ConfigError(f"expected {wanted}, found nothing", file=self._file, line=line, key=key)

    def _known(self, table: JsonObject, path: Path, keys: tuple[str, ...]) -> None:
        for key in table:
            if key in keys:
                continue
            what = "is announced for a later version" if key in _LATER else "is not a key of this place"
            near = _nearest(key, keys) or f"known are {', '.join(keys)}"
            raise self._fault((*path, key), f"expected a known key, found one that {what}", near)

    def _choice(self, table: JsonObject, path: Path, key: str, choices: Mapping[str, Choice]) -> Choice:
        wanted = " or ".join(f'"{choice}"' for choice in choices)
        if key not in table:
            raise self._missing(path, key, wanted)
        value = table[key]
        if isinstance(value, str) and value in choices:
            return choices[value]
        if key == "effect" and value == "ask":
            raise self._fault((*path, key), f'expected {wanted}, found "ask", which comes in a later version')
        near = _nearest(value, choices) if isinstance(value, str) else ""
        raise self._fault((*path, key), f"expected {wanted}, found {_found(value)}", near)

    def _rules(self, tables: Json, rule_lines: Mapping[int, int]) -> tuple[Rule, ...]:
        if not isinstance(tables, list):
            raise self._fault(("rule",), f"expected tables, found {_found(tables)}", "write [[rule]]")
        if len(tables) > limits.RULES:
            message = f"expected at most {limits.RULES} rules, found {len(tables)}"
            raise self._fault(("rule", limits.RULES), message)
        seen: dict[str, int] = {}
        rules = []
        for index, table in enumerate(tables):
            rule = self._rule(table, ("rule", index), rule_lines.get(index, 0))
            if rule.id in seen:
                message = (
                    f'expected a unique id, found "{rule.id}" here and in the rule of line {seen[rule.id]}'
                )
                raise self._fault(("rule", index, "id"), message)
            seen[rule.id] = rule.line
            rules.append(rule)
        return tuple(rules)

    def _rule(self, table: Json, path: Path, line: int) -> Rule:
        if not isinstance(table, dict):
            raise self._fault(path, f"expected a table, found {_found(table)}", "write [[rule]]")
        self._known(table, path, _RULE_KEYS)
        rule = Rule(
            id=self._id(table, path),
            effect=self._choice(table, path, "effect", _EFFECTS),
            who=self._who(table.get("who", [ANYBODY]), (*path, "who")),
            server=self._one_or_more(table.get("server", "*"), (*path, "server")),
            tools=self._patterns(table["tools"], (*path, "tools")) if "tools" in table else (),
            methods=self._methods(table["methods"], (*path, "methods")) if "methods" in table else (),
            durable=self._flag(table.get("durable", False), (*path, "durable")),
            grade=self._choice(table, path, "grade", _GRADES) if "grade" in table else Grade.G0,
            unit=self._one_or_more(table["unit"], (*path, "unit")) if "unit" in table else (),
            label=self._one_or_more(table["label"], (*path, "label")) if "label" in table else (),
            ancestor_not=self._ancestors(table["ancestor_not"], path) if "ancestor_not" in table else (),
            recheck=self._recheck(table.get("recheck", False), (*path, "recheck")),
            line=line,
        )
        if rule.effect is Verdict.DENY:
            self._unconditional(table, path)
        if not rule.tools and not rule.methods:
            raise self._missing(path, "tools", "tools or methods")
        return rule

    def _id(self, table: JsonObject, path: Path) -> str:
        if "id" not in table:
            raise self._missing(path, "id", "a name for this rule")
        value = table["id"]
        if not isinstance(value, str) or not _ID.fullmatch(value):
            message = "expected 1 to 64 of a-z 0-9 _ . - beginning with a letter or digit, found "
            raise self._fault((*path, "id"), message + _found(value))
        return value

    def _flag(self, value: Json, path: Path) -> bool:
        if not isinstance(value, bool):
            raise self._fault(path, f"expected true or false, found {_found(value)}")
        return value

    def _who(self, value: Json, path: Path) -> tuple[str, ...]:
        names = self._list(value, path, "principals", '["any"]')
        for index, name in enumerate(names):
            if name == ANYBODY:
                continue
            if isinstance(name, str) and name.startswith(HOST) and is_name(name.removeprefix(HOST)):
                continue
            hint = (
                "" if isinstance(name, str) and name.startswith(HOST) else 'write who = ["host:claude-code"]'
            )
            message = (
                f'expected "any" or "host:NAME", a name of 1 to 64 of a-z 0-9 _ . -, found {_found(name)}'
            )
            raise self._fault((*path, index), message, hint)
        return tuple(dict.fromkeys(names))

    def _unconditional(self, table: JsonObject, path: Path) -> None:
        """A denial that asks for evidence would not reach whoever has less of it."""
        for key in _EVIDENCE_KEYS:
            if key in table:
                message = f"expected no {key} in a rule that denies, since a host with less evidence would escape it"
                hint = f"deny it without {key}, or allow it by narrower rules only: what no rule allows is denied"
                raise self._fault((*path, key), message, hint)

    def _recheck(self, value: Json, path: Path) -> bool:
        if isinstance(value, str) and _DURATION.fullmatch(value):
            message = f"expected true or false, found {_found(value)}"
            raise self._fault(path, message, "a time stands at the top of the file, for all hosts")
        return self._flag(value, path)

    def _duration(self, value: Json, path: Path) -> float:
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        seconds = int(found[1]) * _SECONDS[found[2]] if found else 0.0
        if seconds < 1:
            hint = f'write {path[-1]} = "5m"'
            raise self._fault(
                path, f"expected 1 to 6 digits and s, m or h, at least 1s, found {_found(value)}", hint
            )
        return seconds

    def _ancestors(self, value: Json, path: Path) -> tuple[Pattern, ...]:
        path = (*path, "ancestor_not")
        items = self._list(value, path, "patterns", '["bash", "/usr/bin/ssh"]')
        return tuple(self._pattern(item, (*path, index)) for index, item in enumerate(items))

    def _one_or_more(self, value: Json, path: Path) -> tuple[Pattern, ...]:
        if isinstance(value, str):
            return (self._pattern(value, path),)
        return self._patterns(value, path)

    def _patterns(self, value: Json, path: Path) -> tuple[Pattern, ...]:
        items = self._list(value, path, "patterns", '["read_*"]')
        return tuple(self._pattern(item, (*path, index)) for index, item in enumerate(items))

    def _methods(self, value: Json, path: Path) -> tuple[Pattern, ...]:
        patterns = self._patterns(value, path)
        for index, pattern in enumerate(patterns):
            if any(pattern.matches(method) for method in GATED_METHODS):
                continue
            near = _nearest(pattern.text, sorted(GATED_METHODS))
            if pattern.matches("tools/call"):
                near = "tools are named in tools"
            message = f"expected a gated method, found {_found(pattern.text)}, which matches none"
            raise self._fault((*path, index), message, near)
        return patterns

    def _list(self, value: Json, path: Path, what: str, example: str) -> list[Json]:
        if isinstance(value, list) and value:
            return value
        found = "an empty list" if value == [] else _found(value)
        raise self._fault(path, f"expected a list of {what}, found {found}", f"write {path[-1]} = {example}")

    def _pattern(self, value: Json, path: Path) -> Pattern:
        if not isinstance(value, str):
            raise self._fault(path, f"expected a pattern, found {_found(value)}")
        wrong = flaw(value)
        if wrong:
            raise self._fault(path, f"bad glob {_found(value)}: expected {wrong}")
        return compile_pattern(value)


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word[: limits.PATTERN_CHARS], known, n=1)
    return f"did you mean {near[0]}?" if near else ""


def _found(value: Json) -> str:
    """A TOML value in a sentence: short, on one line, without a character that a terminal obeys."""
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN_CHARS else value[:_SHOWN_CHARS] + "..."
        return f'"{cut}"' if cut.isprintable() else ascii(cut)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):  # str() of an int of thousands of digits raises
        return f"the number {value}" if abs(value) <= limits.ID_MAX else "an absurdly large number"
    if isinstance(value, float):
        return f"the number {value}"
    if isinstance(value, list):
        return "a list"
    return "a table" if isinstance(value, dict) else "a date or time"
