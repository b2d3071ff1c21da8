"""The version, for people and for programs."""

import json
import subprocess

from mcpguard import __version__
from tests.lifecycle.stage import MCPGUARD


def test_version() -> None:
    for words in (["version"], ["--version"], ["-V"]):
        told = subprocess.run([*MCPGUARD, *words], capture_output=True, text=True, check=True)
        assert told.stdout == f"mcpguard {__version__}\n"
    told = subprocess.run([*MCPGUARD, "version", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == {"v": 1, "version": __version__}
