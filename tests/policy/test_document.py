"""The policy file: what is read, and one sentence with the right line for everything else."""

import hashlib
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.model import Grade, Mode, Verdict
from mcpguard.policy.document import KEYS, digest, parse, parse_project
from mcpguard.policy.rulekeys import KEYS as RULE_KEYS
from mcpguard.policy.rules import RuleSet

HEAD = 'version = 1\nmode = "enforce"\n'
RULE = '[[rule]]\nid = "a"\ntools = ["x"]\neffect = "allow"\n'
FULL = b"""version = 1
mode = "enforce"            # or "observe"
text = "as-is"

[[rule]]
id     = "files-read"
who    = ["any"]
server = "files"
tools  = ["read_*", "list_directory"]
methods = ["resources/read", "sampling/createMessage", "prompts/*"]
effect = "allow"
durable = true

[[rule]]
id = "no-delete"
server = ["files", "git*"]
tools = ["*delete*"]
effect = "deny"
"""


def fault(text):
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigError) as caught:
        parse(data, "p.toml")
    assert caught.value.file == "p.toml"
    assert "\n" not in caught.value.sentence()
    return caught.value


def test_every_key_is_read():
    ruleset = parse(FULL, "p.toml")
    assert (ruleset.file, ruleset.mode, ruleset.neutralise) == ("p.toml", Mode.ENFORCE, False)
    assert ruleset.digest == hashlib.sha256(FULL).hexdigest()[:16] == digest(FULL)
    first, second = ruleset.rules
    assert (first.id, first.effect, first.who, first.durable, first.line) == (
        "files-read", Verdict.ALLOW, ("any",), True, 5,
    )  # fmt: skip
    assert [pattern.text for pattern in first.tools] == ["read_*", "list_directory"]
    assert [pattern.text for pattern in first.server] == ["files"]
    assert len(first.methods) == 3
    assert (second.effect, second.durable, second.line) == (Verdict.DENY, False, 14)
    assert [pattern.text for pattern in second.server] == ["files", "git*"]


@pytest.mark.parametrize(
    ("mode", "text", "neutralise"),
    [
        ("enforce", "", True),
        ("observe", "", False),
        ("enforce", 'text = "as-is"', False),
        ("observe", 'text = "neutralise"', True),
    ],
)
def test_text_follows_the_mode_unless_it_is_said(mode, text, neutralise):
    assert parse(f'version = 1\nmode = "{mode}"\n{text}'.encode(), "p").neutralise is neutralise


def test_defaults_are_any_principal_any_server_not_durable():
    (rule,) = parse((HEAD + RULE).encode(), "p").rules
    assert (rule.who, [pattern.text for pattern in rule.server], rule.methods, rule.durable) == (
        ("any",),
        ["*"],
        (),
        False,
    )


def test_evidence_is_read():
    text = """
unpinned = "allow"
on_update = "allow_same_owner"
recheck = "5m"
[[rule]]
id = "a"
who = ["host:claude-code", "any", "host:claude-code"]
tools = ["x"]
effect = "allow"
grade = "G3"
unit = "app-*.scope"
label = ["snap.code.*", "code"]
ancestor_not = ["bash", "/usr/bin/ssh"]
recheck = true
[[rule]]
id = "b"
who = ["host:x"]
tools = ["x"]
effect = "deny"
recheck = true
"""
    ruleset = parse((HEAD + text).encode(), "p")
    assert (ruleset.unpinned, ruleset.on_update, ruleset.recheck) == (True, "allow_same_owner", 300.0)
    asking, denying = ruleset.rules
    assert (asking.who, asking.grade, asking.recheck) == (("host:claude-code", "any"), Grade.G3, True)
    assert [pattern.text for pattern in (*asking.unit, *asking.label, *asking.ancestor_not)] == [
        "app-*.scope", "snap.code.*", "code", "bash", "/usr/bin/ssh",
    ]  # fmt: skip
    assert (denying.who, denying.recheck) == (("host:x",), True)


def test_without_a_word_about_evidence_nothing_is_asked_and_updates_are():
    ruleset = parse((HEAD + RULE).encode(), "p")
    assert (ruleset.unpinned, ruleset.on_update, ruleset.recheck) == (False, "ask", 0.0)
    (rule,) = ruleset.rules
    assert (rule.grade, rule.unit, rule.label, rule.ancestor_not, rule.recheck) == (
        Grade.G0,
        (),
        (),
        (),
        False,
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1.0), ("090s", 90.0), ("5m", 300.0), ("999999h", 3599996400.0)]
)
def test_a_time_is_digits_and_a_unit(text, seconds):
    assert parse(f'{HEAD}recheck = "{text}"'.encode(), "p").recheck == seconds


