"""What a new policy changes, in words."""

import pytest

from mcpguard.policy.builtin import OBSERVE_RULES
from mcpguard.policy.changes import describe
from mcpguard.policy.document import parse
from mcpguard.policy.words import duration_word, effect_word


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
        "schemas: ignore -> check",
        "added: d (deny), e (allow)",
        "removed: a (allow)",
        "changed: c (allow)",
    ]


def test_what_holds_for_all_hosts_has_its_lines():
    strict = policy(("a", "allow", "x"))
    text = b'version = 1\nmode = "enforce"\nunpinned = "allow"\non_update = "allow_same_owner"\nrecheck = "90s"\n'
    loose = parse(text + b'[[rule]]\nid = "a"\ntools = ["x"]\neffect = "allow"\ngrade = "G2"\n', "p")
    assert describe(strict, loose) == [
        "unpinned: refuse -> allow",
        "on_update: ask -> allow_same_owner",
        "recheck: never -> 90s",
        "changed: a (allow)",
    ]
    assert describe(loose, strict)[2] == "recheck: 90s -> never"


@pytest.mark.parametrize("text", ["1s", "59s", "1m", "90s", "61m", "24h", "999999h"])
def test_times_are_told_as_they_are_written(text):
    assert (
        duration_word(parse(f'version = 1\nmode = "enforce"\nrecheck = "{text}"'.encode(), "p").recheck)
        == text
    )


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
        "unpinned: allow -> refuse (servers without a manifest no longer start; register them: mcpguard server add)",
        "schemas: ignore -> check",
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


def test_what_follows_from_findings_is_told() -> None:
    old = parse(b'version = 1\nmode = "enforce"\n[findings]\nvolume = "end"\n', "p")
    new = parse(b'version = 1\nmode = "enforce"\n[findings]\nnew-tool = "ask"\n', "p")
    assert describe(old, new) == ["findings: new-tool: record -> ask", "findings: volume: end -> record"]
