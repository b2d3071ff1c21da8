"""The registered servers on disk: all of it or nothing, for the owner alone, damaged is never absent."""

import os
import stat

import msgspec
import pytest

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.definitions import definition_digest
from mcpguard.identity.described import Definitions, Observation, Observed, encode_definitions
from mcpguard.identity.manifest import Launch, Manifest
from mcpguard.system.serverstore import ServerStore, check_name

READ = {"name": "read_file"}
OTHER = {"name": "read_file", "title": "other"}
DESCRIBED = Definitions(tools={"read_file": READ})
MANIFEST = Manifest(
    name="files", version=1, not_before="", expires="", launch=Launch(("/x",), ("x",)),
    tools={"read_file": definition_digest(READ)},
)  # fmt: skip
NEWER = msgspec.structs.replace(MANIFEST, version=2, tools={"read_file": definition_digest(OTHER)})


@pytest.fixture
def store(tmp_path):
    return ServerStore(tmp_path / "servers")


def test_nothing_is_registered_before_the_first(store):
    assert store.names() == []
    assert store.manifest("files") is None
    assert store.definitions("files", MANIFEST) == Definitions()
    assert store.observed("files") == Observed()
    assert not store.directory.exists()


def test_what_is_put_is_there_and_for_the_owner_alone(store):
    store.put("files", b"envelope", MANIFEST, DESCRIBED)
    assert store.names() == ["files"]
    assert store.manifest("files") == b"envelope"
    assert store.definitions("files", MANIFEST) == DESCRIBED
    place = store.directory / "files"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {
        "manifest.json": 0o600,
        "definitions.json": 0o600,
    }


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".removed", "a/b", "../x", "-x", "a\n", "a\0", "f\u0456les", "x" * 65, "a b", "/etc"],
)
def test_name_that_could_lead_elsewhere_is_refused(store, name):
    with pytest.raises(TrustError, match="cannot be the name of a server"):
        check_name(name)
    for use in (store.manifest, store.observed, store.remove):
        with pytest.raises(TrustError):
            use(name)
    with pytest.raises(TrustError):
        store.put(name, b"", MANIFEST, DESCRIBED)


def test_definitions_that_are_not_pinned_are_not_stored(store):
    with pytest.raises(TrustError, match="pins"):
        store.put("files", b"envelope", MANIFEST, Definitions(tools={"read_file": OTHER}))
    assert store.names() == []


def test_crash_between_the_two_files_loses_nothing(store):
    store.put("files", b"one", MANIFEST, DESCRIBED)
    place = store.directory / "files"
    newer = Definitions(tools={"read_file": OTHER})
    (place / "definitions.json.next").write_bytes(encode_definitions(newer))
    (place / "definitions.json.next").chmod(0o600)
    assert store.definitions("files", MANIFEST) == DESCRIBED  # before the manifest was written
    (place / "manifest.json").write_bytes(b"two")
    assert store.definitions("files", NEWER) == newer  # and after
    store.put("files", b"two", NEWER, newer)
    assert store.definitions("files", NEWER) == newer
    assert sorted(path.name for path in place.iterdir()) == ["definitions.json", "manifest.json"]


def damage(path, how):
    if how == "missing":
        path.unlink()
    elif how == "link":
        path.rename(path.with_name("elsewhere"))
        path.symlink_to(path.with_name("elsewhere"))
    elif how == "writable":
        path.chmod(0o622)
    elif how == "pipe":
        path.unlink()
        os.mkfifo(path)
    else:
        path.write_bytes(b"x" * (limits.DEFINITIONS_BYTES + 2))


@pytest.mark.parametrize("how", ["missing", "link", "writable", "pipe", "large"])
def test_damaged_manifest_is_an_error_and_not_absent(store, how):
    store.put("files", b"envelope", MANIFEST, DESCRIBED)
    damage(store.directory / "files" / "manifest.json", how)
    with pytest.raises(TrustError) as caught:
        store.manifest("files")
    assert caught.value.hint


@pytest.mark.parametrize("how", ["missing", "link", "pipe", "large"])
def test_damaged_definitions_are_an_error_that_says_how_to_go_on(store, how):
    store.put("files", b"envelope", MANIFEST, DESCRIBED)
    damage(store.directory / "files" / "definitions.json", how)
    with pytest.raises(TrustError):
        store.definitions("files", MANIFEST)
    assert store.manifest("files") == b"envelope"


def test_definitions_of_another_manifest_are_damage(store):
    store.put("files", b"envelope", MANIFEST, DESCRIBED)
    with pytest.raises(TrustError) as caught:
        store.definitions("files", NEWER)
    assert "read_file" in caught.value.message
    assert caught.value.hint == "mcpguard server trust files --probe"


def test_directory_that_is_a_link_or_open_to_others_is_refused(store, tmp_path):
    store.put("files", b"envelope", MANIFEST, DESCRIBED)
    place = store.directory / "files"
    place.chmod(0o722)
    with pytest.raises(TrustError, match="writable by others"):
        store.manifest("files")
    place.chmod(0o700)
    place.rename(tmp_path / "moved")
    place.symlink_to(tmp_path / "moved")
    with pytest.raises(TrustError, match="cannot be read"):
        store.manifest("files")
    store.directory.chmod(0o777)
    with pytest.raises(TrustError, match="writable by others"):
        store.names()


SEEN = Observation("tools", "read_file", "differs", "", definition_digest(OTHER), OTHER)


def test_what_differed_is_kept_until_it_is_accepted(store):
    store.put("files", b"one", MANIFEST, DESCRIBED)
    assert store.note("files", (SEEN,), MANIFEST) == Observed((SEEN,))
    assert store.observed("files") == Observed((SEEN,))
    store.put("files", b"two", NEWER, Definitions())
    assert store.observed("files") == Observed()


def test_what_differed_and_is_as_pinned_again_is_forgotten(store):
    store.put("files", b"one", MANIFEST, DESCRIBED)
    store.note("files", (SEEN,), MANIFEST)
    again = Observation("tools", "read_file", "is the pinned definition again", "", definition_digest(READ))
    assert store.note("files", (again,), MANIFEST) == Observed()


def test_damaged_observations_are_told_and_replaced_by_the_next(store):
    store.put("files", b"one", MANIFEST, DESCRIBED)
    place = store.directory / "files" / "observed.json"
    place.write_bytes(b"{")
    place.chmod(0o600)
    with pytest.raises(TrustError) as caught:
        store.observed("files")
    assert caught.value.hint == f"remove {place}"
    assert store.note("files", (SEEN,), MANIFEST) == store.observed("files") == Observed((SEEN,))


def test_observation_of_a_removed_server_is_dropped(store):
    store.put("files", b"one", MANIFEST, DESCRIBED)
    store.remove("files")
    store.note("files", (SEEN,), MANIFEST)
    assert store.names() == []


def test_removed_server_is_kept_aside_once(store):
    for envelope in (b"one", b"two"):
        store.put("files", envelope, MANIFEST, DESCRIBED)
        kept = store.remove("files")
        assert (kept / "manifest.json").read_bytes() == envelope
        assert store.names() == []
        assert store.manifest("files") is None
    with pytest.raises(TrustError, match="no server is registered"):
        store.remove("files")


def test_store_that_cannot_be_written_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    store = ServerStore(tmp_path / "file" / "servers")
    with pytest.raises(TrustError):
        store.put("files", b"one", MANIFEST, DESCRIBED)
