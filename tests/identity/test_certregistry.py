"""The registry as a value: who is authorised, what a renewal and a revocation change."""

import msgspec
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID as Use

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity import certregistry
from mcpguard.identity.certificates import Span, read
from mcpguard.identity.certregistry import PINNED, Authority, Imported, Issued, Registry
from mcpguard.identity.pathcheck import utc
from mcpguard.identity.revocationlist import Entry, make
from mcpguard.identity.revocationlist import read as read_list
from mcpguard.identity.subjectnames import names
from tests.identity.x509made import DAY, NOW, PERMITTED, Maker

OURS, CORP = Maker(), Maker("corp", permitted=("dns:corp.example",))
AUTHORITY = Authority("ours", "example", OURS.root, (OURS.between,), PERMITTED)


def entry(name="alice", *, servers=(), how=certregistry.ISSUED, maker=OURS, **leaf):
    leaf = leaf or {"uris": [f"mcpguard://example/{name}"]}
    return Issued(name, maker.leaf(**leaf)[1], how, servers)


def registry(*entries, imported=()):
    return Registry(authority=AUTHORITY, entries=entries, imported=imported)


def client(found, der, now=NOW, **more):
    return certregistry.client(certregistry.known(found, **more), der, now)


def server(found, der, name="localhost", bound="files", now=NOW):
    return certregistry.server(certregistry.known(found), der, name, bound, now)


def test_there_and_back():
    found = registry(entry(servers=("files",)), imported=(Imported("corp", CORP.root, (CORP.between,)),))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Registry) == found


def test_only_what_is_in_the_registry_counts():
    alice = entry(servers=("files",))
    found = client(registry(alice), alice.der)
    assert (found.name, found.servers) == ("alice", ("files",))
    assert found.principals == {"cert:mcpguard://example/alice"}
    assert found.evidence["until"] == utc(NOW + DAY)
    with pytest.raises(TrustError, match="is not in the registry, although our own authority has signed it"):
        client(registry(), alice.der)


def test_one_that_names_nobody():
    _, der = OURS.bent([x509.RFC822Name("a@example")], eku=[Use.CLIENT_AUTH])
    with pytest.raises(TrustError, match="names nobody"):
        client(registry(Issued("mail", der)), der)


def test_revoked_tells_when_and_why_even_when_it_has_ended():
    alice = entry()
    found = certregistry.revoked(
        registry(alice, entry("bob")), [read(alice.der).fingerprint], NOW, "superseded"
    )
    for now in (NOW, NOW + 9 * DAY):
        with pytest.raises(TrustError, match=rf"revoked at {utc(NOW)} \(superseded\)"):
            client(found, alice.der, now)
    again = certregistry.revoked(found, [read(alice.der).fingerprint], NOW + 5, "key-compromise")
    assert again == found  # final: neither when nor why changes
    assert client(found, found.entries[1].der).name == "bob"


def test_an_imported_authority_vouches_for_what_it_was_given():
    _, inside = CORP.leaf(["a.corp.example"])
    narrow = (Imported("corp", CORP.root, (CORP.between,), ("dns:a.corp.example",)),)
    assert client(registry(imported=narrow), inside).principals == {"cert:a.corp.example"}
    _, other = CORP.leaf(["b.corp.example"])
    with pytest.raises(TrustError, match=r"authority 'corp' may not vouch for 'b.corp.example'"):
        client(registry(imported=narrow), other)
    nothing = (Imported("corp", CORP.root, (CORP.between,)),)
    with pytest.raises(TrustError, match="may not vouch"):
        client(registry(imported=nothing), inside)
    _, ours = Maker("corp", permitted=("dns:corp.example",)).leaf(["a.corp.example"])
    with pytest.raises(TrustError, match="leads to no authority"):
        client(registry(imported=narrow), ours)


def test_lists_of_an_imported_authority():
    _, der = CORP.leaf(["a.corp.example"])
    imported = (Imported("corp", CORP.root, (CORP.between,), ("dns:corp.example",), "/list"),)
    made = make(CORP.between, CORP.key, 1, Span(NOW, NOW + DAY), [Entry(read(der).serial, NOW - 9)])
    lists = {"corp": read_list(made, CORP.between, NOW)}
    with pytest.raises(TrustError, match=f"revoked at {utc(NOW - 9)} by its authority 'corp'"):
        client(registry(imported=imported), der, lists=lists)
    _, good = CORP.leaf(["b.corp.example"])
    assert client(registry(imported=imported), good, lists=lists)
    with pytest.raises(TrustError, match="it burned"):
        client(registry(imported=imported), good, lists={"corp": TrustError("it burned")})


def test_a_pin_is_a_servers_and_names_no_client():
    """Whoever pins a stranger's certificate does not let its holder in under whatever names it has."""
    _, der = CORP.leaf(uris=["mcpguard://example/alice"], uses=("server", "client"))
    pinned = registry(
        Issued("files", der, PINNED, ("files",)), imported=(Imported("corp", CORP.root, (CORP.between,)),)
    )
    assert server(pinned, der).name == "files"
    with pytest.raises(TrustError):
        client(pinned, der)


