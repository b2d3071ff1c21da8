"""The narrow stream: read and write one descriptor without ever blocking the loop.

Rule 1: a pump waits only for the far side. What cannot be written at once is kept, and while more than a bound is
kept the *other* side is not read; nothing else ever waits.
Rule 2: sockets are read and written with MSG_DONTWAIT and pipes through an open file of our own, because
O_NONBLOCK on a shared one would change the host's own descriptors.

Reading and writing descriptors directly from `loop.add_reader` was measured as fast as uvloop's transports, and
needs no protocol objects.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import stat
from collections.abc import Callable
from typing import Final

from mcpguard import limits
from mcpguard.system.descriptors import private_pipe, widen_pipe

_FULL_BYTES: Final = 64 * 1024
"""Capacity of a pipe by default: a read of so much found it full."""
_HANGUP: Final = getattr(select, "POLLRDHUP", select.POLLHUP)
_DONTWAIT: Final = socket.MSG_DONTWAIT
_SEND: Final = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)


class Inlet:
    """The readable end of a connection. Owns its descriptor.

    Args:
        loop: The loop that watches it.
        fd: A pipe or stream socket; taken over.
        received: Called with the bytes of each read.
        ended: Called once, at the end of file or on an error, which for a guard is the same.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        received: Callable[[bytes], None],
        ended: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._received = received
        self._ended = ended
        self._sock, self._fd = _own(fd, writing=False)
        self._blocking = os.get_blocking(self._fd)
        self.watching = False
        self._open = True
        self._wide = False

    def resume(self) -> None:
        """Read from now on."""
        if self._open and not self.watching:
            self._loop.add_reader(self._fd, self._ready)
            _restore(self._sock, self._blocking)
            self.watching = True

    def pause(self) -> None:
        """Leave further bytes where they are."""
        if self.watching:
            self._loop.remove_reader(self._fd)
            self.watching = False

    def hung_up(self) -> bool:
        """Whether the writer is gone, which nobody notices while reading is paused."""
        poll = select.poll()
        poll.register(self._fd, _HANGUP)
        return self._open and bool(poll.poll(0))

    def drain(self) -> None:
        """Read what is there already, to its end: the writer is gone."""
        self.resume()
        while self.watching:
            before = select.select([self._fd], [], [], 0)[0]
            if not before:
                return
            self._ready()

    def close(self) -> None:
        """Stop reading and let go of the descriptor."""
        self.pause()
        if self._open:
            self._open = False
            _close(self._sock, self._fd)

    def _ready(self) -> None:
        try:
            if self._sock is not None:
                data = self._sock.recv(limits.READ_BYTES, _DONTWAIT)
            else:
                data = os.read(self._fd, limits.READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            if len(data) >= _FULL_BYTES and not self._wide and self._sock is None:
                self._wide = True
                widen_pipe(self._fd)
            self._received(data)
        else:
            self.close()
            self._ended()


class Outlet:
    """The writable end of a connection. Owns its descriptor.

    Args:
        loop: The loop that watches it.
        fd: A pipe or stream socket; taken over.
        pressed: Called with True when more than the bound is kept, with False when all of it is gone: written, or
            lost with the reader.
        broken: Called once when the reader is gone.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        pressed: Callable[[bool], None],
        broken: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._pressed = pressed
        self._broken = broken
        self._sock, self._fd = _own(fd, writing=True)
        self._blocking = os.get_blocking(self._fd)
        self._kept: list[bytes | memoryview] = []
        self._size = 0
        self._over = False
        self._closing = False
        self._open = True
        self._wide = False
        self._emptied: asyncio.Event | None = None

    @property
    def kept(self) -> int:
        """Bytes not yet written."""
        return self._size

    @property
    def full(self) -> bool:
        """Whether more than the bound was kept, and not all of it is gone yet."""
        return self._over

    def write(self, data: bytes) -> None:
        """Write now what can be written, keep the rest."""
        if not self._open or self._closing:
            return
        if not self._kept:
            sent = self._send(data)
            if sent == len(data) or not self._open:
                return
            if not self._wide and self._sock is None:
                self._wide = True
                widen_pipe(self._fd)
                sent += self._send(memoryview(data)[sent:])
                if sent == len(data) or not self._open:
                    return
            self._kept.append(memoryview(data)[sent:])
            self._size = len(data) - sent
            self._loop.add_writer(self._fd, self._ready)
            _restore(self._sock, self._blocking)
        else:
            self._kept.append(data)
            self._size += len(data)
        if self._size > limits.QUEUE_BYTES and not self._over:
            self._over = True
            self._pressed(True)

    def finish(self) -> None:
        """Close once everything kept is written."""
        self._closing = True
        if not self._kept:
            self.close()

    async def emptied(self, seconds: float) -> None:
        """Wait until nothing is kept, the reader is gone, or the time is over."""
        if self._kept and self._open:
            self._emptied = asyncio.Event()
            try:
                async with asyncio.timeout(seconds):
                    await self._emptied.wait()
            except TimeoutError:
                return

    def close(self) -> None:
        """Let go of the descriptor; what is kept is lost."""
        if not self._open:
            return
        self._open = False
        if self._kept:
            self._loop.remove_writer(self._fd)
            self._kept.clear()
            self._size = 0
        _close(self._sock, self._fd)
        self._settle()
        if self._over:
            self._over = False
            self._pressed(False)

    def _send(self, data: bytes | memoryview) -> int:
        try:
            if self._sock is not None:
                return self._sock.send(data, _SEND)
            return os.write(self._fd, data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self.close()
            self._broken()
            return 0

    def _ready(self) -> None:
        while self._kept:
            first = self._kept[0]
            sent = self._send(first)
            if not self._open:
                return
            self._size -= sent
            if sent < len(first):
                self._kept[0] = memoryview(first)[sent:]
                return
            self._kept.pop(0)
        self._loop.remove_writer(self._fd)
        if self._over:
            self._over = False
            self._pressed(False)
        self._settle()
        if self._closing:
            self.close()

    def _settle(self) -> None:
        if self._emptied is not None:
            self._emptied.set()


def _own(fd: int, *, writing: bool) -> tuple[socket.socket | None, int]:
    """Take over a descriptor: the socket if it is one, and the descriptor to watch."""
    if stat.S_ISSOCK(os.fstat(fd).st_mode):
        return socket.socket(fileno=fd), fd
    return None, private_pipe(fd, writing=writing)


def _restore(sock: socket.socket | None, blocking: bool) -> None:
    """Undo what uvloop does to a descriptor that it watches: O_NONBLOCK on a socket that others hold too."""
    if sock is not None:
        os.set_blocking(sock.fileno(), blocking)


def _close(sock: socket.socket | None, fd: int) -> None:
    if sock is not None:
        sock.close()
    else:
        os.close(fd)
