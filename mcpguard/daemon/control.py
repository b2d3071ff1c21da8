"""admin.sock: status, policy, trust, stop; for people and their command line, never for shims.

Rule: who lives in the process tree of an enrolled host that is connected may look and not change anything: an agent
must not approve itself. What leaves that tree (a double fork) is not recognised: the same user's programs can.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from inspect import isawaitable
from typing import TypeAlias

import msgspec

from mcpguard import limits
from mcpguard.errors import ConfigError, GuardError, PeerError, ProtocolError, TrustError
from mcpguard.model import JsonObject
from mcpguard.protocol import control
from mcpguard.system.ancestry import parent
from mcpguard.system.peercred import Peer, attest, require_namespaces, require_user

_SECONDS = 10.0
_LEVELS = 256
"""Processes above a caller that are looked at; a caller with more above it is refused."""


Verb: TypeAlias = Callable[[control.Request], JsonObject | Awaitable[JsonObject]]
"""Answers a request, or raises a GuardError."""


class Verbs(msgspec.Struct, frozen=True):
    """What can be asked.

    Attributes:
        reading: Verbs that change nothing.
        changing: Verbs that callers below one of `hosts` may not use.
        hosts: Gives the process ids of the enrolled hosts that are connected.
    """

    reading: dict[str, Verb]
    changing: dict[str, Verb]
    hosts: Callable[[], AbstractSet[int]]


async def answer(sock: socket.socket, verbs: Verbs) -> None:
    """Answer one request and close the connection."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_SECONDS):
            await loop.sock_sendall(sock, await _answered(loop, sock, verbs))
    except (OSError, TimeoutError):
        return  # the caller is gone, or does not listen: there is nobody to tell
    finally:
        sock.close()


async def _answered(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    verbs: Verbs,
) -> bytes:
    try:
        require_user(sock, os.geteuid())
        peer = attest(sock)
        try:
            require_namespaces(peer)
            return await _reply(await _line(loop, sock), verbs, peer)
        finally:
            peer.close()
    except GuardError as error:
        return control.failure("refused", error.sentence())


def require_outside(peer: Peer, hosts: AbstractSet[int]) -> None:
    """Refuse a caller in the process tree of one of these processes.

    Raises:
        PeerError: It is in one, or that cannot be told.
    """
    if hosts:
        for pid in _lineage(peer):
            if pid in hosts:
                raise PeerError(
                    "a program that an enrolled host has started may not change this",
                    hint="call from a terminal of your own",
                )


def _lineage(peer: Peer) -> list[int]:
    """Process ids from the caller up to process 1.

    Raises:
        PeerError: They cannot be told.
    """
    pids, process = list[int](), peer.process
    while process is not None and len(pids) < _LEVELS:
        pids.append(process.pid)
        above = parent(process) if process.pid != 1 else None
        if process is not peer.process:
            process.close()
        process = above
    if process is not None:
        process.close()
    if not pids or pids[-1] != 1:
        raise PeerError("what the caller is below cannot be told", hint="call from a terminal of your own")
    return pids


async def _line(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    data = bytearray()
    while b"\n" not in data:
        more = await loop.sock_recv(sock, 65536)
        if not more or len(data) + len(more) > limits.CONTROL_BYTES:
            raise ProtocolError("not a control request: it has no end")
        data += more
    return bytes(data.partition(b"\n")[0])


async def _reply(line: bytes, verbs: Verbs, peer: Peer) -> bytes:
    try:
        request = control.parse_request(line)
        verb = verbs.reading.get(request.verb) or verbs.changing.get(request.verb)
        if verb is None:
            return control.failure("unknown", f"the daemon has no verb {request.verb[:40]!a}")
        if request.verb in verbs.changing:
            require_outside(peer, verbs.hosts())
        reply = verb(request)
        return control.reply({"ok": True, **(await reply if isawaitable(reply) else reply)})
    except ConfigError as error:
        return control.failure("config", error.sentence())
    except TrustError as error:
        return control.failure("trust", error.sentence())
    except GuardError as error:
        return control.failure("failed", error.sentence())
