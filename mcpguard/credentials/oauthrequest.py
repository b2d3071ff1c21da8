"""Requests to an authorization server, as values: the URL that a person opens, and the forms of the token endpoint.

Every one that leads to a token for a server names the resource it is for (RFC 8707).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit

import msgspec

from mcpguard.credentials.oauthclient import BASIC, JWT, POST, Client
from mcpguard.credentials.oautherror import OAuthError, shown
from mcpguard.credentials.oauthmetadata import AuthorizationServer
from mcpguard.credentials.oauthpkce import METHOD, challenge_of

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ID_JAG: Final = "urn:ietf:params:oauth:token-type:id-jag"
ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 (a name)


class Attempt(msgspec.Struct, frozen=True):
    """What is remembered of one login until its answer comes.

    Attributes:
        issuer: Whom the person was sent to, recorded before (RFC 9207 2.4).
        client_id: Our name there.
        redirect: Where the answer comes.
        resource: What the token is for.
        scope: What is asked for.
        state: Random; ties the answer to this attempt.
        verifier: Random; what redeems the code (PKCE). A secret.
        names_itself: Whether the answer must name the issuer.
    """

    issuer: str
    client_id: str
    redirect: str
    resource: str
    scope: str
    state: str
    verifier: str
    names_itself: bool = False

    def __repr__(self) -> str:
        """Without state and verifier."""
        return f"Attempt({self.issuer!a}, {self.client_id!a}, {self.resource!a})"


def authorization_url(server: AuthorizationServer, attempt: Attempt) -> str:
    """The URL at which a person logs in.

    Raises:
        OAuthError: The endpoint has parameters of ours already.
    """
    parameters = {
        "response_type": "code",
        "client_id": attempt.client_id,
        "redirect_uri": attempt.redirect,
        "state": attempt.state,
        "code_challenge": challenge_of(attempt.verifier),
        "code_challenge_method": METHOD,
        **_named("resource", attempt.resource),
        **_named("scope", attempt.scope),
    }
    if "offline_access" in attempt.scope.split(" "):
        parameters["prompt"] = "consent"  # OpenID Connect Core 11
    query = urlsplit(server.authorization_endpoint).query
    if taken := {name for name, _ in parse_qsl(query, keep_blank_values=True)} & {
        *parameters,
        "request",
        "request_uri",
    }:
        raise OAuthError(f"the authorization endpoint brings {shown(min(taken))} along, which is ours to say")
    return f"{server.authorization_endpoint}{'&' if query else '?'}{urlencode(parameters)}"


def code_form(attempt: Attempt, code: str) -> dict[str, str]:
    """Redeems a code (RFC 6749 4.1.3)."""
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": attempt.redirect,
        "code_verifier": attempt.verifier,
        **_named("resource", attempt.resource),
    }


def refresh_form(refresh: str, resource: str) -> dict[str, str]:
    """Refreshes a token (RFC 6749 6), in the scope that it has."""
    return {"grant_type": "refresh_token", "refresh_token": refresh, **_named("resource", resource)}


def client_form(resource: str, scope: str) -> dict[str, str]:
    """Asks for a token of our own (RFC 6749 4.4)."""
    return _scoped({"grant_type": "client_credentials", "resource": resource}, scope)


def exchange_form(
    subject: str, audience: str, resource: str, scope: str, kind: str = ID_TOKEN
) -> dict[str, str]:
    """Asks an identity provider for an assertion to another authorization server (RFC 8693 2.1; ID-JAG draft 4.3)."""
    form = {
        "grant_type": EXCHANGE,
        "requested_token_type": ID_JAG,
        "subject_token": subject,
        "subject_token_type": kind,
        "audience": audience,
        "resource": resource,
    }
    return _scoped(form, scope)


def assertion_form(assertion: str, resource: str, scope: str) -> dict[str, str]:
    """Hands in an assertion of somebody else (RFC 7523 2.1)."""
    return _scoped({"grant_type": BEARER, "assertion": assertion, "resource": resource}, scope)


def authenticated(
    form: Mapping[str, str], client: Client, issuer: str, assertion: str = ""
) -> tuple[dict[str, str], bytes]:
    """A form with the client's authentication, as header fields and a body.

    Args:
        form: What is asked.
        client: Who asks.
        issuer: Of the endpoint that the form goes to.
        assertion: The signed assertion, for `private_key_jwt`.

    Raises:
        OAuthError: The client belongs to another issuer.
    """
    client.of(issuer)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    # always in the body, too: servers of the Python SDK look for it there, whatever the method
    fields = {**form, "client_id": client.client_id}
    match client.method:
        case str(method) if method == BASIC:
            # RFC 6749 2.3.1: both are form-encoded before they are joined
            pair = f"{quote_plus(client.client_id)}:{quote_plus(client.secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        case str(method) if method == POST:
            fields["client_secret"] = client.secret
        case str(method) if method == JWT:
            fields |= {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
        case _:
            pass  # a public client says who it is, and that is all
    return headers, urlencode(fields).encode()


def method_at(server: AuthorizationServer, client: Client) -> Client:
    """The client with a way to authenticate that the server knows.

    Raises:
        OAuthError: It knows none that the client can do.
    """
    known = server.token_endpoint_auth_methods_supported
    if client.method in known or client.method not in (BASIC, POST) or client.how == "registered":
        return client
    other = POST if client.method == BASIC else BASIC
    if other in known:
        return msgspec.structs.replace(client, method=other)
    raise OAuthError(
        f"{shown(server.issuer)} takes no client secrets", hint=f"it takes {shown(' '.join(known))}"
    )


def _scoped(form: dict[str, str], scope: str) -> dict[str, str]:
    return {**form, **_named("scope", scope)}


def _named(name: str, value: str) -> dict[str, str]:
    """A parameter that is left out if it is empty."""
    return {name: value} if value else {}
