"""The policies of the system and of a user together: nobody is overruled silently, and finals hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.errors import ConfigError
from mcpguard.model import Caller, Mode, Verdict
from mcpguard.policy.document import parse, parse_system
from mcpguard.policy.layers import merge
from mcpguard.policy.rules import RuleSet
from mcpguard.policy.snapshot import compile_snapshot

TOP = 'version = 1\nmode = "enforce"\n'


def system(text: str, top: str = TOP) -> RuleSet:
    return parse_system((top + text).encode(), "/etc/mcpguard/policy.toml")


def user(text: str, top: str = TOP) -> RuleSet:
    return parse((top + text).encode(), "mine.toml")


def rule(ident: str, tools: str, effect: str, more: str = "") -> str:
    return f'[[rule]]\nid = "{ident}"\ntools = ["{tools}"]\neffect = "{effect}"\n{more}\n'


def verdict(ruleset: RuleSet | None, tool: str) -> Verdict:
    assert ruleset
    return compile_snapshot(ruleset, "s", Caller()).tool(tool).verdict


def test_one_alone_is_in_force_as_it_is() -> None:
    one = user(rule("a", "x", "allow"))
    assert merge(None, one) is one
    assert merge(one, None) is one
    assert merge(None, None) is None


def test_rules_of_both_count_and_are_known_by_their_files() -> None:
    both = merge(system(rule("no-x", "x", "deny")), user(rule("all", "*", "allow")))
    assert [verdict(both, name) for name in ("x", "y")] == [Verdict.DENY, Verdict.ALLOW]
    assert both
    decision = compile_snapshot(both, "s", Caller())
    assert decision.tool("x").origin == "/etc/mcpguard/policy.toml:3"
    assert decision.tool("y").origin == "mine.toml:3"


@pytest.mark.parametrize(
    ("theirs", "ours", "mode"),
    [("observe", "enforce", Mode.ENFORCE), ("enforce", "observe", Mode.OBSERVE)],
)
def test_a_user_sets_what_is_not_final(theirs: str, ours: str, mode: Mode) -> None:
    both = merge(system("", f'version = 1\nmode = "{theirs}"\n'), user("", f'version = 1\nmode = "{ours}"\n'))
    assert both
    assert both.mode is mode


def test_what_only_the_system_sets_holds_for_users() -> None:
    both = merge(system('recheck = "30s"\nunpinned = "allow"\n'), user(""))
    assert both
    assert (both.recheck, both.unpinned) == (30.0, True)


FINALS = [
    ('final = ["mode"]\n', "", 'version = 1\nmode = "observe"\n', 2, "mode is final"),
    ('final = ["unpinned"]\n', 'unpinned = "allow"\n', TOP, 3, "unpinned is final"),
    ('final = ["recheck"]\nrecheck = "30s"\n', 'recheck = "1h"\n', TOP, 3, "recheck is final"),
    ('final = ["approvals"]\n', '[approvals]\ntimeout = "1h"\n', TOP, 3, "approvals is final"),
    ('final = ["restart"]\n', '[restart]\nservers = ["*"]\n', TOP, 3, "restart is final"),
    ('final = ["rule"]\n', rule("a", "x", "allow"), TOP, 3, "rules are final"),
    ("", '[roles]\nstaff = ["uid:1"]\n', TOP, 3, "the role 'staff'"),
    ("", rule("no-x", "y", "deny"), TOP, 3, "is called 'no-x' already"),
    (
        "",
        "engine = 'cedar'\ncedar = '@id(\"a\") permit(principal,action,resource);'\n",
        TOP,
        3,
        "one engine decides",
    ),
]


@pytest.mark.parametrize(("final", "ours", "top", "line", "says"), FINALS)
def test_a_contradiction_names_file_line_and_cause(
    final: str, ours: str, top: str, line: int, says: str
) -> None:
    theirs = system(final + '[roles]\nstaff = ["uid:1000"]\n' + rule("no-x", "x", "deny"))
    with pytest.raises(ConfigError) as caught:
        merge(theirs, user(ours, top))
    assert (caught.value.file, caught.value.line) == ("mine.toml", line)
    assert says in caught.value.sentence()
    assert "/etc/mcpguard/policy.toml" in caught.value.sentence()


def test_saying_the_same_as_a_final_key_is_no_contradiction() -> None:
    both = merge(system('final = ["mode", "recheck"]\nrecheck = "30s"\n'), user('recheck = "30s"\n'))
    assert both
    assert both.recheck == 30.0


def test_final_rules_let_users_narrow() -> None:
    theirs = system('final = ["rule"]\n' + rule("all", "*", "allow"))
    both = merge(theirs, user(rule("mine", "x", "deny") + rule("ask", "y", "ask")))
    assert [verdict(both, name) for name in "xyz"] == [Verdict.DENY, Verdict.ASK, Verdict.ALLOW]


def test_a_user_cannot_answer_for_the_system() -> None:
    with pytest.raises(ConfigError, match="sys"):
        user(rule("mine", "x", "allow", 'answers = ["sys"]'))


def test_each_rule_keeps_the_zone_of_its_file() -> None:
    hours = 'when = { hours = "09:00-17:00" }'
    theirs = system('zone = "Asia/Tokyo"\n' + rule("a", "x", "allow", hours))
    both = merge(theirs, user('zone = "Europe/Berlin"\n' + rule("b", "y", "allow", 'budget = "3/day"')))
    assert both
    assert [one.when.zone if one.when else "" for one in both.rules] == ["Asia/Tokyo", "Europe/Berlin"]


def test_the_name_of_both_changes_with_either() -> None:
    names = {
        merged.digest
        for theirs in ("", rule("a", "x", "deny"))
        for ours in ("", rule("b", "y", "deny"))
        if (merged := merge(system(theirs), user(ours)))
    }
    assert len(names) == 4


@given(
    st.lists(st.sampled_from(["allow", "ask", "deny"]), max_size=4),
    st.lists(st.sampled_from(["ask", "deny"]), max_size=4),
)
def test_under_final_rules_nothing_that_a_user_writes_allows_more(theirs: list[str], ours: list[str]) -> None:
    def text(effects: list[str], prefix: str) -> str:
        return "".join(
            rule(f"{prefix}{number}", "abcd"[number], effect) for number, effect in enumerate(effects)
        )

    alone = system('final = ["rule"]\n' + text(theirs, "s"))
    both = merge(alone, user(text(ours, "u")))
    for tool in "abcd":
        before, after = verdict(alone, tool), verdict(both, tool)
        assert after is not Verdict.ALLOW or before is Verdict.ALLOW


DRIFT = '[findings]\ndefinition-drift = "{}"\n'


def test_what_follows_from_findings_is_put_together_kind_by_kind() -> None:
    both = merge(system(DRIFT.format("quarantine")), user('[findings]\nnew-host = "notify"\n'))
    assert both
    assert {kind: action.name for kind, action in both.findings.items()} == {
        "definition-drift": "QUARANTINE",
        "new-host": "NOTIFY",
    }
    both = merge(system(DRIFT.format("quarantine")), user(DRIFT.format("record")))
    assert both
    assert both.findings["definition-drift"].name == "RECORD"


def test_final_findings_hold_and_can_be_added_to() -> None:
    theirs = system('final = ["findings"]\n' + DRIFT.format("quarantine"))
    both = merge(theirs, user('[findings]\nvolume = "end"\n' + 'definition-drift = "quarantine"\n'))
    assert both
    assert both.findings["volume"].name == "END"
    with pytest.raises(ConfigError, match="definition-drift of findings is final") as caught:
        merge(theirs, user(DRIFT.format("record")))
    assert (caught.value.file, caught.value.line) == ("mine.toml", 3)
