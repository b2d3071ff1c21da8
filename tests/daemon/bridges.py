"""A bridge to a server that really listens, and the gate's ends of its pipes, as the tests of remote servers use them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from mcpguard.daemon.dialling import Dialler
from mcpguard.daemon.outgoing import Authorizer
from mcpguard.daemon.remote import Bridge, Mirrors
from mcpguard.daemon.streamable import Channel
from mcpguard.daemon.streams import Inlet, Outlet
from mcpguard.identity.remote import Remote as Described
from mcpguard.model import JsonObject
from tests.fakes.remotes import Remote, listening

MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Side:
    """What the gate would be: writes lines and reads them."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended = asyncio.Event()
        self._kept = b""
        loop = asyncio.get_running_loop()
        source, sink = bridge.descriptors()
        self.inlet = Inlet(loop, source, self._received, self.ended.set)
        self.outlet = Outlet(loop, sink, lambda full: None, lambda: None)
        self.inlet.resume()
        self.ident = 0

    def _received(self, data: bytes) -> None:
        *lines, self._kept = (self._kept + data).split(b"\n")
        for line in lines:
            self.lines.put_nowait(line)

    def write(self, message: JsonObject) -> None:
        self.outlet.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def send(self, method: str, *, modern: bool = False, **params: Any) -> int:
        self.ident += 1
        if modern:
            params["_meta"] = MODERN
        self.write({"id": self.ident, "method": method, "params": params})
        return self.ident

    async def line(self) -> JsonObject:
        found: JsonObject = json.loads(await asyncio.wait_for(self.lines.get(), 10))
        return found

    async def ask(self, method: str, *, modern: bool = False, **params: Any) -> JsonObject:
        """A request and the next line, which must answer it."""
        ident = self.send(method, modern=modern, **params)
        found = await self.line()
        assert found.get("id") == ident, found
        return found

    async def error(self, method: str, *, modern: bool = False, **params: Any) -> str:
        """The sentence that a request is answered with."""
        found = await self.ask(method, modern=modern, **params)
        assert "error" in found, found
        return str(found["error"]["message"])

    async def greet(self) -> JsonObject:
        found = await self.ask("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={})
        self.write({"method": "notifications/initialized"})
        return found

    async def close(self) -> None:
        self.outlet.close()
        self.bridge.end()
        assert await asyncio.wait_for(self.bridge.wait(), 10) == 0
        await asyncio.wait_for(self.bridge.gone(), 10)
        self.inlet.close()


@contextlib.asynccontextmanager
async def bridged(
    place: Path, *, authorizer: Authorizer | None = None, tools: Mapping[str, JsonObject] | None = None
) -> AsyncIterator[tuple[Side, Remote]]:
    """A bridge over a Unix socket: what HTTP says is the same, and TLS has tests of its own."""
    path = str(place / "s")
    async with listening(None, path) as server:
        dialler = Dialler(Described(f"http+unix:{path}"))
        http = await dialler.session()
        side = Side(Bridge(Channel(dialler, http, Mirrors(tools or {}).fields, authorizer), http))
        try:
            yield side, server
        finally:
            await side.close()


def no_tls() -> ssl.SSLContext | None:
    return None


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
