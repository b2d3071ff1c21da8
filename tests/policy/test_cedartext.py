"""Cedar policies as text: errors have a file, a line and a sentence, and nothing ends the process."""

import time

import pytest

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.model import Verdict
from mcpguard.policy.cedarschema import SCHEMA
from mcpguard.policy.cedartext import library
from mcpguard.policy.changes import describe
from mcpguard.policy.document import parse
from mcpguard.policy.lint import notices
from mcpguard.policy.rules import GATED_METHODS
from mcpguard.policy.words import members, sentence
from tests.policy.cedars import AROUND_BOTH, AS_CEDAR, PERMIT, TOP, file, ruleset

ANY = "permit (principal, action, resource)"
WRONG = [
    (f"{PERMIT}\n\n{ANY};", 8, "expected an @id"),
    (f'@id("A b") {ANY};', 6, "expected an @id"),
    (f"{PERMIT}\n{PERMIT}", 7, "expected ids that differ"),
    (f'{PERMIT}\n// x; y\n@id("b")\npermit (principal, action);', 8, "expected a Cedar policy"),
    (f'{PERMIT}\n@id("b")\npermit (principal', 7, "expected a Cedar policy"),
    (f'@id("b") {ANY} when {{ "', 6, "expected a Cedar policy"),
    (f"{PERMIT} ;", 6, "expected a Cedar policy"),
    (f'{PERMIT}\n@id("b") {ANY} when {{ resource.nme == "x" }};', 7, "does not fit the schema"),
    (f'@id("b") {ANY} when {{ context.args.getTag("x") == "y" }};', 6, "does not fit the schema"),
    (
        '@id("b") permit (principal, action == Mcpguard::Action::"tool/call", resource);',
        6,
        "unrecognized action",
    ),
    ('@id("b") permit (principal == ?principal, action, resource);', 6, "a template"),
    (f'@id("b") @aks {ANY};', 6, "did you mean ask"),
    (f'@id("b") @rate("3/min") {ANY};', 6, "expected a known annotation"),
    ('@id("b") @ask forbid (principal, action, resource);', 6, "on a policy that permits"),
    (f'@id("b") @confirm("presence") {ANY};', 6, "beside @ask"),
    (f'@id("b") @ask @confirm("smile") {ANY};', 6, "beside @ask"),
    (f'@id("b") @durable("yes") {ANY};', 6, "without a value"),
    (f'@id("b") @ask("nobody") {ANY};', 6, "without a value"),
    ("// nothing", 0, "found none"),
]


@pytest.mark.parametrize(("text", "line", "words"), WRONG)
def test_what_is_wrong_has_a_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ruleset(text)
    assert words in caught.value.sentence(), caught.value.sentence()
    assert (caught.value.file, caught.value.key) == ("p.toml", "cedar")
    assert not line or caught.value.line == line
    assert "\n" not in caught.value.sentence()


DEEP = [
    "(" * 50_000 + "true" + ")" * 50_000,
    "!(" * 5_000 + "true" + ")" * 5_000,
    "!" * 5_000 + "true",
    "[" * 5_000 + "]" * 5_000 + " == []",
    "{a:" * 5_000 + "1" + "}" * 5_000 + " == 1",
    " && ".join(["true"] * 50_000),
    " || ".join(["context.hour == 1"] * 30_000),
    "1" + "+1" * 50_000 + " > 1",
    "if true then " * 10_000 + "true" + " else true" * 10_000,
    "context" + ".hour" * 50_000 + " == 1",
    "context.seen" + '.contains("a")' * 20_000,
    '"' + '\\"' * 400_000,
]


@pytest.mark.parametrize("body", DEEP)
def test_what_would_end_cedars_parser_is_an_error(body: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigError):
        ruleset(f'@id("a") {ANY} when {{ {body} }};')
    assert time.monotonic() - began < 20


