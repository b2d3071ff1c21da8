"""The listeners of a daemon: what `serve.toml` says, and those that a verb holds open while it runs.

Rule 1: nothing listens unless a person has said so: there is no listener by default, and a file that is saved opens
none until the daemon starts or is told to read it.
Rule 2: never plain TCP. Credentials of open connections are looked at again while they last.

Cost: a daemon without listeners loads no HTTP library.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from mcpguard import limits
from mcpguard.daemon.connectionauth import Authenticators, ConnectionAuth
from mcpguard.daemon.control import Held
from mcpguard.daemon.linedoor import LineDoor
from mcpguard.daemon.link import Acceptor, Serve
from mcpguard.daemon.listener import bound
from mcpguard.daemon.networkparty import NetworkParty
from mcpguard.daemon.peering import Peering, Rooms
from mcpguard.daemon.session import Session
from mcpguard.daemon.tasks import spawn_task
from mcpguard.daemon.throttle import Throttle
from mcpguard.errors import ConfigError, DaemonError, GuardError
from mcpguard.model import JsonObject
from mcpguard.protocol.control import Request
from mcpguard.system.servefile import HTTP, Listen, ServeFile, parse
from mcpguard.system.tlsfiles import Keeper, TlsFiles

if TYPE_CHECKING:
    import ssl

    from mcpguard.daemon.httpdoor import HttpDoor

_log: Final = logging.getLogger("mcpguard")
_VERB: Final = "mcpguard serve"

KeeperOf = Callable[[Listen], Keeper]
"""Who has the certificates of a listener."""


class Side(Protocol):
    """What speaks at a door."""

    def tick(self, now: float) -> None:
        """A second has gone by."""

    def close(self) -> None:
        """End every session."""


class Door:
    """One listener that is open.

    Args:
        listen: What it is.
        keeper: Whoever has its certificates; None for a Unix socket.
        others: What checks credentials that the connection does not show by itself.
        throttle: Who is kept away.
        rooms: The daemon.

    Raises:
        GuardError: It cannot be opened.
    """

    def __init__(
        self,
        listen: Listen,
        keeper: Keeper | None,
        others: Authenticators | None,
        throttle: Throttle,
        rooms: Rooms,
    ) -> None:
        self.listen = listen
        self._keeper = keeper
        self._peering = Peering(listen, ConnectionAuth(listen, keeper, others), throttle, rooms)
        self._context = keeper.context() if keeper is not None else None
        self._stamp = keeper.stamp() if keeper is not None else None
        if listen.speak == HTTP:
            _load_http()
        sock = _bound(listen)
        self.port = 0 if listen.path else int(sock.getsockname()[1])
        self._http: HttpDoor | None = None
        self._lines: LineDoor | None = None
        if listen.speak == HTTP:
            serve = self._opened_http()
        else:
            self._lines = LineDoor(self._peering)
            serve = self._lines.serve
        self._acceptor = Acceptor(sock, self._peering, serve, self._tls if keeper is not None else None)
        self._looked = time.monotonic()
        self._looking: asyncio.Task[None] | None = None
        self.trouble = ""

    @property
    def address(self) -> str:
        """Where it listens, with the port that it has."""
        if self.listen.path or self.listen.port:
            return self.listen.address
        return f"{self.listen.address.removesuffix(':0')}:{self.port}"

    def described(self) -> JsonObject:
        """What people are shown of it."""
        return {
            "name": self.listen.name,
            "listen": self.address,
            "auth": list(self.listen.auth),
            "speak": self.listen.speak,
            "server": self.listen.server,
            "connections": self._acceptor.connections,
            "sessions": len(self._sessions()),
            "trouble": self.trouble,
            **self._peering.counts,
        }

    def tick(self, now: float) -> None:
        """A second has gone by: idle sessions end, certificates may be others, credentials are looked at again."""
        for side in (self._http, self._lines):
            if side is not None:
                side.tick(now)
        if self._keeper is not None and (stamp := self._keeper.stamp()) != self._stamp:
            self._stamp = stamp
            self._renew_context(self._keeper)
        if now - self._looked >= self.listen.recheck and (self._looking is None or self._looking.done()):
            self._looked = now
            self._looking = spawn_task(self._look_again(), name=f"credentials at {self.listen.name}")

    def close(self) -> None:
        """Listen no more, and end every session."""
        for side in (self._http, self._lines):
            if side is not None:
                side.close()
        self._acceptor.close()
        if self.listen.path:
            Path(self.listen.path).unlink(missing_ok=True)

    def _renew_context(self, keeper: Keeper) -> None:
        try:
            self._context = keeper.context()
        except ConfigError as error:
            self.trouble = error.sentence()
            _log.error("the listener %s keeps its certificate: %s", self.listen.name, self.trouble)
        else:
            self.trouble = ""
            _log.info("the listener %s has new certificates", self.listen.name)

    async def _look_again(self) -> None:
        await asyncio.gather(
            *(self._peering.look_again(session, party) for session, party in self._sessions())
        )

    def _sessions(self) -> list[tuple[Session, NetworkParty]]:
        found = list(self._lines.sessions) if self._lines is not None else []
        if self._http is not None:
            found += [(each.session, each.party) for each in self._http.sessions if each.session is not None]
        return found

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            raise DaemonError("the listener has no certificate")
        return self._context

    def _opened_http(self) -> Serve:
        from mcpguard.daemon.httpdoor import HttpDoor  # noqa: PLC0415 (an extra)
        from mcpguard.daemon.httpwire import server_for  # noqa: PLC0415

        self._http = HttpDoor(self._peering, self.port)
        return server_for(self._http.answer)


class Doors:
    """The listeners of one daemon.

    Args:
        file: `serve.toml`.
        rooms: The daemon.
        keeper: Who has the certificates of a listener.
        others: What checks credentials that a connection does not show by itself; None if nothing does.
    """

    def __init__(
        self,
        file: ServeFile,
        rooms: Rooms,
        keeper: KeeperOf = TlsFiles,
        others: Authenticators | None = None,
    ) -> None:
        self._file = file
        self._rooms = rooms
        self._keeper = keeper
        self._others = others
        self._throttle = Throttle(time.monotonic)
        self._durable: dict[str, Door] = {}
        self._held: dict[str, tuple[Door, Held]] = {}
        self._troubles: dict[str, str] = {}
        self.failure = ""

    @property
    def open(self) -> bool:
        """Whether anything listens."""
        return bool(self._durable or self._held)

    def load(self) -> None:
        """Open and close what `serve.toml` says now; what cannot be opened is logged and shown."""
        try:
            wanted = {each.name: each for each in self._file.load()}
        except ConfigError as error:
            self.failure = error.sentence()
            _log.error("the listeners stay as they are: %s", self.failure)
            return
        self.failure = ""
        self._troubles = {}
        for name, door in list(self._durable.items()):
            if wanted.get(name) != door.listen:
                del self._durable[name]
                door.close()
        for name, listen in wanted.items():
            if name in self._durable:
                continue
            try:
                self._durable[name] = self._opened(listen)
            except GuardError as error:
                self._troubles[name] = error.sentence()
                _log.error("the listener %s is not open: %s", name, error.sentence())

    def tick(self, now: float) -> None:
        """A second has gone by."""
        for door in [*self._durable.values(), *(door for door, _ in self._held.values())]:
            door.tick(now)

    def close(self) -> None:
        """Close all of them."""
        for door in self._durable.values():
            door.close()
        self._durable.clear()
        for door, held in list(self._held.values()):
            door.close()
            held.end("the daemon ends")
        self._held.clear()

    def described(self) -> JsonObject:
        """What people are shown: each listener, those that are not open among them."""
        doors = [{**door.described(), "durable": True} for door in self._durable.values()]
        doors += [{**door.described(), "durable": False} for door, _ in self._held.values()]
        closed = [{"name": name, "trouble": why, "durable": True} for name, why in self._troubles.items()]
        return {"listeners": [*doors, *closed], "failure": self.failure, "file": str(self._file.path)}

    # --- verbs -----------------------------------------------------------------------------------------------

    def reading(self) -> dict[str, Callable[[Request], JsonObject]]:
        """Verbs that change nothing."""
        return {"listeners": lambda _request: self.described()}

    def changing(self) -> dict[str, Callable[[Request], JsonObject]]:
        """Verbs that a connected host may not use."""
        return {"listeners-reload": self._reload}

    def holding(self) -> dict[str, Callable[[Request], Awaitable[Held]]]:
        """Verbs whose connection is held."""
        return {"serve": self._serve}

    def _reload(self, _request: Request) -> JsonObject:
        self.load()
        if self.failure:
            raise ConfigError(self.failure, file="")
        return self.described()

    async def _serve(self, request: Request) -> Held:
        """Open a listener for as long as the connection of the verb lasts."""
        listens = parse(request.text, _VERB)
        if len(listens) != 1:
            raise ConfigError("expected one listener", file=_VERB)
        listen = listens[0]
        if listen.name in self._held or listen.name in self._durable:
            raise DaemonError(
                f"there is a listener {listen.name!a} already", hint="give this one another --name"
            )
        if listen.server and not self._rooms.registered(listen.server):
            raise DaemonError(
                f"no server is registered as {listen.server!a}",
                hint=f"register it: mcpguard server add {listen.server} -- COMMAND...",
            )
        if listen.speak == HTTP:
            await asyncio.to_thread(_load_http)  # 0.3 s: calls of others go on meanwhile
        door = self._opened(listen)
        held = Held({"listener": door.described()}, lambda: self._gone(listen.name))
        self._held[listen.name] = door, held
        return held

    def _gone(self, name: str) -> None:
        if (found := self._held.pop(name, None)) is not None:
            found[0].close()

    def _opened(self, listen: Listen) -> Door:
        if len(self._durable) + len(self._held) >= limits.LISTENERS:
            raise DaemonError(f"{limits.LISTENERS} listeners are open already")
        keeper = self._keeper(listen) if listen.tls else None
        door = Door(listen, keeper, self._others, self._throttle, self._rooms)
        _log.info("listening at %s for %s", door.address, " and ".join(listen.auth))
        return door


def _bound(listen: Listen) -> socket.socket:
    """The bound socket of a listener.

    Raises:
        DaemonError: It cannot be bound.
        PeerError: Something that is not ours stands at its path.
    """
    if listen.path:
        others = set(listen.uids) - {os.geteuid()}
        return bound(Path(listen.path), 0o111 if others else 0o177, occupied=True)
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise DaemonError(f"cannot listen at {listen.address}: {error.strerror}") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise DaemonError(f"cannot listen at {listen.address}: {error.strerror}") from error
    return sock


def _load_http() -> None:
    """Load what speaks HTTP.

    Raises:
        DaemonError: It is.
    """
    try:
        import_module("mcpguard.daemon.httpdoor")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "mcpguard":
            raise
        raise DaemonError(
            f"an HTTP listener needs {error.name}", hint="pip install 'mcpguard[http]'"
        ) from error
