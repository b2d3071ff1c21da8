"""Decisions: tables for the meaning of rules, properties for what no policy may break."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.model import Caller, Decision, Grade, Mode, Verdict
from mcpguard.policy.document import parse
from mcpguard.policy.match import compile_pattern
from mcpguard.policy.rules import GATED_METHODS, Rule, RuleSet
from mcpguard.policy.snapshot import compile_snapshot

POLICY = b"""version = 1
mode = "enforce"
[[rule]]
id = "read"
server = "files"
tools = ["read_*", "list_directory"]
methods = ["resources/read", "prompts/*"]
effect = "allow"
[[rule]]
id = "no-secret"
tools = ["*secret*", "read_key"]
effect = "deny"
[[rule]]
id = "read-again"
tools = ["read_?", "read_log"]
effect = "allow"
durable = true
[[rule]]
id = "no-key"
tools = ["*_key"]
effect = "deny"
"""


def policy(text=POLICY):
    return parse(text, "p.toml")


@pytest.mark.parametrize(
    ("server", "tool", "verdict", "rule", "line", "durable"),
    [
        ("files", "read_file", Verdict.ALLOW, "read", 3, False),
        ("files", "list_directory", Verdict.ALLOW, "read", 3, False),
        ("files", "list_directory2", Verdict.DENY, "default", 0, False),
        ("files", "Read_file", Verdict.DENY, "default", 0, False),
        ("other", "read_file", Verdict.DENY, "default", 0, False),
        ("other", "read_a", Verdict.ALLOW, "read-again", 13, True),
        ("files", "read_a", Verdict.ALLOW, "read", 3, True),
        ("files", "read_log", Verdict.ALLOW, "read", 3, True),
        ("files", "read_secret", Verdict.DENY, "no-secret", 9, False),
        ("files", "read_key", Verdict.DENY, "no-secret", 9, False),
        ("other", "a_key", Verdict.DENY, "no-key", 18, False),
        ("files", "", Verdict.DENY, "default", 0, False),
    ],
)
def test_decision_names_verdict_rule_and_place(server, tool, verdict, rule, line, durable):
    snapshot = compile_snapshot(policy(), server)
    decision = snapshot.tool(tool)
    assert (decision.verdict, decision.rule, decision.durable) == (verdict, rule, durable)
    assert decision.origin == (f"p.toml:{line}" if line else "built in")
    assert (rule in decision.reason) or rule == "default"
    assert snapshot.tool(tool) is decision


@pytest.mark.parametrize(
    ("method", "verdict", "rule"),
    [
        ("resources/read", Verdict.ALLOW, "read"),
        ("prompts/get", Verdict.ALLOW, "read"),
        ("resources/subscribe", Verdict.DENY, "default"),
        ("prompts/list", Verdict.DENY, "default"),
        ("tools/call", Verdict.DENY, "default"),
    ],
)
def test_methods_are_decided_by_methods(method, verdict, rule):
    decision = compile_snapshot(policy(), "files").method(method)
    assert (decision.verdict, decision.rule) == (verdict, rule)


def test_tools_never_decide_methods_nor_methods_tools():
    both = b'version=1\nmode="enforce"\n[[rule]]\nid="t"\ntools=["*"]\neffect="allow"\n'
    assert compile_snapshot(policy(both), "s").method("resources/read").verdict is Verdict.DENY
    both = b'version=1\nmode="enforce"\n[[rule]]\nid="m"\nmethods=["*"]\neffect="allow"\n'
    snapshot = compile_snapshot(policy(both), "s")
    assert snapshot.tool("resources/read").verdict is Verdict.DENY
    assert all(snapshot.method(method).verdict is Verdict.ALLOW for method in GATED_METHODS)
    assert snapshot.method("tools/call").verdict is Verdict.DENY
    assert snapshot.method("nonsense").verdict is Verdict.DENY


def test_an_empty_policy_denies_everything():
    snapshot = compile_snapshot(policy(b'version = 1\nmode = "enforce"\n'), "s")
    assert snapshot.tool("x") == Decision()
    assert {snapshot.method(method) for method in GATED_METHODS} == {Decision()}


def test_observing_keeps_the_verdict_and_says_so():
    ruleset = policy(POLICY.replace(b"enforce", b"observe"))
    snapshot = compile_snapshot(ruleset, "files")
    assert (snapshot.mode, snapshot.observing, snapshot.neutralise) == (Mode.OBSERVE, True, False)
    assert snapshot.tool("read_secret").verdict is Verdict.DENY
    assert (snapshot.policy, snapshot.server) == (ruleset.digest, "files")


def test_nobody_without_a_principal_is_allowed_anything():
    nobody, somebody = Caller(principals=()), Caller(principals=("uid:7", "any"))
    assert compile_snapshot(policy(), "files", nobody).tool("read_file").verdict is Verdict.DENY
    assert compile_snapshot(policy(), "files", somebody).tool("read_file").verdict is Verdict.ALLOW


def test_explain_names_every_matching_rule_by_line():
    snapshot = compile_snapshot(policy(), "files")
    answer = snapshot.explain("read_key")
    assert answer.decision.rule == "no-secret"
    assert [rule.id for rule in answer.matching] == ["read", "no-secret", "no-key"]
    assert [rule.id for rule in snapshot.explain("prompts/get").matching] == ["read"]
    assert snapshot.explain("unheard-of").matching == ()


def test_memory_of_names_is_bounded_and_long_names_are_not_kept():
    snapshot = compile_snapshot(policy(), "files")
    for number in range(limits.SNAPSHOT_NAMES * 2 + 10):
        assert snapshot.tool(f"read_{number:05}").verdict is Verdict.ALLOW
    assert len(snapshot._tools) <= limits.SNAPSHOT_NAMES
    kept = len(snapshot._tools)
    assert snapshot.tool("read_" + "x" * limits.NAME_CHARS).verdict is Verdict.ALLOW
    assert len(snapshot._tools) == kept


# --- evidence -------------------------------------------------------------------------------------------

DEMANDING = b"""version = 1
mode = "enforce"
[[rule]]
id = "graded"
tools = ["read_*"]
methods = ["resources/read"]
effect = "allow"
grade = "G2"
[[rule]]
id = "for-codex"
who = ["host:codex"]
tools = ["read_*", "write_*"]
effect = "allow"
recheck = true
[[rule]]
id = "no-key"
tools = ["read_key"]
effect = "deny"
[[rule]]
id = "not-codex"
who = ["host:codex"]
tools = ["read_secret"]
effect = "deny"
"""


def caller(*hosts, grade=Grade.G0):
    return Caller(principals=("any", *(f"host:{name}" for name in hosts)), grade=grade)


@pytest.mark.parametrize(
    ("who", "tool", "verdict", "rule", "reason"),
    [
        (caller(), "read_a", Verdict.DENY, "default", "rule graded needs G2 and the host has G0"),
        (
            caller(grade=Grade.G1),
            "read_a",
            Verdict.DENY,
            "default",
            "rule graded needs G2 and the host has G1",
        ),
        (caller(grade=Grade.G2), "read_a", Verdict.ALLOW, "graded", "rule graded allows it"),
        (caller(grade=Grade.G4), "read_a", Verdict.ALLOW, "graded", "rule graded allows it"),
        (caller("codex"), "read_a", Verdict.ALLOW, "for-codex", "rule for-codex allows it"),
        (
            caller(),
            "write_a",
            Verdict.DENY,
            "default",
            "rule for-codex is for host:codex and the host is not an enrolled one",
        ),
        (
            caller("zed", grade=Grade.G4),
            "write_a",
            Verdict.DENY,
            "default",
            "rule for-codex is for host:codex and the host is host:zed",
        ),
        (caller(), "read_key", Verdict.DENY, "no-key", "rule no-key denies it"),
        (
            caller("codex", grade=Grade.G4),
            "read_secret",
            Verdict.DENY,
            "not-codex",
            "rule not-codex denies it",
        ),
        (caller("zed", grade=Grade.G4), "read_secret", Verdict.ALLOW, "graded", "rule graded allows it"),
        (caller(), "unheard-of", Verdict.DENY, "default", "no rule allows it"),
    ],
)
def test_a_denial_says_which_evidence_was_wanting(who, tool, verdict, rule, reason):
    decision = compile_snapshot(policy(DEMANDING), "s", who).tool(tool)
    assert (decision.verdict, decision.rule, decision.reason) == (verdict, rule, reason)
    assert decision.silent is (rule == "default")
    assert decision.recheck is (rule == "for-codex" or rule == "not-codex")


def test_want_of_evidence_is_told_of_methods_too():
    decision = compile_snapshot(policy(DEMANDING), "s").method("resources/read")
    assert (decision.verdict, decision.reason) == (Verdict.DENY, "rule graded needs G2 and the host has G0")


def test_recheck_adds_up_like_durable():
    both = compile_snapshot(policy(DEMANDING), "s", caller("codex", grade=Grade.G2)).tool("read_a")
    assert (both.rule, both.recheck) == ("graded", True)
    assert not compile_snapshot(policy(DEMANDING), "s", caller(grade=Grade.G2)).tool("read_a").recheck


def test_explain_names_the_rules_that_nearly_match():
    answer = compile_snapshot(policy(DEMANDING), "s").explain("read_a")
    assert answer.matching == ()
    assert [(missed.rule.id, missed.why) for missed in answer.missed] == [
        ("graded", "rule graded needs G2 and the host has G0"),
        ("for-codex", "rule for-codex is for host:codex and the host is not an enrolled one"),
    ]
    assert [
        missed.rule.id for missed in compile_snapshot(policy(DEMANDING), "s").explain("resources/read").missed
    ] == ["graded"]
    assert compile_snapshot(policy(DEMANDING), "s").explain("read_key").missed == ()
    assert compile_snapshot(policy(DEMANDING), "s", caller(grade=Grade.G2)).explain("read_a").missed == ()


def test_a_decision_for_want_of_evidence_is_remembered():
    snapshot = compile_snapshot(policy(DEMANDING), "s")
    assert snapshot.tool("read_a") is snapshot.tool("read_a")


# --- properties -----------------------------------------------------------------------------------------

TOOL_PATTERNS = st.text("ab?*", min_size=1, max_size=5).map(compile_pattern)
METHOD_PATTERNS = st.sampled_from(["*", "resources/*", "*/get", "prompts/get", "*s/*"]).map(compile_pattern)
NAMES = st.text("ab", max_size=6)


PATTERN_SETS = st.lists(TOOL_PATTERNS, max_size=1).map(tuple)
CALLERS = st.builds(
    Caller,
    principals=st.sampled_from([("any",), ("any", "host:a"), ("any", "host:b"), ()]),
    grade=st.sampled_from(Grade),
    unit=NAMES,
    label=NAMES,
    ancestors=st.lists(NAMES, max_size=3).map(tuple),
)


def demanding(draw, rule):
    """The rule, asking for evidence; only rules that allow may."""
    return msgspec.structs.replace(
        rule,
        grade=draw(st.sampled_from([Grade.G0, Grade.G0, Grade.G2])),
        unit=draw(PATTERN_SETS),
        label=draw(PATTERN_SETS),
        ancestor_not=draw(PATTERN_SETS),
    )


@st.composite
def rulesets(draw):
    count = draw(st.integers(0, 8))
    rules = [
        Rule(
            id=f"r{number}",
            effect=draw(st.sampled_from([Verdict.ALLOW, Verdict.ALLOW, Verdict.DENY])),
            server=tuple(
                draw(st.lists(TOOL_PATTERNS | st.just(compile_pattern("*")), min_size=1, max_size=2))
            ),
            tools=tuple(draw(st.lists(TOOL_PATTERNS, max_size=3))),
            methods=tuple(draw(st.lists(METHOD_PATTERNS, max_size=2))),
            durable=draw(st.booleans()),
            line=draw(st.integers(1, 5)),
            who=draw(st.sampled_from([("any",), ("any",), ("host:a",), ("host:a", "host:b")])),
            recheck=draw(st.booleans()),
        )
        for number in range(count)
    ]
    rules = [rule if rule.effect is Verdict.DENY else demanding(draw, rule) for rule in rules]
    return RuleSet("p", "d", Mode.ENFORCE, True, tuple(rules))


def met(rule, who):
    """The meaning of a rule's demands, word for word."""
    return (
        bool({*rule.who} & {*who.principals})
        and who.grade >= rule.grade
        and (not rule.unit or (who.unit != "" and any(pattern.matches(who.unit) for pattern in rule.unit)))
        and (
            not rule.label or (who.label != "" and any(pattern.matches(who.label) for pattern in rule.label))
        )
        and not (rule.ancestor_not and not who.ancestors)
        and not any(pattern.matches(path) for pattern in rule.ancestor_not for path in who.ancestors[1:])
    )


