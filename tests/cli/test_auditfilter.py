"""The options that say which records are wanted."""

import json
import os
import subprocess
import time

import click
import pytest
from click.testing import CliRunner

from mcpguard.audit.filters import Filter
from mcpguard.cli.auditfilter import filtered, moment, unfiltered
from tests.cli.reported import busy_week
from tests.lifecycle.stage import MCPGUARD

NOW = 1_795_000_000.25  # 2026-11-18T11:06:40.25Z


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/St_Johns"])
def zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("7d", "2026-11-11T11:06:40.250000Z"), ("12h", "2026-11-17T23:06:40.250000Z"), ("90m", "2026-11-18T09:36:40.250000Z"),
        ("30s", "2026-11-18T11:06:10.250000Z"), ("2w", "2026-11-04T11:06:40.250000Z"), ("now", "2026-11-18T11:06:40.250000Z"),
        ("2026-11-18T10:00Z", "2026-11-18T10:00:00.000000Z"), ("2026-11-18T10:00:00.5+02:00", "2026-11-18T08:00:00.500000Z"),
    ],
)  # fmt: skip
def test_times_that_no_zone_changes(zone, text, utc):
    assert moment(text, NOW) == moment(text, NOW, last=True) == utc


@pytest.mark.parametrize(
    ("text", "last", "utc"),
    [
        ("2026-11-20", False, "2026-11-19T23:00:00.000000Z"),
        ("2026-11-20", True, "2026-11-20T23:00:00.000000Z"),
        ("2026-07-20", False, "2026-07-19T22:00:00.000000Z"),
        ("2026-10-25", False, "2026-10-24T22:00:00.000000Z"),
        ("2026-10-25", True, "2026-10-25T23:00:00.000000Z"),  # a day of 25 hours
        ("2026-11-20T10:00", False, "2026-11-20T09:00:00.000000Z"),
        ("2026-11-20T10:00", True, "2026-11-20T09:00:00.000000Z"),
        ("2026-11-20 10:00:30", False, "2026-11-20T09:00:30.000000Z"),
        ("yesterday", False, "2026-11-16T23:00:00.000000Z"),
        ("yesterday", True, "2026-11-17T23:00:00.000000Z"),
        ("today", False, "2026-11-17T23:00:00.000000Z"),
    ],
)
def test_local_times(berlin, text, last, utc):
    assert moment(text, NOW, last=last) == utc


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "7 d", "0d", "2026-13-01", "2026-11-31", "25:00", "noon", "9999999w",
                                  "9999-12-31", "7d\n", "١d"])  # fmt: skip
def test_what_is_no_time_is_a_sentence(text):
    told = CliRunner().invoke(asking, ["--until", text])
    assert told.exit_code == 2
    assert (
        "is no time: expected 7d, 12h, 2026-11-20, 2026-11-20T10:00, today, yesterday or now" in told.stderr
    )


@click.command()
@filtered
@click.option("--more")
def asking(asked, more):
    """Say what was asked."""
    click.echo(f"{asked.wanted!r} {asked.directory} {asked.indexed} {more}")


def test_all_options_arrive():
    told = CliRunner().invoke(asking, [
        "--host", "a", "--host", "b", "--server", "s", "--tool", "t", "--decision", "deny", "--type", "call", "--conn", "c",
        "--principal", "uid:01000", "--principal", "host:x", "--text", "y", "--no-index", "--more", "z", "/log",
    ])  # fmt: skip
    wanted = Filter(
        "", "", ("a", "b"), ("s",), ("t",), ("deny",), ("call",), ("uid:1000", "host:x"), ("c",), "y"
    )
    assert told.output == f"{wanted!r} /log False z\n"
    assert CliRunner().invoke(asking, []).output == f"{Filter()!r} None True None\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--decision", "maybe"], "'maybe' is not one of 'allow', 'deny', 'ask'"),
        (["--principal", "joe"], "'joe' is no principal: expected uid:NUMBER or host:NAME"),
        (["--principal", "uid:x"], "is no principal"),
        (["--principal", "uid:99999999999"], "is no principal"),
        (["--principal", "uid:²"], "is no principal"),
        (["--principal", "host:"], "is no principal"),
        (["--since", "1d", "--until", "2d"], "--since is not before --until"),
    ],
)
def test_unknown_values_are_a_sentence(words, sentence):
    told = CliRunner().invoke(asking, words)
    assert told.exit_code == 2
    assert sentence in told.stderr


def test_only_the_log():
    @click.command()
    @unfiltered
    def bare(asked):
        click.echo(json.dumps([str(asked.directory), asked.indexed]))

    assert CliRunner().invoke(bare, ["/x", "--no-index"]).output == '["/x", false]\n'
    assert CliRunner().invoke(bare, ["--host", "x"]).exit_code == 2


def test_a_shell_is_offered_names_from_the_index(tmp_path):
    busy_week(tmp_path / "audit")
    env = {**os.environ, "MCPGUARD_STATE_DIR": str(tmp_path)}
    words = "mcpguard audit query --server g"
    shell = {**env, "_MCPGUARD_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "4"}

    def offered() -> str:
        return subprocess.run(MCPGUARD, env=shell, capture_output=True, text=True, check=False).stdout.strip()

    assert offered() == ""
    subprocess.run([*MCPGUARD, "audit", "query", "-n", "0"], env=env, check=True)
    assert offered() == "plain,github"
