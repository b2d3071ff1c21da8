"""Real tools of systemd: without them on a user's machine their tests are left out, in `.ci/run` they fail."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lifecycle.stage import MCPGUARD, House, until

_WANTED = "systemd" in os.environ.get("MCPGUARD_TESTS_NEED", "")


def needs(*tools: str) -> pytest.MarkDecorator:
    """Leave a test out where a tool is missing, unless MCPGUARD_TESTS_NEED says that it has to be there."""
    missing = [name for name in tools if shutil.which(name) is None]
    return pytest.mark.skipif(
        bool(missing) and not _WANTED, reason=f"needs {', '.join(missing)} (apt install systemd)"
    )


def tool(name: str) -> str:
    """Where a tool is; fails with what to do where `needs` has not left the test out."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(
            f"{name} is not installed, and MCPGUARD_TESTS_NEED says that it is: apt-get install systemd"
        )
    return found


class Activated(House):
    """A house whose sockets `systemd-socket-activate` holds; it starts a daemon once, at the first connection."""

    def hold(self, *options: str) -> "Activated":
        """Listen, for one daemon with these options."""
        self.run_dir.mkdir(mode=0o700, exist_ok=True)
        for name in ("run", "admin"):
            (self.run_dir / f"{name}.sock").unlink(missing_ok=True)
        passed = [word for name, value in self.env.items() for word in ("-E", f"{name}={value}")]
        self.daemon = subprocess.Popen(
            [
                tool("systemd-socket-activate"), "--fdname=run:admin", *passed,
                "-l", str(self.run_dir / "run.sock"), "-l", str(self.run_dir / "admin.sock"),
                *MCPGUARD, "daemon", "start", *options,
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert until((self.run_dir / "admin.sock").exists)
        return self

    def comm(self) -> str:
        """What holds the sockets: systemd-socket-activate, or the daemon that it has become."""
        assert self.daemon
        return Path(f"/proc/{self.daemon.pid}/cmdline").read_bytes().split(b"\0")[0].decode()
