"""Streamable HTTP, as a client: one message out, its answer and whatever comes with it back.

Revisions 2025-03-26 to 2025-11-25 (session ids, a stream of the server's own, resumption) and 2026-07-28 (a POST for
each request, header fields derived from the message, closing the answer cancels). Which of them a message belongs to
is seen from the message itself.

Rule 1: what is sent is the line that the gate wrote; fields are derived from it (`protocol.httpheaders`).
Rule 2: nothing that came from the host but the message reaches the server: no token, no field.
Rule 3: a request gets exactly one answer: the server's, or a `Failure` that says what became of it.
Rule 4: a request is sent a second time only if the server has said that it did not take the first: 401, 403 or 404.

Source: MCP basic/transports 2025-03-26 to 2025-11-25, basic/transports/streamable-http 2026-07-28.

Not here: judging what comes (`gate`), which sees every line of it; which answers are awaited (`daemon.remote`).

Decided:
    *A session that the server forgot (404) is begun anew* where the host cannot notice: the same handshake must give
    the same answer, and nothing was subscribed. Rejected: to do so always, since a host would wait for updates that
    nobody sends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

import aiohttp
import msgspec

from mcpguard import limits
from mcpguard.daemon.dialling import Dialler, HeadError, check_head, read_body, told
from mcpguard.daemon.outgoing import Authorizer
from mcpguard.errors import GuardError, ProtocolError
from mcpguard.model import Json, JsonObject, MessageId, visible
from mcpguard.protocol import httpheaders, meta
from mcpguard.protocol.jsonrpc import ANSWER_REFUSED, SERVER_GONE
from mcpguard.protocol.sse import EventStream
from mcpguard.protocol.strict import Refused, decode, encode

_log: Final = logging.getLogger("mcpguard")
_ACCEPT: Final = "application/json, text/event-stream"
_JSON: Final = "application/json"
_STREAM: Final = "text/event-stream"
_NO_VERSION: Final = "2025-03-26"
"""The revision whose requests do not say which revision they are of."""
_RESUME_SECONDS: Final = 1.0
"""Before a stream is resumed, unless the server says how long."""
_SUBSCRIBING: Final = frozenset({"resources/subscribe", "logging/setLevel"})
_BROKEN: Final = (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, ConnectionError)

Deliver = Callable[[bytes], Awaitable[None]]
"""Takes one message of the server, without LF."""
Params = Callable[[JsonObject], Mapping[str, str]]
"""The header fields of a call's arguments; raises Refused if there are none that may be sent."""


class Failure(Exception):
    """What a request is answered with instead of an answer; `code` is that of JSON-RPC."""

    def __init__(self, sentence: str, code: int = SERVER_GONE) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code


class _Head(msgspec.Struct):
    """What tells whether a message answers a request."""

    id: int | float | str | None = None
    method: str | None = None


_heads: Final = msgspec.json.Decoder(_Head | list[_Head])


