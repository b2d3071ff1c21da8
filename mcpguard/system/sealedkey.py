"""A private key as bytes for a file: in clear, under a passphrase, or under a key that a passphrase opens once.

Rule: what a key is called is authenticated with it, so that no file can be put in another's place; that of a key in
clear is only compared.

Cost: a passphrase takes 0.4 s and 128 MiB (scrypt, `keyfiles.SCRYPT_COST`).

Source: RFC 7914 (scrypt), RFC 8439 (ChaCha20-Poly1305).
"""

from __future__ import annotations

import secrets
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mcpguard.errors import TrustError
from mcpguard.system.keyfiles import SCRYPT_COST

KEY_BYTES: Final = 32
"""Size of a key that seals others, bytes."""
_COSTS: Final = (2**14, 2**20)
_VERSION: Final = 1


class _Sealed(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    version: int
    about: str
    data: bytes
    nonce: bytes = b""
    salt: bytes = b""
    cost: int = 0


def in_clear(key: bytes, about: str) -> bytes:
    """A key as it is."""
    return msgspec.json.encode(_Sealed(_VERSION, about, key))


def under_passphrase(key: bytes, about: str, passphrase: str, cost: int = SCRYPT_COST) -> bytes:
    """A key that a passphrase opens.

    Raises:
        TrustError: The passphrase is empty.
    """
    if not passphrase:
        raise TrustError("a private key is not kept under an empty passphrase", hint="choose one")
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    data = ChaCha20Poly1305(_derived(passphrase, salt, cost)).encrypt(nonce, key, about.encode())
    return msgspec.json.encode(_Sealed(_VERSION, about, data, nonce, salt, cost))


def under_key(key: bytes, about: str, sealing: bytes) -> bytes:
    """A key that another key (`KEY_BYTES`) opens."""
    nonce = secrets.token_bytes(12)
    data = ChaCha20Poly1305(sealing).encrypt(nonce, key, about.encode())
    return msgspec.json.encode(_Sealed(_VERSION, about, data, nonce))


def opened(content: bytes, about: str, *, passphrase: str = "", sealing: bytes = b"") -> bytes:
    """The key in a file.

    Raises:
        TrustError: It is no such file, is about another key, or what should open it does not.
    """
    try:
        found = msgspec.json.decode(content, type=_Sealed)
        if found.version != _VERSION or (found.cost and not _COSTS[0] <= found.cost <= _COSTS[1]):
            raise ValueError  # of another version, or made to use up our memory
    except (ValueError, RecursionError) as error:
        raise TrustError(f"the key file of {about!a} is damaged", hint="restore it from a copy") from error
    if found.about != about:
        raise TrustError(f"the key file of {about!a} is that of another key", hint="restore it from a copy")
    if not found.nonce:
        return found.data
    if found.cost and not passphrase:
        raise TrustError(
            f"the key {about!a} is encrypted, and no passphrase was given", hint="give its passphrase"
        )
    if not found.cost and not sealing:
        raise TrustError("the keys of the certificates are locked", hint="mcpguard ca unlock")
    try:
        sealing = _derived(passphrase, found.salt, found.cost) if found.cost else sealing
        return ChaCha20Poly1305(sealing).decrypt(found.nonce, found.data, about.encode())
    except (InvalidTag, ValueError, MemoryError) as error:
        raise TrustError(
            f"the key {about!a} does not open",
            hint="try again; if the passphrase is the right one, the file was changed",
        ) from error


def _derived(passphrase: str, salt: bytes, cost: int) -> bytes:
    scrypt = Scrypt(salt=salt, length=KEY_BYTES, n=cost, r=8, p=1)
    return scrypt.derive(passphrase.encode("utf-8", "surrogateescape"))
