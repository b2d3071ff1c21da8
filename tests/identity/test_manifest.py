"""Manifests: what is written is read again, and everything else is refused with the place where it is wrong."""

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.definitions import DefinitionPins
from mcpguard.identity.manifest import (
    PREDICATE,
    ExecutablePin,
    Launch,
    Manifest,
    PackagePin,
    encode_manifest,
    parse_manifest,
)
from mcpguard.identity.statement import STATEMENT

A, B, C = "a" * 64, "b" * 64, "c" * 64
TREE = "{store}/npm/" + C

LOCAL = Manifest(
    name="files",
    version=1,
    not_before="2026-01-01T00:00:00Z",
    expires="2027-01-01T00:00:00Z",
    launch=Launch(
        argv=("/usr/bin/node", "/srv/files.js", "--format", "{name}"),
        host_argv=("node", "/srv/files.js", "--format", "{name}"),
        env_set={"MODE": "quiet"},
        env_pass=("EDITOR",),
        secret={"TOKEN": "keyring:acme"},
    ),
    executables=(ExecutablePin("/usr/bin/node", A, 10), ExecutablePin("/srv/files.js", B, 20)),
    server_name="acme-files",
    instructions_sha256=C,
    capabilities=("tools",),
    server_requests=("roots/list",),
    tools={"read_file": A, "write_file": B},
    risks={"write_file": "write"},
    prompts={"summarise": C},
    resource_templates={"file:///{path}": A},
    resources=("file:///**",),
)
PACKED = msgspec.structs.replace(
    LOCAL,
    name="io.github.acme/files",
    version=12,
    supersedes="sha256:" + C,
    launch=Launch(
        argv=(f"{TREE}/bin/files", "--cache", "{session_tmp}/x"),
        host_argv=("npx", "-y", "@acme/files@1.4.2"),
        cwd="{session_tmp}",
        env_set={"NODE_PATH": TREE + "/lib"},
    ),
    executables=(ExecutablePin("/usr/bin/node", A, 10),),
    packages=(PackagePin("npm", "package-lock.json@3", B, 143, "sha512-all", "none", C),),
)


def test_manifest_comes_back_as_it_was_written():
    for manifest in (LOCAL, PACKED):
        assert parse_manifest(encode_manifest(manifest)) == manifest


def test_payload_is_an_in_toto_statement_that_others_can_read():
    value = json.loads(encode_manifest(PACKED))
    assert value["_type"] == STATEMENT
    assert value["predicateType"] == PREDICATE == "urn:mcpguard:server-manifest:v1"
    assert value["subject"] == [
        {"name": "/usr/bin/node", "digest": {"sha256": A}},
        {"name": "tree:npm", "digest": {"sha256": C}},
    ]
    predicate = value["predicate"]
    assert predicate["crit"] == ["launch", "tools"]
    assert predicate["launch"]["env"] == {"set": {"NODE_PATH": TREE + "/lib"}, "pass": [], "secret": {}}
    assert predicate["tools"][1] == {"name": "write_file", "definition_sha256": B, "risk": "write"}
    assert predicate["packages"][0]["tree"] == {"algo": "mcpguard-tree-v1", "sha256": C}


def test_pins_are_what_the_gate_compares_with():
    assert LOCAL.pins() == DefinitionPins(
        tools={"read_file": A, "write_file": B},
        prompts={"summarise": C},
        templates={"file:///{path}": A},
        instructions=C,
        server_name="acme-files",
    )


def test_namespace_is_what_the_publisher_owns():
    assert (LOCAL.namespace, PACKED.namespace) == ("local", "io.github.acme")


def altered(manifest, *path, value=None, remove=False):
    """The payload with one member replaced, or removed."""
    tree = json.loads(encode_manifest(manifest))
    place = tree
    for key in path[:-1]:
        place = place[key]
    if remove:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(tree).encode()


