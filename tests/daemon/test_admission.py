"""From a connection on run.sock to a server, or to one sentence; whatever was passed, nothing of it stays."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mcpguard.daemon import admission
from mcpguard.errors import DaemonError, JournalError, PeerError, ProtocolError, TrustError, UpstreamError
from tests.lifecycle.stage import House, house, until


@pytest.fixture(scope="module")
def place() -> Iterator[House]:
    with house() as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_stays(place: House) -> Iterator[None]:
    """After every story the daemon has as many descriptors as before."""
    before = place.descriptors()
    yield
    assert until(lambda: place.descriptors() == before, 5)


@contextmanager
def pipes() -> Iterator[list[int]]:
    """stdin, stdout and stderr as a host would pass them; the far ends stay open."""
    (reader, writer), (reader2, writer2) = os.pipe(), os.pipe()
    try:
        yield [reader, writer2, writer2]
    finally:
        for fd in (reader, writer, reader2, writer2):
            os.close(fd)


def refused(said: list[bytes], code: int, words: str) -> None:
    (line,) = said
    assert line.startswith(b"refuse %d " % code), line
    assert words in line.decode()


def test_what_is_passed_rightly_is_served(place: House) -> None:
    with pipes() as stdio:
        said = place.shake(stdio, b"sh", b"-c", b"exit 3", env=(b"PATH=" + os.environb[b"PATH"],))
    assert said[-1] == b"exit 3"
    assert b"ready" in said


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UpstreamError("x", code=127), 127),
        (PeerError("x"), 5),
        (TrustError("x"), 5),
        (JournalError("x"), 125),
        (DaemonError("x"), 125),
        (ProtocolError("x"), 125),
    ],
)
def test_exit_code_of_a_refusal(error: admission.GuardError, code: int) -> None:
    assert admission.refusal_code(error) == code


@pytest.mark.parametrize("number", [0, 1, 2, 4, 9, 253])
def test_wrong_number_of_descriptors(place: House, number: int) -> None:
    with pipes() as stdio:
        said = place.shake((stdio * 85)[:number], b"cat")
    refused(said, 5, "three descriptors are needed" if number < 3 else "too many descriptors were passed")


def test_wrong_kinds_of_descriptors(place: House, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    controller, terminal = os.openpty()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s"))
    listening.listen()
    opened = {
        "a terminal": terminal,
        "neither a pipe nor a socket": os.open(__file__, os.O_RDWR),
        "not open for reading or writing": os.open(tmp_path / "pipe", os.O_PATH),
        "not a connected Unix stream socket": listening.fileno(),
    }
    try:
        with pipes() as (stdin, stdout, stderr):
            for words, fd in opened.items():
                refused(place.shake([fd, stdout, stderr], b"cat"), 5, f"stdin is {words}")
                refused(place.shake([stdin, fd, stderr], b"cat"), 5, f"stdout is {words}")
            refused(place.shake([stdout, stdout, stderr], b"cat"), 5, "stdin is the wrong end of a pipe")
            refused(place.shake([stdin, stdin, stderr], b"cat"), 5, "stdout is the wrong end of a pipe")
            refused(place.shake([stdin, stdout, stdin], b"cat"), 5, "stderr is the wrong end of a pipe")
    finally:
        listening.close()
        for fd in (controller, terminal, *list(opened.values())[1:3]):
            os.close(fd)


@pytest.mark.parametrize("name", ["run.sock", "admin.sock"])
def test_connection_to_the_daemon_itself_as_stdin(place: House, name: str) -> None:
    with place.connect(name) as sock, pipes() as (_, stdout, stderr):
        refused(place.shake([sock.fileno(), stdout, stderr], b"cat"), 5, "is a connection to mcpguard itself")


def test_replayed_nonce(place: House) -> None:
    with place.connect("run.sock") as sock:
        old = sock.recv(1000).split()[3]
    with pipes() as stdio:
        refused(place.shake(stdio, b"cat", nonce=old), 5, "does not answer this daemon's greeting")


def test_shim_of_another_version(place: House) -> None:
    with pipes() as stdio:
        refused(place.shake(stdio, b"cat", version=b"9.9.9"), 125, "end it with: mcpguard daemon stop")


@pytest.mark.parametrize("data", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\1xy"])
def test_garbage(place: House, data: bytes) -> None:
    said = place.raw("run.sock", data)
    assert b"\nrefuse 125 malformed handshake\n" in said or b"\nrefuse 125 not the handshake" in said


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0\5run"])
def test_shim_that_hangs_up_early(place: House, data: bytes) -> None:
    assert place.raw("run.sock", data, end=True).count(b"\n") in (1, 2)


def test_command_that_cannot_be_passed_exactly(place: House) -> None:
    with pipes() as stdio:
        for env in ((b"A=1", b"A=2"), (b"=x",), (b"novalue",)):
            refused(place.shake(stdio, b"true", env=env), 125, "cannot be passed on exactly")


def test_habits_that_no_system_has(place: House) -> None:
    with pipes() as stdio:
        for habits in (b"99999999999999999999 -1 0", b"18 99999999999999999999 0", b"18 0 -1"):
            said = place.shake(stdio, b"/bin/true", habits=habits)
            assert said[-1].startswith((b"refuse 125 ", b"refuse 126 ", b"exit ")), said


def test_command_not_found_is_recorded(place: House) -> None:
    with pipes() as stdio:
        refused(place.shake(stdio, b"no-such-command", env=(b"PATH=/bin",)), 127, "not found")
    assert until(lambda: place.records()[-1].get("event") == "refused")
    assert "no-such-command" in place.records()[-1]["reason"]


def test_thousand_connections_at_once_leave_admin_answering(place: House) -> None:
    sockets = [place.connect("run.sock") for _ in range(300)]
    began = time.monotonic()
    assert place.answers()
    assert time.monotonic() - began < 1
    for sock in sockets:
        sock.close()


def test_many_shims_at_once_are_all_told(place: House) -> None:
    told: list[bytes] = []

    def one() -> None:
        with pipes() as stdio:
            told.extend(place.shake(stdio, b"/bin/sh", b"-c", b"exit 7")[-1:])

    threads = [threading.Thread(target=one) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [b"exit 7"] * 40


@pytest.mark.parametrize("loop", ["", "asyncio"])
def test_without_room_for_descriptors_it_refuses_with_a_sentence(loop: str) -> None:
    code = f"ulimit -n 110; exec {sys.executable} -I -m mcpguard daemon start"
    with House(loop) as small:
        small.daemon = subprocess.Popen(
            ["/bin/sh", "-c", code], env=small.env, stderr=subprocess.PIPE, text=True
        )
        assert until(small.answers)
        with pipes() as stdio:
            refused(small.shake(stdio, b"cat"), 125, "the limit of open files allows no more")
        assert small.answers()
