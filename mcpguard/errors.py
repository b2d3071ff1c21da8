"""Every deliberate exception of mcpguard, sorted by who must act.

::

    GuardError                 a sentence, lower case, one line; `hint` says what to do next
    +- ConfigError             the operator's text is wrong: file, line, key
    +- ProtocolError           bytes that MCP does not allow; raised by the protocol room only
    +- PeerError               who connected cannot be told, or is somebody else
    |  +- GoneError            who connected is gone: nobody is there to be told
    +- TrustError              a signature, manifest, key, pin or enrolment is not acceptable; nothing runs
    +- SecretError             a secret is missing, locked, expired, or not for who asks: nothing starts without it
    +- UpstreamError           the server did not start, or cannot be reached; carries the exit code
    +- JournalError            the audit log cannot be written or read
    +- DaemonError             the daemon is not there, or is another version

A denial is a value (`model.Decision`), not an exception. Anything else that is raised is a bug: it is caught
once, at the session boundary, recorded, and both sides are closed.
"""

from __future__ import annotations


class GuardError(Exception):
    """Base of all deliberate errors: one sentence, and optionally what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def sentence(self) -> str:
        """Message and hint as one line for a person."""
        return f"{self.message}: {self.hint}" if self.hint else self.message


class ConfigError(GuardError):
    """The operator's text is wrong. `line` counts from 1; 0 means that the error belongs to no line."""

    def __init__(self, message: str, *, file: str, line: int = 0, key: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.line = line
        self.key = key

    def sentence(self) -> str:
        """`file:line: key: message: hint`, leaving out what is not known."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.key, self.message, self.hint) if part)


class ProtocolError(GuardError):
    """Bytes that MCP does not allow."""


class PeerError(GuardError):
    """The process at the other end of a socket or descriptor is not acceptable."""


class TrustError(GuardError):
    """A signature, manifest, key, trust file, pin or enrolment is not acceptable, so nothing runs."""


class SecretError(GuardError):
    """A secret cannot be had: unknown, locked, expired, or kept for another server; its value is in no sentence."""


class UpstreamError(GuardError):
    """The server did not start or cannot be reached; `code` is what `mcpguard run` exits with."""

    def __init__(self, message: str, *, code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class GoneError(PeerError):
    """The process at the other end went away."""


class JournalError(GuardError):
    """The audit log cannot be opened, written, or read."""


class DaemonError(GuardError):
    """The daemon cannot be reached, or speaks another version."""
