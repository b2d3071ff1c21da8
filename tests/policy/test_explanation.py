"""Why a decision is what it is: every rule that speaks of a name is in it once, where it belongs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard.model import Caller, Decision, Grade, Verdict
from mcpguard.policy.cases import Case, Plan
from mcpguard.policy.circumstances import Circumstances
from mcpguard.policy.document import parse
from mcpguard.policy.explanation import Asked, Missed, explain, would
from mcpguard.policy.rules import Rule
from mcpguard.policy.snapshot import compile_snapshot

ALLOW, ASK, DENY = Verdict.ALLOW, Verdict.ASK, Verdict.DENY


class Is:
    """A demand that the request is some value."""

    def __init__(self, value):
        self.value = value

    def holds(self, value):
        return None if value is None else value == self.value

    def wanting(self, value):
        return f"it were {self.value}"


def rule(ident, effect=ALLOW, line=1, file=""):
    return Rule(ident, effect, line=line, file=file)


def case(ident, effect=ALLOW, line=1, wants=None):
    return Case(rule(ident, effect, line), "", None, () if wants is None else [Is(wants)])


def plan(*cases):
    return Plan(cases, Decision(), "p", lambda value: value)


def asked(value):
    return Asked(value, Circumstances(), 0)


def told(explanation):
    """Who is where."""
    return (
        [each.id for each in explanation.matching],
        [each.rule.id for each in explanation.missed],
        [each.rule.id for each in explanation.silent],
    )


NEVER = [Missed(rule("never-yes", ALLOW, 30), "n"), Missed(rule("never-no", DENY, 20), "n")]
LACKING = [Missed(rule("for-others", ASK, 10), "rule for-others is for host:acme")]


@pytest.mark.parametrize(
    ("cases", "request_", "expected"),
    [
        # no request: all that may have a say
        ([case("a", wants=1), case("d", DENY, 2, wants=1)], None, (["a", "d"], [], ["never-no", "never-yes"])),
        ([], None, ([], ["for-others", "never-yes"], ["never-no"])),
        # a request of which some hold
        ([case("a", wants=1), case("d", DENY, 2, wants=2)], asked(1), (["a"], [], ["d", "never-no", "never-yes"])),
        ([case("a", line=9), case("q", ASK, 5), case("d", DENY, 7)], asked(1), (["q", "d", "a"], [], ["never-no", "never-yes"])),
        # none holds: those that would have let it pass come first
        ([case("a", wants=1), case("d", DENY, 2, wants=2), case("q", ASK, 40, wants=2)], asked(3), ([], ["a", "for-others", "never-yes", "q"], ["d", "never-no"])),
        # what cannot be told counts for those that refuse, and only for these
        ([case("a", wants=1), case("d", DENY, 2, wants=1)], asked(None), (["d"], [], ["a", "never-no", "never-yes"])),
    ],
)  # fmt: skip
def test_rules_are_told_by_what_they_had_to_do_with_it(cases, request_, expected):
    found = explain(plan(*cases), NEVER, LACKING, request_)
    assert told(found) == expected


def test_the_decision_is_that_of_the_request_or_of_the_name():
    found = plan(case("a", wants=1))
    named, one, other = (explain(found, [], [], each).decision for each in (None, asked(1), asked(2)))
    assert (named.verdict, named.depends) == (ALLOW, True)
    assert (one.verdict, one.rule, one.depends) == (ALLOW, "a", False)
    assert (other.verdict, other.rule) == (DENY, "default")
    assert (one, other) == tuple(found.judged(value, Circumstances(), 0) for value in (1, 2))


def test_what_would_have_to_be_otherwise_is_a_sentence():
    found = explain(plan(case("a", wants=1), case("d", DENY, 2, wants=2)), [], LACKING, asked(3))
    assert [one.why for one in found.missed] == [
        "rule a would match if it were 1",
        "rule for-others is for host:acme",
    ]
    assert [one.why for one in found.silent] == ["rule d would match if it were 2"]
    assert would(rule("x"), "it rained") == "rule x would match if it rained"


def test_rules_of_several_files_are_sorted_by_file_and_line():
    lacking = [
        Missed(rule(ident, ALLOW, line, file), "")
        for ident, line, file in (("d", 1, "b"), ("c", 9, "a"), ("b", 2, "a"), ("a", 5, ""))
    ]
    found = explain(plan(), [], lacking, asked(1))
    assert [one.rule.id for one in found.missed] == ["a", "b", "c", "d"]


EFFECTS = st.sampled_from([ALLOW, ASK, DENY])


@settings(max_examples=100)
@given(
    st.lists(st.tuples(EFFECTS, st.sampled_from([None, 1, 2])), max_size=5),
    st.lists(EFFECTS, max_size=3),
    st.sampled_from([None, 1, 2, 3, "nothing can be told"]),
)
def test_every_rule_that_speaks_of_a_name_is_told_once(cases, never, value):
    made = plan(*(case(f"c{n}", effect, n, wants) for n, (effect, wants) in enumerate(cases)))
    unfit = [Missed(rule(f"n{n}", effect, 20 + n), "w") for n, effect in enumerate(never)]
    request_ = None if value is None else asked(None if value == "nothing can be told" else value)
    found = explain(made, unfit, [], request_)
    matching, missed, silent = told(found)
    assert sorted([*matching, *missed, *silent]) == sorted(
        [*(f"c{n}" for n in range(len(cases))), *(f"n{n}" for n in range(len(never)))]
    )
    assert bool(missed) <= (not matching)
    assert all(one.rule.effect is not DENY for one in found.missed)
    if not matching:
        assert found.decision.silent
    elif request_ is not None:
        assert found.decision.rule in matching


POLICY = """version = 1
mode = "enforce"
[[rule]]
id = "strict"
tools = ["w"]
effect = "allow"
grade = "G3"
[[rule]]
id = "mine"
tools = ["w"]
effect = "allow"
args.path = { under = ["/srv"] }
[[rule]]
id = "night"
tools = ["w"]
effect = "deny"
when.after = ["secret"]
"""


def test_a_whole_policy_is_explained():
    snapshot = compile_snapshot(parse(POLICY.encode(), "p.toml"), "s", Caller(("any",), Grade.G1))
    found = snapshot.explain("w", asked({"path": 7}))
    assert told(found) == ([], ["strict", "mine"], ["night"])
    assert "G3" in found.missed[0].why
    assert found.missed[1].why.startswith("rule mine would match if")
    assert found.silent[0].why == "rule night would match if the host had seen secret"
    assert told(snapshot.explain("other")) == ([], [], [])
