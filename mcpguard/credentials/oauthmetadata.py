"""Where metadata of OAuth is, and what counts of it (RFC 9728, RFC 8414, OpenID Connect Discovery 1.0).

Rule 1: a document speaks only for the name that its URL was made of: `resource` and `issuer` are compared, and one
that names another is refused, never followed.
Rule 2: every URL in it is checked (`oauthurls`) before anybody uses it.
Rule 3: an authorization server that does not say that it knows S256 is not used for logins.

Source: MCP authorization, revision 2026-07-28; its fall-backs for servers of earlier revisions are `legacy_server`.

Decided: *the fixed endpoints of revision 2025-03-26 are used only if a server has no metadata at all*, on its own
origin; PKCE is sent there, too, since that revision demands it of both sides although nothing advertises it.
"""

from __future__ import annotations

from typing import Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from mcpguard import limits
from mcpguard.credentials import oauthurls
from mcpguard.credentials.oautherror import OAuthError, shown
from mcpguard.credentials.oauthpkce import METHOD

_RESOURCE: Final = "/.well-known/oauth-protected-resource"
_SERVER: Final = "/.well-known/oauth-authorization-server"
_OPENID: Final = "/.well-known/openid-configuration"


class ProtectedResource(msgspec.Struct, frozen=True):
    """Metadata of a remote server (RFC 9728 2), as far as it matters here.

    Attributes:
        resource: Its identifier, which tokens are bound to.
        authorization_servers: Issuers of tokens for it.
        scopes_supported: Scopes that it knows.
        bearer_methods_supported: How it takes tokens; None if it does not say.
        dpop_bound_access_tokens_required: Whether it takes none without a proof of possession (RFC 9449).
    """

    resource: str
    authorization_servers: tuple[str, ...] = ()
    scopes_supported: tuple[str, ...] = ()
    bearer_methods_supported: tuple[str, ...] | None = None
    dpop_bound_access_tokens_required: bool = False


class AuthorizationServer(msgspec.Struct, frozen=True):
    """Metadata of an authorization server (RFC 8414 2), as far as it matters here.

    Attributes:
        issuer: Its name; compared as a string, never normalised.
        token_endpoint: Where grants become tokens.
        authorization_endpoint: Where a person logs in; empty if nobody can.
        registration_endpoint: Where clients register themselves (RFC 7591); empty if they cannot.
        revocation_endpoint: Where tokens are given back (RFC 7009); empty if they cannot be.
        code_challenge_methods_supported: PKCE methods that it knows.
        token_endpoint_auth_methods_supported: How clients may authenticate.
        token_endpoint_auth_signing_alg_values_supported: Algorithms of `private_key_jwt`.
        scopes_supported: Scopes that it knows.
        dpop_signing_alg_values_supported: Algorithms of proofs that it takes; empty if it knows no DPoP.
        authorization_response_iss_parameter_supported: Whether every answer of it names it (RFC 9207).
        client_id_metadata_document_supported: Whether a client id may be the URL of a document.
        fixed: Whether this was assumed, and read nowhere (revision 2025-03-26). Never in a document.
    """

    issuer: str
    token_endpoint: str = ""
    authorization_endpoint: str = ""
    registration_endpoint: str = ""
    revocation_endpoint: str = ""
    code_challenge_methods_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    token_endpoint_auth_signing_alg_values_supported: tuple[str, ...] = ()
    scopes_supported: tuple[str, ...] = ()
    dpop_signing_alg_values_supported: tuple[str, ...] = ()
    authorization_response_iss_parameter_supported: bool = False
    client_id_metadata_document_supported: bool = False
    fixed: bool = False


_ENDPOINTS: Final = (
    "token_endpoint",
    "authorization_endpoint",
    "registration_endpoint",
    "revocation_endpoint",
)
_Document = TypeVar("_Document", ProtectedResource, AuthorizationServer)


def resource_urls(url: str) -> tuple[str, ...]:
    """Where the metadata of a server may be, most specific first (RFC 9728 3.1), for one that names no place."""
    base, path = oauthurls.origin(url), urlsplit(url).path.rstrip("/")
    return (f"{base}{_RESOURCE}{path}", f"{base}{_RESOURCE}") if path else (f"{base}{_RESOURCE}",)


