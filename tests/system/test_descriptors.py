"""Descriptors that were passed: received whole or not at all, checked before they are touched."""

import array
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mcpguard.errors import PeerError
from mcpguard.system.descriptors import check_stdio, close_all, private_pipe, receive


def count() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def opened(*descriptors: int) -> Iterator[list[int]]:
    try:
        yield list(descriptors)
    finally:
        for fd in set(descriptors):
            os.close(fd)


@contextmanager
def pipes() -> Iterator[tuple[int, int, int, int]]:
    """Both ends of two pipes: reader, writer, reader, writer."""
    one, two = os.pipe(), os.pipe()
    with opened(*one, *two):
        yield (*one, *two)


def send(sock: socket.socket, descriptors: list[int], data: bytes = b"x") -> None:
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair()
    one.setblocking(False)
    with one, two:
        yield one, two


# --- receiving ------------------------------------------------------------------------------------------


def test_descriptors_arrive_close_on_exec() -> None:
    with pair() as (ours, theirs), pipes() as (reader, writer, *_):
        send(theirs, [reader, writer])
        data, found, sender = receive(ours, 10)
        assert data == b"x"
        assert len(found) == 2
        assert (sender.credentials, sender.pidfd) == (None, -1)  # nobody asked
        assert not any(map(os.get_inheritable, found))
        assert [os.path.sameopenfile(a, b) for a, b in zip(found, (reader, writer), strict=True)] == [
            True,
            True,
        ]
        close_all(found)
        assert found == []


def test_nothing_there_yet() -> None:
    with pair() as (ours, _), pytest.raises(BlockingIOError):
        receive(ours, 10)


@pytest.mark.parametrize("number", [4, 5, 9, 10, 64, 253])
def test_too_many_are_closed_and_refused(number: int) -> None:
    with pair() as (ours, theirs), pipes() as (reader, *_):
        before = count()
        send(theirs, [reader] * number)
        with pytest.raises(PeerError, match="too many descriptors"):
            receive(ours, 10)
        assert count() == before


def test_sender_is_told_where_it_was_asked_for() -> None:
    with pair() as (ours, theirs), pipes() as (reader, writer, *_):
        ours.setsockopt(socket.SOL_SOCKET, 16, 1)  # SO_PASSCRED
        ours.setsockopt(socket.SOL_SOCKET, 76, 1)  # SO_PASSPIDFD
        before = count()
        send(theirs, [reader, writer, reader])
        _, found, sender = receive(ours, 10)
        assert len(found) == 3
        assert sender.credentials == (os.getpid(), os.getuid(), os.getgid())
        with opened(os.pidfd_open(os.getpid())) as (mine,):
            assert os.fstat(sender.pidfd).st_ino == os.fstat(mine).st_ino
        assert not os.get_inheritable(sender.pidfd)
        close_all(found)
        sender.close()
        sender.close()
        assert count() == before


@pytest.mark.parametrize("number", [4, 5, 6, 253])
def test_too_many_leave_no_handle_on_the_sender(number: int) -> None:
    with pair() as (ours, theirs), pipes() as (reader, *_):
        for option in (16, 76):
            ours.setsockopt(socket.SOL_SOCKET, option, 1)
        before = count()
        send(theirs, [reader] * number)
        with pytest.raises(PeerError, match="too many descriptors"):
            receive(ours, 10)
        assert count() == before


# --- checking -------------------------------------------------------------------------------------------


def test_pipes_and_sockets_are_taken(tmp_path: Path) -> None:
    with ExitStack() as stack:
        reader, writer, reader2, writer2 = stack.enter_context(pipes())
        one, two = stack.enter_context(pair())
        null = stack.enter_context(opened(os.open("/dev/null", os.O_WRONLY)))
        file = stack.enter_context(opened(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)))
        controller, terminal = stack.enter_context(opened(*os.openpty()))
        check_stdio([reader, writer2, writer2], frozenset())
        check_stdio([one.fileno(), one.fileno(), one.fileno()], frozenset())
        check_stdio([one.fileno(), two.fileno(), *null], frozenset())
        check_stdio([reader, writer2, *file], frozenset())
        check_stdio([reader2, writer, terminal], frozenset())
        assert controller


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_three_are_needed(number: int) -> None:
    with (
        pipes() as (reader, *_),
        pytest.raises(PeerError, match=f"three descriptors are needed, {number} were"),
    ):
        check_stdio([reader] * number, frozenset())


