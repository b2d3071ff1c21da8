"""A listener's end of one session: the session speaks stdio framing to a socket pair, and this is its other end.

So the gate judges what comes over a network exactly as what comes from a host's pipes. A raw connection on a Unix
socket needs no pair: its own descriptor is the session's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

from mcpguard import limits
from mcpguard.daemon.streams import Inlet, Outlet
from mcpguard.errors import DaemonError


class Direct:
    """A session on descriptors of a peer (`party.Courier`).

    Args:
        descriptors: What becomes the session's stdin and stdout; taken over.
        ended: Called once the session is over, with its last sentence.
    """

    def __init__(self, descriptors: tuple[int, int], ended: Callable[[str], None]) -> None:
        self._descriptors = [*descriptors, os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)]
        self._ended = ended
        self._term: Callable[[], None] | None = None
        self.reason = ""
        self.over = False

    @property
    def descriptors(self) -> list[int]:
        """What the session will have, until it is taken."""
        return self._descriptors

    def take(self) -> list[int]:
        """The session owns them from now on."""
        taken, self._descriptors = self._descriptors, []
        return taken

    def say(self, text: str) -> None:
        """Kept for whoever asks why it is over."""
        self.reason = text

    def ready(self, *, look: bool = False) -> None:
        """The server runs; nobody waits to be told."""

    def exit(self, code: int) -> None:  # noqa: ARG002 (a peer elsewhere has no use for it)
        """The session is over."""
        self.over = True
        self._ended(self.reason)

    def watch(
        self,
        term: Callable[[], None],
        gone: Callable[[], None],  # noqa: ARG002 (we do not go before the session)
        adopter: Callable[[int], None] = lambda _: None,  # noqa: ARG002 (a peer is no shim)
    ) -> None:
        """Note how the session is ended."""
        self._term = term

    def end(self) -> None:
        """End the session now, or let go of what it never took."""
        if self._term is not None and not self.over:
            self._term()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []


class Inner(Direct):
    """A session behind a socket pair.

    Args:
        received: Called with each line that the session says, without its LF.
        ended: Called once it is over, with its last sentence.

    Raises:
        DaemonError: No descriptors are left.
    """

    def __init__(self, received: Callable[[bytes], None], ended: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise DaemonError(f"cannot begin a session: {error.strerror}") from error
        ours.setblocking(False)
        fd = theirs.detach()
        super().__init__((fd, os.dup(fd)), ended)
        self._received = received
        self._partial: list[bytes] = []
        self._room = asyncio.Event()
        self._room.set()
        self._fd = mine = ours.detach()
        self._inlet = Inlet(loop, mine, self._arrived, lambda: None)
        self._outlet = Outlet(loop, os.dup(mine), self._pressed, lambda: None)
        self._inlet.resume()

    async def send(self, line: bytes) -> None:
        """Give the session one line, without its LF; waits while it takes none."""
        await self.write(line + b"\n")

    async def write(self, data: bytes) -> None:
        """Give the session bytes, cut anywhere; waits while it takes none."""
        await self._room.wait()
        self._outlet.write(data)

    async def finish(self) -> None:
        """Nothing more comes from the peer; what the session still says is read."""
        await self._outlet.emptied(limits.DRAIN_SECONDS)
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._fd)) as ours:
            ours.shutdown(socket.SHUT_WR)

    def send_now(self, line: bytes) -> None:
        """Likewise, without waiting: for what is short and must not be late."""
        self._outlet.write(line + b"\n")

    def pause(self) -> None:
        """Leave what the session says where it is."""
        self._inlet.pause()

    def resume(self) -> None:
        """Read on."""
        self._inlet.resume()

    def hang_up(self) -> None:
        """Nothing more is asked; the session ends as if a host had closed its stdin."""
        self._inlet.close()
        self._outlet.close()

    def exit(self, code: int) -> None:
        """The session is over: what it said last is read first."""
        asyncio.get_running_loop().call_soon(self._last, code)

    def end(self) -> None:
        """End the session now."""
        super().end()
        self.hang_up()

    def _last(self, code: int) -> None:
        self._inlet.drain()
        self.hang_up()
        super().exit(code)

    def _arrived(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._received(b"".join((*self._partial, line)))
            self._partial.clear()
        if rest:
            self._partial.append(rest)

    def _pressed(self, full: bool) -> None:
        if full:
            self._room.clear()
        else:
            self._room.set()