def test_inline_rules_have_lines_too():
    text = HEAD + 'rule = [{id="a", tools=["x"], effect="allow"},\n {id="b", tools=["x"], effect="deny"}]\n'
    assert [rule.line for rule in parse(text.encode(), "p").rules] == [3, 4]


def rule(line, rest='id = "a"\ntools = ["x"]\neffect = "allow"\n'):
    return f"{HEAD}\n[[rule]]\n{line}\n{rest}"  # header on line 4, `line` on line 5


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        # the whole file
        (b"", 0, "", ["empty file", "version = 1"]),
        (b" \n\t\n", 0, "", ["empty file"]),
        (b"# nothing\n", 0, "version", ["version = 1", "nothing"]),
        (b"version = 1\n# \xff\n", 2, "", ["UTF-8", "0xff", "offset 14"]),
        (b"\xef\xbb\xbfversion = 1\n", 1, "", ["byte order mark"]),
        (b"#" * (limits.POLICY_BYTES + 1), 0, "", [str(limits.POLICY_BYTES)]),
        ('mode = "enforce"\n', 0, "version", ["expected version = 1, found nothing"]),
        ("\nversion = 2\n", 2, "version", ["expected 1", "found the number 2"]),
        ("version = true\n", 1, "version", ["found true"]),
        ("version = 1.0\n", 1, "version", ["found the number 1.0"]),
        ('version = "1"\n', 1, "version", ['found "1"']),
        ("version = 0x" + "f" * 5000, 1, "version", ["absurdly large"]),
        ("version = 1\n", 0, "mode", ['"enforce" or "observe"', "nothing"]),
        ('version = 1\nmode = "enfroce"\n', 2, "mode", ['found "enfroce"', "did you mean enforce?"]),
        ("version = 1\nmode = 3\n", 2, "mode", ["found the number 3"]),
        (HEAD + 'text = "neutralize"\n', 3, "text", ["did you mean neutralise?"]),
        (HEAD + "text = 1979-05-27\n", 3, "text", ["found a date or time"]),
        # TOML syntax
        ("version = 1\nmode = \n", 2, "", ["expected TOML: invalid value", "column 8"]),
        ("version = 1\nmode = 'x", 2, "", ["expected TOML"]),
        ("version = 1\nversion = 1\n", 2, "", ["cannot overwrite a value", "column"]),
        ("version = 1\n\n[[rule]\n", 3, "", ["expected TOML"]),
        ('version = 1\nx = """\nabc\n', 3, "", ["unterminated string", "end of document"]),
        ("version = 1\nx = 2000-02-31\n", 2, "", ["expected TOML: invalid date", "column"]),
        ("version = 1\nx = \x1b\n", 2, "", ["expected TOML"]),
        (HEAD + "x = " + "[" * 100, 3, "", ["at most 16 levels"]),
        (HEAD + "a" + ".a" * 100 + " = 1", 3, "", ["at most 16 levels"]),
        (HEAD + "x = 9" + "9" * 5000, 0, "", ["expected TOML"]),
        # keys
        (HEAD + "mod = 1\n", 3, "mod", ["not a key of this place", "did you mean mode?"]),
        (HEAD + "zzz = 1\n", 3, "zzz", ["known are version, mode, text, rule"]),
        (HEAD + '"\\u001b[2J" = 1\n', 3, "'\\x1b[2J'", ["not a key"]),
        (rule("tool = ['x']"), 5, "tool", ["did you mean tools?"]),
        # rules
        (HEAD + "[rule]\nid = 'a'\n", 3, "rule", ["found a table", "[[rule]]"]),
        (HEAD + "rule = 1\n", 3, "rule", ["expected tables", "found the number 1"]),
        (HEAD + "rule = [\n1]\n", 4, "rule", ["expected a table"]),
        (rule("", 'tools = ["x"]\neffect = "allow"\n'), 4, "id", ["a name for this rule", "nothing"]),
        (rule("id = 'A'", "tools = ['x']\neffect = 'allow'"), 5, "id", ["1 to 64 of a-z", 'found "A"']),
        (rule("id = 7", "tools = ['x']\neffect = 'allow'"), 5, "id", ["found the number 7"]),
        (rule(f"id = '{'a' * 65}'", "tools = ['x']\neffect = 'allow'"), 5, "id", ["1 to 64", "..."]),
        (rule('id = "a\\n"', "tools = ['x']\neffect = 'allow'"), 5, "id", ["1 to 64"]),
        (HEAD + RULE + "\n" + RULE, 9, "id", ['"a"', "the rule of line 3"]),
        (
            rule("effect = 'allow'", "id = 'a'"),
            4,
            "tools",
            ["expected one of tools, methods, resources", "found nothing"],
        ),
        (rule("", "id = 'a'\ntools = ['x']\n"), 4, "effect", ['"allow" or "ask" or "deny"', "nothing"]),
        (rule("effect = 'alow'", "id = 'a'\ntools = ['x']\n"), 5, "effect", ["did you mean allow?"]),
        (rule("effect = true", "id = 'a'\ntools = ['x']\n"), 5, "effect", ["found true"]),
        (
            rule("who = ['any', 'codex']"),
            5,
            "who",
            ['expected "any", "host:NAME", "role:NAME"', 'found "codex"', 'write who = ["host:claude-code"]'],
        ),
        (rule("who = ['host:']"), 5, "who", ['found "host:"', "1 to 64 of a-z"]),
        (rule("who = ['host:Codex']"), 5, "who", ['found "host:Codex"']),
        (rule("who = ['host:a b']"), 5, "who", ['found "host:a b"']),
        (rule("who = ['host:a\\n']"), 5, "who", ["found"]),
        (rule(f"who = ['host:{'a' * 65}']"), 5, "who", ["found"]),
        (rule("who = [5]"), 5, "who", ["found the number 5"]),
        # evidence
        (rule("grade = 'G5'"), 5, "grade", ['"G0" or "G1" or "G2" or "G3" or "G4"', 'found "G5"']),
        (rule("grade = 2"), 5, "grade", ["found the number 2"]),
        (rule("unit = ''"), 5, "unit", ["bad glob", "empty pattern"]),
        (rule("unit = 3"), 5, "unit", ["expected a list of patterns, found the number 3"]),
        (rule("label = []"), 5, "label", ["found an empty list"]),
        (rule("label = ['[a]']"), 5, "label", ["bracket"]),
        (
            rule("ancestor_not = 'bash'"),
            5,
            "ancestor_not",
            ['found "bash"', 'write ancestor_not = ["bash", "/usr/bin/ssh"]'],
        ),
        (rule("ancestor_not = ['a', true]"), 5, "ancestor_not", ["expected a pattern, found true"]),
        (rule("recheck = '5m'"), 5, "recheck", ['found "5m"', "at the top of the file"]),
        (rule("recheck = 1"), 5, "recheck", ["expected true or false, found the number 1"]),
        *(
            (
                rule(f"{key} = {value}", "id = 'a'\ntools = ['x']\neffect = 'deny'\n"),
                5,
                key,
                [f"expected no {key} in a rule that denies", "less evidence would escape", "narrower rules"],
            )
            for key, value in (
                ("grade", "'G2'"),
                ("grade", "'G0'"),
                ("unit", "'a'"),
                ("label", "['a']"),
                ("ancestor_not", "['a']"),
            )
        ),
        # what holds for all hosts
        (HEAD + "unpinned = 'ask'\n", 3, "unpinned", ['"refuse" or "allow"', 'found "ask"']),
        (HEAD + "unpinned = true\n", 3, "unpinned", ["found true"]),
        (HEAD + "on_update = 'allow'\n", 3, "on_update", ['"ask" or "allow_same_owner"', 'found "allow"']),
        *(
            (HEAD + f"recheck = {value}\n", 3, "recheck", ["digits and s, m or h", 'write recheck = "5m"'])
            for value in ("'0s'", "'5'", "'m'", "'1.5h'", "'-5s'", "' 5s'", "'5d'", "'\u0665s'", "5", "true")
        ),
        (HEAD + f"recheck = '{'9' * 7}s'\n", 3, "recheck", ["1 to 6 digits"]),
        (rule("who = [\n'any',\n'x']"), 7, "who", ['found "x"']),
        (rule("who = 'any'"), 5, "who", ["expected a list of principals", 'write who = ["any"]']),
        (rule("who = []"), 5, "who", ["found an empty list"]),
        (rule("durable = 'yes'"), 5, "durable", ["expected true or false", '"yes"']),
        (rule("durable = 1"), 5, "durable", ["found the number 1"]),
        (rule("server = 5"), 5, "server", ["expected a list of patterns"]),
        (rule("server = []"), 5, "server", ["found an empty list"]),
        (rule("server = ''"), 5, "server", ["bad glob", "empty pattern"]),
        (rule("server = ['a', '[b]']"), 5, "server", ["bad glob", "bracket"]),
        (
            rule("tools = 'read'", "id = 'a'\neffect = 'allow'"),
            5,
            "tools",
            ['found "read"', 'write tools = ["read_*"]'],
        ),
        (rule("tools = []", "id = 'a'\neffect = 'allow'"), 5, "tools", ["found an empty list"]),
        (rule("tools = [\n'a',\n\n'b[c]']", "id = 'a'\neffect = 'allow'"), 8, "tools", ['bad glob "b[c]"']),
        (
            rule("tools = ['a', 5]", "id = 'a'\neffect = 'allow'"),
            5,
            "tools",
            ["expected a pattern, found the number 5"],
        ),
        (
            rule(f"tools = ['{'a' * 300}']", "id = 'a'\neffect = 'allow'"),
            5,
            "tools",
            ["at most 256 characters, found 300"],
        ),
        (rule('tools = ["a\\u202e"]', "id = 'a'\neffect = 'allow'"), 5, "tools", ["'a\\u202e'", "invisible"]),
        (rule("methods = ['resource/read']"), 5, "methods", ["matches none", "did you mean resources/read?"]),
        (rule("methods = ['resources/*', 'zzz*']"), 5, "methods", ['"zzz*"', "matches none"]),
        (rule("methods = ['tools/call']"), 5, "methods", ["tools are named in tools"]),
        (rule("methods = ['tools/*']"), 5, "methods", ["tools are named in tools"]),
        (rule("methods = ['Resources/read']"), 5, "methods", ["did you mean resources/read?"]),
        (rule("methods = {}"), 5, "methods", ["found a table"]),
    ],
)
def test_fault_names_line_key_expected_and_found(text, line, key, words):
    error = fault(text)
    assert (error.line, error.key) == (line, key), error.sentence()
    assert [word for word in words if word not in error.sentence()] == [], error.sentence()


