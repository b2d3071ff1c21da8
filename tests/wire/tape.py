"""A server without opinions: tells a socket every byte it reads, and writes exactly the bytes it is told to.

Started as the guarded server, with the path of the socket as its one argument. What stdin gives goes to the socket
as it is. Orders come back: one byte for the stream (`1` stdout, `2` stderr), four for the length, then the bytes.
Between two orders for stdout it waits until the reader has taken everything, so that each order is a read of its
own. The end of either stream ends it. Imports the interpreter's own C modules only, to start fast.
"""

import _socket
import fcntl
import posix
import select
import sys
import termios
import time

_PATIENCE_SECONDS = 10.0


def main() -> None:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    sock.connect(sys.argv[1])
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(sock.fileno(), select.POLLIN)
    orders = b""
    while True:
        for fd, _ in poll.poll():
            data = posix.read(fd, 1 << 20)
            if not data:
                return
            if fd == 0:
                sock.sendall(data)
            else:
                orders = obey(orders + data)


def obey(orders: bytes) -> bytes:
    """Carry out whole orders; returns what is left."""
    at = 0
    while len(orders) - at >= 5:
        end = at + 5 + int.from_bytes(orders[at + 1 : at + 5], "big")
        if len(orders) < end:
            break
        fd = orders[at] - ord("0")
        write(fd, memoryview(orders)[at + 5 : end])
        if fd == 1:
            drain()
        at = end
    return orders[at:]


def write(fd: int, data: memoryview) -> None:
    while data:
        data = data[posix.write(fd, data) :]


def drain() -> None:
    """Wait until the reader of stdout has everything, or is gone."""
    poll = select.poll()
    poll.register(1, 0)
    until = time.monotonic() + _PATIENCE_SECONDS
    while int.from_bytes(fcntl.ioctl(1, termios.FIONREAD, b"\0\0\0\0"), sys.byteorder):
        if poll.poll(0) or time.monotonic() > until:
            return
        posix.sched_yield()


try:
    main()
except (BrokenPipeError, ConnectionResetError):
    pass  # the guard, or the test, is through with this connection
