"""Completion scripts that the shells themselves accept."""

import os
import shutil
import subprocess

import pytest

from tests.lifecycle.stage import MCPGUARD


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_for_this_shell(shell: str) -> None:
    told = subprocess.run([*MCPGUARD, "completion", shell], capture_output=True, text=True, check=True)
    assert "_MCPGUARD_COMPLETE" in told.stdout
    if path := shutil.which(shell):
        subprocess.run([path, "-n"], input=told.stdout, text=True, check=True)


def test_shell_is_offered_the_verbs() -> None:
    env = {
        **os.environ,
        "_MCPGUARD_COMPLETE": "bash_complete",
        "COMP_WORDS": "mcpguard st",
        "COMP_CWORD": "1",
    }
    told = subprocess.run(MCPGUARD, env=env, capture_output=True, text=True, check=False)
    assert "plain,status" in told.stdout
