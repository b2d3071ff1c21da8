"""The units of a user with a real `systemd --user`, which runs in a mount namespace of its own, below no login.

Rule: it knows no unit but ours and a handful of empty targets. A manager that starts what a distribution has, in a
namespace that shares a folder with the machine, does to that folder what it does at boot: `systemd-tmpfiles` empties
/tmp.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.managers import needs, tool
from tests.lifecycle.stage import MCPGUARD, Host, alive, command, until

pytestmark = [pytest.mark.root, needs("systemd-analyze", "unshare", "nsenter")]
SYSTEMD = "/lib/systemd/systemd"
UNITS = Path("/usr/lib/systemd/user")
KNOWN = (
    "basic.target",
    "sockets.target",
    "default.target",
    "shutdown.target",
    "exit.target",
    "systemd-exit.service",
)
STAGE = (
    "set -e; mount -t tmpfs none /run; mkdir -p /run/systemd/system /run/user/0; chmod 700 /run/user/0; "
    f"exec {SYSTEMD} --user --log-target=console"
)


class Login:
    """A user with a manager, but without a session."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="g"))
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": "/run/user/0",
            "SYSTEMD_LOG_LEVEL": "info",
            "SYSTEMD_UNIT_PATH": f"{self.home}/.config/systemd/user:{self.home}/known",  # and nothing else
        }
        (self.home / "known").mkdir()
        for name in KNOWN:
            (self.home / "known" / name).symlink_to(UNITS / name)
        self.log = (self.home / "manager.log").open("wb")
        self.manager = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", STAGE],
            env=self.env, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.hosts: list[Host] = []

    def inside(self, *words: str) -> list[str]:
        """A command where the manager is."""
        return ["nsenter", f"--mount=/proc/{self.manager.pid}/ns/mnt", f"--wd={self.home}", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.inside(*words), env=self.env, capture_output=True, text=True, timeout=60, check=False
        )

    def mcpguard(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(*MCPGUARD, *words)

    def systemctl(self, *words: str) -> str:
        told = self.run("systemctl", "--user", *words)
        return told.stdout.strip()

    def answers(self) -> bool:
        return bool(self.systemctl("show", "--property=Version", "--value"))

    def play(self) -> Host:
        """A host with a server that echoes."""
        home, marker = self.home / f"play{len(self.hosts)}", f"mark-{len(self.hosts)}-{os.getpid()}"
        home.mkdir()
        host = Host(self.inside(*MCPGUARD, "run", "--name", "play", "--", *command(home, marker)), self.env)
        host.home, host.marker = home, marker
        self.hosts.append(host)
        return host

    def status(self) -> dict[str, Any]:
        told = self.mcpguard("status", "--json")
        assert told.returncode == 0, told
        found: dict[str, Any] = json.loads(told.stdout)
        return found

    def close(self) -> None:
        for host in self.hosts:
            host.close()
        self.manager.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.manager.wait(20)
        self.manager.kill()
        self.manager.wait()
        self.log.close()
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.fixture
def login() -> Iterator[Login]:
    tool("systemd-analyze")
    found = Login()
    try:
        assert until(found.answers, 20), (found.home / "manager.log").read_text()
        yield found
    finally:
        found.close()


@pytest.mark.skipif(
    not Path(SYSTEMD).exists() and "MCPGUARD_TESTS_NEED" not in os.environ, reason="needs systemd"
)
def test_init_makes_a_service_once_and_says_its_undo(login: Login) -> None:
    told = login.mcpguard("init", "--yes")
    assert told.returncode == 0, told
    assert "undo everything: mcpguard daemon uninstall\n" in told.stdout
    assert login.systemctl("is-enabled", "mcpguard.socket", "mcpguard-admin.socket") == "enabled\nenabled"
    assert login.systemctl("is-active", "mcpguard.service") == "active"  # it was tried
    assert "service" not in login.mcpguard("init", "--yes").stdout
    found = json.loads(login.mcpguard("doctor", "--json").stdout)["findings"]
    assert [one["level"] for one in found if one["check"] == "service"] == ["ok"]
    gone = login.mcpguard("daemon", "uninstall")
    assert gone.returncode == 0, gone
    assert login.mcpguard("daemon", "status").returncode == 3


@pytest.mark.skipif(
    not Path(SYSTEMD).exists() and "MCPGUARD_TESTS_NEED" not in os.environ, reason="needs systemd"
)
def test_service_of_a_user_from_install_to_uninstall(login: Login) -> None:
    assert login.mcpguard("daemon", "status").returncode == 3
    told = login.mcpguard("daemon", "install")
    assert told.returncode == 0, told
    assert told.stdout.count("written  ") == 3
    assert told.stdout.count("done  ") == 2
    again = login.mcpguard("daemon", "install")
    assert again.returncode == 0, again
    assert again.stdout.count("as it is") == 3
    assert login.mcpguard("daemon", "status").returncode == 0
    assert login.systemctl("is-active", "mcpguard.service") == "inactive"
    assert login.systemctl("is-enabled", "mcpguard.socket", "mcpguard-admin.socket") == "enabled\nenabled"

    host = login.play().greet()  # the first connection starts it
    assert "result" in host.call("echo")
    main = int(login.systemctl("show", "--property=MainPID", "--value", "mcpguard.service"))
    assert login.status()["pid"] == main
    assert login.status()["paths"]["runtime"] == "/run/user/0/mcpguard"
    shown = login.systemctl("show", "--property=StatusText", "--value", "mcpguard.service")
    assert shown == "policy observe, 0 rules"

    (login.home / "p.toml").write_text(
        'version = 1\nmode = "enforce"\nunpinned = "allow"\n[[rule]]\nid = "e"\ntools = ["echo"]\neffect = "allow"\n'
    )
    assert login.mcpguard("policy", "apply", "p.toml").returncode == 0
    assert login.run("systemctl", "--user", "reload", "mcpguard.service").returncode == 0
    assert until(
        lambda: (
            login.systemctl("show", "--property=StatusText", "--value", "mcpguard.service")
            == "policy enforce, 1 rule"
        )
    )
    assert "error" in host.call("note", n=1)
    assert login.status()["pid"] == main

    os.kill(main, signal.SIGKILL)  # it comes back, and the connection was closed, not let through
    assert host.wait() == 70
    assert until(lambda: alive(host.marker) == [])
    host = login.play().greet()
    assert "result" in host.call("echo")
    assert login.status()["pid"] != main

    stopped = login.mcpguard("daemon", "stop")
    assert stopped.returncode == 0, stopped
    assert host.wait() in (0, 143)
    assert until(lambda: login.systemctl("is-active", "mcpguard.service") == "inactive")
    host = login.play().greet()
    assert "result" in host.call("echo")

    gone = login.mcpguard("daemon", "uninstall")
    assert gone.returncode == 0, gone
    assert host.wait() in (0, 143), (host.errors(), (login.home / "manager.log").read_text())
    assert alive(host.marker) == []
    assert list((login.home / ".config/systemd/user").rglob("mcpguard*")) == []
    assert login.run("test", "-e", "/run/user/0/mcpguard/run.sock").returncode == 1
    assert login.mcpguard("daemon", "status").returncode == 3


def test_daemon_on_demand_makes_room_if_it_has_nothing_to_do(login: Login) -> None:
    host = login.play().greet()
    refused = login.mcpguard("daemon", "install")
    assert refused.returncode == 1
    assert "a daemon started on demand has 1 connection" in refused.stderr
    assert not (login.home / ".config/systemd/user/mcpguard.socket").exists()
    host.close_stdin()
    assert host.wait() == 0
    before = login.status()["pid"]
    assert until(lambda: login.status()["connections"] == [])
    told = login.mcpguard("daemon", "install")
    assert told.returncode == 0, told
    host = login.play().greet()
    assert "result" in host.call("echo")
    assert login.status()["pid"] != before
    assert login.systemctl("is-active", "mcpguard.service") == "active"


def test_daemon_that_stalls_is_replaced_by_the_watchdog(login: Login) -> None:
    assert login.mcpguard("daemon", "install").returncode == 0
    drop = login.home / ".config/systemd/user/mcpguard.service.d"
    drop.mkdir()
    (drop / "soon.conf").write_text("[Service]\nWatchdogSec=3\nWatchdogSignal=SIGKILL\n")
    assert login.run("systemctl", "--user", "daemon-reload").returncode == 0
    host = login.play().greet()
    main = login.status()["pid"]
    time.sleep(4.5)
    assert login.status()["pid"] == main  # fed
    os.kill(main, signal.SIGSTOP)
    assert host.wait() == 70
    assert until(
        lambda: (
            login.systemctl("show", "--property=MainPID", "--value", "mcpguard.service")
            not in ("0", str(main))
        )
    )
    assert "result" in login.play().greet().call("echo")
