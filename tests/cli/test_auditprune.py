import json
import time

import pytest
from click.testing import CliRunner

from mcpguard.cli.audit import audit
from mcpguard.system import journalfiles
from mcpguard.system.journal import Journal
from tests.cli.test_audit import decided

HOUR = 3600 * 10**9


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path))
    hours = iter(range(240, 0, -4))  # ten days, until now
    journal = Journal.open(
        tmp_path / "audit", segment_bytes=1500, clock=lambda: time.time_ns() - next(hours) * HOUR
    )
    for n in range(50):
        journal.append([decided(f"tool{n}")])
    journal.close()
    return tmp_path / "audit"


def run(*args: str):
    return CliRunner().invoke(audit, list(map(str, args)))


def test_a_dry_run_says_and_deletes_nothing(log):
    before = journalfiles.segments(log)
    result = run("prune", "--keep", "5d", "--dry-run")
    assert result.exit_code == 0
    assert result.output.startswith("would delete ")
    assert journalfiles.segments(log) == before
    said = json.loads(run("prune", "--keep", "5d", "--dry-run", "--json").output)
    assert said["dry_run"] is True
    assert said["last_deleted"] == 0
    assert said["segments"][0] == "audit-000001.jsonl"


def test_what_is_too_old_goes(log):
    said = json.loads(run("prune", "--keep", "5d", "--json").output)
    assert len(said["segments"]) > 3
    left = [path.name for path in journalfiles.segments(log)]
    assert not set(said["segments"]) & set(left)
    verified = json.loads(run("verify", "--json").output)
    assert verified["state"] == "ok"
    assert verified["records"] == verified["seq"] - said["last_deleted"]
    result = run("prune", "--keep", "5d")
    assert (result.exit_code, result.output) == (0, "nothing to delete\n")


def test_a_limit_in_bytes_holds(log):
    assert "deleted" in run("prune", "--limit", "6KiB").output
    assert sum(path.stat().st_size for path in journalfiles.segments(log)) <= 6144


def test_a_tampered_log_is_kept(log):
    path = journalfiles.segments(log)[0]
    path.write_bytes(path.read_bytes().replace(b"tool1", b"tool2"))
    before = journalfiles.segments(log)
    result = run("prune", "--limit", "1KiB")
    assert result.exit_code == 1
    assert "the log does not verify" in result.stderr
    assert journalfiles.segments(log) == before


@pytest.mark.parametrize(
    "args", [(), ("--keep", "5"), ("--keep", "-1d"), ("--limit", "many"), ("--limit", "0")]
)
def test_what_cannot_be_meant_is_a_usage_error(log, args):
    assert run("prune", *args).exit_code == 2


def test_no_log_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path))
    result = run("prune", "--keep", "1d")
    assert result.exit_code == 1
    assert "no audit log" in result.stderr
