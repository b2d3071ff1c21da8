"""The trust files on a real disk: nothing goes back, nothing starts from zero, a crash is not damage."""

import datetime as dt
import json
import os
import shutil
import stat
import subprocess
import sys
import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.audit import record
from mcpguard.errors import TrustError
from mcpguard.identity.dsse import Signature, add_signature, digest, encode_envelope, pae, sign
from mcpguard.identity.keys import PrivateKey, parse_public_key
from mcpguard.identity.succession import renewed, revoke, rotated, with_key
from mcpguard.identity.trust import Role, TrustSet
from mcpguard.system import truststore
from mcpguard.system.truststore import Mark, Seen, TrustStore, compare

NOW = dt.datetime(2027, 3, 1, 12, 0, tzinfo=dt.UTC)
LATER = "2028-03-01T00:00:00Z"
ROOT, OTHER, STRANGER = (PrivateKey(bytes([number]) * 32) for number in (1, 2, 3))


def public(key):
    """As it is read from a trust set."""
    return parse_public_key(key.public.line())


def first(key=ROOT):
    alone = Role(keys=(key.public.ident,))
    return TrustSet(1, LATER, {key.public.ident: public(key)}, alone, alone, {"local": alone})


def signed(document, *keys):
    payload = document.encode()
    envelope = sign(payload, keys[0])
    for key in keys[1:]:
        envelope = add_signature(
            envelope, Signature(key.public.ident, key.sign(pae(envelope.payload_type, payload)))
        )
    return encode_envelope(envelope)


T1 = first()
T2 = with_key(T1, "io.acme", public(OTHER))
T3 = renewed(T2, "2029-01-01T00:00:00Z")
R1 = revoke(None, expires=LATER, keys=[OTHER.public.ident])
R2 = revoke(R1, expires=LATER, manifests=["sha256:" + "a" * 64])


@pytest.fixture
def store(tmp_path):
    return TrustStore(tmp_path / "state" / "trust")


@pytest.fixture
def grown(store):
    """Two trust sets, two revocation files and a manifest later."""
    for trust in (T1, T2):
        store.put_trust(signed(trust, ROOT), NOW)
    for revocation in (R1, R2):
        store.put_revocations(signed(revocation, ROOT), NOW)
    store.note_manifest("files", 3, "sha256:" + "b" * 64, NOW)
    return store


def contents(store):
    return {path.name: path.read_bytes() for path in store.directory.iterdir()}


def at(**more):
    return NOW + dt.timedelta(**more)


# --- in order -------------------------------------------------------------------------------------------


def test_nothing_was_ever_trusted(store):
    assert store.load() == (None, None, Seen())
    assert store.envelopes() == (b"", b"")
    assert not store.directory.exists()
    store.directory.mkdir(parents=True, mode=0o700)
    assert store.load() == (None, None, Seen())


def test_what_is_put_is_held_byte_for_byte(grown):
    trust, revocations, seen = grown.load()
    assert (trust, revocations) == (T2, R2)
    assert grown.envelopes() == (signed(T2, ROOT), signed(R2, ROOT))
    assert seen == Seen(
        Mark(2, digest(signed(T2, ROOT))),
        Mark(2, digest(signed(R2, ROOT))),
        {"files": Mark(3, "sha256:" + "b" * 64)},
        "2027-03-01T12:00:00Z",
    )
    files = contents(grown)
    assert set(files) == {
        "trust.json", "trust.json.previous", "revocations.json", "revocations.json.previous", "seen.json",
    }  # fmt: skip
    assert files["trust.json.previous"] == signed(T1, ROOT)
    assert files["revocations.json.previous"] == signed(R1, ROOT)


def test_everything_is_for_the_owner_only(grown):
    assert stat.S_IMODE(grown.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in grown.directory.iterdir()} == {0o600}


