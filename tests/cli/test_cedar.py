"""The verbs of `mcpguard policy` where Cedar decides."""

import json
from pathlib import Path

import pytest

from mcpguard.policy.cedarschema import SCHEMA
from tests.cli.test_policy import TEXT, Desk
from tests.policy.cedars import PERMIT, file

CALM = '@id("late") @ask permit (principal, action, resource) when { resource.name == "deploy" && context.hour > 25 };'
NO = '@id("no") forbid (principal, action, resource) when { resource.name == "drop" };'
POLICY = file(f"{PERMIT}\n{CALM}\n{NO}")
CASES = """[[case]]
server = "s"
tool = "read"
expect = "allow"
rule = "all"
[[case]]
server = "s"
tool = "drop"
expect = "allow"
"""


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_check_apply_and_show(desk):
    path = desk.file(POLICY)
    result = desk.run("check", path, "--strict")
    assert (result.exit_code, result.stdout) == (
        0,
        f"{path}: valid, enforce, 3 Cedar policies\nzone UTC: of hours and days\n",
    ), result
    assert json.loads(desk.run("check", path, "--json").stdout)["engine"] == "cedar"
    desk.run("apply", desk.file(TEXT, "t.toml"))
    result = desk.run("apply", path)
    assert result.exit_code == 0
    assert "engine: toml -> cedar" in result.stdout
    assert "added: all (allow), late (ask), no (deny)" in result.stdout
    result = desk.run("show")
    assert f"  deny  no  {path}:8" in result.stdout
    assert json.loads(desk.run("show", "--json").stdout)["rules"][2]["cedar"]["effect"] == "forbid"


def test_what_is_wrong_is_one_sentence_and_6(desk):
    path = desk.file(
        file(f'{PERMIT}\n@id("x") permit (principal, action, resource) when {{ resource.nme == "" }};')
    )
    for verb in ("check", "apply"):
        result = desk.run(verb, path)
        assert (result.exit_code, result.stdout) == (6, "")
        assert result.stderr.startswith(
            f"mcpguard: {path}:7: cedar: it does not fit the schema: attribute `nme`"
        )
        assert result.stderr.count("\n") == 1
    assert desk.store.load() is None


def test_explain_names_the_policies(desk):
    path = desk.file(POLICY)
    result = desk.run("explain", "s", "drop", "--file", path)
    assert result.exit_code == 5
    assert f"  rule    no\n  at      {path}:8\n  reason  Cedar policy no forbids it" in result.stdout
    result = desk.run("explain", "s", "deploy", "--file", path, "--args", "{}")
    assert result.exit_code == 0
    assert "  match   allow all" in result.stdout
    assert "  near    ask   late" in result.stdout
    answer = json.loads(desk.run("explain", "s", "read", "--file", path, "--json").stdout)
    assert (answer["verdict"], [one["id"] for one in answer["matching"]]) == ("allow", ["all"])


def test_cases_are_tried(desk):
    result = desk.run("test", desk.file(CASES, "c.toml"), "--policy", desk.file(POLICY))
    assert result.exit_code == 1
    assert "expected allow, found deny: Cedar policy no forbids it" in result.stdout
    assert "2 cases, 1 failed" in result.stdout


def test_replay_says_that_it_cannot(desk):
    result = desk.run("replay", desk.file(POLICY), "--log", str(desk.home))
    assert (result.exit_code, result.stdout) == (6, "")
    assert "cannot be asked of Cedar" in result.stderr


def test_the_schema_is_printed_and_stands_in_docs(desk):
    result = desk.run("cedar-schema")
    assert (result.exit_code, result.stdout) == (0, SCHEMA)
    assert (Path(__file__).parents[2] / "docs" / "mcpguard.cedarschema").read_text() == SCHEMA
