"""Keywords of JSON Schema in rules: all that exist are taken, at every depth, and no others."""

import pytest

from mcpguard.errors import ConfigError
from mcpguard.policy.document import parse


def read(constraint: str):
    text = f'version = 1\nmode = "enforce"\n[[rule]]\nid = "r"\ntools = ["t"]\neffect = "allow"\nargs.x = {constraint}\n'
    return parse(text.encode(), "p").rules[0].args[0]


@pytest.mark.parametrize(
    "constraint",
    [
        '{ type = "string", minLength = 1, maxLength = 5, pattern = "^a" }',
        '{ enum = ["a", "b"] }',
        "{ minimum = 0, exclusiveMaximum = 1.5, multipleOf = 0.5 }",
        '{ type = "array", items = { type = "object", properties = { a = { const = 1 } }, required = ["a"] } }',
        '{ anyOf = [{ type = "string" }, { type = "integer" }] }',
        '{ not = { enum = ["x"] } }',
        '{ propertyNames = { pattern = "^[a-z]+$" }, additionalProperties = false }',
        "{ default = { nokeyword = 1 }, const = { nokeyword = 1 } }",
    ],
)
def test_keywords_that_exist(constraint: str) -> None:
    assert read(constraint).schema


@pytest.mark.parametrize(
    "constraint",
    [
        '{ items = { tpye = "string" } }',
        "{ properties = { a = { minimun = 1 } } }",
        "{ anyOf = [{ maxlength = 1 }] }",
        '{ "$defs" = { a = { requires = ["x"] } } }',
        '{ not = { under = ["/x"] } }',
    ],
)
def test_keywords_that_do_not_exist_at_any_depth(constraint: str) -> None:
    with pytest.raises(ConfigError, match="expected a keyword of JSON Schema"):
        read(constraint)


def test_our_own_keywords_stand_beside_those_of_the_schema() -> None:
    found = read('{ type = "string", under = "/a", deny = "**/x", optional = true }')
    assert (found.under, found.deny, found.optional, found.schema) == (
        ("/a",),
        ("**/x",),
        True,
        {"type": "string"},
    )
