"""What a host carries between a question and its answer in the modern era: readable to it, and unforgeable.

Rule 1: a text that this daemon did not write, to the letter, is nothing.
Rule 2: a seal says which question an answer belongs to. It permits nothing: that is for `book`.

Not here: whether the retry is the call that was asked about, and whether it comes in time; whoever unseals compares
`binding` and `expires`.

Source: MCP basic/patterns/mrtr (2026-07-28): a server must not trust `requestState` that it cannot verify.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

import msgspec

KEY_BYTES: Final = 32
"""Size of a key: random, one for each daemon."""
SEAL_CHARS: Final = 256
"""Longest sealed text, characters."""
_TAG: Final = "mcpguard-approval.1."
_PERSON: Final = b"mcpguard.seal.1"
_MAC_BYTES: Final = 32
_TIME_BYTES: Final = 8
_DIGEST_BYTES: Final = (16, 64)
_IDENT_CHARS: Final = 32


class Sealed(msgspec.Struct, frozen=True):
    """What was sealed.

    Attributes:
        ticket: The ticket.
        binding: Digest of what an answer is for.
        expires: From then on it is nothing, nanoseconds of the monotonic clock of this daemon.
    """

    ticket: str
    binding: bytes
    expires: int


def seal(key: bytes, ticket: str, binding_digest: bytes, expires: int) -> str:
    """A text for `requestState`; ASCII, at most `SEAL_CHARS` characters.

    Raises:
        ValueError: A bug: a short key, a ticket that is no ident, a digest of 16 to 64 bytes that is none.
    """
    least, most = _DIGEST_BYTES
    if len(key) < KEY_BYTES or not least <= len(binding_digest) <= most:
        raise ValueError(f"expected a key of {KEY_BYTES} bytes and a digest of {least} to {most}")
    if not (ticket.isascii() and ticket.isalnum() and len(ticket) <= _IDENT_CHARS):
        raise ValueError(f"expected the ident of a ticket, found {ticket!a}")
    content = expires.to_bytes(_TIME_BYTES, "big") + bytes([len(binding_digest)]) + binding_digest
    content += ticket.encode()
    return _TAG + base64.urlsafe_b64encode(_mac(key, content) + content).decode()


def unseal(key: bytes, text: str) -> Sealed | None:
    """What is in a text that `seal` made with this key; None for every other text."""
    if len(key) < KEY_BYTES or len(text) > SEAL_CHARS or not text.startswith(_TAG) or not text.isascii():
        return None
    encoded = text.removeprefix(_TAG).encode()
    try:
        data = base64.b64decode(encoded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    mac, content = data[:_MAC_BYTES], data[_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(key, content)) or base64.urlsafe_b64encode(data) != encoded:
        return None
    end = _TIME_BYTES + 1 + content[_TIME_BYTES]
    return Sealed(
        ticket=content[end:].decode(),
        binding=content[_TIME_BYTES + 1 : end],
        expires=int.from_bytes(content[:_TIME_BYTES], "big"),
    )


def _mac(key: bytes, content: bytes) -> bytes:
    return hashlib.blake2b(content, key=key, digest_size=_MAC_BYTES, person=_PERSON).digest()
