"""Connections before anything of them is believed."""

import socket
import ssl
import time
from pathlib import Path

import msgspec
import pytest

from mcpguard import limits
from mcpguard.system.servefile import Listen
from mcpguard.system.tlsfiles import TlsFiles
from tests.daemon.doorway import Doorway, story
from tests.daemon.loops import eventually
from tests.lifecycle.peers import Authority, Peer


def keeper(authority: Authority) -> TlsFiles:
    return TlsFiles(Listen("x", certificate=str(authority.certificate), key=str(authority.key)))


def test_a_handshake_that_does_not_come_is_cut_and_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_SECONDS", 0.3)
    authority = Authority(tmp_path)

    async def told(doorway: Doorway) -> None:
        def play() -> None:
            with socket.create_connection(("127.0.0.1", doorway.door.port), timeout=20) as sock:
                began = time.monotonic()
                assert sock.recv(1) == b""
                assert time.monotonic() - began < 10

        await doorway.do(play)
        (refused,) = await eventually(lambda: doorway.records("refused"))
        assert "handshake" in refused["reason"]
        assert refused["host"]["network"] == "127.0.0.1"
        assert await eventually(lambda: doorway.door.described()["connections"] == 0)

    story(tmp_path, told, keeper=keeper(authority))


def test_failed_handshakes_keep_a_network_away(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def told(doorway: Doorway) -> None:
        doorway.keys.add("key")

        def play() -> None:
            for _ in range(limits.FAILURES + 1):
                with socket.create_connection(("127.0.0.1", doorway.door.port), timeout=20) as sock:
                    sock.sendall(b"no TLS at all\n")
                    sock.recv(100)
            with Peer(doorway.door.port, tls=authority.client()) as peer:
                peer.extra["Authorization"] = "Bearer key"
                assert peer.greet().status == 429

        await doorway.do(play)

    story(tmp_path, told, keeper=keeper(authority))


def test_who_hangs_up_before_a_handshake_keeps_nobody_away(tmp_path: Path) -> None:
    """A load balancer that looks whether the port is open."""
    authority = Authority(tmp_path)

    async def told(doorway: Doorway) -> None:
        doorway.keys.add("key")

        def play() -> None:
            for _ in range(limits.FAILURES + 5):
                socket.create_connection(("127.0.0.1", doorway.door.port), timeout=20).close()

        await doorway.do(play)
        assert await eventually(lambda: doorway.door.described()["connections"] == 0)

        def call() -> None:
            with Peer(doorway.door.port, tls=authority.client()) as peer:
                peer.extra["Authorization"] = "Bearer key"
                assert peer.greet().status == 200

        await doorway.do(call)

    story(tmp_path, told, keeper=keeper(authority))


def test_connections_of_one_network_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NETWORK_CONNECTIONS", 3)
    authority = Authority(tmp_path)

    async def told(doorway: Doorway) -> None:
        def play() -> None:
            open_ = [socket.create_connection(("127.0.0.1", doorway.door.port), timeout=20) for _ in range(4)]
            assert open_[3].recv(1) == b""
            for sock in open_:
                sock.close()

        await doorway.do(play)
        assert await eventually(lambda: doorway.records("refused"))
        assert "too many connections" in doorway.records("refused")[0]["reason"]
        assert await eventually(lambda: doorway.door.described()["connections"] == 0)

    story(tmp_path, told, keeper=keeper(authority))


def test_a_peer_of_a_key_listener_is_named_by_the_kernel_too(tmp_path: Path) -> None:
    async def told(doorway: Doorway) -> None:
        doorway.keys.add("key")

        def play() -> None:
            with Peer(doorway.path) as peer:
                peer.extra["Authorization"] = "Bearer key"
                peer.greet()

        await doorway.do(play)
        host = doorway.sessions[0].host
        assert host.pid > 0  # so that what it starts does not approve
        assert msgspec.to_builtins(host.evidence())["uid"] == host.uid

    story(tmp_path, told)


def test_a_tls_listener_speaks_tls_1_3(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def told(doorway: Doorway) -> None:
        def play() -> None:
            with Peer(doorway.door.port, tls=authority.client()).connected() as sock:
                assert isinstance(sock, ssl.SSLSocket)
                assert sock.version() == "TLSv1.3"

        await doorway.do(play)

    story(tmp_path, told, keeper=keeper(authority))