def test_the_same_again_changes_nothing(grown):
    before = contents(grown)
    assert grown.put_trust(signed(T2, ROOT), at(hours=1)) == T2
    assert grown.put_revocations(signed(R2, ROOT), at(hours=1)) == R2
    grown.note_manifest("files", 3, "sha256:" + "b" * 64, at(hours=1))
    assert contents(grown) == before


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (signed(T1, ROOT), "version 1 of the trust set does not follow version 2"),
        (signed(renewed(T2, "2028-01-01T00:00:00Z"), STRANGER), "signatures of the current root keys"),
        (signed(renewed(T3, LATER), ROOT), "version 4 of the trust set does not follow version 2"),
        (signed(rotated(T2, ROOT.public.ident, public(OTHER)), ROOT), "signatures of its own root keys"),
        (signed(rotated(T2, ROOT.public.ident, public(STRANGER)), STRANGER), "signatures of the current root keys"),
        (signed(R1, ROOT), "the statement is a 'urn:mcpguard:revocations:v1'"),
        (b"{}", "does not say what its payload is"),
        (b"", "not strict JSON"),
    ],
)  # fmt: skip
def test_what_does_not_follow_changes_nothing(grown, data, words):
    before = contents(grown)
    with pytest.raises(TrustError, match=words):
        grown.put_trust(data, NOW)
    assert contents(grown) == before
    assert grown.load().trust == T2


def test_root_is_rotated_by_both(grown):
    new = rotated(T2, ROOT.public.ident, public(STRANGER))
    assert grown.put_trust(signed(new, ROOT, STRANGER), NOW) == new
    assert grown.load().revocations == R2  # of a key that may no longer revoke; what it took away stays away


def test_a_first_set_of_a_stranger_does_not_replace_ours(grown):
    with pytest.raises(TrustError):
        grown.put_trust(signed(first(STRANGER), STRANGER), NOW)


@pytest.mark.parametrize("version", [1, 2])
def test_revocations_only_rise(grown, version):
    again = msgspec.structs.replace(R2, version=version, manifests=frozenset())
    with pytest.raises(TrustError, match="2 was seen"):
        grown.put_revocations(signed(again, ROOT), NOW)
    assert grown.load().revocations == R2


def test_revocations_are_signed_by_their_role_and_need_a_trust_set(grown, tmp_path):
    with pytest.raises(TrustError, match="those who may revoke"):
        grown.put_revocations(signed(revoke(R2, expires=LATER), STRANGER), NOW)
    with pytest.raises(TrustError, match="no trust set that says who may revoke"):
        TrustStore(tmp_path / "empty").put_revocations(signed(R1, ROOT), NOW)


# --- manifests and the clock ----------------------------------------------------------------------------


def test_versions_of_manifests_only_rise(grown):
    with pytest.raises(TrustError, match="version 2 of the manifest of 'files' is older than 3"):
        grown.note_manifest("files", 2, "sha256:" + "b" * 64, NOW)
    with pytest.raises(
        TrustError, match="version 3 of the manifest of 'files' was seen with another content"
    ):
        grown.note_manifest("files", 3, "sha256:" + "c" * 64, NOW)
    grown.note_manifest("files", 9, "sha256:" + "c" * 64, NOW)
    grown.note_manifest("other", 1, "sha256:" + "c" * 64, NOW)
    assert {name: mark.version for name, mark in grown.load().seen.manifests.items()} == {
        "files": 9,
        "other": 1,
    }


def test_the_clock_rises_at_most_once_a_minute(grown):
    before = contents(grown)
    assert grown.note_clock(at(seconds=59)).clock == "2027-03-01T12:00:00Z"
    assert grown.note_clock(at(days=-1)).clock == "2027-03-01T12:00:00Z"
    assert contents(grown) == before
    assert grown.note_clock(at(seconds=60)).clock == "2027-03-01T12:01:00Z"
    assert grown.note_clock(NOW, signed=at(hours=1)).clock == "2027-03-01T13:00:00Z"
    assert grown.load().seen.floor == at(hours=1)


def test_a_clock_that_went_back_lets_nothing_new_in(grown):
    grown.note_clock(at(days=30))
    for what in (
        lambda: grown.put_trust(signed(T3, ROOT), NOW),
        lambda: grown.note_manifest("new", 1, "sha256:" + "c" * 64, NOW),
    ):
        with pytest.raises(TrustError, match="the clock went back"):
            what()
    grown.note_manifest("files", 3, "sha256:" + "b" * 64, NOW)  # known already
    grown.put_revocations(signed(revoke(R2, expires=LATER), ROOT), NOW)  # takes away
    assert grown.load().seen.floor == at(days=30)
    assert grown.put_trust(signed(T3, ROOT), at(days=30, minutes=-4)) == T3


