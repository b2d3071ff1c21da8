"""Signed tokens in the compact form, read strictly, and the public keys that verify them.

Rule 1. A token names a key by `kid`, and nothing else of it says where a key comes from: `jwk`, `jku`, `x5u` and
`x5c` are refused, not followed. So is `crit`, since no extension is understood, and `b64`.
Rule 2. Only signatures by private keys count. `none` and HMAC are in no list: with HMAC, a public key would be a
secret that everybody knows.
Rule 3. A key is used for the algorithms of its own kind and curve alone, whatever the token says.
Rule 4. Sentences never repeat a token.

Source: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7518, RFC 8037, RFC 9864, RFC 8725 (best practices). The arithmetic is
PyJWT's, of the extra `http`, imported when the first key is read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcpguard.errors import PeerError
from mcpguard.model import Json, JsonObject

ALGORITHMS: Final = (
    "EdDSA", "Ed25519", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512",
)  # fmt: skip
"""What may be allowed; of it, configuration says what is."""
TOKEN_BYTES: Final = 16 * 1024
"""Longest token, bytes; providers with many groups reach 8 KiB."""
KID_CHARS: Final = 256
"""Longest key id, characters."""
KEYS: Final = 64
"""Keys of one issuer; rotation keeps 2 to 4."""
RSA_BITS: Final = 2048
_RSA_MOST: Final = 8192
_FOREIGN: Final = ("jwk", "jku", "x5u", "x5c", "crit", "b64")
_NAMES: Final = {
    "jwk": "a key of its own", "jku": "an address of keys", "x5u": "an address of certificates",
    "x5c": "certificates of its own", "crit": "extensions that must be understood", "b64": "another encoding",
}  # fmt: skip
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]*")
_CURVES: Final = {
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA", "Ed25519"),
}
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_MEMBERS: Final = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
"""What a thumbprint is made of (RFC 7638 3.2, RFC 8037 2)."""


class Compact(msgspec.Struct, frozen=True):
    """A token in its parts, nothing of it believed yet.

    Attributes:
        header: The protected header.
        payload: The claims.
        signed: What the signature is over.
        signature: The signature.
    """

    header: JsonObject
    payload: JsonObject
    signed: bytes
    signature: bytes

    @property
    def algorithm(self) -> str:
        """`alg`; empty if it is none that can be."""
        value = self.header.get("alg")
        return value if isinstance(value, str) else ""


class Key(msgspec.Struct, frozen=True, eq=False):
    """A public key.

    Attributes:
        kid: Its id; empty if it has none.
        algorithms: What it may verify.
        thumbprint: RFC 7638, base64url.
        public: The key as PyJWT's algorithms take it.
    """

    kid: str
    algorithms: tuple[str, ...]
    thumbprint: str
    public: Any


def split(token: str, *, embedded: bool = False) -> Compact:
    """Read a token; with `embedded`, a proof, whose header carries its key as it must (RFC 9449 4.2).

    Raises:
        PeerError: It is none, too long, or says what no token may say.
    """
    if len(token) > TOKEN_BYTES:
        raise PeerError(f"the token is longer than {TOKEN_BYTES} bytes")
    parts = token.split(".")
    if len(parts) != 3 or not all(_SEGMENT.fullmatch(part) for part in parts) or not all(parts[:2]):
        raise PeerError("what was shown is not a signed token of three parts")
    header = _object(parts[0], "header of the token is")
    for name in _FOREIGN:
        if name in header and not (embedded and name == "jwk"):
            raise PeerError(f"the token brings {_NAMES[name]} ({name}), which is never used")
    kid = header.get("kid")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= KID_CHARS and kid.isprintable()):
        raise PeerError(f"the token names no key: expected a kid of 1 to {KID_CHARS} visible characters")
    payload = _object(parts[1], "claims of the token are")
    return Compact(header, payload, f"{parts[0]}.{parts[1]}".encode(), decoded(parts[2]))


def verify(compact: Compact, key: Key, allowed: tuple[str, ...]) -> None:
    """The signature is the key's, by an algorithm that is allowed, and that the key is for.

    Raises:
        PeerError: It is not.
    """
    name = compact.algorithm
    require_algorithm(name, allowed)
    if name not in key.algorithms:
        raise PeerError(f"the token says {name}, and its key is for {' or '.join(key.algorithms)}")
    try:
        good = _algorithms()[name].verify(compact.signed, key.public, compact.signature)
    except Exception as error:  # whatever a library makes of bytes of strangers is no signature
        raise PeerError("the signature of the token cannot be read") from error
    if not good:
        raise PeerError("the signature of the token is wrong")


def require_algorithm(name: str, allowed: tuple[str, ...]) -> None:
    """An algorithm may be used.

    Raises:
        PeerError: It may not.
    """
    if name not in allowed or name not in ALGORITHMS:
        shown = name if name.isascii() and name.isalnum() and len(name) < 16 else "something else"
        raise PeerError(f"the token is signed with {shown or 'nothing'}, expected {' or '.join(allowed)}")


def read_key(jwk: Json) -> Key | None:
    """A key of a set; None for one that can verify no token: of another kind, use, curve, or too short.

    Raises:
        PeerError: The extra `http` is not installed.
    """
    if not isinstance(jwk, dict) or "d" in jwk or "k" in jwk:
        return None  # a private key that was published protects nothing
    able = _able(jwk)
    if not able or jwk.get("use", "sig") != "sig":
        return None
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if "alg" in jwk:
        able = tuple(name for name in able if jwk["alg"] in (name, "EdDSA" if name == "Ed25519" else name))
    kid = jwk.get("kid", "")
    if not able or not isinstance(kid, str) or len(kid) > KID_CHARS:
        return None
    members = {name: jwk[name] for name in _MEMBERS[jwk["kty"]] if isinstance(jwk.get(name), str)}
    try:
        public = _algorithms()[able[0]].from_jwk(members)
        size = getattr(public, "key_size", 256)
    except PeerError:
        raise
    except Exception:  # noqa: BLE001 (as in `verify`: it is no key)
        return None
    if jwk["kty"] == "RSA" and not RSA_BITS <= size <= _RSA_MOST:
        return None
    return Key(kid, able, thumbprint(members), public)


def read_keys(document: Json) -> tuple[Key, ...]:
    """The keys of a set that can verify something (RFC 7517 5).

    Raises:
        PeerError: It is no set, or has too many keys.
    """
    found = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise PeerError("the issuer's keys are not a set of keys (keys)")
    if len(found) > KEYS:
        raise PeerError(f"the issuer has {len(found)} keys, expected at most {KEYS}")
    return tuple(key for each in found if (key := read_key(each)) is not None)


def thumbprint(jwk: Mapping[str, Json]) -> str:
    """The SHA-256 thumbprint of a public key, base64url (RFC 7638)."""
    members = {name: jwk[name] for name in _MEMBERS[jwk["kty"]]}
    return encoded(
        hashlib.sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest()
    )


def encoded(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """The bytes of base64url without padding.

    Raises:
        PeerError: It is not that, or not its only spelling.
    """
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise PeerError("what was shown is not a token: its parts are not base64url") from error
    if encoded(data) != text:
        raise PeerError("what was shown is not a token: its parts are not base64url")
    return data


def _able(jwk: JsonObject) -> tuple[str, ...]:
    match jwk.get("kty"):
        case "RSA":
            return _RSA
        case "EC" | "OKP" as kind:
            curve = jwk.get("crv")
            fits = isinstance(curve, str) and (curve == "Ed25519") == (kind == "OKP")
            return _CURVES.get(curve, ()) if fits and isinstance(curve, str) else ()
        case _:
            return ()


def _object(segment: str, what: str) -> JsonObject:
    value = read_json(decoded(segment))
    if not isinstance(value, dict):
        raise PeerError(f"the {what} not a JSON object with each name once")
    return value


def read_json(data: bytes) -> Json:
    """JSON of strangers: names that stand twice, numbers that JSON has not, and lone surrogates make it None."""
    try:
        value = json.loads(data, object_pairs_hook=_once, parse_constant=_no_number)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value


def _once(pairs: list[tuple[str, Json]]) -> JsonObject:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice")
    return made


def _no_number(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def require_library() -> None:
    """What verifies signatures is installed; it is imported now.

    Raises:
        PeerError: It is not; the sentence says how to install it.
    """
    _algorithms()


_loaded: Final[dict[str, Any]] = {}


def _algorithms() -> Mapping[str, Any]:
    """PyJWT's algorithms by name.

    Raises:
        PeerError: It is not installed.
    """
    if not _loaded:
        try:
            from jwt.algorithms import get_default_algorithms  # noqa: PLC0415 (an extra; costs 0.1 s)
        except ImportError as error:
            raise PeerError(
                "tokens need more to be installed", hint="pip install 'mcpguard[http]'"
            ) from error
        known = get_default_algorithms()
        _loaded.update({name: known["EdDSA" if name == "Ed25519" else name] for name in ALGORITHMS})
    return _loaded
