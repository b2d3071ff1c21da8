"""A tool that is not pinned, or whose definition is another one, is never called and never shown, whatever is said."""

import copy
import json

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from mcpguard.gate.commands import Append, Later, Noticed
from mcpguard.gate.events import PinsChanged
from mcpguard.identity.definitions import DefinitionPins
from mcpguard.model import Side
from tests.fuzz.test_denied import ALLOWED, executed, loose
from tests.fuzz.worlds import (
    DEFINED,
    OPENINGS,
    PINS,
    POLICIES,
    SHORT_ATTACKS,
    World,
    lines,
    reply,
    spoil_value,
    stories,
)
from tests.gate.playbook import POLICY, call, line, modern, modern_call, request, result

NAMES = [*DEFINED, "read_stranger", "read-file", "Read_File", "READ_FILE"]


def text(value):
    return json.dumps(value, sort_keys=True)


@st.composite
def entries(draw):
    """A page of tools: as they are pinned, with members moved, spoilt, twice, under other names."""
    page = []
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=4)):
        tool = copy.deepcopy(DEFINED.get(name, {**DEFINED["read_file"], "name": name}))
        match draw(st.sampled_from(["same", "same", "moved", "spoilt", "title"])):
            case "moved":
                tool = dict(reversed(tool.items()))
            case "spoilt":
                tool = spoil_value(draw, tool)
            case "title":
                tool["title"] = draw(st.sampled_from(["x", "", None, "\u200b"]))
            case _:
                pass
        page.append(tool)
    return page


def look_alike(value):
    """Whether a member somewhere in it only looks like another one."""
    if isinstance(value, dict):
        return len({loose(key) for key in value}) < len(value) or any(map(look_alike, value.values()))
    return isinstance(value, list) and any(map(look_alike, value))


class Model:
    """What may be used, found out without any digest: by the text of the definitions themselves."""

    def __init__(self, withdrawn=()):
        self.bad = set(withdrawn)

    def list(self, page):
        names = [entry.get("name") if isinstance(entry, dict) else None for entry in page]
        for name, defined in DEFINED.items():
            mine = [entry for entry, of in zip(page, names, strict=True) if of == name]
            if mine:
                good = len(mine) == 1 and text(mine[0]) == text(defined)
                (self.bad.discard if good else self.bad.add)(name)

    def usable(self, name):
        return isinstance(name, str) and name in DEFINED.keys() - self.bad and name.startswith(ALLOWED)


@st.composite
def calls(draw):
    """A call of one of the tools, in either era, spoilt once or not at all."""
    make = draw(st.sampled_from([call, modern_call]))
    value = make(draw(st.sampled_from([7, "7"])), draw(st.sampled_from(sorted(DEFINED))), {"path": "a"})
    return msgspec.json.encode(spoil_value(draw, value) if draw(st.booleans()) else value) + b"\n"


class Player:
    """Both sides of a connection that was opened in one era."""

    def __init__(self, opening, world):
        self.world = world
        self.modern = opening == "modern"
        self.ident = 100

    def list(self, page):
        """The host lists, the server answers with a page; what the host is shown of it, None if it is refused whole.

        Pages are refused whole for members that only look like members, as `Name`.
        """
        self.ident += 1
        say = modern if self.modern else request
        for side in Side:
            self.world.say(side, b"\n")  # behind whatever was begun before
        before = len(self.world.lines(Side.SERVER))
        self.world.say(Side.HOST, line(say(self.ident, "tools/list")))
        if len(self.world.lines(Side.SERVER)) == before:
            return None
        asked = self.world.asked(Side.SERVER)
        assert asked["method"] == "tools/list"
        more = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} if self.modern else {}
        self.world.say(Side.SERVER, msgspec.json.encode(result(asked["id"], {"tools": page, **more})) + b"\n")
        answers = [m for m in self.world.messages(Side.HOST) if m.get("id") == self.ident]
        return answers[0]["result"]["tools"] if answers and "result" in answers[0] else None

    def call(self, name):
        """The host calls a tool; the server answers, if it hears of it."""
        self.ident += 1
        before = len(self.world.lines(Side.SERVER))
        self.world.say(Side.HOST, line((modern_call if self.modern else call)(self.ident, name)))
        return len(self.world.lines(Side.SERVER)) > before