def test_a_set_that_expired_stays_expired_when_the_clock_goes_back(store):
    store.put_trust(signed(T1, ROOT), NOW)
    short = revoke(None, expires=LATER)
    limited = msgspec.structs.replace(
        with_key(T1, "revocation", public(ROOT), expires="2027-03-10T00:00:00Z")
    )
    store.put_trust(signed(limited, ROOT), NOW)
    store.note_clock(at(days=20))
    with pytest.raises(TrustError, match="the role that may revoke expired"):
        store.put_revocations(signed(short, ROOT), NOW)


# --- going back -----------------------------------------------------------------------------------------


def replaced(name, data):
    def change(store):
        (store.directory / name).write_bytes(data)

    return change


def removed(*names):
    def change(store):
        for name in names:
            (store.directory / name).unlink()

    return change


def copied(source, target):
    def change(store):
        shutil.copyfile(store.directory / source, store.directory / target)

    return change


def forgot(**changes):
    def change(store):
        path = store.directory / "seen.json"
        seen = {**json.loads(path.read_bytes()), **changes}
        path.write_text(json.dumps({name: value for name, value in seen.items() if value is not None}))

    return change


MARK1 = {"version": 1, "digest": digest(signed(T1, ROOT))}
ATTACKS = [
    (copied("trust.json.previous", "trust.json"), "state went back, trust.json has version 1 and 2 was seen"),
    (copied("revocations.json.previous", "revocations.json"), "revocations.json has version 1 and 2 was seen"),
    (removed("trust.json"), "trust.json is missing, and version 2 of it was seen"),
    (removed("revocations.json"), "revocations.json is missing, and version 2 of it was seen"),
    (removed("seen.json"), "seen.json is missing while trust.json is there"),
    (removed("seen.json", "trust.json"), "seen.json is missing while revocations.json is there"),
    (removed("seen.json", "trust.json", "revocations.json"), "seen.json is missing while trust.json.previous"),
    (forgot(trust=MARK1), "state went back, seen.json knows version 1 of trust.json, not 2"),
    (forgot(trust=None), "state went back, seen.json knows version none of trust.json, not 2"),
    (forgot(revocations=None), "seen.json knows version none of revocations.json, not 2"),
    (replaced("trust.json", signed(first(STRANGER), STRANGER)), "trust.json has version 1 and 2 was seen"),
    (replaced("trust.json", signed(with_key(T1, "x", public(STRANGER)), STRANGER)), "version 2 of trust.json is not"),
    (replaced("trust.json", signed(T2, ROOT)[:-2]), "trust.json is not what was put there"),
    (replaced("trust.json", b""), "trust.json is not what was put there"),
    (replaced("revocations.json", b"\xff" * 10), "revocations.json is not what was put there"),
    (replaced("seen.json", b""), "seen.json is not what was written"),
    (replaced("seen.json", b'{"trust": {"version": -'), "seen.json is not what was written"),
    (replaced("seen.json", b"[" * 100_000), "seen.json is not what was written"),
    (forgot(clock="yesterday"), "seen.json has a clock that is none"),
    (forgot(clock="2027-03-01T12:00:00"), "seen.json has a clock that is none"),
    (forgot(unknown=1), "seen.json is not what was written"),
]  # fmt: skip


@pytest.mark.parametrize(("attack", "words"), ATTACKS)
def test_whatever_is_not_what_was_seen_is_refused_by_everything(grown, attack, words):
    attack(grown)
    before = contents(grown)
    for what in (
        grown.load,
        grown.envelopes,
        lambda: grown.put_trust(signed(T3, ROOT), NOW),
        lambda: grown.put_trust(signed(T1, ROOT), NOW),
        lambda: grown.put_revocations(signed(revoke(R2, expires=LATER), ROOT), NOW),
        lambda: grown.note_manifest("files", 4, "sha256:" + "c" * 64, NOW),
        lambda: grown.note_clock(at(days=1)),
    ):
        with pytest.raises(TrustError, match=words) as caught:
            what()
        assert "mcpguard trust restore FILE" in caught.value.hint
    assert contents(grown) == before


