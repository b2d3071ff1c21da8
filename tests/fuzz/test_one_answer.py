"""Every request with a readable id of its own gets at most one answer, and exactly one once the server has ended."""

import json
import re

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard.gate.events import StreamEnded
from mcpguard.model import Side
from tests.fuzz.worlds import FROM_HOST, OPENINGS, POLICIES, World, lines, reply, spoil_text, spoil_value

REQUESTS = [
    message for message in FROM_HOST if isinstance(message, dict) and "id" in message and "method" in message
]


@st.composite
def marked(draw):
    """Lines of the host, each request under an id that no other line has; and whether the line is as it should be."""
    said = []
    for number in range(draw(st.integers(1, 6))):
        value = json.loads(json.dumps({**draw(st.sampled_from(REQUESTS)), "id": f"mark-{number}-"}))
        honest = draw(st.booleans())
        if not honest:
            value = spoil_value(draw, value)
        data = msgspec.json.encode(value)
        said.append((data if honest else spoil_text(draw, data), honest))
    return said


def answers(world):
    return [json.dumps(m["id"]) for m in world.messages(Side.HOST) if "method" not in m]


@settings(max_examples=200)
@given(st.sampled_from(POLICIES), st.sampled_from(sorted(OPENINGS)), marked(), st.data())
def test_no_request_is_answered_twice(policy, opening, said, data):
    world = World(policy, opening)
    for each, _ in said:
        world.say(Side.HOST, each + b"\n")
        if data.draw(st.booleans()):
            world.say(Side.SERVER, data.draw(lines(Side.SERVER)))
        if (last := world.asked(Side.SERVER)) is not None and data.draw(st.booleans()):
            world.say(Side.SERVER, reply(data.draw, Side.SERVER, last))
    closed = world.closed
    world.carry_out(world.gate.handle(StreamEnded(Side.SERVER, 2000)))
    everything = b"\n".join(each for each, _ in said)
    for number, (_, honest) in enumerate(said):
        ident = f"mark-{number}-"
        if len(re.findall(ident.encode(), everything)) == 1:
            count = answers(world).count(json.dumps(ident))
            assert count <= 1
            assert count == 1 or closed or not honest
    assert world.gate.in_flight == 0


@settings(max_examples=200)
@given(
    st.sampled_from(["legacy", "batches"]),
    st.lists(lines(Side.SERVER), max_size=6),
    st.lists(lines(Side.HOST), max_size=6),
)
def test_answers_go_only_to_ids_that_were_asked_with(opening, replies, said):
    world = World(POLICIES[1], opening)
    asked = b""
    for each in said:
        asked += each
        world.say(Side.HOST, each)
        for answer in replies[:1]:
            world.say(Side.SERVER, answer)
        replies = replies[1:]
    world.carry_out(world.gate.handle(StreamEnded(Side.SERVER, 2000)))
    heard = [m["id"] for m in world.messages(Side.HOST) if "method" not in m][1:]
    told = asked.decode("utf-8", "replace")
    for ident in heard:
        assert str(ident) in told or "\\u" in told