def test_what_is_at_the_bounds_is_read() -> None:
    brackets = limits.CEDAR_BRACKETS - 1
    body = "(" * brackets + " && ".join(["true"] * (limits.CEDAR_NESTING + 1)) + ")" * brackets
    assert ruleset(f'@id("a") {ANY} when {{ {body} }};').rules
    many = "\n".join(f'@id("p{number}") {ANY};' for number in range(limits.CEDAR_POLICIES))
    assert len(ruleset(many).rules) == limits.CEDAR_POLICIES
    with pytest.raises(ConfigError, match="at most"):
        ruleset(f'{many} @id("more") {ANY};')
    with pytest.raises(ConfigError, match="of at most"):
        ruleset(PERMIT + " " * limits.CEDAR_CHARS)


def test_a_policy_in_values() -> None:
    rules = ruleset(
        f'@id("a") @ask @confirm("presence") @durable @recheck @description("x") {ANY};\n{PERMIT}'
    ).rules
    assert [(one.id, one.effect, one.line) for one in rules] == [
        ("a", Verdict.ASK, 6),
        ("all", Verdict.ALLOW, 7),
    ]
    first = rules[0]
    assert (first.durable, first.recheck, first.confirm) == (True, True, "presence")
    assert members(first)["cedar"]["effect"] == "permit"
    assert sentence(first, "p.toml").endswith("p.toml:6")
    assert not notices(ruleset(AS_CEDAR, AROUND_BOTH))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("cedar = '@id(\"a\") permit (principal, action, resource);'\n", 5),
        ('cedar = """@id(\\"a\\")\npermit (principal, action, resource);"""\n', 5),
        ("cedar = '''\r\n\r\n@id(\"a\")\r\npermit (principal, action, resource);'''\r\n", 7),
        (
            "cedar = '''//\u2028 \x0b\n\n@id(\"a\") permit (principal, action, resource);'''\n".replace(
                "\x0b", "\t"
            ),
            7,
        ),
    ],
)
def test_lines_of_every_kind_of_text(text: str, line: int) -> None:
    (rule,) = parse(f'{TOP}engine = "cedar"\n{text}'.encode(), "p.toml").rules
    assert rule.line == line


def test_changes_are_told_by_id() -> None:
    old = ruleset(f'{PERMIT} @id("a") {ANY};')
    new = ruleset(f'@id("b") {ANY};\n@id("a") @ask {ANY};\n\n{PERMIT.replace("(", " (")}')
    assert describe(old, new) == ["added: b (allow)", "changed: a (ask)"]
    rules = parse((TOP + '[[rule]]\nid = "x"\ntools = ["t"]\neffect = "deny"\n').encode(), "r.toml")
    assert describe(rules, old) == [
        "engine: toml -> cedar",
        "added: a (allow), all (allow)",
        "removed: x (deny)",
    ]


def test_keys_beside_cedar() -> None:
    for more, words in (
        ('[[rule]]\nid = "x"\ntools = ["t"]\neffect = "deny"\n', "expected no rules beside"),
        ('final = ["mode"]\n', "expected a known key"),
    ):
        with pytest.raises(ConfigError, match=words):
            parse(f"{TOP}engine = 'cedar'\ncedar = '''{PERMIT}'''\n{more}".encode(), "p.toml")
    roles = ruleset(
        PERMIT,
        '[roles]\na = ["uid:1"]\n[approvals]\ntimeout = "5s"\n[[label]]\ntools = ["t"]\nreads = ["l"]\n',
    )
    assert (roles.roles, roles.approving.timeout, len(roles.labels)) == ({"a": ("uid:1",)}, 5.0, 1)
    assert file(PERMIT).startswith(b"version")


def test_every_method_has_an_action() -> None:
    cedar = library()
    assert cedar is not None
    for method in {*GATED_METHODS, "tools/call", "extension"}:
        text = f'permit (principal, action == Mcpguard::Action::"{method}", resource);'
        assert cedar.validate_policies(text, SCHEMA).validation_passed, method
