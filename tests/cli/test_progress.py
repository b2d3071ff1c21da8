"""A bar where a person looks, nothing elsewhere."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from mcpguard.cli.progress import progress

CODE = """
import sys, pathlib
from mcpguard.cli.progress import progress
with progress([pathlib.Path(sys.argv[1])], "reading") as advance:
    advance(1 << 21)
    advance(1 << 21)
"""


def test_nothing_is_shown_where_nobody_looks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with progress([tmp_path / "a"], "reading") as advance:
        advance(1)
    assert capfd.readouterr() == ("", "")


def test_a_terminal_has_a_bar(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * (1 << 22))
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", CODE, str(tmp_path / "a")], stderr=theirs, check=True, timeout=30)
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert "reading" in said
    assert "100%" in said
