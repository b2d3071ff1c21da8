"""One request, one reply on admin.sock, and a sentence for each way in which that fails."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mcpguard.cli import client
from mcpguard.errors import ConfigError, DaemonError
from tests.lifecycle.stage import house


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MCPGUARD_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def answered(runtime: Path, reply: bytes, request: dict[str, object]) -> bytes:
    """Ask somebody who gives this reply, whatever is asked; what was asked."""
    heard = []

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            heard.append(sock.recv(1 << 20))
            sock.sendall(reply)

    (runtime / "admin.sock").unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(runtime / "admin.sock"))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            client.request(request)
        finally:
            thread.join()
    return heard[0]


def test_reply_is_given(runtime: Path) -> None:
    assert answered(runtime, b'{"v":1,"ok":true}\n', {"verb": "status"}) == b'{"verb":"status"}\n'


def test_no_daemon(runtime: Path) -> None:
    with pytest.raises(DaemonError, match="is not running") as caught:
        client.request({"verb": "status"})
    assert caught.value.hint == "the first mcpguard run starts it"
    assert not client.running()


def test_dead_socket_is_no_daemon(runtime: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(runtime / "admin.sock"))
    with pytest.raises(DaemonError, match="is not running"):
        client.request({"verb": "status"})


@pytest.mark.parametrize("reply", [b"", b"{", b"[]\n", b"null\n", b'{"ok":tru', b"\xff\n"])
def test_reply_that_is_none(runtime: Path, reply: bytes) -> None:
    with pytest.raises(DaemonError, match="does not answer"):
        answered(runtime, reply, {"verb": "status"})


def test_refusal_is_an_error_with_its_sentence(runtime: Path) -> None:
    with pytest.raises(DaemonError, match="no such verb"):
        answered(runtime, b'{"ok":false,"code":"unknown","error":"no such verb"}\n', {"verb": "x"})
    with pytest.raises(ConfigError, match="line 3") as caught:
        answered(
            runtime, b'{"ok":false,"code":"config","error":"line 3"}\n', {"verb": "x", "source": "p.toml"}
        )
    assert caught.value.file == "p.toml"


def test_directory_in_the_way(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (runtime / "file").write_text("")
    monkeypatch.setenv("MCPGUARD_RUNTIME_DIR", f"{runtime}/file")
    with pytest.raises(DaemonError, match="does not answer"):
        client.request({"verb": "status"})


def test_running_daemon_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with house() as place:
        monkeypatch.setenv("MCPGUARD_RUNTIME_DIR", str(place.run_dir))
        assert client.running()
        assert client.request({"verb": "status"})["pid"] == place.pid()


@pytest.mark.root
def test_listener_of_another_user_is_told_nothing(runtime: Path) -> None:
    code = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); os.setuid(65533); s.listen()\n"
        "print(flush=True); c, _ = s.accept(); print(c.recv(99))\n"
    )
    path = os.fspath(runtime / "admin.sock")
    with subprocess.Popen([sys.executable, "-I", "-c", code, path], stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        with pytest.raises(DaemonError, match="belongs to uid 65533"):
            client.request({"verb": "status"})
        assert other.stdout.read() == b"b''\n"
