"""Who dies, how, and what the server does about it: nothing of the server is left, and everybody was told.

Every cell of the matrix runs through the real `mcpguard run`; the seven servers of a row run at the same time.
"""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mcpguard import limits
from tests.lifecycle.stage import Host, House, alive, command, gone, house, until

WITHIN = 2.0
"""Seconds after which nothing of a server may be left: the grace of an end of file is 1.3."""

SERVERS = {
    "polite": (),
    "ignores-eof": ("ignores-eof",),
    "ignores-eof-and-term": ("ignores-eof", "ignores-term"),
    "detached-child": ("detached",),
    "child-holds-stdout": ("holds-stdout",),
    "never-reads": ("never-reads",),
    "floods": ("floods",),
}
EXITS_ON_EOF = {"polite", "detached-child", "child-holds-stdout", "floods"}


@dataclasses.dataclass
class Cell:
    """One server, the host that started it, and what the host hears until the end."""

    name: str
    host: Host
    pending: list[int]
    heard: list[bytes] = dataclasses.field(default_factory=list)
    reader: threading.Thread | None = None

    @classmethod
    def begin(cls, place: House, name: str) -> "Cell":
        host = place.play(*SERVERS[name])
        if name == "never-reads":
            host.server()
            hello = {"protocolVersion": "2025-11-25", "capabilities": {}}
            return cls(name, host, [host.send("initialize", hello)])
        host.greet()
        assert "result" in host.call("echo")
        return cls(name, host, [host.calling("hang"), host.calling("hang")])

    def listen(self) -> None:
        """Read everything that comes, as hosts do."""
        self.reader = threading.Thread(target=lambda: self.heard.extend(iter(self.host.line, b"")))
        self.reader.start()

    def fate_of_pending(self) -> list[list[int]]:
        """The error codes that each pending call got, once the stream has ended."""
        if self.reader:
            self.reader.join()
        answers = [json.loads(line) for line in self.heard if b'"id"' in line]
        return [[a["error"]["code"] for a in answers if a["id"] == ident] for ident in self.pending]


def close_stdin(cell: Cell, _place: House) -> None:
    cell.host.close_stdin()


def close_both(cell: Cell, _place: House) -> None:
    cell.host.close_stdout()
    cell.host.close_stdin()


def signal_shim(number: int) -> Callable[[Cell, House], None]:
    return lambda cell, _place: os.kill(cell.host.process.pid, number)


def order(words: str) -> Callable[[Cell, House], None]:
    return lambda cell, _place: cell.host.order(words)


def kill_server(cell: Cell, _place: House) -> None:
    os.kill(cell.host.server(), signal.SIGKILL)


def signal_daemon(number: int) -> Callable[[Cell, House], None]:
    def end(cell: Cell, place: House) -> None:
        assert place.daemon
        if cell.name == "polite":  # once for all of them
            os.kill(place.daemon.pid, number)

    return end


def daemon_stop(cell: Cell, place: House) -> None:
    if cell.name == "polite":
        stopped = place.mcpguard("daemon", "stop")
        assert stopped.returncode == 0, stopped


TERM, KILL, USR1 = 128 + signal.SIGTERM, 128 + signal.SIGKILL, 128 + signal.SIGUSR1


def after_eof(name: str) -> set[int]:
    if name in EXITS_ON_EOF:
        return {0}
    return {KILL} if name == "ignores-eof-and-term" else {TERM}


def after_term(name: str) -> set[int]:
    """SIGTERM and the end of file come together: whichever the server sees first."""
    if name == "ignores-eof-and-term":
        return {KILL}
    return {TERM, 0} if name in EXITS_ON_EOF else {TERM}


def always(code: int) -> Callable[[str], set[int]]:
    return lambda _name: {code}