@pytest.mark.parametrize(("attack", "words"), ATTACKS)
def test_a_person_restores_a_copy_and_manifests_stay_where_they_were(grown, attack, words):
    remembered = grown.load().seen
    attack(grown)
    intact = contents(grown).get("revocations.json") == signed(R2, ROOT)
    grown.restore(signed(T2, ROOT), at(days=1), remembered)
    trust, revocations, seen = grown.load()
    assert trust == T2
    assert seen.manifests["files"].version == 3
    assert seen.revocations.version == 2  # in force or not, no older one comes back
    assert revocations == (R2 if intact else None)
    with pytest.raises(TrustError):
        grown.put_revocations(signed(R1, ROOT), at(days=1))
    assert grown.put_trust(signed(T3, ROOT), at(days=1)) == T3


def test_the_previous_set_can_be_restored_and_is_told_apart_by_the_audit_log(grown):
    remembered = Seen.from_record(grown.load().seen.record())
    replaced("trust.json", b"torn")(grown)
    grown.restore((grown.directory / "trust.json.previous").read_bytes(), at(hours=-1))
    trust, revocations, seen = grown.load()
    assert (trust, revocations) == (T1, R2)
    assert seen.floor == at(hours=-1)  # who restores vouches for the clock
    assert compare(remembered, seen) == (
        "state went back: the audit log has seen version 2 of the trust set, the files say 1"
    )
    assert (grown.directory / "trust.json.previous").read_bytes() == signed(T1, ROOT)  # not the torn one


def test_what_was_not_signed_by_its_own_root_is_not_restored(grown):
    before = contents(grown)
    for data in (signed(T3, STRANGER), b"", signed(R2, ROOT)):
        with pytest.raises(TrustError):
            grown.restore(data, NOW)
    assert contents(grown) == before


@pytest.mark.parametrize("name", ["trust.json", "revocations.json", "seen.json"])
def test_others_may_not_write(grown, name):
    path = grown.directory / name
    path.chmod(0o620)
    with pytest.raises(TrustError, match=r"is writable by others \(mode 0620\)") as caught:
        grown.load()
    assert caught.value.hint == f"chmod go-w {path}"
    path.chmod(0o600)
    assert grown.load().trust == T2
    grown.directory.chmod(0o720)
    with pytest.raises(TrustError, match=r"is writable by others \(mode 0720\)"):
        grown.load()


@pytest.mark.root
def test_files_of_somebody_else_are_refused(grown):
    os.chown(grown.directory / "seen.json", 65533, 65533)
    with pytest.raises(TrustError, match="belongs to uid 65533"):
        grown.load()


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("trust.json.previous"), os.mkfifo, os.mkdir])
def test_links_pipes_and_directories_are_no_trust_files(grown, make):
    (grown.directory / "trust.json").unlink()
    make(grown.directory / "trust.json")
    with pytest.raises(TrustError) as caught:
        grown.load()
    assert caught.value.hint


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrustError, match="not a directory"):
        TrustStore(tmp_path / "file" / "trust").put_trust(signed(T1, ROOT), NOW)


# --- crashes and company --------------------------------------------------------------------------------

CRASH = """
import os, pathlib, sys
import mcpguard.system.truststore as truststore
from tests.system.test_truststore import *

calls, stop = 0, int(sys.argv[2])
for name in ("open", "write", "fsync", "rename", "fchmod"):
    def counted(*args, real=getattr(os, name), **more):
        global calls
        calls += 1
        if calls == stop:
            os._exit(9)
        return real(*args, **more)
    setattr(os, name, counted)
store = TrustStore(pathlib.Path(sys.argv[1]))
store.put_trust(signed(T3, ROOT), NOW)
"""


