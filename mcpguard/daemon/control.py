"""admin.sock: status, policy, trust, stop; for people and their command line, never for shims.

Rule: what a connected host has started may look and not change anything, nor may servers, which this daemon has
started: an agent must not approve itself. How that is told, and what cannot be told, is in `identity.approver`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import TypeAlias

import msgspec

from mcpguard import limits
from mcpguard.approvals.book import ApprovalError
from mcpguard.audit import redact
from mcpguard.daemon import scrape
from mcpguard.daemon.audience import Audience
from mcpguard.errors import ConfigError, GuardError, PeerError, ProtocolError, SecretError, TrustError
from mcpguard.model import JsonObject
from mcpguard.protocol import control
from mcpguard.system.approver import Below, require_person
from mcpguard.system.peercred import Peer, attest

_SECONDS = 10.0


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
        changing: Verbs that what a host of `hosts` has started may not use, nor what a process of `keepers` has.
        hosts: Gives process ids, and what is known of what is below them: enrolled hosts that are connected.
        keepers: Process ids, and the words for what is below them: processes that no orphan leaves.
        approving: Verbs that note who used them, and that what any of `askers` has started may not use either.
        askers: Like `hosts`, every host that is connected.
        audience: Who may ask.
        metrics: Gives what is told to scrapers, as `text`.
    """

    reading: dict[str, Verb]
    changing: dict[str, Verb]
    hosts: Callable[[], Mapping[int, Below]]
    keepers: Mapping[int, str] = {}
    approving: dict[str, Personal] = {}
    askers: Callable[[], Mapping[int, Below]] = dict
    audience: Audience = Audience()
    metrics: Callable[[], JsonObject] = dict


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
        peer = attest(sock)
        try:
            verbs.audience.require_person(peer)
            return await _reply(await _line(loop, sock), verbs, peer)
        finally:
            peer.close()
    except GuardError as error:
        return control.failure("refused", redact.current().text(error.sentence()))


async def _line(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    data = bytearray()
    while b"\n" not in data or (scrape.is_http(data) and not scrape.complete(data)):
        more = await loop.sock_recv(sock, 65536)
        most = limits.HTTP_BYTES if scrape.is_http(data) else limits.CONTROL_BYTES
        if not more or len(data) + len(more) > most:
            raise ProtocolError("not a control request: it has no end")
        data += more
    return bytes(data.partition(b"\n")[0])


async def _reply(line: bytes, verbs: Verbs, peer: Peer) -> bytes:
    if scrape.is_http(line):
        return scrape.response(line, lambda: verbs.metrics()["text"])
    try:
        request = control.parse_request(line)
        if request.verb not in verbs.reading:
            askers = verbs.askers() if request.verb in verbs.approving else {}
            require_person(peer, {**askers, **verbs.hosts()}, verbs.keepers)
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
    sentence = redact.current().text(error.sentence())
    match error:
        case ApprovalError():
            return control.failure("approval", sentence, why=error.code)
        case PresenceWanted():
            ways = {"methods": error.methods, "challenge": error.challenge}
            return control.failure("presence", sentence, **ways)
        case PeerError():
            code = "refused"
        case ConfigError():
            code = "config"
        case TrustError():
            code = "trust"
        case SecretError():
            code = "secret"
        case _UnknownVerb():
            code = "unknown"
        case _:
            code = "failed"
    return control.failure(code, sentence)
