"""Private keys of the certificate authority: made, read, written, sealed. P-256 and nothing else."""

from __future__ import annotations

import secrets

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mcpguard.errors import TrustError
from mcpguard.identity.certificates import Key
from mcpguard.system import sealedkey
from mcpguard.system.certstore import LOCK, ROOT


class Sealed(msgspec.Struct, frozen=True):
    """Keys of an authority that is about to be made, with their files; see `seal`."""

    root: bytes = b""
    root_file: bytes = b""
    sealing: bytes = b""
    lock_file: bytes = b""


def seal(passphrase: str, cost: int, *, root: bool, lock: bool) -> Sealed:
    """Fresh keys under a passphrase: of a root, and with `lock` the one that seals all others. Slow.

    Raises:
        TrustError: The passphrase is empty.
    """
    key = der(new_key()) if root else b""
    sealing = secrets.token_bytes(sealedkey.KEY_BYTES) if lock else b""
    return Sealed(
        key,
        sealedkey.under_passphrase(key, ROOT, passphrase, cost) if root else b"",
        sealing,
        sealedkey.under_passphrase(sealing, LOCK, passphrase, cost) if lock else b"",
    )


def load_key(content: bytes) -> Key:
    """A private key from PKCS 8 DER.

    Raises:
        TrustError: It is not one on P-256.
    """
    try:
        found = serialization.load_der_private_key(content, None)
    except (ValueError, TypeError) as error:
        raise TrustError("the private key cannot be read", hint="give PKCS 8, P-256") from error
    return checked_key(found)


def load_pem_key(content: bytes, passphrase: str) -> Key:
    """A private key from PEM, encrypted or not.

    Raises:
        TrustError: It is not one on P-256, or the passphrase is wrong.
    """
    password = passphrase.encode("utf-8", "surrogateescape") or None
    try:
        found = serialization.load_pem_private_key(content, password if b"ENCRYPTED" in content else None)
    except (ValueError, TypeError) as error:
        raise TrustError(
            "the private key cannot be read", hint="is it PEM, and the passphrase the right one?"
        ) from error
    return checked_key(found)


def checked_key(found: object) -> Key:
    """A key, if it is on P-256.

    Raises:
        TrustError: It is not.
    """
    if not isinstance(found, ec.EllipticCurvePrivateKey) or not isinstance(found.curve, ec.SECP256R1):
        raise TrustError("the private key is not on P-256", hint="openssl ecparam -name prime256v1 -genkey")
    return found


def new_key() -> Key:
    """A fresh private key."""
    return ec.generate_private_key(ec.SECP256R1())


def der(key: Key) -> bytes:
    """A private key as PKCS 8 DER, in clear."""
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
