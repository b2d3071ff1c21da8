"""Proof that whoever shows a token holds its key (DPoP, RFC 9449): read, held against the request, without a clock.

Rule 1. A proof is for one request: its method, its URL, its token, a moment.
Rule 2. A token that is bound to a key counts with a proof by that key and the scheme `DPoP` alone; one that is not
bound never counts with them (7.1).

Order: `proved` first; only then may its `jti` use up room (`replay`), for the caller to do.

Source: RFC 9449 4.2, 4.3, 7.1, 8, 9; RFC 7638 (thumbprints).
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from mcpguard.credentials import jws
from mcpguard.errors import PeerError

WINDOW_SECONDS: Final = 60.0
"""How far the moment of a proof may be from now, either way."""
JTI_CHARS: Final = 256
NONCE_SECONDS: Final = 300.0
"""How long a nonce is good for, at least; at most twice that."""
_TYPE: Final = "dpop+jwt"
_PORTS: Final = {"https": 443, "http": 80}
ALGORITHMS: Final = ("EdDSA", "Ed25519", "ES256", "ES384", "ES512", "PS256", "RS256")


class NonceWanted(PeerError):
    """A proof must hold a nonce of ours; `nonce` is one, for the field `DPoP-Nonce` of a 401."""

    def __init__(self, nonce: str) -> None:
        super().__init__(
            "the DPoP proof needs a nonce of this server", hint="send one with the nonce of DPoP-Nonce"
        )
        self.nonce = nonce


class Proof(msgspec.Struct, frozen=True):
    """A proof that holds.

    Attributes:
        thumbprint: Of the key that made it.
        ident: Its `jti`.
        until: Unix seconds from which its age refuses it.
    """

    thumbprint: str
    ident: str
    until: float


def proved(proof: str, method: str, url: str, token: str, now: float, nonces: tuple[str, ...] = ()) -> Proof:
    """Hold a proof against a request.

    Args:
        proof: The field `DPoP`.
        method: HTTP method.
        url: Absolute URL, as the server is called.
        token: The access token that is shown beside it.
        now: Unix seconds.
        nonces: Those that are good, the newest first; empty if none is asked for.

    Raises:
        NonceWanted: It has no nonce, or an old one.
        PeerError: It proves nothing.
    """
    if not proof:
        raise PeerError("the token is bound to a key, and no DPoP proof was shown")
    compact = jws.split(proof, embedded=True)
    if compact.header.get("typ") != _TYPE:
        raise PeerError("the DPoP proof is of another type, expected typ dpop+jwt")
    jws.require_algorithm(compact.algorithm, ALGORITHMS)
    key = jws.read_key(compact.header.get("jwk"))
    if key is None:
        raise PeerError("the DPoP proof carries no public key that can be used (jwk)")
    jws.verify(compact, key, ALGORITHMS)
    claims = compact.payload
    if claims.get("htm") != method:
        raise PeerError("the DPoP proof is for another method (htm)")
    if not _same(claims.get("htu"), url):
        raise PeerError("the DPoP proof is for another address (htu)")
    digest = jws.encoded(hashlib.sha256(token.encode()).digest())
    ath = claims.get("ath")
    if not isinstance(ath, str) or not hmac.compare_digest(ath.encode(), digest.encode()):
        raise PeerError("the DPoP proof is for another token (ath)")
    until = _fresh(claims.get("iat"), now)
    ident = claims.get("jti")
    if not isinstance(ident, str) or not 0 < len(ident) <= JTI_CHARS:
        raise PeerError(f"the DPoP proof has no jti of 1 to {JTI_CHARS} characters")
    if nonces:
        shown = claims.get("nonce")
        if not isinstance(shown, str) or not any(
            hmac.compare_digest(shown.encode(), one.encode()) for one in nonces
        ):
            raise NonceWanted(nonces[0])
    return Proof(key.thumbprint, ident, until)


def require_scheme(scheme: str, bound: str, wanted: str) -> bool:
    """Whether a proof is to be looked at, by the scheme, the key that the token is bound to, and what rules say.

    Raises:
        PeerError: They do not go together.
    """
    shown = scheme == "dpop"
    if wanted == "off" and (shown or bound):
        raise PeerError("tokens that are bound to a key (DPoP) are not accepted here")
    if bound and not shown:
        raise PeerError("the token is bound to a key: show it with the scheme DPoP, not Bearer")
    if shown and not bound:
        raise PeerError("the token is not bound to a key (cnf.jkt), and was shown with the scheme DPoP")
    if wanted == "required" and not bound:
        raise PeerError("only tokens that are bound to a key (DPoP) are accepted here")
    return bool(bound)


def require_key(proof: Proof, bound: str) -> None:
    """The proof was made by the key that the token is bound to.

    Raises:
        PeerError: It was not.
    """
    if not hmac.compare_digest(proof.thumbprint.encode(), bound.encode()):
        raise PeerError("the DPoP proof was made with another key than the token is bound to")


def nonces(key: bytes, now: float) -> tuple[str, str]:
    """The nonce of now and the one before, made of a secret key and the time: nothing is kept of them."""
    turn = int(now // NONCE_SECONDS)
    made = (hmac.digest(key, b"dpop %d" % each, "sha256")[:18] for each in (turn, turn - 1))
    newest, before = (jws.encoded(each) for each in made)
    return newest, before


def _fresh(issued: object, now: float) -> float:
    if isinstance(issued, bool) or not isinstance(issued, int | float) or abs(now - issued) > WINDOW_SECONDS:
        raise PeerError("the DPoP proof is not of now (iat)", hint="compare the clocks")
    return issued + WINDOW_SECONDS


def _same(found: object, url: str) -> bool:
    """Whether two URLs are the same but for query and fragment (RFC 9449 4.3, 9; RFC 3986 6.2.2, 6.2.3)."""
    try:
        return isinstance(found, str) and _plain(urlsplit(found)) == _plain(urlsplit(url))
    except ValueError:
        return False


def _plain(url: SplitResult) -> tuple[str, str, int, str]:
    if url.username is not None or url.password is not None or not url.hostname:
        raise ValueError("not an address of a server")
    scheme = url.scheme.lower()
    return scheme, url.hostname.lower(), url.port or _PORTS.get(scheme, 0), url.path or "/"
