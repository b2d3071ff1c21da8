"""Where the browser comes back to: one request on 127.0.0.1, then nobody listens any more (RFC 8252 7.3).

Rule 1: only the path that was agreed is looked at, and only if the request was made for this address: a page that
knows another name for 127.0.0.1 (DNS rebinding) is turned away.
Rule 2: nothing of what comes is shown again.

Not here: whether the answer is ours (`credentials.oauthanswer`).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Self
from urllib.parse import urlsplit

from mcpguard import limits
from mcpguard.credentials.oautherror import OAuthError

_HEAD_BYTES: Final = limits.OAUTH_REDIRECT_CHARS + 16 * limits.KIB
_SECONDS: Final = 10.0
_CONNECTIONS: Final = 16
_PAGE: Final = (
    "<!doctype html><meta charset=utf-8><title>mcpguard</title><p>mcpguard has the answer. You can close this page"
    " and go back to the terminal."
)


class Redirect:
    """A listener for one answer.

    Attributes:
        uri: The redirect URI.
    """

    def __init__(self, server: asyncio.Server, path: str) -> None:
        self._server = server
        self._path = path
        port: int = server.sockets[0].getsockname()[1]
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self.port = port
        self.uri = f"http://127.0.0.1:{port}{path}"
        self._answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._open = 0

    @classmethod
    async def listen(cls, path: str, port: int = 0) -> Self:
        """Listen; `port` 0 for any that is free.

        Raises:
            OAuthError: The port is taken.
        """
        made: list[Self] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await made[0]._serve(reader, writer)  # noqa: SLF001 (its own)

        try:
            server = await asyncio.start_server(
                answer, "127.0.0.1", port, limit=_HEAD_BYTES, backlog=_CONNECTIONS
            )
        except OSError as error:
            raise OAuthError(f"nobody can listen on 127.0.0.1:{port}: {error.strerror}") from error
        made.append(cls(server, path))
        return made[0]

    @classmethod
    async def at(cls, uri: str) -> Self:
        """Listen at a redirect URI of an earlier listener.

        Raises:
            OAuthError: It is none, or its port is taken.
        """
        parts = urlsplit(uri)
        if parts.scheme != "http" or parts.hostname != "127.0.0.1" or not parts.port or not parts.path:
            raise OAuthError("the registered redirect URI is none of ours")
        return await cls.listen(parts.path, parts.port)

    async def answer(self) -> str:
        """Path and query of the request that answers; waits for it."""
        return await self._answer

    def give(self, url: str) -> bool:
        """The answer has come another way; whether it was still waited for."""
        if self._answer.done():
            return False
        self._answer.set_result(url)
        return True

    def close(self) -> None:
        """Nobody listens any more."""
        self._server.close()
        self._answer.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= _CONNECTIONS:
                async with asyncio.timeout(_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                    target = self._target(head)
                    writer.write(_response(404 if target is None else 200))
                    await writer.drain()
                    if target is not None:
                        self._server.close()
                        self.give(target)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, OSError):
            return  # whoever it was is gone, or spoke no HTTP: the answer may still come
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _target(self, head: bytes) -> str | None:
        """What was asked for, if it is the answer; None if it is anything else."""
        try:
            first, *lines = head.decode("ascii").split("\r\n")
            method, target, version = first.split(" ")
        except ValueError:
            return None
        hosts = [line.partition(":")[2].strip().lower() for line in lines if line.lower().startswith("host:")]
        ours = len(hosts) == 1 and hosts[0] in self._hosts
        if method != "GET" or not version.startswith("HTTP/1.") or not ours or self._answer.done():
            return None
        return target if target.partition("?")[0] == self._path and "#" not in target else None


def _response(status: int) -> bytes:
    body = _PAGE if status == 200 else "<!doctype html><title>mcpguard</title><p>There is nothing here."
    head = (
        f"HTTP/1.1 {status} {'OK' if status == 200 else 'Not Found'}",
        "Content-Type: text/html; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "Cache-Control: no-store",
        "Referrer-Policy: no-referrer",
        "X-Content-Type-Options: nosniff",
        "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
        "",
        body,
    )
    return "\r\n".join(head).encode()
