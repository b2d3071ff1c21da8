import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.protocol.mirrored import Mismatch, check, decoded

SCHEMA = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
        "flag": {"type": "boolean", "x-mcp-header": "Flag"},
        "items": {"type": "array", "items": {"properties": {"x": {"x-mcp-header": "No"}}}},
    },
}
TAGS = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}


def call(name: str = "t", **arguments: object) -> dict[str, object]:
    return {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": name, "arguments": arguments, "_meta": TAGS},
    }


def fields(**more: str) -> dict[str, str]:
    base = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "t"}
    return base | {name.replace("_", "-"): value for name, value in more.items()}


def b64(text: str) -> str:
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def test_what_agrees_passes() -> None:
    check(fields(), call())
    check(fields(mcp_name=b64("t")), call())
    full = fields(mcp_param_region="eu", mcp_param_n="-3", mcp_param_flag="true")
    check(full, call(region="eu", deep={"n": -3}, flag=True), SCHEMA)
    check(fields(mcp_param_region=b64("ä")), call(region="ä"), SCHEMA)
    check(fields(), call(region=None, items=[{"x": "y"}]), SCHEMA)


@pytest.mark.parametrize(
    "given_fields",
    [
        fields(mcp_name="T"), fields(mcp_name=b64("u")), fields(mcp_method="tools/list"),
        fields(mcp_protocol_version="2025-11-25"), fields(mcp_name="=?base64?!?="), {}, fields(mcp_name=" t"),
        {key: value for key, value in fields().items() if key != "mcp-name"},
        {key: value for key, value in fields().items() if key != "mcp-method"},
    ],
)  # fmt: skip
def test_what_does_not_agree_is_a_mismatch(given_fields: dict[str, str]) -> None:
    with pytest.raises(Mismatch):
        check(given_fields, call())


@pytest.mark.parametrize(
    ("more", "arguments"),
    [
        ({}, {"region": "eu"}), ({"mcp_param_region": "us"}, {"region": "eu"}), ({"mcp_param_region": "eu"}, {}),
        ({"mcp_param_flag": "True"}, {"flag": True}), ({"mcp_param_n": "3.0"}, {"deep": {"n": 3}}),
        ({"mcp_param_n": "3"}, {"deep": {}}),
    ],
)  # fmt: skip
def test_parameters_that_do_not_agree(more: dict[str, str], arguments: dict[str, object]) -> None:
    with pytest.raises(Mismatch):
        check(fields(**more), call(**arguments), SCHEMA)


def test_resources_and_prompts_are_named_too_and_lists_are_not() -> None:
    read = {"id": 1, "method": "resources/read", "params": {"uri": "file:///a", "_meta": TAGS}}
    check(fields(mcp_method="resources/read", mcp_name="file:///a"), read)
    with pytest.raises(Mismatch):
        check(fields(mcp_method="resources/read", mcp_name="file:///b"), read)
    listed = {"id": 1, "method": "tools/list", "params": {"_meta": TAGS}}
    with pytest.raises(Mismatch, match="names nothing"):
        check(fields(mcp_method="tools/list"), listed)


@given(st.text(max_size=40))
def test_every_text_can_be_said(text: str) -> None:
    assert decoded(b64(text)) == text


@given(st.text(max_size=40))
def test_any_value_is_read_or_refused(text: str) -> None:
    try:
        decoded(text)
    except Mismatch:
        assert text.startswith("=?base64?")