def test_one_rule_too_many_is_named_by_its_line():
    text = HEAD + "[[rule]]\n" * (limits.RULES + 1)
    error = fault(text)
    assert error.line == 3 + limits.RULES
    assert f"at most {limits.RULES} rules, found {limits.RULES + 1}" in error.message


def test_lines_survive_comments_strings_and_multi_line_values():
    text = (
        HEAD
        + '# [[rule]]\n[[rule]]\nid = "a"\ntools = ["""\\\n   x""", # [[rule]]\n "y"]\n"effect" = "allow"\n'
        + '\n[[ "rule" ]]\nid = \'b\'\ntools = ["x"]\neffect = "alow"\n'
    )
    assert fault(text).line == 14


def test_crlf_files_have_the_same_lines():
    assert fault((HEAD + RULE + "colour = 1\n").replace("\n", "\r\n")).line == 7


# --- properties -----------------------------------------------------------------------------------------


def outcome(data):
    try:
        return parse(data, "p")
    except ConfigError as error:
        return error


def parses_or_says_why(data):
    last = data.count(b"\n") + 1
    answer = outcome(data)
    if isinstance(answer, ConfigError):
        assert answer.message
        assert 0 <= answer.line <= last
        assert "\n" not in answer.sentence()
    else:
        assert isinstance(answer, RuleSet)
        assert all(0 < rule.line <= last for rule in answer.rules)


