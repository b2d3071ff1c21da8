"""What must be true of a token's claims, and what principals they give: rules as values, judged without a clock.

Rule 1. Issuer, audience and expiry are required; there is no way to leave them out.
Rule 2. Only claims that configuration names become principals, and only a role that it maps becomes one.
Rule 3. What is odd is refused or left out, never repaired: a claim with a control character is no principal.

Source: RFC 7519 4.1, RFC 8725, RFC 9068 (access tokens), RFC 7662 2.2 (introspection, whose members are claims too),
OpenID Connect Core 3.1.3.7; RFC 7800 and RFC 8705 3 for `cnf`.

Not here: the signature (`jws`), DPoP (`dpop`), ids that count once (`replay`).
"""

from __future__ import annotations

import hmac
from typing import Final

import msgspec

from mcpguard.credentials.presented import Authenticated
from mcpguard.errors import PeerError
from mcpguard.model import Json, JsonObject

TYPES: Final = ("JWT", "at+jwt")
"""`typ` of access and id tokens."""
VALUES: Final = 128
"""Values of claims of one token that become principals."""
VALUE_CHARS: Final = 256
"""Longest subject or value, characters."""
LEEWAY_SECONDS: Final = 30.0
LIFETIME_SECONDS: Final = 86_400.0
AGAIN: Final = "get a fresh token from the issuer"


class Rules(msgspec.Struct, frozen=True):
    """What is asked of the tokens of one issuer.

    Attributes:
        name: What configuration calls the issuer.
        issuer: Its exact `iss`.
        audiences: Of `aud`, one must be one of these.
        algorithms: Those that it may sign with.
        types: `typ` that is accepted, without `application/`; a token without one is accepted if `untyped`.
        untyped: Whether a token may come without a `typ`.
        leeway: How far clocks may differ, seconds.
        max_age: How old `iat` may be, seconds; 0.0 for any age.
        max_lifetime: From `iat`, or else `nbf` or now, to `exp` at most, seconds.
        scopes: Every one of these must be in `scope` or `scp`.
        clients: Of `azp` or `client_id`, one of these; empty for any.
        claims: Names of claims whose values become `claim:NAME=VALUE`.
        roles: Role, and `NAME=VALUE` of claims that give it.
        revoked: Subjects and token ids that no longer count.
        servers: Patterns of servers that its tokens may reach; empty for all that policy allows.
        tools: Patterns of tools, likewise.
        single_use: A token counts once, by its `jti`.
        dpop: `required`, `allowed` or `off` (RFC 9449).
    """

    name: str
    issuer: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...] = ("EdDSA", "Ed25519", "ES256", "ES384", "PS256", "RS256")
    types: tuple[str, ...] = TYPES
    untyped: bool = True
    leeway: float = LEEWAY_SECONDS
    max_age: float = 0.0
    max_lifetime: float = LIFETIME_SECONDS
    scopes: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    roles: tuple[tuple[str, tuple[str, ...]], ...] = ()
    revoked: frozenset[str] = frozenset()
    servers: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    single_use: bool = False
    dpop: str = "allowed"


class Judged(msgspec.Struct, frozen=True):
    """Claims that were found good.

    Attributes:
        authenticated: Who it is.
        ident: `jti`; empty if it has none.
        until: Unix seconds from which the token counts no more, the leeway included.
        key: Thumbprint of the key that must prove itself (`cnf.jkt`); empty for none.
        certificate: SHA-256 of the client certificate that must be there (`cnf.x5t#S256`), base64url; empty for none.
    """

    authenticated: Authenticated
    ident: str
    until: float
    key: str = ""
    certificate: str = ""


def judge_type(header: JsonObject, rules: Rules) -> None:
    """The `typ` of a token is one that is accepted (RFC 8725 3.11).

    Raises:
        PeerError: It is not.
    """
    kind = header.get("typ")
    if kind is None and rules.untyped:
        return
    short = kind.lower().removeprefix("application/") if isinstance(kind, str) else ""
    if short not in {each.lower() for each in rules.types}:
        raise PeerError(f"the token is of another type, expected typ {' or '.join(rules.types)}")


def judge(claims: JsonObject, rules: Rules, now: float, way: str = "jwt") -> Judged:
    """Hold claims against the rules; `way` is `jwt`, or `introspection`, which may leave some of them out.

    Raises:
        PeerError: They do not hold; the sentence says which.
    """
    signed = way == "jwt"
    _require_issuer(claims, rules, required=signed)
    _require_audience(claims, rules, required=signed)
    expires = _require_times(claims, rules, now, required=signed)
    subject = _text(claims, "sub", required=True)
    ident = _text(claims, "jti", required=rules.single_use)
    if subject in rules.revoked or (ident and ident in rules.revoked):
        raise PeerError("the token, or whom it is for, was revoked here", hint="auth.toml names it")
    _require_scopes(claims, rules)
    client = claims.get("azp", claims.get("client_id"))
    if rules.clients and client not in rules.clients:
        raise PeerError("the token was made for another client (azp, client_id)")
    key, certificate = _confirmation(claims)
    given = _given(claims, rules)
    principals = frozenset({
        f"jwt:{rules.issuer}#{subject}",
        *(f"claim:{each}" for each in given if each.partition("=")[0] in rules.claims),
        *(f"role:{role}" for role, wanted in rules.roles if not given.isdisjoint(wanted)),
    })  # fmt: skip
    evidence: JsonObject = {"way": way, "provider": rules.name, "issuer": rules.issuer, "subject": subject}
    if ident:
        evidence["jti"] = ident
    if isinstance(client, str):
        evidence["client"] = client[:VALUE_CHARS]
    found = Authenticated(
        principals, evidence, expires, rules.servers, rules.tools, f"jwt:{rules.issuer}#{subject}"
    )
    return Judged(found, ident, expires, key, certificate)