def server_urls(issuer: str) -> tuple[str, ...]:
    """Where the metadata of an issuer may be, in the order in which to try (MCP authorization, "Server Metadata")."""
    base, path = oauthurls.origin(issuer), urlsplit(issuer).path.rstrip("/")
    if not path:
        return f"{base}{_SERVER}", f"{base}{_OPENID}"
    return f"{base}{_SERVER}{path}", f"{base}{_OPENID}{path}", f"{base}{path}{_OPENID}"


def accept_issuer(issuer: str, *, plain: bool) -> str:
    """The issuer, if it can be one: a URL without query (RFC 8414 2).

    Raises:
        OAuthError: It cannot.
    """
    oauthurls.accept(issuer, "the issuer", plain=plain)
    if "?" in issuer:
        raise OAuthError(f"the issuer {shown(issuer)} is refused: it has a query")
    return issuer


def parse_resource(body: bytes, url: str, *, plain: bool) -> ProtectedResource:
    """Metadata of the server at `url`. `plain`: http to this machine is acceptable, because `url` is.

    Raises:
        OAuthError: It is none, speaks for another resource, or names what is not acceptable.
    """
    found = _decoded(body, ProtectedResource, "the server's protected-resource metadata")
    oauthurls.accept(found.resource, "the resource of the server's metadata", plain=plain)
    if not oauthurls.within(url, found.resource):
        raise OAuthError(f"the server's metadata is that of another resource, {shown(found.resource)}")
    if found.bearer_methods_supported is not None and "header" not in found.bearer_methods_supported:
        raise OAuthError("the server takes no tokens in the Authorization header")
    if not 0 < len(found.authorization_servers) <= limits.OAUTH_SERVERS:
        raise OAuthError("the server's metadata names no authorization server, or too many")
    for issuer in found.authorization_servers:
        accept_issuer(issuer, plain=plain)
    return found


def parse_server(body: bytes, issuer: str, *, plain: bool) -> AuthorizationServer:
    """Metadata that was read from one of `server_urls(issuer)`.

    Raises:
        OAuthError: It is none, names another issuer, or endpoints that are not acceptable.
    """
    found = _decoded(body, AuthorizationServer, "the authorization server's metadata")
    if found.issuer != issuer:
        raise OAuthError(
            f"the metadata of {shown(issuer)} names another issuer, {shown(found.issuer)}",
            hint="that is how one authorization server passes itself off as another; tell whoever runs the server",
        )
    if not found.token_endpoint:
        raise OAuthError(f"the metadata of {shown(issuer)} names no token endpoint")
    for name in _ENDPOINTS:
        if url := getattr(found, name):
            oauthurls.accept(url, f"the {name} of {shown(issuer)}", plain=plain)
    return msgspec.structs.replace(found, fixed=False)


def legacy_server(url: str) -> AuthorizationServer:
    """What a server of revision 2025-03-26 without metadata is assumed to be: its own authorization server."""
    base = oauthurls.origin(url)
    return AuthorizationServer(
        issuer=base,
        authorization_endpoint=f"{base}/authorize",
        token_endpoint=f"{base}/token",
        registration_endpoint=f"{base}/register",
        token_endpoint_auth_methods_supported=("none", "client_secret_post"),
        fixed=True,
    )


def require_login(server: AuthorizationServer) -> None:
    """A person can log in there, with PKCE.

    Raises:
        OAuthError: Not so.
    """
    if not server.authorization_endpoint:
        raise OAuthError(f"nobody can log in at {shown(server.issuer)}: it has no authorization endpoint")
    if METHOD not in server.code_challenge_methods_supported and not server.fixed:
        raise OAuthError(
            f"{shown(server.issuer)} does not say that it knows PKCE with S256",
            hint="a login there could be taken over; its operator must advertise code_challenge_methods_supported",
        )


def _decoded(body: bytes, kind: type[_Document], what: str) -> _Document:
    if len(body) > limits.OAUTH_METADATA_BYTES:
        raise OAuthError(f"{what} is longer than {limits.OAUTH_METADATA_BYTES} bytes")
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError) as error:
        raise OAuthError(f"{what} is none: {shown(str(error))}") from error
