"""Which calls have their arguments recorded: a key of rules, a setting for all of them, and an annotation of Cedar."""

import pytest

from mcpguard.errors import ConfigError
from mcpguard.policy.cedar import compile_cedar
from mcpguard.policy.changes import describe
from mcpguard.policy.document import parse, parse_project, parse_system
from mcpguard.policy.layers import merge
from mcpguard.policy.snapshot import compile_snapshot
from mcpguard.policy.words import members, sentence, settings

RECORDING = """\
version = 1
mode = "enforce"
{top}
[[rule]]
id = "a"
tools = ["*"]
effect = "allow"
record = "arguments"
"""


def test_arguments_are_recorded_where_any_matching_rule_says_so():
    text = RECORDING.format(top="") + '[[rule]]\nid = "b"\ntools = ["b_*"]\neffect = "deny"\n'
    snapshot = compile_snapshot(parse(text.encode(), "p.toml"), "s")
    assert snapshot.tool("x").recorded
    assert snapshot.tool("b_x").recorded
    assert (
        not compile_snapshot(parse(text.replace('record = "arguments"', "").encode(), "p.toml"), "s")
        .tool("x")
        .recorded
    )


def test_a_policy_may_say_that_no_arguments_are_recorded_and_a_system_policy_for_good():
    text = RECORDING.format(top='record = "digests"')
    assert not compile_snapshot(parse(text.encode(), "p.toml"), "s").tool("x").recorded
    system = parse_system(
        b'version = 1\nmode = "enforce"\nrecord = "digests"\nfinal = ["record"]\n', "sys.toml"
    )
    user = parse(RECORDING.format(top="").encode(), "p.toml")
    assert not compile_snapshot(merge(system, user), "s").tool("x").recorded
    with pytest.raises(ConfigError, match=r"record is final in sys\.toml"):
        merge(system, parse(RECORDING.format(top='record = "rules"').encode(), "p.toml"))


@pytest.mark.parametrize(("old", "new", "found"), [
    ('record = "arguments"', 'record = "everything"', "everything"), ("{top}", 'record = "arguments"', "arguments"),
])  # fmt: skip
def test_other_words_for_record_are_refused(old, new, found):
    text = RECORDING.replace(old, new).replace("{top}", "")
    with pytest.raises(ConfigError, match=f'found "{found}"') as caught:
        parse(text.encode(), "p.toml")
    assert "record" in caught.value.key


def test_the_file_of_a_project_does_not_say_what_is_recorded():
    text = 'version = 1\n[[rule]]\nid = "a"\ntools = ["*"]\neffect = "deny"\nrecord = "arguments"\n'
    with pytest.raises(ConfigError, match="does not say what is recorded"):
        parse_project(text.encode(), "p.toml")


def test_what_is_recorded_is_told():
    recording, silent = (
        parse(RECORDING.format(top=top).encode(), "p.toml") for top in ("", 'record = "digests"')
    )
    assert "record arguments" in sentence(recording.rules[0], "p.toml")
    assert members(recording.rules[0])["record"] == "arguments"
    assert any("record digests" in line for line in settings(silent))
    assert "record: rules -> digests" in describe(recording, silent)


def test_cedar_says_it_by_an_annotation():
    policy = '@id("a") {more} permit (principal, action, resource);'
    text = "version = 1\nmode = \"enforce\"\nengine = \"cedar\"\ncedar = '''\n%s\n'''\n"
    parsed = parse((text % policy.format(more='@record("arguments")')).encode(), "p.toml")
    assert parsed.rules[0].record == "arguments"
    assert compile_cedar(parsed, "s").tool("x").recorded
    silent = parse(
        (
            text.replace("engine", 'record = "digests"\nengine', 1)
            % policy.format(more='@record("arguments")')
        ).encode(),
        "p.toml",
    )
    assert not compile_cedar(silent, "s").tool("x").recorded
    with pytest.raises(ConfigError, match=r'expected @record\("arguments"\)'):
        parse((text % policy.format(more='@record("all")')).encode(), "p.toml")
