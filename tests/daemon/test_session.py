"""One guarded connection: pressure from both sides, and every end it can have."""

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.audit import record
from mcpguard.daemon.company import Reach
from mcpguard.daemon.policies import Standing
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.session import Session
from mcpguard.gate.commands import Command, Finding
from mcpguard.gate.events import BytesReceived, Event
from mcpguard.gate.gate import Gate
from mcpguard.gate.shared import Manners
from mcpguard.model import Caller, Side
from mcpguard.policy.builtin import observe_snapshot
from mcpguard.policy.circumstances import Surroundings
from mcpguard.policy.document import parse
from mcpguard.policy.snapshot import compile_snapshot
from mcpguard.system.journal import Journal
from tests.daemon.hosts import TameHost, attested
from tests.daemon.loops import both_loops, eventually, run

HELLO = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}\n'


class Tame:
    """A server that this test itself plays; it exits when it is told that its input ended, or to end."""

    pid = 4711

    def __init__(self, *, stubborn: bool = False) -> None:
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.stubborn = stubborn
        self.told: list[str] = []

    async def wait(self) -> int:
        return await asyncio.shield(self.exited)

    async def gone(self) -> None:
        await self.wait()

    def exit(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(code)

    def end(self) -> None:
        self.told.append("end")
        if not self.stubborn:
            self.exit(0)

    def term(self) -> None:
        self.told.append("term")
        self.exit(143)

    def kill(self) -> None:
        self.told.append("kill")
        self.exit(137)


class BrokenGate(Gate):
    """A gate with a bug."""

    __slots__ = ()

    def handle(self, event: Event) -> list[Command]:
        if isinstance(event, BytesReceived) and b"bug" in event.data:
            raise ZeroDivisionError("a bug")
        return super().handle(event)


class Stage:
    """A session between two sockets whose far ends are ours."""

    def __init__(self, tmp_path: Path, *, stubborn: bool = False, kind: type[Gate] = Gate) -> None:
        self.recorder = Recorder(Journal.open(tmp_path / "audit"))
        start = record.prefix("1-t", {"uid": 0}, "server")
        self.server = Tame(stubborn=stubborn)
        gate = kind(observe_snapshot("server"), "server", start, self.recorder.key)
        self.tame = TameHost()
        self.noticed: list[tuple[Finding, ...]] = []
        self.session = Session(
            "1-t",
            gate,
            self.recorder,
            Standing("server", Caller(), Surroundings()),
            self.server,
            attested(self.tame),
            None,
            Reach(self.noticed.append, lambda: None, lambda: None),
        )
        self.host, host = socket.socketpair()
        self.far, server = socket.socketpair()
        self.attach(Side.HOST, host)
        self.attach(Side.SERVER, server)
        for sock in (self.host, self.far):
            sock.setblocking(False)
        self.loop = asyncio.get_running_loop()
        self.running = self.loop.create_task(self.session.run())

    def attach(self, side: Side, sock: socket.socket) -> None:
        copy = os.dup(sock.fileno())
        self.session.attach(side, sock.detach(), copy)

    async def greet(self) -> "Stage":
        await self.loop.sock_sendall(self.host, HELLO)
        asked = json.loads(await self.line(self.far))
        result = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "serverInfo": {"name": "s", "version": "1"},
        }
        await self.say({"jsonrpc": "2.0", "id": asked["id"], "result": result})
        await self.line(self.host)
        return self

    async def say(self, message: dict[str, object]) -> None:
        await self.loop.sock_sendall(self.far, json.dumps(message).encode() + b"\n")

    async def line(self, sock: socket.socket) -> bytes:
        data = b""
        while not data.endswith(b"\n"):
            more = await self.loop.sock_recv(sock, 1 << 20)
            if not more:
                return data
            data += more
        return data

    async def over(self) -> int:
        code = await asyncio.wait_for(self.running, 10)
        self.host.close()
        self.far.close()
        await self.recorder.close()
        return code


