import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.audit.marks import Marks, marks_of

WHOLE = Marks(whole=True)


@pytest.mark.parametrize("schema", [{"x-mcpguard-secret": True}, {"format": "password"}, {"writeOnly": True}])
def test_marks(schema):
    assert marks_of(schema) == WHOLE


@pytest.mark.parametrize("schema", [
    None, True, [], {}, {"x-mcpguard-secret": "yes"}, {"format": "uri"}, {"writeOnly": False}, {"properties": []},
    {"properties": {"a": {"type": "string"}}}, {"$ref": "https://elsewhere/#/x"}, {"$ref": "#/nothing/here"},
])  # fmt: skip
def test_no_marks(schema):
    assert marks_of(schema) is None


@pytest.mark.parametrize("schema", [
    {"properties": {"a": {"format": "password"}}},
    {"allOf": [{"properties": {"a": {"writeOnly": True}}}]},
    {"anyOf": [{}, {"properties": {"a": {"x-mcpguard-secret": True}}}]},
    {"if": {}, "then": {"properties": {"a": {"format": "password"}}}},
    {"$ref": "#/$defs/x~1y", "$defs": {"x/y": {"properties": {"a": {"$ref": "#/$defs/p"}}}, "p": {"format": "password"}}},
    {"additionalProperties": {"format": "password"}},
    {"patternProperties": {"^a": {"format": "password"}}},
])  # fmt: skip
def test_a_member_is_marked_wherever_the_schema_says_it(schema):
    marks = marks_of(schema)
    assert marks.of("a") == WHOLE
    assert not marks.whole


def test_elements_are_marked():
    assert marks_of({"properties": {"a": {"items": {"format": "password"}}}}).of("a").items == WHOLE
    assert marks_of({"prefixItems": [{}, {"writeOnly": True}]}).items == WHOLE


def test_marks_of_branches_are_joined():
    marks = marks_of({
        "properties": {"a": {"format": "password"}},
        "oneOf": [{"properties": {"b": {"format": "password"}}}, {"properties": {"a": {"items": {"format": "password"}}}}],
    })  # fmt: skip
    assert marks.of("a") == marks.of("b") == WHOLE


def test_a_schema_without_an_end_marks_nothing_and_ends():
    assert marks_of({"$ref": "#"}) is None
    branches = {"allOf": [{"$ref": "#"}] * 50}
    assert marks_of(branches) is None


@given(st.recursive(
    st.booleans() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["properties", "items", "allOf", "$ref", "format", "x-mcpguard-secret", "a"]), inner),
))  # fmt: skip
def test_any_schema_gives_marks_or_none(schema):
    assert marks_of(schema) is None or isinstance(marks_of(schema), Marks)
