"""Accepting what has changed: what was seen takes the place of what was pinned, or it is refused with a reason."""

import datetime as dt
import hashlib

import msgspec
import pytest

from mcpguard.cli.acceptance import changes, next_version, observed, placed, updated, what_differs
from mcpguard.cli.drafting import described
from mcpguard.cli.registered import Shown
from mcpguard.errors import TrustError
from mcpguard.identity.definitions import definition_digest
from mcpguard.identity.described import Definitions, Observation
from mcpguard.identity.dsse import digest, encode_envelope, sign
from mcpguard.identity.keys import PrivateKey
from mcpguard.identity.manifest import ExecutablePin, Launch, Manifest, PackagePin, encode_manifest
from mcpguard.system.tree import tree_digest

A = "a" * 64
READ, SUM = {"name": "read_file"}, {"name": "sum"}
KNOWN = Definitions(tools={"read_file": READ}, prompts={"sum": SUM}, instructions="Hi.", resources=("a:1",))
BARE = Manifest(
    name="files", version=4, not_before="2026-01-01T00:00:00Z", expires="2027-01-01T00:00:00Z",
    launch=Launch(("/bin/x",), ("x",)), executables=(ExecutablePin("/bin/x", A, 5),),
)  # fmt: skip
MANIFEST = described(BARE, KNOWN, server_name="acme")


def shown(*seen, manifest=MANIFEST, definitions=KNOWN):
    payload = encode_manifest(manifest)
    envelope = encode_envelope(sign(payload, PrivateKey(bytes(32))))
    return Shown("files", envelope, manifest, definitions, seen, "", {})


def saw(kind, name, definition, fault="differs from the pinned definition", seen="b"):
    return Observation(kind, name, fault, A, seen, definition)


def test_what_was_seen_is_accepted_and_the_rest_stays():
    other, new = {**READ, "title": "x"}, {"name": "new"}
    manifest, definitions = observed(
        shown(
            saw("tools", "read_file", other),
            saw("tools", "new", new, "is not pinned, and looks like 'mew'"),
            saw("instructions", "", "Bye."),
            saw("serverInfo", "", {"name": "other"}, seen="other"),
        )
    )
    assert definitions.tools == {"read_file": other, "new": new}
    assert (definitions.prompts, definitions.instructions, definitions.resources) == (
        {"sum": SUM},
        "Bye.",
        ("a:1",),
    )
    assert manifest.tools == {"read_file": definition_digest(other), "new": definition_digest(new)}
    assert manifest.server_name == "other"
    assert manifest.executables == MANIFEST.executables


def test_instructions_that_are_gone_are_no_longer_pinned():
    manifest, definitions = observed(shown(saw("instructions", "", None, seen="")))
    assert (manifest.instructions_sha256, definitions.instructions) == ("", "")


@pytest.mark.parametrize("fault", ["is defined twice", "holds invisible or control characters", ""])
def test_definition_that_may_not_be_shown_is_not_accepted(fault):
    with pytest.raises(TrustError, match="cannot be accepted"):
        observed(shown(saw("tools", "read_file", READ, fault)))


@pytest.mark.parametrize("kind", ["tools", "instructions"])
def test_what_was_not_kept_is_not_accepted(kind):
    with pytest.raises(TrustError, match="was not kept") as caught:
        observed(shown(saw(kind, "read_file", None)))
    assert "--probe" in caught.value.hint


@pytest.mark.parametrize("missing", [{"tools": {}}, {"prompts": {}}, {"instructions": ""}])
def test_pins_whose_text_is_not_known_are_not_lost(missing):
    partial = msgspec.structs.replace(KNOWN, **missing)
    with pytest.raises(TrustError, match="pinned and not known here"):
        observed(shown(saw("tools", "other", READ, "is not pinned"), definitions=partial))


