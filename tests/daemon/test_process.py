"""The daemon as a process: where it refuses to run, its lock, its loop."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mcpguard.daemon import process
from mcpguard.errors import DaemonError
from tests.lifecycle.stage import MCPGUARD, House


@pytest.mark.parametrize("above", [0o777, pytest.param(0o775, marks=pytest.mark.root)])
def test_directory_below_one_that_others_may_write_is_refused(tmp_path: Path, above: int) -> None:
    (tmp_path / "open").mkdir()
    os.chown(tmp_path / "open", -1, 65533 if above == 0o775 else os.getegid())
    (tmp_path / "open").chmod(above)
    with House() as place:
        for name in ("MCPGUARD_RUNTIME_DIR", "MCPGUARD_STATE_DIR"):
            told = subprocess.run(
                [*MCPGUARD, "daemon", "start"], env=place.env | {name: f"{tmp_path}/open/x"}, capture_output=True,
                text=True, timeout=20, check=False,
            )  # fmt: skip
            assert told.returncode == 5
            assert (
                told.stderr
                == f"mcpguard: {tmp_path}/open is writable by others: chmod go-w {tmp_path}/open\n"
            )


def test_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    with House() as place:
        place.run_dir.mkdir(mode=0o700)
        (place.run_dir / "lock").symlink_to(tmp_path / "elsewhere")
        told = place.mcpguard("daemon", "start")
        assert told.returncode == 1
        assert len(told.stderr.splitlines()) == 1
        assert not (tmp_path / "elsewhere").exists()


def test_lock_is_held_by_one(tmp_path: Path) -> None:
    first = process.take_lock(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "run.sock"))
        listener.listen()
        with pytest.raises(DaemonError, match="a daemon runs already"):
            process.take_lock(tmp_path)
    os.close(first)
    os.close(process.take_lock(tmp_path))


def test_loop_is_uvloop_unless_asked_otherwise() -> None:
    code = "from mcpguard.daemon import process; print(process._loop_factory())"
    for given, expected in (({}, "uvloop.Loop"), ({"MCPGUARD_LOOP": "asyncio"}, "None")):
        told = subprocess.run(
            [sys.executable, "-I", "-c", code], env=given, capture_output=True, text=True, check=True
        )
        assert expected in told.stdout
