import os
import pty
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
    journal = Journal.open(home, clock=lambda: 1_795_000_000_123_456_789, segment_bytes=2000)
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
