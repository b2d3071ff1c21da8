"""What we sign: proofs of possession (DPoP, RFC 9449 4.2) and assertions of a client (RFC 7523 2.2).

The library comes with the extra `http` and is imported when it is used.

Cost: a proof 0.1 ms, most of it the signature; only servers that want proofs get them.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
from collections.abc import Sequence
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from mcpguard.credentials.oauthclient import ALGORITHM, Client
from mcpguard.credentials.oautherror import OAuthError, shown
from mcpguard.credentials.oauthmetadata import AuthorizationServer

_ASSERTION_SECONDS: Final = 60
_LATE: Final = "pip install 'mcpguard[http]'"


def new_key() -> str:
    """A new private key for proofs, PEM: P-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


class Prover:
    """Signs proofs with one key.

    Args:
        pem: The private key, as `new_key` makes it.
    """

    def __init__(self, pem: str) -> None:
        self._jwt = _jwt()
        self._key = _loaded(pem)
        self._jwk = self._jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)

    def proof(
        self, method: str, url: str, *, now: float, ident: str, nonce: str = "", access: str = ""
    ) -> str:
        """The value of the `DPoP` field of one request.

        Args:
            method: Of the request.
            url: Of the request; query and fragment are left out.
            now: Unix seconds.
            ident: Unique, unpredictable.
            nonce: What the server gave for the next proof; empty if it gave none.
            access: The token that it goes with; empty at a token endpoint.
        """
        claims: dict[str, Any] = {
            "jti": ident,
            "htm": method,
            "htu": url.partition("?")[0].partition("#")[0],
            "iat": int(now),
        }
        if nonce:
            claims["nonce"] = nonce
        if access:
            claims["ath"] = (
                base64.urlsafe_b64encode(hashlib.sha256(access.encode()).digest()).rstrip(b"=").decode()
            )
        headers = {"typ": "dpop+jwt", "jwk": self._jwk}
        proof: str = self._jwt.encode(claims, self._key, algorithm=ALGORITHM, headers=headers)
        return proof


def client_assertion(client: Client, server: AuthorizationServer, *, now: float, ident: str) -> str:
    """A signed assertion that we are this client, for one authorization server.

    Raises:
        OAuthError: The key cannot be used, or its algorithm is not known there.
    """
    key = _loaded(client.secret)
    known = server.token_endpoint_auth_signing_alg_values_supported
    algorithm = _algorithm(key, known)
    if known and algorithm not in known:
        raise OAuthError(
            f"{shown(server.issuer)} takes no signatures of the kind {algorithm}", hint=" ".join(known)
        )
    claims = {
        "iss": client.client_id,
        "sub": client.client_id,
        "aud": server.issuer,
        "jti": ident,
        "iat": int(now),
        "exp": int(now) + _ASSERTION_SECONDS,
    }
    headers = {"kid": client.key_id} if client.key_id else None
    made: str = _jwt().encode(claims, key, algorithm=algorithm, headers=headers)
    return made


def _algorithm(key: PrivateKeyTypes, known: Sequence[str]) -> str:
    match key:
        case ec.EllipticCurvePrivateKey() if isinstance(key.curve, ec.SECP256R1):
            return ALGORITHM
        case ed25519.Ed25519PrivateKey():
            return "EdDSA"
        case rsa.RSAPrivateKey() if key.key_size >= 2048:
            return "PS256" if "PS256" in known else "RS256"  # what every server knows that says nothing
        case _:
            raise OAuthError("the client's key is no P-256, Ed25519 or RSA key of 2048 bits")


def _loaded(pem: str) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise OAuthError("the client's key is no private key in PEM without a passphrase") from error


def _jwt() -> Any:
    try:
        return importlib.import_module("jwt")
    except ImportError as error:
        raise OAuthError("signing needs a library that is not installed", hint=_LATE) from error
