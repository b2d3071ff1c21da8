"""Names in certificates: one spelling each, and what a permission covers."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity import subjectnames
from mcpguard.identity.subjectnames import Names, address, dns_name, names, outside, permission, uri

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
HOST = (
    st.lists(LABEL, min_size=1, max_size=4)
    .map(".".join)
    .filter(lambda host: not host.rpartition(".")[2].isdigit())
)
PART = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,10}", fullmatch=True)
URI = st.builds(
    lambda scheme, host, parts: f"{scheme}://{host}" + "".join(f"/{part}" for part in parts),
    st.sampled_from(["mcpguard", "spiffe"]), HOST, st.lists(PART, max_size=3),
)  # fmt: skip
ADDRESS = st.ip_addresses().map(str)


@given(HOST)
def test_host_names_stand_for_themselves(host):
    assert dns_name(host) == host


@given(st.text(max_size=60))
def test_any_text_is_a_name_or_is_refused_with_a_sentence(text):
    for check in (dns_name, address, uri, permission):
        try:
            found = check(text)
        except TrustError as error:
            told = error
        else:
            assert check(found) == found  # one spelling
            assert found.isascii()
            continue
        assert told.hint
        assert told.sentence().isprintable()


@given(URI)
def test_uris_stand_for_themselves(text):
    assert uri(text) == text
    assert text.startswith(f"{text.partition(':')[0]}://{subjectnames.host_of(text)}")


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "a.", ".a", "A.example", "*.example", "a..b", "-a", "a-", "a_b", "a b", "a\n", "a\0b", "münchen.example",
        "10.0.0.1", "1.2.3", "x" * 64, ".".join(["a" * 63] * 5), "a.example:443", "a.example/b", "xn--\u0430",
    ],
)  # fmt: skip
def test_what_is_no_dns_name(text):
    with pytest.raises(TrustError, match="is not a DNS name"):
        dns_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://a/b", "spiffe://A/b", "spiffe:///b", "spiffe://a//b", "spiffe://a/b/", "spiffe://a/../b", "spiffe://a/.",
        "spiffe://u@a/b", "spiffe://a:1/b", "spiffe://a/b?c", "spiffe://a/b#c", "spiffe://a/%62", "SPIFFE://a/b",
        "mcpguard://a/b\n", "mcpguard://a/b c", "spiffe://a/" + "x" * limits.CERTIFICATE_URI_CHARS,
    ],
)  # fmt: skip
def test_what_is_no_uri(text):
    with pytest.raises(TrustError):
        uri(text)


@pytest.mark.parametrize(
    "text", ["", "10.0.0", "010.0.0.1", "fe80::1%eth0", "10.0.0.0/8", "localhost", "::1 "]
)
def test_what_is_no_address(text):
    with pytest.raises(TrustError, match="is not an IP address"):
        address(text)


def test_addresses_have_one_spelling():
    assert names(ips=["0:0::1", "::1"]).ips == ("::1",)
    assert names(ips=["FD00::A"]).ips == ("fd00::a",)


def test_principals():
    found = names(["db.example"], ["10.0.0.7"], ["mcpguard://example/alice"])
    assert found.principals == {"cert:db.example", "cert:10.0.0.7", "cert:mcpguard://example/alice"}
    assert names(uris=["spiffe://example/web"]).principals == {"spiffe://example/web"}
    assert names(["b.example", "a.example", "b.example"]).dns == ("a.example", "b.example")


def test_one_uri_beside_spiffe_and_not_too_many_names():
    with pytest.raises(TrustError, match="no other URI"):
        names(uris=["spiffe://a/b", "mcpguard://a/b"])
    with pytest.raises(TrustError, match="at most 32 names"):
        names(dns=[f"h{n}.example" for n in range(33)])


@given(HOST, st.lists(LABEL, max_size=2), HOST)
def test_a_dns_permission_covers_the_host_and_what_is_below_it(host, below, other):
    inside = Names(dns=(".".join([*below, host]),))
    assert outside(inside, [f"dns:{host}"]) == ()
    covered = other == host or other.endswith("." + host)
    assert (outside(Names(dns=(other,)), [f"dns:{host}"]) == ()) is covered
    assert outside(Names(dns=("x" + host,)), [f"dns:{host}"]) != ()  # notexample is not below example


@given(st.ip_addresses(), st.integers(0, 32))
def test_an_ip_permission_covers_its_network(ip, bits):
    network = ipaddress.ip_network(f"{ip}/{bits}", strict=False)
    assert outside(Names(ips=(str(ip),)), [permission(f"ip:{network}")]) == ()
    assert outside(Names(ips=(str(ip),)), []) == (str(ip),)


def test_a_uri_permission_covers_exactly_its_host():
    found = Names(uris=("mcpguard://example/a",))
    assert outside(found, ["uri:example"]) == ()
    for other in ("uri:ample", "uri:a.example", "dns:example", "uri:example.org"):
        assert outside(found, [other]) == found.uris


@pytest.mark.parametrize(
    "text", ["dns", "dns:", "dns:*.a", "ip:10.0.0.1/8", "ip:x", "uri:A", "uri:a/b", "mail:a", "localhost"]
)
def test_what_is_no_permission(text):
    with pytest.raises(TrustError):
        permission(text)
