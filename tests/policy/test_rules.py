"""Rules as values."""

from mcpguard.model import Grade, Verdict
from mcpguard.policy.match import compile_pattern
from mcpguard.policy.rules import GATED_METHODS, Rule


def test_a_rule_that_only_moved_says_the_same():
    rule = Rule("a", Verdict.ALLOW, tools=(compile_pattern("x"),), line=3)
    assert rule.same_as(Rule("a", Verdict.ALLOW, tools=(compile_pattern("x"),), line=9))
    assert not rule.same_as(Rule("a", Verdict.DENY, tools=(compile_pattern("x"),), line=3))
    assert not rule.same_as(Rule("a", Verdict.ALLOW, tools=(compile_pattern("y"),), line=3))
    assert not rule.same_as(Rule("a", Verdict.ALLOW, tools=(compile_pattern("x"),), grade=Grade.G1))
    assert not rule.same_as(Rule("a", Verdict.ALLOW, tools=(compile_pattern("x"),), recheck=True))


def test_a_rule_without_patterns_speaks_of_no_server():
    assert Rule("a", Verdict.ALLOW).server == ()


def test_tools_are_not_judged_by_method():
    assert "tools/call" not in GATED_METHODS
    assert "tools/list" not in GATED_METHODS
    assert all("/" in method for method in GATED_METHODS)
