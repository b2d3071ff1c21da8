import asyncio
import os
import socket

from mcpguard.daemon.inner import Direct, Inner
from tests.daemon.loops import both_loops, eventually, run


def far(inner: Inner) -> socket.socket:
    """The session's end."""
    stdin, stdout, stderr = inner.take()
    os.close(stdout)
    os.close(stderr)
    sock = socket.socket(fileno=stdin)
    sock.setblocking(False)
    return sock


@both_loops
def test_lines_go_in_and_come_out_however_they_are_cut(loop: str) -> None:
    async def story() -> None:
        lines: list[bytes] = []
        inner = Inner(lines.append, lambda _: None)
        sock, running = far(inner), asyncio.get_running_loop()
        await inner.send(b"hello")
        assert await running.sock_recv(sock, 100) == b"hello\n"
        for part in (b"on", b"e\ntw", b"o\n", b"three\nfour\n"):
            await running.sock_sendall(sock, part)
            await asyncio.sleep(0.01)
        assert await eventually(lambda: len(lines) == 4)
        assert lines == [b"one", b"two", b"three", b"four"]
        inner.end()
        sock.close()

    run(story, loop)


@both_loops
def test_what_a_session_says_last_is_read_before_it_is_over(loop: str) -> None:
    async def story() -> None:
        lines: list[bytes] = []
        over: list[str] = []
        inner = Inner(lines.append, over.append)
        sock = far(inner)
        sock.setblocking(True)
        sock.sendall(b"last\n" * 1000)
        sock.close()
        inner.say("why")
        inner.exit(0)
        assert await eventually(lambda: over)
        assert (len(lines), over) == (1000, ["why"])

    run(story, loop)


def test_a_session_that_takes_nothing_holds_its_sender_up() -> None:
    async def story() -> None:
        inner = Inner(lambda _: None, lambda _: None)
        sock = far(inner)
        sending = asyncio.get_running_loop().create_task(_send_much(inner))
        await asyncio.sleep(0.05)
        assert not sending.done()
        got = 0
        while not sending.done() or got < 64 << 20:
            got += len(await asyncio.get_running_loop().sock_recv(sock, 1 << 20))
        inner.end()
        sock.close()

    run(story)


async def _send_much(inner: Inner) -> None:
    for _ in range(64):
        await inner.send(b"x" * ((1 << 20) - 1))


def test_a_session_that_never_began_leaves_nothing_open() -> None:
    async def story() -> None:
        before = len(os.listdir("/proc/self/fd"))
        inner = Inner(lambda _: None, lambda _: None)
        inner.end()
        near, other = socket.socketpair()
        direct = Direct((os.dup(near.fileno()), os.dup(near.fileno())), lambda _: None)
        direct.end()
        near.close()
        other.close()
        assert len(os.listdir("/proc/self/fd")) == before

    run(story)


def test_ending_asks_the_session() -> None:
    async def story() -> None:
        told: list[str] = []
        near, other = socket.socketpair()
        direct = Direct((os.dup(near.fileno()), os.dup(near.fileno())), told.append)
        for descriptor in direct.take():
            os.close(descriptor)
        direct.watch(lambda: told.append("term"), lambda: None)
        direct.end()
        direct.say("a reason")
        direct.exit(0)
        direct.end()
        assert told == ["term", "a reason"]
        near.close()
        other.close()

    run(story)
