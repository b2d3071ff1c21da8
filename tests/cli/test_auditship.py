"""`audit ship`: one at a time, begins anew when its file changes, and ends with its standard input."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpguard.system.journal import Journal
from mcpguard.system.sinkfile import SinkFile
from tests.system.receivers import Stream, until

WORDS = [sys.executable, "-I", "-m", "mcpguard", "audit", "ship"]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    journal = Journal.open(tmp_path / "audit")
    yield tmp_path
    journal.close()


def start(state: Path, *more: str) -> subprocess.Popen[str]:
    env = {"MCPGUARD_STATE_DIR": str(state), "PATH": "/usr/bin:/bin"}
    pipe = subprocess.PIPE
    return subprocess.Popen([*WORDS, *more], env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_it_sends_follows_its_file_and_ends_with_its_input(state: Path) -> None:
    first, second = Stream(), Stream()
    file = SinkFile(state / "export")
    file.add({"name": "a", "kind": "syslog", "to": f"tcp://127.0.0.1:{first.port}"})
    process = start(state, "--supervised")
    assert until(lambda: first.messages)
    other = start(state)
    assert other.wait(20) == 1
    assert "already" in other.communicate()[1]
    file.add({"name": "b", "kind": "syslog", "to": f"tcp://127.0.0.1:{second.port}"})
    assert until(lambda: second.messages)
    assert process.poll() is None
    process.communicate(timeout=20)
    assert process.returncode == 0
    first.close()
    second.close()


def test_a_file_that_is_not_valid_is_exit_code_6(state: Path) -> None:
    (state / "export").mkdir(mode=0o700)
    (state / "export" / "export.toml").write_text("version = 9")
    process = start(state)
    assert process.wait(20) == 6
    assert "export.toml:1: version: expected 1" in process.communicate()[1]
