"""TLS contexts: TLS 1.3 only, both sides with a certificate, and a check of ours at the end of each handshake.

Rule 1. Nothing of the application travels before the check: it is part of the handshake, for sockets and for memory
BIOs (asyncio and uvloop use these).
Rule 2. Another certificate is loaded into the same context. Connections that are open keep the one they began with
(OpenSSL copies it into each), and new ones get the other.

Imported when the first context is made.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.certificates import pem

Check = Callable[[Sequence[bytes]], object]
"""Given the peer's certificate and the intermediates it has shown, DER; raises TrustError if it does not count."""


def listening(authorities: Sequence[bytes], check: Check, *, required: bool = True) -> ssl.SSLContext:
    """A context for a listener; with `required=False` a client may come without a certificate.

    Args:
        authorities: Certificates, DER, that a client's may lead to.
        check: Asked about each client's certificate.
        required: Whether there has to be one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return _made(context, authorities, check)


def calling(authorities: Sequence[bytes], check: Check) -> ssl.SSLContext:
    """A context for calls to one remote server. The name is for `check` to look at.

    Args:
        authorities: Certificates, DER, that the server's may lead to, or that it may be.
        check: Asked about the server's certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return _made(context, authorities, check)


def show(context: ssl.SSLContext, chain: Sequence[bytes], key: bytes, place: Path) -> None:
    """Let a context show a certificate from now on.

    Args:
        context: The context.
        chain: The certificate and its intermediates, DER.
        key: Private key, PEM, in clear.
        place: A directory of the owner alone, for the moment in which OpenSSL reads them from files.
    """
    with _as_file(pem(chain), place) as certificates, _as_file(key, place) as private:
        context.load_cert_chain(certificates, private, password=_no_password)


def admit(context: ssl.SSLContext, authorities: Sequence[bytes]) -> None:
    """Let certificates lead to these as well."""
    if authorities:
        context.load_verify_locations(cadata=pem(authorities).decode("ascii"))


def _made(context: ssl.SSLContext, authorities: Sequence[bytes], check: Check) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    admit(context, authorities)
    context.sslobject_class, context.sslsocket_class = _checking(check)
    return context


def _checking(check: Check) -> tuple[type[ssl.SSLObject], type[ssl.SSLSocket]]:
    """Rule 1."""

    class CheckedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            _look(self, check)

    class CheckedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:  # noqa: FBT002 (the library's signature)
            super().do_handshake(block)
            _look(self, check)

    return CheckedObject, CheckedSocket


def _look(shown: ssl.SSLObject | ssl.SSLSocket, check: Check) -> None:
    certificate = shown.getpeercert(binary_form=True)
    if certificate is None:
        if shown.context.verify_mode == ssl.CERT_OPTIONAL:
            return
        raise ssl.SSLCertVerificationError(1, "the peer has shown no certificate")
    try:
        check((certificate, *_between(shown, certificate)))
    except TrustError as error:
        raise ssl.SSLCertVerificationError(1, error.sentence()) from error


def _between(shown: ssl.SSLObject | ssl.SSLSocket, certificate: bytes) -> list[bytes]:
    """The other certificates that a peer has shown, as it has sent them."""
    if sys.version_info >= (3, 13):
        found = shown.get_unverified_chain()
    else:  # there since 3.10, with a name of its own since 3.13
        found = [
            ssl.PEM_cert_to_DER_cert(each.public_bytes())
            for each in shown._sslobj.get_unverified_chain() or ()  # type: ignore[union-attr]  # noqa: SLF001
        ]
    return [each for each in found[: limits.CHAIN_CERTIFICATES] if each != certificate]


@contextlib.contextmanager
def _as_file(content: bytes, place: Path) -> Iterator[str]:
    """The path of a file with this content, gone afterwards; on Linux it is nowhere but in memory."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("mcpguard", os.MFD_CLOEXEC)
        name = f"/proc/self/fd/{descriptor}"
    else:
        descriptor, name = tempfile.mkstemp(dir=place)
    try:
        os.write(descriptor, content)
        yield name
    finally:
        os.close(descriptor)
        if sys.platform != "linux":
            Path(name).unlink()


def _no_password() -> str:
    """OpenSSL would ask on the terminal of the daemon."""
    return ""
