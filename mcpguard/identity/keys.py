"""Public and private keys: which kinds are accepted, how they are written, what each one verifies.

Accepted: Ed25519 (PEM `SubjectPublicKeyInfo`, or an OpenSSH line), `sk-ssh-ed25519@openssh.com` (a hardware key), and
`ecdsa-sha2-nistp256`. Everything else is refused by name, RSA included.

Rule 1. A key has one `ident` however it was spelled: the fingerprint of its OpenSSH form, as `ssh-keygen -l` prints
it. Keys are counted and compared by ident, never by text or by what somebody calls them.
Rule 2. An Ed25519 point of small order is no key: signatures can be made for it that hold for many messages, by
somebody who has no private key. The table below has all eight points in every encoding.

Not checked here: whether a point of Ed25519 lies on the curve. One that does not verifies nothing.

Source: RFC 8032; RFC 8410; RFC 4253 6.6; RFC 8709; RFC 5656 3.1; OpenSSH PROTOCOL.u2f; Cremers et al., "Taming the
many EdDSAs" (small order).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from mcpguard import limits
from mcpguard.errors import TrustError

PLAIN: Final = "ed25519"
"""Kind of an Ed25519 key that was written as PEM."""
SSH: Final = "ssh-ed25519"
"""Kind of an Ed25519 key that was written as an OpenSSH line; the same key as the plain one."""
HARDWARE: Final = "sk-ssh-ed25519@openssh.com"
"""Kind of an Ed25519 key in a security key."""
ECDSA: Final = "ecdsa-sha2-nistp256"
"""Kind of a P-256 key; it signs through SSHSIG only."""
APPLICATION: Final = b"ssh:"
"""The application that a security key must have been made for."""

_OWNER: Final = "get it again from its owner"
_CURVE: Final = b"nistp256"
_POINT_BYTES: Final = 65  # 0x04, x, y
_PEM: Final = "-----BEGIN "
_KINDS_HINT: Final = "make an Ed25519 key with `mcpguard key generate`, or with `ssh-keygen -t ed25519`"

_P: Final = 2**255 - 19
_ORDER_EIGHT: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
SMALL_ORDER_Y: Final = frozenset({0, 1, _ORDER_EIGHT, _P - _ORDER_EIGHT, _P - 1, _P, _P + 1})
"""The y coordinates of all points of order 1, 2, 4 and 8, with the two that can be written unreduced. The sign
bit does not matter: for each y both signs are such a point, or no point."""


class PublicKey(msgspec.Struct, frozen=True):
    """A key that can vouch.

    Attributes:
        kind: `PLAIN`, `SSH`, `HARDWARE` or `ECDSA`.
        data: 32 bytes of Ed25519, or the 65 bytes of an uncompressed P-256 point.
        comment: What its owner wrote behind it; text of others, never believed.
    """

    kind: str
    data: bytes
    comment: str = ""

    def wire(self) -> bytes:
        """The key as SSH sends it (RFC 4253 6.6); both kinds of Ed25519 give the same bytes."""
        if self.kind == ECDSA:
            return wire_string(ECDSA.encode()) + wire_string(_CURVE) + wire_string(self.data)
        if self.kind == HARDWARE:
            return wire_string(HARDWARE.encode()) + wire_string(self.data) + wire_string(APPLICATION)
        return wire_string(SSH.encode()) + wire_string(self.data)

    @property
    def sha256(self) -> str:
        """SHA-256 of the SSH form, hex: what the ident is made of."""
        return hashlib.sha256(self.wire()).hexdigest()

    @property
    def ident(self) -> str:
        """`SHA256:` and unpadded base64, as `ssh-keygen -l` prints it. One for each key, however it was written."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.wire()).digest()).rstrip(b"=").decode()

    def line(self) -> str:
        """The key as one OpenSSH line, without a line end."""
        wire = self.wire()
        kind = SSH if self.kind == PLAIN else self.kind
        return f"{kind} {base64.b64encode(wire).decode()} {self.comment}".rstrip()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether the key made this signature over exactly these bytes.

        `signature` is 64 bytes: of Ed25519 (RFC 8032; a non-canonical S is refused by OpenSSL), or r and s of
        ECDSA over SHA-256, 32 bytes each. Anything else is False. Not here: envelopes of SSH, flags of hardware keys.
        """
        if len(signature) != 64:
            return False
        try:
            if self.kind == ECDSA:
                point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.data)
                r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
                point.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
            else:
                Ed25519PublicKey.from_public_bytes(self.data).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class PrivateKey:
    """An Ed25519 key that can sign. Shows nothing of itself when printed.

    Args:
        seed: 32 bytes of randomness, or `raw()` of an earlier key.
    """

    __slots__ = ("_key", "public")

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(PLAIN, self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """64 bytes of Ed25519 (RFC 8032)."""
        return self._key.sign(message)

    def raw(self) -> bytes:
        """The 32 secret bytes, for whoever encrypts them."""
        return self._key.private_bytes_raw()

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.ident})"


class Reader:
    """Reads SSH's wire form (RFC 4251 5) from the front of some bytes.

    Every method raises TrustError when the bytes end too early.
    """

    __slots__ = ("_at", "_data", "_what")

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise TrustError(f"{self._what} is cut short", hint="get it again from who made it")
        taken, self._at = self._data[self._at : end], end
        return taken

    def number(self) -> int:
        """A uint32."""
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        """A length and so many bytes."""
        return self.take(self.number())

    def end(self) -> None:
        """Refuse bytes that nobody read."""
        if self._at != len(self._data):
            raise TrustError(f"{self._what} has trailing bytes", hint="get it again from who made it")


def wire_string(data: bytes) -> bytes:
    """SSH's `string`: a length in four bytes, then the bytes."""
    return len(data).to_bytes(4, "big") + data


