import pytest

from mcpguard.model import Caller, Verdict
from mcpguard.policy.builtin import observe_snapshot
from mcpguard.policy.circumstances import Circumstances
from mcpguard.policy.document import parse
from mcpguard.policy.scoped import BEYOND, Scoped, common, scoped, within
from mcpguard.policy.snapshot import compile_snapshot

RULES = """\
version = 1
mode = "enforce"
[[rule]]
id = "all"
tools = ["read_*", "write"]
resources = ["file:///a"]
effect = "allow"
[[rule]]
id = "no"
tools = ["read_no"]
effect = "deny"
"""


def outer():
    return compile_snapshot(parse(RULES.encode(), "p"), "s", Caller())


def test_tools_that_the_credential_is_not_for_are_denied_and_of_the_others_policy_decides() -> None:
    narrow = scoped(outer(), ["read_*", "other"])
    assert narrow.tool("read_file").verdict is Verdict.ALLOW
    assert narrow.tool("write") is BEYOND
    assert narrow.judge("tools/call", "write", {}, Circumstances(), 0) is BEYOND
    assert narrow.judge("tools/call", "read_file", {}, Circumstances(), 0).verdict is Verdict.ALLOW
    assert (narrow.tool("read_no").verdict, narrow.tool("read_no").rule) == (Verdict.DENY, "no")
    assert (
        narrow.tool("other").verdict is Verdict.DENY
    )  # the credential names it, and policy does not allow it


def test_nothing_but_tools_is_narrowed() -> None:
    for method, target in (
        ("resources/read", "file:///a"),
        ("resources/read", "file:///b"),
        ("prompts/get", "x"),
    ):
        wide, narrow = outer(), scoped(outer(), ["none"])
        assert narrow.method(method, target) == wide.method(method, target)
        judged = narrow.judge(method, target, {}, Circumstances(), 0)
        assert judged == wide.judge(method, target, {}, Circumstances(), 0)
    assert scoped(outer(), ["none"]).extension("x") == outer().extension("x")


def test_it_binds_while_policy_only_watches() -> None:
    watching = scoped(observe_snapshot("s"), ["read"])
    assert watching.observing
    assert watching.tool("write").binding
    assert not watching.tool("read").binding


@pytest.mark.parametrize("attribute", ["policy", "mode", "observing", "neutralise", "schemas", "server"])
def test_it_says_of_itself_what_the_policy_says(attribute: str) -> None:
    assert getattr(scoped(outer(), ["x"]), attribute) == getattr(outer(), attribute)


def test_a_credential_for_everything_narrows_nothing() -> None:
    assert not isinstance(scoped(outer(), ()), Scoped)


@pytest.mark.parametrize(
    ("ours", "theirs", "both"),
    [
        ((), (), ()),
        (("a",), (), ("a",)),
        ((), ("a",), ("a",)),
        (("a*", "b"), ("abc", "b", "c"), ("b", "abc")),
        (("a?",), ("*",), ("a?",)),
        (("a",), ("b",), None),
        (("a*",), ("*b",), None),
        (("a*",), ("a?",), ("a?",)),
    ],
)
def test_what_two_credentials_are_both_for(ours, theirs, both) -> None:
    assert common(ours, theirs) == both


def test_a_star_does_not_lie_within_question_marks() -> None:
    assert within("a?", ["b", "a*"])
    assert not within("a*", ["a?", "b"])
    assert not within("a*", [])
