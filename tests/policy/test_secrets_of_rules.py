"""`secrets` of a rule: who may say it, what it has to be, and which of the rules that match give something."""

import pytest

from mcpguard.errors import ConfigError
from mcpguard.model import Verdict
from mcpguard.policy.circumstances import Circumstances
from mcpguard.policy.document import parse, parse_project
from mcpguard.policy.narrowed import narrow
from mcpguard.policy.snapshot import compile_snapshot

HEAD = 'version = 1\nmode = "enforce"\n'


def rule(ident: str, effect: str = "allow", **more: str) -> str:
    members = {"tools": '["send"]', "effect": f'"{effect}"', **more}
    return f'[[rule]]\nid = "{ident}"\n' + "".join(f"{key} = {value}\n" for key, value in members.items())


def given(*rules: str, arguments: object = None) -> tuple[str, ...]:
    snapshot = compile_snapshot(parse((HEAD + "".join(rules)).encode(), "p"), "s")
    decision = snapshot.tool("send")
    if decision.depends:
        decision = snapshot.judge("tools/call", "send", arguments, Circumstances(), 0)
    return decision.secrets


def test_rules_that_let_it_pass_give_what_they_name_together() -> None:
    assert given(rule("a", secrets='["x", "y"]'), rule("b", secrets='["z"]'), rule("c")) == ("x", "y", "z")
    assert given(rule("a")) == ()
    assert given(rule("a", "ask", secrets='["x"]')) == ("x",)


def test_a_rule_whose_conditions_do_not_hold_gives_nothing() -> None:
    conditional = rule("a", secrets='["x"]', **{"args.to": '{ enum = ["good"] }'})
    assert given(conditional, rule("b"), arguments={"to": "good"}) == ("x",)
    assert given(conditional, rule("b"), arguments={"to": "evil"}) == ()


def test_where_another_rule_asks_or_denies_the_verdict_is_its_own() -> None:
    snapshot = compile_snapshot(
        parse((HEAD + rule("a", secrets='["x"]') + rule("b", "deny")).encode(), "p"), "s"
    )
    assert snapshot.tool("send").verdict is Verdict.DENY


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (rule("a", "deny", secrets='["x"]'), "expected no secrets in a rule that denies"),
        (rule("a", secrets='["a/b"]'), "expected the name of a secret"),
        (rule("a", secrets='["*"]'), "expected the name of a secret"),
        (rule("a", secrets='"x"'), "expected"),
        (rule("a", secrets="[1]"), "expected the name of a secret"),
        (
            '[[rule]]\nid = "a"\nprompts = ["*"]\neffect = "allow"\nsecrets = ["x"]\n',
            "expected tools beside secrets",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse((HEAD + text).encode(), "p")


def test_a_project_gives_nothing_away() -> None:
    with pytest.raises(ConfigError, match="expected no secrets"):
        parse_project(("version = 1\n" + rule("a", "ask", secrets='["x"]')).encode(), "p")
    outer = compile_snapshot(parse((HEAD + rule("a", secrets='["x"]')).encode(), "p"), "s")
    project = parse_project(b'version = 1\n[[rule]]\nid = "p"\ntools = ["send"]\neffect = "ask"\n', "p")
    decision = narrow(outer, project).tool("send")
    assert (decision.verdict, decision.secrets) == (Verdict.ASK, ("x",))
