"""Rules in words: nothing that a rule says is left out."""

import msgspec
import pytest

from mcpguard.policy.document import parse
from mcpguard.policy.rules import Rule
from mcpguard.policy.words import members, sentence, settings

TOP = 'version = 1\nmode = "enforce"\n'


def policy(text: str):
    return parse((TOP + text).encode(), "p.toml")


def rule(text: str) -> Rule:
    base = '[[rule]]\nid = "r"\n' + ("" if "effect" in text else 'effect = "allow"\n')
    tools = (
        ""
        if any(word in text for word in ("resources", "sampling", "elicitation", "prompts"))
        else 'tools = ["t"]\n'
    )
    return policy(f'[[rule]]\nid = "a"\ntools = ["z"]\neffect = "ask"\n{base}{tools}{text}\n').rules[1]


SAID = [
    ('who = ["uid:7"]', "who uid:7"),
    ('resources = ["file:///srv/**"]', "resources file:///srv/**"),
    ("sampling = true", "sampling"),
    ('prompts = ["p*"]\ncompletions = ["prompt p"]', "prompts p*  completions prompt p"),
    ('elicitation = { mode = ["url"], hosts = ["a.example"] }', '{"mode":["url"],"hosts":["a.example"]}'),
    ('grade = "G2"\nunit = "app-*"', "grade G2  unit app-*"),
    ('args.path = { under = ["~/src"], deny = ["**/.git/**"] }', '{"path":{"under":["~/src"],"deny":["**/.git/**"]}}'),
    ('args.n = { type = "integer", optional = true }', '{"n":{"type":"integer","optional":true}}'),
    ('args.url = { hosts = ["*.example.com"] }', '"hosts":["*.example.com"]'),
    ('when = { hours = "22:00-06:00", days = ["mon-fri"] }', '"hours":["22:00-06:00"],"days":["mon","tue"'),
    ('when = { after = ["x"], after_not = ["y"], reads = ["u"] }', '"after":["x"],"after_not":["y"],"reads":["u"]'),
    ('when = { host_version = ">=1.2", risk = ["low"] }', '"host_version":[">=1.2"]'),
    ("when = { annotations = { readOnlyHint = true } }", '"annotations":{"readOnlyHint":true}'),
    ('when = { session = ["local"], cwd = ["/srv"] }', '"session":["local"],"cwd":["/srv"]'),
    ('rate = "60/min"', "rate 60/min"),
    ('rate = { limit = "5/s", per = ["principal"] }', '{"limit":"5/s","per":["principal"]}'),
    ("concurrency = 2", "concurrency 2"),
    ('budget = "10/day"', "budget 10/day"),
    ("result_bytes = 1000", "result_bytes 1000"),
    ('answers = ["a"]', "answers a"),
    ('effect = "ask"\nconfirm = "presence"', "confirm presence"),
    ("durable = true\nrecheck = true", "durable  recheck"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), SAID)
def test_every_key_is_told(text: str, words: str) -> None:
    found = sentence(rule(text), "p.toml")
    assert words in found, found
    assert found.endswith("  p.toml:7")
    assert msgspec.json.encode(members(rule(text)))


@pytest.mark.parametrize(("text", "words"), SAID)
def test_rules_that_differ_are_told_differently(text: str, words: str) -> None:
    assert words
    others = [members(rule(other)) for other, _ in SAID if other != text]
    assert members(rule(text)) not in others


def test_what_holds_for_all_hosts_is_told() -> None:
    text = """zone = "Europe/Berlin"
recheck = "90s"
unpinned = "allow"
[roles]
staff = ["uid:1", "host:a"]
[approvals]
timeout = "2m"
elicitation = ["role:staff"]
notify = false
presence = ["fido2"]
[restart]
servers = ["web*"]
[[label]]
server = "web"
tools = ["fetch"]
reads = ["untrusted"]
"""
    said = "\n".join(settings(policy(text)))
    for words in (
        "unpinned allow", "recheck 90s", "zone Europe/Berlin", "role staff: uid:1, host:a",
        "timeout 2m, elicitation role:staff, notify false, presence fido2",
        "restart web*: at most 3 times in 10m",
        "label  server web  tools fetch  reads untrusted",
    ):  # fmt: skip
        assert words in said, said
    assert settings(policy("")) == []
