"""What every sink has in common: it is given events in order, and either has all of them or says why not."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mcpguard.audit.event import Event
from mcpguard.errors import GuardError

_TOKEN_BYTES = 16 * 1024


class SinkError(GuardError):
    """A sink has not taken what it was given.

    Attributes:
        wait: How long it asks to be left alone, seconds; 0.0 if it does not ask.
        broken: A stream that had been open is not any more: what it was given last may be lost.
    """

    def __init__(self, message: str, *, hint: str = "", wait: float = 0.0, broken: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.wait = wait
        self.broken = broken


class Delivery(Protocol):
    """One way out. Used by one thread."""

    def send(self, events: Sequence[Event]) -> None:
        """Hand over events, all of them.

        Raises:
            SinkError: It has not taken them, or only some, or that cannot be told.
        """

    def look(self) -> None:
        """While there is nothing to send: is the other end still there?

        Raises:
            SinkError: It is not.
        """

    def close(self) -> None:
        """Let go."""


def reason(error: OSError) -> str:
    """What the system says of a failure, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message.lower()}"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return (error.strerror or str(error) or type(error).__name__).lower()


def tls(ca: str) -> ssl.SSLContext:
    """TLS that checks the certificate and the name in it; `ca` is a file of those that count, empty for the system's.

    Raises:
        SinkError: The file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise SinkError(f"the certificates in {ca} cannot be read: {reason(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def bearer(path: str) -> str:
    """The token in a file, read now: it may be another one tomorrow.

    Raises:
        SinkError: It cannot be read, others may read it, or it is no token.
    """
    try:
        file = Path(path)
        mode = file.stat().st_mode & 0o077
        token = file.read_bytes()[:_TOKEN_BYTES].strip()
    except OSError as error:
        raise SinkError(f"the token in {path} cannot be read: {reason(error)}") from error
    if mode:
        raise SinkError(f"the token in {path} can be read by others", hint=f"chmod 600 {path}")
    if not token or not token.isascii() or not token.decode("ascii").isprintable() or b" " in token:
        raise SinkError(f"there is no token in {path}", hint="one line of printable ASCII")
    return token.decode("ascii")
