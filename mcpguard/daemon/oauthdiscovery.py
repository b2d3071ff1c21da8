"""Finds out who gives tokens for a remote server: fetches metadata, and lets `credentials.oauthmetadata` judge it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.credentials import oauthchallenge, oauthmetadata, oauthurls
from mcpguard.credentials.oautherror import OAuthError, shown
from mcpguard.credentials.oauthmetadata import AuthorizationServer, ProtectedResource
from mcpguard.credentials.oauthsettings import Remote
from mcpguard.daemon.outgoing import Answer, Fetch

_JSON: Final = {"Accept": "application/json"}
_PROBE: Final = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
_PROBE_HEADERS: Final = {
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
}


class Found(msgspec.Struct, frozen=True):
    """Who gives tokens for a server.

    Attributes:
        resource: What tokens are for (RFC 8707).
        server: Metadata of the authorization server.
        listed: Scopes that the protected resource lists.
        challenged: Scopes that its challenge names.
        dpop: Whether it wants proofs of possession.
    """

    resource: str
    server: AuthorizationServer
    listed: tuple[str, ...] = ()
    challenged: frozenset[str] = frozenset()
    dpop: bool = False


class Discovery:
    """Discovers, and remembers what authorization servers say of themselves for a while.

    Args:
        fetch: How.
        clock: Unix seconds.
    """

    def __init__(self, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._servers: dict[str, tuple[float, AuthorizationServer]] = {}

    async def of(self, remote: Remote) -> Found:
        """Ask a server without a token, and follow what it says.

        Raises:
            OAuthError: It wants none, or what it names is not acceptable.
            UpstreamError: Somebody does not answer.
        """
        answer = await self._fetch("POST", remote.url, _PROBE_HEADERS, _PROBE, limits.OAUTH_METADATA_BYTES)
        challenge = answer.headers.get("www-authenticate", "") if answer.status in (401, 403) else ""
        wanted = oauthchallenge.wanted(challenge)
        resource = await self._resource(remote, wanted.metadata)
        if resource is None:
            if answer.status != 401:
                raise OAuthError(
                    f"{remote.name!a} asks for no token: it answers {answer.status} to a request without one, and has"
                    " no metadata",
                    hint="if it needs an API key, keep that in the vault instead",
                )
            return await self._legacy(remote, wanted.scopes, dpop=wanted.dpop)
        issuer = _issuer(resource, remote)
        return Found(
            resource.resource,
            await self.server(issuer, plain=remote.plain),
            resource.scopes_supported,
            wanted.scopes,
            resource.dpop_bound_access_tokens_required or wanted.dpop,
        )

    async def server(self, issuer: str, *, plain: bool) -> AuthorizationServer:
        """Metadata of an authorization server.

        Raises:
            OAuthError: It has none, or none that is acceptable.
            UpstreamError: It does not answer.
        """
        oauthmetadata.accept_issuer(issuer, plain=plain)
        found = await self._published(issuer, plain=plain)
        if found is None:
            raise OAuthError(f"{shown(issuer)} has no metadata at any of the places for it")
        return found

    async def again(self, remote: Remote, issuer: str) -> AuthorizationServer:
        """Metadata of an authorization server that gave a token for this server before.

        Raises:
            OAuthError: It has none any more, or none that is acceptable.
            UpstreamError: It does not answer.
        """
        assumed = oauthmetadata.legacy_server(remote.url)
        if issuer != assumed.issuer:
            return await self.server(issuer, plain=remote.plain)
        return await self._published(issuer, plain=remote.plain) or assumed

    async def _published(self, issuer: str, *, plain: bool) -> AuthorizationServer | None:
        """Metadata at one of the places of an issuer; None if there is none."""
        until, known = self._servers.get(issuer, (0.0, None))
        if known is not None and self._clock() < until:
            return known
        for url in oauthmetadata.server_urls(issuer):
            if (body := await self._document(url)) is not None:
                found = oauthmetadata.parse_server(body, issuer, plain=plain)
                if len(self._servers) > limits.OAUTH_SERVERS:
                    self._servers.clear()
                self._servers[issuer] = (self._clock() + limits.OAUTH_METADATA_SECONDS, found)
                return found
        return None

    async def _resource(self, remote: Remote, named: str) -> ProtectedResource | None:
        """The metadata of a server, from where its challenge says, or from where it belongs."""
        if named:
            oauthurls.accept(named, "the place of the server's metadata", plain=remote.plain)
            body = await self._document(named)
            if body is None:
                raise OAuthError(
                    f"the server names {shown(named)} as the place of its metadata, and nothing is there"
                )
            return oauthmetadata.parse_resource(body, remote.url, plain=remote.plain)
        for url in oauthmetadata.resource_urls(remote.url):
            if (body := await self._document(url)) is not None:
                return oauthmetadata.parse_resource(body, remote.url, plain=remote.plain)
        return None

    async def _legacy(self, remote: Remote, challenged: frozenset[str], *, dpop: bool) -> Found:
        """Revision 2025-03-26: the server's origin is its own authorization server, with metadata or without."""
        base = oauthurls.origin(remote.url)
        if remote.settings.issuer not in ("", base, f"{base}/"):
            raise _pinned(remote, base)
        server = None
        for issuer in (remote.settings.issuer or base, f"{base}/"):
            try:
                server = await self._published(issuer, plain=remote.plain)
                break
            except OAuthError:
                if issuer.endswith("/"):
                    raise
        server = server or oauthmetadata.legacy_server(remote.url)
        return Found(oauthurls.canonical(remote.url), server, (), challenged, dpop)

    async def _document(self, url: str) -> bytes | None:
        """What is at a place; None if nothing is."""
        answer: Answer = await self._fetch("GET", url, _JSON, b"", limits.OAUTH_METADATA_BYTES)
        if answer.status == 200:
            return answer.body
        if 400 <= answer.status < 500:
            return None
        raise OAuthError(
            f"{shown(url)} answers {answer.status}", hint="redirects of metadata are not followed"
        )


def _issuer(resource: ProtectedResource, remote: Remote) -> str:
    """The authorization server to use: the one that the operator names, else the first that the server does."""
    pinned = remote.settings.issuer
    if pinned and pinned not in resource.authorization_servers:
        raise _pinned(remote, resource.authorization_servers[0])
    return pinned or resource.authorization_servers[0]


def _pinned(remote: Remote, named: str) -> OAuthError:
    return OAuthError(
        f"{remote.name!a} sends us to {shown(named)}, and only {shown(remote.settings.issuer)} will do",
        hint="if it has moved, say --issuer with the new one",
    )