ENDS: dict[str, tuple[Callable[[Cell, House], None], Callable[[str], set[int]]]] = {
    "host closes stdin": (close_stdin, after_eof),
    "host closes both": (close_both, after_eof),
    "SIGTERM to shim": (signal_shim(signal.SIGTERM), after_term),
    "SIGHUP to shim": (signal_shim(signal.SIGHUP), after_term),
    "SIGKILL of shim": (signal_shim(signal.SIGKILL), always(KILL)),
    "SIGKILL of daemon": (signal_daemon(signal.SIGKILL), always(70)),
    "SIGTERM of daemon": (signal_daemon(signal.SIGTERM), after_term),
    "daemon stop": (daemon_stop, after_term),
    "server exits 0": (order("exit 0"), always(0)),
    "server exits 3": (order("exit 3"), always(3)),
    "server ends by signal": (order(f"signal {signal.SIGUSR1}"), always(USR1)),
    "SIGKILL of server": (kill_server, always(KILL)),
}
DEAF_HOST = {"host closes both"}
LOST_DAEMON = {"SIGKILL of daemon"}
ENDED_DAEMON = {"SIGKILL of daemon", "SIGTERM of daemon", "daemon stop"}
AT_ONCE = {"SIGTERM to shim", "SIGHUP to shim"}
LOOPS = [(end, "") for end in ENDS] + [
    (end, "asyncio")
    for end in ("host closes stdin", "SIGTERM to shim", "SIGTERM of daemon", "server exits 3")
]


@pytest.mark.parametrize(("end", "loop"), LOOPS)
def test_nothing_is_left_and_everybody_was_told(end: str, loop: str) -> None:
    act, codes = ENDS[end]
    wrong: dict[str, object] = {}
    with house(loop) as place:
        before = place.descriptors()
        cells = [Cell.begin(place, name) for name in SERVERS]
        for cell in cells:
            if end not in DEAF_HOST:
                cell.listen()
        for cell in cells:
            act(cell, place)
        began = time.monotonic()
        until(lambda: not any(alive(cell.host.marker) for cell in cells), WITHIN)
        for cell in cells:
            if left := alive(cell.host.marker):
                wrong[f"{cell.name}: left after {WITHIN} s"] = left
        for cell in cells:
            if (code := cell.host.wait()) not in codes(cell.name):
                wrong[f"{cell.name}: exit code"] = code
        if end in AT_ONCE and time.monotonic() - began > WITHIN:
            wrong["slow"] = time.monotonic() - began
        for cell in cells:
            fate = cell.fate_of_pending()
            told = [[50202]] * len(cell.pending)
            if end not in DEAF_HOST | LOST_DAEMON and fate != told:
                wrong[f"{cell.name}: errors for pending calls"] = fate
            if end in LOST_DAEMON and any(fate):
                wrong[f"{cell.name}: answers of a dead daemon"] = fate
        if end not in ENDED_DAEMON and not until(lambda: place.descriptors() == before, WITHIN):
            wrong["descriptors"] = (before, place.descriptors())
        if end in ENDED_DAEMON:
            assert place.daemon
            place.daemon.wait(WITHIN)
            place.serve()  # a new one goes on where the last one stopped
        verified = place.mcpguard("audit", "verify")
        if verified.returncode:
            wrong["audit verify"] = verified.stdout
    assert wrong == {}


