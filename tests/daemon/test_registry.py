"""Which manifest describes a command, and whether it may be believed: abuse cases 67 and 77 among them."""

import base64
import datetime as dt
import logging

import msgspec
import pytest

from mcpguard.daemon.registry import Registry
from mcpguard.errors import TrustError
from mcpguard.gate.commands import Finding
from mcpguard.identity.definitions import definition_digest
from mcpguard.identity.described import Definitions, encode_definitions
from mcpguard.identity.dsse import encode_envelope, sign
from mcpguard.identity.keys import PrivateKey
from mcpguard.identity.manifest import ExecutablePin, Launch, Manifest, encode_manifest
from mcpguard.identity.trust import LOCAL, Revocations, Role, TrustSet
from mcpguard.system.serverstore import ServerStore
from mcpguard.system.truststore import TrustStore

MINE, ACME, STRANGER = (PrivateKey(bytes([number]) * 32) for number in (1, 2, 3))
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
READ = {"name": "read_file"}
OTHER = {"name": "read_file", "title": "other"}
DESCRIBED = encode_definitions(Definitions(tools={"read_file": READ})).decode()
FILES = Manifest(
    name="files", version=1, not_before="2026-01-01T00:00:00Z", expires="2027-01-01T00:00:00Z",
    launch=Launch(("/usr/bin/files",), ("files", "--root", "/x")),
    executables=(ExecutablePin("/usr/bin/files", "a" * 64, 1),),
    tools={"read_file": definition_digest(READ)},
)  # fmt: skip


def signed(manifest=FILES, key=MINE, **changes):
    return encode_envelope(sign(encode_manifest(msgspec.structs.replace(manifest, **changes)), key)).decode()


class World:
    """A registry with a trust set of two publishers, and a clock that is set."""

    def __init__(self, tmp_path):
        self.now = NOW
        self.store = ServerStore(tmp_path / "servers")
        self.trust = TrustStore(tmp_path / "trust")
        self.fault = ""
        mine, acme = (
            Role(keys=(MINE.public.ident,), threshold=1),
            Role(keys=(ACME.public.ident,), threshold=1, prefix="io.acme/"),
        )
        trust = TrustSet(
            version=1, expires="2030-01-01T00:00:00Z",
            keys={key.public.ident: key.public for key in (MINE, ACME)},
            root=mine, revocation=mine, publishers={LOCAL: mine, "io.acme": acme},
        )  # fmt: skip
        self.trust.put_trust(encode_envelope(sign(trust.encode(), MINE)), NOW)
        self.registry = Registry(self.store, self.trust, lambda: self.now, self.check)

    def check(self):
        if self.fault:
            raise TrustError(self.fault)

    def put(self, name="files", text=None, definitions=DESCRIBED):
        return self.registry.put(name, signed() if text is None else text, definitions)

    def revoke(self, **entries):
        listed = Revocations(version=1, expires="2026-07-01T00:00:00Z", **entries)
        self.trust.put_revocations(encode_envelope(sign(listed.encode(), MINE)), NOW)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


ARGV = FILES.launch.host_argv


def test_registered_server_is_found_by_its_name_and_by_its_command(world):
    reply = world.put()
    assert reply["version"] == 1
    for found in (
        world.registry.find("files"),
        world.registry.find("x", ARGV),
        world.registry.find("files", ARGV),
    ):
        assert found.name == "files"
        assert found.manifest == FILES
        assert found.pins == FILES.pins()
        assert found.record() == {
            "manifest": reply["digest"], "manifest_name": "files", "version": 1,
            "keys": [MINE.public.ident], "publisher": LOCAL, "pin": "P1",
        }  # fmt: skip
    assert world.registry.pins("files") == FILES.pins()
    assert world.registry.record("files")["version"] == 1
    assert world.registry.fault("files") == ""


def test_command_and_name_that_nobody_registered_are_none(world):
    world.put()
    assert world.registry.find("other") is None
    assert world.registry.find("other", ("node", "x.js")) is None
    assert world.registry.find("no name at all/..", ("node",)) is None


