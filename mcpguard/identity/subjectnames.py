"""The names in a certificate: DNS names, addresses and URIs; which are accepted, and which lie within a permission.

Rule 1. One spelling of a name: DNS names and hosts of URIs in lower case, addresses as `ipaddress` writes them. Any
other is refused, because two spellings of one name are two principals.
Rule 2. No wildcards, no internationalised text (its ASCII form is fine), no user, port, query or fragment in a URI.
Rule 3. A permission `dns:HOST` covers HOST and what is below it, `ip:NETWORK` addresses in it, `uri:HOST` URIs of
exactly that host, which SPIFFE calls the trust domain.

Source: RFC 5280 4.2.1.6 and 4.2.1.10; RFC 1123 2.1; SPIFFE-ID 2 and X509-SVID 2 (one URI in a certificate).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import TrustError

SPIFFE: Final = "spiffe://"
"""How names of SPIFFE begin; such a name is a principal as it stands."""
MCPGUARD: Final = "mcpguard://"
"""How our own names begin."""
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_URI: Final = re.compile(r"(mcpguard|spiffe)://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)*)")
_DNS_CHARS: Final = 253


class Names(msgspec.Struct, frozen=True, omit_defaults=True):
    """The names of one certificate, each sorted and without doubles.

    Attributes:
        dns: DNS names.
        ips: Addresses.
        uris: URIs, `mcpguard://HOST/PATH` or `spiffe://HOST/PATH`.
    """

    dns: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Every name, as people write it."""
        return (*self.uris, *self.dns, *self.ips)

    @property
    def principals(self) -> frozenset[str]:
        """What policy may name: `spiffe://...` as it stands, `cert:NAME` for all others."""
        return frozenset(name if name.startswith(SPIFFE) else f"cert:{name}" for name in self.all)


def names(dns: Iterable[str] = (), ips: Iterable[str] = (), uris: Iterable[str] = ()) -> Names:
    """Names that were each checked.

    Raises:
        TrustError: One is not a name; there are too many; or there is more than one URI beside or of SPIFFE.
    """
    found = Names(
        tuple(sorted({dns_name(each) for each in dns})),
        tuple(sorted({address(each) for each in ips})),
        tuple(sorted({uri(each) for each in uris})),
    )
    if len(found.all) > limits.CERTIFICATE_NAMES:
        raise TrustError(
            f"a certificate has at most {limits.CERTIFICATE_NAMES} names", hint="issue another for the rest"
        )
    if len(found.uris) > 1 and any(each.startswith(SPIFFE) for each in found.uris):
        raise TrustError("a certificate with a SPIFFE name has no other URI", hint="issue one for each name")
    return found


def dns_name(text: str) -> str:
    """A DNS name.

    Raises:
        TrustError: It is none, or not in its one spelling.
    """
    last = text.rpartition(".")[2]
    if len(text) > _DNS_CHARS or not _DNS.fullmatch(text) or last.isdigit():
        raise TrustError(
            f"{text[:80]!a} is not a DNS name", hint="lower case, no wildcard, no dot at the end: db.example"
        )
    return text


def address(text: str) -> str:
    """An IP address.

    Raises:
        TrustError: It is none.
    """
    try:
        if "%" in text:
            raise ValueError  # a zone is a matter of one machine
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise TrustError(f"{text[:80]!a} is not an IP address", hint="as 10.0.0.7 or fd00::7") from error


def uri(text: str) -> str:
    """A URI of ours or of SPIFFE.

    Raises:
        TrustError: It is none, or not in its one spelling.
    """
    found = _URI.fullmatch(text)
    hint = "as mcpguard://HOST/NAME or spiffe://TRUST-DOMAIN/PATH, host in lower case"
    if found is None or len(text) > limits.CERTIFICATE_URI_CHARS:
        raise TrustError(f"{text[:80]!a} is not a name for a certificate", hint=hint)
    if any(part in (".", "..") for part in found[3].split("/")):
        raise TrustError(f"{text[:80]!a} has a relative path", hint=hint)
    return text


def host_of(text: str) -> str:
    """The host of a URI that was checked: the trust domain of a SPIFFE name."""
    return text.partition("://")[2].partition("/")[0]


def permission(text: str) -> str:
    """A permission in its one spelling: `dns:HOST`, `ip:NETWORK`, `uri:HOST`.

    Raises:
        TrustError: It is none.
    """
    kind, _, value = text.partition(":")
    match kind:
        case "dns":
            return f"dns:{dns_name(value)}"
        case "ip":
            try:
                return f"ip:{ipaddress.ip_network(value)}"
            except ValueError as error:
                raise TrustError(f"{value[:80]!a} is not a network", hint="as ip:10.0.0.0/8") from error
        case "uri":
            if value != host_of(uri(f"{SPIFFE}{value}")):
                raise TrustError(f"{value[:80]!a} is not a trust domain", hint="as uri:example.org")
            return f"uri:{value}"
        case _:
            raise TrustError(
                f"{text[:80]!a} is not a permission", hint="dns:HOST, ip:NETWORK or uri:TRUST-DOMAIN"
            )


def outside(found: Names, permitted: Iterable[str]) -> tuple[str, ...]:
    """The names that no permission covers; empty if each is covered."""
    rules = [each.partition(":")[::2] for each in permitted]
    hosts = [value for kind, value in rules if kind == "dns"]
    networks = [ipaddress.ip_network(value) for kind, value in rules if kind == "ip"]
    domains = {value for kind, value in rules if kind == "uri"}
    return (
        *(each for each in found.uris if host_of(each) not in domains),
        *(each for each in found.dns if not any(each == host or each.endswith(f".{host}") for host in hosts)),
        *(each for each in found.ips if not any(ipaddress.ip_address(each) in net for net in networks)),
    )
