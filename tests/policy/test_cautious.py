from mcpguard.model import Caller, Mode, Verdict
from mcpguard.policy.cautious import RULE, cautious
from mcpguard.policy.circumstances import Circumstances, Surroundings
from mcpguard.policy.document import parse
from mcpguard.policy.snapshot import compile_snapshot

RULES = """\
[[rule]]
id = "all"
tools = ["read", "write"]
resources = ["file:///a"]
effect = "allow"
[[rule]]
id = "no"
tools = ["write"]
effect = "deny"
"""


def decider(mode: str = "enforce"):
    outer = compile_snapshot(parse(f'version = 1\nmode = "{mode}"\n{RULES}'.encode(), "p"), "s", Caller())
    return outer, cautious(outer, Caller(), Surroundings())


def test_what_was_allowed_is_asked_and_what_was_denied_stays() -> None:
    _, careful = decider()
    assert (careful.tool("read").verdict, careful.tool("read").rule) == (Verdict.ASK, RULE)
    assert careful.tool("write").verdict is Verdict.DENY
    assert careful.tool("other").verdict is Verdict.DENY
    judged = careful.judge("tools/call", "read", {}, Circumstances(), 0)
    assert (judged.verdict, judged.rule) == (Verdict.ASK, RULE)


def test_nothing_but_tools_is_asked_about() -> None:
    outer, careful = decider()
    for method, target in (
        ("resources/read", "file:///a"),
        ("resources/read", "file:///b"),
        ("prompts/get", "x"),
    ):
        assert careful.method(method, target).verdict is outer.method(method, target).verdict


def test_approvals_of_before_do_not_count_and_watching_stays_watching() -> None:
    outer, careful = decider()
    assert careful.policy != outer.policy
    _, watching = decider("observe")
    assert (watching.mode, watching.observing) == (Mode.OBSERVE, True)
