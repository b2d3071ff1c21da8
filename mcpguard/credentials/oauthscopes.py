"""Scopes: what is asked for, and what was given (RFC 6749 3.3; MCP authorization, "Scope Selection Strategy").

Rule 1: what a challenge names is what is asked for, together with what was given before: a server that needs one
more scope must not cost those that work.
Rule 2: without a challenge, what the operator or the server's metadata lists; without any, nothing: the
authorization server decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from mcpguard import limits
from mcpguard.credentials.oautherror import OAuthError, shown

OFFLINE: Final = "offline_access"
"""Asks for a refresh token (OpenID Connect Core 11)."""
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")


def parse_scopes(text: str) -> frozenset[str]:
    """The scopes of a list that spaces separate.

    Raises:
        OAuthError: A character is not allowed, or there are too many.
    """
    words = text.split(" ")
    found = frozenset(word for word in words if word)
    for word in found:
        if not _SCOPE.fullmatch(word):
            raise OAuthError(f"{shown(word)} is no scope")
    if len(found) > limits.OAUTH_SCOPES:
        raise OAuthError(f"more than {limits.OAUTH_SCOPES} scopes")
    return found


def write_scopes(scopes: Iterable[str]) -> str:
    """Scopes as requests have them: sorted, so that equal requests are equal."""
    return " ".join(sorted(scopes))


def choose(
    challenged: frozenset[str], configured: frozenset[str], listed: Iterable[str], held: frozenset[str]
) -> frozenset[str]:
    """The scopes to ask for.

    Args:
        challenged: What the server's last challenge named.
        configured: What the operator asks for; without a challenge it goes before what the server lists.
        listed: `scopes_supported` of the protected resource.
        held: What the present token was given.
    """
    return (challenged or configured or frozenset(listed)) | held


def offline(scopes: frozenset[str], supported: Iterable[str]) -> frozenset[str]:
    """Likewise with `offline_access`, where the authorization server lists it: refreshing spares people logins.

    It is the client's to add (MCP, "Refresh Tokens"); challenges do not name it.
    """
    return scopes | {OFFLINE} if OFFLINE in supported else scopes
