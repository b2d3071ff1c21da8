"""How answers of a listener are written over HTTP, and the connections that they are written to.

An answer that comes within `limits.PROMPT_SECONDS` is one JSON body; otherwise an event stream begins, kept warm by
comments. Connections are bounded in number and time before anything of them is believed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from mcpguard import limits
from mcpguard.daemon.eventstream import EventStream
from mcpguard.daemon.httpcheck import Refusal
from mcpguard.daemon.link import Link
from mcpguard.daemon.peersession import Envelope, LegacySession, ModernPool
from mcpguard.model import JsonObject, MessageId
from mcpguard.protocol import jsonrpc, sse
from mcpguard.protocol.strict import encode

_JSON: Final = "application/json"
_PRIMED: Final = ("2025-11-25",)
"""Revisions whose streams begin with an event that has an id and no data."""
_RETRY_MS: Final = 1000
_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}
_STATUS: Final = {
    jsonrpc.METHOD_NOT_FOUND: 404,
    jsonrpc.UNSUPPORTED_VERSION: 400,
    -32021: 400,
    -32020: 400,
    jsonrpc.INVALID_REQUEST: 400,
    jsonrpc.PARSE_ERROR: 400,
}
"""HTTP status of a modern error; every other one is 200 (MCP basic/transports, revision 2026-07-28)."""
_Response = TypeVar("_Response", bound=web.StreamResponse)
_log: Final = logging.getLogger("mcpguard")


class Answerer:
    """Writes the answer to one request."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request

    async def legacy(
        self, session: LegacySession, stream: EventStream, *, prompt: bool
    ) -> web.StreamResponse:
        """The answers to a POST of a legacy session; `prompt`: one answer that comes soon is JSON."""
        reader = stream.attach()
        try:
            if prompt and (data := await _soon(stream, reader)) is not None:
                return web.Response(body=data, content_type=_JSON)
            return await self._stream(session, stream, 0, reader)
        finally:
            stream.detach(reader)

    async def follow(self, session: LegacySession, stream: EventStream, after: int) -> web.StreamResponse:
        """A GET: what comes on a stream after an event."""
        reader = stream.attach()
        try:
            return await self._stream(session, stream, after, reader)
        finally:
            stream.detach(reader)

    async def modern(self, pool: ModernPool, stream: EventStream) -> web.StreamResponse:
        """The answer to a modern request."""
        reader = stream.attach()
        if (data := await _soon(stream, reader)) is not None:
            return web.Response(body=data, content_type=_JSON, status=_status(data))
        if stream.over and not stream.waiting:
            raise Refusal(502, pool.reason or "the server ended before it answered", code=jsonrpc.SERVER_GONE)
        response = await self._begun()
        after = 0
        while (found := await self._next(response, stream, after, reader)) is not None:
            after, data = found
            await response.write(sse.event(data))
            stream.forget()
        await response.write_eof()
        return response

    async def _stream(
        self, session: LegacySession, stream: EventStream, after: int, reader: int
    ) -> web.StreamResponse:
        response = await self._begun()
        if session.revision in _PRIMED:
            await response.write(sse.priming(f"{stream.ident}-{after}", _RETRY_MS))
        while (found := await self._next(response, stream, after, reader)) is not None:
            after, data = found
            await response.write(sse.event(data, f"{stream.ident}-{after}"))
        await response.write_eof()
        return response

    async def _begun(self) -> web.StreamResponse:
        response = web.StreamResponse(headers=_HEADERS)
        guarded_response(response)
        await response.prepare(self._request)
        return response

    async def _next(
        self, response: web.StreamResponse, stream: EventStream, after: int, reader: int
    ) -> tuple[int, bytes] | None:
        """The next event; comments keep the stream warm until it comes."""
        while True:
            try:
                async with asyncio.timeout(limits.KEEP_WARM_SECONDS):
                    return await stream.next(after, reader)
            except TimeoutError:
                await response.write(sse.COMMENT)


async def _soon(stream: EventStream, reader: int) -> bytes | None:
    """The only event of a stream, if it comes soon and nothing comes before it."""
    try:
        async with asyncio.timeout(limits.PROMPT_SECONDS):
            while not stream.over:
                if stream.count:
                    return None
                await stream.changed()
    except TimeoutError:
        return None
    if stream.count != 1:
        return None
    found = await stream.next(0, reader)
    return found[1] if found is not None else None


