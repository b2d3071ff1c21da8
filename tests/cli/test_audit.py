import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from mcpguard.audit import record
from mcpguard.cli.audit import audit
from mcpguard.model import Side, Verdict
from mcpguard.system.journal import Journal

ROOT = Path(__file__).parents[2]
MAIN = [sys.executable, "-c", "from mcpguard.cli.audit import audit; audit()"]
START = record.prefix("k3f9", {"uid": 1000, "pid": 42, "grade": "G1"}, "files")


def decided(tool: str, verdict: Verdict = Verdict.ALLOW, *, binding: bool = True) -> bytes:
    tail = record.call_tail(Side.HOST, "tools/call", tool, verdict, "files-read", binding=binding)
    return record.call(START, 17, tail, b"ab" * 16, 21)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path))
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    time.tzset()
    yield tmp_path / "audit"
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def log(home):
    journal = Journal.open(home, clock=lambda: 1_795_000_000_123_456_789, segment_bytes=1500)
    answer = record.outcome_tail(Side.HOST, "tools/call", "read_file")
    journal.append([record.session(START, "begin", policy="sha256:1")])
    journal.append([decided("read_file")])
    journal.append([record.outcome(START, 17, answer, record.TOOL_ERROR, 1234, 99)])
    journal.append([decided("del\x1b[2J\u202eete", Verdict.DENY, binding=False)])
    journal.append([record.drop(START, Side.SERVER, "no such id", 12)])
    journal.close()
    return home


def run(*args: str):
    return CliRunner().invoke(audit, list(args))


def test_a_missing_log_is_one_sentence(home):
    for verb in ("tail", "verify"):
        result = run(verb)
        assert result.exit_code == 1
        assert result.stderr == f"mcpguard: no audit log at {home}: nothing has been recorded yet\n"
        assert result.stdout == ""


def test_verify_says_which_promise_was_checked(log):
    result = run("verify")
    assert result.exit_code == 0
    count = len(run("tail", "-n", "1000").output.splitlines())
    assert result.output.startswith("ok\n")
    assert (
        f"records 1..{count} form one unbroken chain; the tail after the last record and a rewrite of the whole chain "
        "by the same user are not detectable without an anchor"
    ) in result.output
    found = json.loads(run("verify", "--json", str(log)).output)
    assert (found["v"], found["state"], found["records"], found["seq"]) == (1, "ok", count, count)
    assert "first_bad" not in found
    assert re.fullmatch("[0-9a-f]{64}", found["head"])


def test_verify_names_what_was_tampered_with(log):
    path = log / "audit-000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"allow"', b'"deny" '))
    result = run("verify")
    assert result.exit_code == 1
    assert f"TAMPERED: {path}:4: record 4: wrong prev: not the digest of record 3" in result.output
    found = json.loads(run("verify", "--json").output)
    assert found["state"] == "tampered"
    assert found["first_bad"] == {
        "file": path.name,
        "line": 4,
        "seq": 4,
        "problem": "wrong prev: not the digest of record 3",
    }


def test_verify_finds_a_missing_segment(log):
    (log / "audit-000001.jsonl").unlink()
    result = run("verify")
    assert result.exit_code == 1
    assert "audit-000002.jsonl:1: record" in result.output
    assert "belongs" in result.output
    assert "checked: nothing" in result.output


def test_verify_tells_a_torn_tail_apart(log):
    path = max(log.glob("audit-*"))
    path.write_bytes(path.read_bytes()[:-10])
    result = run("verify")
    assert result.exit_code == 2
    assert result.output.startswith(f"torn tail: {path}:")
    assert json.loads(run("verify", "--json").output)["state"] == "torn"


def test_a_torn_line_in_an_older_segment_is_tampering(log):
    path = log / "audit-000001.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    result = run("verify")
    assert result.exit_code == 1
    assert "the log goes on after it" in result.output


def on_a_terminal(args: list[str], **environ: str) -> str:
    main, side = pty.openpty()
    env = {
        key: value
        for key, value in os.environ.items()
        if key not in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE")
    }
    subprocess.run(
        [*MAIN, *args],
        stdout=side,
        stderr=side,
        cwd=ROOT,
        env={**env, "TERM": "xterm", **environ},
        check=False,
    )
    os.close(side)
    seen = b""
    try:
        while chunk := os.read(main, 65536):
            seen += chunk
    except OSError:
        pass  # Linux ends a terminal whose other side is closed with EIO
    os.close(main)
    return seen.decode()


def test_progress_is_for_terminals(log):
    assert "verifying" in on_a_terminal(["verify", str(log)])
    assert "verifying" not in run("verify").output
