"""`mcpguard policy test` and what `explain` says of one request."""

import json
from xml.etree import ElementTree as ET

import pytest

from tests.cli.test_policy import Desk

POLICY = """version = 1
mode = "enforce"
[[rule]]
id = "mine"
tools = ["read"]
effect = "allow"
args.path = { under = ["/srv"] }
[[rule]]
id = "asks"
resources = ["file:///srv/**"]
effect = "ask"
confirm = "presence"
"""
CASES = """[[case]]
name = "good"
server = "s"
tool = "read"
args = { path = "/srv/x" }
expect = "allow"
rule = "mine"

[[case]]
name = "bad \\u202e"
server = "s"
tool = "read"
args = { path = "/etc/x" }
expect = "allow"
"""


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_cases_that_fail_are_named_with_their_line(desk):
    result = desk.run("test", desk.file(CASES, "c.toml"), "--policy", desk.file(POLICY))
    assert (result.exit_code, result.stderr) == (1, "")
    first, last = result.stdout.splitlines()
    assert first.startswith(f"{desk.home}/c.toml:9: bad \\u202e: expected allow, found deny: ")
    assert last == f"2 cases, 1 failed ({desk.home}/p.toml)"


def test_all_as_expected_is_0_and_the_policy_in_force_is_the_one_that_is_tested(desk):
    cases = desk.file(CASES.partition("\n\n")[0], "c.toml")
    result = desk.run("test", cases)
    assert (result.exit_code, "no policy is applied" in result.stderr) == (6, True)
    desk.run("apply", desk.file(POLICY))
    assert desk.run("test", cases).exit_code == 0


def test_reports_for_build_servers(desk):
    report = desk.home / "r.xml"
    result = desk.run(
        "test", desk.file(CASES, "c.toml"), "--policy", desk.file(POLICY), "--junit", str(report)
    )
    assert result.exit_code == 1
    suite = ET.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    good, bad = suite.findall("testcase")
    assert (good.get("name"), good.find("failure")) == ("good", None)
    assert bad.get("name") == "bad \\u202e"
    assert "expected allow" in bad.find("failure").get("message")
    answer = json.loads(
        desk.run("test", desk.file(CASES, "c.toml"), "--policy", desk.file(POLICY), "--json").stdout
    )
    assert (answer["ok"], [case["ok"] for case in answer["cases"]]) == (False, [True, False])


def test_bad_files_are_6_with_a_sentence(desk):
    for cases, words in (("[[case]]\n", "server"), ("x", "expected TOML")):
        result = desk.run("test", desk.file(cases, "c.toml"), "--policy", desk.file(POLICY))
        assert (result.exit_code, words in result.stderr) == (6, True)
    uri = '[[case]]\nserver = "s"\nmethod = "resources/read"\ntarget = "file:///%2e%2e/x"\nexpect = "deny"\n'
    result = desk.run("test", desk.file(uri, "c.toml"), "--policy", desk.file(POLICY))
    assert (result.exit_code, "a URI encodes" in result.stderr) == (6, True)
    result = desk.run(
        "test", desk.file(CASES, "c.toml"), "--policy", desk.file(POLICY), "--junit", "/no/where"
    )
    assert (result.exit_code, "the report cannot be written" in result.stderr) == (6, True)


# --- explain --------------------------------------------------------------------------------------------


def test_one_request_is_explained_with_what_nearly_matched(desk):
    file = desk.file(POLICY)
    result = desk.run("explain", "s", "read", "--args", '{"path": "/etc/passwd"}', "--file", file)
    assert result.exit_code == 5
    assert "rule mine would match if args.path were under /srv" in result.stdout
    result = desk.run("explain", "s", "read", "--args", '{"path": "/srv/x"}', "--file", file)
    assert (result.exit_code, result.stdout.splitlines()[1]) == (0, "  rule    mine")


def test_a_target_is_brought_into_its_normal_form_and_a_question_is_no_yes(desk):
    file = desk.file(POLICY)
    result = desk.run(
        "explain", "s", "resources/read", "--target", "FILE:///srv/a/../b", "--file", file, "--json"
    )
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["verdict"], answer["target"], answer["confirm"]) == (
        5, "ask", "file:///srv/b", "presence",
    )  # fmt: skip
    assert desk.run("explain", "s", "resources/read", "--target", "no", "--file", file).exit_code == 2
    assert desk.run("explain", "s", "read", "--at", "noon", "--file", file).exit_code == 2


def test_check_tells_what_does_nothing(desk):
    file = desk.file(POLICY + '[[rule]]\nid = "no"\ntools = ["*"]\neffect = "deny"\n')
    result = desk.run("check", file)
    assert result.exit_code == 0
    assert f"note: {file}:3: rule mine: it changes nothing: rule no at {file}:13 decides" in result.stdout
    assert desk.run("check", file, "--strict").exit_code == 6
    assert json.loads(desk.run("check", file, "--json").stdout)["notices"][0]["rule"] == "mine"
    assert desk.run("check", "--strict", desk.file(POLICY)).exit_code == 0
