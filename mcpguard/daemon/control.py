"""admin.sock: status, policy, trust, stop; for people and their command line, never for shims.

Rule: who lives in the process tree of an enrolled host that is connected, or of this daemon, which is where servers
live, may look and not change anything: an agent must not approve itself, nor a server. What leaves that tree (a
double fork) is not recognised: the same user's programs can.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import TypeAlias

import msgspec

from mcpguard import limits
from mcpguard.approvals.book import ApprovalError
from mcpguard.errors import ConfigError, GuardError, PeerError, ProtocolError, TrustError
from mcpguard.model import JsonObject
from mcpguard.protocol import control
from mcpguard.system.ancestry import parent
from mcpguard.system.peercred import Peer, attest, require_namespaces, require_user
from mcpguard.system.processes import Process

_SECONDS = 10.0
_LEVELS = 256
"""Processes above a caller that are looked at; a caller with more above it is refused."""


class Caller(msgspec.Struct, frozen=True):
    """Who asks, when it connected.

    Attributes:
        uid: The user.
        pid: The process.
    """

    uid: int
    pid: int

    @property
    def words(self) -> str:
        """As records have it."""
        return f"uid {self.uid} (pid {self.pid})"


Verb: TypeAlias = Callable[[control.Request], JsonObject | Awaitable[JsonObject]]
"""Answers a request, or raises a GuardError."""
Personal: TypeAlias = Callable[[control.Request, Caller], JsonObject | Awaitable[JsonObject]]
"""Likewise, for a verb to which it matters who asks."""


class Verbs(msgspec.Struct, frozen=True):
    """What can be asked.

    Attributes:
        reading: Verbs that change nothing.
        changing: Verbs that callers below one of `trees` may not use.
        trees: Gives process ids, and the words for whoever is below them.
        approving: Verbs that note who used them, and that callers below `askers` may not use either.
        askers: Likewise, for whoever can ask to be approved.
    """

    reading: dict[str, Verb]
    changing: dict[str, Verb]
    trees: Callable[[], Mapping[int, str]]
    approving: dict[str, Personal] = {}
    askers: Callable[[], Mapping[int, str]] = dict


class PresenceWanted(GuardError):
    """An answer that counts only from a person who is there, and nothing has shown that yet.

    Attributes:
        methods: The ways to show it that are set up.
        challenge: What is to be answered, once.
    """

    def __init__(self, methods: list[str], challenge: str) -> None:
        super().__init__("whoever approves this has to show presence", hint="mcpguard approve at a terminal")
        self.methods = methods
        self.challenge = challenge


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


def require_outside(peer: Peer, trees: Mapping[int, str]) -> None:
    """Refuse a caller in the process tree of one of these processes; each with the words for what is below it.

    Raises:
        PeerError: It is in one, or that cannot be told.
    """
    for pid in _lineage(peer):
        if pid in trees:
            raise _forbidden(f"{trees[pid]} may not change this")


def _forbidden(message: str) -> PeerError:
    return PeerError(message, hint="call from a terminal of your own")


def _lineage(peer: Peer) -> list[int]:
    """Process ids from the caller up to process 1, or to one that entered our namespaces and has nobody above it.

    Raises:
        PeerError: They cannot be told.
    """
    pids, process, whole = list[int](), peer.process, False
    while process is not None and len(pids) < _LEVELS:
        pids.append(process.pid)
        whole = process.pid == 1 or _topmost(process)
        above = None if whole else parent(process)
        if process is not peer.process:
            process.close()
        process = above
    if process is not None and process is not peer.process:
        process.close()
    if not whole:
        raise _forbidden("what the caller is below cannot be told")
    return pids


def _topmost(process: Process) -> bool:
    """Whether its parent is outside of our pid namespace: so it is with `docker exec` and nsenter."""
    try:
        return process.look().ppid == 0
    except PeerError:
        return False


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
        if request.verb not in verbs.reading:
            askers = verbs.askers() if request.verb in verbs.approving else {}
            require_outside(peer, {**askers, **verbs.trees()})
        reply = _called(request, verbs, Caller(peer.facts.uid, peer.facts.pid))
        return control.reply({"ok": True, **(await reply if isawaitable(reply) else reply)})
    except GuardError as error:
        return _refusal(error)


def _called(request: control.Request, verbs: Verbs, caller: Caller) -> JsonObject | Awaitable[JsonObject]:
    verb = verbs.reading.get(request.verb) or verbs.changing.get(request.verb)
    if verb is not None:
        return verb(request)
    personal = verbs.approving.get(request.verb)
    if personal is None:
        raise _UnknownVerb(f"the daemon has no verb {request.verb[:40]!a}")
    return personal(request, caller)


class _UnknownVerb(GuardError):
    """The command line is of another version."""


def _refusal(error: GuardError) -> bytes:
    """A reply that says no, by who must act."""
    match error:
        case ApprovalError():
            return control.failure("approval", error.sentence(), why=error.code)
        case PresenceWanted():
            ways = {"methods": error.methods, "challenge": error.challenge}
            return control.failure("presence", error.sentence(), **ways)
        case PeerError():
            code = "refused"
        case ConfigError():
            code = "config"
        case TrustError():
            code = "trust"
        case _UnknownVerb():
            code = "unknown"
        case _:
            code = "failed"
    return control.failure(code, error.sentence())