def decide_slowly(ruleset, server, who, name=None, method=None):
    """The meaning of a policy, word for word."""
    matching = [
        rule
        for rule in ruleset.rules
        if any(pattern.matches(server) for pattern in rule.server)
        and met(rule, who)
        and any(
            pattern.matches(method if name is None else name)
            for pattern in (rule.methods if name is None else rule.tools)
        )
    ]
    denying = [rule for rule in matching if rule.effect is Verdict.DENY]
    if not matching:
        return (Verdict.DENY, "default", False, False)
    winner = min(denying or matching, key=lambda rule: (rule.line, rule.id))
    durable, recheck = (any(getattr(rule, key) for rule in matching) for key in ("durable", "recheck"))
    return (winner.effect, winner.id, durable, recheck)


def told(decision):
    return (decision.verdict, decision.rule, decision.durable, decision.recheck)


@given(rulesets(), CALLERS, NAMES, st.lists(NAMES, min_size=1))
def test_decisions_are_what_the_rules_say_remembered_or_not(ruleset, who, server, names):
    snapshot = compile_snapshot(ruleset, server, who)
    for name in [*names, *names]:
        decision = snapshot.tool(name)
        assert told(decision) == decide_slowly(ruleset, server, who, name)
        assert (
            compile_snapshot(ruleset, server, who).tool(name) == decision == snapshot.explain(name).decision
        )
    for method in GATED_METHODS:
        assert told(snapshot.method(method)) == decide_slowly(ruleset, server, who, method=method)


