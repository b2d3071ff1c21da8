"""The keys of a rule that speak of arguments, circumstances and amounts: `args`, `when`, `rate` and their like.

Source of the schema keywords: JSON Schema 2020-12, core and validation.

Decided: *a keyword that does not exist is an error*, though JSON Schema ignores it, because a misspelt constraint
that constrains nothing is worse than none; rejected: a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from mcpguard import limits
from mcpguard.model import DAY, Json, JsonObject
from mcpguard.policy.lines import Path
from mcpguard.policy.match import Pattern, flaw
from mcpguard.policy.reading import Reader, found, nearest
from mcpguard.policy.rules import PER, Argument, Elicit, Limit, When
from mcpguard.policy.schema import SchemaError, compile_schema
from mcpguard.policy.zones import zone_of

WHEN_KEYS: Final = (
    "hours", "days", "zone", "after", "after_not", "reads", "sends", "session", "cwd", "host_version",
    "annotations", "risk",
)  # fmt: skip
_OWN_ARGUMENT_KEYS: Final = ("under", "deny", "hosts", "optional")
_SCHEMA_KEYS: Final = frozenset({
    "$id", "$schema", "$ref", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary", "$comment", "$defs",
    "prefixItems", "items", "contains", "additionalProperties", "properties", "patternProperties",
    "dependentSchemas", "propertyNames", "if", "then", "else", "allOf", "anyOf", "oneOf", "not",
    "unevaluatedItems", "unevaluatedProperties", "type", "enum", "const", "multipleOf", "maximum",
    "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength", "pattern", "maxItems",
    "minItems", "uniqueItems", "maxContains", "minContains", "maxProperties", "minProperties", "required",
    "dependentRequired", "format", "contentEncoding", "contentMediaType", "contentSchema", "title",
    "description", "default", "deprecated", "readOnly", "writeOnly", "examples",
})  # fmt: skip
_MAPS: Final = frozenset({"properties", "patternProperties", "$defs", "dependentSchemas"})
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SINGLE: Final = frozenset({
    "items", "contains", "additionalProperties", "propertyNames", "if", "then", "else", "not",
    "unevaluatedItems", "unevaluatedProperties", "contentSchema",
})  # fmt: skip
_SESSION: Final = {word: word for word in ("local", "remote", "locked", "unlocked")}
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS: Final = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")
_RELEASE: Final = re.compile(r"(>=|<=|==|!=|>|<) ?([0-9]{1,9}(?:\.[0-9]{1,9}){0,7})")
_RATE: Final = re.compile(r"([0-9]{1,9}) ?/ ?(s|min|h)")
_BUDGET: Final = re.compile(r"([0-9]{1,9}) ?/ ?(day)")
_UNITS: Final = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": DAY}
_MODES: Final = {"form": "form", "url": "url"}
_MOST: Final = 999_999_999
_WHOLE_DAY: Final = 24 * 60
_FOLDERS: Final = ("~", "{cwd}")


class ConditionReader(Reader):
    """Reads what a rule asks of a request and of the moment."""

    # --- arguments -----------------------------------------------------------------------------------------

    def arguments(self, value: Json, path: Path) -> tuple[Argument, ...]:
        """`args`: a table for each argument, or for each JSON Pointer."""
        table = self.table(value, path, "write args.path = { under = ['~/src'] }")
        if not table or len(table) > limits.ARGUMENT_RULES:
            raise self.fault(path, f"expected 1 to {limits.ARGUMENT_RULES} arguments, found {len(table)}")
        return tuple(self._argument(name, each, (*path, name)) for name, each in table.items())

    def _argument(self, name: str, value: Json, path: Path) -> Argument:
        table = self.table(value, path, 'write { type = "string" }')
        if len(name) > limits.KEY_CHARS or re.search(r"~(?![01])", name if name.startswith("/") else ""):
            most = limits.KEY_CHARS
            message = f"expected a name or a JSON Pointer of at most {most} characters, found {found(name)}"
            raise self.fault(path, message, "in a pointer, ~ is written ~0 and / is written ~1")
        schema = {key: each for key, each in table.items() if key not in _OWN_ARGUMENT_KEYS}
        argument = Argument(
            name=name,
            schema=self._schema(schema, path, name) if schema else None,
            under=self.optional(table, path, "under", self._folders, ()),
            deny=self.optional(table, path, "deny", self._globs, ()),
            hosts=self.optional(table, path, "hosts", self.patterns, ()),
            optional=self.optional(table, path, "optional", self.flag, default=False),
            line=self.line(path),
        )
        if not schema and not (argument.under or argument.deny or argument.hosts):
            raise self.fault(path, "expected a constraint, found none", "write { under = ['~/src'] }")
        return argument

    def _schema(self, schema: JsonObject, path: Path, name: str) -> JsonObject:
        self._keywords(schema, path, 0)
        try:
            compile_schema(schema, what=f"the schema of args.{name}")
        except SchemaError as error:
            raise self.fault(path, error.message, error.hint) from error
        return schema

    def _keywords(self, schema: Json, path: Path, depth: int) -> None:
        """Refuse keywords that do not exist, at every place where a schema stands."""
        if not isinstance(schema, dict) or depth > limits.SCHEMA_DEPTH:
            return
        for key, value in schema.items():
            if key not in _SCHEMA_KEYS:
                known = sorted(_SCHEMA_KEYS | set(_OWN_ARGUMENT_KEYS))
                message = f"expected a keyword of JSON Schema, found {found(key)}"
                hint = nearest(key, known) or "see JSON Schema 2020-12"
                raise self.fault((*path, key), message, hint)
            below: Iterable[Json] = ()
            if key in _MAPS and isinstance(value, dict):
                below = value.values()
            elif key in _LISTS and isinstance(value, list):
                below = value
            elif key in _SINGLE:
                below = (value,)
            for each in below:
                self._keywords(each, (*path, key), depth + 1)

    def _folders(self, value: Json, path: Path) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else self.list(value, path, "folders", "['~/src']")
        return tuple(self._folder(item, (*path, index)) for index, item in enumerate(items))

    def _folder(self, value: Json, path: Path) -> str:
        folder = self.text(value, path, "a folder", limits.FOLDER_CHARS)
        head = folder.partition("/")[0]
        absolute = folder.startswith("/") or head in _FOLDERS
        if not absolute or "\0" in folder or ".." in folder.split("/"):
            message = (
                f"expected an absolute folder, or one that begins with ~ or {{cwd}}, found {found(folder)}"
            )
            raise self.fault(path, message, "write under = ['~/src'] or ['{cwd}']")
        if "*" in folder or "?" in folder:
            raise self.fault(
                path,
                f"expected a folder, found a pattern {found(folder)}",
                "everything below a folder is meant",
            )
        return folder

    def _globs(self, value: Json, path: Path) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else self.list(value, path, "patterns", "['**/.git/**']")
        return tuple(self.glob(item, (*path, index)) for index, item in enumerate(items))

    def glob(self, value: Json, path: Path) -> str:
        """A pattern over paths or URIs, as written."""
        text = self.text(value, path, "a pattern", limits.PATTERN_CHARS)
        if wrong := flaw(text):
            raise self.fault(path, f"bad glob {found(text)}: expected {wrong}")
        return text

    # --- circumstances -------------------------------------------------------------------------------------

    def when(self, value: Json, path: Path) -> When:
        """`when`."""
        table = self.table(value, path, "write when = { hours = '08:00-20:00' }")
        self.known(table, path, WHEN_KEYS)
        if not table:
            raise self.fault(path, "expected a condition, found none", f"known are {', '.join(WHEN_KEYS)}")
        if "zone" in table and not {"hours", "days"} & table.keys():
            raise self.fault((*path, "zone"), "expected hours or days beside a zone, found neither")
        return When(
            hours=self.optional(table, path, "hours", self._hours, ()),
            days=self.optional(table, path, "days", self._days, frozenset()),
            zone=self.optional(table, path, "zone", self.zone, ""),
            after=self.optional(table, path, "after", self.names, ()),
            after_not=self.optional(table, path, "after_not", self.names, ()),
            reads=self.optional(table, path, "reads", self.names, ()),
            sends=self.optional(table, path, "sends", self.names, ()),
            session=self.optional(table, path, "session", self._session, ()),
            cwd=self.optional(table, path, "cwd", self._folders, ()),
            release=self.optional(table, path, "host_version", self._release, ()),
            annotations=self.optional(table, path, "annotations", self._annotations, {}),
            risk=self.optional(table, path, "risk", self.one_or_more, ()),
        )

    def zone(self, value: Json, path: Path) -> str:
        """The name of a time zone."""
        if not isinstance(value, str) or not value or zone_of(value) is None:
            message = f"expected a time zone such as Europe/Berlin or UTC, found {found(value)}"
            raise self.fault(path, message, "names are those of the IANA time zone database")
        return value

    def _hours(self, value: Json, path: Path) -> tuple[tuple[int, int], ...]:
        items = [value] if isinstance(value, str) else self.list(value, path, "hours", '"08:00-20:00"')
        return tuple(self._span(item, (*path, index)) for index, item in enumerate(items))

    def _span(self, value: Json, path: Path) -> tuple[int, int]:
        match = _HOURS.fullmatch(value) if isinstance(value, str) else None
        if match:
            begin, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
            fits = int(match[2]) < 60 and int(match[4]) < 60 and begin < _WHOLE_DAY and end <= _WHOLE_DAY
            if fits and begin != end:
                return begin, end
        message = f"expected hours such as 08:00-20:00 or 22:00-06:00, found {found(value)}"
        raise self.fault(path, message, "the whole day is 00:00-24:00")

    def _days(self, value: Json, path: Path) -> frozenset[int]:
        items = [value] if isinstance(value, str) else self.list(value, path, "days", '["mon-fri"]')
        days: set[int] = set()
        for index, item in enumerate(items):
            first, dash, last = item.partition("-") if isinstance(item, str) else ("", "", "")
            if first not in _DAYS or (dash and last not in _DAYS):
                message = f"expected mon, tue, wed, thu, fri, sat, sun or a span such as mon-fri, found {found(item)}"
                raise self.fault((*path, index), message)
            begin, end = _DAYS.index(first), _DAYS.index(last if dash else first)
            days |= {day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)}
        return frozenset(days)

    def _session(self, value: Json, path: Path) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else self.list(value, path, "words", '["local"]')
        words = tuple(self.word(item, (*path, index), _SESSION) for index, item in enumerate(items))
        for one, other in (("local", "remote"), ("locked", "unlocked")):
            if one in words and other in words:
                raise self.fault(path, f"expected {one} or {other}, found both, which never holds")
        return words

    def _release(self, value: Json, path: Path) -> tuple[tuple[str, str], ...]:
        items = [value] if isinstance(value, str) else self.list(value, path, "comparisons", '">=1.2"')
        found_all = []
        for index, item in enumerate(items):
            match = _RELEASE.fullmatch(item) if isinstance(item, str) else None
            if match is None:
                message = f"expected a comparison such as >=1.2, found {found(item)}"
                raise self.fault((*path, index), message, "known are >= > <= < == !=")
            found_all.append((match[1], match[2]))
        return tuple(found_all)

    def _annotations(self, value: Json, path: Path) -> JsonObject:
        table = self.table(value, path, "write annotations = { readOnlyHint = true }")
        known = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
        self.known(table, path, known)
        if not table:
            raise self.fault(path, "expected an annotation, found none", f"known are {', '.join(known)}")
        return {key: self.flag(each, (*path, key)) for key, each in table.items()}

    # --- amounts -------------------------------------------------------------------------------------------

    def rate(self, value: Json, path: Path) -> Limit:
        """`rate`."""
        return self._limit(value, path, _RATE, "60/min")

    def budget(self, value: Json, path: Path) -> Limit:
        """`budget`."""
        return self._limit(value, path, _BUDGET, "500/day")

    def concurrency(self, value: Json, path: Path) -> Limit:
        """`concurrency`."""
        amount, per = self._per(value, path)
        return Limit(self.number(amount, path, limits.PENDING), 0.0, per)

    def _limit(self, value: Json, path: Path, form: re.Pattern[str], example: str) -> Limit:
        amount, per = self._per(value, path)
        match = form.fullmatch(amount) if isinstance(amount, str) else None
        if match is None or not 1 <= int(match[1]) <= _MOST:
            raise self.fault(path, f"expected an amount such as {example}, found {found(amount)}")
        return Limit(int(match[1]), _UNITS[match[2]], per)

    def _per(self, value: Json, path: Path) -> tuple[Json, tuple[str, ...]]:
        """The amount, and what it counts apart."""
        if not isinstance(value, dict):
            return value, PER
        self.known(value, path, ("limit", "per"))
        if "limit" not in value:
            raise self.missing(path, "limit", "an amount")
        if "per" not in value:
            return value["limit"], PER
        items = self.list(value["per"], (*path, "per"), "words", '["principal"]')
        choices = {word: word for word in PER}
        named = {self.word(item, (*path, "per", index), choices) for index, item in enumerate(items)}
        return value["limit"], tuple(word for word in PER if word in named)

    # --- elicitation ---------------------------------------------------------------------------------------

    def elicitation(self, value: Json, path: Path) -> Elicit | None:
        """`elicitation`: true, or modes and hosts of pages."""
        if isinstance(value, bool):
            return Elicit() if value else None
        table = self.table(value, path, "write elicitation = true")
        self.known(table, path, ("mode", "hosts"))
        modes: tuple[str, ...] = ("form", "url")
        if "mode" in table:
            given = table["mode"]
            items = (
                [given] if isinstance(given, str) else self.list(given, (*path, "mode"), "modes", '["form"]')
            )
            modes = tuple(
                dict.fromkeys(self.word(i, (*path, "mode", n), _MODES) for n, i in enumerate(items))
            )
        hosts: tuple[Pattern, ...] = self.optional(table, path, "hosts", self.patterns, ())
        if hosts and "url" not in modes:
            raise self.fault((*path, "hosts"), 'expected mode "url" beside hosts, found forms only')
        return Elicit(modes, hosts)
