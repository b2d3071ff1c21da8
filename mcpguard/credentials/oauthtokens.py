"""A token as it is kept: bound to one server, its URL, its issuer, a resource and scopes.

Rule: whoever takes one out says what for, and gets it for that only (`restore`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.credentials.oauthanswer import Granted
from mcpguard.credentials.oautherror import OAuthError

INDEX: Final = "oauth/index"
"""Names of the servers that have a token, in the store."""


class Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token and what it belongs to; secrets, so it has no representation.

    Attributes:
        server: Name of the remote server.
        url: Its URL when the token was given.
        issuer: Who gave it.
        resource: What it is for (RFC 8707).
        client_id: Who we were there.
        access: The access token.
        kind: `Bearer` or `DPoP`.
        scopes: What it is good for.
        flow: How it came: `code`, `client`, `enterprise`, `assertion`.
        refresh: The refresh token; empty if there is none.
        identity: The ID token; empty if there is none.
        expires: Unix seconds; 0.0 if the issuer did not say.
        obtained: Unix seconds.
        key: The private key that it is bound to (DPoP), PEM; empty if it is bound to none.
    """

    server: str
    url: str
    issuer: str
    resource: str
    client_id: str
    access: str
    kind: str = "Bearer"
    scopes: frozenset[str] = frozenset()
    flow: str = "code"
    refresh: str = ""
    identity: str = ""
    expires: float = 0.0
    obtained: float = 0.0
    key: str = ""

    def __repr__(self) -> str:
        """Without secrets."""
        return f"Held({self.server!a}, {self.issuer!a}, {self.resource!a}, until {self.expires:.0f})"

    @property
    def secrets(self) -> list[bytes]:
        """What records must never show."""
        return [text.encode() for text in (self.access, self.refresh, self.identity, self.key) if text]

    def encode(self) -> bytes:
        """As the store keeps it."""
        return msgspec.json.encode(self)

    def renewed(self, granted: Granted, now: float) -> Held:
        """After a refresh: a new refresh token takes the place of the old one, a missing one leaves it (RFC 6749 6).

        Raises:
            OAuthError: The new one is good for more than the old one, or is not bound to our key any more.
        """
        scopes = self.scopes if granted.scopes is None else granted.scopes
        if not scopes <= self.scopes and self.scopes:
            raise OAuthError("a refreshed token is good for more than was asked for")
        if self.kind != granted.kind:
            raise OAuthError(f"a refreshed token is {granted.kind}, and was {self.kind}")
        return msgspec.structs.replace(
            self,
            access=granted.access,
            refresh=granted.refresh or self.refresh,
            identity=granted.identity or self.identity,
            scopes=scopes,
            expires=now + granted.seconds if granted.seconds else 0.0,
            obtained=now,
        )

    def over(self, now: float) -> bool:
        """Whether it does not count any more."""
        return bool(self.expires) and self.expires <= now

    def due(self, now: float) -> bool:
        """Whether it is time to refresh: the last fifth of its life, at most the last five minutes."""
        ahead = min(limits.OAUTH_AHEAD_SECONDS, (self.expires - self.obtained) / 5)
        return bool(self.expires) and self.expires - ahead <= now


class _Place(msgspec.Struct, frozen=True):
    url: str


def place(server: str) -> str:
    """Names the token of a server in the store."""
    return f"oauth/server/{server}"


def settings_place(server: str) -> str:
    """Names what a person has said about logins to a server."""
    return f"oauth/settings/{server}"


def url_of(data: bytes) -> str:
    """The URL that a kept token says that it is for; empty if it says none. Nothing is believed of it here."""
    try:
        return msgspec.json.decode(data, type=_Place).url
    except (ValueError, RecursionError):
        return ""


def restore(data: bytes, server: str, url: str) -> Held:
    """A token from the store, for one server at one URL.

    Raises:
        OAuthError: It is damaged, or another's.
    """
    try:
        held = msgspec.json.decode(data, type=Held)
    except (ValueError, RecursionError) as error:
        raise OAuthError(
            f"what is kept of the token of {server!a} is damaged", hint=f"mcpguard remote login {server}"
        ) from error
    if held.server != server or held.url != url:
        raise OAuthError(
            f"the token of {server!a} was given for {held.url!a}, and its URL is {url!a} now",
            hint=f"mcpguard remote login {server}",
        )
    return held
