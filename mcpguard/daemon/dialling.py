"""Connections to servers that somebody else runs: to which address, through what, and to whom.

Rule 1: the address that was judged is the one that is connected to: a name is resolved once for each connection,
and what it resolves to is judged again by whoever opens the socket.
Rule 2: no redirect, no cookie, no proxy or credential of the environment, no compression.
Rule 3: everything that comes is bounded before it is kept.

Not here: what is said over the connection (`daemon.remote`, `daemon.fetching`).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from mcpguard import __version__, limits
from mcpguard.daemon import tls
from mcpguard.daemon.registrytls import RegistryTls, needed
from mcpguard.errors import GuardError, PeerError, TrustError, UpstreamError
from mcpguard.identity.egress import reason_against
from mcpguard.identity.remote import REGISTRY, Remote, Target
from mcpguard.model import visible
from mcpguard.system.peercred import require_user

UNREACHABLE: Final = 126
_SINGLE: Final = (
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "mcp-session-id",
    "location",
)
"""Fields that come once or not at all: two readers of two values would choose differently."""

_BROKEN_OFF: Final = (
    "breaks off the TLS handshake",
    "it must speak TLS 1.3; or it does not accept our certificate, or wants one",
)
_HEAD_BYTES: Final = limits.REMOTE_HEADERS * 1024
_END: Final = re.compile(rb"\n\r?\n")
_FOLDED: Final = re.compile(rb"\n[ \t]")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_INTERIM: Final = re.compile(rb"HTTP/1\.[01] 1")

Lookup = Callable[[str, int], Awaitable[list[tuple[int, str]]]]
"""Name and port to families and addresses."""


class EgressError(OSError):
    """An address that may not be connected to."""


class HeadError(aiohttp.ClientError):
    """The head of an answer is not acceptable."""


async def look_up(host: str, port: int) -> list[tuple[int, str]]:
    """What the operating system resolves a name to."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, str(address[0])) for family, _, _, _, address in found]


