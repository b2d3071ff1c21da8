"""TLS towards servers: version 1.3, the CA or the key that was named, and nothing of the environment.

Rule 1: without a CA and without a pin there is no context: nothing here ever trusts whoever answers.
Rule 2: a pin is compared within the handshake, before a byte of a request is sent.
Rule 3: `SSL_CERT_FILE`, `SSL_CERT_DIR` and `SSLKEYLOGFILE` mean nothing here.

Source: RFC 8446; RFC 9525 (names); RFC 7469 2.4 (pins of SubjectPublicKeyInfo).

Decided:
    *A server that is known by its key only is looked at twice*: once to see its certificate, which is compared with
    the pins, and then with exactly that certificate as the only anchor, so that OpenSSL still judges its name and
    its dates. Rejected: to judge names and dates ourselves.
    *Pins are of the server's own certificate*, not of one above it: a CA is given as such.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mcpguard.errors import TrustError
from mcpguard.identity.remote import SYSTEM, Remote

_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep the authorities that they trust."""
_CLIENT: Final = "give a certificate that it accepts: --client-cert and --client-key"
_VERIFY: Final = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is signed by itself, not by the CA that the manifest names",
    19: "its certificate is not signed by the CA that the manifest names",
    20: "its certificate is not signed by the CA that the manifest names",
    21: "its certificate is not signed by the CA that the manifest names",
    23: "its certificate is revoked",
    62: "its certificate is for another name",
    64: "its certificate is for another address",
}
"""X509_V_ERR_* of OpenSSL, x509_vfy.h."""


class PinError(ssl.SSLCertVerificationError):
    """The server has another key than the manifest names."""


def context(remote: Remote, leaf: bytes = b"") -> ssl.SSLContext:
    """What a connection to a server uses; `leaf`: its certificate, DER, where only pins say which one it is.

    Blocks: it reads files.

    Raises:
        TrustError: A certificate or a key cannot be read, or nothing says whom to trust.
    """
    made = _bare()
    if remote.ca == SYSTEM:
        made.load_verify_locations(_bundle())
    elif remote.ca:
        made.load_verify_locations(cadata=remote.ca)
    elif leaf and remote.pins:
        made.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        made.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(leaf))
    else:
        raise TrustError("nothing says which certificate the server must have")
    if remote.client_cert and not remote.own:
        _load_client(made, remote)
    made.sslobject_class = _pinned(remote.pins)
    return made


def looking() -> ssl.SSLContext:
    """What a server's certificate is only looked at with; nothing is sent or believed."""
    made = _bare()
    made.check_hostname = False
    made.verify_mode = ssl.VerifyMode.CERT_NONE
    return made


def spki(certificate: bytes) -> str:
    """The pin of a certificate (DER): `sha256:` and the digest of its SubjectPublicKeyInfo, hex.

    Raises:
        ValueError: It is no certificate.
    """
    key = x509.load_der_x509_certificate(certificate).public_key()
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return f"sha256:{digest.hexdigest()}"


def require_pinned(certificate: bytes | None, pins: Sequence[str]) -> None:
    """Refuse a certificate whose key is not one of these; any is good if there are none.

    Raises:
        PinError: It is another key, or there is no certificate.
    """
    if not pins:
        return
    try:
        found = spki(certificate or b"")
    except ValueError:
        found = "none"
    if found not in pins:
        error = PinError(1, f"its key is {found}, which is not pinned")
        error.verify_message = str(error)
        raise error


def sentence(error: ssl.SSLError) -> tuple[str, str]:
    """What went wrong in a handshake, and what to do."""
    if isinstance(error, PinError):
        return error.args[1], "if its owner changed it, sign its new key: mcpguard server add with --pin"
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _VERIFY.get(error.verify_code, f"its certificate is not acceptable: {error.verify_message}")
        return known, "somebody may be in between; ask its owner"
    reason = error.reason or str(error)
    if "ALERT_PROTOCOL_VERSION" in reason or reason in ("UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE"):
        return "it does not speak TLS 1.3", "its owner must enable it"
    if "WRONG_VERSION_NUMBER" in reason or "PACKET_LENGTH" in reason or "RECORD_LAYER" in reason:
        return "it does not speak TLS at this port", "compare the URL"
    if "CERTIFICATE_REQUIRED" in reason:
        return "it wants a certificate of ours", _CLIENT
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason or "ACCESS_DENIED" in reason):
        return f"it does not accept our certificate ({reason.lower()})", _CLIENT
    return f"TLS fails ({reason.lower()})", "ask its owner"


def _bare() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.hostname_checks_common_name = False
    made.set_alpn_protocols(["http/1.1"])
    return made


def _bundle() -> str:
    for place in (ssl.get_default_verify_paths().openssl_cafile, *_BUNDLES):
        if Path(place).is_file():
            return place
    raise TrustError(
        "the operating system has no list of certificate authorities", hint="give a CA: --ca FILE"
    )


def _load_client(made: ssl.SSLContext, remote: Remote) -> None:
    try:
        made.load_cert_chain(remote.client_cert, remote.client_key, password=_no_passphrase)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = "it is encrypted" if isinstance(error, ValueError) else str(error.strerror or error).lower()
        raise TrustError(
            f"the client certificate {remote.client_cert!a} with the key {remote.client_key!a} cannot be used: {why}",
            hint="both must be PEM, belong together, and be readable by the daemon",
        ) from error


def _no_passphrase() -> str:
    raise ValueError("encrypted")


def _pinned(pins: Sequence[str]) -> type[ssl.SSLObject]:
    """A connection that ends its handshake only with a key that is pinned."""

    class Pinned(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            require_pinned(self.getpeercert(binary_form=True), pins)

    return Pinned
