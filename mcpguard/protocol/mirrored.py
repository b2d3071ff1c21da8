"""Header fields that say what a body says, compared with the body that is judged.

Rule 1: whoever reads only headers must not be told otherwise than whoever reads the body: what is missing, twice,
malformed or different is -32020 (HeaderMismatch).
Rule 2: values are compared after decoding `=?base64?...?=`.

Source: MCP basic/transports, revision 2026-07-28, Request metadata headers.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from mcpguard.errors import ProtocolError
from mcpguard.model import Json, JsonObject
from mcpguard.protocol.meta import VERSION

HEADER_MISMATCH: Final = -32020
"""Revision 2026-07-28, HeaderMismatch."""
VERSION_FIELD: Final = "mcp-protocol-version"
METHOD_FIELD: Final = "mcp-method"
NAME_FIELD: Final = "mcp-name"
PARAM_PREFIX: Final = "mcp-param-"
_NAMED: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
_HEAD: Final = "=?base64?"
_TAIL: Final = "?="
_OPTIONAL: Final = ("tasks/get", "tasks/update", "tasks/cancel")
_DEPTH: Final = 8


class Mismatch(ProtocolError):
    """Header and body differ."""


def check(fields: Mapping[str, str], message: JsonObject, schema: Json = None) -> None:
    """Compare the header of a modern request or notification with its body.

    Args:
        fields: Header fields by lower-case name, each of which came once.
        message: The body.
        schema: The pinned `inputSchema` of the tool that is called; None if it is not known.

    Raises:
        Mismatch: They differ.
    """
    params = message.get("params")
    params = params if type(params) is dict else {}
    meta = params.get("_meta")
    version = meta.get(VERSION) if type(meta) is dict else None
    if type(version) is str:
        _require(fields, VERSION_FIELD, version, "the version in _meta")
    method = message.get("method")
    if type(method) is not str:
        return
    if "id" in message or METHOD_FIELD in fields:
        _require(fields, METHOD_FIELD, method, "the method")
    key = _NAMED.get(method)
    if key is None:
        if NAME_FIELD in fields:
            raise Mismatch(f"Mcp-Name is given, and {method} names nothing")
        return
    name = params.get(key)
    if type(name) is str and (NAME_FIELD in fields or method not in _OPTIONAL):
        _require(fields, NAME_FIELD, name, f"params.{key}")
    if method == "tools/call":
        _check_parameters(fields, params.get("arguments"), schema)


def decoded(value: str) -> str:
    """The value of a field as it was meant.

    Raises:
        Mismatch: It looks encoded and is not.
    """
    if not (value.startswith(_HEAD) and value.endswith(_TAIL)):
        return value
    try:
        return base64.b64decode(value[len(_HEAD) : -len(_TAIL)], validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise Mismatch("a header field looks like base64 and is not") from error


def _require(fields: Mapping[str, str], field: str, wanted: str, what: str) -> None:
    if field not in fields:
        raise Mismatch(f"{field} is missing; it says what {what} says")
    if decoded(fields[field]) != wanted:
        raise Mismatch(f"{field} is not {what}")


def _check_parameters(fields: Mapping[str, str], arguments: Json, schema: Json) -> None:
    """`Mcp-Param-*`, where the definition of the tool is pinned; what no definition knows is left alone."""
    annotated = dict(_annotated(schema, (), _DEPTH))
    for name, path in annotated.items():
        value = arguments
        for key in path:
            value = value.get(key) if type(value) is dict else None
        field = f"{PARAM_PREFIX}{name.lower()}"
        text = _text(value)
        if text is None:
            if field in fields:
                raise Mismatch(f"{field} is given, and the argument that it says is not")
            continue
        _require(fields, field, text, f"the argument {'.'.join(path)}")


def _annotated(schema: Json, path: tuple[str, ...], depth: int) -> list[tuple[str, tuple[str, ...]]]:
    """Names in `x-mcp-header` annotations, and the paths of their arguments, through `properties` only."""
    found: list[tuple[str, tuple[str, ...]]] = []
    properties = schema.get("properties") if type(schema) is dict else None
    if type(properties) is not dict or depth <= 0:
        return found
    for key, value in properties.items():
        if type(value) is not dict:
            continue
        name = value.get("x-mcp-header")
        if type(name) is str:
            found.append((name, (*path, key)))
        found += _annotated(value, (*path, key), depth - 1)
    return found


def _text(value: Json) -> str | None:
    """How an argument is said in a field; None if it is not said."""
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        return str(value)
    return value if type(value) is str else None
