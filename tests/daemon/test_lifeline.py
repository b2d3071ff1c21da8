"""The handshake, byte by byte, and the lines that follow it."""

import array
import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

import pytest

from mcpguard import __version__, limits
from mcpguard.daemon.lifeline import Lifeline
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import DaemonError, GuardError, PeerError, ProtocolError
from mcpguard.protocol.hello import Hello
from mcpguard.system.peercred import attest
from tests.daemon.loops import both_loops, eventually, run


def block(
    nonce: bytes,
    *,
    version: str = __version__,
    rest: tuple[bytes, ...] = (b"command", b"", b"/", b"18 -1 0", b"1", b"cat"),
) -> bytes:
    body = b"\0".join([b"run1", version.encode(), nonce, *rest])
    return len(body).to_bytes(4, "big") + body


def pass_on(sock: socket.socket, data: bytes, descriptors: list[int]) -> None:
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])


async def shaken(
    say: Callable[[socket.socket, bytes], Awaitable[None]], seconds: float = 5.0, *, asked: bool = True
) -> tuple[Hello, list[int]]:
    """Exchange a handshake with a shim that answers the nonce in its own way; every descriptor is closed after."""
    before = len(os.listdir("/proc/self/fd"))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    for option in (16, 76) if asked else ():  # SO_PASSCRED, SO_PASSPIDFD
        ours.setsockopt(socket.SOL_SOCKET, option, 1)
    peer = attest(ours)
    lifeline = Lifeline(ours, seconds, peer)
    try:
        shaking = spawn_task(lifeline.hello(), name="handshake")
        greeting = await asyncio.get_running_loop().sock_recv(theirs, 1000)
        assert greeting.startswith(b"mcpguard 1 %b " % __version__.encode())
        await say(theirs, greeting.split()[3])
        return await shaking, [os.fstat(fd).st_mode for fd in lifeline.descriptors]
    finally:
        peer.close()
        lifeline.close()
        theirs.close()
        assert len(os.listdir("/proc/self/fd")) == before


@both_loops
def test_handshake(loop: str) -> None:
    async def say(sock: socket.socket, nonce: bytes) -> None:
        pass_on(
            sock,
            block(nonce, rest=(b"command", b"n", b"/w", b"18 -1 0", b"2", b"cat", b"-u", b"A=1", b"")),
            [0, 1, 2],
        )

    hello, descriptors = run(lambda: shaken(say), loop)
    assert (hello.kind, hello.name, hello.cwd, hello.argv, hello.env) == (
        "command",
        "n",
        b"/w",
        (b"cat", b"-u"),
        (b"A=1",),
    )
    assert descriptors == [os.fstat(fd).st_mode for fd in (0, 1, 2)]


@both_loops
def test_handshake_in_pieces_with_descriptors_in_pieces(loop: str) -> None:
    async def say(sock: socket.socket, nonce: bytes) -> None:
        data = block(nonce, rest=(b"command", b"", b"/", b"18 -1 0", b"1", b"cat", b"BIG=" + b"x" * 500_000))
        for n, fd in enumerate((0, 1, 2)):
            pass_on(sock, data[n : n + 1], [fd])
            await asyncio.sleep(0.005)
        await asyncio.get_running_loop().sock_sendall(sock, data[3:])

    hello, descriptors = run(lambda: shaken(say), loop)
    assert len(hello.env[0]) == 500_004
    assert len(descriptors) == 3


def wrong(
    data: Callable[[bytes], bytes], error: type[GuardError], words: str, *, hang_up: bool = False
) -> None:
    async def say(sock: socket.socket, nonce: bytes) -> None:
        pass_on(sock, data(nonce), [0, 1, 2])
        if hang_up:
            sock.shutdown(socket.SHUT_WR)

    async def story() -> None:
        with pytest.raises(error, match=words) as caught:
            await shaken(say)
        assert "\n" not in caught.value.sentence()

    run(story)


def test_replayed_nonce_is_refused() -> None:
    wrong(lambda _: block(b"0" * 32), PeerError, "does not answer this daemon's greeting")


def test_nonce_of_another_case_or_length_is_refused() -> None:
    wrong(lambda nonce: block(nonce.upper() + b"A"), PeerError, "does not answer")
    wrong(lambda nonce: block(nonce[:-1]), PeerError, "does not answer")


def test_other_version_is_refused_with_what_to_do() -> None:
    wrong(lambda nonce: block(nonce, version="9.9.9"), DaemonError, "is version 9.9.9 and the running daemon")


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\0",
        b"\0\0\0\5hello",
        b"\0\0\0\4run2",
        (limits.HELLO_BYTES - 3).to_bytes(4, "big") + b"x",
        b"\xff" * 100,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\1xtoo much",
    ],
)
def test_garbage_is_refused(data: bytes) -> None:
    wrong(lambda _: data, ProtocolError, "handshake")


