"""`mcpguard proxy`: a socket, and a guarded server for each connection."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from tests.lifecycle.stage import MCPGUARD, House, alive, command, house, until

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}}


@contextmanager
def proxying(place: House, tmp_path: Path, *words: str) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    path = place.root / "s"
    server = command(tmp_path, "m-proxy-" + place.root.name)
    with subprocess.Popen(
        [*MCPGUARD, "proxy", "--listen", str(path), *words, "--", *server],
        env=place.env, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr
        assert process.stderr.readline() == f"mcpguard: listening on {path}\n"
        try:
            yield path, process
        finally:
            process.kill() if process.poll() is None else None


class Client:
    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(path))
        self.file = self.sock.makefile("rb")

    def ask(self, ident: int, method: str, params: dict[str, object]) -> dict[str, object]:
        message = {"jsonrpc": "2.0", "id": ident, "method": method, "params": params}
        self.sock.sendall(json.dumps(message).encode() + b"\n")
        answer: dict[str, object] = json.loads(self.file.readline())
        return answer

    def close(self) -> None:
        self.file.close()
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def test_each_connection_gets_its_own_server_and_sigterm_ends_all(tmp_path: Path) -> None:
    marker_of = "m-proxy-"
    with house() as place, proxying(place, tmp_path, "--name", "files") as (path, process):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        one, two = Client(path), Client(path)
        for client in (one, two):
            assert "result" in client.ask(1, "initialize", HELLO)
        first, second = place.status()["connections"]
        assert first["pid"] != second["pid"]
        assert first["server"] == second["server"] == "files"
        one.close()
        assert until(lambda: len(place.status()["connections"]) == 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert two.file.read() == b""
        two.close()
        assert until(lambda: not alive(marker_of + place.root.name, shims=True))
        assert place.status()["connections"] == []
        assert not path.exists()


def test_client_sees_the_end_of_its_server(tmp_path: Path) -> None:
    with house() as place, proxying(place, tmp_path) as (path, _):
        with Client(path) as client:
            client.ask(1, "initialize", HELLO)
            client.ask(2, "tools/call", {"name": "exit", "arguments": {"code": 0}})
            assert client.file.read() == b""


def test_live_socket_is_refused_and_a_dead_one_replaced(tmp_path: Path) -> None:
    with house() as place:
        with proxying(place, tmp_path) as (path, process):
            second = place.mcpguard("proxy", "--listen", str(path), "--", "cat")
            assert second.returncode == 1
            assert second.stderr == f"mcpguard: somebody listens on {path} already: choose another path\n"
            process.kill()
            process.wait()
        assert path.exists()
        with proxying(place, tmp_path) as (path, _):
            with Client(path) as client:
                assert "result" in client.ask(1, "initialize", HELLO)


def test_file_in_the_place_of_the_socket_is_refused(tmp_path: Path) -> None:
    with House() as place:
        (tmp_path / "s").write_text("precious")
        told = place.mcpguard("proxy", "--listen", str(tmp_path / "s"), "--", "cat")
        assert told.returncode == 5
        assert "is not a socket of ours" in told.stderr
        assert (tmp_path / "s").read_text() == "precious"


@pytest.mark.parametrize(
    ("path", "words"), [("/tmp/" + "x" * 200, "is too long"), ("/nowhere/s", "cannot listen on")]
)
def test_place_where_no_socket_can_be(path: str, words: str) -> None:
    with House() as place:
        told = place.mcpguard("proxy", "--listen", path, "--", "cat")
        assert told.returncode in (1, 5)
        assert words in told.stderr
        assert len(told.stderr.splitlines()) == 1


@pytest.mark.root
def test_another_user_is_refused(tmp_path: Path) -> None:
    code = (
        "import os, socket, sys\n"
        "os.setgid(65533); os.setuid(65533)\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(5)\n"
        "try: s.connect(sys.argv[1]); print(s.recv(9))\n"
        "except PermissionError as error: print('EACCES')\n"
    )
    with house() as place, proxying(place, tmp_path) as (path, process):
        place.root.chmod(0o755)

        def told() -> bytes:
            return subprocess.run(
                [sys.executable, "-I", "-c", code, str(path)], capture_output=True, check=True
            ).stdout

        assert told() == b"EACCES\n"
        os.chmod(path, 0o777)
        assert told() == b"b''\n"
        assert process.stderr
        assert "refused a connection: the other end belongs to uid 65533" in process.stderr.readline()
        assert place.status()["served"] == 0


def test_proxy_outlives_a_moment_without_descriptors(tmp_path: Path) -> None:
    with house() as place, proxying(place, tmp_path) as (path, process):
        before = len(os.listdir(f"/proc/{process.pid}/fd"))
        subprocess.run(["prlimit", f"--pid={process.pid}", f"--nofile={before}:4096"], check=True)
        with Client(path):
            assert process.stderr
            assert "Too many open files" in process.stderr.readline()
            subprocess.run(["prlimit", f"--pid={process.pid}", "--nofile=4096:4096"], check=True)
        with Client(path) as client:
            assert "result" in client.ask(1, "initialize", HELLO)