@given(rulesets(), CALLERS, NAMES, NAMES, NAMES)
def test_less_evidence_never_allows_more(ruleset, who, server, name, ancestor):
    better = compile_snapshot(ruleset, server, who).tool(name).verdict
    for worse in (
        {"grade": Grade.G0},
        {"unit": ""},
        {"label": ""},
        {"ancestors": ()},
        {"ancestors": (*who.ancestors, ancestor)} if who.ancestors else {},
    ):
        assert (
            compile_snapshot(ruleset, server, msgspec.structs.replace(who, **worse)).tool(name).verdict
            <= better
        )


@given(rulesets(), st.randoms(use_true_random=False), NAMES, NAMES)
def test_the_order_of_rules_does_not_matter(ruleset, chance: random.Random, server, name):
    shuffled = list(ruleset.rules)
    chance.shuffle(shuffled)
    other = msgspec.structs.replace(ruleset, rules=tuple(shuffled))
    assert compile_snapshot(ruleset, server).tool(name) == compile_snapshot(other, server).tool(name)
    for method in GATED_METHODS:
        assert compile_snapshot(ruleset, server).method(method) == compile_snapshot(other, server).method(
            method
        )


@given(rulesets(), TOOL_PATTERNS, METHOD_PATTERNS, NAMES, st.lists(NAMES, min_size=1))
def test_adding_a_deny_never_allows_more(ruleset, tool, method, server, names):
    deny = Rule(
        "deny", Verdict.DENY, server=(compile_pattern("*"),), tools=(tool,), methods=(method,), line=3
    )
    before = compile_snapshot(ruleset, server)
    after = compile_snapshot(msgspec.structs.replace(ruleset, rules=(*ruleset.rules, deny)), server)
    for name in names:
        assert after.tool(name).verdict <= before.tool(name).verdict
    for gated in GATED_METHODS:
        assert after.method(gated).verdict <= before.method(gated).verdict
