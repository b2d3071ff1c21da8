"""Digests of definitions: any change but the order of members shows, and Node computes the same canonical form."""

import copy
import hashlib
import json
import shutil
import struct
import subprocess

import pytest
import rfc8785
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mcpguard.errors import TrustError
from mcpguard.identity.definitions import (
    DEFINITION_BYTES,
    INSTRUCTIONS_BYTES,
    DefinitionPins,
    definition_digest,
    looks_like,
    skeleton,
    text_digest,
)
from mcpguard.protocol import strict

NODE = shutil.which("node") or "/usr/bin/node"
TOOL = {
    "name": "read_file",
    "title": "Read",
    "description": "Read a file below /data.",
    "inputSchema": {"type": "object", "properties": {"path": {"type": "string", "maxLength": 10}}},
    "outputSchema": {"type": "object"},
    "annotations": {"readOnlyHint": True, "destructiveHint": None},
    "icons": [{"src": "https://a/b.png", "sizes": ["48x48"]}],
    "execution": {"taskSupport": "optional"},
    "_meta": {"a/b": 1.5},
    "unknown": [1, -1, 0.25, "", [], {}],
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = (
    st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([2**53 - 1, 2**53, 2**53 + 1, -(2**53), 1e21, 1e-7, 5e-324, 1.7976931348623157e308])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=5)


def shuffled(value):
    """The same value with the members of every object the other way round."""
    if isinstance(value, dict):
        return {key: shuffled(child) for key, child in reversed(value.items())}
    return [shuffled(child) for child in value] if isinstance(value, list) else value


def places(value, path=()):
    """Every place in a value."""
    yield path
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        yield from places(child, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


def same(one, other):
    """Equality of JSON values: numbers by value, everything else by type and value."""
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


# --- the digest --------------------------------------------------------------------------------------------


def test_digest_is_that_of_the_canonical_form():
    form = b'{"a":[1,1,1e+22,0.000001,"\xc3\xa9\\n"],"b":{}}'
    value = {"b": {}, "a": [1, 1.0, 1e22, 1e-6, "\u00e9\n"]}
    assert definition_digest(value) == hashlib.sha256(form).hexdigest()
    assert definition_digest(TOOL) == hashlib.sha256(rfc8785.dumps(TOOL)).hexdigest()


@given(OBJECTS)
def test_order_of_members_does_not_matter(value):
    assert definition_digest(shuffled(value)) == definition_digest(value)


@given(OBJECTS, OBJECTS)
def test_other_values_have_other_digests(one, other):
    assert (definition_digest(one) == definition_digest(other)) == same(one, other)


@given(OBJECTS.filter(bool), st.data(), VALUES)
def test_any_single_change_shows(value, data, replacement):
    path = data.draw(st.sampled_from([path for path in places(value) if path]))
    assume(not same(at(value, path), replacement))
    changed = copy.deepcopy(value)
    at(changed, path[:-1])[path[-1]] = replacement
    assert definition_digest(changed) != definition_digest(value)
    del at(changed, path[:-1])[path[-1]]
    assert definition_digest(changed) != definition_digest(value)


@pytest.mark.parametrize("member", TOOL)
def test_every_member_of_a_tool_counts(member):
    without = {key: value for key, value in TOOL.items() if key != member}
    assert definition_digest(without) != definition_digest(TOOL)
    assert definition_digest({**TOOL, member: "other"}) != definition_digest(TOOL)
    assert definition_digest({**TOOL, member + "\u200b": TOOL[member]}) != definition_digest(TOOL)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (2**53, str(2**53)),
        (2**53, float(2**53)),
        (2**53, 2**53 + 1),
        (2**63, -(2**63)),
        ([2**53, "9007199254740993"], ["9007199254740992", 2**53 + 1]),
        ({"a/b": 2**60}, {"a": {"b": 2**60}}),
        ({"a~1b": 2**60, "a/b": str(2**60)}, {"a~1b": str(2**60), "a/b": 2**60}),
        ({"0": 2**60}, [2**60]),
        ({"x": 2**60, "y": '["/x"]'}, {"x": str(2**60), "y": '["/x"]'}),
        (1, True),
        (1, "1"),
        (None, "null"),
        ("\u00e9", "e\u0301"),
        ("a", "\uff41"),
    ],
)
def test_values_that_differ_in_a_detail_differ_in_digest(one, other):
    assert definition_digest({"v": one}) != definition_digest({"v": other})
    assert definition_digest([one]) != definition_digest([other])


