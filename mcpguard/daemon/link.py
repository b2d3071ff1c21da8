"""Connections of one listener: accepted within bounds, by network, and known by what the kernel says of their peers.

Rule 1: what is accepted is counted before anything of it is read, TLS handshakes among it; what is beyond a bound is
closed and written down.
Rule 2: a handshake that fails is a failed credential, counted against its network; hanging up is not.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from mcpguard import limits
from mcpguard.credentials.presented import Presented
from mcpguard.daemon.peering import Peering
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import GuardError, PeerError
from mcpguard.system.peercred import attest, require_namespaces
from mcpguard.system.servefile import UID

if TYPE_CHECKING:
    import ssl

_log: Final = logging.getLogger("mcpguard")
_ACCEPTS: Final = 16
_PAUSE_SECONDS: Final = 0.2
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Link:
    """One accepted connection.

    Attributes:
        presented: What the connection shows before its first byte.
        pid: The process at the other end; 0 if that is not known.
        fault: Why it is refused whatever it says; None if it is not.
        hang_up: Ends it at once; set by whoever speaks on it.
    """

    def __init__(self, acceptor: Acceptor, presented: Presented) -> None:
        self.presented = presented
        self.pid = 0
        self.fault: GuardError | None = None
        self.hang_up: Callable[[], None] = lambda: None
        self._acceptor = acceptor
        self._there = True

    @property
    def over(self) -> bool:
        """Whether its listener is closed."""
        return self._acceptor.closed

    def left(self) -> None:
        """It has ended."""
        if self._there:
            self._there = False
            self._acceptor.left(self)

    def malformed(self, words: str) -> None:
        """It is refused because of what it sent; written down."""
        self._acceptor.peering.note(PeerError(words), self.presented)


Serve = Callable[[socket.socket, Link, "ssl.SSLContext | None"], Awaitable[None]]
"""Takes over a connection until its protocol is attached, or it has ended."""


class Acceptor:
    """Accepts for one listener.

    Args:
        sock: Bound; taken over.
        peering: Lets peers in.
        serve: Takes each connection over.
        context: What TLS connections are made with now; None for a Unix socket.
    """

    def __init__(
        self,
        sock: socket.socket,
        peering: Peering,
        serve: Serve,
        context: Callable[[], ssl.SSLContext] | None,
    ) -> None:
        self.peering = peering
        self._sock = sock
        self._serve = serve
        self._context = context
        self._room: Counter[str] = Counter()
        self._links: set[Link] = set()
        self.closed = False
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        sock.listen(limits.PEER_CONNECTIONS)
        self._loop.add_reader(sock.fileno(), self._ready)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._links)

    def left(self, link: Link) -> None:
        """A connection has ended."""
        self._links.discard(link)
        network = link.presented.network
        self._room[network] -= 1
        if self._room[network] <= 0:
            del self._room[network]

    def close(self) -> None:
        """Accept nothing more, and hang up on whoever is connected, handshakes among them."""
        self.closed = True
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
        for link in list(self._links):
            link.hang_up()

    def _ready(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                connection, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    _log.warning("cannot accept: %s", error)
                    self._loop.remove_reader(self._sock.fileno())
                    self._loop.call_later(_PAUSE_SECONDS, self._again)
                return
            connection.setblocking(False)
            self._accepted(connection, str(address[0]) if isinstance(address, tuple) else "")

    def _again(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock.fileno(), self._ready)

    def _accepted(self, connection: socket.socket, network: str) -> None:
        most = limits.NETWORK_CONNECTIONS if network else limits.PEER_CONNECTIONS
        link = Link(self, Presented(network=network))
        if len(self._links) >= limits.PEER_CONNECTIONS or self._room[network] >= most:
            link.malformed("too many connections of this listener are open")
            connection.close()
            return
        self._room[network] += 1
        self._links.add(link)
        if not network:
            self._look(connection, link)
        _ = spawn_task(self._served(connection, link), name=f"a peer of {self.peering.listen.name}")

    def _look(self, connection: socket.socket, link: Link) -> None:
        """Who is at the other end of a Unix socket."""
        wanted = UID in self.peering.listen.auth
        try:
            peer = attest(connection)
        except PeerError as error:
            link.fault = error if wanted else None
            return
        try:
            link.presented = Presented(uid=peer.facts.uid)
            link.pid = peer.facts.pid
            if wanted:
                require_namespaces(peer, strangers=True)
        except PeerError as error:
            link.fault = error
        finally:
            peer.close()

    async def _served(self, connection: socket.socket, link: Link) -> None:
        try:
            await self._serve(connection, link, self._context() if self._context is not None else None)
        except (
            GuardError,
            OSError,
            TimeoutError,
        ) as error:  # TLS says what is wrong in an OSError of its own
            self.peering.handshake_failed(error, link.presented)
            connection.close()
            link.left()
