"""NDJSON listeners through a real daemon: one connection is one session, over a Unix socket, a relay, or TLS."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.lifecycle.land import HELLO, Land
from tests.lifecycle.peers import Authority, Peer, Served, talking
from tests.lifecycle.stage import until

RELAY = """\
import socket, sys, threading
def pump(one, other):
    while data := one.recv(65536): other.sendall(data)
    other.shutdown(socket.SHUT_WR)
listening = socket.socket(socket.AF_UNIX); listening.bind(sys.argv[1]); listening.listen()
print("ready", flush=True)
near, _ = listening.accept()
far = socket.socket(socket.AF_UNIX); far.connect(sys.argv[2])
threading.Thread(target=pump, args=(near, far)).start()
pump(far, near)
"""


@pytest.fixture(scope="module")
def land() -> Iterator[Land]:
    with Land() as made:
        made.serve()
        made.found()
        talking(made)
        yield made


@pytest.fixture(scope="module")
def place(land: Land) -> Iterator[Path]:
    path = land.root / "line.sock"
    with Served(land, "--listen", f"unix:{path}", "--speak", "ndjson", "--server", "talk", "--name", "line"):
        yield path


class Line:
    """A raw connection that speaks stdio framing."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.file = sock.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.sock.close()

    def say(self, message: dict[str, object]) -> None:
        self.sock.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def ask(self, ident: int, method: str, **params: object) -> dict[str, object]:
        self.say({"id": ident, "method": method, "params": params})
        while True:
            message: dict[str, object] = json.loads(self.file.readline())
            if message.get("id") == ident:
                return message

    def greet(self) -> "Line":
        assert "result" in self.ask(0, "initialize", **HELLO)
        self.say({"method": "notifications/initialized"})
        return self


def test_a_connection_is_a_session(land: Land, place: Path) -> None:
    with Line(Peer(place).connected()) as line:
        line.greet()
        assert "result" in line.ask(1, "tools/call", name="now", arguments={})
        (found,) = land.ask({"verb": "listeners"})["listeners"]
        assert (found["sessions"], found["speak"]) == (1, "ndjson")
        big = line.ask(2, "tools/call", name="big", arguments={"bytes": 6 << 20})
        assert len(json.dumps(big)) > 6 << 20
    assert until(lambda: land.ask({"verb": "listeners"})["listeners"][0]["connections"] == 0)
    calls = [each for each in land.records() if each["type"] == "call" and each.get("tool") == "now"]
    assert calls[-1]["host"]["principal"] == f"uid:{os.getuid()}"


def test_a_relay_as_ssh_makes_one_is_the_peer(land: Land, place: Path) -> None:
    """Of a forwarded socket the kernel names who forwards: the user's ssh, not whoever is at its far end."""
    near = land.root / "near.sock"
    with subprocess.Popen(
        [sys.executable, "-c", RELAY, str(near), str(place)], stdout=subprocess.PIPE, text=True
    ) as relay:
        assert relay.stdout is not None
        assert relay.stdout.readline() == "ready\n"
        with Line(Peer(near).connected()) as line:
            line.greet()
            assert "result" in line.ask(1, "tools/call", name="now", arguments={})
        relay.wait(20)


def refusal(place: Path, *command: str) -> str:
    """What a peer that runs like this is told."""
    talk = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(20)\n"
        "try:\n    s.connect(sys.argv[1])\nexcept PermissionError as e:\n    print('not connected'); sys.exit()\n"
        'try:\n    s.sendall(b\'{"jsonrpc":"2.0","id":1,"method":"ping"}\\n\')\nexcept OSError: pass\n'
        "print(s.makefile().readline())"
    )
    words = [*command, "/usr/bin/python3", "-I", "-c", talk, str(place)]  # every user can run that one
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False).stdout.strip()


@pytest.mark.root
def test_a_peer_in_another_namespace_is_refused(land: Land, place: Path) -> None:
    said = json.loads(refusal(place, "unshare", "--pid", "--fork"))
    assert "namespace" in said["error"]["message"]
    assert until(lambda: any("namespace" in str(each.get("reason")) for each in land.records()))


@pytest.mark.root
def test_another_user_gets_in_only_where_the_listener_names_it(land: Land, place: Path) -> None:
    other = ("setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups")
    land.root.chmod(0o755)
    assert refusal(place, *other) == "not connected"  # mode 0600
    path = land.root / "two.sock"
    words = ("--speak", "ndjson", "--server", "talk", "--name", "two", "--uid", "1234")
    with Served(land, "--listen", f"unix:{path}", *words):
        assert json.loads(refusal(path, *other))["id"] == 1
        said = json.loads(refusal(path, "setpriv", "--reuid", "1235", "--regid", "1235", "--clear-groups"))
        assert "uid 1235 may not use the listener two" in said["error"]["message"]
        assert "may not use" in json.loads(refusal(path))["error"]["message"]  # nor do we, who are not named
    calls = [each for each in land.records() if each["type"] == "session" and each.get("event") == "begin"]
    assert calls[-1]["host"]["principal"] == "uid:1234"


def test_over_tls(land: Land, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    words = ("--listen", "tls:127.0.0.1:0", "--speak", "ndjson", "--server", "talk", "--name", "far")
    with Served(land, *words, *authority.words) as served:
        tls = authority.client("build-agent")
        with Line(Peer(served.port, tls=tls).connected()) as line:
            line.greet()
            assert "result" in line.ask(1, "tools/call", name="now", arguments={})
            big = line.ask(2, "tools/call", name="big", arguments={"bytes": 6 << 20})
            assert len(json.dumps(big)) > 6 << 20
        assert until(
            lambda: all(each["connections"] == 0 for each in land.ask({"verb": "listeners"})["listeners"])
        )
    ends = [each for each in land.records() if each.get("event") == "end"]
    assert ends[-1]["host"]["principal"] == "cert:build-agent"


def test_the_server_ends_and_so_does_the_connection(land: Land, place: Path) -> None:
    with Line(Peer(place).connected()) as line:
        line.greet()
        told = line.ask(1, "tools/call", name="now", arguments={})
        pid = json.loads(told["result"]["content"][0]["text"])["pid"]  # type: ignore[index]
        os.kill(pid, 9)
        assert line.file.read() == b""


def test_a_peer_that_leaves_takes_its_server_along(land: Land, place: Path) -> None:
    with Line(Peer(place).connected()) as line:
        told = line.greet().ask(1, "tools/call", name="now", arguments={})
        pid = json.loads(told["result"]["content"][0]["text"])["pid"]  # type: ignore[index]
    assert until(lambda: not Path(f"/proc/{pid}").exists())


def test_one_server_has_to_be_named(land: Land) -> None:
    done = land.mcpguard("serve", "--listen", f"unix:{land.root}/x.sock", "--speak", "ndjson")
    assert done.returncode == 6
    assert "the one server" in done.stderr
    done = land.mcpguard(
        "serve", "--listen", f"unix:{land.root}/x.sock", "--speak", "ndjson", "--server", "nope"
    )
    assert done.returncode == 1
    assert "no server is registered as" in done.stderr
