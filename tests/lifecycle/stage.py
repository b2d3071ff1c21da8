"""What the stories of these rooms are played on: a private home, a real daemon, raw hosts, servers with manners."""

import array
import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

from mcpguard import __version__

VERSION = __version__.encode()
PYTHON = os.path.realpath(sys.executable)
MCPGUARD = [sys.executable, "-I", "-m", "mcpguard"]
SERVER = str(Path(__file__).with_name("server.py"))
SECONDS = 20.0
"""Patience with anything that has no bound of its own; only a failing test waits this long."""

T = TypeVar("T")


def until(what: Callable[[], T], seconds: float = SECONDS) -> T:
    """Ask until the answer is true, and give it; or the last one when the time is over."""
    deadline = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return found


def alive(marker: str, *, shims: bool = False) -> list[int]:
    """Processes with the marker in their command line; zombies have none. The shim itself counts if asked for."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if marker.encode() in words and (shims or b"mcpguard" not in words):
            found.append(int(name))
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended, a zombie included."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


class House:
    """A private HOME with a runtime directory whose path is short, and the daemon that belongs to it."""

    def __init__(self, loop: str = "") -> None:
        self.root = Path(tempfile.mkdtemp(prefix="g"))
        self.run_dir, self.state = self.root / "run", self.root / "state"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "MCPGUARD_RUNTIME_DIR": str(self.run_dir),
            "MCPGUARD_STATE_DIR": str(self.state),
            **({"MCPGUARD_LOOP": loop} if loop else {}),
        }
        self.hosts: list[Host] = []
        self.daemon: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            host.close()
        with contextlib.suppress(OSError, ValueError, KeyError):
            pid = self.daemon.pid if self.daemon else self.pid()
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGTERM)
            if self.daemon:
                self.daemon.wait(SECONDS)
            until(lambda: gone(pid))
        if self.daemon and self.daemon.stderr:
            self.daemon.stderr.close()
        subprocess.run(["umount", "-ql", str(self.state)], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.root, ignore_errors=True)

    def mcpguard(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        return subprocess.run(
            [*MCPGUARD, *words], env=self.env, capture_output=True, text=True, timeout=60, check=False, **more
        )

    def serve(self, *options: str, **more: Any) -> "House":
        """Start a daemon in the foreground and wait until it answers."""
        if self.daemon and self.daemon.stderr:
            self.daemon.stderr.close()
        self.daemon = subprocess.Popen(
            [*MCPGUARD, "daemon", "start", *options],
            env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **more,
        )  # fmt: skip
        assert until(self.answers), self.daemon.communicate()
        return self

    def answers(self) -> bool:
        """Whether a daemon answers on admin.sock."""
        try:
            return bool(self.ask({"verb": "status"}))
        except (OSError, ValueError):
            return False

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request on admin.sock."""
        reply: dict[str, Any] = json.loads(self.raw("admin.sock", json.dumps(request).encode() + b"\n"))
        return reply

    def raw(self, name: str, data: bytes, *, end: bool = False) -> bytes:
        """Everything that a socket of the daemon says to some bytes."""
        with self.connect(name) as sock:
            sock.sendall(data)
            if end:
                sock.shutdown(socket.SHUT_WR)
            said = b""
            while more := sock.recv(65536):
                said += more
            return said

    def connect(self, name: str) -> socket.socket:
        """A connection to a socket of the daemon."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(SECONDS)
        try:
            sock.connect(str(self.run_dir / name))
        except OSError:
            sock.close()
            raise
        return sock

    def shake(
        self,
        descriptors: list[int],
        *argv: bytes,
        kind: bytes = b"command",
        nonce: bytes = b"",
        version: bytes = VERSION,
        habits: bytes = b"18 -1 0",
        env: tuple[bytes, ...] = (),
    ) -> list[bytes]:
        """What the daemon says to a shim that passes these descriptors, without the greeting."""
        with self.connect("run.sock") as sock:
            greeting = sock.recv(1000)
            if greeting.startswith(b"refuse"):
                return greeting.splitlines()
            fresh = greeting.split()[3]
            count = b"%d" % len(argv)
            body = b"\0".join([b"run1", version, nonce or fresh, kind, b"", b"/", habits, count, *argv, *env])
            rights = (
                [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            )
            sock.sendmsg([len(body).to_bytes(4, "big") + body], rights)
            said = b""
            while more := sock.recv(65536):
                said += more
            return said.splitlines()

    def status(self) -> dict[str, Any]:
        """What `mcpguard status --json` would print."""
        return self.ask({"verb": "status"})

    def pid(self) -> int:
        """The daemon."""
        return int(self.status()["pid"])

    def descriptors(self) -> int:
        """Open descriptors of the daemon, when no question is being answered."""
        return min(self.status()["descriptors"] for _ in range(3) if not time.sleep(0.01))

    def policy(self, text: str) -> None:
        """Apply a policy."""
        reply = self.ask({"verb": "policy-apply", "source": "test", "text": text})
        assert reply["ok"], reply

    def records(self) -> list[dict[str, Any]]:
        """Everything in the audit log."""
        lines = [
            line
            for path in sorted((self.state / "audit").glob("*.jsonl"))
            for line in path.read_text().splitlines()
        ]
        return [json.loads(line) for line in lines]

    def host(self, *words: str, **more: Any) -> "Host":
        """A host that starts `mcpguard run WORDS`."""
        host = Host([*MCPGUARD, "run", *words], self.env | more.pop("env", {}), **more)
        self.hosts.append(host)
        return host

    def play(self, *traits: str, **more: Any) -> "Host":
        """A host with a server of these manners."""
        home = Path(tempfile.mkdtemp(dir=self.root))
        marker = f"m-{secrets.token_hex(8)}"
        host = self.host(*more.pop("options", ()), "--", *command(home, marker, *traits), **more)
        host.home, host.marker = home, marker
        return host


def command(home: Path, marker: str, *traits: str) -> list[str]:
    """The command of a server with these manners."""
    return [PYTHON, "-I", "-S", SERVER, str(home), marker, *traits]


class Host:
    """A raw MCP host over pipes: it sees every byte, and can leave in every way."""

    home: Path
    marker: str

    def __init__(self, argv: list[str], env: dict[str, str], **more: Any) -> None:
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen(argv, env=env, **(pipes | more))
        self.stdin = self.process.stdin.fileno() if self.process.stdin else -1
        self.stdout = self.process.stdout.fileno() if self.process.stdout else -1
        self.kept = b""
        self.ended = False
        self.ident = 0
        self.notices: list[dict[str, Any]] = []

    def server(self) -> int:
        """The server's process."""
        return int(until(lambda: (self.home / "pid").exists() and (self.home / "pid").read_text()))

    def order(self, words: str) -> None:
        """Make the server do something to itself."""
        (self.home / "do.new").write_text(words)
        (self.home / "do.new").rename(self.home / "do")

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.stdin, data) :]

    def send(self, method: str, params: dict[str, Any] | None = None) -> int:
        """Send a request and return its id."""
        self.ident += 1
        message = {"jsonrpc": "2.0", "id": self.ident, "method": method, "params": params or {}}
        self.write(json.dumps(message).encode() + b"\n")
        return self.ident

    def fill(self) -> int:
        """Write requests until nobody has read for a while; how many bytes that took."""
        os.set_blocking(self.stdin, False)
        written, data = 0, b""
        while select.select([], [self.stdin], [], 0.3)[1]:
            if not data:
                self.ident += 1
                params = {"x": "y" * 8000}
                request = {"jsonrpc": "2.0", "id": self.ident, "method": "ping", "params": params}
                data = json.dumps(request).encode() + b"\n"
            with contextlib.suppress(BlockingIOError):
                sent = os.write(self.stdin, data)
                written += sent
                data = data[sent:]
        return written

    def line(self, seconds: float = SECONDS) -> bytes:
        """The next line; empty at the end of the stream. Fails if nothing comes in time."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self.kept and not self.ended:
            left = deadline - time.monotonic()
            assert left > 0, f"nothing came; before: {self.kept[:200]!r}"
            if select.select([self.stdout], [], [], left)[0]:
                data = os.read(self.stdout, 1 << 20)
                self.kept += data
                self.ended = not data
        line, _, self.kept = self.kept.partition(b"\n")
        return line

    def answer(self, ident: int, seconds: float = SECONDS) -> dict[str, Any]:
        """The answer to a request; notifications on the way are kept."""
        while line := self.line(seconds):
            message: dict[str, Any] = json.loads(line)
            if message.get("id") == ident:
                return message
            self.notices.append(message)
        raise AssertionError(f"the stream ended before the answer to {ident}; seen: {self.notices}")

    def ask(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """A request and its answer."""
        return self.answer(self.send(method, params))

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """A tool call and its answer."""
        return self.answer(self.calling(tool, **arguments))

    def calling(self, tool: str, **arguments: Any) -> int:
        """A tool call; the answer is not waited for."""
        return self.send("tools/call", {"name": tool, "arguments": arguments})

    def greet(self) -> "Host":
        """The handshake."""
        hello = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        }
        assert "result" in self.ask("initialize", hello)
        self.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        return self

    def close_stdin(self) -> None:
        if self.process.stdin and not self.process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def close_stdout(self) -> None:
        if self.process.stdout:
            self.process.stdout.close()

    def rest(self, seconds: float = SECONDS) -> list[dict[str, Any]]:
        """Every message until the end of the stream."""
        return [json.loads(line) for line in iter(lambda: self.line(seconds), b"")]

    def wait(self, seconds: float = SECONDS) -> int:
        """The shim's exit code, as a shell gives it."""
        code = self.process.wait(seconds)
        return code if code >= 0 else 128 - code

    def errors(self) -> list[str]:
        """Lines on stderr, until its end."""
        assert self.process.stderr
        return self.process.stderr.read().decode().splitlines()

    def close(self) -> None:
        """Leave, without manners."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SECONDS)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()


@contextlib.contextmanager
def house(loop: str = "") -> Iterator[House]:
    """A house with a daemon that answers."""
    with House(loop) as made:
        yield made.serve()
