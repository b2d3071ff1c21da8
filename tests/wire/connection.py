"""One guarded connection of which the test plays both ends: the host, and through a tape the server.

Rule 1: pieces are reads. Between two pieces of a line the sender waits until the guard has taken the first, so a
line that is sent in pieces is read in pieces; no time passes for its own sake.

Rule 2: a good call is the barrier. After an input a call that policy allows goes round; both directions keep order,
so what the input led to is what either side received before that call. It is also the proof that the connection
goes on.

Rule 3: ids are rewritten by the guard, so the corpus cannot know them. Where the corpus lets a server speak of the
host's id 7, the harness puts G, the id under which the request with id 7 reached the server, into the bytes, and
nothing else of them changes: `"id":7` becomes `"id":G`, `7.0` `G.0`, `7.9` `G.9`, `"7"` `"G"`, `"+7"` `"+G"`, and
`requestId` likewise; `progressToken` 5 becomes the token that reached the server. An id that no request has had
becomes the one that the guard will give next, the best guess that a server could make; but ids that the corpus
means to be unknown (99) stay.

Rule 4: cursors are minted by the guard. Where a set-up sends a cursor that the server gave, the host sends the one it
received. Where a set-up sends a cursor that no page gave, a page before gives it.

Rule 5: in a modern connection requests of a set-up carry the `_meta` of revision 2026-07-28, if they have none.
"""

import fcntl
import json
import os
import re
import select
import selectors
import socket
import subprocess
import sys
import termios
import time
from typing import Any, Self

from tests.wire import registered
from tests.wire.guard import MCPGUARD, SECONDS, Guard

_ENVELOPED = (
    b'"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
    b'"io.modelcontextprotocol/clientInfo":{"name":"h","version":"1"},'
    b'"io.modelcontextprotocol/clientCapabilities":{}'
)
ENVELOPE = b'"_meta":{' + _ENVELOPED + b"}"
INITIALIZE = (
    b'{"jsonrpc":"2.0","id":"opening","method":"initialize","params":{"protocolVersion":"%b",'
    b'"capabilities":%b,"clientInfo":{"name":"h","version":"1"}}}'
)
GREETED = {
    "capabilities": {"tools": {"listChanged": True}, "resources": {}, "prompts": {}},
    "serverInfo": {"name": "s", "version": "1"},
}
_PARAMS = re.compile(rb'("params"\s*:\s*\{)(\s*\})?')


class EndedError(Exception):
    """The connection ended while something was awaited."""


def enveloped(line: bytes) -> bytes:
    """The line with the modern `_meta` as the first member of every `params` object, or its members in the `_meta`
    that is there; the line itself if it has them, or has no place for them."""
    if b"/protocolVersion" in line:
        return line
    if _has_meta(line):
        return line.replace(b'"_meta":{', b'"_meta":{' + _ENVELOPED + b",")
    changed = _PARAMS.sub(lambda m: m[1] + ENVELOPE + (b"}" if m[2] else b","), line)
    if changed == line and _bare(line):
        return line.rstrip()[:-1] + b',"params":{' + ENVELOPE + b"}}\n"
    return changed


