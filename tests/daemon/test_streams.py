"""Inlet and Outlet over real pipes and sockets."""

import asyncio
import os
import select
import socket
import time

import pytest

from mcpguard import limits
from mcpguard.daemon.streams import Inlet, Outlet
from mcpguard.daemon.tasks import spawn_task
from tests.daemon.loops import both_loops, eventually, run

KINDS = pytest.mark.parametrize("kind", ["pipe", "socket"])


def ends(kind: str) -> tuple[int, int]:
    """A reading and a writing descriptor."""
    if kind == "pipe":
        return os.pipe()
    one, two = socket.socketpair()
    return one.detach(), two.detach()


async def taken(reader: int) -> bytes:
    """What is there to read, without holding up the loop; empty at the end."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    assert await eventually(lambda: poll.poll(0))
    return os.read(reader, 1 << 20)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@both_loops
@KINDS
def test_bytes_arrive_until_the_end(kind: str, loop: str) -> None:
    async def story() -> None:
        reader, writer = ends(kind)
        seen, ended = bytearray(), []
        inlet = Inlet(asyncio.get_running_loop(), reader, seen.extend, lambda: ended.append(1))
        os.write(writer, b"before")
        await asyncio.sleep(0.01)
        assert not seen  # nobody asked for it yet
        inlet.resume()
        inlet.resume()
        assert await eventually(lambda: seen == b"before")
        inlet.pause()
        inlet.pause()
        os.write(writer, b" and after")
        await asyncio.sleep(0.01)
        assert seen == b"before"
        inlet.resume()
        assert await eventually(lambda: seen == b"before and after")
        os.close(writer)
        assert await eventually(lambda: ended)
        inlet.close()
        inlet.resume()
        assert not inlet.watching
        await asyncio.sleep(0.01)
        assert ended == [1]

    before = descriptors()
    run(story, loop)
    assert descriptors() == before


@both_loops
@KINDS
def test_what_cannot_be_written_is_kept_in_order(kind: str, loop: str) -> None:
    async def story() -> None:
        reader, writer = ends(kind)
        pressed: list[bool] = []
        outlet = Outlet(asyncio.get_running_loop(), writer, pressed.append, lambda: pytest.fail("broken"))
        sent = b"".join(b"%08d" % n for n in range(limits.QUEUE_BYTES // 4))
        for place in range(0, len(sent), 100_000):
            outlet.write(sent[place : place + 100_000])
        assert pressed == [True]
        assert outlet.full
        assert outlet.kept > limits.QUEUE_BYTES
        seen = bytearray()
        while len(seen) < len(sent):
            seen += await taken(reader)
        assert seen == sent
        await eventually(lambda: not outlet.kept)
        assert pressed == [True, False]
        assert not outlet.full
        outlet.finish()
        assert os.read(reader, 1) == b""
        os.close(reader)
        outlet.write(b"too late")
        outlet.close()

    before = descriptors()
    run(story, loop)
    assert descriptors() == before


@both_loops
@KINDS
def test_finish_writes_what_is_kept_and_then_closes(kind: str, loop: str) -> None:
    async def story() -> None:
        reader, writer = ends(kind)
        outlet = Outlet(asyncio.get_running_loop(), writer, lambda _: None, lambda: None)
        outlet.write(b"x" * (2 * limits.MIB))
        outlet.finish()
        outlet.write(b"more")
        seen = 0
        while data := await taken(reader):
            seen += len(data)
        assert seen == 2 * limits.MIB
        os.close(reader)

    run(story, loop)


@both_loops
@KINDS
def test_reader_that_is_gone_breaks_once_and_relieves_the_pressure(kind: str, loop: str) -> None:
    async def story() -> None:
        reader, writer = ends(kind)
        told: list[object] = []
        outlet = Outlet(asyncio.get_running_loop(), writer, told.append, lambda: told.append("broken"))
        outlet.write(b"x" * (limits.QUEUE_BYTES + 2 * limits.MIB))
        assert told == [True]
        os.close(reader)
        assert await eventually(lambda: len(told) > 1)
        assert told == [True, False, "broken"]
        assert outlet.kept == 0
        outlet.write(b"x")
        outlet.close()
        await outlet.emptied(5)
        assert told == [True, False, "broken"]

    before = descriptors()
    run(story, loop)
    assert descriptors() == before


@both_loops
def test_emptied_waits_for_the_reader_but_not_for_ever(loop: str) -> None:
    async def story() -> None:
        reader, writer = os.pipe()
        outlet = Outlet(asyncio.get_running_loop(), writer, lambda _: None, lambda: None)
        await outlet.emptied(5)
        outlet.write(b"x" * (2 * limits.MIB))
        began = time.monotonic()
        await outlet.emptied(0.05)
        assert 0.04 < time.monotonic() - began < 1
        assert outlet.kept
        waiting = spawn_task(outlet.emptied(5), name="waiting")
        while not waiting.done():
            await taken(reader)
            await asyncio.sleep(0.001)
        await waiting
        assert not outlet.kept
        outlet.close()
        os.close(reader)

    run(story, loop)


@both_loops
@KINDS
def test_descriptors_that_others_share_stay_blocking(kind: str, loop: str) -> None:
    async def story() -> None:
        (reader, theirs), (shared, writer) = ends(kind), ends(kind)
        copies = os.dup(reader), os.dup(writer)
        event = asyncio.get_running_loop()
        inlet = Inlet(event, reader, lambda _: None, lambda: None)
        outlet = Outlet(event, writer, lambda _: None, lambda: None)
        for _ in range(2):
            inlet.resume()
            outlet.write(b"x" * (2 * limits.MIB))
            await asyncio.sleep(0.01)
            assert [os.get_blocking(fd) for fd in (*copies, theirs, shared)] == [True] * 4
            inlet.pause()
        inlet.close()
        outlet.close()
        for fd in (*copies, theirs, shared):
            os.close(fd)

    run(story, loop)


@both_loops
@KINDS
def test_writer_that_left_is_seen_behind_unread_bytes(kind: str, loop: str) -> None:
    async def story() -> None:
        reader, writer = ends(kind)
        inlet = Inlet(asyncio.get_running_loop(), reader, lambda _: None, lambda: None)
        os.write(writer, b"unread")
        assert not inlet.hung_up()
        os.close(writer)
        assert inlet.hung_up()
        inlet.close()
        assert not inlet.hung_up()

    run(story, loop)


@both_loops
def test_half_closed_socket_counts_as_left(loop: str) -> None:
    async def story() -> None:
        one, two = socket.socketpair()
        inlet = Inlet(asyncio.get_running_loop(), one.detach(), lambda _: None, lambda: None)
        two.send(b"unread")
        two.shutdown(socket.SHUT_WR)
        assert inlet.hung_up()
        inlet.close()
        two.close()

    run(story, loop)


@both_loops
def test_reset_connection_is_an_end(loop: str) -> None:
    async def story() -> None:
        one, two = socket.socketpair()
        ended: list[int] = []
        inlet = Inlet(asyncio.get_running_loop(), one.detach(), lambda _: None, lambda: ended.append(1))
        os.write(inlet._fd, b"never read")
        two.close()  # with something unread: the kernel answers ECONNRESET
        inlet.resume()
        assert await eventually(lambda: ended)
        await asyncio.sleep(0.01)
        assert ended == [1]

    run(story, loop)
