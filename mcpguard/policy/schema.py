"""JSON Schema that comes from others: compiled within bounds, or refused; never fetched, never slow.

Rule 1: nothing is retrieved, from a network or a disk: a reference that leads outside the schema refuses it.
Rule 2: what a schema can cost is looked at before the library sees it: depth, size, references, and how often they
multiply. Patterns run on an engine without backtracking.
Rule 3: a value is valid only if the library says exactly True; whatever it raises is a fault.

Cost: 0.2 us to hold two arguments against a schema (timeit, CPython 3.11), besides what Rule 2 does once for a schema
that refers to itself: a walk to the depth of each value.

Source: JSON Schema 2020-12 (and the drafts that `$schema` names); MCP basic, `$ref` resolution and composition
keywords (2026-07-28).

Decided: *a schema that refers to itself is held against shallow values only*, as deep as cannot make it slow, because
recursion through two references doubles with each level; rejected: refusing such schemas, which describe trees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import jsonschema_rs
import msgspec

from mcpguard import limits
from mcpguard.errors import GuardError
from mcpguard.model import Json, JsonObject

_HINT: Final = "write it without, or describe less"
_VALUES: Final = ("const", "enum", "default", "examples")
"""Keywords whose values are data, in which nothing is a schema."""
_PATTERN_BYTES: Final = 64 * 1024
_OPTIONS: Final = jsonschema_rs.RegexOptions(size_limit=1024 * 1024)


class SchemaError(GuardError):
    """A schema that cannot be used: it leads elsewhere, costs too much, or is none."""


class Schema:
    """A compiled schema; made by `compile_schema`."""

    __slots__ = ("_branches", "_validator")

    def __init__(self, validator: jsonschema_rs.Validator, branches: int) -> None:
        self._validator = validator
        self._branches = branches

    def fits(self, value: Json) -> bool:
        """Whether a value fits; what cannot be told does not. Never raises."""
        if self._branches:
            return not self.fault(value)
        try:
            return self._validator.is_valid(value) is True
        except Exception:  # noqa: BLE001 (Rule 3)
            return False

    def fault(self, value: Json) -> str:
        """Why a value does not fit, as the end of a sentence; empty if it fits. Never raises."""
        if self._branches and self._branches ** _depth(value, limits.SCHEMA_STEPS) > limits.SCHEMA_STEPS:
            return "is nested too deeply to be held against a schema that refers to itself"
        try:
            return "" if self._validator.is_valid(value) is True else self._told(value)
        except Exception as error:  # noqa: BLE001 (Rule 3)
            return f"cannot be held against the schema: {type(error).__name__}"

    def _told(self, value: Json) -> str:
        """The first fault, without the value: it may be anything."""
        for error in self._validator.iter_errors(value):
            place = "".join(f"/{part}" for part in error.instance_path)[:_SHOWN]
            rule = "/".join(str(part) for part in error.schema_path)[:_SHOWN]
            return f"does not fit the schema at {place or '/'} ({rule})"
        return "does not fit the schema"


_SHOWN: Final = 120


def compile_schema(schema: Json, *, what: str) -> Schema:
    """Compile a schema; `what` begins the sentence of a refusal, such as `the schema of args.path`.

    Raises:
        SchemaError: It is none, refers to something outside itself, or could take more than a moment.
    """
    if not isinstance(schema, dict):
        raise SchemaError(f"{what} is not an object")
    try:
        size = len(msgspec.json.encode(schema))
    except (ValueError, TypeError, RecursionError) as error:
        raise SchemaError(f"{what} is not JSON: {error}") from error
    if size > limits.SCHEMA_BYTES:
        raise SchemaError(f"{what} has {size} bytes, more than {limits.SCHEMA_BYTES}", hint=_HINT)
    branches = _bounded(schema, what)
    try:
        validator = jsonschema_rs.validator_for(schema, offline=True, pattern_options=_OPTIONS)
    except Exception as error:
        first = str(error).split("\n", 1)[0][:_SHOWN]
        raise SchemaError(f"{what} cannot be used: {first}") from error
    return Schema(validator, branches)


def _bounded(schema: JsonObject, what: str) -> int:
    """How many ways a value can go from each level to the next, through references that lead back; 0 if none does.

    Raises:
        SchemaError: It is too deep, or its references leave it, or multiply without bound.
    """
    references = 0
    for node, depth in _nodes(schema):
        if depth > limits.SCHEMA_DEPTH:
            raise SchemaError(f"{what} is nested deeper than {limits.SCHEMA_DEPTH} levels", hint=_HINT)
        pattern = node.get("pattern")
        if type(pattern) is str and len(pattern.encode("utf-8", "replace")) > _PATTERN_BYTES:
            raise SchemaError(f"{what} has a pattern longer than {_PATTERN_BYTES} bytes", hint=_HINT)
        for key in ("$ref", "$dynamicRef", "$recursiveRef"):
            if key in node:
                references += 1
                _check_reference(node[key], what)
    if references > limits.SCHEMA_REFS:
        raise SchemaError(f"{what} has more than {limits.SCHEMA_REFS} references", hint=_HINT)
    if not references:
        return 0
    weight = _Weight(schema)
    if weight.of(schema) > limits.SCHEMA_STEPS:
        raise SchemaError(f"{what} has references that multiply without bound", hint=_HINT)
    return weight.back


def _check_reference(reference: Json, what: str) -> None:
    if type(reference) is not str or not reference.startswith("#"):
        shown = str(reference)[:_SHOWN]
        raise SchemaError(f"{what} refers to {shown!a}, outside itself, which is never fetched", hint=_HINT)


class _Weight:
    """How many schemas a validator meets at most for one level of a value, each reference followed."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._known: dict[int, int] = {}
        self._open: set[int] = set()
        self.back = 0

    def of(self, node: Json) -> int:
        if type(node) is list:
            return self._sum(node)
        if type(node) is not dict:
            return 0
        place = id(node)
        if place in self._open:
            self.back += 1
            return 1
        if place not in self._known:
            self._open.add(place)
            reference = node.get("$ref", node.get("$dynamicRef", node.get("$recursiveRef")))
            aim = _resolve(self._root, reference) if reference is not None else None
            below = [child for key, child in node.items() if key not in ("$defs", "definitions", *_VALUES)]
            total = 1 + self._sum(below) + (self.of(aim) if aim is not None else 0)
            self._known[place] = min(total, limits.SCHEMA_STEPS + 1)
            self._open.discard(place)
        return self._known[place]

    def _sum(self, nodes: list[Json]) -> int:
        total = 0
        for node in nodes:
            total += self.of(node)
        return total


