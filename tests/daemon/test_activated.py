"""A daemon on sockets of a service manager: real `systemd-socket-activate`, real shims, real servers."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mcpguard.daemon import process
from mcpguard.errors import DaemonError
from mcpguard.system.policystore import PolicyStore
from tests.fakes.managers import Activated, needs
from tests.lifecycle.stage import MCPGUARD, House, alive, house, until

activated = needs("systemd-socket-activate")
ALLOW = 'version = 1\nmode = "enforce"\nunpinned = "allow"\n[[rule]]\nid = "{0}"\ntools = ["{0}"]\neffect = "allow"\n'


@activated
@pytest.mark.parametrize("loop", ["", "asyncio"])
def test_first_server_starts_the_daemon_and_the_sockets_stay_when_it_ends(loop: str) -> None:
    with Activated(loop) as place:
        place.hold()
        assert place.daemon
        assert place.comm().endswith("systemd-socket-activate")
        host = place.play().greet()
        assert "result" in host.call("echo")
        assert place.pid() == place.daemon.pid  # it is what was activated, and no daemon on demand
        host.close_stdin()
        assert host.wait() == 0
        assert alive(host.marker) == []
        stopped = place.mcpguard("daemon", "stop")
        assert stopped.returncode == 0, stopped
        assert place.daemon.wait(10) == 0
        assert (place.run_dir / "run.sock").exists()
        assert (place.run_dir / "admin.sock").exists()


@activated
def test_many_hosts_at_once_start_one_daemon() -> None:
    with Activated() as place:
        place.hold()
        assert place.daemon
        hosts = [place.play() for _ in range(12)]
        for host in hosts:
            assert "result" in host.greet().call("echo")
        assert place.status()["pid"] == place.daemon.pid
        assert len(place.status()["connections"]) == 12
        for host in hosts:
            host.close_stdin()
            assert host.wait() == 0
        assert not any(alive(host.marker) for host in hosts)


@activated
def test_idle_daemon_ends_and_the_next_server_starts_another() -> None:
    """The test holds the sockets as a service manager does, and starts a daemon whenever somebody connects."""
    with House() as place:
        place.run_dir.mkdir(mode=0o700)
        socks = []
        for name in ("run", "admin"):
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(str(place.run_dir / f"{name}.sock"))
            sock.listen(4096)
            socks.append(sock)
        daemons = []

        def start() -> subprocess.Popen[bytes]:
            code = (
                "import os, sys; run, admin = map(int, sys.argv[1:3]); os.dup2(run, 103); os.dup2(admin, 104)\n"
                "os.dup2(103, 3); os.dup2(104, 4); os.closerange(5, 200)\n"
                "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES='run:admin')\n"
                "os.execv(sys.argv[3], sys.argv[3:])"
            )
            numbers = [sock.fileno() for sock in socks]
            words = [*map(str, numbers), *MCPGUARD, "daemon", "start", "--idle", "1"]
            daemons.append(
                subprocess.Popen(
                    [sys.executable, "-c", code, *words],
                    env=place.env,
                    pass_fds=numbers,
                    stderr=subprocess.PIPE,
                )
            )
            return daemons[-1]

        try:
            for n in (1, 2, 3):
                host = place.play()  # it waits in the queue, and comes back until a daemon is there
                time.sleep(0.2)
                daemon = start()
                assert "result" in host.greet().call("echo", n=n)
                assert place.pid() == daemon.pid
                host.close_stdin()
                assert host.wait() == 0
                assert daemon.wait(20) == 0
                assert daemon.stderr
                assert b"nothing to do for 1 seconds" in daemon.stderr.read()
                assert (place.run_dir / "run.sock").exists()
                assert alive(host.marker) == []
        finally:
            for each in daemons:
                each.kill()
                each.wait()
                assert each.stderr
                each.stderr.close()
            for sock in socks:
                sock.close()


@activated
def test_sockets_at_another_place_than_shims_look_are_refused() -> None:
    with Activated() as place:
        place.env["MCPGUARD_RUNTIME_DIR"] = str(place.root / "other")
        place.hold()
        with place.connect("run.sock"):
            assert place.daemon
            assert place.daemon.wait(20) == 1
        assert place.daemon.stderr
        assert "where nobody looks for it" in place.daemon.stderr.read()


def test_lock_of_another_daemon_is_waited_for_on_sockets_that_were_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That its own socket answers says nothing: only the lock does."""
    monkeypatch.setattr(process, "_LOCK_SECONDS", 0.3)
    first = process.take_lock(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "run.sock"))
        listener.listen()
        began = time.monotonic()
        with pytest.raises(DaemonError, match="a daemon runs already"):
            process.take_lock(tmp_path, handed=True)
        assert time.monotonic() - began >= 0.3
        os.close(first)
        os.close(process.take_lock(tmp_path, handed=True))


