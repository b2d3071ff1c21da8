"""The path that configurations name: absolute, ours, and the one that stays when mcpguard is upgraded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

OURS = Path(sys.executable).parent / "mcpguard"
ASK = "from mcpguard.system.program import stable_program; print(stable_program())"


def answer(home: Path, path: str = "/usr/bin:/bin", program: Path | str = sys.executable) -> str:
    """What is said to a process with this home and PATH."""
    told = subprocess.run(
        [str(program), "-c", ASK], env={"HOME": str(home), "PATH": path}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return told.stdout.rstrip("\n")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".local/bin").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    return tmp_path


def test_beside_the_interpreter_if_nothing_leads_to_it(home: Path) -> None:
    assert answer(home) == str(OURS)


def test_link_of_an_installer_is_what_is_named(home: Path) -> None:
    link = home / ".local/bin/mcpguard"
    link.symlink_to(OURS)
    assert answer(home) == str(link)


def test_link_on_the_path_is_what_is_named(home: Path) -> None:
    (home / "bin/mcpguard").symlink_to(OURS)
    assert answer(home, f"{home}/bin:/usr/bin") == f"{home}/bin/mcpguard"


def test_relative_path_becomes_absolute(home: Path) -> None:
    (home / "bin/mcpguard").symlink_to(OURS)
    told = subprocess.run(
        [sys.executable, "-c", ASK], cwd=home, env={"HOME": str(home), "PATH": "bin"}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert told.stdout == f"{home}/bin/mcpguard\n"


@pytest.mark.parametrize("mode", [0o755, 0o644])
def test_another_program_of_this_name_is_not_ours(home: Path, mode: int) -> None:
    for folder in (".local/bin", "bin"):
        other = home / folder / "mcpguard"
        other.write_text("#!/bin/sh\n")
        other.chmod(mode)
    assert answer(home, f"{home}/bin:/usr/bin") == str(OURS)


def test_link_to_nowhere_is_passed_over(home: Path) -> None:
    (home / ".local/bin/mcpguard").symlink_to("nowhere")
    assert answer(home) == str(OURS)


def test_without_a_program_the_way_to_one_is_told(home: Path) -> None:
    """An interpreter that has mcpguard on its path only, as after `pip install --target`."""
    base = os.path.realpath(sys.executable)
    code = (
        "import sys, json; sys.path[:0] = json.loads(sys.argv[1])\n"
        "from mcpguard.errors import GuardError\n"
        "from mcpguard.system.program import stable_program\n"
        "try: print(stable_program())\n"
        "except GuardError as error: print(error.sentence())\n"
    )
    told = subprocess.run(
        [base, "-c", code, json.dumps(sys.path)], env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout == (
        "mcpguard is not installed as a program: pipx install mcpguard, or uv tool install mcpguard\n"
    )
