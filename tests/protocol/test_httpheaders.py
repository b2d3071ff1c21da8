"""Header fields of Streamable HTTP: derived from the message, and compared with it."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.model import JsonObject
from mcpguard.protocol import httpheaders
from mcpguard.protocol.httpheaders import (
    Mirror,
    contradiction,
    decode_value,
    encode_value,
    mirrored,
    mirrors,
    standard,
)
from mcpguard.protocol.strict import Refused


def message(method: str, **params: Any) -> JsonObject:
    params["_meta"] = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("tools/call", {"name": "read"}, "read"),
        ("prompts/get", {"name": "p"}, "p"),
        ("resources/read", {"uri": "file:///a b"}, "file:///a b"),
        ("tasks/get", {"taskId": "t-1"}, "t-1"),
        ("tools/call", {"name": "ä"}, "=?base64?w6Q=?="),
        ("tools/call", {"name": "=?base64?w6Q=?="}, "=?base64?PT9iYXNlNjQ/dzZRPT89?="),
        ("tools/call", {"name": 7}, None),
        ("tools/list", {"name": "x"}, None),
    ],
)
def test_standard_fields_are_those_of_the_body(method: str, params: dict[str, Any], name: str | None) -> None:
    expected = {"Mcp-Method": method, "MCP-Protocol-Version": "2026-07-28"} | (
        {"Mcp-Name": name} if name else {}
    )
    assert standard(message(method, **params)) == expected


def test_notification_without_parameters_has_its_method() -> None:
    assert standard({"jsonrpc": "2.0", "method": "a"}) == {"Mcp-Method": "a"}


@pytest.mark.parametrize(
    "text", ["", " a", "a ", "\t", "a\nb", "a\rb", "ä", "\x7f", "=?base64??=", "\U0001f600"]
)
def test_value_that_would_not_arrive_unchanged_is_encoded(text: str) -> None:
    encoded = encode_value(text)
    assert encoded == f"=?base64?{base64.b64encode(text.encode()).decode()}?="
    assert decode_value(encoded) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_value_arrives(text: str) -> None:
    encoded = encode_value(text)
    assert encoded.isascii()
    assert encoded.isprintable()
    assert decode_value(encoded) == text


@pytest.mark.parametrize("value", ["=?base64?x?=", "=?base64?w6R=?=", "=?base64?/w==?=", "=?base64?w6Q?="])
def test_malformed_value_is_none(value: str) -> None:
    assert decode_value(value) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"), (3, "3"), (-3, "-3"), (3.0, "3"), (True, "true"), (False, "false"), (None, None), (1.5, None),
        ([1], None), ({}, None), (limits.ID_MAX + 1, None), ("", "=?base64??="),
    ],
)  # fmt: skip
def test_arguments_are_repeated_as_text(value: Any, text: str | None) -> None:
    fields = mirrored(
        {"o": {"a": value}}, [Mirror("A", ("o", "a")), Mirror("B", ("o", "b")), Mirror("C", ("x", "y"))]
    )
    assert fields == ({"Mcp-Param-A": text} if text is not None else {})
    assert mirrored("not an object", [Mirror("A", ("a",))]) == {}


def test_annotations_of_a_schema_are_found() -> None:
    schema = {"properties": {
        "a": {"type": "string", "x-mcp-header": "A"},
        "x-mcp-header": {"type": "string"},
        "properties": {"properties": {"b": {"type": "boolean", "x-mcp-header": "B"}}},
        "c": {"type": "string", "default": {"x-mcp-header": "none"}, "enum": [{"x-mcp-header": 1}]},
    }}  # fmt: skip
    assert set(mirrors(schema)) == {Mirror("A", ("a",)), Mirror("B", ("properties", "b"))}
    assert mirrors(None) == mirrors({}) == ()


@pytest.mark.parametrize(
    "schema",
    [
        {"x-mcp-header": "A"},
        {"properties": {"a": {"type": "string", "x-mcp-header": ""}}},
        {"properties": {"a": {"type": "string", "x-mcp-header": "a b"}}},
        {"properties": {"a": {"type": "string", "x-mcp-header": 7}}},
        {"properties": {"a": {"type": "string", "x-mcp-header": "A\r\nX: y"}}},
        {"properties": {"a": {"type": "number", "x-mcp-header": "A"}}},
        {"properties": {"a": {"type": ["string"], "x-mcp-header": "A"}}},
        {
            "properties": {
                "a": {"type": "string", "x-mcp-header": "A"},
                "b": {"type": "string", "x-mcp-header": "a"},
            }
        },
        {"properties": {"a": {"items": {"type": "string", "x-mcp-header": "A"}}}},
        {"anyOf": [{"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}]},
        {"$defs": {"d": {"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}}},
        {"if": {"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}},
        {"allOf": [{}] * (limits.SCHEMA_STEPS + 1)},
    ],
)
def test_annotation_against_the_rules_is_refused(schema: JsonObject) -> None:
    with pytest.raises(Refused):
        mirrors(schema)


def test_header_that_contradicts_the_body_is_said() -> None:
    body = message("tools/call", name="read")
    good = {name.lower(): value for name, value in standard(body).items()}
    assert contradiction(good, body) == ""
    assert contradiction(good | {"mcp-name": "=?base64?cmVhZA==?="}, body) == ""
    for change in (
        {"mcp-name": "delete"},
        {"mcp-method": "tools/list"},
        {"mcp-protocol-version": "2025-11-25"},
    ):
        assert "says something else" in contradiction(good | change, body)
    for name in good:
        assert "is missing" in contradiction({k: v for k, v in good.items() if k != name}, body)


@pytest.mark.parametrize(
    ("text", "good"), [("a", True), ("a b", False), ("", False), ("ä", False), ("x" * 1025, False)]
)
def test_session_id_is_visible_ascii(text: str, good: bool) -> None:
    assert httpheaders.valid_session(text) is good
