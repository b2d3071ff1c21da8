"""NDJSON listeners: after its credential, a connection speaks stdio framing with one server, and is one session.

Source: MCP basic/transports, Custom transports (2026-07-28): a reliable byte stream reuses stdio framing. Set-up:
where the listener asks for more than the connection shows, the first line is `Authorization: VALUE` LF. Shutdown:
either side closes. Cancellation: as on stdio.

A refused peer gets one line: a JSON-RPC error without an id.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Final

import msgspec

from mcpguard import limits
from mcpguard.credentials.presented import Presented
from mcpguard.daemon.httpcheck import Refusal
from mcpguard.daemon.inner import Direct, Inner
from mcpguard.daemon.link import Link
from mcpguard.daemon.networkparty import NetworkParty
from mcpguard.daemon.peering import Peering
from mcpguard.daemon.session import Session
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import GuardError
from mcpguard.protocol.strict import encode

if TYPE_CHECKING:
    import ssl

_FIELD: Final = b"authorization:"


class LineDoor:
    """The NDJSON side of one listener; `peering` lets peers in."""

    def __init__(self, peering: Peering) -> None:
        self._peering = peering
        self._open: dict[Link, tuple[Session, NetworkParty]] = {}
        self._couriers: set[Direct] = set()

    @property
    def sessions(self) -> list[tuple[Session, NetworkParty]]:
        """Those that are open."""
        return list(self._open.values())

    def tick(self, now: float) -> None:
        """Sessions end with their connections: there is nothing to tidy."""

    def close(self) -> None:
        """End every session."""
        for courier in list(self._couriers):
            courier.end()

    async def serve(self, connection: socket.socket, link: Link, context: ssl.SSLContext | None) -> None:
        """Serve one connection to its end.

        Raises:
            OSError: The TLS handshake failed.
        """
        if context is not None:
            await self._over_tls(connection, link, context)
            return
        try:
            presented = link.presented
            if link.fault is None and self._peering.auth.required:
                line = await _first_line(connection)
                presented = msgspec.structs.replace(presented, authorization=_authorization(line))
            party = await self._party(link, presented)
            fd = connection.fileno()
            await self._begin(link, party, Direct((os.dup(fd), os.dup(fd)), lambda _: self._ended(link)))
        except GuardError as error:
            await _say(connection, error)
            link.left()
        finally:
            connection.close()

    async def _over_tls(self, connection: socket.socket, link: Link, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=limits.HEADER_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, connection, ssl=context, ssl_handshake_timeout=limits.HANDSHAKE_SECONDS
        )
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        link.hang_up = transport.abort
        tls = transport.get_extra_info("ssl_object")
        presented = msgspec.structs.replace(
            link.presented, certificate=tls.getpeercert(binary_form=True) or b"", url=self._peering.listen.url
        )
        try:
            if self._peering.auth.required:
                presented = msgspec.structs.replace(presented, authorization=await _first_field(reader))
            party = await self._party(link, presented)
            await self._relay(link, party, reader, writer)
        except GuardError as error:
            writer.write(_failure(error))
        except OSError:
            pass  # the peer is gone: there is nobody to tell
        finally:
            writer.close()
            link.left()

    async def _party(self, link: Link, presented: Presented) -> NetworkParty:
        if link.fault is not None:
            raise self._peering.refusal(403, link.fault, presented)
        if link.over:
            raise Refusal(503, "this listener is closed")
        found = await self._peering.authenticated(presented)
        return self._peering.party(found, presented, self._peering.listen.server, link.pid)

    async def _begin(self, link: Link, party: NetworkParty, courier: Direct) -> Session:
        self._couriers.add(courier)
        try:
            session = await self._peering.rooms.open(party, self._peering.listen.server, courier)
        except BaseException:
            courier.end()
            self._couriers.discard(courier)
            raise
        self._open[link] = session, party
        return session

    def _ended(self, link: Link) -> None:
        self._open.pop(link, None)
        self._couriers = {each for each in self._couriers if not each.over}
        link.left()

    def _said(self, line: bytes, writer: asyncio.StreamWriter, inner: Inner) -> None:
        """The session has said something: no more of it is read than the peer takes."""
        writer.write(line + b"\n")
        if writer.transport.get_write_buffer_size() > limits.QUEUE_BYTES:
            inner.pause()
            _ = spawn_task(_drained(writer, inner), name="a peer that reads slowly")

    async def _relay(
        self, link: Link, party: NetworkParty, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Bring bytes from a TLS connection to a session and back, each way no faster than it is taken."""
        over = asyncio.Event()
        inner = Inner(lambda line: self._said(line, writer, inner), lambda _: over.set())
        await self._begin(link, party, inner)
        ended = spawn_task(over.wait(), name="the end of a session")
        try:
            while not over.is_set():
                reading = spawn_task(reader.read(limits.READ_BYTES), name="a peer speaks")
                await asyncio.wait((reading, ended), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    break
                if not (data := reading.result()):
                    await inner.finish()
                    await ended
                    break
                await inner.write(data)
            await writer.drain()
        finally:
            ended.cancel()
            inner.end()
            self._ended(link)


async def _drained(writer: asyncio.StreamWriter, inner: Inner) -> None:
    try:
        await writer.drain()
    except OSError:
        return  # the peer is gone, which its reader says
    inner.resume()


async def _first_line(connection: socket.socket) -> bytes:
    """The first line of a raw connection, and not a byte more: what follows is the session's.

    Raises:
        Refusal: It does not come, or is too long.
    """
    loop = asyncio.get_running_loop()
    line = bytearray()
    try:
        async with asyncio.timeout(limits.HANDSHAKE_SECONDS):
            while not line.endswith(b"\n"):
                byte = await loop.sock_recv(connection, 1)
                if not byte or len(line) > limits.HEADER_BYTES:
                    raise Refusal(400, "the first line is `Authorization: VALUE`")
                line += byte
    except TimeoutError:
        raise Refusal(408, "the first line, `Authorization: VALUE`, did not come") from None
    return bytes(line)


async def _first_field(reader: asyncio.StreamReader) -> str:
    try:
        async with asyncio.timeout(limits.HANDSHAKE_SECONDS):
            return _authorization(await reader.readline())
    except TimeoutError:
        raise Refusal(408, "the first line, `Authorization: VALUE`, did not come") from None
    except ValueError:
        raise Refusal(400, "the first line is `Authorization: VALUE`") from None


def _authorization(line: bytes) -> str:
    if not line.lower().startswith(_FIELD) or not line.endswith(b"\n"):
        raise Refusal(400, "the first line is `Authorization: VALUE`")
    try:
        value = line[len(_FIELD) :].decode("ascii").strip()
    except UnicodeDecodeError:
        raise Refusal(400, "the first line is `Authorization: VALUE`, in ASCII") from None
    if not value.isprintable():
        raise Refusal(400, "the first line is `Authorization: VALUE`, without control characters")
    return value


def _failure(error: GuardError) -> bytes:
    code = error.code if isinstance(error, Refusal) else -32600
    return (
        encode({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": error.sentence()}}) + b"\n"
    )


async def _say(connection: socket.socket, error: GuardError) -> None:
    """Tell a peer why it is refused, and hang up."""
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    try:
        async with asyncio.timeout(1.0):
            await loop.sock_sendall(connection, _failure(error))
    except (OSError, TimeoutError):
        return  # it does not listen
    finally:
        connection.close()
