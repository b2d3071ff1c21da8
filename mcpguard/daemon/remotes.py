"""Servers of others as logins see them: which are registered, how they are reached, and where their tokens are kept.

Rule 1: an authorization server is reached as the server itself: by the CA of its manifest and in its networks. Where
the manifest names keys and no CA, the authorities of the operating system vouch for the authorization server.
Rule 2: tokens are in the vault, under names that no person can give a secret.
Rule 3: a server can be logged in at before it is registered, because many say nothing of themselves before that.
Where it is and how it is known is kept until then, bound to its name; another URL forgets what was said about logins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from mcpguard.credentials.oauthsettings import Remote
from mcpguard.daemon.outgoing import Answer, Fetch
from mcpguard.daemon.registry import Registry
from mcpguard.daemon.registrytls import RegistryTls
from mcpguard.daemon.secrets import Secrets
from mcpguard.errors import SecretError, TrustError, UpstreamError
from mcpguard.identity.manifest import Manifest
from mcpguard.identity.remote import SYSTEM, check_remote, parse_web
from mcpguard.identity.remote import Remote as Place
from mcpguard.system.serverstore import check_name
from mcpguard.system.vault import UNLOCK

if TYPE_CHECKING:
    from mcpguard.daemon.oauth import OAuth
    from mcpguard.daemon.oauthstore import Store

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

    def open(self) -> None:
        """Open the vault where that needs nobody: asked before anybody is sent to a browser.

        Raises:
            SecretError: There is none, or it is locked.
        """
        if not self._secrets.vault.exists:
            raise SecretError(
                "there is no vault yet to keep a token in", hint=f"make one at a terminal of yours: {UNLOCK}"
            )
        self._secrets.unlock()

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
    """The servers that are reached over HTTPS, registered or about to be (`oauthdesk.Remotes`).

    Args:
        registry: The registered servers.
        store: Where tokens are kept.
        ready: Raises if nothing can be kept there now. Blocks.
        certificates: The certificate registry, for a connection to a server of this name.
    """

    def __init__(
        self,
        registry: Registry,
        store: Store,
        ready: Callable[[], None],
        certificates: Callable[[str], RegistryTls],
    ) -> None:
        self._certificates = certificates
        self._registry = registry
        self._ready = ready
        self.store: Store = store

    async def begin(self, name: str, place: Place | None) -> Remote:
        """See `Remotes`."""
        await asyncio.to_thread(self._ready)
        if place is None:
            return await self.lookup(name)
        if self._registry.known(name):
            if self._registry.verified(name).manifest.launch.remote != place:
                raise TrustError(
                    f"{name!a} is registered already, and not so",
                    hint=f"mcpguard remote login {name}, without --url",
                )
            return await self.lookup(name)
        check_name(name)
        if check_remote(place).scheme != "https":
            raise _no_login(name)
        await asyncio.to_thread(self._keep, name, place)
        return Remote(name, place.url)

    async def lookup(self, name: str) -> Remote:
        """See `Remotes`."""
        place = await self.place(name)
        if place is None and self._registry.known(name):
            raise _no_login(name)
        if place is None:
            raise TrustError(
                f"no remote server is registered as {name[:64]!a}",
                hint="mcpguard server list; before it is registered, say where it is: --url URL",
            )
        return Remote(name, place.url)

    async def place(self, name: str) -> Place | None:
        """Where a server is: what its manifest says, else what was said at a login; None if it is not HTTPS.

        Raises:
            TrustError: Its manifest may not be believed.
            GuardError: What was said cannot be read.
        """
        if self._registry.known(name):
            place = self._registry.verified(name).manifest.launch.remote
            return place if place is not None and place.target.scheme == "https" else None
        data = await asyncio.to_thread(self.store.get, _place_of(name))
        if data is None:
            return None
        try:
            return msgspec.json.decode(data, type=Place)
        except (ValueError, RecursionError) as error:
            raise TrustError(
                f"what was said of {name[:64]!a} at its login is damaged",
                hint=f"mcpguard remote logout {name}",
            ) from error

    async def forget(self, name: str) -> None:
        """See `Remotes`."""
        await asyncio.to_thread(self.store.delete, _place_of(name))

    def fetch(self, remote: Remote) -> Fetch:
        """See `Remotes`."""
        return _Nearby(self, remote.name, self._certificates)

    def _keep(self, name: str, place: Place) -> None:
        from mcpguard.credentials import oauthtokens  # noqa: PLC0415 (for few)

        data = self.store.get(_place_of(name))
        if data is not None and oauthtokens.url_of(data) != place.url:
            self.store.delete(oauthtokens.settings_place(name))
        self.store.put(_place_of(name), msgspec.json.encode(place), 0.0)


def _place_of(name: str) -> str:
    """Names in the store where a server is that is not registered yet."""
    return f"oauth/place/{name}"


def _no_login(name: str) -> TrustError:
    return TrustError(
        f"nobody logs in at {name[:64]!a}: it is not reached over HTTPS", hint=f"mcpguard server show {name}"
    )


class _Nearby:
    """Fetches as one server is reached at that moment (`outgoing.Fetch`)."""

    def __init__(
        self, registrations: Registrations, name: str, certificates: Callable[[str], RegistryTls]
    ) -> None:
        self._certificates = certificates
        self._registrations = registrations
        self._name = name

    async def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", most: int = 1 << 20
    ) -> Answer:
        """See `Fetch`."""
        place = await self._registrations.place(self._name)
        if place is None:
            raise UpstreamError(
                f"no remote server is registered as {self._name!a}", code=126, hint="mcpguard server list"
            )
        ours = url.startswith("https://") and parse_web(url).shown == place.target.shown
        registry = self._certificates(
            self._name if ours else ""
        )  # what is pinned is the server's own certificate
        return await Reached(place.ca or SYSTEM, place, registry)(method, url, headers, body, most)


class Reached:
    """Fetches small things as a server is reached (`outgoing.Fetch`); loads HTTP when it does.

    Args:
        ca: Who may vouch for whoever answers.
        place: Networks and proxy; None for the public Internet alone.
        registry: The certificate registry, where `ca` is that.
    """

    def __init__(self, ca: str, place: Place | None = None, registry: RegistryTls | None = None) -> None:
        self._registry = registry
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
        networks, proxy = (place.networks, place.proxy) if place is not None else ((), "")
        fetch = Fetcher(self._ca, networks, proxy, registry=self._registry)
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
