"""Which addresses may be connected to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.errors import TrustError
from mcpguard.identity.egress import parse_network, reason_against


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("127.0.0.1", "loopback"), ("127.255.255.254", "loopback"), ("::1", "loopback"), ("0.0.0.0", "this machine"),
        ("::", "this machine"), ("10.0.0.1", "private"), ("172.16.0.1", "private"), ("192.168.1.1", "private"),
        ("100.64.0.1", "private"), ("169.254.169.254", "link-local"), ("fe80::1", "link-local"), ("fd00::1", "private"),
        ("fe80::1%eth0", "link-local"), ("224.0.0.1", "multicast"), ("ff02::1", "multicast"), ("240.0.0.1", "private"),
        ("255.255.255.255", "private"), ("192.0.2.1", "private"), ("198.18.0.1", "private"),
        ("::ffff:127.0.0.1", "loopback"), ("::ffff:169.254.169.254", "link-local"), ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::", "loopback"), ("2001:db8::1", "private"), ("text", "no address"), ("", "no address"),
        ("1.2.3", "no address"), ("0177.0.0.1", "no address"),
    ],
)  # fmt: skip
def test_address_that_is_not_public_is_refused(address: str, word: str) -> None:
    assert word in reason_against(address, ())


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f:cb07::1", "64:ff9b::5db8:d70e", "::ffff:8.8.8.8"]
)
def test_public_address_is_good(address: str) -> None:
    assert reason_against(address, ()) == ""


@pytest.mark.parametrize(
    ("address", "networks", "good"),
    [
        ("127.0.0.1", ("loopback",), True),
        ("::1", ("loopback",), True),
        ("::ffff:127.0.0.1", ("loopback",), True),
        ("10.0.0.1", ("loopback",), False),
        ("10.1.2.3", ("10.1.0.0/16",), True),
        ("10.2.2.3", ("10.1.0.0/16",), False),
        ("::ffff:10.1.2.3", ("10.1.0.0/16",), True),
        ("fd00::5", ("10.1.0.0/16", "fd00::/8"), True),
        ("169.254.169.254", ("169.254.169.254/32",), True),
    ],
)
def test_named_network_is_good_and_no_other(address: str, networks: tuple[str, ...], good: bool) -> None:
    assert (reason_against(address, networks) == "") is good


def test_networks_are_stored_in_one_spelling() -> None:
    assert [parse_network(each) for each in ("loopback", "10.0.0.0/8", "192.0.2.7", "FD00::/8")] == [
        "loopback", "10.0.0.0/8", "192.0.2.7/32", "fd00::/8",
    ]  # fmt: skip
    for wrong in ("10.1.1.1/8", "private", "", "10.0.0.0/33", "::/129"):
        with pytest.raises(TrustError, match="is no network"):
            parse_network(wrong)


@given(st.ip_addresses())
def test_naming_an_address_allows_it(address: object) -> None:
    assert reason_against(str(address), (parse_network(str(address)),)) == ""
