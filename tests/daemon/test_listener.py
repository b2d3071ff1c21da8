"""The listening sockets: private, exclusive, and calm when descriptors run out."""

import array
import asyncio
import os
import resource
import socket
import stat
import time
from pathlib import Path

import pytest

from mcpguard.daemon.listener import Listener
from mcpguard.errors import DaemonError, PeerError
from mcpguard.system.descriptors import close_all, receive
from tests.daemon.loops import both_loops, eventually, run


@both_loops
def test_connections_are_handed_over_and_the_socket_is_private(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        accepted: list[socket.socket] = []
        before = os.umask(0)
        try:
            listener = Listener(tmp_path / "s", accepted.append)
            assert os.umask(0) == 0
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
        clients = [socket.socket(socket.AF_UNIX) for _ in range(100)]
        for client in clients:
            client.connect(str(tmp_path / "s"))
        assert await eventually(lambda: len(accepted) == 100)
        assert not any(os.get_inheritable(sock.fileno()) or sock.getblocking() for sock in accepted)
        listener.close()
        assert not (tmp_path / "s").exists()
        for sock in (*clients, *accepted):
            sock.close()

    run(story, loop)


def test_identity_names_the_socket_and_its_path(tmp_path: Path) -> None:
    async def story() -> None:
        listener = Listener(tmp_path / "s", lambda _: None)
        info = os.fstat(listener._sock.fileno())
        assert listener.identity() == {(info.st_dev, info.st_ino), str(tmp_path / "s")}
        listener.close()

    run(story)


def test_stale_socket_is_replaced(tmp_path: Path) -> None:
    async def story() -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "s"))
        accepted: list[socket.socket] = []
        listener = Listener(tmp_path / "s", accepted.append)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "s"))
            assert await eventually(lambda: accepted)
        accepted[0].close()
        listener.close()

    run(story)


def test_what_is_no_socket_of_ours_stays(tmp_path: Path) -> None:
    async def story() -> None:
        (tmp_path / "s").write_text("precious")
        with pytest.raises(PeerError, match="not a socket of ours"):
            Listener(tmp_path / "s", lambda _: None)
        assert (tmp_path / "s").read_text() == "precious"

    run(story)


@pytest.mark.root
def test_socket_of_another_user_stays(tmp_path: Path) -> None:
    async def story() -> None:
        with socket.socket(socket.AF_UNIX) as theirs:
            theirs.bind(str(tmp_path / "s"))
        os.chown(tmp_path / "s", 65533, 65533)
        with pytest.raises(PeerError, match="not a socket of ours"):
            Listener(tmp_path / "s", lambda _: None)

    run(story)


def test_place_where_no_socket_can_be(tmp_path: Path) -> None:
    async def story() -> None:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(PeerError, match="is too long") as caught:
            Listener(tmp_path / ("x" * 108), lambda _: None)
        assert "MCPGUARD_RUNTIME_DIR" in caught.value.hint
        with pytest.raises(DaemonError, match="cannot listen at"):
            Listener(tmp_path / "none" / "s", lambda _: None)
        assert len(os.listdir("/proc/self/fd")) == before

    run(story)


@both_loops
def test_running_out_of_descriptors_does_not_spin(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        accepted: list[socket.socket] = []
        listener = Listener(tmp_path / "s", accepted.append)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
        try:
            fillers = []
            while True:
                try:
                    fillers.append(os.open("/dev/null", os.O_RDONLY))
                except OSError:
                    break
            for client in clients:
                client.connect(str(tmp_path / "s"))
            began, used = time.monotonic(), time.process_time()
            await asyncio.sleep(0.5)
            assert time.process_time() - used < 0.25 * (time.monotonic() - began)
            assert accepted == []
            for fd in fillers:
                os.close(fd)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert await eventually(lambda: len(accepted) == 5)
        listener.close()
        for sock in (*clients, *accepted):
            sock.close()

    run(story, loop)


def test_listener_closed_while_it_rests_stays_closed(tmp_path: Path) -> None:
    async def story() -> None:
        listener = Listener(tmp_path / "s", lambda _: None)
        listener._rest(OSError(24, "Too many open files"))
        listener.close()
        await asyncio.sleep(0.25)
        assert listener._sock.fileno() == -1

    run(story)


@both_loops
def test_shims_are_named_with_every_message_and_others_pass_no_descriptors(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        accepted: list[socket.socket] = []
        listeners = [
            Listener(tmp_path / "run", accepted.append, shims=True),
            Listener(tmp_path / "admin", accepted.append),
        ]
        with socket.socket(socket.AF_UNIX) as shim, socket.socket(socket.AF_UNIX) as person:
            shim.connect(str(tmp_path / "run"))
            passing = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))]
            shim.sendmsg([b"first"], passing)  # before it is accepted
            assert await eventually(lambda: accepted)
            data, found, sender = receive(accepted[0], 100)
            assert (data, len(found)) == (b"first", 1)
            assert sender.credentials == (os.getpid(), os.getuid(), os.getgid())
            assert sender.pidfd >= 0
            close_all(found)
            sender.close()
            person.connect(str(tmp_path / "admin"))
            assert await eventually(lambda: len(accepted) == 2)
            with pytest.raises(PermissionError):
                person.sendmsg([b"x"], passing)
            person.send(b"y")
            data, found, sender = receive(accepted[1], 100)
            assert (data, found, sender.credentials, sender.pidfd) == (b"y", [], None, -1)
        for end in (*listeners, *accepted):
            end.close()

    run(story, loop)


@both_loops
def test_only_so_many_are_taken_before_others_are_settled(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        accepted: list[socket.socket] = []
        listener = Listener(tmp_path / "s", accepted.append, most=3)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(10)]
        for client in clients:
            client.connect(str(tmp_path / "s"))
        assert await eventually(lambda: len(accepted) == 3)
        await asyncio.sleep(0.05)
        assert len(accepted) == 3
        for settled in range(1, 8):
            listener.settled()
            assert await eventually(lambda n=settled: len(accepted) == 3 + n)
        listener.close()
        for sock in (*clients, *accepted):
            sock.close()

    run(story, loop)


@both_loops
def test_socket_of_a_service_manager_stays_when_the_listener_is_closed(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        accepted: list[socket.socket] = []
        with socket.socket(socket.AF_UNIX) as held, socket.socket(socket.AF_UNIX) as early:
            held.bind(str(tmp_path / "s"))
            held.listen()
            early.connect(str(tmp_path / "s"))  # before there is a daemon
            ours = socket.socket(fileno=os.dup(held.fileno()))
            ours.setblocking(False)
            listener = Listener(tmp_path / "s", accepted.append, shims=True, handed=ours)
            assert await eventually(lambda: accepted)
            early.send(b"x")
            data, found, sender = receive(accepted[0], 100)
            assert (data, found) == (b"x", [])
            assert sender.credentials == (
                os.getpid(),
                os.getuid(),
                os.getgid(),
            )  # asked for after it connected
            sender.close()
            listener.close()
            assert (tmp_path / "s").exists()
            with socket.socket(socket.AF_UNIX) as late:
                late.connect(str(tmp_path / "s"))  # it waits in the manager's queue
        accepted[0].close()

    run(story, loop)
