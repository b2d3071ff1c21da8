"""What is written to either side is whole lines of strict JSON, each equal to `encode(decode(line))`."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard.gate.commands import Write
from mcpguard.protocol import jsonrpc, strict
from tests.fuzz.worlds import OPENINGS, POLICIES, World, stories
from tests.gate.playbook import Playbook, call, result, text

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


def check(data):
    assert data.endswith(b"\n")
    for each in data[:-1].split(b"\n"):
        value, _ = strict.decode(each)
        assert strict.encode(value) == each
        assert each.decode().splitlines() == [each.decode()]
        assert json.loads(each) == value
        message = dict(value)
        jsonrpc.shape(message)
        assert message == value


@settings(max_examples=200)
@given(st.sampled_from(POLICIES), st.sampled_from(sorted(OPENINGS)), stories(size=10))
def test_every_written_line_is_our_own_encoding_of_one_message(policy, opening, story):
    world = World(policy, opening)
    for side, data in story:
        world.say(side, data)
    for commands in world.steps:
        for command in commands:
            if isinstance(command, Write):
                check(command.data)


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.text("abcdef", max_size=3),
        TEXTS | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        max_size=4,
    ),
    st.booleans(),
)
def test_values_arrive_as_they_were_sent_in_both_directions(arguments, long):
    whole = all(not isinstance(v, int) or -(2**63) <= v < 2**64 for v in arguments.values())
    said = {**arguments, "pad": "x" * 2200} if long else arguments
    play = Playbook(None).opened()
    if whole:
        play.host(call("7", "read_file", said), to_server=[call(2, "read_file", said)])
        play.server(
            result(2, text("ok", structuredContent=said)),
            to_host=[result("7", text("ok", structuredContent=said))],
        )
    else:
        play.feed_host(call("7", "read_file", said))
        assert play.gate.in_flight == 0
        assert play.gate.counts["allowed"] == 1