@pytest.mark.parametrize("name", SERVERS)
def test_sigkill_of_the_host_ends_shim_and_server(name: str, tmp_path: Path) -> None:
    marker = f"m-{name}-{os.getpid()}"
    with house() as place:
        before = place.descriptors()
        shim = [
            sys.executable,
            "-I",
            "-m",
            "mcpguard",
            "run",
            "--",
            *command(tmp_path, marker, *SERVERS[name]),
        ]
        script = str(Path(__file__).with_name("host.py"))
        reads = "deaf" if name == "never-reads" else "reads"
        with subprocess.Popen(
            [sys.executable, "-I", script, reads],
            env=place.env | {"COMMAND": json.dumps(shim)}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as host:  # fmt: skip
            assert host.stdout
            assert host.stdout.readline() == b"ready\n"
            assert until(lambda: alive(marker))
            host.kill()
        assert not until_none(lambda: alive(marker, shims=True))
        assert until(lambda: place.descriptors() == before, WITHIN)
        assert place.mcpguard("audit", "verify").returncode == 0


def until_none(what: Callable[[], list[int]]) -> list[int]:
    until(lambda: not what(), WITHIN)
    return what()


@pytest.mark.parametrize("name", SERVERS)
def test_shim_ends_within_half_a_second_of_sigterm(name: str) -> None:
    """The most impatient host kills 0.5 s after its first signal; here, it does not even read."""
    with house() as place:
        cell = Cell.begin(place, name)
        if name == "floods":
            until(lambda: place.status()["connections"][0]["pid"] and time.sleep(0.3) is None)
        began = time.monotonic()
        cell.host.process.terminate()
        assert cell.host.wait() in after_term(name)
        assert time.monotonic() - began < 0.5
        assert not until_none(lambda: alive(cell.host.marker))


def test_sigint_means_nothing() -> None:
    with house() as place:
        host = place.play().greet()
        for _ in range(3):
            host.process.send_signal(signal.SIGINT)
            assert "result" in host.call("echo")
        host.close_stdin()
        assert host.wait() == 0


def test_shim_does_not_wait_for_a_daemon_that_hangs() -> None:
    with house() as place:
        assert place.daemon
        host = place.play().greet()
        place.daemon.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        host.process.terminate()
        assert host.wait() == TERM
        assert time.monotonic() - began < 1.8
        place.daemon.send_signal(signal.SIGCONT)
        assert not until_none(lambda: alive(host.marker))


def test_sigkill_of_the_daemon_loses_no_record_of_a_call_that_reached_the_server() -> None:
    with house() as place:
        assert place.daemon
        hosts = [place.play().greet() for _ in range(3)]
        readers = [threading.Thread(target=lambda h=host: list(iter(h.line, b""))) for host in hosts]
        for reader in readers:
            reader.start()
        writers = [threading.Thread(target=keep_calling, args=(host,)) for host in hosts]
        for writer in writers:
            writer.start()
        until(lambda: all(notes(host) > 50 for host in hosts))
        place.daemon.kill()
        for host, reader in zip(hosts, readers, strict=True):
            assert host.wait() == 70
            assert "the mcpguard daemon is gone" in host.errors()[-1]
            reader.join()
        for writer in writers:
            writer.join()
        assert not until_none(lambda: [pid for host in hosts for pid in alive(host.marker)])
        place.daemon.wait()
        reached = [notes(host) for host in hosts]
        place.serve()
        assert place.mcpguard("audit", "verify").returncode == 0
        calls = [r for r in place.records() if r["type"] == "call" and r.get("tool") == "note"]
        recorded = [len([r for r in calls if r["conn"].startswith(f"{n}-")]) for n in (1, 2, 3)]
        assert all(r >= n for r, n in zip(sorted(recorded), sorted(reached), strict=True)), (
            recorded,
            reached,
        )
        assert sum(reached)


def keep_calling(host: Host) -> None:
    """Call without end, and without waiting for answers."""
    with contextlib.suppress(BrokenPipeError):
        for n in range(1_000_000):
            host.calling("note", n=n)


def notes(host: Host) -> int:
    """How many calls reached the server."""
    path = host.home / "notes"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_host_that_hangs_up_behind_unread_bytes_is_noticed() -> None:
    """The server takes nothing, so the host is not read, so its end of file is not seen; and the shim lives on."""
    with house() as place:
        host = place.play("never-reads", "ignores-term")
        host.server()
        assert host.fill() > limits.QUEUE_BYTES
        os.kill(host.process.pid, signal.SIGSTOP)  # so that only its stdin can tell
        host.close_stdin()
        assert until(lambda: not alive(host.marker), 3.0)
        os.kill(host.process.pid, signal.SIGCONT)
        assert host.wait() == KILL


def test_gone_tells_zombies_from_the_living() -> None:
    child = subprocess.Popen(["true"])
    assert until(lambda: gone(child.pid))
    child.wait()
    assert gone(child.pid)
