"""Where tokens are kept: a small store that others provide, and what OAuth puts into it.

Rule 1: what comes out is checked against what it is asked for: server and URL of a token, issuer of a client.
Rule 2: the redactor learns every secret before anything else sees it.

Wiring: `Store` is what the vault offers; `MemoryStore` keeps everything as long as the daemon runs, nothing on disk.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from mcpguard.audit import redact
from mcpguard.credentials import oauthclient, oauthtokens
from mcpguard.credentials.oauthclient import Client
from mcpguard.credentials.oautherror import OAuthError
from mcpguard.credentials.oauthsettings import OAuthSettings, Remote, identity, parse_settings
from mcpguard.credentials.oauthtokens import Held
from mcpguard.daemon.oauthsecrets import passing


class Store(Protocol):
    """Secrets by name. May block: it is called off the event loop."""

    def get(self, name: str) -> bytes | None:
        """One secret; None if there is none.

        Raises:
            GuardError: It cannot be read: the store is locked, or damaged.
        """

    def put(self, name: str, value: bytes, expires: float) -> None:
        """Keep one, in place of the one before. `expires`: unix seconds, 0.0 for never.

        Raises:
            GuardError: It cannot be kept; the one before is.
        """

    def delete(self, name: str) -> None:
        """Keep it no longer; nothing happens if it is not there.

        Raises:
            GuardError: It cannot be removed.
        """


class MemoryStore:
    """A store that ends with the process."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        """See `Store`."""
        return self._kept.get(name)

    def put(self, name: str, value: bytes, expires: float) -> None:  # noqa: ARG002 (the protocol)
        """See `Store`."""
        self._kept[name] = value

    def delete(self, name: str) -> None:
        """See `Store`."""
        self._kept.pop(name, None)


class Shelf:
    """Tokens, clients and settings in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._index = asyncio.Lock()

    async def secret(self, name: str) -> str:
        """A secret of somebody else's making, such as an assertion.

        Raises:
            OAuthError: There is none of that name.
        """
        data = await asyncio.to_thread(self._store.get, name)
        if not data:
            raise OAuthError(f"the store has no {name!a}")
        await passing([data.strip()])
        try:
            return data.decode("ascii").strip()
        except UnicodeDecodeError as error:
            raise OAuthError(f"{name!a} of the store is no assertion") from error

    async def held(self, remote: Remote) -> Held | None:
        """The token of a server; None if there is none.

        Raises:
            OAuthError: It is not that server's any more, or damaged.
            GuardError: The store cannot be read.
        """
        data = await asyncio.to_thread(self._store.get, oauthtokens.place(remote.name))
        if data is None:
            return None
        held = oauthtokens.restore(data, remote.name, remote.url)
        await passing(held.secrets)
        return held

    async def identity(self, name: str) -> Held | None:
        """The login at an identity provider, by the name that `identity` gives it; None if there is none.

        Raises:
            OAuthError: It is another's, or damaged.
            GuardError: The store cannot be read.
        """
        data = await asyncio.to_thread(self._store.get, oauthtokens.place(name))
        if data is None:
            return None
        url = oauthtokens.url_of(data)
        if identity(url).name != name:
            raise OAuthError(f"what is kept as {name!a} is damaged", hint=f"mcpguard remote logout {name}")
        held = oauthtokens.restore(data, name, url)
        await passing(held.secrets)
        return held

    async def keep(self, held: Held) -> None:
        """Keep a token in place of the one before.

        Raises:
            GuardError: It cannot be kept.
        """
        await passing(held.secrets)
        expires = 0.0 if held.refresh else held.expires
        await asyncio.to_thread(self._store.put, oauthtokens.place(held.server), held.encode(), expires)
        await self._list(held.server, there=True)

    async def drop(self, server: str) -> None:
        """Forget the token of a server, and what was said about logins to it.

        Raises:
            GuardError: It cannot be removed.
        """
        await asyncio.to_thread(self._store.delete, oauthtokens.settings_place(server))
        await self.drop_token(server)

    async def drop_token(self, server: str) -> None:
        """Forget the token of a server, and nothing else.

        Raises:
            GuardError: It cannot be removed.
        """
        await asyncio.to_thread(self._store.delete, oauthtokens.place(server))
        await self._list(server, there=False)

    async def names(self) -> list[str]:
        """Servers that have a token.

        Raises:
            GuardError: The store cannot be read.
        """
        return _names(await asyncio.to_thread(self._store.get, oauthtokens.INDEX))

    async def client(self, issuer: str) -> Client | None:
        """Who we are at an issuer; None if we are nobody there.

        Raises:
            OAuthError: What is kept there is another's, or damaged.
            GuardError: The store cannot be read.
        """
        data = await asyncio.to_thread(self._store.get, oauthclient.place(issuer))
        if data is None:
            return None
        try:
            client = msgspec.json.decode(data, type=Client).of(issuer)
        except ValueError as error:
            raise OAuthError(f"the client that is kept for {issuer!a} is damaged") from error
        self._learn(client)
        return client

    async def keep_client(self, client: Client) -> None:
        """Keep a client in place of the one before.

        Raises:
            GuardError: It cannot be kept.
        """
        self._learn(client)
        data = msgspec.json.encode(client)
        await asyncio.to_thread(self._store.put, oauthclient.place(client.issuer), data, client.expires)

    async def drop_client(self, issuer: str) -> None:
        """Forget who we are at an issuer.

        Raises:
            GuardError: It cannot be removed.
        """
        await asyncio.to_thread(self._store.delete, oauthclient.place(issuer))

    async def settings(self, server: str) -> OAuthSettings | None:
        """What was said about logins to a server; None if nothing was.

        Raises:
            OAuthError: It is damaged.
            GuardError: The store cannot be read.
        """
        data = await asyncio.to_thread(self._store.get, oauthtokens.settings_place(server))
        return None if data is None else parse_settings(data)

    async def keep_settings(self, server: str, settings: OAuthSettings) -> None:
        """Keep them.

        Raises:
            GuardError: They cannot be kept.
        """
        data = msgspec.json.encode(settings)
        await asyncio.to_thread(self._store.put, oauthtokens.settings_place(server), data, 0.0)

    def _learn(self, client: Client) -> None:
        if client.secret:
            redact.current().learn([client.secret.encode()])

    async def _list(self, server: str, *, there: bool) -> None:
        async with self._index:
            names = set(await self.names())
            if (server in names) is not there:
                names.symmetric_difference_update({server})
                await asyncio.to_thread(
                    self._store.put, oauthtokens.INDEX, msgspec.json.encode(sorted(names)), 0.0
                )


def _names(data: bytes | None) -> list[str]:
    try:
        return [] if data is None else msgspec.json.decode(data, type=list[str])
    except ValueError as error:
        raise OAuthError(
            "the list of tokens is damaged", hint="mcpguard remote login NAME makes it again"
        ) from error
