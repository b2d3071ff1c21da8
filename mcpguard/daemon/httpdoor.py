"""Streamable HTTP as a server: one endpoint `/mcp/NAME` for each registered server, by the revision of each request.

Order of each request: its form (`httpcheck`), who it is (`peering`), its body, its era, its session; the gate judges
what it says. Legacy (2025-03-26 to 2025-11-25): POST, GET and DELETE with `Mcp-Session-Id`; a broken connection is no
cancel, and its stream can be resumed. Modern (2026-07-28): POST only, header fields compared with the body; a closed
response cancels.

An answer that comes soon is JSON with the status that its revision has for it; what takes longer is an event stream.

Source: MCP basic/transports, revisions 2025-03-26, 2025-06-18, 2025-11-25, 2026-07-28.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from typing import Final

import msgspec
from aiohttp import web

from mcpguard import limits
from mcpguard.audit import redact
from mcpguard.credentials.presented import Found, Presented
from mcpguard.daemon.eventstream import EventStream
from mcpguard.daemon.httpcheck import METADATA, Reachable, Refusal, accepts, is_json, one_of_each, server_of
from mcpguard.daemon.httpwire import Answerer, failure, guarded, guarded_response
from mcpguard.daemon.link import Link
from mcpguard.daemon.peering import Peering
from mcpguard.daemon.peersession import LegacySession, ModernPool
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import DaemonError, GuardError, JournalError, TrustError, UpstreamError
from mcpguard.model import Json, JsonObject
from mcpguard.protocol import jsonrpc, meta, methods, mirrored
from mcpguard.protocol.strict import Refused, decode, encode

_log: Final = logging.getLogger("mcpguard")
_SESSION: Final = "mcp-session-id"
_JSON: Final = "application/json"
_STREAM: Final = "text/event-stream"
_ASSUMED: Final = "2025-03-26"
"""The revision of a peer that does not say one (MCP basic/transports, 2025-06-18)."""


class Visit(msgspec.Struct, frozen=True):
    """A request of a peer that may be here.

    Attributes:
        fields: Its header, by lower-case name.
        found: Who the peer is.
        presented: What it showed.
        server: The server that it means.
        pid: The process that it comes from; 0 if that is not known.
    """

    fields: dict[str, str]
    found: Found
    presented: Presented
    server: str
    pid: int


class HttpDoor:
    """The HTTP side of one listener.

    Args:
        peering: Lets peers in.
        port: The port that is bound; 0 for a Unix socket.
    """

    def __init__(self, peering: Peering, port: int) -> None:
        self._peering = peering
        self._reachable = Reachable(peering.listen, port)
        self._legacy: dict[bytes, LegacySession] = {}
        self._pools: dict[tuple[str, str], asyncio.Future[ModernPool]] = {}

    # --- one request -----------------------------------------------------------------------------------------

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; whatever is wrong with it is an answer, too."""
        link = guarded(request)
        return guarded_response(await self._told(request, link))

    async def _told(self, request: web.BaseRequest, link: Link) -> web.StreamResponse:
        try:
            return await self._answered(request, link)
        except Refusal as refusal:
            return failure(refusal)
        except TimeoutError:
            return failure(Refusal(408, "the body of the request took too long"))
        except (Refused, mirrored.Mismatch) as error:
            code = mirrored.HEADER_MISMATCH if isinstance(error, mirrored.Mismatch) else -32600
            ident = error.ident if isinstance(error, Refused) else None
            if isinstance(error, Refused) and error.fatal:
                code = jsonrpc.PARSE_ERROR
            return failure(Refusal(400, error.sentence(), code=code), ident)
        except GuardError as error:
            _log.warning("refused: %s", error.sentence())
            return failure(_unserved(error))

    async def _answered(self, request: web.BaseRequest, link: Link) -> web.StreamResponse:
        try:
            fields = one_of_each(request.raw_headers)
            self._reachable.require(fields)
            if request.raw_path.startswith(METADATA):
                return self._metadata(request, fields)
            server = server_of(request.raw_path, self._peering.listen)
            if request.method not in ("POST", "GET", "DELETE"):
                raise Refusal(
                    405, "there is POST here, and GET and DELETE with a session", fields={"Allow": "POST"}
                )
        except Refusal as refusal:
            refusal.final = True
            self._peering.note(refusal, link.presented)
            raise
        if link.over:
            raise Refusal(503, "this listener is closed")
        presented = self._shown(request, fields, link)
        if link.fault is not None:
            raise self._peering.refusal(403, link.fault, presented)
        found = await self._peering.authenticated(presented)
        self._peering.require_server(found, presented, server)
        visit = Visit(fields, found, presented, server, link.pid)
        match request.method:
            case "POST":
                return await self._post(request, visit)
            case "GET":
                return await self._get(request, visit)
            case _:
                return self._delete(visit)

    def _metadata(self, request: web.BaseRequest, fields: dict[str, str]) -> web.Response:
        """Who gives tokens for a server here: protected-resource metadata (RFC 9728, 2), for everybody who asks."""
        listen, issuers = self._peering.listen, self._peering.auth.issuers
        server = server_of(request.raw_path.removeprefix(METADATA), listen)
        if request.method != "GET":
            raise Refusal(405, "metadata is read with GET", fields={"Allow": "GET"})
        if not issuers:
            raise Refusal(404, "this listener takes no tokens")
        metadata = {
            "resource": f"{self._base(fields)}/mcp/{server}",
            "authorization_servers": issuers,
            "bearer_methods_supported": ["header"],
        }
        return web.Response(body=encode(metadata), content_type=_JSON)

    def _base(self, fields: dict[str, str]) -> str:
        """How this listener is called from outside, without a path."""
        listen = self._peering.listen
        return listen.url or f"{'https' if listen.tls else 'http'}://{fields['host'].lower()}"

    async def _post(self, request: web.BaseRequest, visit: Visit) -> web.StreamResponse:
        fields = visit.fields
        if not accepts(fields, _JSON, _STREAM):
            raise Refusal(406, f"an answer is {_JSON} or {_STREAM}: Accept has to name both")
        if not is_json(fields):
            raise Refusal(415, f"a body is {_JSON}")
        if "content-encoding" in fields:
            raise Refusal(415, "a body is not encoded: leave out Content-Encoding")
        value = decode(await _body(request, fields))[0]
        messages: list[Json] = value if type(value) is list else [value]
        if not messages or len(messages) > limits.BATCH:
            raise Refusal(400, f"a batch has from 1 to {limits.BATCH} messages")
        for each in messages:
            if type(each) is not dict:
                raise Refusal(400, "a message is a JSON object")
            jsonrpc.shape(each)
        answerer = Answerer(request)
        if type(value) is dict and _is_modern(fields, value):
            return await self._modern(answerer, visit, value)
        return await self._in_session(answerer, visit, value, messages)

    def _shown(self, request: web.BaseRequest, fields: dict[str, str], link: Link) -> Presented:
        """What a request shows."""
        tls = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
        return msgspec.structs.replace(
            link.presented,
            certificate=(tls.getpeercert(binary_form=True) or b"") if tls is not None else b"",
            authorization=fields.get("authorization", ""),
            dpop=fields.get("dpop", ""),
            method=request.method,
            url=f"{self._base(fields)}{request.raw_path}",
        )

    # --- legacy ----------------------------------------------------------------------------------------------

    async def _in_session(
        self, answerer: Answerer, visit: Visit, value: Json, messages: list[JsonObject]
    ) -> web.StreamResponse:
        if _SESSION in visit.fields:
            session = self._session(visit)
            if any(each.get("method") == "initialize" for each in messages):
                raise Refusal(
                    400, "this session has begun: initialize without Mcp-Session-Id begins another one"
                )
        elif type(value) is dict and value.get("method") == "initialize" and "id" in value:
            return await self._begin(visit, value)
        else:
            raise Refusal(400, "there is no Mcp-Session-Id: a session begins with initialize")
        if type(value) is list and session.revision != methods.BATCH_REVISION:
            raise Refusal(400, f"batches exist in revision {methods.BATCH_REVISION} only")
        stream = _expected(session, messages)
        await session.inner.send(encode(value))
        if stream is None:
            return web.Response(status=202)
        return await answerer.legacy(session, stream, prompt=type(value) is dict)

    async def _begin(self, visit: Visit, message: JsonObject) -> web.StreamResponse:
        self._require_room(visit)
        party = self._peering.party(visit.found, visit.presented, visit.server, visit.pid)
        session = LegacySession(party, visit.server)
        stream = _expected(session, [message])
        if stream is None:
            raise Refusal(400, "initialize is a request")
        try:
            session.session = await self._peering.rooms.open(party, visit.server, session.inner)
        except BaseException:
            session.end()
            raise
        key = _key(session.ident)
        self._legacy[key] = session
        try:
            await session.inner.send(encode(message))
            data = await _whole(stream)
        except BaseException:
            self._forget(key)
            raise
        if data is None or not session.revision:
            self._forget(key)
            if data is None:
                raise Refusal(
                    502, session.reason or "the server ended before it answered", code=jsonrpc.SERVER_GONE
                )
            return web.Response(body=data, content_type=_JSON)
        return web.Response(body=data, content_type=_JSON, headers={"Mcp-Session-Id": session.ident})

    def _session(self, visit: Visit) -> LegacySession:
        """The session that a request names.

        Raises:
            Refusal: There is none of that name, of that peer, at that server; or the request is of another revision.
        """
        fields = visit.fields
        ident = fields.get(_SESSION)
        if ident is None:
            raise Refusal(400, "there is no Mcp-Session-Id: a session begins with initialize")
        session = self._legacy.get(_key(ident))
        if (
            session is None
            or session.over
            or session.session is None
            or session.server != visit.server
            or session.party.instance != visit.found.whole.instance
        ):
            raise Refusal(404, "there is no such session, or no longer: begin another one with initialize")
        version = fields.get(mirrored.VERSION_FIELD, "")
        if version and version != session.revision:
            raise Refusal(
                400, f"this session speaks revision {session.revision}, and the request says another one"
            )
        if not version and session.revision not in ("", _ASSUMED, "2024-11-05", "2024-10-07"):
            raise Refusal(
                400, f"MCP-Protocol-Version is missing: this session speaks revision {session.revision}"
            )
        self._peering.renewed(session.session, session.party, visit.found, visit.presented)
        if session.over:
            raise Refusal(404, session.reason or "the session has ended")
        session.used = time.monotonic()
        return session

    async def _get(self, request: web.BaseRequest, visit: Visit) -> web.StreamResponse:
        fields = visit.fields
        if fields.get(mirrored.VERSION_FIELD) in methods.MODERN_REVISIONS:
            raise Refusal(405, "this revision has POST only", fields={"Allow": "POST"})
        if not accepts(fields, _STREAM):
            raise Refusal(406, f"an answer is {_STREAM}: Accept has to name it")
        session = self._session(visit)
        stream, after = session.standalone, session.standalone.delivered
        if last := fields.get("last-event-id"):
            known = session.resumed(last)
            if known is None:
                raise Refusal(400, "what came after that Last-Event-ID is not kept here: ask for it again")
            stream, after = known
        return await Answerer(request).follow(session, stream, after)

    def _delete(self, visit: Visit) -> web.StreamResponse:
        if visit.fields.get(mirrored.VERSION_FIELD) in methods.MODERN_REVISIONS:
            raise Refusal(405, "this revision has POST only", fields={"Allow": "POST"})
        session = self._session(visit)
        self._forget(_key(session.ident))
        return web.Response(status=204)

    def _forget(self, key: bytes) -> None:
        if (session := self._legacy.pop(key, None)) is not None:
            session.inner.hang_up()
            session.end()

    # --- modern ----------------------------------------------------------------------------------------------

    async def _modern(self, answerer: Answerer, visit: Visit, message: JsonObject) -> web.StreamResponse:
        fields = visit.fields
        if "method" not in message:
            raise Refusal(400, "in this revision a body is a request or a notification, never an answer")
        _require_meta(fields, message)
        mirrored.check(fields, message)
        pool = await self._pool(visit)
        pool.used = time.monotonic()
        self._check_parameters(pool, fields, message)
        if "id" not in message:
            await self._notify(pool, message)
            return web.Response(status=202)
        try:
            stream, line, number = pool.ask(message)
        except ValueError as error:
            raise Refusal(429, str(error), fields={"Retry-After": "1"}) from error
        try:
            await pool.inner.send(line)
            return await answerer.modern(pool, stream)
        finally:
            pool.cancel(number)
            pool.forget(stream)
            pool.used = time.monotonic()

    def _check_parameters(self, pool: ModernPool, fields: dict[str, str], message: JsonObject) -> None:
        if message["method"] == "tools/call" and pool.session is not None:
            name = message.get("params", {}).get("name")
            schema = self._peering.rooms.schema(pool.session, name) if type(name) is str else None
            if schema is not None:
                mirrored.check(fields, message, schema)

    async def _notify(self, pool: ModernPool, message: JsonObject) -> None:
        if message["method"] == "notifications/cancelled":
            params = message.get("params") or {}
            if (number := pool.named(params.get("requestId"))) is not None:
                pool.cancel(number)
            return
        await pool.inner.send(encode(message))

    async def _pool(self, visit: Visit) -> ModernPool:
        """The session behind the requests of a credential; begun if there is none."""
        key = visit.found.whole.instance, visit.server
        known = self._pools.get(key)
        if known is not None:
            pool = await asyncio.shield(known)
            if not pool.over and pool.session is not None:
                self._peering.renewed(pool.session, pool.party, visit.found, visit.presented)
            if not pool.over:
                return pool
            if self._pools.get(key) is known:
                del self._pools[key]
            return await self._pool(visit)
        self._require_room(visit)
        party = self._peering.party(visit.found, visit.presented, visit.server, visit.pid)
        begun = self._pools[key] = spawn_task(
            self._begun(ModernPool(party, visit.server)), name=f"a server for {key[0]}"
        )
        try:
            return await asyncio.shield(begun)
        except BaseException:
            if begun.done() and self._pools.get(key) is begun:
                del self._pools[key]
            raise

    async def _begun(self, pool: ModernPool) -> ModernPool:
        try:
            pool.session = await self._peering.rooms.open(pool.party, pool.server, pool.inner)
        except BaseException:
            pool.end()
            raise
        return pool

    def _require_room(self, visit: Visit) -> None:
        if not self._peering.rooms.registered(visit.server):
            raise Refusal(404, f"no server is registered as {visit.server!a}")
        instance = visit.found.whole.instance
        mine = sum(each.party.instance == instance for each in self._legacy.values())
        mine += sum(key[0] == instance for key in self._pools)
        if mine >= limits.PEER_SESSIONS:
            raise Refusal(429, f"{mine} sessions of this credential are open", fields={"Retry-After": "60"})

    # --- life ------------------------------------------------------------------------------------------------

    @property
    def sessions(self) -> list[LegacySession | ModernPool]:
        """Those that are open."""
        pools = [each.result() for each in self._pools.values() if each.done() and not each.exception()]
        return [*self._legacy.values(), *pools]

    def tick(self, now: float) -> None:
        """A second has gone by: sessions that nobody uses end."""
        for key, session in list(self._legacy.items()):
            idle = now - session.used > limits.SESSION_IDLE_SECONDS and not session.busy
            if session.busy:
                session.used = now
            if idle or session.over:
                self._forget(key)
        for pair, begun in list(self._pools.items()):
            if not begun.done() or begun.exception():
                continue
            pool = begun.result()
            if pool.over or (now - pool.used > limits.POOL_IDLE_SECONDS and not pool.busy):
                del self._pools[pair]
                pool.inner.hang_up()
                pool.end()

    def close(self) -> None:
        """End every session."""
        for key in list(self._legacy):
            self._forget(key)
        for begun in self._pools.values():
            if begun.done() and not begun.exception():
                begun.result().end()
        self._pools.clear()


