"""`mcpguard daemon`: start, stop, logs."""

import signal
import subprocess
import time

import pytest

from tests.lifecycle.stage import MCPGUARD, House, alive, gone, house, until


def test_second_daemon_exits_1_with_a_sentence() -> None:
    with house() as place:
        for more in ((), ("--on-demand",)):
            second = place.mcpguard("daemon", "start", *more)
            assert second.returncode == 1
            assert second.stderr == "mcpguard: a daemon runs already: mcpguard status\n"
        assert place.answers()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("loop", ["", "asyncio"])
def test_signal_ends_it_and_leaves_nothing_behind(number: int, loop: str) -> None:
    with house(loop) as place:
        assert place.daemon
        host = place.play().greet()
        place.daemon.send_signal(number)
        assert place.daemon.wait(10) == 0
        assert host.wait() in (0, 143)
        assert "mcpguard: the daemon ends" in host.errors()
        assert alive(host.marker) == []
        assert sorted(path.name for path in place.run_dir.iterdir()) == ["lock"]


def test_stop_waits_for_the_end() -> None:
    with house() as place:
        assert place.daemon
        hosts = [place.play().greet() for _ in range(2)]
        stopped = place.mcpguard("daemon", "stop")
        assert (stopped.returncode, stopped.stdout) == (0, "stopped; closed 2 connections\n")
        assert place.daemon.wait(5) == 0
        assert not any(alive(host.marker) for host in hosts)
        again = place.mcpguard("daemon", "stop")
        assert again.returncode == 3
        assert (
            again.stderr == "mcpguard: the mcpguard daemon is not running: the first mcpguard run starts it\n"
        )


def test_on_demand_daemon_ends_when_idle_and_logs_to_a_file() -> None:
    with House() as place:
        process = subprocess.Popen(
            [*MCPGUARD, "daemon", "start", "--on-demand", "--idle", "0.5"],
            env=place.env,
            stderr=subprocess.PIPE,
        )
        assert until(place.answers)
        host = place.play().greet()
        time.sleep(2.5)  # two ticks: a connection is no idleness
        assert "result" in host.call("echo")
        host.close_stdin()
        assert host.wait() == 0
        assert process.wait(10) == 0
        assert process.communicate()[1] == b""
        told = place.mcpguard("daemon", "logs")
        assert "serves at" in told.stdout
        assert "nothing to do for" in told.stdout
        assert len(place.mcpguard("daemon", "logs", "-n", "1").stdout.splitlines()) == 1


def test_logs_show_nothing_that_steers_a_terminal() -> None:
    with House() as place:
        empty = place.mcpguard("daemon", "logs")
        assert (empty.returncode, empty.stdout) == (0, "")
        assert "no log yet" in empty.stderr
        place.state.mkdir(mode=0o700)
        (place.state / "daemon.log").write_bytes(b"one \x1b[2J \xe2\x80\xae \xff\n")
        assert place.mcpguard("daemon", "logs").stdout == "one \\x1b[2J \\u202e \ufffd\n"


def test_daemon_that_was_killed_is_replaced() -> None:
    with house() as place:
        assert place.daemon
        place.daemon.kill()
        place.daemon.wait()
        assert (place.run_dir / "run.sock").exists()
        host = place.play().greet()
        assert "result" in host.call("echo")
        pid = place.pid()
        place.daemon.pid = pid  # what is ended with the house
        assert place.mcpguard("daemon", "stop").returncode == 0
        assert until(lambda: gone(pid))