@pytest.mark.parametrize(
    "argv", [("sh", "-c", "evil"), ("files",), (*ARGV, "--more"), ("files", "--root", "/y")]
)
def test_67_name_of_a_registered_server_with_another_command_is_refused(world, argv):
    world.put()
    with pytest.raises(TrustError, match="another command") as caught:
        world.registry.find("files", argv)
    assert "mcpguard server show files" in caught.value.hint


def test_77_older_manifest_with_a_valid_signature_is_refused(world):
    world.put()
    old = world.store.manifest("files")
    world.put(text=signed(version=2))
    with pytest.raises(TrustError, match="version 1"):
        world.put(text=old.decode())
    (world.store.directory / "files" / "manifest.json").write_bytes(old)
    with pytest.raises(TrustError, match="version 1"):
        world.registry.find("files", ARGV)


def test_removing_and_adding_again_is_no_way_back(world):
    world.put(text=signed(version=2))
    world.registry.remove("files")
    with pytest.raises(TrustError, match="version 1"):
        world.put(text=signed(version=1))
    world.put(text=signed(version=2))


def test_same_version_with_another_content_is_refused(world):
    world.put()
    with pytest.raises(TrustError):
        world.put(text=signed(server_name="other"))


def test_stranger_signs_nothing(world):
    with pytest.raises(TrustError, match="nobody who is trusted"):
        world.put(text=signed(key=STRANGER))
    assert world.store.names() == []


def test_publisher_signs_its_own_names_only(world):
    published = signed(name="io.acme/files", key=ACME)
    world.put("acme-files", published)
    assert world.registry.find("acme-files").verified.publisher == "io.acme"
    with pytest.raises(TrustError):
        world.put("files", signed(key=ACME))


def test_plain_name_is_registered_under_itself_only(world):
    with pytest.raises(TrustError, match="is that of 'files'"):
        world.put("shell")


def test_manifest_that_is_moved_under_another_name_is_refused(world):
    world.put()
    (world.store.directory / "files").rename(world.store.directory / "shell")
    with pytest.raises(TrustError, match="is that of 'files'"):
        world.registry.find("shell")


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (dt.datetime(2027, 1, 1, tzinfo=dt.UTC), "expired"),
        (dt.datetime(2025, 12, 31, tzinfo=dt.UTC), ""),
    ],
)
def test_validity_is_looked_at_again_at_each_start(world, now, words):
    world.put()
    world.now = now
    if words:
        with pytest.raises(TrustError, match=words):
            world.registry.find("files")
    else:  # the clock was turned back: what was seen to be valid stays so, the floor counts
        assert world.registry.find("files") is not None


def test_revocation_holds_at_the_next_start(world):
    reply = world.put()
    world.revoke(manifests=frozenset({reply["digest"]}))
    assert "revoked" in world.registry.fault("files")
    with pytest.raises(TrustError, match="revoked"):
        world.registry.find("files", ARGV)


def test_revocations_out_of_date_are_told(world):
    world.put()
    world.revoke()
    world.now = dt.datetime(2026, 8, 1, tzinfo=dt.UTC)
    assert world.registry.find("files").record()["revocations_stale"] is True


def test_nothing_is_believed_while_trust_is_in_doubt(world):
    world.put()
    world.fault = "state went back"
    for use in (lambda: world.registry.find("files"), world.put):
        with pytest.raises(TrustError, match="state went back"):
            use()


def test_nothing_is_believed_before_anybody_is_trusted(tmp_path):
    registry = Registry(ServerStore(tmp_path / "servers"), TrustStore(tmp_path / "trust"), lambda: NOW)
    with pytest.raises(TrustError, match="no keys are trusted"):
        registry.put("files", signed(), "{}")


@pytest.mark.parametrize("damage", [b"", b"{}", b"x" * 300_000])
def test_damaged_manifest_is_no_unregistered_server(world, damage):
    world.put()
    (world.store.directory / "files" / "manifest.json").write_bytes(damage)
    for name, argv in (("files", ()), ("files", ARGV), ("any", ARGV), ("any", ("node", "other.js"))):
        with pytest.raises(TrustError):
            world.registry.find(name, argv)
    assert world.registry.described()[0]["problem"]


