"""admin.sock: status, policy, stop; for people and their command line, never for shims.

Not here yet: refusing callers inside an agent host's process tree. Whoever has the user's id can ask.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from mcpguard import limits
from mcpguard.errors import ConfigError, GuardError, ProtocolError, TrustError
from mcpguard.model import JsonObject
from mcpguard.protocol import control
from mcpguard.system.peercred import attest, require_namespaces, require_user

_SECONDS = 10.0


async def answer(sock: socket.socket, verbs: dict[str, Callable[[control.Request], JsonObject]]) -> None:
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
    verbs: dict[str, Callable[[control.Request], JsonObject]],
) -> bytes:
    try:
        _admit(sock)
        return _reply(await _line(loop, sock), verbs)
    except GuardError as error:
        return control.failure("refused", error.sentence())


def _admit(sock: socket.socket) -> None:
    """Refuse callers of another user and those in a sandbox or container.

    Raises:
        PeerError: It is one.
    """
    require_user(sock, os.geteuid())
    peer = attest(sock)
    try:
        require_namespaces(peer)
    finally:
        peer.close()


async def _line(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    data = bytearray()
    while b"\n" not in data:
        more = await loop.sock_recv(sock, 65536)
        if not more or len(data) + len(more) > limits.CONTROL_BYTES:
            raise ProtocolError("not a control request: it has no end")
        data += more
    return bytes(data.partition(b"\n")[0])


def _reply(line: bytes, verbs: dict[str, Callable[[control.Request], JsonObject]]) -> bytes:
    try:
        request = control.parse_request(line)
        verb = verbs.get(request.verb)
        if verb is None:
            return control.failure("unknown", f"the daemon has no verb {request.verb[:40]!a}")
        return control.reply({"ok": True, **verb(request)})
    except ConfigError as error:
        return control.failure("config", error.sentence())
    except TrustError as error:
        return control.failure("trust", error.sentence())
    except GuardError as error:
        return control.failure("failed", error.sentence())
