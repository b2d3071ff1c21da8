"""Where the fuzzers get their bytes: valid traffic of both eras, spoilt as values and as text, and known attacks."""

import base64
import copy
import json
from pathlib import Path

import msgspec
from hypothesis import strategies as st

from mcpguard.audit import record
from mcpguard.gate.commands import Append, Close, Later, Noticed, Write
from mcpguard.gate.events import BytesReceived
from mcpguard.gate.gate import Gate
from mcpguard.identity.definitions import DefinitionPins, definition_digest, text_digest
from mcpguard.model import Side
from tests.gate.playbook import (
    ASKING,
    POLICY,
    SUBSCRIPTION,
    TASKS,
    call,
    error,
    initialize,
    initialized,
    line,
    modern,
    modern_call,
    notification,
    request,
    result,
    snapshot,
    text,
)

POLICIES = (POLICY, POLICY + ASKING, None, 'version = 1\nmode = "enforce"\n')
CAN = {"elicitation": {}, "sampling": {}, "roots": {}, "tasks": {}, "extensions": {TASKS: {}}}
FORM = {"message": "?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}
INNER = {
    "k": {"method": "elicitation/create", "params": FORM},
    "s": {"method": "sampling/createMessage", "params": {}},
}
IDS = [0, 1, 2, 3, 4, 5, "1", "2", "", -1, 7, "7", 2**53 - 1]

DEFINED = {
    name: {
        "name": name,
        "description": f"{name}: a file.",
        "inputSchema": {"type": "object", "enum": [None, True]},
    }
    for name in ("read_file", "read_other", "other_tool", "delete_all")
}
PINS = DefinitionPins(
    tools={name: definition_digest(tool) for name, tool in DEFINED.items()},
    prompts={"p": definition_digest({"name": "p"})},
    templates={"a:{b}": definition_digest({"name": "t", "uriTemplate": "a:{b}"})},
    instructions=text_digest("Read first."),
    server_name="files",
)
"""What is pinned in worlds with pins: of the tools, three that policy allows and one that it denies."""

FROM_HOST = [
    call(7, "read_file", {"path": "a"}),
    call(7, "delete_all", {"path": "a"}),
    call("7", "rm", _meta={"progressToken": 7, "dev.mcpguard/x": 1}),
    call(1, "read_file", {"path": "x" * 2100}, _meta={"progressToken": "p"}),
    call(2, "read_file", task={"ttl": 1}),
    modern_call(1, "read_file", {"path": "a"}, CAN),
    modern_call(
        1, "read_file", {"path": "a"}, CAN, requestState="S", inputResponses={"k": {"action": "accept"}}
    ),
    modern_call(2, "delete_all", {"path": "a"}, CAN),
    {**call(1, "read_file", {"path": "x" * 2100}), "x": {"method": "tools/call"}},
    modern(3, "tools/list", None, CAN, **{"io.modelcontextprotocol/logLevel": "info"}),
    request(3, "tools/list"),
    modern(3, "server/discover", None, CAN),
    modern(3, "tools/list", {"cursor": "page-1"}, CAN),
    modern(4, "tasks/get", {"taskId": "t1"}, CAN),
    modern(4, "tasks/update", {"taskId": "t1", "inputResponses": {}}, CAN),
    modern(
        5,
        "subscriptions/listen",
        {"notifications": {"toolsListChanged": True, "taskIds": ["t1"], "resourceSubscriptions": ["a:b"]}},
        CAN,
    ),
    initialize(0, capabilities=CAN),
    initialize(0, "2025-03-26", CAN),
    notification("notifications/initialized"),
    notification("notifications/cancelled", {"requestId": 7}),
    notification("notifications/progress", {"progressToken": 1, "progress": 1}),
    notification("notifications/roots/list_changed"),
    notification("tools/call", {"name": "delete_all", "arguments": {}}),
    request(3, "ping"),
    request(3, "tools/list", {"cursor": "page-1"}),
    request(4, "resources/read", {"uri": "a:b"}),
    request(4, "resources/subscribe", {"uri": "a:b"}),
    request(4, "prompts/get", {"name": "p"}),
    request(5, "completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {}}),
    request(5, "tasks/list", {}),
    request(5, "tasks/result", {"taskId": "t1"}),
    result(1, {"action": "accept", "content": {}}),
    result(1, {"task": {"taskId": "h1"}}),
    error(1, -1, "no"),
    [call(7, "read_file"), call(1, "delete_all"), notification("notifications/initialized")],
]
FROM_SERVER = [
    result(1, initialized()),
    result(1, initialized("2025-03-26")),
    result(2, text("ok")),
    result(2, text("x" * 2100, _meta={"dev.mcpguard/x": 1})),
    {**result(2, text("x" * 2100)), "x": 1},
    result(2, text("no", isError=True)),
    result(1, {"tools": [{"name": "read_file"}, {"name": "delete_all"}], "nextCursor": "c", "ttlMs": 1}),
    result(1, {"resources": [{"uri": "a:b", "name": "x"}], "prompts": [{"name": "p"}]}),
    result(1, {"resultType": "complete", **text("ok")}),
    result(1, {"resultType": "input_required", "inputRequests": INNER, "requestState": "S"}),
    result(1, {"resultType": "task", "taskId": "t1"}),
    result(2, {"task": {"taskId": "t1", "status": "working"}}),
    result(1, {"tools": list(DEFINED.values())}),
    result(1, {**initialized(), "instructions": "Read first."}),
    result(2, {"prompts": [{"name": "p"}], "resourceTemplates": [{"name": "t", "uriTemplate": "a:{b}"}]}),
    result(2, {"tasks": [{"taskId": "t1"}, {"taskId": "t2"}]}),
    result(2, {"taskId": "t1", "result": text("ok"), "inputRequests": INNER}),
    result(2, {"messages": [{"role": "user", "content": {"type": "text", "text": "\x1b"}}]}),
    result(2, {"contents": [{"uri": "a:b", "blob": "AAAA"}]}),
    error(1, -32601, "no"),
    error(2, -32042, "sign in", data={"elicitations": [{"url": "https://a"}]}),
    request(0, "sampling/createMessage", {"messages": [], "_meta": {"progressToken": 1}}),
    request(1, "elicitation/create", FORM),
    request(1, "elicitation/create", {"mode": "url", "url": "https://a"}),
    request(2, "roots/list"),
    request(2, "tasks/get", {"taskId": "h1"}),
    request("p", "ping"),
    notification("notifications/progress", {"progressToken": 2, "progress": 1}),
    notification("notifications/cancelled", {"requestId": 1}),
    notification("notifications/message", {"level": "info", "data": "\x1b[0m\u2028"}),
    notification("notifications/tools/list_changed", {"_meta": {SUBSCRIPTION: 1}}),
    notification("notifications/resources/updated", {"uri": "a:b", "_meta": {SUBSCRIPTION: 1}}),
    notification("notifications/tasks", {"taskId": "t1", "inputRequests": INNER, "_meta": {SUBSCRIPTION: 1}}),
    notification("notifications/tasks/status", {"taskId": "t1"}),
    notification(
        "notifications/subscriptions/acknowledged", {"_meta": {SUBSCRIPTION: 1}, "notifications": {}}
    ),
    [result(1, {}), result(2, {}), request(0, "ping")],
]
OPENINGS = {
    "nothing": [],
    "legacy": [(Side.HOST, initialize(0, capabilities=CAN)), (Side.SERVER, result(1, initialized()))],
    "batches": [
        (Side.HOST, initialize(0, "2025-03-26", CAN)),
        (Side.SERVER, result(1, initialized("2025-03-26"))),
    ],
    "modern": [(Side.HOST, modern_call("first", "read_file", None, CAN))],
    "probed": [(Side.HOST, modern("first", "server/discover", None, CAN))],
}
VECTORS = Path(__file__).parent.parent / "vectors" / "attacks.jsonl"


def attacks():
    """Known attacks as (id, side, bytes); the wire's own tests say what each must lead to."""
    if not VECTORS.exists():
        return []
    cases = [json.loads(row) for row in VECTORS.read_text().splitlines()]
    sides = {"c2s": Side.HOST, "s2c": Side.SERVER}
    return [
        (case["id"], sides[case["direction"]], base64.b64decode(case["bytes_b64"]))
        for case in cases
        if case["direction"] in sides
    ]


SHORT_ATTACKS = {
    side: [data for _, of, data in attacks() if of is side and len(data) < 4000] for side in Side
}

# --- values and texts, spoilt ------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.sampled_from(IDS)
    | st.sampled_from(
        [
            1.0,
            7.5,
            -0.0,
            2**64 - 1,
            -(2**63),
            "t1",
            "S",
            "page-1",
            "delete_all",
            "tools/call",
            "\u2028",
            "\x1b",
            "c",
        ]
    )
)
ODD = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["a", "id", "name", "taskId", "method"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(value, trail=()):
    """Every place inside a value, as keys from the top."""
    yield trail
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        yield from places(child, (*trail, key))


def spoil_value(draw, value):
    """Replace, remove, add or move something somewhere."""
    trail = draw(st.sampled_from(list(places(value))))
    if not trail:
        return draw(
            st.sampled_from(
                [
                    value,
                    [value],
                    [value, value],
                    {"jsonrpc": "2.0", "id": 7, "method": "ping", "params": value},
                    {**value, "x": 1} if isinstance(value, dict) else [value],
                ]
            )
        )
    parent = value
    for key in trail[:-1]:
        parent = parent[key]
    match draw(st.sampled_from(["replace", "replace", "id", "remove", "add", "rename"])):
        case "replace":
            parent[trail[-1]] = draw(ODD)
        case "id" if isinstance(value, dict):
            value["id"] = draw(st.sampled_from(IDS))
        case "remove":
            del parent[trail[-1]]
        case "add" if isinstance(parent, dict):
            parent[
                draw(
                    st.sampled_from(
                        ["id", "name", "Name", "method", "result", "error", "_meta", "arguments", "x"]
                    )
                )
            ] = draw(ODD)
        case "rename" if isinstance(parent, dict):
            key = str(trail[-1])
            parent[draw(st.sampled_from([key.upper(), key + " ", key + "\u200b", "\uff4e" + key[1:]]))] = (
                parent.pop(trail[-1])
            )
        case _:
            pass
    return value


def spoil_text(draw, data):
    """Spoil JSON text without asking whether it stays JSON."""
    at = draw(st.integers(0, len(data)))
    match draw(st.sampled_from(["insert", "double", "escape", "spaces", "case", "cut", "again"])):
        case "insert":
            junk = [
                b"\r",
                b"\n",
                b" ",
                "\u2028".encode(),
                "\u0085".encode(),
                b"\xef\xbb\xbf",
                b"\xff",
                b"\x00",
                b"}",
                b'"',
                b",",
                b"[",
                b"1",
                b"\x1e",
            ]
            return data[:at] + draw(st.sampled_from(junk)) + data[at:]
        case "double":
            extra = [
                b'"name":"delete_all"',
                b'"name":"read_file"',
                b'"method":"tools/call"',
                b'"method":"ping"',
                b'"id":7',
                b'"params":{"name":"delete_all"}',
            ]
            starts = [i + 1 for i, byte in enumerate(data) if byte == 0x7B]
            if starts:
                at = draw(st.sampled_from(starts))
                return data[:at] + draw(st.sampled_from(extra)) + b"," + data[at:]
        case "escape":
            letters = [i for i, byte in enumerate(data) if chr(byte).isalpha() and i and data[i - 1] != 0x5C]
            if letters:
                at = draw(st.sampled_from(letters))
                return data[:at] + b"\\u%04x" % data[at] + data[at + 1 :]
        case "spaces":
            return data.replace(b":", b" :\t").replace(b",", draw(st.sampled_from([b",\r", b" , "])))
        case "case":
            return data.replace(b'"name"', draw(st.sampled_from([b'"Name"', b'"NAME"', b'"name "'])))
        case "cut":
            return data[:at]
        case "again":
            return data + draw(st.sampled_from([b"", b"\r", b" "])) + data
        case _:
            pass
    return data


@st.composite
def lines(draw, side, depth=2):
    """A line of one side: valid, spoilt, known from attacks, or noise; usually with its LF."""
    templates = FROM_HOST if side is Side.HOST else FROM_SERVER
    kind = draw(st.integers(0, 19))
    if kind == 0:
        return draw(st.binary(max_size=30))
    if kind == 1 and SHORT_ATTACKS[side]:
        return draw(st.sampled_from(SHORT_ATTACKS[side]))
    value = copy.deepcopy(draw(st.sampled_from(templates)))
    if isinstance(value, dict) and "id" in value and draw(st.booleans()):
        value["id"] = draw(st.sampled_from(IDS))
    for _ in range(draw(st.integers(0, depth))):
        value = spoil_value(draw, value)
    data = msgspec.json.encode(value)
    for _ in range(draw(st.integers(-1, depth - 1))):
        data = spoil_text(draw, data)
    return data + b"\n"


FITTING = {
    "initialize": "protocolVersion",
    "tools/list": "tools",
    "resources/list": "resources",
    "prompts/list": "prompts",
    "prompts/get": "messages",
    "resources/read": "contents",
    "tasks/list": "tasks",
    "tasks/get": "inputRequests",
    "sampling/createMessage": "task",
}


def reply(draw, side, asked):
    """An answer of one side to a request, rather one that fits; spoilt or not."""
    templates = FROM_HOST if side is Side.HOST else FROM_SERVER
    answers = [m for m in templates if isinstance(m, dict) and "method" not in m]
    fitting = [m for m in answers if FITTING.get(asked["method"], "resultType") in m.get("result", {})]
    chosen = fitting if fitting and draw(st.booleans()) else answers
    value = {**copy.deepcopy(draw(st.sampled_from(chosen))), "id": asked["id"]}
    for _ in range(draw(st.integers(0, 2))):
        value = spoil_value(draw, value)
    return msgspec.json.encode(value) + b"\n"


@st.composite
def stories(draw, size=8, depth=2):
    """What both sides say in turn: (side, bytes) pairs."""
    sides = draw(st.lists(st.sampled_from(Side), min_size=1, max_size=size))
    return [(side, draw(lines(side, depth))) for side in sides]


# --- a gate and what comes out of it -----------------------------------------------------------------------


class World:
    """One connection and all that came out of it. `pins` and `withdrawn` are those of a registered server."""

    def __init__(self, policy=POLICY, opening="legacy", pins=None, withdrawn=None):
        start = record.prefix("c1", {}, "files")
        self.gate = Gate(snapshot(policy), "files", start, b"key", pins, withdrawn)
        self.data = {Side.HOST: b"", Side.SERVER: b""}
        self.bodies = []
        self.findings = []
        self.steps = []
        self.closed = False
        for side, message in OPENINGS[opening]:
            self.say(side, line(message))

    def say(self, side, data):
        """Nothing is heard any more once the connection is closed."""
        if not self.closed:
            self.carry_out(self.gate.handle(BytesReceived(side, data, 1000)))

    def carry_out(self, commands):
        self.steps.append(commands)
        for command in commands:
            match command:
                case Write():
                    self.data[command.side] += command.data
                case Append() | Later():
                    self.bodies += command.bodies
                case Noticed():
                    self.findings += command.findings
                case Close():
                    self.closed = True

    def asked(self, side):
        """The last request that a side was sent, None if there was none."""
        requests = [m for m in self.messages(side) if "method" in m and "id" in m]
        return requests[-1] if requests else None

    def lines(self, side):
        return self.data[side].split(b"\n")[:-1]

    def messages(self, side):
        return [json.loads(each) for each in self.lines(side)]
