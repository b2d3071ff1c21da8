"""A server that is reached over HTTP, as the rest of the daemon sees it: two descriptors with lines on them.

The gate's side writes lines that were judged; here each becomes a POST, and each message of the server a line, which
the gate judges in turn. So nothing of the gate knows about HTTP, and nothing reaches the network unjudged.

Rule 1: lines are sent in the order in which they came, except that requests do not wait for each other.
Rule 2: no answer is invented: a request without one gets an error that says what became of it.
Rule 3: what is bounded by `limits` waits, or ends the connection with a sentence; nothing is dropped.

Cost: 0.25 ms of processor time a call over that of the HTTP client, 0.35 ms (tests/bench/remote.py).

Decided: *pipes to ourselves*, so that a remote server looks like any other. Rejected: a
second kind of session.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp
import msgspec

from mcpguard import limits
from mcpguard.audit import redact
from mcpguard.audit.marks import Marks, marks_of
from mcpguard.daemon.dialling import Dialler
from mcpguard.daemon.outgoing import Authorizer
from mcpguard.daemon.registrytls import RegistryTls
from mcpguard.daemon.streamable import Call, Channel, Failure, is_modern
from mcpguard.daemon.streams import Inlet, Outlet
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import ProtocolError
from mcpguard.identity.remote import Remote
from mcpguard.model import Json, JsonObject, MessageId
from mcpguard.protocol.framing import LineBuffer
from mcpguard.protocol.httpheaders import Mirror, mirrored, mirrors
from mcpguard.protocol.jsonrpc import error_line

_log: Final = logging.getLogger("mcpguard")
_KNOWN: Final = f"{redact.MARK}known"


class Mirrors:
    """Which arguments of which tools are repeated in header fields: what the pinned definitions say, but no secrets.

    Args:
        tools: Name to definition; those of the manifest, not what the server says now.
    """

    def __init__(self, tools: Mapping[str, JsonObject]) -> None:
        self._tools = tools
        self._known: dict[str, tuple[Mirror, ...]] = {}

    def fields(self, message: JsonObject) -> dict[str, str]:
        """The fields of a call.

        Raises:
            Refused: The tool's annotations break the rules.
        """
        params = message.get("params") or {}
        name = params.get("name")
        if type(name) is not str or name not in self._tools:
            return {}
        if name not in self._known:
            schema = self._tools[name].get("inputSchema")
            marks = marks_of(schema)
            self._known[name] = tuple(each for each in mirrors(schema) if not _secret(marks, each.path))
        arguments = params.get("arguments")
        return mirrored(arguments, [each for each in self._known[name] if not _holds(arguments, each.path)])


def _secret(marks: Marks | None, path: tuple[str, ...]) -> bool:
    for step in path:
        if marks is None or marks.whole:
            break
        marks = marks.of(step)
    return marks is not None and marks.whole


def _holds(arguments: Json, path: tuple[str, ...]) -> bool:
    """Whether an argument holds a secret that is known, such as one that stood in the place of a handle."""
    for step in path:
        arguments = arguments.get(step) if type(arguments) is dict else None
    return type(arguments) is str and _KNOWN in redact.current().text(arguments)


class Bridge:
    """A connection to a remote server (`session.Upstream`). Owns its client and its ends of the pipes.

    Args:
        channel: Speaks to the server.
        http: Its client; closed with it.
        done: Called once it is over.
    """

    pid = 0

    def __init__(
        self, channel: Channel, http: aiohttp.ClientSession, done: Callable[[], None] = lambda: None
    ) -> None:
        self._done = done
        self._channel = channel
        self._http = http
        self._loop = asyncio.get_running_loop()
        self._calls: dict[MessageId, tuple[Call, asyncio.Task[None]]] = {}
        self._ordered: asyncio.Queue[tuple[JsonObject, bytes]] = asyncio.Queue()
        self._waiting = 0
        self._buffer = LineBuffer()
        self._places = asyncio.Semaphore(limits.REMOTE_CALLS)
        self._room = asyncio.Event()
        self._room.set()
        self._introduced = asyncio.Event()
        self._introduced.set()
        self._over = asyncio.Event()
        self._ending = False
        self._listening: asyncio.Task[None] | None = None
        theirs, sink = os.pipe()
        source, ours = os.pipe()
        self._theirs = source, sink
        self._inlet = Inlet(self._loop, theirs, self._received, self.end)
        self._outlet = Outlet(self._loop, ours, self._pressed, self.term)
        self._inlet.resume()
        self._sender = spawn_task(self._send_ordered(), name="messages to a remote server")
        self._closing = spawn_task(self._close(), name="end of a remote connection")

    def descriptors(self) -> tuple[int, int]:
        """To read from the server and to write to it; the caller owns them."""
        return self._theirs

    async def wait(self) -> int:
        """0, once the connection is over: it has no exit status."""
        await self._over.wait()
        return 0

    async def gone(self) -> None:
        """Until the server was told, or did not listen in time."""
        await asyncio.wait((self._closing,))

    def end(self) -> None:
        """Nothing more comes from the host: what is asked already may still be answered, for a moment."""
        if self._ending:
            return
        self._ending = True
        if not self._calls and self._ordered.empty():
            self._over.set()
        else:
            self._loop.call_later(limits.EOF_GRACE_SECONDS, self._over.set)

    def term(self) -> None:
        """The connection is over now."""
        self._over.set()

    def kill(self) -> None:
        """As `term`."""
        self._over.set()

    # --- from the host -----------------------------------------------------------------------------------------

    def _received(self, data: bytes) -> None:
        try:
            lines = self._buffer.feed(data)
        except ProtocolError as error:  # the gate writes no such line
            _log.error("a remote connection is closed because of a bug in mcpguard: %s", error.message)
            self.term()
            return
        for line in lines:
            self._line(line)
        if self._waiting > limits.REMOTE_WAITING_BYTES:
            self._inlet.pause()

    def _line(self, line: bytes) -> None:
        message: JsonObject = msgspec.json.decode(line)
        method = message.get("method")
        if method is not None and "id" in message:
            self._waiting += len(line)
            call = Call(message, line)
            self._calls[call.ident] = call, spawn_task(self._request(call), name="a remote request")
            return
        if method == "notifications/cancelled" and self._cancelled(message):
            return
        if method is not None and is_modern(message):
            return  # 2026-07-28 has no notifications from clients over HTTP
        if method == "notifications/initialized":
            self._introduced.clear()
        self._waiting += len(line)
        self._ordered.put_nowait((message, line))

    def _cancelled(self, message: JsonObject) -> bool:
        """Close the answer of a request of the modern era, which is how it is cancelled."""
        ident = (message.get("params") or {}).get("requestId")
        known = self._calls.get(ident) if isinstance(ident, int | str) else None
        if known is None or not known[0].modern:
            return False
        known[1].cancel()
        return True

    def _passed_on(self, size: int) -> None:
        """So many bytes wait no longer."""
        self._waiting -= size
        if self._waiting <= limits.REMOTE_WAITING_BYTES and not self._ending:
            self._inlet.resume()

    async def _request(self, call: Call) -> None:
        waiting = len(call.line)
        try:
            async with self._places:
                await self._introduced.wait()
                self._passed_on(waiting)
                waiting = 0
                await self._channel.request(call, self._deliver)
        except Failure as failure:
            if not call.answered:
                self._outlet.write(error_line(call.ident, failure.code, failure.sentence))
        finally:
            self._passed_on(waiting)
            if self._calls.get(call.ident, (None, None))[0] is call:
                del self._calls[call.ident]
            if self._ending and not self._calls:
                self._over.set()

    async def _send_ordered(self) -> None:
        """Notifications and answers, one after the other."""
        while True:
            message, line = await self._ordered.get()
            try:
                await self._channel.notify(message, line)
            except Failure as failure:
                _log.warning("a message to a remote server is lost: %s", failure.sentence)
            finally:
                self._passed_on(len(line))
                if message.get("method") == "notifications/initialized":
                    self._introduced.set()
            if message.get("method") == "notifications/initialized" and self._listening is None:
                listening = self._channel.listen(self._deliver)
                self._listening = spawn_task(listening, name="the stream of a remote server")

    # --- to the host -------------------------------------------------------------------------------------------

    async def _deliver(self, data: bytes) -> None:
        self._outlet.write(data + b"\n")
        if not self._room.is_set():
            await self._room.wait()

    def _pressed(self, full: bool) -> None:
        if full:
            self._room.clear()
        else:
            self._room.set()

    # --- the end -----------------------------------------------------------------------------------------------

    async def _close(self) -> None:
        """Wait for the end; then let go of everything, the server last."""
        await self._over.wait()
        tasks = [
            self._sender,
            *(task for _, task in self._calls.values()),
            *([self._listening] if self._listening else []),
        ]
        for task in tasks:
            task.cancel()
        self._inlet.close()
        self._outlet.finish()
        await asyncio.wait(tasks)
        await self._channel.goodbye()
        await self._http.close()
        self._done()


async def reach(
    remote: Remote,
    tools: Mapping[str, JsonObject],
    authorizer: Authorizer | None = None,
    registry: RegistryTls | None = None,
) -> Bridge:
    """A connection to a remote server; `tools`: its pinned definitions; see `upstream.reach`.

    Raises:
        TrustError: It is not the server that the manifest names, or is where it may not be.
        UpstreamError: It cannot be reached.
    """
    dialler = Dialler(remote, registry=registry)
    http = await dialler.session()
    channel = Channel(dialler, http, Mirrors(tools).fields, authorizer)
    return Bridge(channel, http, registry.close if registry is not None else lambda: None)
