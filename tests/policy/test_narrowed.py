"""A policy and a project's file: the lesser counts, on names and on requests, and labels of a project allow nothing."""

import pytest

from mcpguard.model import Caller, Verdict
from mcpguard.policy.circumstances import Circumstances
from mcpguard.policy.document import parse, parse_project
from mcpguard.policy.explanation import Asked
from mcpguard.policy.narrowed import Narrowed, narrow
from mcpguard.policy.snapshot import compile_snapshot

ALLOW, ASK, DENY = Verdict.ALLOW, Verdict.ASK, Verdict.DENY
TOP = 'version = 1\nmode = "enforce"\n'


def rule(ident: str, effect: str, more: str = 'tools = ["t"]') -> str:
    return f'[[rule]]\nid = "{ident}"\neffect = "{effect}"\n{more}\n'


def narrowed(policy: str, *projects: str) -> Narrowed:
    ruleset = parse((TOP + policy).encode(), "p.toml")
    outer = compile_snapshot(ruleset, "s", Caller())
    for text in projects:
        project = parse_project(("version = 1\n" + text).encode(), "/x/.mcpguard.toml")
        outer = narrow(outer, project, labels=ruleset.labels)  # type: ignore[assignment]
    return outer  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("outer", "project", "verdict"),
    [
        ("allow", "deny", DENY), ("allow", "ask", ASK), ("ask", "deny", DENY), ("ask", "ask", ASK), ("deny", "ask", DENY),
        ("deny", "deny", DENY), ("allow", None, ALLOW), ("ask", None, ASK), (None, "ask", DENY), (None, None, DENY),
    ],
)  # fmt: skip
def test_the_lesser_counts(outer: str | None, project: str | None, verdict: Verdict) -> None:
    found = narrowed(rule("o", outer) if outer else "", rule("p", project) if project else "")
    assert found.tool("t").verdict is verdict
    assert found.judge("tools/call", "t", {}, Circumstances(), 0).verdict is verdict
    assert found.explain("t").decision.verdict is verdict
    assert found.explain("t", Asked({}, Circumstances(), 0)).decision.verdict is verdict


def test_what_passes_unless_a_rule_denies_it_can_be_denied_by_a_project() -> None:
    found = narrowed(rule("o", "allow"), rule("no-logs", "deny", "logging = true"))
    assert found.method("logging/setLevel").verdict is DENY
    assert narrowed(rule("o", "allow"), rule("p", "ask")).method("logging/setLevel").silent


def test_extensions() -> None:
    found = narrowed(rule("o", "allow"), rule("no-ext", "deny", 'extensions = ["com.example/*"]'))
    assert found.extension("com.example/x").verdict is DENY
    assert found.extension("org.other/x").silent


def test_arguments_of_a_project_are_looked_at() -> None:
    found = narrowed(rule("o", "allow"), rule("p", "deny", 'tools = ["t"]\nargs.n = { minimum = 5 }'))
    assert found.tool("t").depends
    for value, verdict in ((4, ALLOW), (5, DENY)):
        assert found.judge("tools/call", "t", {"n": value}, Circumstances(), 0).verdict is verdict


def test_the_label_of_a_project_denies_and_never_allows() -> None:
    label = '[[label]]\nserver = "*"\ntools = ["page"]\nreads = ["seen"]\n'
    policy = rule("page", "allow", 'tools = ["page"]') + rule(
        "post", "allow", 'tools = ["post"]\nwhen.after = ["seen"]'
    )
    policy += rule("send", "allow", 'tools = ["send"]') + rule(
        "stop", "deny", 'tools = ["send"]\nwhen.after = ["seen"]'
    )
    found = narrowed(policy, label)
    around = Circumstances()
    read = found.judge("tools/call", "page", {}, around, 0)
    assert read.reads == ("project:seen",)
    around.saw(read.reads, 0)
    assert found.judge("tools/call", "post", {}, around, 0).verdict is DENY, (
        "it would be allowed after the policy's own"
    )
    assert found.judge("tools/call", "send", {}, around, 0).verdict is DENY, (
        "a denial holds after that of a project, too"
    )


def test_projects_in_projects_all_count_and_have_a_name_of_their_own() -> None:
    found = narrowed(
        rule("o", "allow", 'tools = ["*"]'),
        rule("p", "deny", 'tools = ["a"]'),
        rule("q", "deny", 'tools = ["b"]'),
    )
    assert [found.tool(name).verdict for name in "abc"] == [DENY, DENY, ALLOW]
    assert found.policy.count("+") == 2
    assert found.policy != narrowed(rule("o", "allow", 'tools = ["*"]')).policy


def test_both_limits_are_charged_and_the_shorter_result_counts() -> None:
    outer = 'tools = ["t"]\nrate = "9/min"\nresult_bytes = 100'
    project = 'tools = ["t"]\nrate = "3/min"\nresult_bytes = 50'
    found = narrowed(rule("o", "allow", outer), rule("p", "ask", project)).tool("t")
    assert found.result_bytes == 50