@pytest.mark.parametrize(
    "rest",
    [
        (b"frob", b"", b"/", b"18 -1 0", b"1", b"cat"),
        (b"command", b"", b"/", b"18 -1 0", b"0", b"cat"),
        (b"command", b"", b"/", b"18 -1 0", b"2", b"cat"),
        (b"command", b"", b"/", b"18 -1 0", b"-1", b"cat"),
        (b"command", b"", b"/", b"18 -1 0", b"1", b""),
        (b"command", b"", b"relative", b"18 -1 0", b"1", b"cat"),
        (b"command", b"", b"", b"18 -1 0", b"1", b"cat"),
        (b"command", b"\xff", b"/", b"18 -1 0", b"1", b"cat"),
        (b"command", b"a\nb", b"/", b"18 -1 0", b"1", b"cat"),
        (b"command", b"x" * 129, b"/", b"18 -1 0", b"1", b"cat"),
        (b"command", b"", b"/", b"1", b"cat"),
        (b"command", b"", b"/", b"-1 0 0", b"1", b"cat"),
        (b"command", b"", b"/", b"18 0", b"1", b"cat"),
        (b"command", b"", b"/", b"18 x 0", b"1", b"cat"),
        (b"command",),
    ],
)
def test_fields_that_are_none_are_refused(rest: tuple[bytes, ...]) -> None:
    wrong(lambda nonce: block(nonce, rest=rest), ProtocolError, "handshake|name of a server")


def test_shim_that_goes_away_is_refused() -> None:
    wrong(lambda nonce: block(nonce)[:-1], PeerError, "the shim is gone", hang_up=True)


@both_loops
def test_shim_that_takes_its_time_is_refused(loop: str) -> None:
    async def say(sock: socket.socket, nonce: bytes) -> None:
        data = block(nonce)
        for place in range(20):
            pass_on(sock, data[place : place + 1], [0] if place == 0 else [])
            await asyncio.sleep(0.02)

    async def story() -> None:
        with pytest.raises(PeerError, match="took too long"):
            await shaken(say, 0.2)

    run(story, loop)


@pytest.mark.parametrize("counts", [[4], [8], [9], [253], [2, 2], [1, 1, 1, 1]])
def test_more_descriptors_than_three_are_refused(counts: list[int]) -> None:
    async def say(sock: socket.socket, nonce: bytes) -> None:
        data = block(nonce)
        for n, number in enumerate(counts):
            pass_on(sock, data[n : n + 1], [0] * number)

    async def story() -> None:
        with pytest.raises(PeerError, match="too many descriptors were passed"):
            await shaken(say)

    run(story)


def sent_by_another(data: bytes, sock: socket.socket) -> None:
    """A child of ours, which has a copy of the socket, says it and passes three descriptors."""
    child = os.fork()
    if child == 0:
        try:
            pass_on(sock, data, [0, 1, 2])
        finally:
            os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.parametrize("begun", [0, 1, 10])
def test_case_50_handshake_that_another_process_sends_or_ends_is_refused(begun: int) -> None:
    async def say(sock: socket.socket, nonce: bytes) -> None:
        data = block(nonce)
        if begun:
            sock.send(data[:begun])
        sent_by_another(data[begun:], sock)

    async def story() -> None:
        with pytest.raises(PeerError, match="sent by another process than the one that connected"):
            await shaken(say)

    run(story)


def test_handshake_without_credentials_is_refused() -> None:
    async def say(sock: socket.socket, nonce: bytes) -> None:
        pass_on(sock, block(nonce), [0, 1, 2])

    async def story() -> None:
        with pytest.raises(PeerError, match="does not say who sent"):
            await shaken(say, asked=False)

    run(story)


def test_handshake_of_someone_at_whom_nobody_looked_is_refused() -> None:
    async def story() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            ours.setsockopt(socket.SOL_SOCKET, 16, 1)
            lifeline = Lifeline(ours)
            pass_on(theirs, b"\0\0\0\5", [0])
            with pytest.raises(PeerError, match="nobody looked"):
                await lifeline.hello()
            lifeline.close()

    run(story)


@both_loops
def test_lines_and_signals_of_a_running_session(loop: str) -> None:
    async def story() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.settimeout(5)
        lifeline = Lifeline(ours)
        told: list[str] = []
        lifeline.watch(
            lambda: told.append("term"),
            lambda: told.append("gone"),
            lambda pid: told.append(f"adopter {pid}"),
        )
        lifeline.ready()
        lifeline.ready(look=True)
        lifeline.say("two\nlines \x1b[31m")
        lifeline.refuse(5, PeerError("no", hint="go away"))
        lifeline.exit(137)
        assert (
            theirs.recv(1000)
            == b"ready\nready look\nsay two\\nlines \\x1b[31m\nrefuse 5 no: go away\nexit 137\n"
        )
        theirs.send(b"term\n")
        assert await eventually(lambda: told == ["term"])
        for line in (
            b"adopter 0\n",
            b"adopter -1\n",
            b"adopter 9999999999\n",
            b"adopter x\n",
            b"adopter 7\n",
        ):
            theirs.send(line)
            await asyncio.sleep(0.01)
        assert await eventually(lambda: told == ["term", "adopter 7"])
        theirs.close()
        assert await eventually(lambda: told == ["term", "adopter 7", "gone"])
        lifeline.say("nobody listens")
        lifeline.close()
        lifeline.close()

    run(story, loop)


def test_descriptors_are_taken_once() -> None:
    async def story() -> None:
        ours, theirs = socket.socketpair()
        lifeline = Lifeline(ours)
        lifeline._descriptors = [os.dup(0)]
        (taken,) = lifeline.take()
        assert lifeline.descriptors == []
        lifeline.close()
        os.fstat(taken)
        os.close(taken)
        theirs.close()

    run(story)
