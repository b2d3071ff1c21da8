"""The key that signs the checkpoints of a log: Ed25519, made with the log, its owner's alone.

The library is imported when a signature is made or checked; a daemon that starts has other things to do.
"""

from __future__ import annotations

from mcpguard.audit.checkpoint import LogKey, origin


def log_key(seed: bytes) -> LogKey:
    """Public half of the key with this seed of 32 bytes, and the name of its log."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 (see above)

    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return LogKey(origin(public), public)


def sign(seed: bytes, text: bytes) -> bytes:
    """Signature of 64 bytes."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 (see above)

    return Ed25519PrivateKey.from_private_bytes(seed).sign(text)


def valid(key: LogKey, signature: bytes, text: bytes) -> bool:
    """Whether a signature holds."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 (see above)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 (see above)

    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True
