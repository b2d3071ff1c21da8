"""What goes wrong with OAuth, as one error with a sentence."""

from __future__ import annotations

from typing import Final

from mcpguard.errors import UpstreamError
from mcpguard.model import visible

FAILED: Final = 125
_SHOWN: Final = 200


class OAuthError(UpstreamError):
    """An authorization server or a remote server is not acceptable, refuses, or needs a person.

    Attributes:
        error: The error code of the protocol (RFC 6749 5.2, RFC 9449 5), such as `invalid_grant`; empty if there is
            none.
    """

    def __init__(self, message: str, *, error: str = "", hint: str = "") -> None:
        super().__init__(message, code=FAILED, hint=hint)
        self.error = error


def shown(text: str) -> str:
    """A text of others within a sentence: short, quoted, every character visible."""
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"'{visible(cut)}'"
