"""`audit unknown` on logs as a daemon leaves them. After real kills: tests/lifecycle/test_failpoints.py."""

import json

import pytest
from click.testing import CliRunner

from mcpguard.audit import record
from mcpguard.cli.audit import audit
from mcpguard.model import Side, Verdict
from mcpguard.system.journal import Journal

START = record.prefix("k3f9", {"uid": 1000, "pid": 42, "grade": "G1"}, "files")


def called(number):
    return record.call(
        START, number, record.call_tail(Side.HOST, "tools/call", "note", Verdict.ALLOW, "r"), None, 0
    )


def ended(number):
    return record.outcome(
        START, number, record.outcome_tail(Side.HOST, "tools/call", "note"), record.OK, 1, 1
    )


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("MCPGUARD_RUNTIME_DIR", str(tmp_path / "run"))
    journal = Journal.open(tmp_path / "audit")
    journal.append([called(1), called(2), ended(1)])
    journal.close()
    return tmp_path / "audit"


def run(*words):
    return CliRunner().invoke(audit, ["unknown", *words])


def test_a_call_without_an_outcome_is_listed_and_said_by_the_exit_code(log):
    done = run()
    assert done.exit_code == 7
    assert len(done.stdout.splitlines()) == 1
    assert "tools/call note" in done.stdout
    assert "1 without a known end" in done.stderr
    (call,) = json.loads(run("--json").stdout)["calls"]
    assert (call["conn"], call["id"], call["tool"]) == ("k3f9", 2, "note")


def test_none_is_said_too(log):
    whole = Journal.open(log.parent / "whole")
    whole.append([called(1), ended(1)])
    whole.close()
    done = run(str(log.parent / "whole"))
    assert (done.exit_code, done.stdout) == (0, "")
    assert "every call has its outcome" in done.stderr


def test_those_of_before_are_left_out(log):
    assert run("--since", "7d").exit_code == 7
    old = Journal.open(log.parent / "old", clock=lambda: 1_000_000_000_000_000_000)
    old.append([called(1)])
    old.close()
    assert run(str(log.parent / "old")).exit_code == 7
    assert run("--since", "7d", str(log.parent / "old")).exit_code == 0
    assert run("--since", "soon").exit_code == 2


def test_no_log_is_one_sentence(log):
    done = run(str(log.parent / "nothing"))
    assert done.exit_code == 1
    assert done.stderr.startswith("mcpguard: no audit log at ")