def test_flipped_bit_is_refused(world):
    world.put()
    place = world.store.directory / "files" / "manifest.json"
    envelope = msgspec.json.decode(place.read_bytes())
    payload = base64.b64decode(envelope["payload"]).replace(b'"size":1', b'"size":2')
    envelope["payload"] = base64.b64encode(payload).decode()
    place.write_bytes(msgspec.json.encode(envelope))
    with pytest.raises(TrustError, match="nobody who is trusted"):
        world.registry.find("files", ARGV)


def test_one_command_is_registered_once(world):
    world.put()
    with pytest.raises(TrustError, match="registered as 'files' already"):
        world.put("two", signed(name="two"))


def test_one_command_under_two_names_runs_under_the_name_that_is_given(world):
    world.put()
    other = msgspec.structs.replace(FILES, name="two", launch=Launch(("/usr/bin/files",), ("two",)))
    world.put("two", signed(other))
    moved = msgspec.structs.replace(other, version=2, launch=FILES.launch)
    (world.store.directory / "two" / "manifest.json").write_text(signed(moved))
    assert world.registry.find("two", ARGV).name == "two"
    with pytest.raises(TrustError, match="registered as 'files' and as 'two'"):
        world.registry.find("any", ARGV)


def test_definitions_that_are_not_pinned_are_refused(world):
    with pytest.raises(TrustError, match="pins"):
        world.put(definitions=encode_definitions(Definitions(tools={"read_file": OTHER})).decode())
    world.put(definitions="")
    assert world.registry.show("files")["definitions"]["tools"] == {}


def finding(definition, fault="differs from the pinned definition", kind="tools", name="read_file"):
    return Finding(kind, name, fault, FILES.tools["read_file"], definition_digest(definition), definition)


def test_findings_are_kept_and_withdraw_at_the_next_start(world):
    world.put()
    world.registry.noticed("files", [finding(OTHER), finding("Be unkind.", kind="instructions", name="")])
    shown = world.registry.show("files")
    assert shown["observed"][0]["definition"] == OTHER
    assert shown["observed_count"] == 2
    assert world.registry.find("files").withdrawn == {("tools", "read_file"): definition_digest(OTHER)}
    world.registry.noticed("files", [finding(READ, "is the pinned definition again")])
    assert world.registry.find("files").withdrawn == {}


def test_findings_of_a_server_that_is_gone_are_dropped(world):
    world.registry.noticed("files", [finding(OTHER)])
    assert world.store.names() == []


def test_findings_that_cannot_be_kept_are_logged_and_end_nothing(world, caplog):
    world.put()
    (world.store.directory / "files").chmod(0o777)
    with caplog.at_level(logging.WARNING):
        world.registry.noticed("files", [finding(OTHER)])
    assert "cannot be kept" in caplog.text


def test_servers_are_described_and_shown(world):
    world.put()
    [line] = world.registry.described()
    assert line["problem"] == ""
    assert (line["name"], line["version"], line["pin"], line["tools"]) == ("files", 1, "P1", 1)
    assert line["command"] == list(ARGV)
    shown = world.registry.show("files")
    assert base64.b64decode(shown["manifest"]) == world.store.manifest("files")
    assert shown["definitions"]["tools"] == {"read_file": READ}
    with pytest.raises(TrustError, match="no server"):
        world.registry.show("other")


def test_damaged_definitions_do_not_hide_the_server(world):
    world.put()
    (world.store.directory / "files" / "definitions.json").write_text("{")
    shown = world.registry.show("files")
    assert "--probe" in shown["definitions_problem"]
    assert shown["definitions"]["tools"] == {}


def test_removed_server_can_be_put_back_from_where_it_is_kept(world):
    world.put()
    kept = world.registry.remove("files")["kept"]
    assert world.registry.find("files", ARGV) is None
    with open(f"{kept}/manifest.json") as file:
        world.put(text=file.read())
    assert world.registry.find("files", ARGV) is not None
