"""The desk's verbs: what follows is put in force and told; while the files fall short of the log, nothing is."""

import base64
import datetime as dt

import msgspec
import pytest

from mcpguard.daemon.trustdesk import TrustDesk
from mcpguard.errors import TrustError
from mcpguard.identity.succession import renewed, revoke
from mcpguard.protocol.control import Request, parse_request
from mcpguard.system.truststore import Mark, Seen, TrustStore
from tests.system.test_truststore import LATER, NOW, R1, ROOT, STRANGER, T1, T2, T3, signed


class Place:
    def __init__(self, directory, remembered=None):
        self.told = []
        self.store = TrustStore(directory)
        self.desk = TrustDesk(self.store, remembered, lambda *change: self.told.append(change), lambda: NOW)

    def put(self, document, *keys, name=""):
        return self.desk.trust_put(Request("trust-put", text=signed(document, *keys).decode(), name=name))


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "trust")


def test_nothing_is_trusted_at_first(place):
    assert place.desk.trust(Request("trust")) == {"trust": "", "revocations": "", "seen": {}}
    place.desk.check()


def test_what_is_put_comes_back_and_is_told(place):
    assert place.put(T1, ROOT)["version"] == 1
    place.put(T2, ROOT)
    text = signed(R1, ROOT).decode()
    reply = place.desk.revocations_put(
        parse_request(msgspec.json.encode({"verb": "revocations-put", "text": text}))
    )
    assert reply["version"] == 1
    shown = place.desk.trust(Request("trust"))
    assert base64.b64decode(shown["trust"]) == signed(T2, ROOT)
    assert base64.b64decode(shown["revocations"]) == signed(R1, ROOT)
    assert shown["seen"] == reply["seen"]
    assert [(event, seen.trust.version, seen.revocations.version) for event, seen in place.told] == [
        ("trust", 1, 0), ("trust", 2, 0), ("revocations", 2, 1),
    ]  # fmt: skip


def test_what_is_refused_is_not_told(place):
    place.put(T1, ROOT)
    place.told.clear()
    for what in (
        lambda: place.put(T2, STRANGER),
        lambda: place.put(T3, ROOT),
        lambda: place.put(T2, ROOT, name="force"),
        lambda: place.desk.trust_put(Request("trust-put")),
        lambda: place.desk.revocations_put(Request("revocations-put", text=signed(R1, STRANGER).decode())),
        lambda: place.desk.trust_put(Request("trust-put", text="\ud800".encode("utf-8", "replace").decode())),
    ):
        with pytest.raises(TrustError) as caught:
            what()
        assert caught.value.hint
    assert place.told == []
    assert place.store.load().trust == T1


def test_while_the_files_fall_short_of_the_log_nothing_goes_on(place, tmp_path):
    place.put(T1, ROOT)
    short = Place(tmp_path / "trust", Seen(Mark(2, "sha256:" + "a" * 64), manifests={"files": Mark(7, "x")}))
    revocations = Request("revocations-put", text=signed(R1, ROOT).decode())
    for what in (
        short.desk.check,
        lambda: short.desk.trust(Request("trust")),
        lambda: short.put(T2, ROOT),
        lambda: short.desk.revocations_put(revocations),
    ):
        with pytest.raises(TrustError, match="state went back") as caught:
            what()
        assert caught.value.hint == "mcpguard trust restore FILE"
    assert short.put(T1, ROOT, name="restore")["version"] == 1
    assert [event for event, _ in short.told] == ["trust-restored"]
    short.desk.check()
    assert short.put(T2, ROOT)["version"] == 2
    assert short.store.load().seen.manifests["files"].version == 7


def test_all_files_gone_is_not_a_first_start(tmp_path):
    place = Place(tmp_path / "absent", Seen(Mark(3, "sha256:" + "a" * 64)))
    with pytest.raises(
        TrustError, match="the audit log has seen version 3 of the trust set, the files say none"
    ):
        place.put(T1, STRANGER)
    assert not (tmp_path / "absent").exists()


def test_a_desk_without_a_log_and_with_the_clock(tmp_path):
    desk = TrustDesk(TrustStore(tmp_path / "trust"))
    far = renewed(T1, "2099-01-01T00:00:00Z")
    first = msgspec.structs.replace(far, version=1)
    assert desk.trust_put(Request("trust-put", text=signed(first, ROOT).decode()))["version"] == 1
    later = (dt.datetime.fromisoformat(LATER) + dt.timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    revocations = signed(revoke(None, expires=later), ROOT).decode()
    assert desk.revocations_put(Request("revocations-put", text=revocations))["version"] == 1