def request(ident: int, method: str = "ping", **params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": ident, "method": method, "params": params}).encode() + b"\n"


def story_of(tmp_path: Path, **more: object) -> Callable[[], Stage]:
    return lambda: Stage(tmp_path, **more)  # type: ignore[arg-type]


@both_loops
def test_end_of_the_host_is_the_end_and_pending_calls_are_answered(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        stage = await Stage(tmp_path).greet()
        await stage.loop.sock_sendall(stage.host, request(2) + request(3))
        await stage.line(stage.far)
        assert stage.session.status()["in_flight"] == 2
        stage.host.shutdown(socket.SHUT_WR)
        assert [json.loads(x)["id"] for x in (await stage.line(stage.host)).splitlines()] == [2, 3]
        assert await stage.over() == 0
        assert stage.server.told == ["end"]
        assert stage.session.reason == ""

    before = len(os.listdir("/proc/self/fd"))
    run(story, loop)
    assert len(os.listdir("/proc/self/fd")) == before


@both_loops
def test_last_words_of_a_server_that_exited_are_delivered(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        stage = await Stage(tmp_path).greet()
        await stage.loop.sock_sendall(stage.host, request(2))
        asked = json.loads(await stage.line(stage.far))
        stage.server.exit(3)
        await asyncio.sleep(0.02)
        await stage.say({"jsonrpc": "2.0", "id": asked["id"], "result": {}})
        stage.far.shutdown(socket.SHUT_WR)
        assert json.loads(await stage.line(stage.host)) == {"jsonrpc": "2.0", "id": 2, "result": {}}
        assert await stage.over() == 3

    run(story, loop)


@both_loops
def test_requests_after_the_servers_end_are_not_swallowed_silently(tmp_path: Path, loop: str) -> None:
    """Each is either answered, or still unread when the stream ends; none is taken and forgotten."""

    async def story() -> None:
        stage = await Stage(tmp_path).greet()
        stage.far.shutdown(socket.SHUT_WR)
        stage.host.send(request(2))
        stage.server.exit(0)
        await stage.over()
        counts = stage.session.status()
        assert counts["in_flight"] == 0

    run(story, loop)


@both_loops
def test_server_that_reads_nothing_stops_the_host_and_then_goes_on(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        stage = await Stage(tmp_path).greet()
        sent = 0
        line = request(0, padding="x" * 100_000)
        while True:
            data = line.replace(b'"id": 0', b'"id": %d' % (sent + 10))
            try:
                await asyncio.wait_for(stage.loop.sock_sendall(stage.host, data), 0.2)
            except TimeoutError:
                break
            sent += 1
        assert limits.QUEUE_BYTES < sent * len(line) < limits.QUEUE_BYTES + 2 * limits.MIB
        assert not stage.session.overdue(stage.loop.time() + 1000)  # it is we who do not read
        assert not stage.session.abandoned()
        seen = b""
        while seen.count(b"\n") < sent:
            seen += await stage.loop.sock_recv(stage.far, 1 << 20)
        assert await eventually(lambda: stage.session._inlets[Side.HOST].watching)
        stage.host.shutdown(socket.SHUT_WR)
        while await stage.loop.sock_recv(stage.far, 1 << 20):
            pass
        assert await stage.over() == 0

    run(story, loop)


@both_loops
def test_host_that_reads_nothing_stops_the_server(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        stage = await Stage(tmp_path).greet()
        note = {"level": "info", "data": "x" * 100_000}
        sent = 0
        while True:
            try:
                await asyncio.wait_for(
                    stage.say({"jsonrpc": "2.0", "method": "notifications/message", "params": note}), 0.2
                )
            except TimeoutError:
                break
            sent += 1
        assert limits.QUEUE_BYTES < sent * 100_000 < limits.QUEUE_BYTES + 2 * limits.MIB
        assert stage.session._inlets[Side.HOST].watching
        seen = 0
        while seen < sent:
            seen += (await stage.loop.sock_recv(stage.host, 1 << 20)).count(b"\n")
        stage.session.end("", now=True)
        assert await stage.over() == 143

    run(story, loop)


@both_loops
def test_host_that_reads_none_of_our_own_answers_is_not_read_either(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        stage = await Stage(tmp_path).greet()
        data = b"".join(request(ident, "no/such/method") for ident in range(10, 500))
        sent = 0
        while True:
            try:
                await asyncio.wait_for(stage.loop.sock_sendall(stage.host, data), 0.2)
            except TimeoutError:
                break
            sent += len(data)
            assert sent < 20 * limits.QUEUE_BYTES
        kept = stage.session._outlets[Side.HOST].kept
        assert 2 * limits.QUEUE_BYTES < kept < 2 * limits.QUEUE_BYTES + limits.MIB
        assert not stage.session.abandoned()  # not yet known
        stage.host.shutdown(socket.SHUT_WR)
        assert stage.session.abandoned()
        stage.session.end("", now=True)
        assert await stage.over() == 143

    run(story, loop)


@both_loops
def test_eight_megabytes_each_way_at_once(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        stage = await Stage(tmp_path).greet()
        big, number = "x" * 1_000_000, 8
        seen = {"far": 0, "host": 0}

        async def count(name: str, sock: socket.socket) -> None:
            while seen[name] < number:
                seen[name] += (await stage.loop.sock_recv(sock, 1 << 16)).count(b"\n")

        asks = b"".join(request(n + 10, x=big) for n in range(number))
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": big}}
        notes = (json.dumps(note).encode() + b"\n") * number
        writing = asyncio.gather(
            stage.loop.sock_sendall(stage.host, asks), stage.loop.sock_sendall(stage.far, notes)
        )
        await asyncio.gather(writing, count("far", stage.far), count("host", stage.host))
        assert seen == {"far": number, "host": number}
        stage.host.shutdown(socket.SHUT_WR)
        assert await stage.over() == 0

    run(story, loop)


def test_slow_line_is_overdue_only_while_the_host_could_end_it(tmp_path: Path) -> None:
    async def story() -> None:
        stage = await Stage(tmp_path).greet()
        now = stage.loop.time()
        assert not stage.session.overdue(now + 1000)
        stage.host.send(b'{"jsonrpc":')
        await asyncio.sleep(0.02)
        assert not stage.session.overdue(now + limits.IDLE_LINE_SECONDS - 1)
        assert stage.session.overdue(now + limits.IDLE_LINE_SECONDS + 1)
        assert stage.session.overdue(now + 1, 0.5)
        stage.host.send(b'"2.0"')
        await asyncio.sleep(0.02)
        assert stage.session.overdue(now + limits.IDLE_LINE_SECONDS + 1)  # a drop now and then is no progress
        stage.host.send(b',"id":9,"method":"ping"}\n')
        await stage.line(stage.far)
        assert not stage.session.overdue(now + 1000)
        stage.session.end("x", now=True)
        assert await stage.over() == 143
        assert not stage.session.overdue(now + 1000)

    run(story)


@both_loops
def test_host_that_no_longer_reads_ends_the_session(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        stage = await Stage(tmp_path).greet()
        stage.host.shutdown(socket.SHUT_RD)
        await stage.say(
            {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}}
        )
        assert await stage.over() == 0
        assert stage.session.reason == "the host no longer reads"

    run(story, loop)


@both_loops
def test_fatal_line_is_answered_and_ends_the_session(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        stage = await Stage(tmp_path).greet()
        stage.host.send(b'"not an object"\n')
        assert await stage.line(stage.host) == b""
        assert await stage.over() == 143
        assert "a message is a JSON object" in stage.session.reason

    run(story, loop)


@both_loops
def test_nothing_after_a_fatal_line_is_let_through(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        stage = await Stage(tmp_path).greet()
        pad = b" " * (limits.READ_BYTES - 20)
        stage.loop.call_soon(stage.host.send, b'"fatal"\n')
        sending = stage.loop.create_task(stage.loop.sock_sendall(stage.host, pad + b"\n" + request(9)))
        assert await stage.line(stage.far) == b""
        await asyncio.wait([sending])
        assert stage.session.status()["allowed"] == 1
        sending.exception()
        assert await stage.over() == 143

    run(story, loop)


def test_line_without_end_closes_the_connection(tmp_path: Path) -> None:
    async def story() -> None:
        stage = await Stage(tmp_path).greet()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await stage.loop.sock_sendall(stage.host, b"[" * (limits.LINE_BYTES + limits.MIB))
        assert await stage.over() == 143
        assert "longer than" in stage.session.reason

    run(story)


@both_loops
def test_bug_in_the_gate_closes_both_sides_and_is_logged(
    tmp_path: Path, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        stage = await Stage(tmp_path, kind=BrokenGate).greet()
        stage.host.send(request(2, "bug"))
        assert await stage.over() == 143
        assert stage.session.reason == "an internal error; nothing more is let through"

    with caplog.at_level(logging.ERROR, logger="mcpguard"):
        run(story, loop)
    assert "connection 1-t is closed because of a bug in mcpguard" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_first_reason_of_an_end_is_kept(tmp_path: Path) -> None:
    async def story() -> None:
        stage = await Stage(tmp_path, stubborn=True).greet()
        stage.session.end("first")
        stage.session.end("second", now=True)
        assert await stage.over() == 143
        assert stage.session.reason == "first"
        stage.session.change_policy(
            stage.session.standing, observe_snapshot("server"), Manners()
        )  # too late to matter, and harmless

    run(story)


def test_status_tells_what_is_known(tmp_path: Path) -> None:
    async def story() -> None:
        stage = await Stage(tmp_path).greet()
        status = stage.session.status()
        assert (status["id"], status["server"], status["pid"], status["revision"]) == (
            "1-t",
            "server",
            4711,
            "2025-11-25",
        )
        assert (status["allowed"], status["denied"], status["dropped"], status["in_flight"]) == (1, 0, 0, 0)
        stage.session.end("")
        await stage.over()

    run(story)


@both_loops
def test_the_end_of_the_host_process_is_the_end_although_its_socket_lives_on(
    tmp_path: Path, loop: str
) -> None:
    """Somebody inherited the socket: whoever speaks now was not attested."""

    async def story() -> None:
        stage = await Stage(tmp_path).greet()
        stage.tame.die()
        await stage.over()
        assert stage.session.reason == "the host is gone"
        assert stage.tame.pidfd == -1

    run(story, loop)


def test_a_host_that_became_another_program_is_found_out_and_closed_out(tmp_path: Path) -> None:
    async def story() -> None:
        stage = await Stage(tmp_path).greet()
        stage.session.look_again()
        assert stage.session.reason == ""
        stage.tame.changed = "the host runs another program"
        stage.session.look_again()
        await stage.over()
        assert stage.session.reason == "the host runs another program"

    run(story)


RECHECKED = b"""version = 1
mode = "enforce"
[[rule]]
id = "r"
tools = ["*"]
effect = "allow"
recheck = true
"""


def test_a_call_of_which_a_rule_says_so_does_not_travel_for_a_host_that_changed(tmp_path: Path) -> None:
    async def story() -> None:
        stage = await Stage(tmp_path).greet()
        stage.session.change_policy(
            stage.session.standing, compile_snapshot(parse(RECHECKED, "p"), "server"), Manners()
        )
        call = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"a","arguments":{}}}\n'
        await stage.loop.sock_sendall(stage.host, call % 5)
        assert b"tools/call" in await stage.line(stage.far)
        assert stage.tame.looked == 1
        stage.tame.changed = "the host runs another program"
        await stage.loop.sock_sendall(stage.host, call % 6)
        await asyncio.wait_for(stage.running, 10)
        assert stage.session.reason == "the host runs another program"
        assert stage.far.recv(1000) == b""
        await stage.over()

    run(story)