@settings(max_examples=350)
@given(
    st.sampled_from(["legacy", "modern"]),
    st.sets(st.sampled_from(sorted(DEFINED))),
    st.lists(st.tuples(entries(), st.lists(st.sampled_from(NAMES), max_size=3)), min_size=1, max_size=4),
)
def test_calls_and_lists_are_as_the_definitions_are(opening, withdrawn, steps):
    world = World(POLICY, opening, PINS, {("tools", name): "0" * 64 for name in withdrawn})
    player, model = Player(opening, world), Model(withdrawn)
    for page, calls in steps:
        for name in calls:
            assert player.call(name) == model.usable(name), name
        shown = player.list(page)
        if shown is None:
            assert any(look_alike(entry) for entry in page)
            continue
        model.list(page)
        usable = [entry for entry in page if isinstance(entry, dict) and model.usable(entry.get("name"))]
        assert [text(entry) for entry in shown] == [text(entry) for entry in usable]
        for name in calls:
            assert player.call(name) == model.usable(name), name
    event(f"{len(model.bad)} withdrawn")


def check(world, since, model):
    for each in world.data[Side.SERVER][since:].split(b"\n")[:-1]:
        for method, name in executed(each):
            assert method != "tools/call" or model.usable(name), each


@settings(max_examples=350)
@given(
    st.sampled_from(["legacy", "modern"]),
    st.sets(st.sampled_from(sorted(DEFINED)), min_size=1),
    st.lists(st.tuples(calls() | lines(Side.HOST, 3), st.booleans()), min_size=1, max_size=5),
    st.data(),
)
def test_no_bytes_of_the_host_call_what_is_withdrawn(opening, changed, said, data):
    world = World(POLICY, opening, PINS)
    Player(opening, world).list(
        [tool | ({"title": "x"} if name in changed else {}) for name, tool in DEFINED.items()]
    )
    model = Model(changed)
    since = len(world.data[Side.SERVER])
    for each, answered in said:
        world.say(Side.HOST, each)
        asked = world.asked(Side.SERVER)
        # An answer to a list may withdraw more, or show that a definition is the pinned one again.
        if answered and asked is not None and asked["method"] != "tools/list":
            world.say(Side.SERVER, reply(data.draw, Side.SERVER, asked))
    check(world, since, model)


@settings(max_examples=200)
@given(st.sampled_from(sorted(OPENINGS)), stories(size=10, depth=2))
def test_nothing_that_is_said_makes_an_unpinned_tool_callable(opening, story):
    pins = DefinitionPins(tools={"read_other": PINS.tools["read_other"]})
    world = World(POLICY, opening, pins)
    since = len(world.data[Side.SERVER])
    for side, said in story:
        world.say(side, said)
    for each in world.data[Side.SERVER][since:].split(b"\n")[:-1]:
        for method, name in executed(each):
            assert method != "tools/call" or name == "read_other", each


@pytest.mark.parametrize("opening", sorted(OPENINGS))
def test_no_known_attack_calls_what_is_withdrawn(opening):
    withdrawn = {("tools", "read_file"): "0" * 64}
    for data in SHORT_ATTACKS[Side.HOST]:
        world = World(POLICY, opening, PINS, withdrawn)
        since = len(world.data[Side.SERVER])
        world.say(Side.HOST, data)
        check(world, since, Model(["read_file"]))


@settings(max_examples=250)
@given(st.sampled_from(POLICIES), st.sampled_from(["legacy", "modern"]), stories(size=6, depth=1), st.data())
def test_every_finding_that_is_kept_is_recorded_before(policy, opening, story, data):
    world = World(policy, opening, PINS)
    player = Player(opening, world)
    for side, said in story:
        if data.draw(st.booleans()):
            player.list(data.draw(entries()))
        world.say(side, said)
        if (asked := world.asked(Side.SERVER)) is not None and data.draw(st.booleans()):
            world.say(Side.SERVER, reply(data.draw, Side.SERVER, asked))
        if data.draw(st.integers(0, 9)) == 0:
            world.carry_out(
                world.gate.handle(PinsChanged(data.draw(st.sampled_from([PINS, DefinitionPins()])), 5))
            )
    for commands in world.steps:
        recorded = []
        for command in commands:
            match command:
                case Append() | Later():
                    recorded += [msgspec.json.decode(b"{%b}" % body) for body in command.bodies]
                case Noticed():
                    told = [(f.kind, f.fault) for f in command.findings]
                    assert told == [(r["kind"], r["fault"]) for r in recorded if r["type"] == "finding"]
                case _:
                    pass
    event(f"{len(world.findings)} findings")