def test_wrong_ends_are_refused() -> None:
    with pipes() as (reader, writer, reader2, writer2):
        for passed, name in (
            ([writer, writer2, writer2], "stdin"),
            ([reader, reader2, writer2], "stdout"),
            ([reader, writer2, reader2], "stderr"),
        ):
            with pytest.raises(PeerError, match=f"{name} is the wrong end of a pipe"):
                check_stdio(passed, frozenset())


def test_both_ends_of_one_pipe_are_refused() -> None:
    with (
        pipes() as (reader, writer, *_),
        pytest.raises(PeerError, match="stdin and stdout are the same pipe"),
    ):
        check_stdio([reader, writer, writer], frozenset())


def refused(fd: int, words: str, *, everywhere: bool = True) -> None:
    """As stdin and stdout, and as stderr too if nothing else is said."""
    with pipes() as (reader, writer, *_):
        passed = {
            "stdin": [fd, writer, writer],
            "stdout": [reader, fd, writer],
            "stderr": [reader, writer, fd],
        }
        for name in passed if everywhere else ("stdin", "stdout"):
            with pytest.raises(PeerError, match=f"{name} {words}") as caught:
                check_stdio(passed[name], frozenset())
            assert "\n" not in caught.value.sentence()


def test_terminal_is_refused() -> None:
    with opened(*os.openpty()) as (_, terminal):
        refused(terminal, "is a terminal", everywhere=False)


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", __file__])
def test_files_and_devices_are_refused(path: str) -> None:
    with opened(os.open(path, os.O_RDWR)) as (fd,):
        refused(fd, "is neither a pipe nor a socket", everywhere=False)


def test_stderr_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with (
        opened(os.open(__file__, os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)) as found,
        pipes() as (reader, writer, *_),
    ):
        for fd in found:
            with pytest.raises(PeerError, match="stderr cannot be written to"):
                check_stdio([reader, writer, fd], frozenset())


def test_path_handle_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with opened(os.open(tmp_path / "pipe", os.O_PATH)) as (fd,):
        refused(fd, "is not open for reading or writing")


def test_sockets_of_other_kinds_are_refused(tmp_path: Path) -> None:
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.socket(socket.AF_UNIX)),
            stack.enter_context(socket.socket(socket.AF_INET)),
            *map(stack.enter_context, socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)),
            *map(stack.enter_context, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)),
        ]
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        for sock in (*sockets, listening):
            refused(sock.fileno(), "is not a connected Unix stream socket")


def test_own_sockets_are_refused_from_either_end(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with (
        socket.socket(socket.AF_UNIX) as listening,
        socket.socket(socket.AF_UNIX) as ours,
        pipes() as (_, writer, *_),
    ):
        listening.bind(path)
        listening.listen()
        ours.connect(path)
        info = os.fstat(listening.fileno())
        own: frozenset[tuple[int, int] | str] = frozenset({(info.st_dev, info.st_ino), path})
        with pytest.raises(PeerError, match="stdin is a socket of mcpguard itself"):
            check_stdio([listening.fileno(), writer, writer], own)
        with pytest.raises(PeerError, match="stdin is a connection to mcpguard itself"):
            check_stdio([ours.fileno(), writer, writer], own)
        check_stdio([ours.fileno(), writer, writer], frozenset())


# --- opening anew ---------------------------------------------------------------------------------------


def test_pipe_of_our_own_leaves_the_shared_one_blocking() -> None:
    with pipes() as (reader, writer, *_):
        mine, yours = private_pipe(os.dup(writer), writing=True), private_pipe(os.dup(reader), writing=False)
        assert not os.get_blocking(mine)
        assert not os.get_blocking(yours)
        assert not os.get_inheritable(mine)
        assert os.get_blocking(reader)
        assert os.get_blocking(writer)
        os.write(mine, b"hello")
        assert os.read(yours, 9) == b"hello"
        with pytest.raises(BlockingIOError):
            os.read(yours, 9)
        close_all([mine, yours])


def test_pipe_that_cannot_be_opened_anew_is_shared(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(tmp_path / "pipe", os.O_WRONLY)
    os.close(reader)
    same = private_pipe(writer, writing=True)  # nobody reads: the kernel says ENXIO
    assert same == writer
    assert not os.get_blocking(same)
    os.close(same)
