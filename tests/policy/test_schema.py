"""Schemas of others: used within bounds, or refused; never fetched."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.policy.schema import SchemaError, compile_schema


def fault(schema: Any, value: Any) -> str:
    return compile_schema(schema, what="it").fault(value)


KEYWORDS = [
    ({"type": "string"}, ["", "x"], [1, None, True, {}]),
    ({"type": "integer"}, [1, -5], [1.5, "1", True]),
    ({"const": 1}, [1], [2, True, "1"]),
    ({"enum": ["a", None]}, ["a", None], ["b", 0]),
    ({"minimum": 0, "exclusiveMaximum": 10}, [0, 9.5], [-1, 10]),
    ({"maxLength": 2}, ["äö", "🙂🙂"], ["abc"]),
    ({"pattern": "^a+$"}, ["aa"], ["ab", ""]),
    ({"items": {"type": "integer"}, "maxItems": 2, "uniqueItems": True}, [[], [1, 2]], [[1, 1], [1, 2, 3], ["a"]]),
    ({"prefixItems": [{"type": "string"}], "items": False}, [["a"]], [[1], ["a", "b"]]),
    ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, [{"a": "x", "b": 1}], [{}, {"a": 1}]),
    ({"additionalProperties": False, "properties": {"a": True}}, [{"a": 1}], [{"b": 1}]),
    ({"oneOf": [{"type": "string"}, {"maxLength": 1}]}, ["ab"], ["a"]),
    ({"not": {"type": "string"}}, [1], ["a"]),
    ({"if": {"type": "string"}, "then": {"maxLength": 1}}, ["a", 5], ["ab"]),
    ({"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}}, [{"a": 1}], [{"a": "1"}]),
    ({"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"n": {"type": "integer"}},
      "items": [{"$ref": "#/definitions/n"}]}, [[1, "x"]], [["x"]]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "good", "bad"), KEYWORDS)
def test_keywords_mean_what_the_specification_says(schema: Any, good: list[Any], bad: list[Any]) -> None:
    assert [fault(schema, value) for value in good] == [""] * len(good)
    assert all(fault(schema, value) for value in bad)


def test_a_schema_that_refers_to_itself_is_held_against_shallow_values() -> None:
    tree = {
        "$defs": {"node": {"properties": {"below": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}},
        "$ref": "#/$defs/node",
    }
    assert fault(tree, {"below": [{"below": []}]}) == ""
    assert fault(tree, {"below": [{"below": 1}]})


def doubling(levels: int) -> dict[str, Any]:
    defs: dict[str, Any] = {"d0": {"type": "string"}}
    for level in range(1, levels):
        below = {"$ref": f"#/$defs/d{level - 1}"}
        defs[f"d{level}"] = {"allOf": [below, below]}
    return {"$defs": defs, "$ref": f"#/$defs/d{levels - 1}"}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


HOSTILE = {
    "another file": {"$ref": "file:///etc/passwd"},
    "the network": {"$ref": "http://127.0.0.1:1/x"},
    "a neighbour": {"$ref": "other.json"},
    "a neighbour of its id": {"$id": "http://127.0.0.1:1/a.json", "properties": {"a": {"$ref": "b.json#/x"}}},
    "dynamically": {"$dynamicRef": "http://127.0.0.1:1/#x"},
    "a reference that is none": {"$ref": 7},
    "deep below": {"properties": {"a": {"anyOf": [{"items": {"$ref": "//127.0.0.1:1/x"}}]}}},
    "expansion": doubling(40),
    "depth": nested(limits.SCHEMA_DEPTH + 1),
    "size": {"description": "x" * limits.SCHEMA_BYTES},
    "a look-behind": {"pattern": "(?<=a)b"},
    "a back reference": {"pattern": r"(a)\1"},
    "a huge automaton": {"pattern": "((a{1,1000}){1,1000}){1,1000}"},
    "a pattern that is none": {"pattern": "("},
    "a type that is none": {"type": "strnig"},
    "no object": [],
    "text": "x",
    "many references": {"$defs": {"a": {}}, "allOf": [{"$ref": "#/$defs/a"}] * (limits.SCHEMA_REFS + 1)},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_leads_elsewhere_or_costs_too_much_is_refused_at_once(name: str) -> None:
    began = time.perf_counter()
    with pytest.raises(SchemaError) as caught:
        compile_schema(HOSTILE[name], what="the schema of args.x")
    assert caught.value.message.startswith("the schema of args.x ")
    assert time.perf_counter() - began < 5  # two orders above what it takes


def test_self_reference_cannot_be_made_slow_by_a_value() -> None:
    node = {
        "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}},
        "anyOf": [{"$ref": "#/x"}, {"$ref": "#/x"}],
    }
    schema = {**node, "x": {"properties": {"a": {"$ref": "#"}}}}
    value: dict[str, Any] = {}
    for _ in range(60):
        value = {"a": value, "b": 1}
    began = time.perf_counter()
    assert "nested too deeply" in fault(schema, value)
    assert time.perf_counter() - began < 5


def test_a_catastrophic_pattern_is_linear() -> None:
    began = time.perf_counter()
    assert fault({"pattern": "^(a+)+$"}, "a" * 100_000 + "!")
    assert time.perf_counter() - began < 5


@pytest.fixture
def listener() -> Iterator[tuple[int, list[Any]]]:
    """A server that notes who connects."""
    came: list[Any] = []
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        sock.settimeout(0.1)
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                try:
                    connection, where = sock.accept()
                except TimeoutError:
                    continue
                came.append(where)
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        yield sock.getsockname()[1], came
        over.set()
        thread.join()


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:{port}/a.json"},
        {"$id": "http://127.0.0.1:{port}/a.json", "$ref": "b.json"},
        {"$id": "http://127.0.0.1:{port}/a.json", "properties": {"x": {"$ref": "#/y"}}},
        {"$schema": "http://127.0.0.1:{port}/meta.json", "type": "object"},
        {"$vocabulary": {"http://127.0.0.1:{port}/v": True}, "type": "object"},
    ],
)
def test_no_request_ever_leaves(schema: Any, listener: tuple[int, list[Any]]) -> None:
    port, came = listener
    with socket.socket() as probe:  # it would be seen
        probe.connect(("127.0.0.1", port))
    while not came:
        time.sleep(0.01)
    came.clear()

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {filled(key): filled(each) for key, each in value.items()}
        return value.replace("{port}", str(port)) if isinstance(value, str) else value

    try:
        fault(filled(schema), {"x": 1})
    except SchemaError:
        pass
    time.sleep(0.2)
    assert came == []


def test_no_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"type": "string"}')
    for reference in (f"file://{tmp_path}/x.json", f"{tmp_path}/x.json", "x.json"):
        with pytest.raises(SchemaError, match="never fetched"):
            compile_schema({"$ref": reference}, what="it")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
WORDS = st.sampled_from(
    [
        "type",
        "properties",
        "items",
        "$ref",
        "allOf",
        "pattern",
        "const",
        "$id",
        "enum",
        "$defs",
        "required",
        "not",
    ]
)


@settings(max_examples=300)
@given(
    st.dictionaries(WORDS, JSON | st.sampled_from(["#", "#/$defs", "string", "http://[", "a("]), max_size=4),
    JSON,
)
def test_whatever_comes_is_a_schema_or_refused_and_never_raises(schema: Any, value: Any) -> None:
    try:
        compiled = compile_schema(schema, what="it")
    except SchemaError:
        return
    assert isinstance(compiled.fault(value), str)
