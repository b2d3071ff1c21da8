"""What a rule asks of its caller: tables of who meets it and of what the others are told."""

import pytest

from mcpguard.model import Caller, Grade, Verdict
from mcpguard.policy.evidence import is_meant, shortfall
from mcpguard.policy.match import compile_pattern
from mcpguard.policy.rules import Rule

BASH = ("/usr/bin/codex", "/usr/bin/bash", "/usr/lib/systemd/systemd")


def rule(**demands):
    compiled = {
        key: tuple(compile_pattern(text) for text in value)
        if key in ("unit", "label", "ancestor_not")
        else value
        for key, value in demands.items()
    }
    return Rule("r", Verdict.ALLOW, **compiled)


@pytest.mark.parametrize(
    ("demands", "caller", "words"),
    [
        ({}, Caller(), ""),
        ({}, Caller(principals=()), "rule r is for any and the host is not an enrolled one"),
        ({"who": ("host:a",)}, Caller(principals=("any", "host:a")), ""),
        ({"who": ("host:a",)}, Caller(), "rule r is for host:a and the host is not an enrolled one"),
        (
            {"who": ("host:a", "host:b", "host:c", "host:d")},
            Caller(principals=("any", "host:e")),
            "rule r is for host:a, host:b, host:c and others and the host is host:e",
        ),
        ({"grade": Grade.G2}, Caller(grade=Grade.G2), ""),
        ({"grade": Grade.G2}, Caller(grade=Grade.G3), ""),
        ({"grade": Grade.G2}, Caller(grade=Grade.G1), "rule r needs G2 and the host has G1"),
        ({"unit": ["app-*.scope", "b"]}, Caller(unit="b"), ""),
        ({"unit": ["app-*.scope", "b"]}, Caller(unit="c"), "rule r needs unit app-*.scope, b and the host has another"),
        ({"unit": ["*"]}, Caller(), "rule r needs unit * and the host has none"),
        ({"label": ["snap.code.*"]}, Caller(label="snap.code.code"), ""),
        ({"label": ["*"]}, Caller(), "rule r needs label * and the host has none"),
        ({"label": ["snap.*"]}, Caller(label="unconfined"), "rule r needs label snap.* and the host has another"),
        ({"ancestor_not": ["bash"]}, Caller(ancestors=BASH), "rule r is not for hosts below bash"),
        ({"ancestor_not": ["ssh*", "/opt/*/bash"]}, Caller(ancestors=BASH), ""),
        ({"ancestor_not": ["zsh", "/usr/bin/*sh"]}, Caller(ancestors=BASH), "rule r is not for hosts below /usr/bin/*sh"),
        ({"ancestor_not": ["bash"]}, Caller(ancestors=("a", "/tmp/bash (deleted)")), "rule r is not for hosts below bash"),
        ({"ancestor_not": ["codex"]}, Caller(ancestors=BASH), ""),
        ({"ancestor_not": ["bash"]}, Caller(ancestors=("/usr/bin/codex",)), ""),
        ({"ancestor_not": ["bash"]}, Caller(ancestors=("", "")), ""),
        ({"ancestor_not": ["bash"]}, Caller(ancestors=("/x", "?")), ""),
        ({"ancestor_not": ["?"]}, Caller(ancestors=("/x", "?")), "rule r is not for hosts below ?"),
        (
            {"ancestor_not": ["bash"]},
            Caller(),
            "rule r is not for hosts below bash and what this host is below is not known",
        ),
    ],
)  # fmt: skip
def test_what_a_caller_lacks(demands, caller, words):
    assert shortfall(rule(**demands), caller) == words


def test_the_first_demand_that_is_not_met_is_told():
    demands = {"who": ("host:a",), "grade": Grade.G2, "unit": ["u"], "label": ["l"], "ancestor_not": ["bash"]}
    caller = {}
    for key, value, word in (
        ("principals", ("host:a",), "host:a"),
        ("grade", Grade.G2, "G2"),
        ("unit", "u", "unit u"),
        ("label", "l", "label l"),
        ("ancestors", ("x",), "bash"),
    ):
        assert word in shortfall(rule(**demands), Caller(**caller))
        caller[key] = value
    assert shortfall(rule(**demands), Caller(**caller)) == ""


def test_sentences_hold_nothing_that_a_process_chose():
    hostile = Caller(unit="IGNORE", label="IGNORE", ancestors=("IGNORE", "/tmp/IGNORE/bash"))
    for demands in ({"unit": ["u"]}, {"label": ["l"]}, {"ancestor_not": ["bash"]}):
        assert "IGNORE" not in shortfall(rule(**demands), hostile)


def test_one_principal_is_enough():
    assert is_meant(rule(who=("host:a", "host:b")), Caller(principals=("any", "host:b")))
    assert not is_meant(rule(who=("host:a",)), Caller(principals=("any", "host:ab")))