@given(st.binary())
def test_any_bytes_give_a_policy_or_a_config_error(data):
    parses_or_says_why(data)


@given(st.text(st.sampled_from("ar[]{}=,.#'\"\\ \n1-:TZ_xuf")))
def test_any_text_made_of_marks_gives_a_policy_or_a_config_error(text):
    parses_or_says_why(HEAD.encode() + text.encode())


@given(st.integers(0, 2**32), st.integers(1, 8))
@example(0, 1)
def test_a_damaged_policy_gives_a_policy_or_a_config_error(seed, count):
    chance = random.Random(seed)
    data = bytearray(FULL)
    for _ in range(count):
        place = chance.randrange(len(data))
        data[place : place + chance.randrange(3)] = bytes([chance.randrange(256)] * chance.randrange(3))
    parses_or_says_why(bytes(data))


SCALARS = st.sampled_from(
    [
        "1",
        "-1",
        "true",
        "''",
        "'any'",
        "'allow'",
        "[]",
        "['any']",
        "[1]",
        "{}",
        "nan",
        "1979-05-27",
        "0x" + "f" * 300,
        "[[]]",
        "[{}]",
        "'tools/call'",
        "['*']",
        "'G2'",
        "'host:a'",
        "['host:a']",
        "'5m'",
    ]
)


