"""What is reported of a policy is certain: a rule that is called superfluous never changes a decision."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard.model import Caller, Verdict
from mcpguard.policy.document import parse
from mcpguard.policy.lint import notices
from mcpguard.policy.snapshot import compile_snapshot

TOP = 'version = 1\nmode = "enforce"\n'


def policy(*rules: str, top: str = ""):
    text = TOP + top
    for number, body in enumerate(rules):
        text += f'[[rule]]\nid = "r{number}"\n{body}\n'
    return parse(text.encode(), "p.toml")


def said(*rules: str, top: str = "") -> list[tuple[str, str]]:
    return [(one.rule, one.words) for one in notices(policy(*rules, top=top))]


def test_a_good_policy_has_nothing_to_look_at() -> None:
    assert said('tools = ["read_*"]\neffect = "allow"', 'tools = ["*secret*"]\neffect = "deny"') == []


ALONE = [
    ('tools = ["x"]\neffect = "allow"\nwhen = { after = ["a"], after_not = ["a"] }', "not seen it", ""),
    ('tools = ["x"]\neffect = "deny"\nwhen = { after = ["privat"] }', "nothing in this file sets the label privat", ""),
    ('tools = ["read_.*"]\neffect = "allow"', "no regular expression", ""),
    ('tools = ["mcp__files__read"]\neffect = "allow"', "write read, and the server in server", ""),
]  # fmt: skip


@pytest.mark.parametrize(("body", "words", "top"), ALONE)
def test_what_never_matches_or_misleads_is_told_with_its_line(body: str, words: str, top: str) -> None:
    (one, *_) = notices(policy(body, top=top))
    assert words in one.words
    assert one.place == f"p.toml:{3 + top.count(chr(10))}"


SHADOWED = [
    (('tools = ["*"]\neffect = "deny"', 'tools = ["read"]\neffect = "allow"'), "r1"),
    (('tools = ["read_*"]\neffect = "deny"', 'tools = ["read_a*"]\neffect = "ask"'), "r1"),
    (('tools = ["read", "write"]\neffect = "ask"', 'tools = ["write"]\neffect = "allow"'), "r1"),
    (('tools = ["a"]\neffect = "allow"', 'tools = ["a"]\neffect = "allow"'), "r1"),
    (('tools = ["a"]\neffect = "allow"\ngrade = "G2"', 'tools = ["*"]\neffect = "deny"'), "r0"),
]


@pytest.mark.parametrize(("rules", "which"), SHADOWED)
def test_a_rule_that_changes_nothing_is_told_with_the_one_that_decides(
    rules: tuple[str, ...], which: str
) -> None:
    assert [(rule, words[:22]) for rule, words in said(*rules)] == [(which, "it changes nothing: ru")]


NOT_SHADOWED = [
    ('tools = ["*"]\neffect = "ask"\ngrade = "G2"', 'tools = ["a"]\neffect = "allow"'),
    ('tools = ["*"]\neffect = "deny"\nwhen = { after = ["x"] }', 'tools = ["a"]\neffect = "allow"'),
    ('tools = ["a*"]\neffect = "deny"', 'tools = ["*a"]\neffect = "allow"'),
    ('tools = ["*"]\neffect = "deny"\nwho = ["uid:1"]', 'tools = ["a"]\neffect = "allow"'),
    ('tools = ["*"]\neffect = "allow"', 'tools = ["a"]\neffect = "allow"\nrate = "1/s"'),
    ('tools = ["*"]\neffect = "ask"', 'tools = ["a"]\neffect = "allow"\nanswers = ["r0"]'),
    ('tools = ["*"]\neffect = "deny"', 'tools = ["a"]\neffect = "allow"\ndurable = true'),
    ('tools = ["*"]\neffect = "allow"', 'tools = ["a"]\neffect = "ask"'),
    ('tools = ["*"]\neffect = "deny"\nserver = "x"', 'tools = ["a"]\neffect = "allow"'),
]


@pytest.mark.parametrize("rules", NOT_SHADOWED)
def test_a_rule_that_may_change_something_is_not_mentioned(rules: tuple[str, ...]) -> None:
    assert not [words for _, words in said(*rules) if "changes nothing" in words]


PATTERNS = st.sampled_from(["a", "b", "ab", "a*", "*b", "*", "a?", "*a*"])
RULES = st.lists(
    st.builds(
        lambda tools, effect, who, more: (
            f'tools = {msgspec.json.encode(tools).decode()}\neffect = "{effect}"\nwho = ["{who}"]\n'
            + (more if effect != "deny" else "")
        ),
        st.lists(PATTERNS, min_size=1, max_size=2),
        st.sampled_from(["allow", "ask", "deny"]),
        st.sampled_from(["any", "uid:1"]),
        st.sampled_from(["", "", 'grade = "G2"', 'rate = "1/s"', "result_bytes = 10"]),
    ),
    max_size=5,
)


@settings(max_examples=200)
@given(RULES, st.sampled_from([Caller(), Caller(("any", "uid:1"))]))
def test_taking_out_what_is_called_superfluous_changes_no_decision(rules: list[str], caller: Caller) -> None:
    whole = policy(*rules)
    for one in notices(whole):
        if "changes nothing" not in one.words:
            continue
        fewer = msgspec.structs.replace(
            whole, rules=tuple(rule for rule in whole.rules if rule.id != one.rule)
        )
        before, after = (compile_snapshot(each, "s", caller) for each in (whole, fewer))
        for tool in ("a", "b", "ab", "ac", "ba", "c", "aab"):
            found, expected = after.tool(tool), before.tool(tool)
            assert found.verdict is expected.verdict
            if found.verdict is Verdict.DENY:
                continue
            assert (found.verdict, found.charges, found.result_bytes) == (
                expected.verdict, expected.charges, expected.result_bytes,
            )  # fmt: skip
