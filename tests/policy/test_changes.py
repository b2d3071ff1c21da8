"""What a new policy changes, in words."""

from mcpguard.policy.builtin import OBSERVE_RULES
from mcpguard.policy.changes import describe, effect_word
from mcpguard.policy.document import parse


def policy(*rules, mode="enforce"):
    text = f'version = 1\nmode = "{mode}"\n'
    for name, effect, tool in rules:
        text += f'[[rule]]\nid = "{name}"\ntools = ["{tool}"]\neffect = "{effect}"\n'
    return parse(text.encode(), "p")


def test_each_kind_of_change_has_its_line():
    old = policy(("a", "allow", "x"), ("b", "deny", "x"), ("c", "allow", "x"), mode="observe")
    new = policy(("d", "deny", "x"), ("c", "allow", "y"), ("b", "deny", "x"), ("e", "allow", "x"))
    assert describe(old, new) == [
        "mode: observe -> enforce",
        "text: as-is -> neutralise",
        "added: d (deny), e (allow)",
        "removed: a (allow)",
        "changed: c (allow)",
    ]


def test_moving_a_rule_changes_nothing():
    assert (
        describe(
            policy(("a", "allow", "x"), ("b", "deny", "x")), policy(("b", "deny", "x"), ("a", "allow", "x"))
        )
        == []
    )


def test_the_first_policy_is_compared_with_watching():
    assert describe(OBSERVE_RULES, policy(("a", "allow", "x"))) == [
        "mode: observe -> enforce",
        "text: as-is -> neutralise",
        "added: a (allow)",
    ]


def test_long_lists_are_cut_and_counted():
    (line,) = describe(policy(), policy(*((f"r{number:03}", "allow", "x") for number in range(50))))
    assert line.startswith("added: r000 (allow), r001 (allow)")
    assert line.endswith("r019 (allow) and 30 more")


def test_effects_are_named_as_in_the_file():
    assert [effect_word(rule) for rule in policy(("a", "allow", "x"), ("b", "deny", "x")).rules] == [
        "allow",
        "deny",
    ]
