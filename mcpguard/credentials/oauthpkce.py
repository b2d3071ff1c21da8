"""PKCE with S256 (RFC 7636): the code alone, stolen on its way, is worth nothing.

Randomness comes in as an argument.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

RANDOM_BYTES: Final = 32
"""What RFC 7636 7.1 asks for."""
METHOD: Final = "S256"


def text_of(random: bytes) -> str:
    """Base64url without padding: a code verifier, a state, a nonce.

    Raises:
        ValueError: There are fewer than `RANDOM_BYTES`.
    """
    if len(random) < RANDOM_BYTES:
        raise ValueError(f"{len(random)} random bytes are too few")
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def challenge_of(verifier: str) -> str:
    """The code challenge of a verifier (RFC 7636 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
