"""Paths: what leads to an authority and what does not; openssl is asked the same."""

import ipaddress
import subprocess

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID as Use
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcpguard.errors import TrustError
from mcpguard.identity.certificates import pem, read
from mcpguard.identity.pathcheck import Anchor, check, utc
from mcpguard.identity.subjectnames import outside
from tests.identity.test_subjectnames import HOST
from tests.identity.x509made import DAY, NOW, Maker

OURS, THEIRS = Maker(), Maker("theirs")


def judged(der, use="client", now=NOW, name="", anchors=(OURS.anchor,)):
    """Empty if it counts, else the sentence."""
    try:
        found = check(read(der), anchors, use, now, name)
    except TrustError as error:
        return error.sentence() if error.hint else "no hint"
    assert found in anchors
    return ""


def openssl(tmp_path, der, use="client", now=NOW, name="", maker=OURS):
    (tmp_path / "root.pem").write_bytes(pem([maker.root]))
    (tmp_path / "between.pem").write_bytes(pem([maker.between]))
    words = ["openssl", "verify", "-attime", str(int(now)), "-CAfile", tmp_path / "root.pem", "-untrusted",
             tmp_path / "between.pem", "-purpose", f"ssl{use}"]  # fmt: skip
    if name:
        words += ["-verify_ip" if name[0].isdigit() else "-verify_hostname", name]
    return subprocess.run(words, input=pem([der]), capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("made", "asked", "why"),
    [
        ({"dns": ["localhost"]}, {}, ""),
        ({"dns": ["db.example"], "uses": ("server",)}, {"use": "server", "name": "db.example"}, ""),
        ({"ips": ["127.0.0.1"], "uses": ("server",)}, {"use": "server", "name": "127.0.0.1"}, ""),
        ({"dns": ["localhost"], "uses": ("server",)}, {}, "not for a client"),
        ({"dns": ["localhost"]}, {"use": "server", "name": "localhost"}, "not for a server"),
        ({"dns": ["localhost"]}, {"now": NOW + DAY + 1}, f"expired at {utc(NOW + DAY)}"),
        ({"dns": ["localhost"]}, {"now": NOW - 301}, f"not valid before {utc(NOW - 300)}"),
        ({"dns": ["localhost"]}, {"now": NOW + 365 * DAY}, "expired"),
        ({"dns": ["localhost"]}, {"now": NOW - 365 * DAY}, "not valid before"),
        ({"dns": ["db.example"], "uses": ("server",)}, {"use": "server", "name": "a.example"}, "not for 'a.example'"),
        ({"ips": ["127.0.0.1"], "uses": ("server",)}, {"use": "server", "name": "127.0.0.2"}, "not for '127.0.0.2'"),
        ({"dns": ["evil.test"]}, {}, "name constraints"),
        ({"ips": ["10.0.0.1"]}, {}, "name constraint"),
        ({"ips": ["::1"]}, {}, "name constraint"),
    ],
)  # fmt: skip
def test_we_and_openssl_agree(tmp_path, made, asked, why):
    _, leaf = OURS.leaf(**made)
    told = judged(leaf, **asked)
    assert (why in told) if why else told == ""
    assert openssl(tmp_path, leaf, **asked) is (told == "")


def test_uris_are_held_to_their_permission_by_us(tmp_path):
    """openssl lets these through: the intermediate does not constrain URIs (see *Decided* in `certificates`)."""
    _, good = OURS.leaf(uris=["mcpguard://example/a"])
    assert judged(good) == ""
    for uri in ("mcpguard://other/a", "spiffe://other/a", "spiffe://a.example/a"):
        _, leaf = OURS.leaf(uris=[uri])
        assert "may not vouch for" in judged(leaf)
        assert openssl(tmp_path, leaf)


def test_another_authority_and_its_namesake():
    namesake = Maker()
    _, leaf = THEIRS.leaf(["localhost"])
    assert "leads to no authority that counts here" in judged(leaf)
    assert judged(leaf, anchors=(OURS.anchor, THEIRS.anchor)) == ""
    _, leaf = namesake.leaf(["localhost"])
    assert "leads to no authority" in judged(leaf)
    assert "leads to no authority" in judged(leaf, anchors=())


