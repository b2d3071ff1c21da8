"""Does a certificate lead to an authority that counts, for this use, with this name, at this moment?

The path itself (signatures, validity, path length, name constraints, uses) is validated by
`cryptography.x509.verification`. What people get wrong most is looked at first, so that the sentence names it.

Not checked here: whether it is revoked or in the registry (`certregistry`); whether the peer has its key (TLS).

Source: RFC 5280 6; RFC 9525 (names of servers are in the SAN); X509-SVID 4.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography import x509
from cryptography.x509 import verification

from mcpguard.errors import TrustError
from mcpguard.identity import subjectnames
from mcpguard.identity.certificates import CLIENT, SERVER, Certificate, loaded
from mcpguard.identity.subjectnames import Names

_AUTHORITY: Final = "mcpguard ca list"
_DEPTH: Final = 3
_AUTHORITIES: Final = verification.ExtensionPolicy.webpki_defaults_ca()
_LEAVES: Final = (
    verification.ExtensionPolicy.webpki_defaults_ee()
    .require_present(x509.SubjectAlternativeName, verification.Criticality.AGNOSTIC, None)
    .require_present(x509.ExtendedKeyUsage, verification.Criticality.AGNOSTIC, None)
)
"""As browsers have it, but that names and uses may be critical, as private authorities do; `check` looks at uses."""
_SHOWN_CHARS: Final = 160


class Anchor(msgspec.Struct, frozen=True):
    """An authority that counts.

    Attributes:
        root: Its root, DER.
        between: Its intermediates, DER.
        permitted: The names that it may vouch for (`subjectnames.permission`).
        name: What it is called here.
        only_uris: Whether other names than URIs stand for nobody, as in a SPIFFE trust domain.
    """

    root: bytes
    between: tuple[bytes, ...]
    permitted: tuple[str, ...]
    name: str = ""
    only_uris: bool = False

    def counted(self, found: Names) -> Names:
        """The names of a certificate that stand for somebody."""
        return Names(uris=found.uris) if self.only_uris else found


def utc(seconds: float) -> str:
    """A moment for a sentence, to the second, in UTC."""
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check(
    found: Certificate,
    anchors: Sequence[Anchor],
    use: str,
    now: float,
    name: str = "",
    shown: Sequence[bytes] = (),
) -> Anchor:
    """The authority that a certificate leads to.

    Args:
        found: The certificate, read.
        anchors: The authorities that count.
        use: `client` or `server`: what its holder does.
        now: Unix seconds.
        name: For a server, its host or address, or the SPIFFE name that it must have; empty for none.
        shown: Intermediates that the peer has shown, DER; looked at for SPIFFE trust domains alone, where they are
            nowhere else. Those of other authorities are imported: their revocation lists go by them.

    Raises:
        TrustError: It does not; the sentence says why.
    """
    check_life(found, now)
    if use not in found.uses:
        raise TrustError(
            f"the certificate is not for a {use} (it is for {' and '.join(found.uses) or 'nothing named'})",
            hint=f"show one that was issued with --{use}",
        )
    if name and use == SERVER:
        _check_name(found, name)
    faults = []
    for anchor in anchors:
        fault = _path(found, anchor, use, now, name, shown if anchor.only_uris else ())
        if fault is None:
            return _permitted(found, anchor, name)
        faults.append(fault)
    why = next((f", {fault}" for fault in faults if fault), "")
    raise TrustError(
        f"the certificate (issuer {found.issuer[:120]!a}) leads to no authority that counts here{why}",
        hint=_AUTHORITY,
    )


def check_life(found: Certificate, now: float) -> None:
    """Refuse a certificate that does not hold now.

    Raises:
        TrustError: It is expired, or not valid yet.
    """
    if now < found.begins:
        raise TrustError(
            f"the certificate is not valid before {utc(found.begins)}, and it is {utc(now)}",
            hint="look at the clocks",
        )
    if now > found.ends:
        raise TrustError(
            f"the certificate expired at {utc(found.ends)}, and it is {utc(now)}",
            hint="mcpguard ca renew NAME",
        )


def _path(
    found: Certificate, anchor: Anchor, use: str, now: float, name: str, shown: Sequence[bytes]
) -> str | None:
    """Why there is no path, empty if it is another authority's; None if there is one."""
    builder = verification.PolicyBuilder().store(verification.Store([loaded(anchor.root)]))
    builder = builder.time(dt.datetime.fromtimestamp(now, dt.UTC)).max_chain_depth(_DEPTH)
    builder = builder.extension_policies(ca_policy=_AUTHORITIES, ee_policy=_LEAVES)
    leaf, between = loaded(found.der), [loaded(each) for each in (*anchor.between, *shown)]
    try:
        if use == CLIENT or not name or name.startswith(subjectnames.SPIFFE):
            builder.build_client_verifier().verify(leaf, between)
        else:
            builder.build_server_verifier(_subject(name)).verify(leaf, between)
    except (verification.VerificationError, ValueError) as error:
        issuers = {each.subject for each in (loaded(anchor.root), *between)}
        return str(error)[:_SHOWN_CHARS] if leaf.issuer in issuers else ""
    return None


def _permitted(found: Certificate, anchor: Anchor, name: str) -> Anchor:
    """An authority speaks for what it may speak for, whatever it signs; a wildcard for what it is used for."""
    for each in (anchor.counted(found.names), _as_names(name)):
        if outside := subjectnames.outside(each, anchor.permitted):
            raise TrustError(
                f"the authority {anchor.name!a} may not vouch for {outside[0][:120]!a}",
                hint=f"what it may vouch for: {_AUTHORITY}",
            )
    return anchor


def _as_names(name: str) -> Names:
    if not name or name.startswith(subjectnames.SPIFFE):
        return Names(uris=(name,) if name else ())
    try:
        return Names(ips=(str(ipaddress.ip_address(name)),))
    except ValueError:
        return Names(dns=(name,))


def _check_name(found: Certificate, name: str) -> None:
    if name.startswith(subjectnames.SPIFFE):
        known = found.names.uris
    else:
        try:
            known, name = found.names.ips, str(ipaddress.ip_address(name))
        except ValueError:
            alternative = loaded(found.der).extensions
            known = _hosts(alternative)
            if any(each.startswith("*.") and name.partition(".")[2] == each[2:] for each in known):
                return
    if name not in known:
        shown = ", ".join(found.names.all[:4]) or "none"
        raise TrustError(
            f"the certificate is for {shown[:200]!a}, not for {name[:120]!a}",
            hint="see the name in the server's URL",
        )


def _hosts(extensions: x509.Extensions) -> tuple[str, ...]:
    try:
        found = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(each.lower() for each in found.get_values_for_type(x509.DNSName))


def _subject(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
