"""Ways to reach a server besides starting it: on a Unix socket with stdio framing, and over HTTP.

Rule: what HTTP needs is imported when a server is reached over it, and never before: a daemon that only starts
servers is to stay small.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mcpguard.errors import PeerError, UpstreamError
from mcpguard.identity.remote import Remote
from mcpguard.model import JsonObject
from mcpguard.system.peercred import Peer, attest

if TYPE_CHECKING:
    from mcpguard.daemon.outgoing import Authorizer
    from mcpguard.daemon.registrytls import RegistryTls
    from mcpguard.daemon.remote import Bridge


class Listening:
    """A server that was there before us and stays after us: we let go of the connection, we do not end it."""

    def __init__(self, sock: socket.socket, peer: Peer) -> None:
        self.pid = peer.facts.pid
        self._sock = sock
        self._peer = peer
        self._over = asyncio.Event()

    def descriptors(self) -> tuple[int, int]:
        """Two descriptors of the connection, for reading and for writing; the caller owns them."""
        return os.dup(self._sock.fileno()), os.dup(self._sock.fileno())

    async def wait(self) -> int:
        """0, once the connection is to be over: a socket has no exit status."""
        await self._over.wait()
        return 0

    async def gone(self) -> None:
        """Let go of the connection."""
        self._peer.close()
        self._sock.close()

    def end(self) -> None:
        """Tell the server that nothing more comes."""
        with contextlib.suppress(OSError):  # it hung up first
            self._sock.shutdown(socket.SHUT_WR)
        self._over.set()

    def term(self) -> None:
        """As `end`: the server is not ours to signal."""
        self.end()

    def kill(self) -> None:
        """As `end`."""
        self.end()


async def connect(path: bytes, uid: int) -> Listening:
    """Connect to a server's Unix socket, whose listener must belong to `uid` or to root.

    Raises:
        UpstreamError: Nobody listens, or somebody else does. `code` 127: no such socket, 126: not usable.
    """
    loop = asyncio.get_running_loop()
    shown = os.fsdecode(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.wait_for(loop.sock_connect(sock, shown), 10)
        peer = attest(sock)
        if peer.facts.uid not in (uid, 0):
            peer.close()
            raise PeerError(f"the server at {shown!a} belongs to uid {peer.facts.uid}, not to you")
    except FileNotFoundError as error:
        sock.close()
        raise UpstreamError(
            f"there is no socket {shown!a}", code=127, hint="start the server first"
        ) from error
    except (OSError, TimeoutError) as error:
        sock.close()
        raise UpstreamError(
            f"cannot connect to {shown!a}: {error}", code=126, hint="is the server running?"
        ) from error
    except PeerError as error:
        sock.close()
        raise UpstreamError(error.message, code=126, hint=error.hint) from error
    return Listening(sock, peer)


async def reach(
    remote: Remote,
    tools: Mapping[str, JsonObject],
    authorizer: Authorizer | None = None,
    registry: RegistryTls | None = None,
) -> Listening | Bridge:
    """Connect to a server that a manifest describes.

    Args:
        remote: Where it is.
        tools: Its pinned definitions by name.
        authorizer: Authorises requests; None if nobody logs in there.
        registry: The certificate registry, for this connection.

    Raises:
        TrustError: It is not the server that the manifest names, or is where it may not be.
        UpstreamError: It cannot be reached, or what HTTP needs is not installed.
    """
    target = remote.target
    if target.scheme == "unix":
        return await connect(os.fsencode(target.socket), os.geteuid())
    try:
        from mcpguard.daemon import remote as over_http  # noqa: PLC0415 (the rule of this file)
    except ImportError as error:
        raise UpstreamError(
            f"servers at URLs need packages that are not installed ({error.name})", code=126,
            hint="pip install 'mcpguard[http]'",
        ) from error  # fmt: skip
    return await over_http.reach(remote, tools, authorizer, registry)
