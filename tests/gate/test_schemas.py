"""Arguments and results against pinned definitions."""

from typing import Any

import pytest

from mcpguard.gate.schemas import PinnedSchemas

PATH = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
OUT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def pinned(**definition: Any) -> PinnedSchemas:
    return PinnedSchemas({"t": {"name": "t", **definition}})


@pytest.mark.parametrize(
    "draft",
    ["", "http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema",
     "http://json-schema.org/draft-04/schema#", "https://json-schema.org/draft/2019-09/schema"],
)  # fmt: skip
def test_arguments_of_every_draft_seen_in_the_wild(draft: str) -> None:
    schemas = pinned(inputSchema={**PATH, **({"$schema": draft} if draft else {})})
    assert schemas.arguments_fault("t", {"path": "x", "more": 1}) == ""
    assert "at / (required)" in schemas.arguments_fault("t", {})
    fault = schemas.arguments_fault("t", {"path": 1})
    assert "does not fit the schema at /path" in fault


def test_the_argument_itself_is_not_in_the_sentence() -> None:
    assert "hunter2" not in pinned(inputSchema=PATH).arguments_fault("t", {"path": ["hunter2"]})


@pytest.mark.parametrize(
    "schema",
    [{"type": "object"}, {"type": "object", "additionalProperties": True}, {}, {"type": "object", "x": 1}],
)
def test_a_tool_without_demands_takes_anything(schema: Any) -> None:
    assert pinned(inputSchema=schema).arguments_fault("t", {"a": [1, {}]}) == ""


def test_what_is_not_pinned_is_not_judged() -> None:
    schemas = pinned(inputSchema=PATH)
    assert schemas.arguments_fault("other", {}) == ""
    assert schemas.result_fault("other", {}) == ""
    assert pinned().arguments_fault("t", {}) == ""


@pytest.mark.parametrize(
    "schema", [{"$ref": "http://127.0.0.1:1/"}, {"type": "strnig"}, [], "x", {"pattern": "("}]
)
def test_a_definition_that_cannot_be_used_refuses_with_a_next_step(schema: Any) -> None:
    fault = pinned(inputSchema=schema, outputSchema=schema).arguments_fault("t", {})
    assert fault.startswith("the pinned inputSchema ")
    assert "mcpguard server show" in fault
    assert pinned(outputSchema=schema).result_fault("t", {"structuredContent": {}})


def test_results() -> None:
    schemas = pinned(outputSchema=OUT)
    good = {"content": [], "structuredContent": {"n": 1}}
    assert schemas.result_fault("t", good) == ""
    assert schemas.result_fault("t", {"content": [], "isError": True}) == ""
    assert "has no structured content" in schemas.result_fault("t", {"content": []})
    assert "does not fit" in schemas.result_fault("t", {"structuredContent": {"n": "1"}})
    assert schemas.result_fault("t", {"structuredContent": {"n": "1"}, "isError": "true"})
    assert pinned(inputSchema=PATH).result_fault("t", {"content": []}) == ""
