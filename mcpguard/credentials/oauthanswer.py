"""Answers of an authorization server: the redirect of a login, and what the token endpoint says.

Rule 1: whose answer it is comes before what it says: state, then issuer, then the error or the code (RFC 9207 2.4).
Rule 2: a parameter that comes twice is refused (RFC 6749 3.1).
Rule 3: a token that would not fit into a header field is none.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from mcpguard import limits
from mcpguard.credentials.oautherror import OAuthError, shown
from mcpguard.credentials.oauthrequest import ID_JAG, Attempt
from mcpguard.credentials.oauthscopes import parse_scopes
from mcpguard.model import JsonObject

_BEARER: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_CODE: Final = re.compile(r"[\x20-\x7e]+")
_NAME: Final = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,64}")


class Granted(msgspec.Struct, frozen=True):
    """A token, just granted; secrets, so it has no representation.

    Attributes:
        access: The access token.
        kind: `Bearer` or `DPoP`.
        refresh: The refresh token; empty if there is none.
        identity: The ID token (OpenID Connect); empty if there is none.
        scopes: What it is for; None if the server says nothing, which means what was asked for (RFC 6749 5.1).
        seconds: How long it counts; 0 if the server does not say.
        issued: `issued_token_type` of an exchange (RFC 8693 2.2.1).
    """

    access: str
    kind: str
    refresh: str = ""
    identity: str = ""
    scopes: frozenset[str] | None = None
    seconds: float = 0.0
    issued: str = ""

    def __repr__(self) -> str:
        """Without tokens."""
        return f"Granted({self.kind}, {self.seconds:.0f} s)"


class _Token(msgspec.Struct, frozen=True):
    access_token: str
    token_type: str
    expires_in: float | str = 0.0
    refresh_token: str | None = None
    id_token: str | None = None
    scope: str | None = None
    issued_token_type: str = ""


class _Error(msgspec.Struct, frozen=True):
    error: str
    error_description: str = ""


def redirected(url: str, attempt: Attempt) -> str:
    """The code of the redirect that answers a login.

    Args:
        url: The whole URL, or its path and query.
        attempt: What was asked.

    Raises:
        OAuthError: It answers something else, comes from another issuer, or says no.
    """
    if len(url) > limits.OAUTH_REDIRECT_CHARS:
        raise OAuthError("the answer to the login is too long")
    try:
        pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True, max_num_fields=32, errors="strict")
    except ValueError as error:
        raise OAuthError("the answer to the login cannot be read") from error
    answer = dict(pairs)
    if len(answer) != len(pairs):
        raise OAuthError("the answer to the login says something twice")
    if not hmac.compare_digest(answer.get("state", "").encode(), attempt.state.encode()):
        raise OAuthError("the answer belongs to another login: its state is not ours")
    _check_issuer(answer, attempt)
    if "error" in answer:
        raise _refusal(answer["error"], answer.get("error_description", ""), attempt.issuer)
    code = answer.get("code", "")
    if not _CODE.fullmatch(code):
        raise OAuthError("the answer to the login has no code")
    return code


def _check_issuer(answer: dict[str, str], attempt: Attempt) -> None:
    """RFC 9207 2.4: compared as strings; missing is wrong where the server says that it always names itself."""
    named = answer.get("iss")
    if named is None and attempt.names_itself:
        raise OAuthError(
            f"the answer to the login does not name {shown(attempt.issuer)}, which always names itself"
        )
    if named is not None and named != attempt.issuer:
        raise OAuthError(
            f"the answer to the login comes from {shown(named)}, and you were sent to {shown(attempt.issuer)}",
            hint="somebody may be mixing up authorization servers; nothing was sent to either",
        )


def parse_token(status: int, body: bytes, issuer: str, *, exchange: bool = False) -> Granted:
    """What a token endpoint answers. `exchange`: it is asked for an assertion, which is no access token.

    Raises:
        OAuthError: It says no (`error` has the code), or nothing that can be used.
    """
    if len(body) > limits.OAUTH_METADATA_BYTES:
        raise OAuthError(f"{shown(issuer)} answers with too much")
    if status != 200:
        raise _no(status, body, issuer)
    try:
        found = msgspec.json.decode(body, type=_Token)
    except (ValueError, RecursionError) as error:
        raise OAuthError(f"{shown(issuer)} does not answer with a token") from error
    kinds = {"n_a": "N_A", "bearer": "Bearer"} if exchange else {"bearer": "Bearer", "dpop": "DPoP"}
    kind = kinds.get(found.token_type.lower())
    if kind is None:
        raise OAuthError(f"{shown(issuer)} gives a token of the kind {shown(found.token_type)}")
    if exchange and found.issued_token_type != ID_JAG:
        raise OAuthError(f"{shown(issuer)} gives {shown(found.issued_token_type)} instead of an ID-JAG")
    for token in (found.access_token, found.refresh_token or "-", found.id_token or "-"):
        if len(token) > limits.OAUTH_TOKEN_CHARS or not _BEARER.fullmatch(token):
            raise OAuthError(f"{shown(issuer)} gives a token that is empty, too long, or fits into no header")
    return Granted(
        found.access_token,
        kind,
        refresh=found.refresh_token or "",
        identity=found.id_token or "",
        scopes=None if found.scope is None else parse_scopes(found.scope),
        seconds=_seconds(found.expires_in),
        issued=found.issued_token_type,
    )


def assertion_claims(assertion: str) -> tuple[JsonObject, JsonObject]:
    """Header and claims of a JWT that is for somebody else, who checks its signature. Nothing is verified here.

    Raises:
        OAuthError: It is no JWT.
    """
    parts = assertion.split(".")
    try:
        head, claims = (
            msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)), type=JsonObject)
            for part in parts[:2]
        )
    except (ValueError, RecursionError, binascii.Error) as error:
        raise OAuthError("the assertion of the identity provider is no JWT") from error
    if len(parts) != 3:
        raise OAuthError("the assertion of the identity provider is no JWT")
    return head, claims


def require_jag(
    assertion: str, provider: str, audience: str, resource: str, client_id: str, now: float
) -> None:
    """The assertion is what was asked for (ID-JAG draft 3): it would be refused at best, misused at worst.

    Raises:
        OAuthError: It is for somebody else, or over.
    """
    head, claims = assertion_claims(assertion)
    wanted = {"iss": provider, "aud": audience, "resource": resource, "client_id": client_id}
    for name, value in wanted.items():
        found = claims.get(name)
        if found not in (value, [value]):
            raise OAuthError(f"the assertion of {shown(provider)} has another {name}: {shown(str(found))}")
    if head.get("typ") != "oauth-id-jag+jwt":
        raise OAuthError(
            f"the assertion of {shown(provider)} is no ID-JAG: its typ is {shown(str(head.get('typ')))}"
        )
    expires = claims.get("exp")
    if not isinstance(expires, int | float) or expires <= now:
        raise OAuthError(f"the assertion of {shown(provider)} has expired")


def _seconds(value: float | str) -> float:
    """`expires_in`; some servers send it as a string."""
    try:
        seconds = float(value)
    except ValueError:
        return 0.0
    return seconds if 0 < seconds < limits.OAUTH_TOKEN_SECONDS else 0.0


def _no(status: int, body: bytes, issuer: str) -> OAuthError:
    try:
        found = msgspec.json.decode(body, type=_Error)
    except (ValueError, RecursionError):
        return OAuthError(f"{shown(issuer)} gives no token: it answers {status}")
    return _refusal(found.error, found.error_description, issuer)


def _refusal(code: str, description: str, issuer: str) -> OAuthError:
    known = code if _NAME.fullmatch(code) else ""
    why = f" ({shown(description)})" if description else ""
    return OAuthError(f"{shown(issuer)} says no: {shown(code)}{why}", error=known)
