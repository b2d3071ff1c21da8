import json

import pytest
from click.testing import CliRunner

from mcpguard.audit import record, sealed
from mcpguard.audit.record import Record
from mcpguard.cli.audit import audit
from mcpguard.cli.auditerase import Wanted, _moment, _runs
from mcpguard.model import Side, Verdict
from mcpguard.system.argumentkeys import ArgumentKeys
from mcpguard.system.journal import Journal

TAIL = record.call_tail(Side.HOST, "tools/call", "echo", Verdict.ALLOW, "r")
RECORD = Record(
    7, "0" * 64, "2026-11-29T10:00:00.000000Z", "0" * 32, "call", {"type": "call", "host": {"host": "acme"}, "server": "files"}
)  # fmt: skip


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Two records of one host, one of another, and one that keeps nothing."""
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("MCPGUARD_RUNTIME_DIR", str(tmp_path / "run"))
    journal, keys = Journal.open(tmp_path / "audit"), ArgumentKeys(tmp_path / "audit")
    for host in ("acme", "acme", "other", ""):
        start = record.prefix("c", {"uid": 1, "host": host}, "files")
        kept = sealed.member(*keys.draw(), b'{"arguments":{"who":"me"}}') if host else b""
        journal.append([record.call(start, 1, TAIL, b"ab" * 16, 9, b"", kept)])
    keys.destroy([2])
    journal.close()
    keys.close()
    return tmp_path / "audit"


def run(*words: str):
    return CliRunner().invoke(audit, ["erase", *words])


@pytest.mark.parametrize(("words", "found"), [
    (["--host", "acme"], 1), (["--server", "files"], 2), (["--before", "2099-01-01"], 2), (["--before", "1999-01-01"], 0),
    (["--seq", "2", "--seq", "3", "--seq", "5"], 1), (["--host", "acme", "--server", "x"], 0), (["--before", "0m"], 2),
])  # fmt: skip
def test_a_dry_run_counts_what_can_still_be_read(log, words, found):
    done = run(*words, "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output) == {"v": 1, "ok": True, "found": found, "erased": 0}


def test_which_ones_must_be_said(log):
    done = run("--yes")
    assert done.exit_code == 2
    assert "say which" in done.output


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "5y", "9" * 30])
def test_what_is_no_time_is_refused(log, text):
    done = run("--before", text)
    assert done.exit_code == 2
    assert "not a time" in done.output


def test_without_a_terminal_nothing_is_erased(log):
    done = run("--host", "acme")
    assert done.exit_code == 5
    assert json.loads(run("--host", "acme", "--dry-run", "--json").output)["found"] == 1


def test_no_log_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path / "nothing"))
    done = run("--host", "acme", "--yes")
    assert done.exit_code == 1
    assert "mcpguard: " in done.output


def test_all_that_is_given_must_hold():
    assert Wanted(
        host="acme", server="files", before="2026-11-29T10:00:00.000001Z", seqs=frozenset({7})
    ).holds(RECORD)
    for wanted in (
        Wanted(host="x"), Wanted(server="x"), Wanted(before="2026-11-29T10:00:00.000000Z"), Wanted(seqs=frozenset({8})),
    ):  # fmt: skip
        assert not wanted.holds(RECORD)
    assert Wanted(host="acme", seqs=frozenset({2, 1})).words() == {"host": "acme", "seq": "1,2"}


def test_times_are_those_of_the_log():
    assert _moment("2026-11-29T10:00:00+01:00") == "2026-11-29T09:00:00.000000Z"
    assert _moment("1d") < _moment("23h") < _moment("5m")


def test_runs_of_numbers():
    assert _runs([1, 2, 3, 7, 9, 10]) == [[1, 3], [7, 7], [9, 10]]
    assert _runs([]) == []
