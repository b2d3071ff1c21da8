"""One real daemon for the whole of a test session, in directories of its own, and its audit log as it grows."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.wire import registered

MCPGUARD = Path(sys.executable).with_name("mcpguard")
SECONDS = 20.0
MEMORY_BYTES = 64 << 20
"""How much the daemon may have grown when everything is over: what allocators keep, and no more."""
POLICY = """\
version = 1
mode = "enforce"
unpinned = "allow"

[[rule]]
id = "fixture"
server = "wire*"
tools = ["read_file", "other_tool", "ping_tool"]
effect = "allow"

[[rule]]
id = "approved"
server = "wire-approved"
tools = ["sensitive_tool"]
effect = "allow"

[[rule]]
id = "prompts"
server = "wire-prompts"
methods = ["prompts/get", "resources/read"]
effect = "allow"

[[rule]]
id = "open"
server = "wire-open"
tools = ["*"]
effect = "allow"

[[rule]]
id = "asking"
server = "wire-asking"
methods = ["sampling/createMessage", "elicitation/create", "roots/list"]
effect = "allow"

[[rule]]
id = "named"
server = "wire"
tools = ["forbidden_tool"]
effect = "deny"
"""
"""What `fixture.json` says, as far as policy can say it: the three tools; `sensitive_tool` for the cases whose
approval was granted; nothing else. The other servers are for inputs that need a grant to be reached."""

_CONN = re.compile(rb'"conn":"([^"]*)"')


class Guard:
    """The daemon, and what it has recorded."""

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="wire-")
        home = Path(self._home.name)
        self.directory = home
        self.env = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "MCPGUARD_RUNTIME_DIR": str(home / "r"),
            "MCPGUARD_STATE_DIR": str(home / "s"),
        }
        log = (home / "daemon.log").open("wb")
        with log:
            self.process = subprocess.Popen(
                [MCPGUARD, "daemon", "start"], env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._records: dict[bytes, list[dict[str, Any]]] = {}
        self._segment = 1
        self._offset = 0
        self._tapes = 0
        self._await_start()
        policy = home / "policy.toml"
        policy.write_text(POLICY)
        self.run("policy", "apply", str(policy))
        for line in registered.requests():
            self.ask(line)
        settled = min(self.descriptors() for _ in range(5) if not time.sleep(0.01))
        self._fresh = self.memory(), settled + registered.KEPT

    def _await_start(self) -> None:
        until = time.monotonic() + SECONDS
        while not (self.directory / "r" / "admin.sock").exists():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < until, "the daemon does not start"
            time.sleep(0.01)

    def run(self, *words: str) -> str:
        """A verb of `mcpguard`, which must succeed."""
        done = subprocess.run(
            [MCPGUARD, *words], env=self.env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, (
            f"mcpguard {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def ask(self, line: bytes) -> dict[str, Any]:
        """A request on admin.sock, which must succeed."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(SECONDS)
            sock.connect(str(self.directory / "r" / "admin.sock"))
            sock.sendall(line)
            with sock.makefile("rb") as file:
                reply: dict[str, Any] = json.loads(file.readline())
        assert reply["ok"], reply
        return reply

    def log(self) -> str:
        """What the daemon wrote on stderr."""
        return (self.directory / "daemon.log").read_text(errors="replace")

    def tape_path(self) -> Path:
        """A path for the socket of a server, in a new directory."""
        self._tapes += 1
        home = self.directory / f"t{self._tapes}"
        home.mkdir()
        return home / registered.SOCKET

    def records(self, conn: bytes) -> list[dict[str, Any]]:
        """The records of one connection so far, in order."""
        self._read()
        return self._records.get(conn, [])

    def connection_of(self, tape: Path, server: str) -> bytes:
        """The name of the connection whose server got this socket path; of a registered one, of the newest."""
        self._read()
        for conn, records in reversed(self._records.items()):
            begin = records[0]
            if str(tape) in begin.get("command", ()) or begin["server"] == server == registered.NAME:
                return conn
        raise AssertionError("the beginning of the connection is not recorded")

    def _read(self) -> None:
        while True:
            path = self.directory / "s" / "audit" / f"audit-{self._segment:06d}.jsonl"
            with path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
            whole = data.rpartition(b"\n")[0]
            for line in whole.split(b"\n"):
                found = _CONN.search(line)
                if found:
                    self._records.setdefault(found[1], []).append(json.loads(line))
            self._offset += len(whole) + 1 if whole else 0
            if not path.with_name(f"audit-{self._segment + 1:06d}.jsonl").exists():
                return
            self._segment += 1
            self._offset = 0

    def memory(self) -> int:
        """Resident bytes of the daemon."""
        pages = int((Path("/proc") / str(self.process.pid) / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """Open descriptors of the daemon."""
        return len(list((Path("/proc") / str(self.process.pid) / "fd").iterdir()))

    def _await_quiet(self) -> None:
        """All connections are over: no descriptor is left, and little memory."""
        memory, descriptors = self._fresh
        until = time.monotonic() + SECONDS
        while self.descriptors() > descriptors:
            assert time.monotonic() < until, (
                f"{self.descriptors()} descriptors are open, {descriptors} at first"
            )
            time.sleep(0.02)
        assert self.memory() - memory < MEMORY_BYTES

    def close(self) -> None:
        """End the daemon; then its audit log must verify, and it must not have met a bug."""
        try:
            assert self.process.poll() is None, f"the daemon died: {self.log()[-3000:]}"
            self._await_quiet()
            self.run("daemon", "stop")
            assert self.process.wait(SECONDS) == 0
            self.run("audit", "verify")
            assert "Traceback" not in self.log(), self.log()[-6000:]
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._home.cleanup()