def _has_meta(line: bytes) -> bool:
    try:
        return "_meta" in json.loads(line)["params"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return b'"_meta"' in line


def _bare(line: bytes) -> bool:
    """Whether the line is a message without params."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return type(message) is dict and "method" in message and "params" not in message


class Stream:
    """Bytes that arrived at one end, as lines."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.rest = b""
        self.ended = False

    def feed(self, data: bytes) -> None:
        parts = (self.rest + data).split(b"\n")
        self.rest = parts.pop()
        self.lines += parts


class Connection:
    """A shim with its session, and both ends of it.

    Args:
        guard: The daemon.
        server: The name that policy knows the server by.
        sockets: Talk to the shim through socketpairs, as Node does, instead of pipes.
    """

    def __init__(self, guard: Guard, server: str = "wire", *, sockets: bool = False) -> None:
        self.guard = guard
        self.sockets = sockets
        self.era = ""
        self.to_host, self.to_server, self.stderr = Stream(), Stream(), Stream()
        self.ids: dict[Any, Any] = {}
        """Guard's id of each id of the host, for the request that had it last."""
        self.tokens: dict[Any, Any] = {}
        self.cursors: dict[str, str] = {}
        self.open_calls: dict[int, Any] = {}
        """Requests that reached the server and have no answer yet: guard's id to the host's."""
        self.next_number = 1
        self._good = self._marks = 0
        self._selector = selectors.DefaultSelector()
        tape = guard.tape_path()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tape))
        listener.listen(1)
        theirs = self._streams()
        command = ["--name", server, "--", sys.executable, "-I", "-S", registered.TAPE, str(tape)]
        self.shim = subprocess.Popen(
            [MCPGUARD, "run", *([server] if server == registered.NAME else command)],
            stdin=theirs[0], stdout=theirs[1], stderr=subprocess.PIPE, env=guard.env, cwd=tape.parent,
        )  # fmt: skip
        for fd in theirs:
            os.close(fd)
        listener.settimeout(SECONDS)
        self._tape = listener.accept()[0]
        listener.close()
        tape.unlink()
        assert self.shim.stderr is not None
        for fd, stream in (
            (self._out, self.to_host), (self.shim.stderr.fileno(), self.stderr), (self._tape.fileno(), self.to_server),
        ):  # fmt: skip
            self._selector.register(fd, selectors.EVENT_READ, stream)
        self.conn = guard.connection_of(tape, server)

    def _streams(self) -> tuple[int, int]:
        if self.sockets:
            ours_in, theirs_in = socket.socketpair()
            ours_out, theirs_out = socket.socketpair()
            self._in, self._out = ours_in.detach(), ours_out.detach()
            return theirs_in.detach(), theirs_out.detach()
        theirs_read, self._in = os.pipe()
        self._out, theirs_write = os.pipe()
        return theirs_read, theirs_write

    # --- sending -------------------------------------------------------------------------------------------

    def send(self, *pieces: bytes) -> None:
        """Bytes from the host, each piece a read of its own. A guard that hung up is no error here."""
        try:
            for place, piece in enumerate(pieces):
                if place:
                    self._drain()
                view = memoryview(piece)
                while view:
                    view = view[os.write(self._in, view) :]
        except (BrokenPipeError, ConnectionResetError):
            return

    def _drain(self) -> None:
        request = termios.TIOCOUTQ if self.sockets else termios.FIONREAD
        poll = select.poll()
        poll.register(self._in, 0)
        until = time.monotonic() + SECONDS
        while int.from_bytes(fcntl.ioctl(self._in, request, b"\0\0\0\0"), sys.byteorder):
            if poll.poll(0):
                return
            assert time.monotonic() < until, "the guard does not read"
            os.sched_yield()

    def serve(self, *pieces: bytes, stream: int = 1) -> None:
        """Bytes from the server, each piece a read of its own; `stream` 2 is its stderr."""
        try:
            self._tape.sendall(b"".join(b"%d%b%b" % (stream, len(p).to_bytes(4, "big"), p) for p in pieces))
        except (BrokenPipeError, ConnectionResetError):
            return

    def settle(self) -> None:
        """Wait until the guard has read all that the server was told to write: its stderr says so afterwards."""
        self._marks += 1
        mark = b"mark %d" % self._marks
        self.serve(mark + b"\n", stream=2)
        self.until(lambda: mark in self.stderr.lines, "what the server writes")

    # --- receiving -----------------------------------------------------------------------------------------

    def pump(self, seconds: float = SECONDS) -> bool:
        """Take what has arrived, waiting for it if there is nothing; False after so many seconds without."""
        ready = self._selector.select(seconds)
        for key, _ in ready:
            try:
                data = os.read(key.fd, 1 << 20)
            except ConnectionResetError:
                data = b""
            if data:
                key.data.feed(data)
            else:
                key.data.ended = True
                self._selector.unregister(key.fd)
        return bool(ready)

    def until(self, met: Any, what: str) -> None:
        """Receive until a condition is met.

        Raises:
            EndedError: The connection ended before.
        """
        until = time.monotonic() + SECONDS
        while not met():
            if self.to_host.ended or self.to_server.ended:
                raise EndedError(f"{what}: the connection ended; {self.stderr.lines} {self.stderr.rest!r}")
            assert self.pump(max(0.0, until - time.monotonic())), f"{what}: nothing within {SECONDS} seconds"

    def mark(self) -> tuple[int, int]:
        """How many lines the host and the server have received."""
        return len(self.to_host.lines), len(self.to_server.lines)

    def await_end(self) -> int:
        """Wait until both ends have seen the end, and the shim has exited; its exit code."""
        until = time.monotonic() + SECONDS
        while not (self.to_host.ended and self.to_server.ended):
            assert self.pump(max(0.0, until - time.monotonic())), "the connection does not end"
        return self.shim.wait(SECONDS)

    # --- whole exchanges -----------------------------------------------------------------------------------

    def note(self, line: bytes, host_id: Any) -> dict[str, Any]:
        """Register a request of the host that reached the server; it must have been recorded before."""
        message: dict[str, Any] = json.loads(line)
        if "id" in message and "method" in message:
            number = message["id"]
            assert type(number) is int, f"an id that the guard did not make: {line[:200]!r}"
            allowed = [
                r for r in self.guard.records(self.conn)
                if r["type"] == "call" and r["side"] == "host" and r["id"] == number and r["decision"] == "allow"
            ]  # fmt: skip
            assert len(allowed) == 1, f"reached the server without a record of its own: {line[:200]!r}"
            self.ids[host_id] = number
            self.open_calls[number] = host_id
            self.next_number = max(self.next_number, number + 1)
            params = message.get("params", {})
            meta = params.get("_meta") if type(params) is dict else None
            if type(meta) is dict and "progressToken" in meta:
                self.tokens[host_id] = meta["progressToken"]
        return message

    def request(self, line: bytes) -> dict[str, Any]:
        """Send a message of the host; what reached the server, or what the host was told instead."""
        message = json.loads(line)
        told, arrived = self.mark()
        self.send(line if line.endswith(b"\n") else line + b"\n")
        self.until(
            lambda: len(self.to_server.lines) > arrived or len(self.to_host.lines) > told,
            f"request {line[:80]!r}",
        )
        if len(self.to_server.lines) > arrived:
            return self.note(self.to_server.lines[arrived], message.get("id"))
        answer: dict[str, Any] = json.loads(self.to_host.lines[told])
        return answer

    def answer(self, number: int, result: dict[str, Any]) -> dict[str, Any]:
        """Answer a request; what the host receives for it."""
        told, _ = self.mark()
        self.open_calls.pop(number, None)
        self.serve(json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode() + b"\n")
        self.until(lambda: len(self.to_host.lines) > told, f"answer to {number}")
        answer: dict[str, Any] = json.loads(self.to_host.lines[told])
        return answer

    def open_legacy(self, revision: str = "2025-11-25", capabilities: bytes = b"{}") -> None:
        """`initialize`, its answer, `notifications/initialized`."""
        self.era = "legacy"
        seen = self.request(INITIALIZE % (revision.encode(), capabilities))
        answer = self.answer(seen["id"], {"protocolVersion": revision, **GREETED})
        assert answer["id"] == "opening"
        assert answer["result"]["protocolVersion"] == revision
        self.request(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')

    def open_modern(self) -> None:
        """`server/discover` and one good call."""
        self.era = "modern"
        seen = self.request(
            b'{"jsonrpc":"2.0","id":"opening","method":"server/discover","params":{%b}}' % ENVELOPE
        )
        answer = self.answer(
            seen["id"],
            {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {}, **GREETED},
        )
        assert answer["id"] == "opening"
        assert answer["result"]["supportedVersions"]
        told, arrived = self.good()
        assert not told
        assert not arrived

    def good_line(self) -> tuple[str, bytes]:
        """A call that policy allows, with an id of its own."""
        self._good += 1
        ident = f"good-{self._good}"
        envelope = ENVELOPE + b"," if self.era == "modern" else b""
        return ident, (
            b'{"jsonrpc":"2.0","id":"%b","method":"tools/call","params":{%b"name":"ping_tool","arguments":{"n":"%b"}}}\n'
            % (ident.encode(), envelope, ident.encode())
        )

    def good(self, since: tuple[int, int] | None = None) -> tuple[list[bytes], list[bytes]]:
        """One good call there and back; what host and server received since a mark, without it."""
        told, arrived = since or self.mark()
        ident, line = self.good_line()
        self.send(line)
        mine = b'"n":"%b"' % ident.encode()
        self.until(
            lambda: any(mine in x for x in self.to_server.lines[arrived:]) or self._answered(ident, told),
            "a good call",
        )
        refused = [x for x in self.to_host.lines[told:] if b'"id":"%b"' % ident.encode() in x]
        assert not refused, f"a good call was refused: {refused}"
        place = next(i for i, x in enumerate(self.to_server.lines) if i >= arrived and mine in x)
        number = self.note(self.to_server.lines[place], ident)["id"]
        self.open_calls.pop(number)
        result = {"content": [{"type": "text", "text": f"pong {ident}"}]}
        self.serve(json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode() + b"\n")
        self.until(lambda: self._answered(ident, told), "the answer to a good call")
        answers = [x for x in self.to_host.lines[told:] if b'"id":"%b"' % ident.encode() in x]
        assert len(answers) == 1, answers
        assert json.loads(answers[0])["result"]["content"] == result["content"], answers
        assert not self.to_server.rest, "half a line arrived"
        assert not self.to_host.rest, "half a line arrived"
        others = [x for i, x in enumerate(self.to_server.lines) if i >= arrived and i != place]
        return [x for x in self.to_host.lines[told:] if x not in answers], others

    def _answered(self, ident: str, told: int) -> bool:
        return any(b'"id":"%b"' % ident.encode() in x for x in self.to_host.lines[told:])

    # --- the end -------------------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """The host closes its end."""
        if self._in >= 0:
            os.close(self._in)
            self._in = -1

    def end_server(self) -> None:
        """The server exits."""
        self._tape.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """The host hangs up; the shim must exit."""
        self.hang_up()
        if not (self.to_host.ended and self.to_server.ended):
            self.await_end()
        self.shim.wait(SECONDS)
        self._selector.close()
        os.close(self._out)
        self._tape.close()
        if self.shim.stderr is not None:
            self.shim.stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