def _is_modern(fields: dict[str, str], message: JsonObject) -> bool:
    """Whether a request is of the era without sessions: it says so in its header or in its body."""
    if _SESSION in fields or message.get("method") == "initialize":
        return False
    version = fields.get(mirrored.VERSION_FIELD, "")
    params = message.get("params")
    tags = params.get("_meta") if type(params) is dict else None
    return (type(tags) is dict and meta.VERSION in tags) or (
        bool(version) and version not in methods.LEGACY_REVISIONS
    )


def _require_meta(fields: dict[str, str], message: JsonObject) -> None:
    """Refuse a modern request that does not say its revision, in its body as in its header.

    Raises:
        Refusal: It does not.
    """
    params = message.get("params")
    tags = params.get("_meta") if type(params) is dict else None
    version = tags.get(meta.VERSION) if type(tags) is dict else None
    if "id" not in message and version is None:
        return  # a notification need not have it
    if type(version) is not str:
        raise Refusal(
            400, f"_meta has no {meta.VERSION}, which every request has", code=jsonrpc.INVALID_PARAMS
        )
    if mirrored.VERSION_FIELD not in fields:
        raise Refusal(
            400, "MCP-Protocol-Version is missing; it says what _meta says", code=mirrored.HEADER_MISMATCH
        )


