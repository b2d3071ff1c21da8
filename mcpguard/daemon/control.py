"""admin.sock: status, policy, trust, stop; for people and their command line, never for shims.

Rule: what a connected host has started may look and not change anything, nor may servers, which this daemon has
started: an agent must not approve itself. How that is told, and what cannot be told, is in `identity.approver`.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from mcpguard.daemon.tasks import spawn_task
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


class Held:
    """What lasts as long as the connection of the verb that asked for it.

    Args:
        reply: What the verb is told.
        gone: Called once its connection has ended.
    """

    def __init__(self, reply: JsonObject, gone: Callable[[], None]) -> None:
        self.reply = reply
        self.gone = gone
        self.reason = ""
        self._over = asyncio.Event()

    def end(self, reason: str) -> None:
        """It is over before its verb is."""
        self.reason = reason
        self._over.set()

    async def until_over(self) -> None:
        """Until it is over."""
        await self._over.wait()


Holding: TypeAlias = Callable[[control.Request], Awaitable[Held]]
"""Begins what lasts, or raises a GuardError."""


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
        holding: Verbs like those of `changing`, whose connection stays open while what they ask for lasts.
        metrics: Gives what is told to scrapers, as `text`.
    """

    reading: dict[str, Verb]
    changing: dict[str, Verb]
    hosts: Callable[[], Mapping[int, Below]]
    keepers: Mapping[int, str] = {}
    approving: dict[str, Personal] = {}
    askers: Callable[[], Mapping[int, Below]] = dict
    audience: Audience = Audience()
    holding: dict[str, Holding] = {}
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
    held: list[Held] = []
    try:
        async with asyncio.timeout(_SECONDS):
            await loop.sock_sendall(sock, await _answered(loop, sock, verbs, held))
        for each in held:
            await _hold(loop, sock, each)
    except (OSError, TimeoutError):
        return  # the caller is gone, or does not listen: there is nobody to tell
    finally:
        for each in held:
            each.gone()
        sock.close()


async def _hold(loop: asyncio.AbstractEventLoop, sock: socket.socket, held: Held) -> None:
    """Wait until the verb is gone, or what it holds is over, which it is told."""
    gone = spawn_task(_gone(loop, sock), name="a verb that holds something")
    over = spawn_task(held.until_over(), name="the end of what a verb holds")
    try:
        await asyncio.wait((gone, over), return_when=asyncio.FIRST_COMPLETED)
        if over.done():
            async with asyncio.timeout(1.0):
                await loop.sock_sendall(sock, control.failure("failed", held.reason))
    finally:
        gone.cancel()
        over.cancel()


async def _gone(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while await loop.sock_recv(sock, 4096):
            pass


async def _answered(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    verbs: Verbs,
    held: list[Held],
) -> bytes:
    try:
        peer = attest(sock)
        try:
            verbs.audience.require_person(peer)
            return await _reply(await _line(loop, sock), verbs, peer, held)
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


async def _reply(line: bytes, verbs: Verbs, peer: Peer, held: list[Held]) -> bytes:
    if scrape.is_http(line):
        return scrape.response(line, lambda: verbs.metrics()["text"])
    try:
        request = control.parse_request(line)
        if request.verb not in verbs.reading:
            askers = verbs.askers() if request.verb in verbs.approving else {}
            require_person(peer, {**askers, **verbs.hosts()}, verbs.keepers)
        if (holding := verbs.holding.get(request.verb)) is not None:
            held.append(await holding(request))
            return control.reply({"ok": True, **held[-1].reply})
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