def test_form_of_large_integers_is_as_documented():
    value = {"b": [1, 2**53], "a/~": -(2**63)}
    form = b'{"a/~":"-9223372036854775808","b":[1,"9007199254740992"]}\n["/a~1~0","/b/1"]'
    assert definition_digest(value) == hashlib.sha256(form).hexdigest()


def test_spelling_of_a_received_number_does_not_matter():
    digests = set()
    for spelled in (b"1e+22", b"1e22", b"1E22", b"10000000000000000000000.0", b"1.0e+22"):
        value, _ = strict.decode(b'{"name":"a","n":' + spelled + b"}")
        digests.add(definition_digest(value))
    assert digests == {definition_digest({"n": 1e22, "name": "a"})}


@pytest.mark.parametrize(
    "value",
    [
        {"a": "\ud800"},
        {"\udfff": 1},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": {1, 2}},
        {"a": b"bytes"},
        {1: "a"},
        {"a": 10**5000},
        {"a": "x" * DEFINITION_BYTES},
        {"a": ["\u00e9"] * DEFINITION_BYTES},
    ],
)
def test_what_cannot_be_pinned_is_refused(value):
    with pytest.raises(TrustError, match="definition"):
        definition_digest(value)


def test_nesting_without_end_is_refused():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(TrustError, match="canonical"):
        definition_digest(value)
    while value:
        value = value.pop()


def test_text_is_pinned_by_its_bytes():
    assert text_digest("") == hashlib.sha256(b"").hexdigest()
    assert text_digest("\u00e9") == hashlib.sha256(b"\xc3\xa9").hexdigest() != text_digest("e\u0301")
    for text in ("\ud800", "x" * (INSTRUCTIONS_BYTES + 1)):
        with pytest.raises(TrustError, match="instructions"):
            text_digest(text)
    assert len(text_digest("x" * INSTRUCTIONS_BYTES)) == 64


# --- Node --------------------------------------------------------------------------------------------------

_CANONICAL = """
const canonical = v => Array.isArray(v) ? "[" + v.map(canonical).join(",") + "]"
  : v !== null && typeof v === "object"
  ? "{" + Object.keys(v).sort().map(k => JSON.stringify(k) + ":" + canonical(v[k])).join(",") + "}"
  : JSON.stringify(v);
const hash = text => require("crypto").createHash("sha256").update(text, "utf8").digest("hex");
const lines = require("fs").readFileSync(0, "utf8").split("\\n").filter(Boolean);
console.log(lines.map(line => hash(canonical(JSON.parse(line)))).join("\\n"));
"""


def by_node(values):
    """Digests of JSON values as Node computes them: its numbers, its strings, its order of UTF-16 units."""
    said = "\n".join(map(json.dumps, values))
    done = subprocess.run(
        [NODE, "-e", _CANONICAL], input=said, capture_output=True, text=True, timeout=100, check=True
    )
    return done.stdout.split()


def doubles(count, seed):
    """Doubles of all magnitudes: the bit patterns of a stream of hashes."""
    blocks = (hashlib.sha256(b"%d %d" % (seed, number)).digest() for number in range(count))
    found = (struct.unpack("<d", block[:8])[0] for block in blocks)
    return [value for value in found if value == value and abs(value) != float("inf")]