def _expected(session: LegacySession, messages: list[JsonObject]) -> EventStream | None:
    try:
        return session.expect(messages)
    except ValueError as error:
        raise Refusal(400, str(error)) from error


async def _whole(stream: EventStream) -> bytes | None:
    """The one answer of a stream; None if none comes."""
    reader = stream.attach()
    try:
        after = 0
        while (found := await stream.next(after, reader)) is not None:
            after, data = found
            if not stream.pending:
                return data
        return None
    finally:
        stream.detach(reader)


async def _body(request: web.BaseRequest, fields: dict[str, str]) -> bytes:
    """The body, bounded in size and time.

    Raises:
        Refusal: It is too long, or cannot be read.
        TimeoutError: It does not come.
    """
    declared = fields.get("content-length", "0")
    if not declared.isdecimal() or not declared.isascii():
        raise Refusal(400, "Content-Length is not a number")
    if len(declared) > 12 or int(declared) > limits.LINE_BYTES:
        raise Refusal(413, f"a body has at most {limits.LINE_BYTES} bytes")
    if fields.get("expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    elif "expect" in fields:
        raise Refusal(417, "the only expectation here is 100-continue")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.BODY_SECONDS):
            async for part in request.content.iter_any():
                parts.append(part)
                size += len(part)
                if size > limits.LINE_BYTES:
                    raise Refusal(413, f"a body has at most {limits.LINE_BYTES} bytes")
    except (web.PayloadAccessError, ValueError, ConnectionError) as error:
        raise Refusal(400, "the body of the request cannot be read") from error
    return b"".join(parts)


def _key(ident: str) -> bytes:
    """What a session is looked up by, so that how long that takes says nothing of the ids of others."""
    return hashlib.blake2b(ident.encode(), digest_size=32).digest()


def _unserved(error: GuardError) -> Refusal:
    """Why no server answers, for a peer."""
    sentence = redact.current().text(error.sentence())
    match error:
        case TrustError():
            return Refusal(403, sentence, code=jsonrpc.POLICY_REFUSED)
        case UpstreamError():
            return Refusal(502, sentence, code=jsonrpc.SERVER_GONE)
        case JournalError() | DaemonError():
            return Refusal(503, sentence, code=jsonrpc.NO_AUDIT, fields={"Retry-After": "5"})
        case _:
            return Refusal(403, sentence)