class Dialler:
    """Opens connections to one server.

    Args:
        remote: Which one, and how it is known.
        target: Where it is; `remote.target` unless another page of the same server is meant.
        lookup: Resolves names.
        registry: The certificate registry, for servers whose description names it.

    Attributes:
        url: The URL of requests, exactly as the manifest has it.
    """

    def __init__(
        self,
        remote: Remote,
        target: Target | None = None,
        lookup: Lookup = look_up,
        registry: RegistryTls | None = None,
    ) -> None:
        self._registry = registry
        self.target = target or remote.target
        self._remote = remote
        self._lookup = lookup
        self._tls: ssl.SSLContext | None = None
        self.url: Final = URL(self.target.request if self.target.scheme != "unix" else "", encoded=True)
        proxy = remote.proxy.removeprefix("http://").rpartition(":")
        self._hop = (proxy[0] or self.target.host).strip("[]"), int(proxy[2] or self.target.port)

    async def session(self, *, eager: bool = True) -> aiohttp.ClientSession:
        """A client for this server, which the caller closes; `eager`: a first connection shows that it is the one.

        Raises:
            TrustError: The server is not the one that the manifest names, or is where it may not be.
            UpstreamError: It cannot be reached.
        """
        with self._told():
            connector = self._unix() if self.target.socket else await self._tcp(eager=eager)
        connector._factory = _strict(asyncio.get_running_loop())  # noqa: SLF001 (no other way in)
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.REMOTE_CONNECT_SECONDS),
            headers={"User-Agent": f"mcpguard/{__version__}", "Accept-Encoding": "identity"},
            max_line_size=limits.REMOTE_HEADER_BYTES,
            max_field_size=limits.REMOTE_HEADER_BYTES,
        )

    def request(self, session: aiohttp.ClientSession, method: str, **more: Any) -> Any:
        """A request to the server, as an asynchronous context manager."""
        return session.request(
            method, self.url, allow_redirects=False, proxy=self._remote.proxy or None, **more
        )

    # --- TCP ---------------------------------------------------------------------------------------------------

    async def _tcp(self, *, eager: bool) -> aiohttp.TCPConnector:
        if self.target.scheme == "https":
            await self._prepare()
            if eager and not self._remote.proxy:
                await self._once(self._tls)
        return aiohttp.TCPConnector(
            ssl=self._tls or False,
            resolver=_Resolver(self),
            use_dns_cache=False,
            limit=0,
            socket_factory=self._socket,
        )

    async def _prepare(self) -> None:
        remote, leaf = self._remote, b""
        if remote.ca == REGISTRY:
            self._tls = needed(self._registry).context(self.target.host, remote.own)
            self._tls.set_alpn_protocols(["http/1.1"])
            return
        if not remote.ca:
            leaf = await self._once(tls.looking())
            tls.require_pinned(leaf, remote.pins)
        self._tls = await asyncio.to_thread(tls.context, remote, leaf)
        if remote.own:
            needed(self._registry).show(self._tls, remote.own)

    async def _once(self, context: ssl.SSLContext | None) -> bytes:
        """Connect, and hang up; the certificate that was shown, DER."""
        async with asyncio.timeout(2 * limits.REMOTE_CONNECT_SECONDS):
            sock = await self._connected()
            made: Any = await asyncio.get_running_loop().create_connection(
                asyncio.Protocol, sock=sock, ssl=context, server_hostname=self.target.host,
                ssl_handshake_timeout=limits.REMOTE_CONNECT_SECONDS, ssl_shutdown_timeout=0.1,
            )  # fmt: skip
        shown: ssl.SSLObject = made[0].get_extra_info("ssl_object")
        leaf = shown.getpeercert(binary_form=True) or b""
        made[0].abort()
        return leaf

    async def _connected(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        failed: OSError = EgressError("it has no address")
        for family, address in await self.addresses(*self._hop):
            found = (family, socket.SOCK_STREAM, 0, "", (address, self._hop[1]))
            sock = self._socket(found)
            try:
                await loop.sock_connect(sock, found[-1])
            except OSError as error:
                sock.close()
                failed = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise failed

    async def addresses(self, host: str, port: int) -> list[tuple[int, str]]:
        """What a name resolves to, as far as it may be connected to.

        Raises:
            EgressError: Nothing of it may.
        """
        async with asyncio.timeout(limits.REMOTE_CONNECT_SECONDS):
            found = await self._lookup(host, port)
        judged = [(each, reason_against(each[1], self._remote.networks)) for each in found]
        if good := [each for each, reason in judged if not reason]:
            return good
        reason = judged[0][1] if judged else "it has no address"
        raise EgressError(reason if host in reason else f"{host} resolves to where it may not be: {reason}")

    def _socket(self, found: tuple[Any, ...]) -> socket.socket:
        """A socket for one address: the last place where it can be judged, also for addresses in URLs."""
        family, kind, protocol, _, address = found
        if reason := reason_against(str(address[0]), self._remote.networks):
            raise EgressError(reason)
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    # --- Unix sockets ------------------------------------------------------------------------------------------

    def _unix(self) -> aiohttp.UnixConnector:
        return _OwnedUnixConnector(self.target.socket, limit=0)

    # --- words -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except GuardError:
            raise
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            raise told(error, self.target) from error


class _Resolver(AbstractResolver):
    """Resolves names for aiohttp, once for each connection."""

    def __init__(self, dialler: Dialler) -> None:
        self._dialler = dialler

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._dialler.addresses(host, port)
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=each, proto=0, flags=socket.AI_NUMERICHOST
            )
            for each, address in found
            if family in (socket.AF_UNSPEC, each)
        ]

    async def close(self) -> None:
        """Nothing is held."""


class _OwnedUnixConnector(aiohttp.UnixConnector):
    """Connects to a Unix socket whose listener must be ours or root's."""

    async def _create_connection(self, *arguments: Any, **more: Any) -> Any:
        made: Any = await super()._create_connection(*arguments, **more)
        try:
            require_user(made.transport.get_extra_info("socket"), os.geteuid(), 0)
        except PeerError:
            made.transport.abort()
            raise
        return made


