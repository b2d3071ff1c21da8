"""What the operator says about logging in to one remote server."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from mcpguard.credentials import oauthurls
from mcpguard.credentials.oautherror import OAuthError

IDENTITY: Final = "@"
"""Names of logins at identity providers begin so; no server's does."""
FLOWS: Final = ("code", "client", "enterprise", "assertion")


class OAuthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How tokens for a server come about.

    Attributes:
        flow: `code`: a person logs in. `client`: client credentials. `enterprise`: the identity provider vouches
            (token exchange, then jwt-bearer). `assertion`: a JWT from the store is handed in (jwt-bearer).
        issuer: The only authorization server that will do; empty for the one that the server names.
        scopes: What to ask for where the server does not say.
        document: URL of our client-id document; empty if there is none.
        provider: Issuer of the identity provider, for `enterprise`.
        assertion: Name in the store of the JWT, for `assertion`; of the ID token, for `enterprise`, if no person
            logs in at the provider.
        port: Port of the redirect; 0 for any.
        dpop: Whether to ask for tokens that are bound to a key, although the server does not.
    """

    flow: str = "code"
    issuer: str = ""
    scopes: tuple[str, ...] = ()
    document: str = ""
    provider: str = ""
    assertion: str = ""
    port: int = 0
    dpop: bool = False


class Remote(msgspec.Struct, frozen=True):
    """A remote server, as far as OAuth is concerned.

    Attributes:
        name: What it is registered under.
        url: Its endpoint.
        settings: What the operator says.
    """

    name: str
    url: str
    settings: OAuthSettings = OAuthSettings()

    @property
    def plain(self) -> bool:
        """Whether http to this machine will do, because the server itself is there."""
        return self.url.startswith("http://") and oauthurls.is_loopback(self.url)


def identity(provider: str) -> Remote:
    """What the login at an identity provider is kept as: one for all servers that it vouches at."""
    return Remote(f"{IDENTITY}{hashlib.sha256(provider.encode()).hexdigest()[:16]}", provider)


def parse_settings(data: bytes) -> OAuthSettings:
    """Settings from JSON.

    Raises:
        OAuthError: They are none.
    """
    try:
        found = msgspec.json.decode(data, type=OAuthSettings)
    except (ValueError, RecursionError) as error:
        raise OAuthError(f"the settings of a login are none: {error}") from error
    require(found)
    return found


def require(settings: OAuthSettings) -> None:
    """The settings make sense together.

    Raises:
        OAuthError: They do not.
    """
    if settings.flow not in FLOWS:
        raise OAuthError(f"there is no flow {settings.flow[:40]!a}", hint=f"one of {', '.join(FLOWS)}")
    if settings.flow == "enterprise" and not settings.provider:
        raise OAuthError(
            "an enterprise login needs the issuer of its identity provider", hint="--provider URL"
        )
    if settings.flow == "assertion" and not settings.assertion:
        raise OAuthError("there is no assertion to hand in", hint="--assertion NAME, of the store")
    if not 0 <= settings.port < 65536:
        raise OAuthError(f"{settings.port} is no port")