# --- what the manager is told, and asks ------------------------------------------------------------------


class Heard(House):
    """A house with a manager that listens to its daemon."""

    def listen(self) -> "Heard":
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(self.root / "notify"))
        self.sock.settimeout(20)
        self.env |= {"NOTIFY_SOCKET": str(self.root / "notify"), "WATCHDOG_USEC": "2000000"}
        return self

    def told(self, *but: str) -> str:
        """The next thing that is said, other than the watchdog's food."""
        while (said := self.sock.recv(1000).decode()) == "WATCHDOG=1":
            pass
        return said

    def __exit__(self, *rest: object) -> None:
        super().__exit__(*rest)
        self.sock.close()


def test_manager_hears_the_beginning_the_watchdog_a_reload_and_the_end() -> None:
    with Heard() as place:
        place.listen().serve()
        assert place.daemon
        assert place.told() == "READY=1\nSTATUS=policy observe, 0 rules"
        for _ in range(2):
            assert place.sock.recv(100) == b"WATCHDOG=1"
        host = place.play().greet()
        assert "result" in host.call("note", n=1)
        PolicyStore(place.state / "policy").apply(ALLOW.format("echo").encode(), "by hand")
        place.daemon.send_signal(signal.SIGHUP)
        assert place.told().startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert place.told() == "READY=1\nSTATUS=policy enforce, 1 rule"
        assert "result" in host.call("echo")
        assert "Unknown tool" in host.call("note", n=2)["error"]["message"]
        digest = place.status()["policy"]["digest"]
        assert [record["new"] for record in place.records() if record["type"] == "policy"] == [digest]
        place.daemon.send_signal(signal.SIGHUP)  # nothing is new, and nothing is written
        assert place.told().startswith("RELOADING=1")
        assert place.told().startswith("READY=1")
        assert len([record for record in place.records() if record["type"] == "policy"]) == 1
        place.daemon.terminate()
        assert place.told() == "STOPPING=1"
        assert place.daemon.wait(20) == 0


def test_reload_of_a_damaged_policy_changes_nothing_and_is_said() -> None:
    with Heard() as place:
        place.listen().serve()
        assert place.daemon
        place.policy(ALLOW.format("echo"))
        host = place.play().greet()
        (place.state / "policy" / "active.json").write_text("{")
        place.told()
        place.daemon.send_signal(signal.SIGHUP)
        assert place.told().startswith("RELOADING=1")
        assert place.told() == "READY=1\nSTATUS=policy enforce, 1 rule"
        assert "result" in host.call("echo")
        assert "error" in host.call("note", n=1)
        place.daemon.terminate()
        assert "the policy stays as it was" in place.daemon.communicate()[1]


def test_stalled_daemon_does_not_feed_the_watchdog() -> None:
    with Heard() as place:
        place.listen().serve()
        assert place.daemon
        place.told()
        assert place.sock.recv(100) == b"WATCHDOG=1"
        place.daemon.send_signal(signal.SIGSTOP)
        place.sock.settimeout(3)
        with pytest.raises(TimeoutError):
            list(iter(lambda: place.sock.recv(100), b""))
        place.daemon.send_signal(signal.SIGCONT)
        place.sock.settimeout(20)
        assert place.sock.recv(100) == b"WATCHDOG=1"


def test_hangup_without_a_manager_ends_the_daemon_as_ever() -> None:
    before = signal.signal(
        signal.SIGHUP, signal.SIG_DFL
    )  # whoever runs the tests may ignore it, and so would children
    try:
        with house() as place:
            assert place.daemon
            place.daemon.send_signal(signal.SIGHUP)
            assert place.daemon.wait(20) == -signal.SIGHUP
            assert until(lambda: not place.answers())
    finally:
        signal.signal(signal.SIGHUP, before)
