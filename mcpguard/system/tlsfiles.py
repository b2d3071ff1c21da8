"""The certificate of a listener and the CA of its clients, from files: TLS contexts, anew when a file changes.

TLS 1.3 only; a client certificate is required where there is a CA for it, and its chain, time and purpose are
verified by the TLS library. Certificates that a CRL beside the CA revokes are refused.

Not here: issuing and renewing (a keeper of a certificate registry gives contexts of its own, by the same interface);
who a certificate names (`credentials.certificate`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mcpguard.credentials.presented import Authenticated
from mcpguard.errors import ConfigError
from mcpguard.system.servefile import Listen

if TYPE_CHECKING:
    import ssl


class Keeper(Protocol):
    """Whoever has the certificates of a listener."""

    def context(self) -> ssl.SSLContext:
        """A TLS context with what counts now.

        Raises:
            ConfigError: There is none.
        """

    def stamp(self) -> object:
        """Changes when `context` would give another one."""

    def identify(self, der: bytes) -> Authenticated:
        """Whom a client certificate names, whose chain was verified.

        Raises:
            GuardError: Nobody.
        """

    def refused(self, der: bytes) -> str:
        """Why a client certificate does not count any more, although its chain was verified; empty if it does.

        Quick: asked before sensitive calls.
        """


class TlsFiles:
    """The certificates of one listener (`Keeper`), from the files that it names."""

    def __init__(self, listen: Listen) -> None:
        self._listen = listen
        self._files = tuple(name for name in (listen.certificate, listen.key, listen.client_ca) if name)

    def context(self) -> ssl.SSLContext:
        """A TLS context from the files as they are.

        Raises:
            ConfigError: One of them cannot be read or used, or others may read the key.
        """
        import ssl  # noqa: PLC0415 (a daemon without listeners does not load it)

        listen = self._listen
        _require_private(listen.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(listen.certificate, listen.key)
        except ssl.SSLError as error:
            words = f"does not fit {listen.key}, or is no PEM"
            raise ConfigError(words, file=listen.certificate) from error
        except OSError as error:
            raise _unreadable(listen.certificate, error) from error
        if listen.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.verify_flags |= ssl.VERIFY_X509_STRICT
            try:
                context.load_verify_locations(listen.client_ca)
            except ssl.SSLError as error:
                raise ConfigError("holds no certificates", file=listen.client_ca) from error
            except OSError as error:
                raise _unreadable(listen.client_ca, error) from error
            if _holds_crl(listen.client_ca):
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        return context

    def stamp(self) -> object:
        """Changes when one of the files does."""
        found = []
        for name in self._files:
            try:
                info = Path(name).stat()
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((info.st_ino, info.st_size, info.st_mtime_ns))
        return tuple(found)

    def identify(self, der: bytes) -> Authenticated:
        """Whom a client certificate names.

        Raises:
            PeerError: Nobody.
        """
        from mcpguard.credentials.certificate import authenticated  # noqa: PLC0415 (x509: only for TLS)

        return authenticated(der)

    def refused(self, der: bytes) -> str:  # noqa: ARG002 (files know of no single certificate)
        """Nothing: files say of a certificate only what its chain says."""
        return ""


def _holds_crl(name: str) -> bool:
    with open(name, "rb") as file:  # noqa: PTH123 (the context has read the same path)
        return b"-----BEGIN X509 CRL-----" in file.read()


def _require_private(name: str) -> None:
    """Refuse a private key that others may read."""
    try:
        info = Path(name).stat()
    except OSError as error:
        raise _unreadable(name, error) from error
    if info.st_mode & 0o077 or info.st_uid not in (os.geteuid(), 0):
        raise ConfigError("others may read this private key", file=name, hint=f"chmod 600 {name}")


def _unreadable(name: str, error: OSError) -> ConfigError:
    return ConfigError((error.strerror or str(error)).lower(), file=name)