class _Strict(ResponseHandler):
    """A connection that refuses a folded header field, which aiohttp's parser of answers lets pass."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._head: bytes | None = None

    def set_response_params(self, **more: Any) -> None:
        self._head = b""
        super().set_response_params(**more)

    def data_received(self, data: bytes) -> None:
        if self._head is not None and (fault := self._fault(data)):
            if self.transport is not None:
                self.transport.close()
            self._head = None
            self.set_exception(HttpProcessingError(code=502, message=fault))
            return
        super().data_received(data)

    def _fault(self, data: bytes) -> str:
        """What is wrong with the head, as far as it has come."""
        rest = (self._head or b"") + data
        while (end := _END.search(rest)) is not None:
            head, rest = rest[: end.start() + 1], rest[end.end() :]
            if _FOLDED.search(head):
                return "a folded header field"
            if not _INTERIM.match(head):
                self._head = None
                return ""
        self._head = rest
        if _FOLDED.search(rest):
            return "a folded header field"
        return "a head without end" if len(rest) > _HEAD_BYTES else ""


def _strict(loop: asyncio.AbstractEventLoop) -> functools.partial[ResponseHandler]:
    made: Callable[..., Any] = _Strict
    return functools.partial(made, loop=loop)


# --- answers -------------------------------------------------------------------------------------------------


def check_head(answer: aiohttp.ClientResponse) -> None:
    """Refuse the head of an answer that readers could disagree about.

    Raises:
        HeadError: A field came twice, there are too many, the body is encoded, or it is a redirect.
    """
    fields = answer.raw_headers
    if len(fields) > limits.REMOTE_HEADERS:
        raise HeadError(f"more than {limits.REMOTE_HEADERS} header fields")
    names = [name.lower() for name, _ in fields]
    if len(set(names)) < len(names):
        for name in _SINGLE:
            if names.count(name.encode()) > 1:
                raise HeadError(f"the header field {name} came twice")
    if b"content-length" in names and b"transfer-encoding" in names:
        raise HeadError("both Content-Length and Transfer-Encoding")
    if any(_CONTROL.search(value) for _, value in fields):
        raise HeadError("a header field with a control character")
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise HeadError("a compressed body, which was not asked for")
    if 300 <= answer.status < 400:
        place = visible(answer.headers.get("Location", "nowhere")[:120])
        raise HeadError(f"a redirect (to {place}), which is never followed")


async def read_body(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """The whole body.

    Raises:
        HeadError: It is longer than `most` bytes.
        TimeoutError: It does not go on.
    """
    if (answer.content_length or 0) > most:
        raise HeadError(f"a body of more than {most} bytes")
    parts: list[bytes] = []
    size = 0
    while not answer.content.at_eof():
        async with asyncio.timeout(limits.REMOTE_IDLE_SECONDS):
            part = await answer.content.readany()
        size += len(part)
        if size > most:
            raise HeadError(f"a body of more than {most} bytes")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def told(error: BaseException, target: Target) -> GuardError:
    """What went wrong with a connection, for a person: `TrustError` if somebody else may be at the other end."""
    chain = _chain(error)
    place = visible(target.shown)
    for each in chain:
        if isinstance(each, ssl.SSLError) and isinstance(each.__cause__, TrustError):  # the registry says so
            return TrustError(
                f"the server at {place} is refused: {each.__cause__.message}", hint=each.__cause__.hint
            )
        if isinstance(each, ssl.SSLError) and not isinstance(each, aiohttp.ClientError):
            what, hint = tls.sentence(each)
            return TrustError(f"the server at {place} is refused: {what}", hint=hint)
        if isinstance(each, EgressError):
            return TrustError(
                f"the server at {place} is refused: {each}",
                hint="name its network in the manifest if that is meant: --allow-network",
            )
        if isinstance(each, GuardError):
            return each
    what, hint = _plain(chain)
    return UpstreamError(f"the server at {place} {what}", code=UNREACHABLE, hint=hint)


def _plain(chain: Sequence[BaseException]) -> tuple[str, str]:
    for each in chain:
        if isinstance(each, HeadError):
            return f"answers with {each}", "ask its owner"
        if isinstance(each, socket.gaierror):
            return "has a name that does not resolve", "compare the URL"
        if isinstance(each, ConnectionResetError) and not isinstance(chain[0], aiohttp.ClientOSError):
            return _BROKEN_OFF
        if isinstance(each, aiohttp.ClientConnectorError) and isinstance(each.os_error, ConnectionResetError):
            return _BROKEN_OFF
        if isinstance(
            each, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError | ConnectionResetError
        ):
            return "broke the connection before it had answered", "it may or may not have done what was asked"
        if isinstance(each, aiohttp.ClientResponseError):
            return f"sends what is not HTTP: {visible(each.message[:120])}", "ask its owner"
        if isinstance(each, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError):
            return "cannot be reached through the proxy", "is the proxy running?"
        if isinstance(each, TimeoutError):
            return "does not answer in time", "is it running?"
        if isinstance(each, ConnectionAbortedError):
            return "does not answer in time", "is it running?"  # asyncio gave the handshake up
        if isinstance(each, OSError) and each.strerror and not isinstance(each, aiohttp.ClientError):
            return f"cannot be reached: {each.strerror.lower()}", "is it running?"
    last = chain[-1]
    return f"cannot be reached: {visible(str(last) or type(last).__name__)[:200]}", "is it running?"


def _chain(error: BaseException) -> list[BaseException]:
    """An error and those that it came from, foreign wrappers included."""
    found: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo and len(found) < 16:
        each = todo.pop(0)
        if each is None or each in found:
            continue
        found.append(each)
        inner = [getattr(each, name, None) for name in ("certificate_error", "os_error")]
        todo += [one for one in inner if isinstance(one, BaseException)]
        todo += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            todo += each.exceptions
    return found
