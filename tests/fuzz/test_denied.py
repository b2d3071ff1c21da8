"""A denied call never produces a `Write` to the server, in whatever way a server may read what is written."""

import json
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mcpguard.model import Side
from tests.fuzz.worlds import OPENINGS, POLICIES, SHORT_ATTACKS, World, lines
from tests.gate.playbook import POLICY, call, line, modern_call

ALLOWED = ("read_", "other_tool")
GATED = {
    "tools/call",
    "resources/read",
    "resources/subscribe",
    "prompts/get",
    "completion/complete",
    "subscriptions/listen",
}
SILENT = POLICIES[3]


def loose(key):
    """A key as the most careless reader takes it."""
    kept = "".join(
        c for c in unicodedata.normalize("NFKC", key) if unicodedata.category(c) not in ("Cc", "Cf", "Zs")
    )
    return kept.casefold()


def readings(data):
    """All that any reader may take for a message in bytes: split anywhere, the first or the last of two keys."""
    texts = {data.decode(), *data.decode().splitlines(), *data.decode().replace("\r", "\n").split("\n")}
    for text in texts:
        for pairs in (
            dict,
            lambda items: dict(reversed(items)),
            lambda items: {loose(k): v for k, v in items},
        ):
            try:
                value = json.loads(text, object_pairs_hook=pairs)
            except ValueError:
                continue
            yield from value if isinstance(value, list) else [value]


def executed(data):
    """(method, tool or None) of everything that a server could carry out."""
    for value in readings(data):
        if isinstance(value, dict) and isinstance(value.get("method"), str):
            params = value.get("params")
            name = params.get("name") if isinstance(params, dict) else None
            yield loose(value["method"]), loose(name) if isinstance(name, str) else name


def check(world, *, silent=False):
    for each in world.lines(Side.SERVER):
        for method, name in executed(each):
            assert not (silent and method in GATED), each
            assert method != "tools/call" or str(name).startswith(ALLOWED), each


@settings(max_examples=350)
@given(st.sampled_from(sorted(OPENINGS)), st.lists(lines(Side.HOST, 3), min_size=1, max_size=4))
@example(
    "legacy",
    [b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"delete_all","name":"read_file"}}\n'],
)
@example(
    "legacy",
    [b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"read_file","name":"delete_all"}}\n'],
)
@example(
    "legacy",
    [b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"read_file","Name":"delete_all"}}\n'],
)
@example(
    "legacy",
    [b'{"jsonrpc":"2.0","method":"ping","method":"tools/call","id":7,"params":{"name":"delete_all"}}\n'],
)
@example(
    "legacy",
    [
        b'{"jsonrpc":"2.0",\r{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_all"}}\r}\n'
    ],
)
@example("batches", [line([call(7, "read_file"), call(8, "delete_all"), [call(9, "delete_all")]])])
@example("nothing", [line(modern_call(1, "delete_all"))])
def test_denied_tool_is_never_written_to_the_server(opening, said):
    world = World(POLICY, opening)
    for data in said:
        world.say(Side.HOST, data)
    check(world)


@settings(max_examples=200)
@given(
    st.sampled_from(["nothing", "legacy", "batches", "probed"]),
    st.lists(lines(Side.HOST, 3), min_size=1, max_size=4),
)
def test_no_gated_method_is_ever_written_where_no_rule_allows_any(opening, said):
    world = World(SILENT, opening)
    for data in said:
        world.say(Side.HOST, data)
    for each in world.lines(Side.SERVER):
        for method, _ in executed(each):
            assert method not in GATED - {"subscriptions/listen"}, each


@pytest.mark.parametrize("opening", sorted(OPENINGS))
def test_no_known_attack_carries_a_denied_tool_to_the_server(opening):
    for data in SHORT_ATTACKS[Side.HOST]:
        world = World(POLICY, opening)
        world.say(Side.HOST, data)
        check(world)


@settings(max_examples=200)
@given(st.sampled_from(sorted(OPENINGS)), st.binary(max_size=60), st.binary(max_size=60))
def test_denied_tool_hidden_in_noise_is_never_written_to_the_server(opening, before, behind):
    world = World(POLICY, opening)
    world.say(
        Side.HOST, before + line(call(7, "delete_all"))[:-1] + behind + b"\n" + line(call(8, "delete_all"))
    )
    check(world)
    assert b"delete_all" not in world.data[Side.SERVER]
