"""The daemon as a process: what it brings along, in which order it opens its doors, and what it says if it cannot."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest


@pytest.fixture
def home():
    with tempfile.TemporaryDirectory(prefix="mcpguard-test-") as name:
        yield Path(name)


def environment(home):
    return {
        "PATH": os.environ["PATH"], "HOME": str(home),
        "MCPGUARD_RUNTIME_DIR": f"{home}/run", "MCPGUARD_STATE_DIR": f"{home}/state",
    }  # fmt: skip


@pytest.fixture
def daemon(home):
    words = [sys.executable, "-I", "-X", "importtime", "-m", "mcpguard", "daemon", "start"]
    with (
        (home / "words").open("wb") as said,
        subprocess.Popen(words, env=environment(home), stderr=said) as process,
    ):
        deadline = time.monotonic() + 30
        while not (home / "run" / "run.sock").exists():
            assert process.poll() is None, (home / "words").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process
        process.terminate()
        process.wait(30)


def test_it_brings_nothing_along_that_only_verbs_need(home, daemon):
    daemon.terminate()
    daemon.wait(30)
    imported = {line.rpartition("|")[2].strip() for line in (home / "words").read_text().splitlines()}
    assert "mcpguard.daemon.app" in imported
    assert not imported & {"click", "urllib.request", "mcpguard.cli.main", "mcpguard.cli.services"}


def test_who_reaches_the_daemon_reaches_its_control_socket(home, daemon):
    made = {name: (home / "run" / name).stat().st_ctime_ns for name in ("admin.sock", "run.sock")}
    assert made["admin.sock"] <= made["run.sock"]


@pytest.mark.parametrize("option", [[], ["--on-demand"], ["--idle", "1"]])
def test_a_second_one_says_why_it_ends(home, daemon, option):
    words = [sys.executable, "-I", "-m", "mcpguard", "daemon", "start", *option]
    done = subprocess.run(
        words, env=environment(home), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "a daemon runs already" in done.stderr
    assert "Traceback" not in done.stderr
