"""Cedar policies as text: taken apart, validated against our schema, and turned into values.

Rule 1: every policy has an `@id`, as every rule has; annotations are those of `_ANNOTATIONS`, and another one is an
error: who mistypes `@ask` would allow without asking.
Rule 2: what is too deep or too long never reaches Cedar, whose parser recurses and takes the process with it: 1,000
brackets are enough (measured, cedarpy 4.12.2). So the text is taken apart here, by its tokens alone.
Rule 3: an error names the line of its policy, since Cedar names none.

A policy becomes a `rules.Rule` that selects nothing: it has id, effect and line for people, and the policy as Cedar's
JSON for `cedarprogram`. Compiled as a rule it would match nothing.

Not here: what policies decide (`cedar`), the TOML around them (`document`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Final

import msgspec

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.model import Json, JsonObject, Verdict
from mcpguard.policy.cedarschema import SCHEMA
from mcpguard.policy.reading import ID_WORDS, found, is_name, nearest
from mcpguard.policy.rules import ARGUMENTS, PRESENCE, Rule

MISSING: Final = "Cedar is not installed"
INSTALL: Final = "pip install 'mcpguard[cedar]'"

_TOKEN: Final = re.compile(
    r"(?P<blank>\s+|//[^\n]*)"
    r'|(?P<text>"(?:[^"\\]|\\.)*"?)'
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*|[0-9]+)"
    r"|(?P<mark>&&|\|\||::|==|!=|<=|>=|.)",
    re.DOTALL,
)
_OPENING: Final = frozenset("([{")
_CLOSING: Final = frozenset(")]}")
_NESTING: Final = frozenset({"&&", "||", "+", "-", "*", "!", ".", "if", "has", "like", "is", "in"})
"""Tokens that make the tree of an expression deeper."""
_ANNOTATIONS: Final = ("id", "description", "ask", "confirm", "durable", "recheck", "record")
_EXAMPLE: Final = 'write @id("files-read") before it'
_OF_POLICY: Final = re.compile(r"^for policy `[^`]*`, ")


class Unusable(Exception):
    """What Cedar says of a text that it cannot use: a sentence."""


def library() -> ModuleType | None:
    """The Cedar library; None if it is not installed. The first call costs 70 ms and 5 MiB."""
    try:
        import cedarpy  # noqa: PLC0415 (only where Cedar decides: see above)
    except ImportError:
        return None
    return cedarpy


def called(what: Callable[..., Any], *args: Any) -> Any:
    """Call into Cedar.

    Raises:
        Unusable: Whatever was raised, a panic included, which is no `Exception`.
    """
    try:
        return what(*args)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        lines = str(error).splitlines()
        raise Unusable(lines[0] if lines else type(error).__name__) from error


@functools.lru_cache(maxsize=1)
def schema() -> Any:
    """The handle of our schema.

    Raises:
        Unusable: Cedar is not installed, or reads its own language no more.
    """
    cedar = library()
    if cedar is None:
        raise Unusable(MISSING)
    return called(cedar.Schema.from_str, SCHEMA)


def policies(text: str, file: str, line_of: Callable[[int], int]) -> tuple[Rule, ...]:
    """Read Cedar policies.

    Args:
        text: The policies.
        file: The name that errors show.
        line_of: The line of the file for an offset into the text.

    Raises:
        ConfigError: They are no valid policies, or Cedar is not installed.
    """
    reader = _Policies(file)
    read: dict[str, Rule] = {}
    for start, end in _pieces(text, file, line_of):
        rule = reader.policy(text[start:end], line_of(start))
        if rule.id in read:
            message = f'expected ids that differ, found "{rule.id}" on line {read[rule.id].line}, too'
            raise ConfigError(message, file=file, line=rule.line, key="cedar")
        read[rule.id] = rule
        if len(read) > limits.CEDAR_POLICIES:
            message = f"expected at most {limits.CEDAR_POLICIES} Cedar policies, found more"
            raise ConfigError(message, file=file, line=rule.line, key="cedar")
    if not read:
        raise ConfigError("expected Cedar policies, found none", file=file, line=line_of(0), key="cedar")
    return tuple(read.values())


def _pieces(text: str, file: str, line_of: Callable[[int], int]) -> Iterator[tuple[int, int]]:
    """Where each policy begins and ends; none of them is deeper or longer than Cedar bears.

    A quote that is not closed goes on to the end, and Cedar says what is wrong.
    """
    start, depth, nesting = -1, 0, 0
    for token in _TOKEN.finditer(text):
        if token.lastgroup == "blank":
            continue
        word = token[0]
        if start < 0:
            start, depth, nesting = token.start(), 0, 0
        depth += (word in _OPENING) - (word in _CLOSING)
        nesting += word in _NESTING
        if depth > limits.CEDAR_BRACKETS or nesting > limits.CEDAR_NESTING:
            bound = f"{limits.CEDAR_BRACKETS} brackets deep and with {limits.CEDAR_NESTING} operators"
            message = f"expected a policy at most {bound}, found a larger one"
            raise ConfigError(message, file=file, line=line_of(start), key="cedar", hint="write several")
        if word == ";":
            yield start, token.end()
            start = -1
    if start >= 0:
        yield start, len(text)


class _Policies:
    """Reads one policy after the other."""

    def __init__(self, file: str) -> None:
        self._file = file
        found_library = library()
        if found_library is None:
            raise ConfigError(MISSING, file=file, key="engine", hint=INSTALL)
        self._cedar = found_library

    def policy(self, text: str, line: int) -> Rule:
        """One policy."""
        try:
            decoded = msgspec.json.decode(called(self._cedar.policies_to_json_str, text))
            checked = called(self._cedar.validate_policies, text, schema())
        except (Unusable, ValueError, RecursionError) as error:
            raise self._fault(line, f"expected a Cedar policy: {error}") from error
        if decoded["templates"]:
            raise self._fault(line, "expected a policy, found a template, which allows nothing by itself")
        if len(decoded["staticPolicies"]) != 1:
            raise self._fault(line, "expected a Cedar policy, found none")
        (body,) = decoded["staticPolicies"].values()
        if not checked.validation_passed:
            wrong = "; ".join(dict.fromkeys(_OF_POLICY.sub("", one.error) for one in checked.errors[:2]))
            raise self._fault(line, f"it does not fit the schema: {wrong}", "mcpguard policy cedar-schema")
        return self._rule(body, line)

    def _rule(self, body: JsonObject, line: int) -> Rule:
        said: dict[str, Json] = body.get("annotations", {})
        for name in said:
            if name not in _ANNOTATIONS:
                near = nearest(name, _ANNOTATIONS) or f"known are {', '.join(_ANNOTATIONS)}"
                raise self._fault(line, f"expected a known annotation, found @{name}", near)
        ident = said.get("id")
        if not isinstance(ident, str) or not is_name(ident):
            shown = "nothing" if ident is None else found(ident)
            raise self._fault(line, f"expected an @id of {ID_WORDS}, found {shown}", _EXAMPLE)
        for name in ("ask", "durable", "recheck"):
            if said.get(name):
                raise self._fault(line, f"expected @{name} without a value, found {found(said[name])}")
        permits, asks = body["effect"] == "permit", "ask" in said
        for name in ("ask", "durable", "recheck"):
            if name in said and not permits:
                raise self._fault(line, f"expected @{name} on a policy that permits, found it on a forbid")
        confirm = said.get("confirm", "")
        if "confirm" in said and (confirm != PRESENCE or not asks):
            raise self._fault(line, f'expected @confirm("{PRESENCE}") beside @ask, found another one')
        if said.get("record", ARGUMENTS) != ARGUMENTS:
            raise self._fault(line, f'expected @record("{ARGUMENTS}"), found {found(said["record"])}')
        allowed = Verdict.ASK if asks else Verdict.ALLOW
        return Rule(
            id=ident,
            effect=allowed if permits else Verdict.DENY,
            line=line,
            durable="durable" in said,
            recheck="recheck" in said,
            confirm=confirm,
            record=said.get("record", ""),
            cedar=msgspec.json.encode(body, order="deterministic").decode(),
        )

    def _fault(self, line: int, message: str, hint: str = "") -> ConfigError:
        return ConfigError(message, file=self._file, line=line, key="cedar", hint=hint)
