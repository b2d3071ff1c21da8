"""The rule of an approval for good: a policy that lets exactly this call pass, and no other."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard.approvals.always import rule_for, with_rule
from mcpguard.approvals.book import ApprovalError
from mcpguard.model import Caller, Grade, Json, Verdict
from mcpguard.policy.circumstances import Circumstances
from mcpguard.policy.document import parse
from mcpguard.policy.snapshot import Snapshot, compile_snapshot

POLICY = 'version = 1\nmode = "enforce"\n[[rule]]\nid = "asks"\ntools = ["*"]\neffect = "ask"\n'
HOST = Caller(principals=("any", "host:acme"), grade=Grade.G2)


def ticket(arguments: Json = None, **more: Any) -> dict[str, Any]:
    made = {
        "host": {"host": "acme", "grade": "G2"},
        "method": "tools/call",
        "server": "s",
        "tool": "t",
        "rule": "asks",
    }
    return {**made, "arguments": arguments, **more}


def after(shown: dict[str, Any]) -> Snapshot:
    """The policy with the rule of a ticket, for the host that asked."""
    text = with_rule(POLICY, rule_for(shown, {"asks"}))
    return compile_snapshot(parse(text.encode(), "p"), "s", HOST)


def verdict(found: Snapshot, arguments: Json, tool: str = "t") -> Verdict:
    return found.judge("tools/call", tool, arguments, Circumstances(), 0).verdict


def test_this_call_and_no_other() -> None:
    found = after(ticket({"path": "/a", "n": [1, {"deep": None}]}))
    assert verdict(found, {"path": "/a", "n": [1, {"deep": None}]}) is Verdict.ALLOW
    for other in (
        {"path": "/b", "n": [1, {"deep": None}]}, {"path": "/a"}, {}, {"path": "/a", "n": [1, {"deep": None}], "x": 1},
        {"path": "/a", "n": [1, {"deep": None}, 2]}, {"path": "/a", "n": [1, {"deep": 0}]}, {"path": "/a", "n": [1, {}]},
    ):  # fmt: skip
        assert verdict(found, other) is Verdict.ASK, other
    assert verdict(found, {"path": "/a", "n": [1, {"deep": None}]}, "u") is Verdict.ASK


LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("ab/~*\"'\\\n\u202e é", max_size=4)
)
JSON = st.recursive(
    LEAVES,
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text("ab/~ .", max_size=3), below, max_size=3)
    ),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(st.text('ab/~ ."é', max_size=3), JSON, max_size=3)


@settings(max_examples=150)
@given(ARGUMENTS, ARGUMENTS)
def test_whatever_the_arguments_are(arguments: dict[str, Json], other: dict[str, Json]) -> None:
    found = after(ticket(arguments))
    assert verdict(found, arguments) is Verdict.ALLOW
    if repr(other) != repr(arguments) and other != arguments:
        assert verdict(found, other) is Verdict.ASK


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"host": {"grade": "G2"}}, "not enrolled"),
        ({"method": "resources/read"}, "only calls of tools"),
        ({"tool": "t*"}, "no rule describes exactly"),
        ({"server": "s?"}, "no rule describes exactly"),
        ({"arguments": {"*": 1}}, 'called "\\*"'),
        ({"arguments": {"x": "y" * 100_000}}, "too long"),
    ],
)
def test_what_no_rule_can_say(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ApprovalError, match=says):
        rule_for(ticket(**more), set())


def test_its_name_is_new() -> None:
    text = rule_for(ticket({}), {"always-t", "always-t-2"})
    assert 'id = "always-t-3"' in text


def test_the_policy_stays_to_the_letter() -> None:
    assert with_rule("version = 1", "[[rule]]\n") == "version = 1\n\n[[rule]]\n"
    assert with_rule("version = 1\n", "[[rule]]\n") == "version = 1\n\n[[rule]]\n"


def test_a_secret_is_in_no_rule() -> None:
    with pytest.raises(ApprovalError, match="hold a secret, which no policy may hold"):
        rule_for(ticket({"to": ["x", {"token": "«redacted:github:0123456789ab»"}]}), set())
