"""Start a client against a server, directly or through a wrapper, and collect what happened."""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scenarios import SCENARIOS, Scenario, era

HERE = Path(__file__).parent
MODULES = HERE / "node_modules" / "@modelcontextprotocol"
NODE = shutil.which("node") or "node"
CLIENTS = {
    "python": [sys.executable, HERE / "clients" / "python_client.py"],
    "ts1": [NODE, HERE / "clients" / "ts1_client.mjs"],
    "ts2": [NODE, HERE / "clients" / "ts2_client.mjs"],
}
SERVERS = {
    "python": [sys.executable, HERE / "servers" / "python_server.py"],
    "ts2": [NODE, HERE / "servers" / "ts2_server.mjs"],
    "everything": [NODE, MODULES / "server-everything" / "dist" / "index.js"],
    "turning": [sys.executable, HERE / "servers" / "turning_server.py"],
    "filesystem": [NODE, MODULES / "server-filesystem" / "dist" / "index.js", "{DIR}/root"],
}
TAP = [sys.executable, "-I", "-S", HERE / "tap.py"]
# The smallest PNG: one pixel.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6264f8cf50"
    "0f000301010018dd8db00000000049454e44ae426082"
)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@dataclasses.dataclass(frozen=True)
class Process:
    """What the tap saw of one server process."""

    pid: int
    env: list[str]
    lines: list[str]
    status: int | None


@dataclasses.dataclass(frozen=True)
class Run:
    """One client session: its transcript, and the server's side of it."""

    directory: str
    records: list[dict[str, Any]]
    stderr: str
    servers: list[Process]

    def gone(self, within: float = 2.0) -> bool:
        """Tell whether all server processes end within a time after the client has."""
        deadline = time.monotonic() + within
        while any(alive(server.pid) for server in self.servers):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def received(self, method: str | None = None) -> list[dict[str, Any]]:
        """Give the messages that reached the server."""
        messages = [json.loads(line) for server in self.servers for line in server.lines]
        return [message for message in messages if method in (None, message.get("method"))]

    def outcomes(self, op: str, name: str | None = None) -> list[dict[str, Any]]:
        """Give what the SDK gave to its caller, for the steps of one kind."""
        found, wanted = [], False
        for record in self.records:
            if "step" in record:
                wanted = record["step"] == op and name in (None, record.get("name"))
            elif wanted and ("result" in record or "error" in record):
                found.append(record)
        return found


def run(
    client: str,
    mode: str,
    server: str,
    scenario: str | Scenario,
    *,
    wrapper: Sequence[str],
    directory: Path,
    env: Mapping[str, str],
    registered: bool = False,
) -> Run:
    """Run one scenario in a directory of its own.

    `registered`: the words of `wrapper` are the whole command, and it starts the server behind a tap by itself.
    """
    if isinstance(scenario, str):
        scenario = SCENARIOS[server][scenario]
    taps = directory / "taps"
    taps.mkdir(parents=True)
    (directory / "root").mkdir()
    (directory / "root" / "pixel.png").write_bytes(PIXEL)
    document = scenario.document(client, era(mode, server), str(directory))
    path = directory / "scenario.json"
    path.write_text(json.dumps(document), encoding="utf-8")

    target = [str(word).replace("{DIR}", str(directory)) for word in SERVERS[server]]
    words = wrapper if registered else [*wrapper, *TAP, taps, "--", *target]
    command = [*CLIENTS[client], "--era", mode, "--scenario", path, "--", *words]
    try:
        done = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=80,
            check=False,
            env=dict(env),
            cwd=directory,
        )
    except subprocess.TimeoutExpired as late:
        raise AssertionError(
            f"the client did not end in time:\n{_tail(late.stdout)}\n{_tail(late.stderr)}"
        ) from late
    if done.returncode:
        raise AssertionError(
            f"the client failed ({done.returncode}):\n{_tail(done.stdout)}\n{_tail(done.stderr)}"
        )
    return Run(
        directory=str(directory),
        records=[json.loads(line) for line in done.stdout.split(b"\n") if line],
        stderr=done.stderr.decode(),
        servers=_processes(taps),
    )


def private_env(home: Path) -> dict[str, str]:
    """Make an environment in which nothing of the developer's own set-up is used or changed."""
    runtime = home / "run"
    runtime.mkdir(parents=True, mode=0o700, exist_ok=True)
    home.chmod(0o700)
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "USER": "interop",
        "HOME": str(home),
        "MCPGUARD_RUNTIME_DIR": str(runtime),
        "INTEROP_TOKEN": "from the host's configuration",
        # Failing to bind a port or to find a proxy is nobody's business here.
        "NO_COLOR": "1",
    }


def _processes(taps: Path) -> list[Process]:
    found = []
    for path in taps.iterdir():
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        start = entries[0]
        lines = [entry["raw"] for entry in entries if entry["event"] == "line"]
        status = next((entry["status"] for entry in entries if entry["event"] == "exit"), None)
        found.append((start["at"], Process(start["pid"], start["env"], lines, status)))
    return [process for _, process in sorted(found, key=lambda pair: pair[0])]


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _tail(output: bytes | None, size: int = 4000) -> str:
    lines = [
        line if len(line) < 600 else line[:600] + "..."
        for line in (output or b"").decode(errors="replace").splitlines()
    ]
    return "\n".join(lines)[-size:]
