"""`run` in the command tree is the shim, whichever way it is reached."""

import subprocess
import sys

import pytest

from mcpguard.cli import shim
from tests.lifecycle.stage import house

WAYS = {
    "module": [sys.executable, "-I", "-m", "mcpguard", "run"],
    "tree": [
        sys.executable,
        "-I",
        "-c",
        "import sys; from mcpguard.cli.main import main; sys.exit(main())",
        "run",
    ],
}


@pytest.mark.parametrize("way", WAYS)
def test_help_is_the_shims(way: str) -> None:
    told = subprocess.run([*WAYS[way], "--help"], capture_output=True, text=True, check=True)
    assert told.stdout == shim.USAGE


@pytest.mark.parametrize("way", WAYS)
def test_exit_code_is_the_servers(way: str) -> None:
    with house() as place:
        for words, code in ((["true"], 0), (["sh", "-c", "exit 7"], 7), (["no-such-command"], 127)):
            told = subprocess.run(
                [*WAYS[way], "--", *words], env=place.env, stdin=subprocess.PIPE, capture_output=True, timeout=20,
                check=False,
            )  # fmt: skip
            assert told.returncode == code, told
    told = subprocess.run([*WAYS[way], "--frob"], capture_output=True, check=False)
    assert told.returncode == 2