def parse_public_key(text: str) -> PublicKey:
    """Read a public key: PEM `SubjectPublicKeyInfo` of Ed25519, or one OpenSSH line.

    Raises:
        TrustError: It is not a key, of another kind, of small order, or a private key.
    """
    text = text.strip()
    if len(text) > limits.KEY_TEXT_CHARS:
        raise TrustError("the public key is too long to be one", hint=_KINDS_HINT)
    if text.startswith(_PEM) and text.count(_PEM) == 1:
        return _parse_pem(text)
    return _parse_line(text)


def parse_wire(blob: bytes) -> PublicKey:
    """Read a public key as SSH sends it.

    Raises:
        TrustError: It is not a key, of another kind, or of small order.
    """
    reader = Reader(blob, "the public key")
    kind = reader.string().decode("utf-8", "replace")
    if kind not in {SSH, HARDWARE, ECDSA}:
        raise TrustError(f"keys of kind {kind[:40]!a} are not accepted", hint=_KINDS_HINT)
    curve = reader.string() if kind == ECDSA else _CURVE
    data = reader.string()
    application = reader.string() if kind == HARDWARE else APPLICATION
    reader.end()
    if curve != _CURVE:
        raise TrustError(f"keys of the curve {curve[:40]!a} are not accepted", hint=_KINDS_HINT)
    if application != APPLICATION:
        raise TrustError(
            f"the security key is for the application {application[:40]!a}, not for 'ssh:'",
            hint="make one with `ssh-keygen -t ed25519-sk`",
        )
    return _checked(kind, data)


def _parse_pem(text: str) -> PublicKey:
    """A key from its PEM."""
    if "PRIVATE KEY" in text:
        raise TrustError(
            "this is a private key", hint="give the public one; a private key belongs to nobody else"
        )
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415 (0.6 MiB)

    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustError("the public key cannot be read as PEM", hint=_KINDS_HINT) from error
    if isinstance(key, ec.EllipticCurvePublicKey):
        raise TrustError(
            "ECDSA keys are read from an OpenSSH line, not from PEM",
            hint="convert it with `ssh-keygen -i -m PKCS8 -f FILE`",
        )
    if not isinstance(key, Ed25519PublicKey):
        raise TrustError(f"keys of kind {type(key).__name__} are not accepted", hint=_KINDS_HINT)
    return _checked(PLAIN, key.public_bytes_raw())


def _parse_line(text: str) -> PublicKey:
    """A key from its OpenSSH line: kind, base64, comment."""
    if not text.isprintable():
        raise TrustError("a public key is one printable line", hint="give the content of one .pub file")
    kind, _, rest = text.partition(" ")
    encoded, _, comment = rest.strip().partition(" ")
    try:
        blob = base64.b64decode(encoded.encode(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise TrustError(
            "this is not a public key", hint="give the content of a .pub file, or PEM"
        ) from error
    if base64.b64encode(blob).decode() != encoded or not blob:
        raise TrustError("this is not a public key", hint="give the content of a .pub file, or PEM")
    key = parse_wire(blob)
    if key.kind != kind:
        raise TrustError(f"the line says {kind[:40]!a}, the key in it is {key.kind}", hint=_OWNER)
    return msgspec.structs.replace(key, comment=comment.strip())


def _checked(kind: str, data: bytes) -> PublicKey:
    """A key of one of our kinds whose bytes can be one."""
    if kind == ECDSA:
        try:
            if len(data) != _POINT_BYTES:
                raise ValueError  # a compressed point would be a second spelling
            ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)
        except ValueError as error:
            raise TrustError("the key is not a point of P-256", hint=_OWNER) from error
        return PublicKey(kind, data)
    if len(data) != 32:
        raise TrustError(f"an Ed25519 key has 32 bytes, not {len(data)}", hint=_OWNER)
    y = int.from_bytes(data, "little") & (2**255 - 1)
    if y in SMALL_ORDER_Y:
        raise TrustError(
            "the key is a point of small order, for which anybody can make signatures", hint=_KINDS_HINT
        )
    if y >= _P:
        raise TrustError("the key is not in its one canonical form", hint=_OWNER)
    return PublicKey(kind, data)