@pytest.mark.skipif(not shutil.which(NODE), reason="Node is not installed")
def test_node_computes_the_same_digest_of_numbers():
    edges = [sign * 10.0**power for power in range(-30, 30) for sign in (1, -1)]
    edges += [2.0**power for power in range(-1074, 1024)] + [
        0.1 + 0.2,
        1 / 3,
        0.0,
        -0.0,
        123456789012345680000.0,
    ]
    values = [[value] for value in doubles(20_000, 1) + edges] + [[2**53 - 1, -(2**53) + 1, 0]]
    assert by_node(values) == [definition_digest(value) for value in values]


@pytest.mark.skipif(not shutil.which(NODE), reason="Node is not installed")
def test_node_computes_the_same_digest_of_text_and_of_the_order_of_members():
    letters = [
        chr(code)
        for code in (
            *range(0x180),
            *range(0x2000, 0x2070),
            *range(0xE000, 0xE010),
            *range(0xFB00, 0xFB20),
            *range(0xFFF0, 0x10000),
            *range(0x10000, 0x10020),
            0x1F600,
            0x10FFFF,
        )
    ]
    values = [{letter: index, "x" + letter: letter} for index, letter in enumerate(letters)]
    values += [dict.fromkeys(letters[start::7], start) for start in range(7)] + [
        dict.fromkeys(map(str, range(20))),
        TOOL,
    ]
    assert by_node(values) == [definition_digest(value) for value in values]


@pytest.mark.skipif(not shutil.which(NODE), reason="Node is not installed")
@given(st.lists(OBJECTS, min_size=20, max_size=20))
@settings(max_examples=20)
def test_node_computes_the_same_digest_of_any_object_without_large_integers(values):
    small = [value for value in values if not any(is_large(at(value, path)) for path in places(value))]
    assume(small)
    assume(not any("__proto__" in repr(value) for value in small))
    assert by_node(small) == [definition_digest(value) for value in small]


def is_large(value):
    return type(value) is int and abs(value) >= 2**53


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Read_File", "readFile", "read-file", "read file", "read.file", "read/file", "readfile", "re\u0430d_file",
        "read_f\u0456le", "read_fi1e", "read_fiIe", "read_fil\u0435", "re\u00e1d_file", "re\u200bad_file",
        "\uff52ead_file", "read_file\u2060", "read_file\ufe0f", "re\u00adad_file", "\u0433ead_file".replace("\u0433", "r"),
        "read_f\u0131le", "READ_FILE",
    ],
)  # fmt: skip
def test_names_that_an_eye_confuses_look_alike(name):
    if name == "read_file":
        assert not looks_like(name, ["read_file"])
        return
    assert looks_like(name, ["read_file"])
    assert looks_like("read_file", [name])
    assert looks_like(name, ["write_file", "read_file", "list"]) == "read_file"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("read_file", "read_files"),
        ("read_file", "write_file"),
        ("read_file", "read_file"),
        ("get", "set"),
        ("a+b", "ab"),
        ("\u65e5", "\u672c"),
    ],
)
def test_other_names_do_not_look_alike(one, other):
    assert not looks_like(one, [other])
    assert looks_like(one, [other]) == ""


def test_pairs_and_digits_look_like_letters():
    assert looks_like("modern", ["modem"])
    assert looks_like("g0", ["go"])
    assert looks_like("vvrite", ["write"])
    assert looks_like("a-b", ["a_b", "a.b", "ab"]) == "a.b"
    assert looks_like("x", []) == ""


@given(TEXT)
def test_skeleton_is_a_fixed_point_of_itself(name):
    assert skeleton(skeleton(name)) == skeleton(name)


def test_pins_are_empty_unless_said():
    assert DefinitionPins() == DefinitionPins(
        tools={}, prompts={}, templates={}, instructions="", server_name=""
    )
    with pytest.raises(AttributeError):
        DefinitionPins().tools = {}


def test_cost_of_a_digest(benchmark):
    benchmark(definition_digest, TOOL)
