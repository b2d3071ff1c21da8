"""Running npm and pip: what they get, how long they may take, and what is told of a failure."""

import os
import sys
import time
from pathlib import Path

import pytest

from mcpguard.errors import TrustError
from mcpguard.system.installer import find_program, run

PY = [sys.executable, "-I", "-c"]


def test_lines_come_and_output_is_returned(tmp_path: Path) -> None:
    lines: list[str] = []
    code = "import os, sys; print('out'); print(os.getcwd(), file=sys.stderr); print(sys.stdin.read() == '')"
    said = run([*PY, code], tmp_path, lines.append)
    assert sorted(said.splitlines()) == sorted(lines) == sorted(["out", str(tmp_path), "True"])


def test_environment_is_a_few_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "AWS_SECRET_ACCESS_KEY",
        "NODE_OPTIONS",
        "PYTHONPATH",
        "PIP_TARGET",
        "npm_config_script_shell",
    ):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("npm_config_registry", "kept")
    said = run(["/usr/bin/env"], tmp_path, lambda _: None)
    names = {line.partition("=")[0] for line in said.splitlines()}
    assert "npm_config_registry" in names
    assert "PATH" in names
    assert not names & {
        "AWS_SECRET_ACCESS_KEY",
        "NODE_OPTIONS",
        "PYTHONPATH",
        "PIP_TARGET",
        "npm_config_script_shell",
    }


def test_words_are_not_for_a_shell(tmp_path: Path) -> None:
    assert run(["/bin/echo", "$(touch x)", "; touch x", "`touch x`"], tmp_path, lambda _: None)
    assert os.listdir(tmp_path) == []


def test_failure_has_the_last_lines_in_one(tmp_path: Path) -> None:
    code = "import sys\nfor n in range(40): print('line', n)\nsys.exit(3)"
    with pytest.raises(TrustError, match=r"failed: line 28 \| line 29 .*\| line 39$") as caught:
        run([*PY, code], tmp_path, lambda _: None)
    assert "\n" not in caught.value.message
    with pytest.raises(TrustError, match="exit status 3, no output"):
        run([*PY, "raise SystemExit(3)"], tmp_path, lambda _: None)


def test_time_is_limited_and_children_end(tmp_path: Path) -> None:
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '50']); print(p.pid, flush=True); p.wait()"
    seen: list[str] = []
    began = time.monotonic()
    with pytest.raises(TrustError, match="took longer than 1 seconds"):
        run([*PY, code], tmp_path, seen.append, seconds=1)
    assert time.monotonic() - began < 10
    for _ in range(100):
        state = Path(f"/proc/{seen[0]}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child still runs")


def test_program_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrustError, match="does not start: no such file"):
        run([str(tmp_path / "none")], tmp_path, lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TrustError, match="npm is not on PATH") as caught:
        find_program("npm", "install it")
    assert caught.value.hint == "install it"
    (tmp_path / "npm").write_text("")
    (tmp_path / "npm").chmod(0o755)
    assert find_program("npm", "") == str(tmp_path / "npm")
