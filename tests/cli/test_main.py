"""Dispatch, help and exit codes of the command tree."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mcpguard.cli import main
from mcpguard.errors import ConfigError, DaemonError, GuardError, PeerError
from tests.lifecycle.stage import MCPGUARD, House


def run(*words: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MCPGUARD, *words], capture_output=True, text=True, timeout=20, check=False, **more
    )


def test_help_lists_every_verb_with_its_sentence() -> None:
    for flag in ("-h", "--help"):
        told = run(flag)
        assert told.returncode == 0
        for verb, sentence in main.VERBS.items():
            assert f"  {verb} " in told.stdout
            assert sentence in told.stdout
        assert "127 not found" in " ".join(told.stdout.split())


@pytest.mark.parametrize("verb", main.VERBS)
def test_every_verb_is_a_command_with_help(verb: str) -> None:
    assert isinstance(getattr(importlib.import_module(f"mcpguard.cli.{verb}"), verb), click.Command)
    told = run(verb, "--help")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith("Usage: mcpguard ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Usage: mcpguard"),
        (("frob",), "No such command 'frob'"),
        (("--frob",), "No such option"),
        (("status", "x"), "unexpected extra argument"),
        (("daemon", "frob"), "No such command 'frob'"),
        (("daemon", "logs", "-n", "0"), "0 is not in the range"),
        (("completion", "tcsh"), "'tcsh' is not one of"),
        (("proxy", "--", "cat"), "Missing option '--listen'"),
        (("proxy", "--listen", "/tmp/x"), "Missing argument"),
    ],
)
def test_wrong_usage_exits_2(words: tuple[str, ...], said: str) -> None:
    told = run(*words)
    assert told.returncode == 2
    assert said in told.stderr
    assert told.stdout == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x", file="f"), 6),
        (DaemonError("the mcpguard daemon is not running"), 3),
        (DaemonError("a daemon runs already"), 1),
        (PeerError("x"), 5),
        (GuardError("x"), 1),
    ],
)
def test_exit_code_says_who_must_act(error: GuardError, code: int) -> None:
    assert main.exit_code(error) == code


def test_reader_that_leaves_early_is_no_traceback() -> None:
    told = subprocess.run(
        ["/bin/sh", "-c", f"{' '.join(MCPGUARD)} --help | true"], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in told.stderr


def test_place_that_cannot_be_used_is_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("MCPGUARD_RUNTIME_DIR", "MCPGUARD_STATE_DIR"):
        with House() as place:
            env = place.env | {name: f"{tmp_path}/file/below"}
            told = run("daemon", "start", env=env)
            assert told.returncode == 1
            (sentence,) = told.stderr.splitlines()
            assert sentence.startswith("mcpguard: ")
            assert "not a directory" in sentence
            assert not os.path.exists(place.run_dir / "run.sock")


def test_ctrl_c_before_a_verb_is_even_there_is_answered_too() -> None:
    code = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'mcpguard.cli.main': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from mcpguard.cli import dispatch\n"
        "sys.exit(dispatch())\n"
    )
    told = subprocess.run(
        [sys.executable, "-I", "-c", code, "status"], capture_output=True, text=True, timeout=20, check=False
    )
    assert (told.returncode, told.stdout, told.stderr) == (130, "", "mcpguard: interrupted\n")
