"""What a daemon has beyond stdio, wired together: certificates, keys, tokens, listeners, logins at remote servers.

Cost: what speaks TLS, HTTP or JWT is loaded when it is first used, and never in a daemon that uses none of it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from mcpguard.credentials.presented import Authenticated, Presented
from mcpguard.daemon.apikeys import ApiKeys
from mcpguard.daemon.certdesk import CertDesk
from mcpguard.daemon.control import Caller, Held, Personal, Verb
from mcpguard.daemon.doors import Doors
from mcpguard.daemon.outgoing import Authorizer
from mcpguard.daemon.peering import Rooms
from mcpguard.daemon.probedesk import ProbeDesk, login_at
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.registry import Registry
from mcpguard.daemon.registrykeeper import RegistryKeeper
from mcpguard.daemon.registrytls import RegistryTls
from mcpguard.daemon.remotes import IfWanted, Registrations, VaultStore, logged_in_at
from mcpguard.daemon.secrets import Secrets
from mcpguard.daemon.tasks import spawn_task
from mcpguard.identity.manifest import Manifest
from mcpguard.identity.remote import Remote
from mcpguard.model import JsonObject
from mcpguard.protocol.control import Request
from mcpguard.system import paths
from mcpguard.system.apikeystore import ApiKeyStore
from mcpguard.system.servefile import Listen, ServeFile
from mcpguard.system.tlsfiles import Keeper, TlsFiles

if TYPE_CHECKING:
    from mcpguard.daemon.authenticators import Authenticators
    from mcpguard.daemon.oauthdesk import OAuthDesk

_LOOK_SECONDS: Final = 5.0
"""How often the certificates of servers that are connected to are looked at again."""
_SETTLE_SECONDS: Final = 3.0
"""So long a daemon that ends waits for a token that is being renewed."""


class Beyond:
    """All of it, for one daemon.

    Args:
        recorder: Where changes are recorded.
        registry: The registered servers.
        rooms: What listeners ask of the daemon.
        vault: Where tokens are kept.
        cut: Ends the connections of a server, and says why.
    """

    def __init__(
        self,
        recorder: Recorder,
        registry: Registry,
        rooms: Rooms,
        vault: Secrets,
        cut: Callable[[str, str], None],
    ) -> None:
        self._cut = cut
        self._links: weakref.WeakSet[RegistryTls] = weakref.WeakSet()
        self._looked = 0.0
        self._certificates = CertDesk(recorder)
        self._apikeys = ApiKeys(ApiKeyStore(paths.auth_dir()), recorder, time.time)
        self._chain = Chain(self._apikeys)
        self._doors = Doors(ServeFile(paths.serve_dir()), rooms, self._keeper, self._chain)
        store = VaultStore(vault)
        self._places = Registrations(registry, store, store.open, self._link)
        self._oauth = Logins(self._places, recorder)
        self._probes = ProbeDesk(self._authorizer_at, self._link)

    @property
    def listens(self) -> bool:
        """Whether anything listens, which is a reason to stay."""
        return self._doors.open

    async def authorizer(self, name: str, manifest: Manifest) -> Authorizer | None:
        """What authorises requests to a server; None for one that is not reached over HTTPS.

        Raises:
            GuardError: What was said about logins to it cannot be read.
        """
        remote = logged_in_at(name, manifest)
        return IfWanted(await self._oauth.desk.authorizer(remote)) if remote is not None else None

    def registry(self, name: str) -> RegistryTls:
        """The certificate registry, for a connection to a server, which is watched as long as it lasts."""
        link = self._link(name)
        self._links.add(link)
        return link

    def _link(self, name: str) -> RegistryTls:
        return RegistryTls(name, lambda: self._certificates.keeper)

    def _look(self, now: float) -> None:
        """End the connections of servers whose certificates count no longer."""
        if not self._links or now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        for link in list(self._links):
            if why := link.fault():
                link.close()
                self._cut(link.name, f"the server is not to be talked to any more: {why}")

    async def _authorizer_at(self, name: str, place: Remote) -> Authorizer | None:
        """The same for one that may not be registered yet; None if nobody has logged in just there."""
        remote = login_at(name, place)
        if remote is None or await self._places.place(name) != place:
            return None
        return IfWanted(await self._oauth.desk.authorizer(remote))

    def load(self) -> None:
        """Open the listeners of `serve.toml`."""
        self._doors.load()

    def tick(self, now: float) -> None:
        """A second has gone by."""
        self._certificates.tick()
        self._apikeys.tick()
        self._doors.tick(now)
        self._look(now)
        self._chain.tick()

    def shut(self) -> None:
        """Let nobody in any more, and give up logins that wait."""
        self._doors.close()
        self._oauth.close()
        self._probes.close()

    async def close(self) -> None:
        """Wait for tokens that are on their way, and write down what is not yet."""
        await self._oauth.settled(_SETTLE_SECONDS)
        await self._chain.close()
        self._certificates.close()
        self._apikeys.note()

    def _keeper(self, listen: Listen) -> Keeper:
        """Whoever has the certificates of a listener."""
        if listen.registered:
            return RegistryKeeper(listen, lambda: self._certificates.keeper)
        return TlsFiles(listen)

    # --- for people ----------------------------------------------------------------------------------------

    def described(self) -> JsonObject:
        """What `status` shows of it."""
        return {"listeners": self._doors.described()["listeners"]}

    def reading(self) -> dict[str, Verb]:
        """Verbs that change nothing."""
        return {
            **self._certificates.reading(),
            **self._apikeys.reading(),
            **self._doors.reading(),
            **self._oauth.reading(),
        }

    def changing(self) -> dict[str, Callable[[Request], JsonObject]]:
        """Verbs that a connected host may not use."""
        return self._doors.changing()

    def approving(self) -> dict[str, Personal]:
        """Verbs that no connected host, nor what it has started, may use."""
        return {
            **self._certificates.approving(),
            **self._apikeys.approving(),
            **self._oauth.approving(),
            **self._probes.approving(),
        }

    def holding(self) -> dict[str, Callable[[Request], Awaitable[Held]]]:
        """Verbs whose connection is held."""
        return self._doors.holding()


class Logins:
    """The desk for logins at remote servers (`oauthdesk.OAuthDesk`), made when it is first needed.

    Args:
        places: The remote servers.
        recorder: Where logins are recorded.
    """

    def __init__(self, places: Registrations, recorder: Recorder) -> None:
        self._places = places
        self._recorder = recorder
        self._made: OAuthDesk | None = None

    @property
    def desk(self) -> OAuthDesk:
        """The desk itself."""
        if self._made is None:
            from mcpguard.daemon.oauthdesk import OAuthDesk  # noqa: PLC0415 (1 MiB, for few)

            self._made = OAuthDesk(self._places, self._recorder.later)
        return self._made

    def reading(self) -> dict[str, Verb]:
        """See `OAuthDesk`."""
        return {"remote-status": partial(self._read, "remote-status")}

    def approving(self) -> dict[str, Personal]:
        """See `OAuthDesk`."""
        names = ("remote-login", "remote-wait", "remote-answer", "remote-cancel", "remote-logout")
        return {name: partial(self._approve, name) for name in names}

    def _read(self, name: str, request: Request) -> JsonObject | Awaitable[JsonObject]:
        return self.desk.reading()[name](request)

    def _approve(self, name: str, request: Request, caller: Caller) -> JsonObject | Awaitable[JsonObject]:
        return self.desk.approving()[name](request, caller)

    def close(self) -> None:
        """See `OAuthDesk`."""
        if self._made is not None:
            self._made.close()

    async def settled(self, seconds: float) -> None:
        """See `OAuthDesk`."""
        if self._made is not None:
            await self._made.settled(seconds)


class Chain:
    """The chain of authenticators (`connectionauth.Authenticators`), made when a listener first needs it.

    Args:
        keys: The API keys.
    """

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self._file = str(paths.auth_dir() / "auth.toml")
        self._made: Authenticators | None = None
        self._ticking: asyncio.Task[None] | None = None

    @property
    def _all(self) -> Authenticators:
        if self._made is None:
            from mcpguard.daemon.authenticators import Authenticators  # noqa: PLC0415 (0.2 s, for listeners alone)
            from mcpguard.daemon.remotes import system_fetch  # noqa: PLC0415
            from mcpguard.system.authfile import AuthFile  # noqa: PLC0415

            file = AuthFile(paths.auth_dir())
            self._made = Authenticators(file, self._keys, None, system_fetch(), secrets.token_bytes(32))
        return self._made

    async def authenticate(
        self, presented: Presented, required: tuple[str, ...], connected: Authenticated | None
    ) -> Authenticated:
        """See `Authenticators`."""
        return await self._all.authenticate(presented, required, connected)

    def issuers(self) -> tuple[str, ...]:
        """See `Authenticators`."""
        return self._all.issuers()

    def asked_always(self) -> bool:
        """See `Authenticators`; without an `auth.toml` nothing is loaded to know it."""
        if self._made is None and not os.path.lexists(self._file):
            return False
        return self._all.asked_always()

    async def vet(self, found: Authenticated, presented: Presented) -> Authenticated:
        """See `Authenticators`."""
        return await self._all.vet(found, presented)

    async def renew(
        self, found: Authenticated, presented: Presented, connected: Authenticated | None
    ) -> Authenticated:
        """See `Authenticators`."""
        return await self._all.renew(found, presented, connected)

    def still(self, found: Authenticated) -> str:
        """See `Authenticators`."""
        return self._all.still(found)

    def tick(self) -> None:
        """A second has gone by: `auth.toml` may be another one."""
        if self._made is not None and (self._ticking is None or self._ticking.done()):
            self._ticking = spawn_task(self._made.tick(), name="authenticators")

    async def close(self) -> None:
        """Ask plug-ins no more."""
        if self._made is not None:
            await self._made.close()
