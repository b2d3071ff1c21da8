"""Stories for the gate: what one side says, and everything that follows from it.

A step names all that must come out of it: lines for either side, in order and nothing besides, whether the connection
closes, and (if asked) records. A failing step prints the story so far. The shell around the gate is the real order of
things in memory: commands are carried out in turn, and a full disk drops what stands behind the `Append`.
"""

import json

import msgspec

from mcpguard.approvals.book import Book
from mcpguard.approvals.ticket import State
from mcpguard.audit import record
from mcpguard.gate.commands import Announce, Append, Close, Later, LookAgain, Noticed, Remember, Write
from mcpguard.gate.events import (
    BytesReceived,
    NotRecorded,
    PinsChanged,
    PolicyChanged,
    ServerBack,
    StillWaiting,
    StreamEnded,
    TicketSettled,
)
from mcpguard.gate.gate import Gate
from mcpguard.gate.shared import Shared
from mcpguard.model import Side
from mcpguard.policy.builtin import observe_snapshot
from mcpguard.policy.circumstances import Circumstances
from mcpguard.policy.document import parse
from mcpguard.policy.snapshot import compile_snapshot
from mcpguard.protocol import strict

POLICY = """
version = 1
mode = "enforce"

[[rule]]
id = "reading"
tools = ["read_*", "other_tool"]
methods = ["resources/*", "prompts/get", "completion/complete"]
effect = "allow"

[[rule]]
id = "no-deleting"
tools = ["delete_*"]
effect = "deny"
"""

ASKING = """
[[rule]]
id = "asking"
methods = ["sampling/createMessage", "elicitation/create", "roots/list"]
effect = "allow"
"""

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
TASKS = "io.modelcontextprotocol/tasks"


# --- values that stand for many ---------------------------------------------------------------------------


class Text:
    """A string that contains all of these."""

    def __init__(self, *parts):
        self.parts = parts

    def fits(self, value):
        return type(value) is str and all(part in value for part in self.parts)

    def __repr__(self):
        return f"<text with {self.parts}>"


class AnyError:
    """A JSON-RPC error for this id, whatever it says."""

    def __init__(self, ident):
        self.ident = ident

    def fits(self, value):
        return (
            type(value) is dict
            and list(value) == ["jsonrpc", "id", "error"]
            and same(self.ident, value["id"])
        )

    def __repr__(self):
        return f"<error for {self.ident!r}>"


def same(expected, actual):
    """Equality as JSON has it: 1 is not 1.0 nor true, and members keep their order."""
    if isinstance(expected, Text | AnyError):
        return expected.fits(actual)
    if type(expected) is not type(actual):
        return False
    if type(expected) is dict:
        return list(expected) == list(actual) and all(same(expected[k], actual[k]) for k in expected)
    if type(expected) is list:
        return len(expected) == len(actual) and all(same(e, a) for e, a in zip(expected, actual, strict=True))
    return expected == actual


def has(expected, actual):
    """Whether a record has at least these members."""
    return all(key in actual and same(value, actual[key]) for key, value in expected.items())


# --- messages ----------------------------------------------------------------------------------------------


def request(ident, method, params=None):
    message = {"jsonrpc": "2.0", "id": ident, "method": method}
    return message if params is None else {**message, "params": params}


def notification(method, params=None):
    message = {"jsonrpc": "2.0", "method": method}
    return message if params is None else {**message, "params": params}


def call(ident, tool, arguments=None, **others):
    return request(ident, "tools/call", {"name": tool, "arguments": arguments or {}, **others})


def result(ident, value=None):
    return {"jsonrpc": "2.0", "id": ident, "result": {} if value is None else value}


def error(ident, code, message=None, **others):
    return {"jsonrpc": "2.0", "id": ident, "error": {"code": code, "message": message or Text(), **others}}


def text(words, **others):
    return {"content": [{"type": "text", "text": words}], **others}


def denial(ident, *parts, modern=False):
    """What a denied tool call is answered with."""
    value = {"content": [{"type": "text", "text": Text(*parts)}], "isError": True}
    return result(ident, {**value, "resultType": "complete"} if modern else value)


def envelope(capabilities=None, **others):
    """`_meta` of a modern request."""
    return {VERSION: "2026-07-28", CAPABILITIES: {} if capabilities is None else capabilities, **others}


def modern(ident, method, params=None, capabilities=None, **others):
    return request(ident, method, {**(params or {}), "_meta": envelope(capabilities, **others)})


