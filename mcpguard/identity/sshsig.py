"""SSHSIG: signatures that `ssh-keygen -Y sign` makes, with keys that developers already have.

A signature is over `message_to_sign(...)`: magic, namespace, an empty reserved field, and a hash of the message. The
message is what a plain signature of the same envelope is over (`dsse.pae`), so a signature for a manifest can never
be taken for one of a file, an e-mail or a git commit: those have other namespaces.

Rule 1. The namespace must be ours and the reserved field empty; both are part of what is signed.
Rule 2. The hash is SHA-256 or SHA-512, the signature is of the key's own kind. RSA is refused with its hashes.
Rule 3. A hardware key must have been touched: flag 0x01. That it asked for a PIN (0x04) is not demanded. The counter
is signed and not judged, because nobody keeps the last one.
Rule 4. The key inside a signature says who claims to have signed. Whether that key may is for the caller to decide.

Source: OpenSSH PROTOCOL.sshsig, PROTOCOL.u2f; RFC 5656 3.1.2.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.keys import APPLICATION, ECDSA, HARDWARE, PublicKey, Reader, parse_wire, wire_string

NAMESPACE: Final = "manifest@mcpguard"
"""The namespace that every signature of ours is made in."""
MAGIC: Final = b"SSHSIG"
"""What a signature starts with, and what is signed starts with."""

_BEGIN: Final = b"-----BEGIN SSH SIGNATURE-----"
_END: Final = b"-----END SSH SIGNATURE-----"
_VERSION: Final = 1
_HASHES: Final = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_TOUCHED: Final = 0x01
_AGAIN: Final = f"sign again with `mcpguard sign FILE --ssh-key KEY`, or `ssh-keygen -Y sign -n {NAMESPACE}`"


class SshSignature(msgspec.Struct, frozen=True):
    """A signature, taken apart. Nothing in it is verified.

    Attributes:
        key: Whose signature it claims to be.
        namespace: What it was made for.
        hash_name: `sha256` or `sha512`.
        raw: 64 bytes: of Ed25519, or r and s of ECDSA.
        flags: Of a hardware key: 0x01 touched, 0x04 PIN; 0 for others.
        counter: Of a hardware key; 0 for others.
    """

    key: PublicKey
    namespace: str
    hash_name: str
    raw: bytes
    flags: int = 0
    counter: int = 0


def sign_command(key: str, file: str) -> tuple[str, ...]:
    """The command that signs a file which holds `dsse.pae(...)` of an envelope; it writes `FILE.sig`.

    `key` is the path of a private key, or of a public one whose private part is in an agent.
    """
    return ("ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", key, file)


def looks_like(data: bytes) -> bool:
    """Whether bytes claim to be an SSHSIG, armoured or not."""
    return data.startswith((MAGIC, _BEGIN))


def message_to_sign(message: bytes, namespace: str, hash_name: str) -> bytes:
    """The bytes that the key itself signs. `hash_name` is `sha256` or `sha512`."""
    hashed = _HASHES[hash_name](message).digest()
    fields = (namespace.encode(), b"", hash_name.encode(), hashed)
    return MAGIC + b"".join(map(wire_string, fields))


def parse_sshsig(data: bytes) -> SshSignature:
    """Take a signature apart: armoured as in `FILE.sig`, or its raw bytes.

    Not here: whether it verifies, and for which namespace.

    Raises:
        TrustError: It is not an SSHSIG of version 1 with a key, a hash and a signature that are accepted.
    """
    if len(data) > limits.SSHSIG_BYTES:
        raise TrustError("the SSH signature is too large to be one", hint=_AGAIN)
    reader = Reader(_bare(data), "the SSH signature")
    if reader.take(len(MAGIC)) != MAGIC:
        raise TrustError("this is not an SSH signature", hint=_AGAIN)
    if (version := reader.number()) != _VERSION:
        raise TrustError(f"SSH signatures of version {version} are not known", hint=_AGAIN)
    key = parse_wire(reader.string())
    namespace = reader.string()
    reserved = reader.string()
    hash_name = reader.string().decode("utf-8", "replace")
    inner = reader.string()
    reader.end()
    if reserved:
        raise TrustError("the reserved field of the SSH signature is not empty", hint=_AGAIN)
    if hash_name not in _HASHES:
        raise TrustError(f"SSH signatures over {hash_name[:20]!a} are not accepted", hint=_AGAIN)
    raw, flags, counter = _parse_inner(inner, key.kind)
    return SshSignature(key, namespace.decode("utf-8", "replace"), hash_name, raw, flags, counter)


def verify_sshsig(data: bytes, message: bytes, namespace: str = NAMESPACE) -> PublicKey:
    """Who signed a message. Whether that key may sign is for the caller to decide.

    Raises:
        TrustError: The signature is malformed, for another namespace, made without a touch, or not over this message.
    """
    signature = parse_sshsig(data)
    if signature.namespace != namespace:
        raise TrustError(
            f"the SSH signature is for {signature.namespace[:40]!a}, not for {namespace!a}", hint=_AGAIN
        )
    signed = message_to_sign(message, namespace, signature.hash_name)
    if signature.key.kind == HARDWARE:
        if not signature.flags & _TOUCHED:
            raise TrustError("the security key signed without being touched", hint=_AGAIN)
        signed = hardware_message(signed, signature.flags, signature.counter)
    if not signature.key.verifies(signature.raw, signed):
        raise TrustError("the SSH signature is not over this content", hint=_AGAIN)
    return signature.key


def hardware_message(message: bytes, flags: int, counter: int) -> bytes:
    """What a security key signs: hash of the application, flags, counter, hash of the message (PROTOCOL.u2f)."""
    application = hashlib.sha256(APPLICATION).digest()
    return application + bytes([flags]) + counter.to_bytes(4, "big") + hashlib.sha256(message).digest()


def _bare(data: bytes) -> bytes:
    """The bytes inside an armour; bytes without one as they are."""
    if not data.startswith(_BEGIN):
        return data
    lines = data.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    body = b"".join(lines[1:-1])
    if lines[0] != _BEGIN or lines[-1] != _END:
        raise TrustError("the armour of the SSH signature is damaged", hint=_AGAIN)
    try:
        bare = base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise TrustError("the armour of the SSH signature is damaged", hint=_AGAIN) from error
    if base64.b64encode(bare) != body:
        raise TrustError("the armour of the SSH signature is damaged", hint=_AGAIN)
    return bare


def _parse_inner(inner: bytes, kind: str) -> tuple[bytes, int, int]:
    """Signature, flags and counter from SSH's form of a signature by a key of this kind."""
    reader = Reader(inner, "the SSH signature")
    if (algorithm := reader.string()) != kind.encode():
        raise TrustError(
            f"the SSH signature is of kind {algorithm[:40]!a}, its key of kind {kind}", hint=_AGAIN
        )
    raw = reader.string()
    flags, counter = (reader.take(1)[0], reader.number()) if kind == HARDWARE else (0, 0)
    reader.end()
    return (_parse_ecdsa(raw) if kind == ECDSA else raw), flags, counter


def _parse_ecdsa(raw: bytes) -> bytes:
    """Numbers r and s, 32 bytes each, from two of SSH's `mpint` in their one shortest form (RFC 4251 5)."""
    reader = Reader(raw, "the SSH signature")
    parts = []
    for number in (reader.string(), reader.string()):
        value = int.from_bytes(number, "big", signed=True)
        if value <= 0 or value >> 256 or len(number) != value.bit_length() // 8 + 1:
            raise TrustError("the numbers of the SSH signature are not in their one form", hint=_AGAIN)
        parts.append(value.to_bytes(32, "big"))
    reader.end()
    return b"".join(parts)
