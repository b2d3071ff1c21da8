"""Sockets that a service manager hands over: what is taken, and what is refused."""

import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mcpguard.errors import DaemonError
from mcpguard.system.activation import handed_over, launch_activate_socket


@contextmanager
def listening(directory: Path, *names: str) -> Iterator[list[socket.socket]]:
    """Sockets that listen at `NAME.sock`."""
    with ExitStack() as stack:
        found = []
        for name in names:
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.bind(str(directory / f"{name}.sock"))
            sock.listen()
            found.append(sock)
        yield found


def handed(deed: Callable[[dict[str, str]], str], numbers: list[int], names: str, count: str = "") -> str:
    """What `deed` says in a process that gets these descriptors as systemd gives them."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            writer = fcntl.fcntl(writer, fcntl.F_DUPFD, 50)
            high = [fcntl.fcntl(number, fcntl.F_DUPFD, 60) for number in numbers]
            for place, number in enumerate(high):
                os.dup2(number, 3 + place)
            told = {
                "LISTEN_PID": str(os.getpid()),
                "LISTEN_FDS": count or str(len(numbers)),
                "LISTEN_FDNAMES": names,
            }
            said = deed(told)
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        said = file.read().decode()
    os.waitpid(pid, 0)
    return said


def test_both_sockets_are_taken_and_no_child_hears_of_them(tmp_path: Path) -> None:
    def deed(told: dict[str, str]) -> str:
        found = handed_over(tmp_path, told)
        facts = [
            (name, sock.fileno(), sock.getblocking(), os.get_inheritable(sock.fileno()))
            for name, sock in sorted(found.items())
        ]
        return f"{facts} {told}"

    with listening(tmp_path, "run", "admin") as (run, admin):
        numbers = [run.fileno(), admin.fileno()]
        assert (
            handed(deed, numbers, "run:admin") == "[('admin', 4, False, False), ('run', 3, False, False)] {}"
        )
        assert (
            handed(deed, numbers[::-1], "admin:run")
            == "[('admin', 3, False, False), ('run', 4, False, False)] {}"
        )


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "run:admin"},
        {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "run:admin"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0", "LISTEN_FDNAMES": ""},
    ],
)
def test_nothing_is_taken_that_was_not_handed_to_this_process(tmp_path: Path, told: dict[str, str]) -> None:
    given = dict(told)
    assert handed_over(tmp_path, given) == {}
    assert given == {}


@pytest.mark.parametrize(
    ("names", "count", "words"),
    [
        ("run:admin", "1", "1 sockets with 2 names"),
        ("run:admin", "1000000", "1000000 sockets with 2 names"),
        ("run:admin", "\u00b2", "sockets with 2 names"),
        ("run:admin", "-2", "-2 sockets"),
        ("run:run", "2", "sockets called run, run"),
        ("run:other", "2", "sockets called other, run"),
        ("run:admin:more", "3", "sockets called admin, more, run"),
        ("", "1", "sockets called"),
    ],
)
def test_other_numbers_and_names_are_refused(tmp_path: Path, names: str, count: str, words: str) -> None:
    with listening(tmp_path, "run", "admin") as (run, admin):
        said = handed(
            lambda told: str(handed_over(tmp_path, told)), [run.fileno(), admin.fileno()], names, count
        )
    assert said.startswith("DaemonError: the service manager handed over")
    assert words in said


def test_what_is_no_listening_stream_at_the_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with ExitStack() as stack:
        (run,) = stack.enter_context(listening(tmp_path, "run"))
        (elsewhere,) = stack.enter_context(listening(tmp_path / "other", "admin"))
        deaf = stack.enter_context(socket.socket(socket.AF_UNIX))
        deaf.bind(str(tmp_path / "admin.sock"))
        datagram = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        inet = stack.enter_context(socket.socket())
        inet.bind(("127.0.0.1", 0))
        inet.listen()
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(b"\0mcpguard-test-%d" % os.getpid())
        abstract.listen()
        file = stack.enter_context((tmp_path / "file").open("w"))
        for given, words in (
            (deaf, "admin, which does not listen"),
            (datagram, "admin, which is no Unix stream socket"),
            (inet, "admin, which is no Unix stream socket"),
            (file, "admin, which is no socket"),
            (elsewhere, "where nobody looks for it"),
            (abstract, "where nobody looks for it"),
        ):
            numbers = [run.fileno(), given.fileno()]
            said = handed(lambda told: str(handed_over(tmp_path, told)), numbers, "run:admin")
            assert said.startswith("DaemonError"), said
            assert words in said


def test_descriptor_that_is_not_there_is_refused(tmp_path: Path) -> None:
    def deed(told: dict[str, str]) -> str:
        os.close(4)
        return str(handed_over(tmp_path, told))

    with listening(tmp_path, "run", "admin") as (run, admin):
        said = handed(deed, [run.fileno(), admin.fileno()], "run:admin")
    assert "handed over admin: bad file descriptor" in said


def test_sockets_of_launchd_are_asked_for_by_name(tmp_path: Path) -> None:
    with listening(tmp_path, "run", "admin") as (run, admin):
        held = {"run": [os.dup(run.fileno())], "admin": [os.dup(admin.fileno())]}
        found = handed_over(tmp_path, {}, held.__getitem__)
        assert {name: sock.fileno() for name, sock in found.items()} == {k: v[0] for k, v in held.items()}
        for sock in found.values():
            sock.close()
        assert handed_over(tmp_path, {}, lambda _: []) == {}
        for wrong in ({"run": [run.fileno()], "admin": []}, {"run": [run.fileno()] * 2, "admin": []}):
            with pytest.raises(DaemonError, match="a daemon needs run and admin"):
                handed_over(tmp_path, {}, wrong.__getitem__)


@pytest.mark.skipif("sys.platform == 'darwin'", reason="on macOS the library is there")
def test_call_of_launchd_needs_its_library() -> None:
    with pytest.raises(OSError, match="libSystem") as caught:
        launch_activate_socket("run")
    assert caught.value.errno in (None, errno.ENOENT)
