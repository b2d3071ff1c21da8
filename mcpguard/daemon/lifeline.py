"""The shim's end of a connection: its handshake, the lines to it, and its death.

Order: credentials first, then a nonce that only what runs *after* the look can echo, then
exactly three descriptors with close-on-exec. Each message must be sent by the process that connected.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Callable

from mcpguard import __version__, limits
from mcpguard.audit import redact
from mcpguard.errors import DaemonError, GoneError, GuardError, PeerError, ProtocolError
from mcpguard.protocol.hello import Hello, greeting, one_line, parse_hello
from mcpguard.system.descriptors import Sender, close_all, receive
from mcpguard.system.peercred import Peer, require_sender

_NONCE_BYTES = 16
_CHUNK = 65536
_ADOPTER = re.compile(rb"adopter ([1-9][0-9]{0,8})\n")


class Lifeline:
    """A connection on run.sock. Owns the socket, and the descriptors until they are taken.

    `seconds` is the time that a handshake may take.

    Attributes:
        peer: Who connected: every message of the handshake must come from it. If it is not set, a socket that says
            who sends is refused, so that nobody forgets to set it.
    """

    def __init__(
        self, sock: socket.socket, seconds: float = limits.HELLO_SECONDS, peer: Peer | None = None
    ) -> None:
        self._sock = sock
        self.peer = peer
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._nonce = os.urandom(_NONCE_BYTES).hex().encode()
        self._descriptors: list[int] = []
        self._watching = False

    async def hello(self) -> Hello:
        """Exchange the handshake.

        Raises:
            GuardError: The shim said something else, took too long, or is another version.
        """
        self._say(greeting(__version__, self._nonce))
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._block()
        except TimeoutError as error:
            raise PeerError("the handshake took too long") from error
        hello = parse_hello(body)
        if hello.version != __version__:
            versions = f"this mcpguard is version {hello.version} and the running daemon {__version__}"
            raise DaemonError(versions, hint="end it with: mcpguard daemon stop")
        if hello.nonce != self._nonce:
            raise PeerError("the handshake does not answer this daemon's greeting")
        return hello

    def take(self) -> list[int]:
        """The descriptors that were passed; the caller owns them from now on."""
        taken, self._descriptors = self._descriptors, []
        return taken

    @property
    def descriptors(self) -> list[int]:
        """The descriptors that were passed, still owned here."""
        return self._descriptors

    def ready(self, *, look: bool = False) -> None:
        """The server runs: the shim lets go of its stdin and stdout. `look`: it shall find out who adopts orphans."""
        self._say(b"ready look\n" if look else b"ready\n")

    def say(self, text: str) -> None:
        """A sentence for the host's stderr."""
        self._say(b"say %b\n" % one_line(redact.current().text(text)))

    def refuse(self, code: int, error: GuardError) -> None:
        """The shim prints the sentence, answers the host's first request with it, and exits with `code`."""
        self._say(b"refuse %d %b\n" % (code, one_line(redact.current().text(error.sentence()))))

    def exit(self, code: int) -> None:
        """The server's exit code."""
        self._say(b"exit %d\n" % code)

    def watch(
        self,
        term: Callable[[], None],
        gone: Callable[[], None],
        adopter: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Call `term` when the shim was asked to end, `gone` when it is no more.

        `adopter` gets the process id of what adopts the orphans of the shim's host, as the shim says.
        """

        def ready() -> None:
            try:
                data = self._sock.recv(256)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data = b""
            if b"term" in data:
                term()
            if said := _ADOPTER.search(data):
                adopter(int(said[1]))
            if not data:
                self._unwatch()
                gone()

        self._loop.add_reader(self._sock.fileno(), ready)
        self._watching = True

    def close(self) -> None:
        """Let go of everything that is still ours."""
        self._unwatch()
        close_all(self._descriptors)
        self._sock.close()

    def _unwatch(self) -> None:
        if self._watching:
            self._loop.remove_reader(self._sock.fileno())
            self._watching = False

    def _say(self, line: bytes) -> None:
        """Short lines into an empty socket buffer: they fit, or the shim is gone, which `watch` says."""
        try:
            self._sock.send(line, socket.MSG_DONTWAIT)
        except OSError:
            return

    async def _block(self) -> bytes:
        """The length-prefixed block of the shim, its descriptors kept aside."""
        data = bytearray()
        size = 4
        while len(data) < size:
            await self._readable()
            try:
                more, passed, sender = receive(
                    self._sock, min(_CHUNK, size - len(data)) if len(data) >= 4 else _CHUNK
                )
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                raise GoneError("the shim is gone") from error
            self._descriptors.extend(passed)
            if more:
                self._check_sender(sender)
            if not more:
                raise GoneError("the shim is gone")
            if len(self._descriptors) > 3:
                raise PeerError("too many descriptors were passed")
            data += more
            if len(data) >= 4:
                size = 4 + int.from_bytes(data[:4], "big")
                if size > limits.HELLO_BYTES or len(data) > size:
                    raise ProtocolError("malformed handshake")
        return bytes(data[4:])

    def _check_sender(self, sender: Sender) -> None:
        try:
            if self.peer is not None:
                require_sender(self.peer, sender)
            elif sender.credentials is not None:
                raise PeerError("nobody looked at who connected")
        finally:
            sender.close()

    async def _readable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        fd = self._sock.fileno()

        def arrived() -> None:
            if not ready.done():
                ready.set_result(None)

        self._loop.add_reader(fd, arrived)
        try:
            await ready
        finally:
            self._loop.remove_reader(fd)
