"""Remote servers that really listen: MCP over HTTP and TLS as a script says, and raw bytes as an attacker sends them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import trustme

NAME = "remote.test"
Handler = Callable[["Request"], Awaitable[bytes]]


class Pki:
    """A private CA, and certificates of it in files."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.ca = trustme.CA()
        self.ca_file = place / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.ca_file))

    @property
    def pem(self) -> str:
        return self.ca_file.read_text()

    def issue(self, name: str, *identities: str, ca: trustme.CA | None = None, **more: Any) -> Path:
        """A certificate with its key, in one file."""
        path = self.place / f"{name}.pem"
        leaf = (ca or self.ca).issue_cert(*(identities or (NAME, "127.0.0.1", "localhost")), **more)
        leaf.private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

    def server(
        self, name: str = "server", *identities: str, clients: bool = False, **more: Any
    ) -> ssl.SSLContext:
        """What a server listens with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.issue(name, *identities, **more))
        if clients:
            context.load_verify_locations(self.ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class Request:
    """One HTTP request, and the connection to answer it on."""

    def __init__(
        self, method: str, fields: dict[str, str], body: bytes, writer: asyncio.StreamWriter
    ) -> None:
        self.method = method
        self.fields = fields
        self.body = body
        self.writer = writer
        self.message: dict[str, Any] = json.loads(body) if body else {}

    @property
    def name(self) -> str:
        """The method of the message; `GET` or `DELETE` without one; `answer` for an answer."""
        return str(self.message.get("method", "answer")) if self.body else self.method

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def result(self, **result: Any) -> bytes:
        """A JSON answer."""
        return answer(200, {"jsonrpc": "2.0", "id": self.message.get("id"), "result": result})

    def event(self, ident: str = "", **result: Any) -> bytes:
        """The answer as an event."""
        return event({"jsonrpc": "2.0", "id": self.message.get("id"), "result": result}, ident)


def answer(status: int, value: Any = None, **fields: str) -> bytes:
    """An HTTP answer with a JSON body, or none."""
    body = b"" if value is None else json.dumps(value).encode()
    head = {"content-length": str(len(body)), **({"content-type": "application/json"} if body else {})}
    head |= {name.replace("_", "-"): text for name, text in fields.items()}
    lines = "".join(f"{name}: {text}\r\n" for name, text in head.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
"""The head of a stream that ends with its connection."""


def event(value: Any, ident: str = "") -> bytes:
    return (f"id: {ident}\n" if ident else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


GREETING = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "r", "version": "1"},
}


class Remote:
    """A server whose manners are a handler; without one, it greets and echoes."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.port = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.handler: Handler | None = None
        self.raw: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None

    async def handle(self, request: Request) -> bytes:
        """Manners that a handler can fall back on."""
        if request.name == "initialize":
            return request.result(**GREETING)
        if request.name in ("GET", "DELETE"):
            return answer(405)
        if "id" not in request.message or request.name == "answer":
            return answer(202)
        return request.result(echo=request.message.get("params"))

    def named(self, name: str) -> list[Request]:
        return [request for request in self.requests if request.name == name]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:  # the end of the server; asyncio would complain of a task that says so
            writer.transport.abort()
        finally:
            self.tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            if self.raw is not None:
                await self.raw(reader, writer)
            else:
                while (request := await read_request(reader, writer)) is not None:
                    self.requests.append(request)
                    data = await (self.handler or self.handle)(request)
                    if not data:
                        break
                    await request.send(data)
                    if b"connection: close" in data:
                        break


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    head = b""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode().split("\r\n")[:-2]
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(fields.get("content-length", "0")))
    return Request(first.split()[0], fields, body, writer)


@contextlib.asynccontextmanager
async def listening(context: ssl.SSLContext | None, path: str = "", port: int = 0) -> AsyncIterator[Remote]:
    """A server on this machine, on a port of its own or on a Unix socket."""
    made = Remote()
    if path:
        server = await asyncio.start_unix_server(made.serve, path)
    else:
        server = await asyncio.start_server(made.serve, "127.0.0.1", port, ssl=context)
        made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        for each in server.sockets:  # asyncio forgets a connection that comes in the turn in which it closes
            asyncio.get_running_loop().remove_reader(each.fileno())
        await asyncio.sleep(0.01)
        server.close()
        for task in (tasks := list(made.tasks)):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)


async def _settle(tasks: set[asyncio.Task[Any]]) -> None:
    """End what is left of a loop."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Threaded:
    """A server in a thread of its own, for tests that wait for processes."""

    def __init__(self, context: ssl.SSLContext | None, path: str = "", port: int = 0) -> None:
        self._loop = asyncio.new_event_loop()
        self._listening = listening(context, path, port)
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.remote: Remote

    def __enter__(self) -> Remote:
        self._thread.start()
        self.remote = self._call(self._listening.__aenter__())
        return self.remote

    def __exit__(self, *_: object) -> None:
        self._call(self._listening.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(asyncio.sleep(0))  # tasks that have not begun could not clean up
        while tasks := asyncio.all_tasks(self._loop):  # whoever connected at the last moment is a new one
            self._loop.run_until_complete(_settle(tasks))
        for transport in list(self._loop._transports.values()):
            transport.abort()  # a handshake that was under way belongs to no task
        self._loop.run_until_complete(asyncio.sleep(0.01))  # transports close at the next turn
        self._loop.close()

    def _call(self, what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(20)