def test_next_version_follows_what_was_seen_and_says_what_it_replaces():
    now = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
    before = shown()
    for seen, version in ((0, 5), (4, 5), (9, 10)):
        after = next_version(before, MANIFEST, seen, now, dt.timedelta(days=1))
        assert after.version == version
        assert after.supersedes == digest(encode_manifest(MANIFEST))
        assert (after.not_before, after.expires) == ("2026-06-01T00:00:00Z", "2026-06-02T00:00:00Z")


def test_changes_are_said():
    after = msgspec.structs.replace(
        MANIFEST, executables=(ExecutablePin("/bin/x", "b" * 64, 5),), server_name="other",
        server_requests=("roots/list",), resources=("a:2",),
    )  # fmt: skip
    lines = changes(shown(), after, Definitions(tools={"read_file": READ}, prompts={"sum": SUM}))
    assert lines[:5] == [
        f"/bin/x: sha256 {A} becomes {'b' * 64}",
        "it called itself 'acme', and now 'other'",
        "asks hosts for: now also roots/list",
        "resources: no longer a:1",
        "resources: now also a:2",
    ]
    assert lines[5] == "instructions have changed"
    assert changes(shown(), MANIFEST, KNOWN) == []


@pytest.fixture
def world(tmp_path):
    program = tmp_path / "program"
    program.write_text("one")
    staged = tmp_path / "tree"
    staged.mkdir(mode=0o755)
    (staged / "index.js").write_text("1")
    tree = tree_digest(staged).sha256
    (tmp_path / "store" / "npm").mkdir(parents=True)
    staged.rename(tmp_path / "store" / "npm" / tree)
    inner = f"{hashlib.sha256(b'1').hexdigest()}"
    manifest = msgspec.structs.replace(
        MANIFEST,
        launch=Launch(
            (f"{{store}}/npm/{tree}/index.js", "--root", f"{{store}}/npm/{tree}"),
            ("npx", "x"),
            env_set={"P": f"{{store}}/npm/{tree}/lib"},
        ),
        executables=(
            ExecutablePin(str(program), hashlib.sha256(b"one").hexdigest(), 3),
            ExecutablePin(f"{{store}}/npm/{tree}/index.js", inner, 1),
        ),
        packages=(PackagePin("npm", "x", A, 1, "sha512-all", "none", tree),),
    )
    return tmp_path, program, manifest


def test_nothing_differs_while_nothing_was_changed(world):
    place, _, manifest = world
    assert what_differs("files", manifest, place / "store") == []
    assert updated(manifest) == manifest


def test_changed_program_and_changed_tree_are_said(world):
    place, program, manifest = world
    program.write_text("two")
    tree = place / "store" / "npm" / manifest.packages[0].tree
    (tree / "more.js").write_text("")
    faults = what_differs("files", manifest, place / "store")
    assert len(faults) == 2
    assert "mcpguard server trust files --probe" in faults[0]
    assert "mcpguard server pin files" in faults[1]
    assert updated(manifest).executables[0].sha256 == hashlib.sha256(b"two").hexdigest()
    assert updated(manifest).executables[1] == manifest.executables[1]


def test_missing_program_and_missing_tree_are_said(world):
    place, program, manifest = world
    program.unlink()
    assert len(what_differs("files", manifest, place / "elsewhere")) == 3
    with pytest.raises(TrustError, match="cannot be opened"):
        updated(manifest)


def test_symlink_to_another_program_is_found(world):
    place, program, manifest = world
    other = place / "other"
    other.write_text("two")
    program.unlink()
    program.symlink_to(other)
    assert "has changed" in what_differs("files", manifest, place / "store")[0]


def test_tree_takes_the_place_of_its_name(world):
    place, _, manifest = world
    tree = str(place / "store" / "npm" / manifest.packages[0].tree)
    assert placed(manifest, place / "store") == ([f"{tree}/index.js", "--root", tree], {"P": f"{tree}/lib"})
    session = msgspec.structs.replace(manifest, launch=Launch(("{store}/x", "{session_tmp}"), ("x",)))
    with pytest.raises(TrustError, match="directory of a session"):
        placed(session, place / "store")