P = "predicate"
LONG = "x" * (limits.MANIFEST_WORD_CHARS + 1)
REFUSED = [
    ((P, "name"), "", "predicate.name"),
    ((P, "name"), "../x", "predicate.name"),
    ((P, "name"), "a/../b", "predicate.name"),
    ((P, "name"), "a/b/c", "predicate.name"),
    ((P, "name"), "files\n", "predicate.name"),
    ((P, "name"), "f\u0456les", "predicate.name"),
    ((P, "name"), "x" * 201, "predicate.name"),
    ((P, "version"), 0, "predicate.version"),
    ((P, "version"), True, "predicate.version"),
    ((P, "version"), 1.0, "predicate.version"),
    ((P, "version"), "1", "predicate.version"),
    ((P, "version"), 2**60, "predicate.version"),
    ((P, "not_before"), "yesterday", "predicate.not_before"),
    ((P, "expires"), "2027-01-01 00:00:00Z", "predicate.expires"),
    ((P, "expires"), "2026-01-01T00:00:00Z", "not after"),
    ((P, "expires"), 5, "predicate.expires"),
    ((P, "supersedes"), "sha256:zz", "predicate.supersedes"),
    ((P, "crit"), ["launch"], '"tools" is not listed'),
    ((P, "crit"), ["tools"], '"launch" is not listed'),
    ((P, "crit"), ["launch", "tools", "sandbox"], "demands 'sandbox'"),
    ((P, "crit"), "launch", "predicate.crit"),
    ((P, "launch"), [], "predicate.launch"),
    ((P, "launch", "argv"), [], "predicate.launch.argv"),
    ((P, "launch", "argv"), ["node", "x"], "nothing vouches for 'node'"),
    ((P, "launch", "argv"), ["/usr/bin/other"], "nothing vouches"),
    ((P, "launch", "argv"), ["/usr/bin/node", "a\0b"], "predicate.launch.argv"),
    ((P, "launch", "argv"), ["/usr/bin/node", LONG], "predicate.launch.argv"),
    ((P, "launch", "argv"), ["/usr/bin/node"] * 257, "predicate.launch.argv"),
    ((P, "launch", "argv"), ["/usr/bin/node", "{arg:root}"], "'{arg:root}' cannot be used"),
    ((P, "launch", "argv"), ["/usr/bin/node", "{store}/x"], "no tree of it holds '{store}/x'"),
    ((P, "launch", "host_argv"), [], "predicate.launch.host_argv"),
    ((P, "launch", "host_argv"), [1], "predicate.launch.host_argv"),
    ((P, "launch", "args"), {}, "predicate.launch"),
    ((P, "launch", "cwd"), "relative", "predicate.launch.cwd"),
    ((P, "launch", "cwd"), "/x/{session_tmp}", "predicate.launch.cwd"),
    ((P, "launch", "env", "set"), {"A=B": "1"}, "predicate.launch.env.set"),
    ((P, "launch", "env", "set"), {"A": "\0"}, "predicate.launch.env.set"),
    ((P, "launch", "env", "pass"), ["EDITOR "], "predicate.launch.env.pass"),
    ((P, "launch", "env", "pass"), ["MODE"], "MODE is there twice"),
    ((P, "launch", "env", "pass"), ["X", "X"], "X is there twice"),
    ((P, "launch", "env", "more"), [], "predicate.launch.env"),
    ((P, "executables", 0, "sha256"), "A" * 64, "predicate.executables[0].sha256"),
    ((P, "executables", 0, "sha256"), "c" * 64, "subject"),
    ((P, "executables", 0, "path"), "usr/bin/node", "neither absolute"),
    ((P, "executables", 1, "path"), "/usr/bin/node", "same path"),
    ((P, "executables", 0, "size"), -1, "predicate.executables"),
    ((P, "tools", 1, "name"), "read_file", "'read_file' is there twice"),
    ((P, "tools", 0, "definition_sha256"), "", "predicate.tools"),
    ((P, "tools", 0, "rate"), "1/min", "predicate.tools"),
    ((P, "tools"), [{"name": f"t{i}", "definition_sha256": A} for i in range(257)], "predicate.tools"),
    ((P, "prompts", 0, "name"), 7, "predicate.prompts"),
    ((P, "protocol", "instructions_sha256"), "x", "predicate.protocol.instructions_sha256"),
    (("subject",), [], "subject"),
    (("subject", 0, "digest"), {"sha256": C}, "subject"),
    (("_type",), "https://in-toto.io/Statement/v0.1", "of type"),
    (("predicateType",), PREDICATE + "2", PREDICATE),
    ((P,), [], "predicate"),
]


@pytest.mark.parametrize(("path", "value", "words"), REFUSED)
def test_wrong_member_is_refused_by_its_place(path, value, words):
    with pytest.raises(TrustError) as caught:
        parse_manifest(altered(LOCAL, *path, value=value))
    assert words in caught.value.message
    assert caught.value.hint
    assert "\n" not in caught.value.sentence()


@pytest.mark.parametrize("member", ["name", "version", "not_before", "expires", "crit", "launch", "tools"])
def test_member_that_must_be_there_is_missed(member):
    with pytest.raises(TrustError, match=member):
        parse_manifest(altered(LOCAL, P, member, remove=True))


