"""Every request that is written to either side stands behind its own record in the same list of commands."""

import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard.gate.commands import Append, Later, Write
from mcpguard.gate.events import NotRecorded
from mcpguard.model import Side
from tests.fuzz.worlds import OPENINGS, POLICIES, World, stories


def requests(data):
    messages = [json.loads(each) for each in data.split(b"\n")[:-1]]
    return [message for message in messages if "method" in message and "id" in message]


def check(commands):
    recorded = set()
    for command in commands:
        match command:
            case Append():
                bodies = [msgspec.json.decode(b"{%b}" % body) for body in command.bodies]
                passing = [
                    b
                    for b in bodies
                    if b["type"] == "call" and (b["decision"] == "allow" or b.get("binding") is False)
                ]
                recorded |= {(b["side"], b["id"], b["method"], b.get("tool")) for b in passing}
            case Write():
                for message in requests(command.data):
                    tool = message["params"]["name"] if message["method"] == "tools/call" else None
                    keys = {(side, number, method) for side, number, method, _ in recorded}
                    assert (command.side.other.value, message["id"], message["method"]) in keys
                    assert tool is None or ("host", message["id"], "tools/call", tool) in recorded
            case _:
                assert isinstance(command, Later) or command is commands[-1]


@settings(max_examples=250)
@given(st.sampled_from(POLICIES), st.sampled_from(sorted(OPENINGS)), stories(size=10, depth=1))
def test_request_stands_behind_its_record(policy, opening, story):
    world = World(policy, opening)
    for side, data in story:
        world.say(side, data)
    for commands in world.steps:
        check(commands)


@settings(max_examples=200)
@given(st.sampled_from(POLICIES), st.sampled_from(sorted(OPENINGS)), stories(size=6, depth=1), st.data())
def test_no_request_is_written_when_records_cannot_be(policy, opening, story, data):
    world = World(policy, opening)
    host, server = b"", b""
    for side, said in story:
        host, server = (host + said, server) if side is Side.HOST else (host, server + said)
    for side, said in ((Side.SERVER, server), (Side.HOST, host)):
        before = len(world.steps)
        world.say(side, said)
        for commands in world.steps[before:]:
            if isinstance(commands[0] if commands else None, Append):
                for command in world.gate.handle(NotRecorded("full", 1000)):
                    assert not isinstance(command, Append)
                    assert not isinstance(command, Write) or requests(command.data) == []
