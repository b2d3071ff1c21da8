"""What a session says, brought to the HTTP responses that it belongs to: MCP sessions and modern requests.

A legacy session (revisions up to 2025-11-25) is one peer's conversation, named by an id that only it knows. Its
streams outlive their connections, since a broken connection cancels nothing there.
Modern requests have no session. Those of one credential to one server share one, whose ids and progress tokens are
ours, because two requests may use the same ones; a broken connection cancels.

Rule 1: a session is its principal's: nobody else can name it, and who tries hears that there is none.
Rule 2: what belongs to no stream for certain goes to one that the same peer reads.

Not here: judging anything (`gate`). What comes from a session is the gate's own encoding, so it is taken apart
without checking it again.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.daemon.eventstream import EventStream
from mcpguard.daemon.inner import Inner
from mcpguard.daemon.networkparty import NetworkParty
from mcpguard.daemon.session import Session
from mcpguard.model import Json, JsonObject, MessageId
from mcpguard.protocol import jsonrpc, meta
from mcpguard.protocol.strict import encode, encode_raw

_STANDALONE: Final = "0"
_PROGRESS: Final = "notifications/progress"
_LOG: Final = "notifications/message"
_TOKEN: Final = "progressToken"  # noqa: S105 (of progress)


class Envelope(msgspec.Struct, omit_defaults=True):
    """A message as the gate encodes it; what it holds is left as it is."""

    jsonrpc: str = "2.0"
    id: MessageId | msgspec.UnsetType = msgspec.UNSET
    method: str | msgspec.UnsetType = msgspec.UNSET
    params: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_envelope: Final = msgspec.json.Decoder(Envelope).decode


class PeerSession:
    """One session of a peer.

    Args:
        party: The peer.
        server: The server's name.

    Attributes:
        inner: Its session's other end.
        session: Its session, once it has begun.
        used: Monotonic seconds of its last use.
        over: Whether it has ended.
        reason: Why; empty for an ordinary end.
    """

    def __init__(self, party: NetworkParty, server: str) -> None:
        self.party = party
        self.server = server
        self.session: Session | None = None
        self.inner = Inner(self._received, self._ended)
        self.used = time.monotonic()
        self.over = False
        self.reason = ""
        self.streams: OrderedDict[str, EventStream] = OrderedDict()
        self._numbers = 0

    @property
    def busy(self) -> bool:
        """Whether somebody reads a stream of it: an answer that nobody waits for keeps no server."""
        return any(stream.read for stream in self.streams.values())

    def end(self) -> None:
        """End it now."""
        self.inner.end()

    def stream(self, pending: set[MessageId]) -> EventStream:
        """A new stream for the answers of some requests."""
        self._numbers += 1
        made = EventStream(str(self._numbers), pending)
        self.streams[made.ident] = made
        return made

    def forget(self, stream: EventStream) -> None:
        """A stream is of no use any more."""
        self.streams.pop(stream.ident, None)

    def _received(self, line: bytes) -> None:
        raise NotImplementedError

    def _ended(self, reason: str) -> None:
        self.over = True
        self.reason = reason
        for stream in self.streams.values():
            stream.close()


class LegacySession(PeerSession):
    """A session as revisions up to 2025-11-25 have it.

    Attributes:
        ident: Its `Mcp-Session-Id`: 256 random bits.
        revision: What was negotiated; empty before the answer to `initialize`.
    """

    def __init__(self, party: NetworkParty, server: str) -> None:
        super().__init__(party, server)
        self.ident = secrets.token_urlsafe(32)
        self.revision = ""
        self.standalone = EventStream(_STANDALONE)
        self.streams[_STANDALONE] = self.standalone
        self._calls: dict[MessageId, EventStream] = {}
        self._tokens: dict[MessageId, EventStream] = {}
        self._hello: MessageId | None = None

    def expect(self, messages: list[JsonObject]) -> EventStream | None:
        """The stream for the answers to what is sent now; None if nothing of it is a request.

        Raises:
            ValueError: One of the ids waits for an answer already, or too many do.
        """
        asked = [each for each in messages if "method" in each and "id" in each]
        if not asked:
            return None
        idents: set[MessageId] = {each["id"] for each in asked}
        if len(idents) != len(asked) or not idents.isdisjoint(self._calls):
            raise ValueError("the id of a request that has no answer yet is used again")
        if len(self._calls) + len(asked) > limits.PEER_REQUESTS:
            raise ValueError(f"{limits.PEER_REQUESTS} requests of this session have no answer yet")
        stream = self.stream(idents)
        for each in asked:
            self._calls[each["id"]] = stream
            if (token := _token(each)) is not None:
                self._tokens[token] = stream
            if each["method"] == "initialize":
                self._hello = each["id"]
        return stream

    def resumed(self, last: str) -> tuple[EventStream, int] | None:
        """The stream of an event id and the number of that event; None if there is none, or it is not held."""
        name, dash, number = last.partition("-")
        stream = self.streams.get(name)
        if stream is None or not dash or not number.isdecimal() or not number.isascii() or len(number) > 9:
            return None
        return (stream, int(number)) if stream.holds(int(number)) else None

    def _received(self, line: bytes) -> None:
        message = _envelope(line)
        if message.method is msgspec.UNSET:
            self._answered(message, line)
        else:
            self._chosen(message).put(line)
        self._trim()

    def _answered(self, message: Envelope, line: bytes) -> None:
        ident = message.id
        if ident is msgspec.UNSET or (stream := self._calls.pop(ident, None)) is None:
            return
        if ident == self._hello and message.result is not msgspec.UNSET:
            self._hello = None  # the peer may use its id again
            version = msgspec.json.decode(message.result).get("protocolVersion")
            self.revision = version if type(version) is str else ""
        stream.put(line)
        stream.pending.discard(ident)
        if not stream.pending:
            self._tokens = {token: each for token, each in self._tokens.items() if each is not stream}
            stream.close()

    def _chosen(self, message: Envelope) -> EventStream:
        """The stream of a notification or a request of the server."""
        if message.method == _PROGRESS and message.params is not msgspec.UNSET:
            token = msgspec.json.decode(message.params).get(_TOKEN)
            if type(token) in (int, str) and token in self._tokens:
                return self._tokens[token]
        if not self.standalone.read:
            for stream in reversed(self.streams.values()):
                if stream.pending and stream.read:
                    return stream
        return self.standalone

    def _trim(self) -> None:
        """Forget what was delivered, oldest streams first; end a session whose peer collects nothing."""
        done = [each for each in self.streams.values() if each.over and not each.waiting]
        for stream in done[: max(0, len(done) - limits.STREAMS)]:
            self.forget(stream)
        size = sum(stream.size for stream in self.streams.values())
        for stream in list(self.streams.values()):
            while size > limits.STREAM_BYTES and (freed := stream.forget()):
                size -= freed
        if size > limits.STREAM_BYTES and self.session is not None:
            self.session.end("the peer does not collect what it is sent", now=True)


class _Call(msgspec.Struct):
    """A modern request that waits."""

    stream: EventStream
    ident: MessageId
    token: MessageId | None
    logs: bool


class ModernPool(PeerSession):
    """The session behind the modern requests of one credential to one server."""

    def __init__(self, party: NetworkParty, server: str) -> None:
        super().__init__(party, server)
        self._calls: dict[MessageId, _Call] = {}
        self._next = 0

    def ask(self, message: JsonObject) -> tuple[EventStream, bytes, int]:
        """The stream for the answer to a request, the line to send, and our number for it.

        Raises:
            ValueError: Too many requests wait.
        """
        if len(self._calls) >= limits.PEER_REQUESTS:
            raise ValueError(f"{limits.PEER_REQUESTS} requests of this credential have no answer yet")
        self._next += 1
        number = self._next
        token = _token(message)
        params = message.get("params")
        tags: Json = params.get("_meta") if type(params) is dict else None
        sent = dict(message, id=number)
        logs = type(tags) is dict and meta.LOG_LEVEL in tags
        if token is not None and type(params) is dict:
            sent["params"] = dict(params, _meta=dict(params["_meta"], progressToken=number))
        stream = self.stream({number})
        self._calls[number] = _Call(stream, message["id"], token, logs)
        return stream, encode(sent), number

    def cancel(self, number: int) -> None:
        """The peer has closed the response: in this era that cancels the request."""
        call = self._calls.pop(number, None)
        if call is None:
            return
        call.stream.close()
        self.forget(call.stream)
        if not self.over:
            said = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}
            self.inner.send_now(encode(said))

    def named(self, ident: Json) -> int | None:
        """Our number for the one request with this id of its peer; None if there is none, or several."""
        found = [
            number
            for number, call in self._calls.items()
            if call.ident == ident and type(call.ident) is type(ident)
        ]
        return int(found[0]) if len(found) == 1 else None

    def _received(self, line: bytes) -> None:
        message = _envelope(line)
        if message.method is msgspec.UNSET:
            self._answered(message)
        else:
            self._noticed(message)

    def _answered(self, message: Envelope) -> None:
        if message.id is msgspec.UNSET or (call := self._calls.pop(message.id, None)) is None:
            return
        message.id = call.ident
        call.stream.put(encode_raw(message))
        call.stream.pending.clear()
        call.stream.close()

    def _noticed(self, message: Envelope) -> None:
        if message.params is msgspec.UNSET or message.id is not msgspec.UNSET:
            return
        params = msgspec.json.decode(message.params)
        tags = params.get("_meta")
        call: _Call | None = None
        if type(tags) is dict and meta.SUBSCRIPTION in tags:
            call = self._calls.get(tags[meta.SUBSCRIPTION])
            if call is not None:
                tags[meta.SUBSCRIPTION] = call.ident
        elif message.method == _PROGRESS:
            call = self._calls.get(params.get(_TOKEN))
            if call is None or call.token is None:
                return
            params[_TOKEN] = call.token
        elif message.method == _LOG:
            wanting = [each for each in self._calls.values() if each.logs]
            call = wanting[0] if len(wanting) == 1 else None
        if call is None:
            return
        call.stream.put(encode({"jsonrpc": "2.0", "method": message.method, "params": params}))
        if call.stream.waiting > limits.STREAM_BYTES:
            self.cancel(next(int(number) for number, each in self._calls.items() if each is call))


def _token(message: JsonObject) -> MessageId | None:
    params = message.get("params")
    tags = params.get("_meta") if type(params) is dict else None
    token = tags.get(_TOKEN) if type(tags) is dict else None
    return token if jsonrpc.valid_token(token) else None