@pytest.mark.parametrize("started", [False, True])
def test_a_process_that_dies_anywhere_leaves_the_old_set_or_the_new_one(tmp_path, started):
    states, ended, stop = set(), False, 0
    while not ended:
        stop += 1
        store = TrustStore(tmp_path / f"{stop}")
        trusts = (T1, T2) if not started else (T2, T3)
        store.put_trust(signed(T1, ROOT), NOW)
        store.put_trust(signed(T2, ROOT), NOW)
        done = subprocess.run(
            [sys.executable, "-c", CRASH, str(store.directory), str(stop)],
            timeout=60,
            check=False,
            cwd=os.getcwd(),
        )
        ended = done.returncode == 0
        held = store.load()
        states.add(held.trust.version)
        assert held.trust in (T2, T3)
        assert held.seen.trust.version == held.trust.version
        if started:  # and what comes after a crash finds the same, and ends it
            again = renewed(held.trust, "2030-01-01T00:00:00Z")
            store.put_trust(signed(again, ROOT), NOW)
            assert store.load().trust == again
            assert (store.directory / "trust.json.previous").read_bytes() == signed(held.trust, ROOT)
            assert not (store.directory / "trust.json.next").exists()
        assert trusts
    assert states == {2, 3}
    assert stop > 8


def test_two_who_change_at_once_do_not_mix(grown):
    results = []

    def put(document):
        try:
            results.append(TrustStore(grown.directory).put_trust(signed(document, ROOT), NOW))
        except TrustError as error:
            results.append(error)

    ways = [renewed(T2, f"2029-01-{day:02}T00:00:00Z") for day in range(1, 9)]
    threads = [threading.Thread(target=put, args=(way,)) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [result for result in results if isinstance(result, TrustSet)]
    assert len(won) == 1
    assert grown.load().trust == won[0]


# --- the audit chain ------------------------------------------------------------------------------------


def test_what_the_audit_log_remembers_is_read_back_through_a_record(grown):
    seen = grown.load().seen
    line = record.log("trust", **seen.record())
    body = json.loads(b"{" + line + b"}")
    assert Seen.from_record(body) == seen
    assert compare(Seen.from_record(body), seen) == ""


def test_files_that_were_put_back_all_together_are_found(grown, tmp_path):
    shutil.copytree(grown.directory, tmp_path / "copy")
    grown.put_trust(signed(T3, ROOT), NOW)
    remembered = Seen.from_record(grown.load().seen.record())
    shutil.rmtree(grown.directory)
    assert compare(remembered, grown.load().seen).startswith(
        "state went back: the audit log has seen version 3 of the trust set, the files say none"
    )
    shutil.copytree(tmp_path / "copy", grown.directory)
    assert compare(remembered, grown.load().seen) == (
        "state went back: the audit log has seen version 3 of the trust set, the files say 2"
    )


DIGEST = "sha256:" + "d" * 64


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trust": Mark(2, DIGEST)}, "version 2 of the trust set is not the one in the audit log"),
        ({"revocations": Mark(1, DIGEST)}, "version 2 of the revocation file, the files say 1"),
        ({"manifests": {}}, "version 3 of the manifest of 'files', the files say none"),
        (
            {"manifests": {"files": Mark(3, DIGEST)}},
            "version 3 of the manifest of 'files' is not the one in the audit log",
        ),
        (
            {"clock": "2027-03-01T11:59:59Z"},
            "has seen 2027-03-01T12:00:00Z, the files say 2027-03-01T11:59:59Z",
        ),
        ({"clock": ""}, "the files say never"),
        ({"trust": Mark(3, DIGEST), "manifests": {"files": Mark(4, DIGEST), "x": Mark(1, DIGEST)}}, ""),
    ],
)
def test_each_way_of_falling_short(grown, changes, words):
    seen = grown.load().seen
    said = compare(seen, msgspec.structs.replace(seen, **changes))
    assert said.endswith(words) if words else said == ""


def test_a_record_of_too_many_manifests_says_so_and_keeps_the_rest():
    seen = Seen(Mark(1, DIGEST), Mark(), {f"server-{number}": Mark(1, DIGEST) for number in range(400)}, "")
    members = seen.record()
    assert members["manifests_left_out"] == 400
    assert Seen.from_record(members).trust == seen.trust
    assert len(record.log("trust", **members)) < record.MEMBERS_BYTES


@given(st.dictionaries(
    st.sampled_from(["trust", "trust_digest", "revocations", "manifests", "clock", "x"]),
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6),
))  # fmt: skip
def test_any_record_is_read_without_an_exception(members):
    seen = Seen.from_record(members)
    assert seen.trust.version >= 0
    assert compare(seen, seen) == ""


def test_the_wall_clock_is_in_utc():
    assert truststore.wall_clock().tzinfo is dt.UTC
