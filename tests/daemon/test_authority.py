"""The authority at work: each change recorded before it is made, and what it refuses."""

import pytest

from mcpguard import limits
from mcpguard.daemon.authority import Plan, permissions, sorted_chain
from mcpguard.daemon.privatekeys import Sealed, load_key, load_pem_key, new_key, seal
from mcpguard.errors import JournalError, TrustError
from mcpguard.identity import revocationlist
from mcpguard.identity.certificates import SERVER, fingerprint, make_request, pem, read, read_request
from mcpguard.identity.certregistry import Imported, SvidSource
from mcpguard.system.certstore import ROOT
from tests.daemon.certplace import CHEAP, DAY, DOMAIN, NOW, PERMITTED, Place, openssl, print_of
from tests.identity.x509made import Maker


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "certificates")


def verify(place, tmp_path, der, *more, now=None):
    authority = place.store.load().authority
    (tmp_path / "root.pem").write_bytes(
        pem([authority.root]) + b"".join(map(revocationlist.pem, authority.revocations))
    )
    (tmp_path / "between.pem").write_bytes(pem(authority.between))
    (tmp_path / "leaf.pem").write_bytes(pem([der]))
    return openssl(
        "verify", "-attime", int(now or place.now), "-x509_strict", "-CAfile", tmp_path / "root.pem", "-untrusted",
        tmp_path / "between.pem", *more, tmp_path / "leaf.pem",
    )  # fmt: skip


def test_openssl_agrees_with_what_is_issued_renewed_and_revoked(place, tmp_path):
    first = place.issue("alice")
    assert verify(place, tmp_path, first.der, "-purpose", "sslclient", "-crl_check").returncode == 0
    assert verify(place, tmp_path, first.der, "-purpose", "sslserver").returncode != 0
    second = place.authority.renew("alice", "me")
    for each in (first, second):
        assert verify(place, tmp_path, each.der, "-crl_check").returncode == 0
    place.authority.revoke(print_of(first), "key-compromise", "me")
    said = verify(place, tmp_path, first.der, "-crl_check")
    assert (said.returncode, "certificate revoked" in said.stderr) == (2, True)
    assert verify(place, tmp_path, second.der, "-crl_check").returncode == 0
    expired = verify(place, tmp_path, second.der, now=NOW + DAY + 1)
    assert (expired.returncode, "expired" in expired.stderr) == (2, True)


def test_everything_is_recorded_before_it_is_made(place):
    """Where nothing can be recorded nothing changes, whatever is asked for."""
    place.issue("alice")
    corp = Maker("corp")
    place.authority.trust(Imported("corp", corp.root), "me")
    place.authority.pin("files", corp.leaf(["localhost"], uses=(SERVER,))[1], "me")
    before, keys = place.store.load(), sorted(place.store.directory.iterdir())

    def full(*_args, **_members):
        raise JournalError("the disk is full")

    place.authority._recorded = full
    root = load_key(place.store.key(ROOT, "word"))
    authority = place.authority
    for what in (
        lambda: place.issue("bob"),
        lambda: authority.renew("alice", "me"),
        lambda: authority.revoke("alice", "superseded", "me"),
        authority.refresh_lists,
        lambda: authority.renew_intermediate(root, DAY, "me"),
        lambda: authority.remove_root_key("me"),
        lambda: authority.trust(Imported("more", Maker("more").root), "me"),
        lambda: authority.forget("corp", "me"),
        lambda: authority.follow(SvidSource("spire", socket="unix:/nowhere"), "me"),
        lambda: authority.pin("notes", corp.leaf(["localhost"], uses=(SERVER,))[1], "me"),
        lambda: authority.unpin("files", "me"),
    ):
        with pytest.raises(JournalError):
            what()
        assert place.store.load() == before
        assert sorted(place.store.directory.iterdir()) == keys


