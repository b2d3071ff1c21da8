"""What is this workload's X.509-SVID: from files that another program renews, or from the SPIFFE Workload API.

Not here: whether it counts (`identity.certregistry`), how often is asked (`daemon.certificates`).

Source: SPIFFE X509-SVID, Workload API 5; the `spiffe` library (extra `spiffe`), imported when a socket is named.

Decided: *bundles of federated trust domains are left out*; whoever wants one imports it by name (`mcpguard ca import
--chain`), and so says which names it may vouch for.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.certificates import read_pem
from mcpguard.identity.certregistry import SvidSource

_CONNECT_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 30.0
"""An agent that does not answer is asked again after this; until then it is as it was."""
_AGENT: Final = "does its agent run?"


class Svid(msgspec.Struct, frozen=True):
    """An SVID, not checked.

    Attributes:
        chain: It and its intermediates, DER.
        key: Its private key, PEM.
        bundle: The authorities of its trust domain, DER.
    """

    chain: tuple[bytes, ...]
    key: bytes
    bundle: tuple[bytes, ...]


class Svids(Protocol):
    """A source of SVIDs. Its methods block; both may be called in any thread, one at a time."""

    def latest(self) -> Svid:
        """The newest one.

        Raises:
            TrustError: There is none to be had.
        """

    def close(self) -> None:
        """Let go of it."""


def opened(source: SvidSource) -> Svids:
    """The source that a registry names."""
    return WorkloadApi(source.socket) if source.socket else SvidFiles(source)


class SvidFiles:
    """PEM files, as `spiffe-helper` and cert-manager's CSI driver write them."""

    def __init__(self, source: SvidSource) -> None:
        self._source = source

    def latest(self) -> Svid:
        """What is in the files now.

        Raises:
            TrustError: One cannot be read, or holds something else.
        """
        source = self._source
        return Svid(
            read_pem(_content(source.certificate)), _content(source.key), read_pem(_content(source.bundle))
        )

    def close(self) -> None:
        """Nothing is open."""


class WorkloadApi:
    """The Workload API at a Unix socket (`unix:PATH`), whose updates the library streams in a thread of its own."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._source: Any = None
        self._failed: tuple[float, TrustError] | None = None

    def latest(self) -> Svid:
        """What came last.

        Raises:
            TrustError: The library is not installed, or nothing answers.
        """
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

        if self._failed is not None and time.monotonic() - self._failed[0] < _RETRY_SECONDS:
            raise self._failed[1]
        try:
            if self._source is None:
                self._source = self._connected()
            context = self._source.get_x509_context()
            svid = context.default_svid
            bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
            authorities = sorted(
                each.public_bytes(serialization.Encoding.DER)
                for each in (bundle.x509_authorities if bundle is not None else ())
            )
            return Svid(
                tuple(each.public_bytes(serialization.Encoding.DER) for each in svid.cert_chain),
                svid.private_key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                ),
                tuple(authorities),
            )
        except TrustError:
            raise
        except Exception as error:  # the library's own family, and gRPC's
            self.close()
            told = TrustError(
                f"the Workload API at {self._socket} gives nothing: {type(error).__name__}: {error}"[:300],
                hint=_AGENT,
            )
            self._failed = time.monotonic(), told
            raise told from error

    def close(self) -> None:
        """End the stream; the next question begins another."""
        source, self._source = self._source, None
        if source is not None:
            with contextlib.suppress(Exception):  # it is let go of, whatever it says to that
                source.close()

    def _connected(self) -> Any:
        try:
            import spiffe  # noqa: PLC0415 (an optional extra: brings gRPC)
        except ImportError as error:
            raise TrustError(
                "the SPIFFE library is not installed", hint="pip install 'mcpguard[spiffe]'"
            ) from error
        return spiffe.X509Source(socket_path=self._socket, timeout_in_seconds=_CONNECT_SECONDS)


def _content(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(limits.CHAIN_BYTES)
    except OSError as error:
        raise TrustError(
            f"{path} cannot be read: {(error.strerror or str(error)).lower()}", hint=_AGENT
        ) from error