def test_where_something_is_pinned_nothing_else_counts():
    mine, other = (entry("guard", dns=["localhost"], uses=("server",)) for _ in range(2))
    bound = msgspec.structs.replace(mine, servers=("files",))
    found = registry(bound, other)
    assert server(found, mine.der)
    with pytest.raises(TrustError, match=r"not one that is pinned for it \(its key is sha256//"):
        server(found, other.der)
    assert server(found, other.der, bound="notes")
    gone = certregistry.revoked(found, [read(mine.der).fingerprint], NOW, "superseded")
    for der in (mine.der, other.der):
        with pytest.raises(TrustError, match="not one that is pinned"):
            server(gone, der)


def test_a_renewal_adds_and_both_count():
    first, second = entry(), entry()
    found = certregistry.added(registry(first), second, NOW)
    assert [each.renewed for each in found.entries] == [read(second.der).fingerprint, ""]
    assert found.current("alice") == second
    for each in (first, second):
        assert client(found, each.der).name == "alice"


def test_due_at_two_thirds():
    kept = msgspec.structs.replace(entry(), kept=True)
    elsewhere = entry("bob")
    found = registry(kept, elsewhere)
    at = read(kept.der).renewal
    assert at == NOW + DAY * 2 / 3
    assert certregistry.due(found, at - 1) == ()
    assert certregistry.due(found, at) == (kept,)
    revoked = certregistry.revoked(found, [read(kept.der).fingerprint], NOW, "superseded")
    assert certregistry.due(revoked, at) == ()


def test_what_is_long_past_is_gone_and_there_is_a_bound(monkeypatch):
    old = entry(ends=NOW + 60, dns=["localhost"])
    recent = entry("bob", ends=NOW + 62, dns=["localhost"])
    found = certregistry.added(
        registry(old, recent), entry("carl"), NOW + 61 + limits.CERTIFICATE_KEPT_SECONDS
    )
    assert [each.name for each in found.entries] == ["bob", "carl"]
    monkeypatch.setattr(limits, "CERTIFICATES", 2)
    with pytest.raises(TrustError, match="takes no more"):
        certregistry.added(found, entry("dora"), NOW)


def test_the_list_tells_of_what_would_still_hold():
    alice, bob = entry(), entry("bob", ends=NOW + 60, dns=["localhost"])
    both = [read(each.der).fingerprint for each in (alice, bob)]
    found = certregistry.revoked(registry(alice, bob), both, NOW, "superseded")
    issuer = read(OURS.between)
    assert [one.serial for one in certregistry.listed(found, issuer, NOW)] == [
        read(e.der).serial for e in (alice, bob)
    ]
    assert [one.serial for one in certregistry.listed(found, issuer, NOW + 61)] == [read(alice.der).serial]
    assert certregistry.listed(found, read(CORP.between), NOW) == []


def test_by_name_or_fingerprint():
    alice, bob = entry(), entry("bob")
    found = registry(alice, bob)
    print_ = read(bob.der).fingerprint
    assert found.named("alice") == (alice,)
    for text in (print_, print_[:8], print_.upper(), ":".join(print_[n : n + 2] for n in range(0, 64, 2))):
        assert found.named(text) == (bob,)
    for text in ("carl", print_[:5], "", "zz" * 32):
        with pytest.raises(TrustError, match="certificates are called"):
            found.named(text)


def test_who_may_be_issued_what():
    found = registry()
    assert certregistry.check_new(found, names(["localhost"]), DAY) == AUTHORITY
    for given, seconds, why in [
        (names(["evil.test"]), DAY, "may not vouch for 'evil.test'"),
        (names(uris=["spiffe://other/a"]), DAY, "may not vouch"),
        (names(["localhost"]), 59, "holds from 60 s to 31 days"),
        (names(["localhost"]), 32 * DAY, "holds from"),
    ]:
        with pytest.raises(TrustError, match=why):
            certregistry.check_new(found, given, seconds)
    with pytest.raises(TrustError, match="no certificate authority"):
        certregistry.check_new(Registry(), names(["localhost"]), DAY)


def test_the_same_trust():
    imported = Imported("corp", CORP.root, (CORP.between,))
    before = certregistry.known(registry(imported=(imported,)))
    numbered = certregistry.known(registry(entry(), imported=(msgspec.structs.replace(imported, number=9),)))
    assert certregistry.same_trust(before, numbered)
    for other in (
        certregistry.known(registry()),
        certregistry.known(registry(imported=(msgspec.structs.replace(imported, permitted=("dns:a",)),))),
        certregistry.known(before.registry, {"corp": TrustError("x")}),
        certregistry.known(before.registry, {}, (CORP.anchor,)),
    ):
        assert not certregistry.same_trust(before, other)