def test_package_that_is_not_whole_is_refused():
    for path, value in (
        (("tree", "algo"), "md5"),
        (("ecosystem",), "cargo"),
        (("lock", "sha256"), "x"),
        (("extra",), 1),
    ):
        with pytest.raises(TrustError, match="packages"):
            parse_manifest(altered(PACKED, P, "packages", 0, *path, value=value))


@pytest.mark.parametrize(
    "word",
    [
        "{store}",
        "{store}/npm",
        "{store}/npm/" + A + "/bin/files",
        "{store}/pypi/" + C + "/bin/files",
        TREE + "0/bin/files",
        TREE + "/../" + A + "/bin/files",
        TREE + "/bin/files:{store}/npm/" + A,
    ],
)
def test_place_in_the_store_outside_of_the_tree_is_not_vouched_for(word):
    for path, value in (
        (("launch", "argv"), [word]),
        (("launch", "argv"), ["/usr/bin/node", word]),
        (("launch", "env", "set"), {"NODE_PATH": word}),
    ):
        with pytest.raises(TrustError, match="no tree of it holds"):
            parse_manifest(altered(PACKED, P, *path, value=value))


def test_duplicate_keys_and_trailing_bytes_are_refused():
    payload = encode_manifest(LOCAL)
    twice = payload.replace(b'"version":1', b'"version":1,"version":2', 1)
    for data in (twice, payload + b"{}", b"", b"[]", payload[:-1]):
        with pytest.raises(TrustError):
            parse_manifest(data)


def test_unknown_member_is_named_unless_it_is_critical():
    payload = altered(LOCAL, P, "sandbox", value={"net": "none"})
    assert parse_manifest(payload).ignored == ("sandbox",)


def test_nothing_is_encoded_that_could_not_be_read():
    with pytest.raises(TrustError, match="version"):
        encode_manifest(msgspec.structs.replace(LOCAL, version=0))
    twice = msgspec.structs.replace(LOCAL, executables=(*LOCAL.executables, LOCAL.executables[0]))
    with pytest.raises(TrustError, match="same path"):
        encode_manifest(twice)


def test_pin_level_says_what_was_done_and_no_more():
    assert LOCAL.pin == "P1"
    runner = msgspec.structs.replace(LOCAL.launch, host_argv=("npx", "files"))
    assert msgspec.structs.replace(LOCAL, launch=runner).pin == "P0"
    assert PACKED.pin == "P2"
    assert PACKED.pin_level(immutable=True) == "P2"
    assert PACKED.pin_level(guarded=True) == "P3"
    assert PACKED.pin_level(guarded=True, immutable=True) == "P4"
    assert msgspec.structs.replace(PACKED, executables=()).pin_level(guarded=True) == "P2"


@pytest.mark.parametrize(("member", "value"), [("install_scripts", "all"), ("integrity", "sha512-some")])
def test_tree_with_scripts_or_without_every_digest_is_not_pinned_by_its_lock(member, value):
    loose = msgspec.structs.replace(PACKED.packages[0], **{member: value})
    assert msgspec.structs.replace(PACKED, packages=(loose,)).pin == "P1"


def test_package_beside_a_command_of_another_place_pins_nothing():
    for argv, level in (
        (("/usr/bin/node", "/elsewhere.js"), "P1"),
        (("/usr/bin/node", "--require=/elsewhere.js", f"{TREE}/index.js"), "P1"),
        (("/usr/bin/node", "-r", "/elsewhere.js", f"{TREE}/index.js"), "P1"),
        (("/usr/bin/node", f"{TREE}/index.js", "--root", "/x"), "P2"),
        (("/usr/bin/node", "--no-warnings", f"{TREE}/index.js"), "P2"),
        (("/usr/bin/python3", "-I", "-B", f"{TREE}/run.py"), "P2"),
    ):
        launch = msgspec.structs.replace(PACKED.launch, argv=argv)
        assert msgspec.structs.replace(PACKED, launch=launch).pin == level, argv


@given(st.binary(max_size=200))
def test_any_bytes_give_a_manifest_or_a_sentence(data):
    with pytest.raises(TrustError):
        parse_manifest(data)


@given(st.integers(0, 2000), st.binary(min_size=1, max_size=3))
def test_damaged_payload_gives_a_manifest_or_a_sentence(place, piece):
    payload = encode_manifest(PACKED)
    place %= len(payload)
    with contextlib.suppress(TrustError):
        parse_manifest(payload[:place] + piece + payload[place + len(piece) :])