def modern_call(ident, tool, arguments=None, capabilities=None, **others):
    return request(
        ident,
        "tools/call",
        {"name": tool, "arguments": arguments or {}, "_meta": envelope(capabilities), **others},
    )


def initialize(ident, revision="2025-11-25", capabilities=None):
    params = {
        "protocolVersion": revision,
        "capabilities": {} if capabilities is None else capabilities,
        "clientInfo": {"name": "host", "version": "1"},
    }
    return request(ident, "initialize", params)


def initialized(revision="2025-11-25"):
    return {
        "protocolVersion": revision,
        "capabilities": {"tools": {"listChanged": True}},
        "serverInfo": {"name": "files", "version": "2"},
    }


# --- the story ---------------------------------------------------------------------------------------------


class Playbook:
    """One connection. `policy` is the text of a policy file; None is the policy of a fresh installation.

    `pins` are `DefinitionPins`, `withdrawn` what earlier connections saw.
    """

    def __init__(self, policy=POLICY, pins=None, withdrawn=None, **shared):
        start = record.prefix("c1", {"uid": 1000}, "files")
        shared = {"book": Book(), "circumstances": Circumstances(), "seal": b"s" * 32, **shared}
        self.shared = Shared(**{"conn": "c1", "instance": "4711-9", "host": {"uid": 1000}, **shared})
        self.book = self.shared.book
        self.gate = Gate(snapshot(policy), "files", start, b"key", pins, withdrawn, self.shared)
        self.now = 0
        self.announced = 0
        self.story = []
        self.records = []
        self.full = False
        self.closed = None
        self.calls = 0

    def opened(self, revision="2025-11-25", capabilities=None):
        """After the handshake of the legacy era; the next request of the host travels as number 2."""
        hello = initialize(0, revision, capabilities)
        self.feed(BytesReceived(Side.HOST, line(hello), self._tick()))
        self.feed(BytesReceived(Side.SERVER, line(result(1, initialized(revision))), self._tick()))
        self.feed(BytesReceived(Side.HOST, line(notification("notifications/initialized")), self._tick()))
        return self

    def host(self, *said, **expected):
        """The host says these messages or bytes in one read."""
        return self._step(BytesReceived(Side.HOST, b"".join(map(line, said)), self._tick()), expected)

    def feed_host(self, *said):
        """The host says these messages; what comes out is not the subject of the story."""
        self.feed(BytesReceived(Side.HOST, b"".join(map(line, said)), self._tick()))
        return self

    def feed_server(self, *said):
        """The server says these messages or bytes; what comes out."""
        return self.feed(BytesReceived(Side.SERVER, b"".join(map(line, said)), self._tick()))

    def feed_call(self, tool):
        """The host calls a tool; what comes out."""
        self.calls += 1
        return self.feed(BytesReceived(Side.HOST, line(call(f"call-{self.calls}", tool)), self._tick()))

    def feed_call_of(self, tool, arguments):
        """The host calls a tool with these arguments; what comes out."""
        self.calls += 1
        return self.feed_said(call(f"call-{self.calls}", tool, arguments))

    def feed_said(self, said):
        """The host says one message; what comes out."""
        return self.feed(BytesReceived(Side.HOST, line(said), self._tick()))

    def feed_waiting(self):
        """Time goes by while requests wait; what comes out."""
        return self.feed(StillWaiting(self._tick()))

    def feed_list(self, method, kind, entries):
        """The host lists, and the server answers with these entries; what comes of the answer."""
        self.calls += 1
        said = request(f"call-{self.calls}", method)
        (seen,) = self.feed(BytesReceived(Side.HOST, line(said), self._tick()))["to_server"]
        return self.feed_server(result(seen["id"], {kind: entries}))

    def server(self, *said, **expected):
        """The server says these messages or bytes in one read."""
        return self._step(BytesReceived(Side.SERVER, b"".join(map(line, said)), self._tick()), expected)

    def ended(self, side, **expected):
        return self._step(StreamEnded(side, self._tick()), expected)

    def back(self, **expected):
        """The server has ended before, and is started again."""
        return self._step(ServerBack(self._tick()), expected)

    def policy(self, text, **expected):
        return self._step(PolicyChanged(snapshot(text), self._tick()), expected)

    def pins(self, pins, **expected):
        """A person accepted what the server says now."""
        return self._step(PinsChanged(pins, self._tick()), expected)

    @property
    def tickets(self):
        return self.book.tickets()

    def answers(self, answer, ident=None, **expected):
        """A person answers the only open ticket, or that one; what the connection makes of it."""
        ticket = ident or self.tickets[0].ident
        self.book.answer(ticket, answer, self._tick())
        return self.settles(ticket, **expected)

    def settles(self, ticket, **expected):
        """The connection hears how a ticket ended."""
        found = self.book.find(ticket)
        granted = found.state is State.GRANTED
        event = TicketSettled(
            ticket,
            granted,
            "" if granted else f"it was {found.state.value}",
            found.state.value,
            found.by,
            self._tick(),
        )
        return self._step(event, expected)

    def waits(self, **expected):
        """Time goes by while requests wait."""
        return self._step(StillWaiting(self._tick()), expected)

    def later(self, seconds):
        self.now += int(seconds * 1_000_000_000)
        return self

    def disk(self, *, full):
        self.full = full
        return self

    def feed(self, event):
        """What comes out: lines for each side as JSON, bodies of the records, the reason of a close."""
        out = {"to_server": [], "to_host": [], "records": [], "noticed": [], "closed": None}
        self._carry_out(self.gate.handle(event), out)
        self.story.append((event, out))
        self.records += out["records"]
        self.closed = self.closed or out["closed"]
        return out

    def _tick(self):
        self.now += 1000
        return self.now

    def _carry_out(self, commands, out):
        failed = False
        kinds = [type(command) for command in commands]
        order = [LookAgain, Remember, Append, Write, Later, Noticed, Announce, Close]
        assert kinds == sorted(kinds, key=order.index), self.told(commands)
        for command in commands:
            match command:
                case Append() if self.full:
                    failed = True
                case Append() | Later():
                    out["records"] += [msgspec.json.decode(b"{%b}" % body) for body in command.bodies]
                case Write():
                    lines = strict_lines(command.data)
                    if not failed:
                        out["to_server" if command.side is Side.SERVER else "to_host"] += lines
                case Noticed():
                    out["noticed"] += command.findings
                case Announce():
                    self.announced += 1
                case LookAgain():
                    out["looked"] = True
                case Remember():
                    out["remembered"] = True
                case Close():
                    out["closed"] = command.reason
        if failed:
            self._carry_out(self.gate.handle(NotRecorded("no space left on device", self._tick())), out)

    def _step(self, event, expected):
        out = self.feed(event)
        for side in ("to_server", "to_host"):
            wanted = expected.pop(side, [])
            assert same(wanted, out[side]), self.told(f"expected {side}: {shown(wanted)}")
        closed = expected.pop("closed", None)
        assert (closed is None) == (out["closed"] is None), self.told(f"expected close: {closed}")
        assert closed is None or closed in out["closed"], self.told(f"expected close: {closed}")
        records = expected.pop("records", None)
        if records is not None:
            fits = len(records) == len(out["records"]) and all(map(has, records, out["records"]))
            assert fits, self.told(f"expected records: {shown(records)}")
        noticed = expected.pop("noticed", None)
        if noticed is not None:
            found = [(finding.kind, finding.name, finding.fault) for finding in out["noticed"]]
            fits = len(found) == len(noticed) and all(
                kind == k and name == n and fault in f
                for (kind, name, fault), (k, n, f) in zip(noticed, found, strict=True)
            )
            assert fits, self.told(f"expected findings: {noticed}, found {found}")
        assert not expected, f"not an expectation: {expected}"
        return self

    def told(self, last):
        lines = []
        for event, out in self.story:
            lines.append(f"\n{event!r}")
            lines += [f"    {what}: {shown(value)}" for what, value in out.items() if value]
        return "\n".join([*lines, f"\n{last}"])


def shown(values):
    return json.dumps(values, default=repr, ensure_ascii=True)


def line(said):
    return said if isinstance(said, bytes) else msgspec.json.encode(said) + b"\n"


def strict_lines(data):
    """The messages of a write; each line is our own strict encoding."""
    assert data.endswith(b"\n")
    values = []
    for each in data[:-1].split(b"\n"):
        value, _ = strict.decode(each)
        assert strict.encode(value) == each
        values.append(value)
    return values


def snapshot(policy):
    if policy is None:
        return observe_snapshot("files")
    return compile_snapshot(parse(policy.encode(), "policy.toml"), "files")