def _status(data: bytes) -> int:
    """The HTTP status of a modern answer."""
    error = msgspec.json.decode(data, type=Envelope).error
    if error is msgspec.UNSET:
        return 200
    code = msgspec.json.decode(error).get("code")
    return _STATUS.get(code, 200)


def failure(refusal: Refusal, ident: MessageId | None = None) -> web.Response:
    """A refusal as an answer: a JSON-RPC error, without an id where there is none."""
    error: JsonObject = {"code": refusal.code, "message": refusal.sentence()}
    body = encode({"jsonrpc": "2.0", "id": ident, "error": error})
    response = web.Response(body=body, status=refusal.status, content_type=_JSON, headers=refusal.fields)
    if refusal.final:
        response.force_close()
    return guarded_response(response)


def guarded(request: web.BaseRequest) -> Link:
    """The head of a request has come in time; what is known of its peer."""
    protocol = request.protocol
    if not isinstance(protocol, Connection):
        raise TypeError("a request that came past the listener")
    protocol.in_time()
    return protocol.link


def guarded_response(response: _Response) -> _Response:
    """Say nothing of the software that answers."""
    response.headers["Server"] = "mcpguard"
    return response


class Connection(web.RequestHandler):
    """One HTTP connection: the head of each request has to come in time.

    Attributes are those of aiohttp, which parses, and:
        link: What is known of the peer since it was accepted.
    """

    __slots__ = ("_head", "link")

    def __init__(self, *args: Any, link: Link, **more: Any) -> None:
        super().__init__(*args, **more)
        self.link = link
        self._head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer has connected, its TLS handshake done."""
        super().connection_made(transport)
        self.link.hang_up = self.force_close
        if self.link.over:  # closed while the handshake lasted
            self.force_close()
        else:
            self._wait_for_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The peer has gone."""
        self.in_time()
        self.link.left()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request: a head that begins has to end in time."""
        if self._head is None and self._current_request is None:
            self._wait_for_head()
        super().data_received(data)

    def in_time(self) -> None:
        """The head of a request is there."""
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 (aiohttp's signature)
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 (it may repeat what a stranger sent)
    ) -> web.StreamResponse:
        """What is no HTTP gets one sentence, and is written down."""
        self.in_time()
        if status == 500:
            _log.error("an HTTP request failed because of a bug in mcpguard", exc_info=exc)
            return failure(Refusal(500, "an internal error", code=jsonrpc.INTERNAL_ERROR))
        words = "what came is no HTTP request that is read alike by everybody"
        self.link.malformed(words)
        response = failure(Refusal(400, words))
        response.force_close()
        return response

    def _wait_for_head(self) -> None:
        self._head = asyncio.get_running_loop().call_later(limits.HEAD_SECONDS, self._late)

    def _late(self) -> None:
        self._head = None
        if self._current_request is None:
            self.link.malformed("the head of an HTTP request took too long")
            self.force_close()


def server_for(
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> Callable[[socket.socket, Link, ssl.SSLContext | None], Awaitable[None]]:
    """What takes over accepted connections: HTTP/1.1 on each, over TLS where there is a context."""
    loop = asyncio.get_running_loop()
    manager = web.Server(answer, handler_cancellation=True)

    async def serve(connection: socket.socket, link: Link, context: ssl.SSLContext | None) -> None:
        def made() -> Connection:
            return Connection(
                manager,
                loop=loop,
                link=link,
                keepalive_timeout=limits.KEEP_ALIVE_SECONDS,
                access_log=None,
                max_line_size=limits.HEADER_BYTES,
                max_field_size=limits.HEADER_BYTES,
                max_headers=limits.HEADERS,
                auto_decompress=False,
                lingering_time=1.0,
                tcp_keepalive=context is not None,
            )

        timeout = limits.HANDSHAKE_SECONDS if context is not None else None
        await loop.connect_accepted_socket(made, connection, ssl=context, ssl_handshake_timeout=timeout)

    return serve
