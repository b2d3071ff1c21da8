"""Servers of others as logins see them: which are registered, how they are reached, and where their tokens are kept.

Rule 1: an authorization server is reached as the server itself: by the CA of its manifest and in its networks. Where
the manifest names keys and no CA, the authorities of the operating system vouch for the authorization server.
Rule 2: tokens are in the vault, under names that no person can give a secret.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from mcpguard.credentials.oauthsettings import Remote
from mcpguard.daemon.oauth import OAuth
from mcpguard.daemon.oauthstore import Store
from mcpguard.daemon.outgoing import Answer, Fetch
from mcpguard.daemon.registry import Registry
from mcpguard.daemon.secrets import Secrets
from mcpguard.errors import TrustError, UpstreamError
from mcpguard.identity.manifest import Manifest
from mcpguard.identity.remote import SYSTEM
from mcpguard.identity.remote import Remote as Place

_LOOK_SECONDS: Final = 5.0
"""How often it is looked whether somebody has logged in where the server has asked for nothing."""
_BY_PERSON: Final = "code"
"""The flow in which a person logs in (`OAuthSettings.flow`)."""


class VaultStore:
    """Tokens in the vault (`oauthstore.Store`). Blocks.

    Args:
        vault: Opens it where that needs nobody.
    """

    def __init__(self, vault: Secrets) -> None:
        self._secrets = vault

    def get(self, name: str) -> bytes | None:
        """See `Store`."""
        vault = self._secrets.vault
        if name not in vault.facts():
            return None
        self._secrets.unlock()
        return vault.get(name)

    def put(self, name: str, value: bytes, expires: float) -> None:
        """See `Store`."""
        self._secrets.unlock()
        self._secrets.vault.put(name, value, expires, now=time.time())

    def delete(self, name: str) -> None:
        """See `Store`."""
        vault = self._secrets.vault
        if name in vault.facts():
            self._secrets.unlock()
            vault.delete(name)


class Registrations:
    """The registered servers that are reached over HTTPS (`oauthdesk.Remotes`).

    Args:
        registry: The registered servers.
        store: Where tokens are kept.
    """

    def __init__(self, registry: Registry, store: Store) -> None:
        self._registry = registry
        self.store: Store = store

    def lookup(self, name: str) -> Remote:
        """See `Remotes`."""
        remote = logged_in_at(name, self._registry.verified(name).manifest)
        if remote is None:
            raise TrustError(
                f"nobody logs in at {name[:64]!a}: it is not reached over HTTPS",
                hint=f"mcpguard server show {name}",
            )
        return remote

    def fetch(self, remote: Remote) -> Fetch:
        """See `Remotes`."""
        place = self._registry.verified(remote.name).manifest.launch.remote
        if place is None:
            raise TrustError(
                f"no remote server is registered as {remote.name!a}", hint="mcpguard server list"
            )
        return Reached(place.ca or SYSTEM, place)


class Reached:
    """Fetches small things as a server is reached (`outgoing.Fetch`); loads HTTP when it does.

    Args:
        ca: Who may vouch for whoever answers.
        place: Networks and proxy; None for the public Internet alone.
    """

    def __init__(self, ca: str, place: Place | None = None) -> None:
        self._ca = ca
        self._place = place

    async def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", most: int = 1 << 20
    ) -> Answer:
        """See `Fetch`."""
        try:
            from mcpguard.daemon.fetching import Fetcher  # noqa: PLC0415 (an extra)
        except ImportError as error:
            raise UpstreamError(
                f"whatever is fetched over HTTPS needs a package that is not installed ({error.name})", code=126,
                hint="pip install 'mcpguard[http]'",
            ) from error  # fmt: skip
        place = self._place
        fetch = Fetcher(self._ca, place.networks, place.proxy) if place is not None else Fetcher(self._ca)
        return await fetch(method, url, headers, body, most)


def system_fetch() -> Fetch:
    """For issuers of tokens, who are known by the authorities of the operating system."""
    return Reached(SYSTEM)


def logged_in_at(name: str, manifest: Manifest) -> Remote | None:
    """A server as logins see it; None for one that is not reached over HTTPS."""
    place = manifest.launch.remote
    if place is None or place.target.scheme != "https":
        return None
    return Remote(name, place.url)


class IfWanted:
    """Shows a token where there is one, and asks for none until the server does (`outgoing.Authorizer`).

    Args:
        oauth: Authorises requests to the server.
    """

    def __init__(self, oauth: OAuth) -> None:
        self._oauth = oauth
        self._wanted = oauth.remote.settings.flow != _BY_PERSON
        self._look_at = 0.0

    async def headers(self, method: str, url: str) -> Mapping[str, str]:
        """See `Authorizer`."""
        if not self._wanted and (now := time.monotonic()) >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._wanted = await self._oauth.kit.shelf.held(self._oauth.remote) is not None
        return await self._oauth.headers(method, url) if self._wanted else {}

    async def challenged(self, status: int, www_authenticate: str, dpop_nonce: str = "") -> bool:
        """See `Authorizer`."""
        self._wanted = True
        return await self._oauth.challenged(status, www_authenticate, dpop_nonce)
