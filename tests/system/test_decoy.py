"""Decoys tell a daemon that refuses from one that does not, and from none."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcpguard.system.decoy import Decoy, Result, decoys
from tests.lifecycle.stage import House, house

NAMESPACE = "a process in a user namespace of its own"
REPLAY = "a shim that answers with the number of another connection"
STRANGER = "a process of another user"


def tried(run: Path) -> dict[str, Decoy]:
    return {one.who: one for one in decoys(run / "admin.sock", run / "run.sock")}


@contextlib.contextmanager
def impostor(folder: Path, admin: bytes, run: Callable[[socket.socket], None]) -> Iterator[Path]:
    """A daemon that says this to anybody."""
    for above in (folder, *list(folder.parents)[:-1]):
        above.chmod(above.stat().st_mode | 0o011)

    def says(sock: socket.socket) -> None:
        sock.recv(1000)
        sock.sendall(admin)

    servers = [serving(folder / "admin.sock", says), serving(folder / "run.sock", run)]
    try:
        yield folder
    finally:
        for listening, thread in servers:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            listening.close()


def serving(path: Path, answer: Callable[[socket.socket], None]) -> tuple[socket.socket, threading.Thread]:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    path.chmod(0o777)
    listening.listen()

    def serve() -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as open_ones:
            while True:
                sock, _ = listening.accept()
                one = threading.Thread(target=answer_to, args=(sock,))
                one.start()
                open_ones.callback(one.join, 10)

    def answer_to(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            answer(sock)

    thread = threading.Thread(target=serve)
    thread.start()
    return listening, thread


def trusting(sock: socket.socket) -> None:
    """A run socket that does not look at the number it gets back."""
    sock.sendall(b"mcpguard 1 0.0 same-for-all\n")
    if sock.recv(65536):
        sock.sendall(b"ready c1\n")


def refusing(sock: socket.socket) -> None:
    sock.sendall(b"mcpguard 1 0.0 nonce\n")
    if sock.recv(65536):
        sock.sendall(b"refuse 5 wrong number\n")


@pytest.mark.parametrize("loop", ["", "asyncio"])
def test_daemon_lets_nobody_in(loop: str) -> None:
    with house(loop) as place:
        found = tried(place.run_dir)
        assert {one.result for one in found.values()} <= {Result.REFUSED, Result.NOT_TRIED}
        words = "the handshake does not answer this daemon's greeting"
        assert found[REPLAY] == Decoy(REPLAY, Result.REFUSED, words)
        assert place.answers()
        assert place.status()["connections"] == []


@pytest.mark.root
def test_another_user_is_refused_by_the_daemon_itself_where_the_folder_is_open() -> None:
    with house() as place:
        assert tried(place.run_dir)[STRANGER] == Decoy(STRANGER, Result.REFUSED, "permission denied")
        place.root.chmod(0o755)
        place.run_dir.chmod(0o755)
        for name in ("admin.sock", "run.sock"):
            (place.run_dir / name).chmod(0o777)
        stranger = tried(place.run_dir)[STRANGER]
        assert stranger.result is Result.REFUSED
        assert stranger.words != "permission denied"


def test_daemon_that_lets_everybody_in_is_found_out(tmp_path: Path) -> None:
    with impostor(tmp_path, b'{"v":1,"ok":true}\n', trusting) as run:
        found = tried(run)
    assert found[REPLAY] == Decoy(REPLAY, Result.LET_IN, "ready c1")
    assert found[NAMESPACE].result in (Result.LET_IN, Result.NOT_TRIED)
    if os.geteuid() == 0:
        assert found[STRANGER] == Decoy(STRANGER, Result.LET_IN, "it was answered")


def test_daemon_that_refuses_in_words_is_quoted(tmp_path: Path) -> None:
    with impostor(tmp_path, b'{"v":1,"ok":false,"error":"not you"}\n', refusing) as run:
        found = tried(run)
    assert found[REPLAY] == Decoy(REPLAY, Result.REFUSED, "wrong number")
    assert (found[NAMESPACE].result, found[NAMESPACE].words) in [
        (Result.REFUSED, "not you"), (Result.NOT_TRIED, found[NAMESPACE].words),
    ]  # fmt: skip


def test_connection_that_is_closed_is_a_refusal(tmp_path: Path) -> None:
    with impostor(tmp_path, b"", lambda sock: sock.sendall(b"mcpguard 1 0.0 nonce\n")) as run:
        found = tried(run)
    assert found[REPLAY].result is Result.REFUSED
    assert found[NAMESPACE].result in (Result.REFUSED, Result.NOT_TRIED)


def test_where_nobody_listens_nothing_was_refused() -> None:
    """Else a doctor would praise a daemon that is not there."""
    with House() as place:
        place.root.chmod(0o755)
        assert {one.result for one in tried(place.run_dir).values()} == {Result.NOT_TRIED}
        place.run_dir.mkdir()
        for name in ("admin.sock", "run.sock"):
            dead = socket.socket(socket.AF_UNIX)
            dead.bind(str(place.run_dir / name))
            dead.close()
            (place.run_dir / name).chmod(0o777)
        assert {one.result for one in tried(place.run_dir).values()} == {Result.NOT_TRIED}