def _resolve(root: JsonObject, reference: str) -> Json:
    """What a reference within the schema leads to; None if that is not a place, which the library then says."""
    if reference == "#":
        return root
    if not reference.startswith("#/"):
        return _anchored(root, reference[1:])
    value: Json = root
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if type(value) is list and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        elif type(value) is dict:
            value = value.get(name)
        else:
            return None
    return value


def _anchored(root: JsonObject, name: str) -> Json:
    for node, _ in _nodes(root):
        if name in (node.get("$anchor"), node.get("$dynamicAnchor")):
            return node
    return None


def _nodes(schema: Json) -> Iterator[tuple[JsonObject, int]]:
    """Every object in a schema with its depth; values that are data are left out."""
    pending: list[tuple[Json, int]] = [(schema, 1)]
    while pending:
        value, depth = pending.pop()
        if type(value) is dict:
            yield value, depth
            pending.extend((child, depth + 1) for key, child in value.items() if key not in _VALUES)
        elif type(value) is list:
            pending.extend((child, depth + 1) for child in value)


def _depth(value: Json, most: int) -> int:
    """Levels of a JSON value; at most `most`."""
    level, depth = [value], 0
    while level and depth < most:
        following: list[Json] = []
        for each in level:
            if type(each) is dict:
                following.extend(each.values())
            elif type(each) is list:
                following.extend(each)
        level = following
        depth += 1
    return depth
