"""What Streamable HTTP says in header fields of what stands in a message: derived from it, never from elsewhere.

Rule: every field is computed from the message that was judged. A field that stands beside it could say something
else to whoever looks at fields only.

Source: MCP 2026-07-28, basic/transports (standard request headers, `x-mcp-header`); RFC 9110 5.6.2 (token).

Not here: which arguments may be shown in a header at all (`daemon.remote` leaves out those that are marked as
secret); sending them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.model import Json, JsonObject
from mcpguard.protocol import meta
from mcpguard.protocol.strict import Refused

SESSION: Final = "Mcp-Session-Id"
VERSION: Final = "MCP-Protocol-Version"
METHOD: Final = "Mcp-Method"
NAME: Final = "Mcp-Name"
PARAM: Final = "Mcp-Param-"
LAST_EVENT: Final = "Last-Event-ID"

HEADER_MISMATCH: Final = -32020
"""A header is missing, malformed, or says something else than the body."""

_NAMED: Final = {
    "tools/call": "name", "prompts/get": "name", "resources/read": "uri", "tasks/get": "taskId",
    "tasks/update": "taskId", "tasks/cancel": "taskId",
}  # fmt: skip
"""Method to the parameter that names what it is about."""
_KEY: Final = "x-mcp-header"
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PLAIN: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_SENTINEL: Final = re.compile(r"=\?base64\?(?P<payload>.*)\?=")
_KINDS: Final = frozenset({"string", "integer", "boolean"})
_SESSION_ID: Final = re.compile(r"[\x21-\x7e]+")


class Mirror(msgspec.Struct, frozen=True):
    """An argument that is repeated in a header.

    Attributes:
        header: The name behind `Mcp-Param-`.
        path: The names of the properties that lead to it.
    """

    header: str
    path: tuple[str, ...]


def standard(message: JsonObject) -> dict[str, str]:
    """The fields of a request or notification of the modern era, without those of arguments."""
    params = message.get("params")
    params = params if type(params) is dict else {}
    envelope = params.get("_meta")
    version = envelope.get(meta.VERSION) if type(envelope) is dict else None
    fields = {METHOD: encode_value(message["method"])}
    if type(version) is str:
        fields[VERSION] = encode_value(version)
    if (named := _NAMED.get(message["method"])) is not None and type(params.get(named)) is str:
        fields[NAME] = encode_value(params[named])
    return fields


def mirrored(arguments: Json, mirrors: Sequence[Mirror]) -> dict[str, str]:
    """The fields of a call's arguments: one that is absent or null has none."""
    fields: dict[str, str] = {}
    for each in mirrors:
        value = arguments
        for step in each.path:
            value = value.get(step) if type(value) is dict else None
        text = _text(value)
        if text is not None:
            fields[PARAM + each.header] = encode_value(text)
    return fields


def mirrors(schema: Json) -> tuple[Mirror, ...]:
    """The arguments that a tool's input schema wants repeated.

    Raises:
        Refused: An annotation breaks the rules; clients on HTTP must not use such a tool.
    """
    found: dict[str, Mirror] = {}
    for path, inner in _positions(schema):
        if _KEY not in inner:
            continue
        name = inner[_KEY]
        if not path:
            raise Refused(f"{_KEY} stands where no property is, or behind a condition, a list or a reference")
        if type(name) is not str or not _TOKEN.fullmatch(name) or len(name) > limits.NAME_CHARS:
            raise Refused(f"{_KEY} of {path[-1]!a} is no name of a header")
        if type(inner.get("type")) is not str or inner["type"] not in _KINDS:
            raise Refused(f"{_KEY} of {path[-1]!a} is only for strings, integers and booleans")
        if name.lower() in found:
            raise Refused(f"two arguments have the {_KEY} {name!a}")
        found[name.lower()] = Mirror(name, path)
    return tuple(found.values())


def encode_value(text: str) -> str:
    """A value as it stands in a field: as it is, or in base64 if it would not arrive unchanged."""
    if _PLAIN.fullmatch(text) and not _SENTINEL.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def decode_value(text: str) -> str | None:
    """The value of a field; None if it is malformed, also if it is another spelling than `encode_value` gives."""
    found = _SENTINEL.fullmatch(text)
    if found is None:
        return text
    try:
        plain = base64.b64decode(found["payload"], validate=True)
        value = plain.decode()
    except (binascii.Error, ValueError):
        return None
    return value if base64.b64encode(plain).decode() == found["payload"] else None


def contradiction(fields: Mapping[str, str], message: JsonObject) -> str:
    """What fields, names in lower case, say otherwise than the message; empty if nothing.

    For whoever receives requests. Not here: fields of arguments; fields that came twice.
    """
    for name, value in standard(message).items():
        given = fields.get(name.lower())
        if given is None:
            return f"the header {name} is missing"
        if decode_value(given) != decode_value(value):
            return f"the header {name} says something else than the body"
    return ""


def valid_session(text: str) -> bool:
    """Whether a session id is one: visible ASCII (MCP 2025-11-25, Session Management), bounded."""
    return len(text) <= limits.SESSION_ID_CHARS and bool(_SESSION_ID.fullmatch(text))


def _text(value: Json) -> str | None:
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is str:
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is int and abs(value) <= limits.ID_MAX:
        return str(value)
    return None


def _positions(schema: Json) -> Iterator[tuple[tuple[str, ...], JsonObject]]:
    """Every object in a schema, with the properties that lead to it; without any if something else does, too."""
    left = limits.SCHEMA_STEPS
    stack: list[tuple[Json, tuple[str, ...], bool]] = [(schema, (), True)]
    while stack:
        inner, path, plain = stack.pop()
        left -= 1
        if left < 0:
            raise Refused("the input schema is too large to look for headers in it")
        if type(inner) is list:
            stack += [(each, (), False) for each in inner]
        if type(inner) is not dict:
            continue
        yield (path if plain else ()), inner
        for key, value in inner.items():
            if key == "properties" and type(value) is dict:
                stack += [(each, (*path, name), plain) for name, each in value.items()]
            elif key not in ("const", "enum", "default", "examples", _KEY):
                stack.append((value, (), False))
