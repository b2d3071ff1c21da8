"""A listener without a daemon: a real door and real sessions with real gates, before servers and keys of our own.

What checks keys is a dictionary that really works: keys can be added, changed and revoked while connections last.
"""

import asyncio
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mcpguard.audit import record
from mcpguard.credentials.presented import Authenticated, Presented
from mcpguard.daemon.company import Reach
from mcpguard.daemon.doors import Door
from mcpguard.daemon.networkparty import NetworkParty
from mcpguard.daemon.party import Courier
from mcpguard.daemon.peering import Rooms
from mcpguard.daemon.policies import Standing
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.refused import Refused
from mcpguard.daemon.session import Session
from mcpguard.daemon.throttle import Throttle
from mcpguard.errors import PeerError
from mcpguard.gate.gate import Gate
from mcpguard.gate.shared import Manners
from mcpguard.model import JsonObject, Side
from mcpguard.policy.builtin import observe_snapshot
from mcpguard.policy.circumstances import Surroundings
from mcpguard.policy.scoped import scoped
from mcpguard.system.journal import Journal
from mcpguard.system.servefile import Listen
from mcpguard.system.tlsfiles import Keeper
from tests.daemon.test_session import Tame

T = TypeVar("T")
TOOLS = ("now", "hang", "write")


class Keys:
    """Keys by what is in `Authorization: Bearer KEY` (`connectionauth.Authenticators`)."""

    def __init__(self) -> None:
        self.known: dict[str, Authenticated] = {}
        self.asked = 0
        self.delay = 0.0

    def add(self, key: str, **more: Any) -> None:
        self.known[key] = Authenticated(
            frozenset({f"key:{key}"}), {"key": key}, instance=f"key:{key}", **more
        )

    async def authenticate(
        self, presented: Presented, required: tuple[str, ...], connected: Authenticated | None = None
    ) -> Authenticated:
        self.asked += 1
        if self.delay:
            await asyncio.sleep(self.delay)
        assert required == ("apikey",)
        found = self.known.get(presented.authorization.removeprefix("Bearer "))
        if found is None:
            raise PeerError(
                "the API key that was shown is not one of ours", hint="get one: mcpguard apikey create"
            )
        return found

    def issuers(self) -> tuple[str, ...]:
        return ()

    def asked_always(self) -> bool:
        return False

    async def vet(self, found: Authenticated, presented: Presented) -> Authenticated:
        raise AssertionError("nothing is asked of every peer here")

    async def renew(
        self, found: Authenticated, presented: Presented, connected: Authenticated | None = None
    ) -> Authenticated:
        if why := self.still(found):
            raise PeerError(why)
        return self.known[str(found.evidence["key"])]

    def still(self, found: Authenticated) -> str:
        return "" if found.evidence["key"] in self.known else "the API key was revoked"


class Doorway:
    """One open door in a directory; `listen` may change what it is."""

    def __init__(
        self,
        directory: Path,
        clock: Callable[[], float] = time.monotonic,
        keeper: Keeper | None = None,
        **listen: Any,
    ) -> None:
        self.path = directory / "door.sock"
        self.journal = Journal.open(directory / "audit")
        self.recorder = Recorder(self.journal)
        self.keys = Keys()
        self.sessions: list[Session] = []
        self.servers: list[asyncio.Task[None]] = []
        self.observing = True
        members = {"name": "door", "auth": ("apikey",), "recheck": 0.2} | listen
        members |= {"host": "127.0.0.1"} if keeper is not None else {"path": str(self.path)}
        rooms = Rooms(
            self._open, self._renew, lambda *_: None, lambda name: name == "talk", Refused(self.recorder)
        )
        self.door = Door(Listen(**members), keeper, self.keys, Throttle(clock), rooms)
        self.ticking = asyncio.get_running_loop().create_task(self._tick())
        self.running: list[asyncio.Task[int]] = []

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            self.door.tick(time.monotonic())

    async def close(self) -> None:
        self.ticking.cancel()
        self.door.close()
        await asyncio.gather(*self.running, return_exceptions=True)
        for task in self.servers:
            task.cancel()
        await self.recorder.close()

    async def do(self, story: Callable[[], T]) -> T:
        """Play a peer, which blocks, beside the loop."""
        return await asyncio.to_thread(story)

    def records(self, event: str) -> list[JsonObject]:
        """Records of an event, in the log by now."""
        lines = [
            line for file in self.journal.directory.glob("*.jsonl") for line in file.read_text().splitlines()
        ]
        return [found for found in map(json.loads, lines) if found.get("event") == event]

    async def _open(self, party: NetworkParty, name: str, courier: Courier) -> Session:
        ident = f"{len(self.sessions) + 1}-t"
        start = record.prefix(ident, party.evidence(), name)
        decider = scoped(observe_snapshot(name), party.caller.tools)
        upstream = Tame()
        session = Session(
            ident, Gate(decider, name, start, self.recorder.key), self.recorder, Standing(name, party.caller, Surroundings()),
            upstream, party, None, Reach(lambda _: None, lambda: None, lambda: None),
        )  # fmt: skip
        near, far = socket.socketpair()
        stdin, stdout, stderr = courier.take()
        os.close(stderr)
        session.attach(Side.HOST, stdin, stdout)
        copy = os.dup(near.fileno())
        session.attach(Side.SERVER, near.detach(), copy)
        far.setblocking(False)
        self.sessions.append(session)
        loop = asyncio.get_running_loop()
        self.servers.append(loop.create_task(_server(far)))
        courier.watch(lambda: session.end("", now=True), lambda: None)
        running = loop.create_task(session.run())
        running.add_done_callback(lambda done: (courier.say(session.reason), courier.exit(done.result())))
        self.running.append(running)
        return session

    def _renew(self, session: Session) -> None:
        caller = session.host.caller
        standing = msgspec.structs.replace(session.standing, caller=caller)
        session.change_policy(standing, scoped(observe_snapshot(session.server), caller.tools), Manners())


async def _server(sock: socket.socket) -> None:
    """A small MCP server on a socket."""
    reader, writer = await asyncio.open_connection(sock=sock)
    while line := await reader.readline():
        message = json.loads(line)
        params = message.get("params", {})
        match message.get("method"):
            case "initialize":
                info = {"name": "s", "version": "1"}
                result: Any = {
                    "protocolVersion": params["protocolVersion"],
                    "capabilities": {"tools": {}},
                    "serverInfo": info,
                }
            case "tools/list":
                result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}
            case "tools/call" if params["name"] == "hang":
                continue
            case "tools/call":
                result = {"content": [{"type": "text", "text": "done"}]}
            case _:
                result = {}
        if "id" in message:
            if "_meta" in params:
                result["resultType"] = "complete"
            writer.write(
                json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode() + b"\n"
            )
            await writer.drain()
    writer.close()


def story(directory: Path, told: Callable[[Doorway], Awaitable[None]], **listen: Any) -> None:
    """Open a door, play, and close it."""
    from tests.daemon.loops import run  # noqa: PLC0415

    async def played() -> None:
        doorway = Doorway(directory, **listen)
        try:
            await told(doorway)
        finally:
            await doorway.close()

    run(played)