def test_records_name_what_and_who_and_no_secret(place):
    entry = place.issue("alice", servers=("files",))
    event, members = place.records[-1]
    assert event == "issue"
    assert members == {
        "by": "me", "name": "alice", "certificate": print_of(entry), "serial": read(entry.der).serial,
        "names": [f"mcpguard://{DOMAIN}/alice"], "uses": ["client"], "until": "2026-11-30T12:00:00Z",
        "servers": ["files"],
    }  # fmt: skip
    place.authority.revoke("alice", "superseded", "you")
    assert place.records[-1] == (
        "revoke", {"by": "you", "name": "alice", "certificates": [print_of(entry)], "reason": "superseded"},
    )  # fmt: skip
    secret = place.store.key(fingerprint(place.store.load().authority.between[0]))
    assert secret.hex() not in str(place.records)
    assert str(secret) not in str(place.records)
    assert "'word'" not in str(place.records)


def test_what_is_refused(place):
    place.issue("alice")
    outside = place.issue("bob", public=new_key().public_key())
    for what, why in [
        (place.make, "there is a certificate authority already"),
        (lambda: place.issue("alice"), "there is a certificate called 'alice'"),
        (lambda: place.issue("eve", uris=["mcpguard://elsewhere/eve"]), "may not vouch"),
        (lambda: place.issue("eve", dns=["evil.test"]), "may not vouch"),
        (lambda: place.issue("eve", seconds=1), "holds from 60"),
        (lambda: place.authority.renew("carl", "me"), "no certificate of ours called"),
        (lambda: place.authority.renew("bob", "me"), "the key of 'bob' is not here"),
        (lambda: place.authority.revoke("carl", "superseded", "me"), "no certificates are called"),
        (lambda: place.authority.forget("corp", "me"), "nothing imported"),
        (lambda: place.authority.unpin("files", "me"), "nothing is pinned"),
        (
            lambda: place.authority.trust(Imported("ours", Maker().root), "me"),
            "something called 'ours' already",
        ),
        (
            lambda: place.authority.trust(Imported("x", Maker().root, (), (f"uri:{DOMAIN}",)), "me"),
            "may not speak for",
        ),
        (
            lambda: place.authority.trust(Imported("x", place.store.load().authority.root), "me"),
            "may not speak for",
        ),
        (
            lambda: place.authority.renew_intermediate(new_key(), DAY, "me"),
            "not that of this authority's root",
        ),
        (lambda: place.authority.pin("files", outside.der, "me"), "in the registry already"),
    ]:
        before = place.store.load()
        with pytest.raises(TrustError, match=why) as told:
            what()
        assert told.value.hint
        assert place.store.load() == before
    place.authority.revoke("alice", "superseded", "me")
    with pytest.raises(TrustError, match="revoked already"):
        place.authority.revoke("alice", "superseded", "me")
    assert place.issue("alice")  # the name is free again


def test_a_request_gives_a_key_and_no_names(place):
    key = new_key()
    entry = place.issue("alice", public=read_request(make_request("root", key)))
    assert read(entry.der).pin == read(place.issue("b", public=key.public_key()).der).pin
    assert (entry.kept, read(entry.der).names.all) == (False, (f"mcpguard://{DOMAIN}/alice",))
    assert place.authority.renew("alice", "me", new_key().public_key()).kept is False


def test_the_root_goes_away_and_comes_back(place, tmp_path):
    text = place.authority.export_root("word")
    assert b"ENCRYPTED PRIVATE KEY" in text
    (tmp_path / "root.key").write_bytes(text)
    assert openssl("pkey", "-in", tmp_path / "root.key", "-passin", "pass:word", "-noout").returncode == 0
    with pytest.raises(TrustError, match="does not open"):
        place.authority.export_root("other")
    place.authority.remove_root_key("me")
    assert not place.store.has_key(ROOT)
    assert place.issue("alice")  # the intermediate signs without it
    with pytest.raises(TrustError, match="is not here"):
        place.authority.export_root("word")
    with pytest.raises(TrustError, match="is not here"):
        place.authority.remove_root_key("me")
    alice = place.issue("bob")
    place.authority.renew_intermediate(load_pem_key(text, "word"), 30 * DAY, "me")
    assert verify(place, tmp_path, alice.der, "-crl_check").returncode == 0
    later = place.issue("carl")
    assert verify(place, tmp_path, later.der, "-crl_check").returncode == 0
    assert read(later.der).issuer != read(alice.der).issuer
    place.authority.revoke("bob", "superseded", "me")
    assert (
        verify(place, tmp_path, alice.der, "-crl_check").returncode == 2
    )  # by a list of the older intermediate


