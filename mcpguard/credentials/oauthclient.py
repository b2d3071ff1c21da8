"""Clients: what we are to one authorization server, and how that comes about.

Source: MCP authorization, "Client Registration Approaches", revision 2026-07-28.

Rule 1: a client belongs to one issuer and is used at no other: `of` checks it each time.
Rule 2: the order is what a person has registered, the document at a URL, registering ourselves, asking a person.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.credentials import oauthurls
from mcpguard.credentials.oautherror import OAuthError, shown
from mcpguard.credentials.oauthmetadata import AuthorizationServer
from mcpguard.model import JsonObject

NAME: Final = "mcpguard"
GRANTS: Final = ("authorization_code", "refresh_token")
NONE, BASIC, POST, JWT = "none", "client_secret_basic", "client_secret_post", "private_key_jwt"
ALGORITHM: Final = "ES256"
"""Of our proofs and assertions: short keys, asymmetric, known everywhere."""


class Client(msgspec.Struct, frozen=True):
    """Ourselves at one authorization server; it may hold secrets, so it has no representation.

    Attributes:
        issuer: The authorization server.
        client_id: Our name there.
        how: `given` by a person, `document`, `registered` by ourselves.
        method: How we authenticate: `none`, `client_secret_basic`, `client_secret_post`, `private_key_jwt`.
        secret: The client secret; or the private key, PEM, for `private_key_jwt`. Empty for `none`.
        key_id: `kid` of that key; empty for none.
        redirect: The redirect URI that is registered; empty if any port of this machine will do.
        expires: Unix seconds after which the secret does not count any more; 0 for never.
    """

    issuer: str
    client_id: str
    how: str = "given"
    method: str = NONE
    secret: str = ""
    key_id: str = ""
    redirect: str = ""
    expires: float = 0.0

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Client({self.issuer!a}, {self.client_id!a}, {self.method})"

    def of(self, issuer: str) -> Client:
        """This client, for use at an issuer.

        Raises:
            OAuthError: It is another's.
        """
        if self.issuer != issuer:
            raise OAuthError(f"the client of {shown(self.issuer)} is not used at {shown(issuer)}")
        return self


class _Registered(msgspec.Struct, frozen=True):
    """What RFC 7591 3.2.1 answers."""

    client_id: str
    client_secret: str = ""
    client_secret_expires_at: float = 0.0
    token_endpoint_auth_method: str = ""
    redirect_uris: tuple[str, ...] = ()


def place(issuer: str) -> str:
    """Names the client of an issuer in the store: a digest, since issuers are chosen by others."""
    return f"oauth/client/{hashlib.sha256(issuer.encode()).hexdigest()[:32]}"


def given(issuer: str, client_id: str, secret: str = "", key_id: str = "", *, post: bool = False) -> Client:
    """A client that a person has registered; a PEM key as the secret means `private_key_jwt`.

    `post`: it is registered to send the secret in the form, and not as HTTP Basic.

    Raises:
        OAuthError: It cannot be one.
    """
    _require_text(client_id, "the client id")
    if secret.lstrip().startswith("-----BEGIN"):
        return Client(issuer, client_id, method=JWT, secret=secret, key_id=key_id)
    if secret:
        _require_text(secret, "the client secret")
    method = POST if post else BASIC
    return Client(issuer, client_id, method=method if secret else NONE, secret=secret)


def document(issuer: str, url: str) -> Client:
    """The client whose id is the URL of its document (client-id metadata documents).

    Raises:
        OAuthError: It cannot be one: not https, or without a path.
    """
    oauthurls.accept(url, "the URL of the client-id document")
    if oauthurls.canonical(url) == oauthurls.origin(url) or "?" in url:
        raise OAuthError(f"the URL of the client-id document {shown(url)} needs a path, and no query")
    return Client(issuer, url, how="document")


def document_text(url: str, redirects: tuple[str, ...] = ("http://127.0.0.1/callback",)) -> JsonObject:
    """The document to put at that URL."""
    return {
        "client_id": url,
        "client_name": NAME,
        "application_type": "native",
        "redirect_uris": list(redirects),
        "grant_types": list(GRANTS),
        "response_types": ["code"],
        "token_endpoint_auth_method": NONE,
    }


def choose(server: AuthorizationServer, known: Client | None, document_url: str, now: float) -> Client | None:
    """Who we are at an authorization server; None if we have to register ourselves first.

    Args:
        server: Its metadata.
        known: The client that is kept for it.
        document_url: Where our client-id document is; empty if nobody has put it anywhere.
        now: Unix seconds.

    Raises:
        OAuthError: A person has to register us.
    """
    if known is not None and known.of(server.issuer).how == "given":
        return known
    if document_url and server.client_id_metadata_document_supported:
        return document(server.issuer, document_url)
    if known is not None and not 0 < known.expires <= now:
        return known
    if server.registration_endpoint:
        return None
    raise OAuthError(
        f"{shown(server.issuer)} registers no clients by itself",
        hint="register mcpguard there by hand, then say --issuer and --client-id to mcpguard remote login",
    )


def registration(redirect: str, scope: str, server: AuthorizationServer) -> JsonObject:
    """What we say of ourselves when we register (RFC 7591 2; `application_type` since revision 2026-07-28)."""
    methods = server.token_endpoint_auth_methods_supported
    # the Python SDK revokes nothing for clients with client_secret_basic: its endpoint wants the secret in the form
    method = next((each for each in (NONE, POST, BASIC) if each in methods), NONE)
    return {
        "client_name": NAME,
        "application_type": "native",
        "redirect_uris": [redirect],
        "grant_types": list(GRANTS),
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        **({"scope": scope} if scope else {}),
    }


def registered(status: int, body: bytes, issuer: str, redirect: str) -> Client:
    """The client that an authorization server has made of us.

    Raises:
        OAuthError: It has not, or not one that can be used.
    """
    if status not in (200, 201):
        raise OAuthError(f"{shown(issuer)} does not register us: it answers {status}", hint=_by_hand(issuer))
    if len(body) > limits.OAUTH_METADATA_BYTES:
        raise OAuthError(f"{shown(issuer)} answers our registration with too much")
    try:
        found = msgspec.json.decode(body, type=_Registered)
    except (ValueError, RecursionError) as error:
        raise OAuthError(
            f"{shown(issuer)} does not answer our registration properly: {shown(str(error))}"
        ) from error
    _require_text(found.client_id, "the client id")
    if found.redirect_uris and redirect not in found.redirect_uris:
        raise OAuthError(f"{shown(issuer)} registered another redirect URI than ours")
    method = found.token_endpoint_auth_method or (BASIC if found.client_secret else NONE)
    if method not in (NONE, BASIC, POST) or (method != NONE) is not bool(found.client_secret):
        if method != NONE:
            raise OAuthError(f"{shown(issuer)} registered us with {shown(method)}, which we cannot do")
        method = NONE
    secret = found.client_secret if method != NONE else ""
    if secret:
        _require_text(secret, "the client secret")
    return Client(
        issuer,
        found.client_id,
        how="registered",
        method=method,
        secret=secret,
        redirect=redirect,
        expires=found.client_secret_expires_at,
    )


def _by_hand(issuer: str) -> str:
    return f"register mcpguard at {shown(issuer)} by hand, then say --issuer and --client-id"


def _require_text(text: str, what: str) -> None:
    """RFC 6749 appendix A: visible ASCII and spaces."""
    if not 0 < len(text) <= limits.OAUTH_URL_CHARS or not (text.isascii() and text.isprintable()):
        raise OAuthError(f"{what} is empty, too long, or has characters that are not visible ASCII")