@given(
    st.lists(st.tuples(st.sampled_from(KEYS), SCALARS), max_size=4),
    st.lists(st.tuples(st.sampled_from(RULE_KEYS), SCALARS), max_size=7),
)
def test_any_values_under_known_keys_give_a_policy_or_a_config_error(top, inner):
    text = "".join(f"{key} = {value}\n" for key, value in dict(top).items())
    text += "[[rule]]\n" if "rule" not in dict(top) else ""
    text += "".join(f"{key} = {value}\n" for key, value in dict(inner).items() if f"{key} =" not in text)
    parses_or_says_why(text.encode())
    known = {"id": "'a'", "effect": "'allow'", "tools": "['x']", **dict(inner)}
    parses_or_says_why(
        (HEAD + "[[rule]]\n" + "".join(f"{key} = {value}\n" for key, value in known.items())).encode()
    )


@given(st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True), st.booleans())
@example("ID", True)
@example("Version", False)
def test_an_unknown_key_is_always_an_error_on_its_line(key, inside):
    if key in (RULE_KEYS if inside else KEYS):
        return
    text = HEAD + RULE + f"{key} = 1\n" if inside else f"{HEAD}{key} = 1\n{RULE}"
    error = fault(text)
    assert error.line == (7 if inside else 3)
    assert "known key" in error.message


FINDINGS = 'version = 1\nmode = "enforce"\n[findings]\n'


def test_what_follows_from_findings() -> None:
    ruleset = parse((FINDINGS + 'definition-drift = "quarantine"\nnew-tool = "record"\n').encode(), "p.toml")
    assert {kind: action.name for kind, action in ruleset.findings.items()} == {
        "definition-drift": "QUARANTINE",
        "new-tool": "RECORD",
    }


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('rug-pull = "end"', "a known key"),
        ('new-tools = "end"', "new-tool"),
        ('new-tool = "block"', 'found "block"'),
        ("new-tool = true", "found true"),
        ('new-tool = "quarantin"', "quarantine"),
    ],
)
def test_an_unknown_kind_or_action_is_an_error_with_its_line(line: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse((FINDINGS + line + "\n").encode(), "p.toml")
    assert says in caught.value.sentence()
    assert caught.value.line == 4


def test_a_cedar_policy_says_what_follows_from_findings_too() -> None:
    cedar = "engine = 'cedar'\ncedar = '@id(\"a\") permit(principal,action,resource);'\n"
    text = 'version = 1\nmode = "enforce"\n' + cedar + '[findings]\nvolume = "end"\n'
    assert parse(text.encode(), "p.toml").findings["volume"].name == "END"


def test_a_project_speaks_of_its_own_connections() -> None:
    text = 'version = 1\n[findings]\nnew-tool = "{}"\n'
    assert parse_project(text.format("end").encode(), "p").findings["new-tool"].name == "END"
    for word in ("ask", "quarantine"):
        with pytest.raises(ConfigError, match="reaches beyond the folder") as caught:
            parse_project(text.format(word).encode(), "p")
        assert caught.value.line == 3


@pytest.mark.parametrize(
    "name",
    ["cert:build-agent", "spiffe://guard.example/ci", "key:k1", "jwt:https://issuer#sub", "claim:team=ops"],
)
def test_principals_that_credentials_give(name: str) -> None:
    text = f'version = 1\nmode = "enforce"\n[[rule]]\nid = "a"\nwho = ["{name}"]\ntools = ["*"]\neffect = "allow"\n'
    assert parse(text.encode(), "p").rules[0].who == (name,)


@pytest.mark.parametrize(
    "name", ["cert:", "cert:a b", "key:\u00e4", "jwt:" + "x" * 600, "Cert:a", "password:x"]
)
def test_principals_that_no_credential_gives(name: str) -> None:
    text = f'version = 1\nmode = "enforce"\n[[rule]]\nid = "a"\nwho = ["{name}"]\ntools = ["*"]\neffect = "allow"\n'
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), "p")
    assert caught.value.line == 5
