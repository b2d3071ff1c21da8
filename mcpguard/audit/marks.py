"""What a schema says is secret: `x-mcpguard-secret: true`, `format: password`, `writeOnly: true`.

Rule: marks only hide. A schema that cannot be followed marks nothing, and what it marks is still looked at otherwise.

Source: JSON Schema 2020-12 validation 7 (format) and 9.4 (writeOnly); OpenAPI 3.1, Data Types (password).

Decided: *local references are followed, as deep as the schema is read at all* (`limits.SCHEMA_DEPTH`); rejected: a
reference to elsewhere, which no schema that is held against arguments may have either.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.model import Json

_BRANCHES: Final = ("allOf", "anyOf", "oneOf", "then", "else", "if")


class Marks(msgspec.Struct, frozen=True):
    """What is secret of a value.

    Attributes:
        whole: All of it.
        members: Of an object, by the name of the member.
        others: Of an object, for every other member; None for nothing.
        items: Of a list, for each element; None for nothing.
    """

    whole: bool = False
    members: dict[str, Marks] = {}
    others: Marks | None = None
    items: Marks | None = None

    def of(self, name: str) -> Marks | None:
        """The marks of a member."""
        return self.members.get(name, self.others)


def marks_of(schema: Json) -> Marks | None:
    """The marks of an input schema; None if it has none."""
    try:
        return _marks(schema, schema, limits.SCHEMA_DEPTH, [limits.SCHEMA_STEPS])
    except _EndlessError:
        return None


class _EndlessError(Exception):
    """The schema has more branches than anybody follows."""


def _marks(schema: Json, root: Json, depth: int, left: list[int]) -> Marks | None:
    left[0] -= 1
    if left[0] < 0:
        raise _EndlessError
    if type(schema) is not dict or depth <= 0:
        return None
    if (
        schema.get("x-mcpguard-secret") is True
        or schema.get("writeOnly") is True
        or schema.get("format") == "password"
    ):
        return Marks(whole=True)
    found = [_children(schema, root, depth, left)]
    if type(reference := schema.get("$ref")) is str:
        found.append(_marks(_referred(root, reference), root, depth - 1, left))
    for word in _BRANCHES:
        branches = schema.get(word)
        each_branch = branches if type(branches) is list else [branches]
        found += [_marks(branch, root, depth - 1, left) for branch in each_branch]
    return _joined([each for each in found if each is not None])


def _children(schema: Json, root: Json, depth: int, left: list[int]) -> Marks | None:
    """The marks of what stands in the value itself."""
    members, properties = {}, schema.get("properties")
    for name, inner in (properties if type(properties) is dict else {}).items():
        if (below := _marks(inner, root, depth - 1, left)) is not None:
            members[name] = below
    others = _marks(schema.get("additionalProperties"), root, depth - 1, left)
    patterns = schema.get("patternProperties")
    for inner in (patterns if type(patterns) is dict else {}).values():
        others = _joined(
            [each for each in (others, _marks(inner, root, depth - 1, left)) if each is not None]
        )
    elements = [schema.get("items"), schema.get("contains")]
    if type(prefix := schema.get("prefixItems")) is list:
        elements += prefix
    items = _joined([each for one in elements if (each := _marks(one, root, depth - 1, left)) is not None])
    if not members and others is None and items is None:
        return None
    return Marks(members=members, others=others, items=items)


def _joined(found: list[Marks]) -> Marks | None:
    """What any of them marks."""
    if len(found) < 2:
        return found[0] if found else None
    if any(each.whole for each in found):
        return Marks(whole=True)
    names = {name for each in found for name in each.members}
    return Marks(
        members={
            name: joined
            for name in names
            if (joined := _joined([m for each in found if (m := each.of(name))]))
        },
        others=_joined([each.others for each in found if each.others is not None]),
        items=_joined([each.items for each in found if each.items is not None]),
    )


def _referred(root: Json, reference: str) -> Json:
    """What a reference inside the schema means; None if it means nothing."""
    if not reference.startswith("#"):
        return None
    found = root
    for token in reference[1:].split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if type(found) is dict else None
    return found