def require_certificate(judged: Judged, thumbprint: str) -> None:
    """A token that is bound to a client certificate was shown with it (RFC 8705 3); `thumbprint` is base64url.

    Raises:
        PeerError: It was not.
    """
    if judged.certificate and not hmac.compare_digest(judged.certificate.encode(), thumbprint.encode()):
        shown = "another one" if thumbprint else "none"
        raise PeerError(f"the token is bound to a client certificate, and {shown} was shown")


def _require_issuer(claims: JsonObject, rules: Rules, *, required: bool) -> None:
    if claims.get("iss") != rules.issuer and (required or "iss" in claims):
        raise PeerError("the token is of another issuer (iss)")


def _require_audience(claims: JsonObject, rules: Rules, *, required: bool) -> None:
    found = claims.get("aud")
    if found is None and not required:
        return
    named = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    if not any(each in rules.audiences for each in named if isinstance(each, str)):
        raise PeerError(
            "the token is for somebody else (aud)"
            if named
            else "the token does not say whom it is for (aud)",
            hint=f"ask the issuer for one for {rules.audiences[0]}",
        )


def _require_times(claims: JsonObject, rules: Rules, now: float, *, required: bool) -> float:
    """When the claims end, leeway included; 0.0 for never, which introspection alone may say."""
    expires, begins, issued = (_moment(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None and required:
        raise PeerError("the token never expires (exp), and such tokens are not accepted")
    if expires is not None and now >= expires + rules.leeway:
        raise PeerError("the token has expired", hint=AGAIN)
    if begins is not None and now < begins - rules.leeway:
        raise PeerError("the token is not valid yet (nbf)", hint="compare the clocks")
    if issued is not None and now < issued - rules.leeway:
        raise PeerError("the token was made in the future (iat)", hint="compare the clocks")
    if rules.max_age and (issued is None or now > issued + rules.max_age + rules.leeway):
        raise PeerError("the token is too old (iat)", hint=AGAIN)
    start = issued if issued is not None else begins if begins is not None else now
    if expires is not None and expires - start > rules.max_lifetime:
        raise PeerError(
            f"the token lives for longer than {rules.max_lifetime:.0f} seconds",
            hint="max_lifetime in auth.toml says how long it may",
        )
    return expires + rules.leeway if expires is not None else 0.0


def _require_scopes(claims: JsonObject, rules: Rules) -> None:
    if not rules.scopes:
        return
    found: set[str] = set()
    for name in ("scope", "scp"):
        value = claims.get(name)
        if isinstance(value, str):
            found |= set(value.split(" "))
        elif isinstance(value, list):
            found |= {each for each in value if isinstance(each, str)}
    if missing := [scope for scope in rules.scopes if scope not in found]:
        raise PeerError(f"the token lacks the scope {' '.join(missing)}")


def _confirmation(claims: JsonObject) -> tuple[str, str]:
    """The key and the certificate that a token is bound to.

    Raises:
        PeerError: It is bound in a way that is not known: then it would count unbound.
    """
    bound = claims.get("cnf")
    if bound is None:
        return "", ""
    if not isinstance(bound, dict) or not bound or not bound.keys() <= {"jkt", "x5t#S256"}:
        raise PeerError("the token is bound to its holder in a way that is not known (cnf)")
    found = [bound.get(name, "") for name in ("jkt", "x5t#S256")]
    if not all(isinstance(each, str) and len(each) <= VALUE_CHARS for each in found) or not any(found):
        raise PeerError("the token is bound to its holder in a way that is not known (cnf)")
    return found[0], found[1]


def _given(claims: JsonObject, rules: Rules) -> frozenset[str]:
    """`NAME=VALUE` of the claims that configuration speaks of."""
    spoken = {*rules.claims, *(each.partition("=")[0] for _, wanted in rules.roles for each in wanted)}
    made: dict[str, None] = {}
    for name in sorted(spoken):
        value = _inside(claims, name)
        for each in value if isinstance(value, list) else [value]:
            text = (
                str(each).lower() if isinstance(each, bool) else str(each) if isinstance(each, int) else each
            )
            if isinstance(text, str) and 0 < len(text) <= VALUE_CHARS and text.isprintable():
                made[f"{name}={text}"] = None
    if len(made) > VALUES:
        raise PeerError(
            f"the token has {len(made)} values that would be principals, expected at most {VALUES}",
            hint="have the issuer put fewer groups into it",
        )
    return frozenset(made)


def _inside(claims: JsonObject, name: str) -> Json:
    """A claim; `a.b` is the member `b` of `a` where no claim is called so, as in Keycloak's `realm_access.roles`."""
    if name in claims:
        return claims[name]
    value: Json = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(claims: JsonObject, name: str, *, required: bool) -> str:
    value = claims.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or not 0 < len(value) <= VALUE_CHARS or not value.isprintable():
        raise PeerError(f"the token has no {name} of 1 to {VALUE_CHARS} visible characters")
    return value


def _moment(claims: JsonObject, name: str) -> float | None:
    """Unix seconds of a claim; None if it is not there (RFC 7519 2, NumericDate)."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40:
        raise PeerError(f"the token says no moment in {name}")
    return float(value)
