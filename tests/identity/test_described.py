"""Definitions beside a manifest, and what differed from it."""

import msgspec
import pytest

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.definitions import definition_digest, text_digest
from mcpguard.identity.described import (
    Definitions,
    Observation,
    Observed,
    accepted,
    encode_definitions,
    observe,
    parse_definitions,
    parse_observed,
)
from mcpguard.identity.manifest import Launch, Manifest

READ = {"name": "read_file", "inputSchema": {"type": "object"}, "n": 2**60, "f": 1.0}
PROMPT = {"name": "sum"}
TEMPLATE = {"name": "x", "uriTemplate": "file:///{path}"}
WHOLE = Definitions(
    tools={"read_file": READ},
    prompts={"sum": PROMPT},
    resource_templates={"file:///{path}": TEMPLATE},
    instructions="Be kind.",
    resources=("a:1",),
)
MANIFEST = Manifest(
    name="files", version=1, not_before="", expires="", launch=Launch(("/x",), ("x",)), server_name="acme",
    instructions_sha256=text_digest("Be kind."), tools={"read_file": definition_digest(READ)},
    prompts={"sum": definition_digest(PROMPT)}, resource_templates={"file:///{path}": definition_digest(TEMPLATE)},
)  # fmt: skip


def test_definitions_come_back():
    assert parse_definitions(encode_definitions(WHOLE), MANIFEST) == WHOLE


def test_definitions_that_nobody_sent_are_missing_and_no_fault():
    assert parse_definitions(b"{}", MANIFEST) == Definitions()


@pytest.mark.parametrize(
    "changed",
    [
        {"tools": {"read_file": {**READ, "title": "x"}}},
        {"tools": {"other": READ}},
        {"prompts": {"sum": {"name": "sum", "x": 1}}},
        {"resource_templates": {"file:///{path}": PROMPT}},
        {"instructions": "Be unkind."},
    ],
)
def test_definition_that_is_not_pinned_is_refused(changed):
    with pytest.raises(TrustError, match="pins"):
        parse_definitions(encode_definitions(msgspec.structs.replace(WHOLE, **changed)), MANIFEST)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"tools":[]}', b'{"tools":{},"tools":{}}', b'{"more":1}'])
def test_other_text_is_refused(data):
    with pytest.raises(TrustError):
        parse_definitions(data, MANIFEST)


def test_too_much_is_refused_both_ways():
    large = Definitions(tools={f"t{n}": {"name": f"t{n}", "d": "x" * 200_000} for n in range(30)})
    with pytest.raises(TrustError, match="larger than 4 MiB"):
        encode_definitions(large)
    with pytest.raises(TrustError, match="larger than 4 MiB"):
        parse_definitions(b" " * (limits.DEFINITIONS_BYTES + 1), MANIFEST)


def seen(kind, name, digest, definition=None):
    return Observation(kind, name, "differs from the pinned definition", "", digest, definition)


def test_newest_observation_of_a_name_is_kept():
    one, two = seen("tools", "read_file", "a"), seen("tools", "read_file", "b")
    after = observe(Observed((one, seen("tools", "x", "c"))), (two,), MANIFEST)
    assert [(each.name, each.seen) for each in after.seen] == [("x", "c"), ("read_file", "b")]
    assert parse_observed(msgspec.json.encode(after)) == after


@pytest.mark.parametrize(
    ("kind", "name", "digest"),
    [
        ("tools", "read_file", definition_digest(READ)),
        ("prompts", "sum", definition_digest(PROMPT)),
        ("resourceTemplates", "file:///{path}", definition_digest(TEMPLATE)),
        ("instructions", "", text_digest("Be kind.")),
        ("serverInfo", "", "acme"),
    ],
)
def test_observation_that_is_pinned_now_is_forgotten(kind, name, digest):
    assert accepted(seen(kind, name, digest), MANIFEST)
    assert not accepted(seen(kind, name, "other"), MANIFEST)
    assert observe(Observed((seen(kind, name, digest),)), (), MANIFEST) == Observed()


def test_observation_without_a_digest_is_never_accepted():
    assert not accepted(seen("tools", "stranger", ""), MANIFEST)


def test_flood_of_observations_is_bounded():
    many = tuple(seen("tools", f"t{n}", "a", {"d": "x" * 100_000}) for n in range(1000))
    after = observe(Observed(), many, MANIFEST)
    assert len(after.seen) == limits.OBSERVED
    assert after.seen[-1].name == "t999"
    assert len(msgspec.json.encode(after)) < limits.DEFINITIONS_BYTES
    assert after.seen[-1].definition is not None
    assert after.seen[0].definition is None