def test_a_leaf_issues_nothing():
    """Basic constraints and path length: neither a leaf nor an authority below the intermediate leads anywhere."""
    key, leaf = OURS.bent([x509.DNSName("localhost")], eku=[Use.CLIENT_AUTH])
    _, below = OURS.bent([x509.DNSName("localhost")], eku=[Use.CLIENT_AUTH], issuer=leaf, issuer_key=key)
    anchor = Anchor(OURS.root, (OURS.between, leaf), OURS.permitted, "ours")
    assert "leads to no authority" in judged(below, anchors=(anchor,))
    key, lower = OURS.bent(ca=0)
    _, below = OURS.bent([x509.DNSName("localhost")], eku=[Use.CLIENT_AUTH], issuer=lower, issuer_key=key)
    anchor = Anchor(OURS.root, (OURS.between, lower), OURS.permitted, "ours")
    assert "leads to no authority" in judged(below, anchors=(anchor,))


def test_wildcards_stand_for_what_they_are_used_for_and_no_more():
    permitted = ("dns:corp.example",)
    corp = Maker("corp", permitted=("dns:example",))
    anchor = Anchor(corp.root, (corp.between,), permitted, "corp")
    for wild, name, why in [
        ("*.corp.example", "a.corp.example", ""),
        ("*.example", "a.example", "may not vouch for 'a.example'"),
        ("*.corp.example", "a.b.corp.example", "not for 'a.b.corp.example'"),
    ]:
        _, leaf = corp.bent([x509.DNSName(wild)], eku=[Use.SERVER_AUTH])
        told = judged(leaf, use="server", name=name, anchors=(anchor,))
        assert (why in told) if why else told == ""


def test_a_spiffe_server_is_known_by_its_name():
    domain = Maker("example.org", permitted=("uri:example.org",))
    anchor = Anchor(domain.root, (domain.between,), ("uri:example.org",), "spire", only_uris=True)
    _, leaf = domain.leaf(uris=["spiffe://example.org/web"], uses=("server", "client"))
    assert judged(leaf, "server", name="spiffe://example.org/web", anchors=(anchor,)) == ""
    assert "not for 'spiffe://example.org/db'" in judged(
        leaf, "server", name="spiffe://example.org/db", anchors=(anchor,)
    )
    _, leaf = domain.leaf(uris=["spiffe://example.com/web"], uses=("server", "client"))
    assert "may not vouch" in judged(leaf, anchors=(anchor,))


def test_constraints_of_others_that_the_library_does_not_know_refuse(tmp_path):
    key, between = OURS.bent(
        issuer=OURS.root, issuer_key=OURS.root_key, ca=0,
        more=[(x509.NameConstraints([x509.UniformResourceIdentifier("example")], None), True)],
    )  # fmt: skip
    _, leaf = OURS.bent(
        [x509.UniformResourceIdentifier("spiffe://example/a")],
        eku=[Use.CLIENT_AUTH],
        issuer=between,
        issuer_key=key,
    )
    anchor = Anchor(OURS.root, (between,), ("uri:example",), "theirs")
    assert "unsupported name constraint" in judged(leaf, anchors=(anchor,))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(HOST, HOST.map(lambda host: f"{host}.example"), st.just("localhost")),
    st.one_of(
        st.ip_addresses(v=4), st.integers(0, 2**24 - 1).map(lambda n: ipaddress.IPv4Address((127 << 24) + n))
    ),
)
def test_any_names_get_one_answer_from_us_from_openssl_and_from_the_permission(tmp_path, host, ip):
    _, leaf = OURS.leaf([host], [str(ip)])
    permitted = outside(read(leaf).names, OURS.permitted) == ()
    assert (judged(leaf) == "") is permitted
    assert openssl(tmp_path, leaf) is permitted