def test_an_intermediate_that_has_ended_issues_nothing(place):
    place.now = read(place.store.load().authority.between[0]).ends - limits.LEAF_LEAST_SECONDS + 1
    with pytest.raises(TrustError, match="the intermediate expired") as told:
        place.issue("alice")
    assert told.value.hint == "mcpguard ca renew --intermediate"


def test_a_locked_authority(tmp_path):
    place = Place(tmp_path / "certificates", lock=True)
    alice = place.issue("alice")
    for path in place.store.directory.glob("*.key"):
        assert b'"nonce"' in path.read_bytes()  # sealed, every one
    again = Place(tmp_path / "certificates", made=False)
    for what in (
        lambda: again.issue("bob"),
        lambda: again.authority.renew("alice", "me"),
        lambda: again.keeper.own("alice"),
    ):
        with pytest.raises(TrustError, match="are locked") as told:
            what()
        assert told.value.hint == "mcpguard ca unlock"
    found, why = again.authority.revoke("alice", "superseded", "me")
    assert ([print_of(each) for each in found], "are locked" in why) == ([print_of(alice)], True)
    again.keeper.changed()
    with pytest.raises(TrustError, match="was revoked"):
        again.keeper.identify(alice.der)
    again.store.unlock("word")
    assert again.authority.refresh_lists().number == 2
    listed = revocationlist.read(
        again.store.load().authority.revocations[0], again.store.load().authority.between[0], NOW
    )
    assert listed.revoked == {read(alice.der).serial: NOW}


def test_an_authority_of_others_is_adopted(tmp_path):
    place = Place(tmp_path / "certificates", made=False)
    corp = Maker("corp", permitted=("dns:corp.example", f"uri:{DOMAIN}"))
    plan = Plan("corp", DOMAIN, permissions(["dns:corp.example"], DOMAIN))
    for chain, key, why in [
        ([corp.root, corp.between], new_key(), "not that of an intermediate"),
        ([corp.root, corp.between], corp.root_key, "not that of an intermediate"),
        ([corp.between], corp.key, "0 root certificates"),
        ([corp.root, Maker().root], corp.key, "2 root certificates"),
        ([corp.root, corp.leaf(["corp.example"])[1]], corp.key, "may not issue"),
    ]:
        with pytest.raises(TrustError, match=why):
            place.authority.adopt(plan, chain, key, Sealed(), "me")
    place.authority.adopt(plan, [corp.between, corp.root], corp.key, Sealed(), "me")
    place.keeper.changed()
    alice = place.issue("alice", dns=["a.corp.example"])
    assert place.keeper.identify(alice.der).principals == {
        "cert:a.corp.example",
        f"cert:mcpguard://{DOMAIN}/alice",
    }
    assert verify(place, tmp_path, alice.der, "-crl_check").returncode == 0
    assert not place.store.has_key(ROOT)


def test_chains_are_sorted():
    corp = Maker("corp")
    assert sorted_chain([corp.between, corp.root]) == (corp.root, (corp.between,))


def test_permissions_are_checked_and_have_the_own_domain():
    assert permissions(PERMITTED, DOMAIN) == (*PERMITTED, f"uri:{DOMAIN}")
    for given, domain in ((["dns:*"], DOMAIN), ([], "NOT A DOMAIN")):
        with pytest.raises(TrustError):
            permissions(given, domain)


def test_an_empty_passphrase_makes_nothing(tmp_path):
    with pytest.raises(TrustError, match="empty passphrase"):
        seal("", CHEAP, root=True, lock=False)
