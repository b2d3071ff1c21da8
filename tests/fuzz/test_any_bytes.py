"""Any bytes, from either side, in any pieces, between any other events, give commands and never an exception."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard.gate.commands import Append, Close, Later, Noticed, Write
from mcpguard.gate.events import BytesReceived, NotRecorded, PinsChanged, PolicyChanged, StreamEnded
from mcpguard.identity.definitions import DefinitionPins
from mcpguard.model import Side
from tests.fuzz.worlds import OPENINGS, PINS, POLICIES, World, attacks, lines, reply
from tests.gate.playbook import snapshot

SNAPSHOTS = [snapshot(policy) for policy in POLICIES]
EVENTS = st.sampled_from(Side).flatmap(
    lambda side: st.builds(
        BytesReceived, st.just(side), lines(side) | st.binary(max_size=20), st.integers(0, 10**10)
    )
) | st.sampled_from(
    [StreamEnded(side, 5) for side in Side]
    + [PolicyChanged(each, 5) for each in SNAPSHOTS]
    + [NotRecorded("full", 5)]
)
REPINNED = EVENTS | st.sampled_from([PinsChanged(pins, 5) for pins in (PINS, DefinitionPins())])
WITHDRAWN = ({}, {("tools", "read_file"): "0" * 64, ("prompts", "p"): "", ("tools", "stranger"): "1" * 64})


@settings(max_examples=350)
@given(st.sampled_from(POLICIES), st.sampled_from(sorted(OPENINGS)), st.lists(EVENTS, max_size=10))
def test_every_event_gives_commands(policy, opening, events):
    world = World(policy, opening)
    for event in events:
        for command in world.gate.handle(event):
            assert isinstance(command, Append | Later | Write | Noticed | Close)


@settings(max_examples=350)
@given(
    st.sampled_from(POLICIES),
    st.sampled_from(sorted(OPENINGS)),
    st.sampled_from(WITHDRAWN),
    st.lists(REPINNED, max_size=10),
)
def test_every_event_gives_commands_where_definitions_are_pinned(policy, opening, withdrawn, events):
    world = World(policy, opening, PINS, withdrawn)
    for event in events:
        for command in world.gate.handle(event):
            assert isinstance(command, Append | Later | Write | Noticed | Close)


@settings(max_examples=350)
@given(st.sampled_from(POLICIES), st.sampled_from(sorted(OPENINGS)), st.sampled_from([None, PINS]), st.data())
def test_every_answer_to_what_was_asked_gives_commands(policy, opening, pins, data):
    world = World(policy, opening, pins)
    for _ in range(data.draw(st.integers(1, 4))):
        side = data.draw(st.sampled_from(Side))
        world.say(side, data.draw(lines(side, 1)))
        if (asked := world.asked(side.other)) is not None:
            world.say(side.other, reply(data.draw, side.other, asked))
    assert world.gate.in_flight <= len(world.lines(Side.SERVER))


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(Side), st.binary(max_size=40)), max_size=8))
def test_every_noise_gives_commands_and_reaches_nobody(noise):
    world = World(opening="nothing")
    for side, data in noise:
        world.say(side, data + b"\n")
    assert world.data[Side.SERVER] == b""


@pytest.mark.parametrize("opening", sorted(OPENINGS))
@pytest.mark.parametrize("policy", POLICIES[:3])
def test_every_known_attack_gives_commands_and_nothing_of_it_travels_as_it_came(policy, opening):
    for _, side, data in attacks():
        world = World(policy, opening)
        before = len(world.data[side.other])
        world.say(side, data)
        travelled = world.data[side.other][before:]
        assert b"\r" not in travelled
        assert b"\x00" not in travelled
        assert not travelled or travelled.endswith(b"\n")