class Call:
    """One request on its way.

    Attributes:
        ident: Its id, which the gate chose.
        message: What was judged.
        line: The same, as it is sent.
        answered: Whether its answer has come.
        modern: Whether it belongs to the modern era.
    """

    def __init__(self, message: JsonObject, line: bytes) -> None:
        self.ident: MessageId = message["id"]
        self.message = message
        self.line = line
        self.answered = False
        self.modern = is_modern(message)

    def settles(self, data: bytes) -> bool:
        """Whether a message of the server, or an element of a batch of them, is the answer.

        Raises:
            ProtocolError: It is no JSON.
        """
        try:
            found = _heads.decode(data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ProtocolError("what is no message") from error
        heads = found if isinstance(found, list) else [found]
        return any(head.id == self.ident and head.method is None for head in heads)


def is_modern(message: JsonObject) -> bool:
    """Whether a message belongs to the modern era: its `_meta` says which revision it is of."""
    params = message.get("params")
    envelope = params.get("_meta") if type(params) is dict else None
    return type(envelope) is dict and meta.VERSION in envelope and message["method"] != "initialize"


class Channel:
    """One client's conversation with one server.

    Args:
        dialler: Knows the server.
        session: Made by it; closed by the owner of the channel.
        params: Header fields of calls.
        authorizer: Authorises requests; None if the server wants nothing of the kind.
    """

    def __init__(
        self, dialler: Dialler, session: aiohttp.ClientSession, params: Params, authorizer: Authorizer | None
    ) -> None:
        self._dialler = dialler
        self._http = session
        self._params = params
        self._authorizer = authorizer
        self._session = ""
        self._version = ""
        self._greeting: Call | None = None
        self._greeted: Json = None
        self._initialized = b""
        self._subscribed = False
        self._renewing = asyncio.Lock()

    # --- one message -------------------------------------------------------------------------------------------

    async def request(self, call: Call, deliver: Deliver) -> None:
        """Send a request, and deliver what comes until its answer has come.

        Raises:
            Failure: There is no answer.
        """
        if call.message["method"] in _SUBSCRIBING:
            self._subscribed = True
        if call.message["method"] == "initialize":
            self._greeting, self._session, self._version = call, "", ""
        brief = call.message["method"] in ("initialize", "server/discover", "ping")
        patience = limits.REMOTE_BRIEF_SECONDS if brief else limits.REMOTE_FIRST_BYTE_SECONDS
        try:
            await self._requested(call, deliver, patience)
        except (Failure, asyncio.CancelledError):
            raise
        except HeadError as error:
            raise Failure(told(error, self._dialler.target).sentence(), ANSWER_REFUSED) from error
        except ProtocolError as error:
            raise Failure(f"the server answers with {error.message}", ANSWER_REFUSED) from error
        except GuardError as error:
            raise Failure(error.sentence()) from error
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise Failure(told(error, self._dialler.target).sentence()) from error

    async def notify(self, message: JsonObject, line: bytes) -> None:
        """Send a notification, or an answer to a request of the server's.

        Raises:
            Failure: It did not arrive.
        """
        if message.get("method") == "notifications/initialized":
            self._initialized = line
        try:
            async with self._sent(line, self._fields(message), limits.REMOTE_BRIEF_SECONDS) as answer:
                check_head(answer)
                if answer.status >= 400:
                    raise Failure(self._status(answer))
                await read_body(answer, limits.REMOTE_HEADER_BYTES)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Failure(told(error, self._dialler.target).sentence()) from error
        except GuardError as error:
            raise Failure(error.sentence()) from error

    async def listen(self, deliver: Deliver) -> None:
        """The server's own stream, if it has one (legacy era): until it gives none any more."""
        stream, failures, session = EventStream(), 0, self._session
        while failures < limits.REMOTE_RESUMES:
            came = False
            if session != self._session:  # begun anew: what came before is of another one
                stream, session = EventStream(), self._session
            try:
                async with self._got(stream.last_id) as answer:
                    check_head(answer)
                    if answer.status == 404 and session != self._session:
                        continue
                    if answer.status != 200 or answer.content_type != _STREAM:
                        return  # 405: it has none
                    async for data in self._events(answer, stream):
                        came = True
                        _settle(data)
                        await deliver(_one_line(data))
            except (aiohttp.ClientError, OSError, TimeoutError, GuardError) as error:
                _log.info("the stream of %s broke: %s", visible(self._dialler.target.shown), error)
            failures = 0 if came else failures + 1
            stream = _resumed(stream)
            await asyncio.sleep(_RESUME_SECONDS if stream.retry is None else stream.retry)

    async def goodbye(self) -> None:
        """Tell the server that the session is over, if there is one; whether it listens does not matter."""
        if not self._session:
            return
        try:
            async with asyncio.timeout(limits.REMOTE_GOODBYE_SECONDS):
                headers = {**self._legacy(), **await self._authorised("DELETE")}
                async with self._dialler.request(self._http, "DELETE", headers=headers) as answer:
                    answer.close()
        except (aiohttp.ClientError, OSError, TimeoutError, GuardError) as error:
            _log.info("the server at %s was not told: %s", visible(self._dialler.target.shown), error)

    # --- a request ---------------------------------------------------------------------------------------------

    async def _requested(self, call: Call, deliver: Deliver, patience: float) -> None:
        for last in (False, True):
            session = self._session
            async with self._sent(call.line, self._fields(call.message), patience) as answer:
                again = not last and await self._again(call, answer, session)
                if not again:
                    await self._taken(call, answer, deliver)
                    return

    async def _again(self, call: Call, answer: aiohttp.ClientResponse, session: str) -> bool:
        """Whether the server has not taken a request and may be asked once more."""
        if answer.status in (401, 403) and self._authorizer is not None:
            challenge = answer.headers.get("WWW-Authenticate", "")[: limits.REMOTE_HEADER_BYTES]
            answer.close()
            nonce = answer.headers.get("DPoP-Nonce", "")[: limits.REMOTE_HEADER_BYTES]
            return await self._authorizer.challenged(answer.status, challenge, nonce)
        if answer.status == 404 and session and not call.modern and call is not self._greeting:
            answer.close()
            await self._renewed(session)
            return True
        return False

    async def _taken(self, call: Call, answer: aiohttp.ClientResponse, deliver: Deliver) -> None:
        check_head(answer)
        if call is self._greeting and answer.status == 200:
            self._open_session(answer)
        if answer.status == 200 and answer.content_type == _STREAM:
            await self._streamed(call, answer, deliver)
            return
        if answer.content_type != _JSON or answer.status in (202, 204):
            raise Failure(self._status(answer))
        body = await read_body(answer, limits.LINE_BYTES)
        if answer.status == 200:
            if not call.settles(body):
                raise Failure("the server answers another request than the one it was sent", ANSWER_REFUSED)
            await self._delivered(call, body, deliver, answered=True)
        else:
            if (error := _error_of(call, body)) is None:
                raise Failure(self._status(answer))
            await deliver(error)
            call.answered = True

    async def _delivered(self, call: Call, data: bytes, deliver: Deliver, *, answered: bool) -> None:
        if answered and call is self._greeting:
            self._greet(data)
        await deliver(_one_line(data))
        call.answered = call.answered or answered

    # --- streams -----------------------------------------------------------------------------------------------

    async def _streamed(self, call: Call, answer: aiohttp.ClientResponse, deliver: Deliver) -> None:
        """Deliver what a stream brings until the answer has come; a broken one is resumed where that is possible."""
        stream = EventStream()
        await self._drained(call, answer, stream, deliver)
        failures, before = 0, ""
        while not call.answered:
            failures = 0 if stream.last_id != before else failures + 1
            before = stream.last_id
            if call.modern or not stream.last_id or failures >= limits.REMOTE_RESUMES:
                raise Failure(
                    "the server ended the stream before it had answered; it may or may not have done what was asked"
                )
            await asyncio.sleep(_RESUME_SECONDS if stream.retry is None else stream.retry)
            stream = _resumed(stream)
            async with self._got(stream.last_id) as resumed:
                check_head(resumed)
                if resumed.status != 200 or resumed.content_type != _STREAM:
                    raise Failure(f"the server does not resume its stream: {self._status(resumed)}")
                await self._drained(call, resumed, stream, deliver)

    async def _drained(
        self, call: Call, answer: aiohttp.ClientResponse, stream: EventStream, deliver: Deliver
    ) -> None:
        """Deliver what a stream brings until it ends, in whatever way."""
        try:
            async for data in self._events(answer, stream, call):
                await self._delivered(call, data, deliver, answered=call.settles(data))
        except (*_BROKEN, TimeoutError) as error:
            if not call.answered:
                _log.info("a stream of %s broke: %s", visible(self._dialler.target.shown), error)

    async def _events(
        self, answer: aiohttp.ClientResponse, stream: EventStream, call: Call | None = None
    ) -> AsyncIterator[bytes]:
        """The data of each message of a stream; with a call, until its answer has come and a moment longer."""
        count = 0
        loop = asyncio.get_running_loop()
        until = 0.0
        while not answer.content.at_eof():
            patience = limits.REMOTE_IDLE_SECONDS
            if call is not None and call.answered:
                until = until or loop.time() + limits.REMOTE_TAIL_SECONDS
                if (patience := until - loop.time()) <= 0:
                    return
            async with asyncio.timeout(patience):
                data = await answer.content.readany()
            for event in stream.feed(data):
                count += 1
                if call is not None and count > limits.REMOTE_EVENTS:
                    raise ProtocolError(f"more than {limits.REMOTE_EVENTS} events to one request")
                if event.kind == "message":
                    yield event.data

    # --- sessions ----------------------------------------------------------------------------------------------

    def _open_session(self, answer: aiohttp.ClientResponse) -> None:
        session = answer.headers.get(httpheaders.SESSION, "")
        if session and not httpheaders.valid_session(session):
            raise HeadError("a session id that cannot be sent back")
        self._session = session

    def _greet(self, data: bytes) -> None:
        """Remember what the server said of itself: it must say the same if the session is begun anew."""
        result = _result(data)
        version = result.get("protocolVersion") if type(result) is dict else None
        self._greeted = result
        self._version = (
            version if type(version) is str and version.isascii() and version.isprintable() else ""
        )

    async def _renewed(self, session: str) -> None:
        """Begin a session anew that the server has forgotten.

        Raises:
            Failure: The host would notice.
        """
        async with self._renewing:
            if self._session != session:
                return  # somebody else has
            if self._subscribed or self._greeting is None or not self._initialized:
                raise Failure(
                    "the server has forgotten the session, and what was subscribed with it: connect anew"
                )
            self._session = ""
            greeting = Call(self._greeting.message, self._greeting.line)
            before, self._greeting = self._greeted, greeting
            answers: list[bytes] = []

            async def keep(data: bytes) -> None:
                answers.append(data)

            fields = self._fields(greeting.message)
            async with self._sent(greeting.line, fields, limits.REMOTE_BRIEF_SECONDS) as answer:
                await self._taken(greeting, answer, keep)
            if self._greeted != before or len(answers) != 1:
                raise Failure("the server has forgotten the session, and is another one now: connect anew")
            await self.notify({"method": "notifications/initialized"}, self._initialized)
            _log.info(
                "the server at %s had forgotten the session: begun anew", visible(self._dialler.target.shown)
            )

    # --- HTTP --------------------------------------------------------------------------------------------------

    def _fields(self, message: JsonObject) -> dict[str, str]:
        fields = {"Content-Type": _JSON, "Accept": _ACCEPT}
        if "method" not in message or not is_modern(message):
            return fields | self._legacy()
        fields |= httpheaders.standard(message)
        if message["method"] == "tools/call":
            try:
                fields |= self._params(message)
            except Refused as refused:
                raise Failure(
                    f"the tool cannot be called over HTTP: {refused.message}", ANSWER_REFUSED
                ) from refused
        return fields

    def _legacy(self) -> dict[str, str]:
        fields = {httpheaders.SESSION: self._session} if self._session else {}
        if self._version and self._version != _NO_VERSION:
            fields[httpheaders.VERSION] = self._version
        return fields

    async def _authorised(self, method: str) -> Mapping[str, str]:
        if self._authorizer is None:
            return {}
        return await self._authorizer.headers(method, str(self._dialler.url))

    def _sent(self, line: bytes, fields: Mapping[str, str], patience: float) -> _Exchange:
        return _Exchange(self, "POST", fields, line, patience)

    def _got(self, last_id: str) -> _Exchange:
        fields = {"Accept": _STREAM, **self._legacy()}
        if last_id:
            fields[httpheaders.LAST_EVENT] = last_id
        return _Exchange(self, "GET", fields, None, limits.REMOTE_BRIEF_SECONDS)

    async def open(
        self, method: str, fields: Mapping[str, str], body: bytes | None, patience: float
    ) -> aiohttp.ClientResponse:
        """Send, and wait for the head of the answer."""
        headers = {**fields, **await self._authorised(method)}
        async with asyncio.timeout(patience):
            answer: aiohttp.ClientResponse = await self._dialler.request(
                self._http, method, data=body, headers=headers
            )
            return answer

    def _status(self, answer: aiohttp.ClientResponse) -> str:
        place = visible(self._dialler.target.shown)
        if answer.status in (401, 403):
            return f"the server at {place} wants authorisation (HTTP {answer.status})"
        if answer.status in (200, 202, 204):
            kind = visible(answer.content_type[:80]) if answer.status == 200 else "nothing"
            return f"the server at {place} answers a request with HTTP {answer.status} and {kind}"
        return f"the server at {place} answers with HTTP {answer.status}"


class _Exchange:
    """One request and the head of its answer; what is left of the body at the end is not read."""

    def __init__(
        self, channel: Channel, method: str, fields: Mapping[str, str], body: bytes | None, patience: float
    ) -> None:
        self._open = channel.open(method, fields, body, patience)
        self._answer: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> aiohttp.ClientResponse:
        self._answer = await self._open
        return self._answer

    async def __aexit__(self, *_: object) -> None:
        if self._answer is not None:
            if self._answer.content.at_eof():
                self._answer.release()
            else:
                self._answer.close()


def _error_of(call: Call, body: bytes) -> bytes | None:
    """The error that a body says, as the answer to a call: servers that could not read an id answer without one."""
    value, _ = decode(_flat(body))
    error = value.get("error") if type(value) is dict else None
    if type(error) is not dict or type(error.get("code")) is not int or type(error.get("message")) is not str:
        return None
    return encode({"jsonrpc": "2.0", "id": call.ident, "error": error})


def _result(data: bytes) -> Json:
    value, _ = decode(_flat(data))
    return value.get("result") if type(value) is dict else None


def _settle(data: bytes) -> None:
    """Refuse what is no message before it becomes a line."""
    try:
        _heads.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtocolError("what is no message") from error


def _one_line(data: bytes) -> bytes:
    """The message as one line: what is read strictly is written by us if its sender used several."""
    if b"\n" not in data and b"\r" not in data:
        return data
    value, _ = decode(_flat(data))
    return encode(value)


def _flat(data: bytes) -> bytes:
    return data.strip()


def _resumed(stream: EventStream) -> EventStream:
    """A stream that goes on where one ended; what was not complete comes again."""
    made = EventStream()
    made.last_id, made.retry = stream.last_id, stream.retry
    return made
