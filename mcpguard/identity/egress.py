"""Which addresses a connection to the outside may go to.

Rule 1: an address is judged, never a name: names resolve to what their owner wants (DNS rebinding).
Rule 2: what is not plainly on the public Internet is refused, unless the network that it is in was named.
Rule 3: an address that carries another one inside (IPv4-mapped, 6to4, NAT64) is judged by the one inside, too.

Source: the special-purpose registries of IANA, as `ipaddress` has them (`is_global`); RFC 4291 2.5.5, 3056, 6052.

Not here: resolving names, and connecting to exactly the address that was judged (`daemon.dialling`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from mcpguard.errors import TrustError

LOOPBACK: Final = "loopback"
"""The network of this machine, as a person names it."""

_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_network(text: str) -> str:
    """A network as it is stored: `loopback`, or an address with the length of its prefix.

    Raises:
        TrustError: It is neither, or has bits behind its prefix.
    """
    if text == LOOPBACK:
        return text
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise TrustError(
            f"{text[:80]!a} is no network", hint="write 10.1.0.0/16, fd00::/8, 192.0.2.7/32 or loopback"
        ) from error


def reason_against(address: str, networks: Sequence[str]) -> str:
    """Why an address may not be connected to; empty if it may. `networks`: what `parse_network` gives."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address[:80]!a} is no address"
    named = [ipaddress.ip_network(each) for name in networks for each in _meant(name)]
    if any(found in network for network in named if network.version == found.version):
        return ""
    for each in (found, *_inside(found)):
        if _private(each) and not any(
            each in network for network in named if network.version == each.version
        ):
            return f"{address} is {_kind(each)}"
    return ""


def _meant(name: str) -> Sequence[str]:
    return _LOOPBACK if name == LOOPBACK else (name,)


def _inside(address: Address) -> list[Address]:
    """The addresses that one carries."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[Address] = [each for each in (address.ipv4_mapped, address.sixtofour) if each is not None]
    if any(address in network for network in _NAT64):
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def _private(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address in _NAT64[0]
    ):
        return False  # what is inside decides, whatever this version of Python says of the outside
    return not address.is_global or address.is_multicast


def _kind(address: Address) -> str:
    if address.is_unspecified:
        return "an address of this machine"
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local:
        return "a link-local address"
    return "a multicast address" if address.is_multicast else "a private or reserved address"
