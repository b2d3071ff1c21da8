"""The verbs of admin.sock that concern logins at remote servers, and the authorizers that live by them.

Rule 1: only a person logs in or out: what a connected host has started may not (`daemon.control`, `approving`).
Rule 2: what is told of a token is never its value.
Rule 3: nothing is opened here; whoever asks is told where a login leads, and opens it.

Not here: which remote servers there are, and how they are reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import msgspec

from mcpguard import limits
from mcpguard.audit import record, redact
from mcpguard.credentials import oauthclient, oauthsettings
from mcpguard.credentials.oautherror import OAuthError
from mcpguard.credentials.oauthscopes import parse_scopes
from mcpguard.credentials.oauthsettings import IDENTITY, OAuthSettings, Remote
from mcpguard.credentials.oauthtokens import Held
from mcpguard.daemon.control import Caller, Personal, Verb
from mcpguard.daemon.oauth import OAuth
from mcpguard.daemon.oauthlogin import LOOKING, Login, described
from mcpguard.daemon.oauthobtain import Kit, kit
from mcpguard.daemon.oauthstore import MemoryStore, Shelf, Store
from mcpguard.daemon.outgoing import Fetch
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import GuardError, TrustError, UpstreamError
from mcpguard.identity.remote import Remote as Place
from mcpguard.model import JsonObject
from mcpguard.protocol.control import Request

_WAIT_SECONDS: Final = 5.0
_REVOKE_SECONDS: Final = 5.0
"""Both are within what an answer on admin.sock may take."""


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person says when logging in; what is empty stays as it was said before.

    Attributes:
        flow: See `OAuthSettings`, as are `issuer`, `document`, `provider`, `assertion`, `port`, `dpop`.
        issuer: The only authorization server that will do.
        document: URL of our client-id document.
        provider: Issuer of the identity provider.
        assertion: Name of an assertion in the store.
        port: Port of the redirect; None if nothing is said.
        dpop: Whether to ask for bound tokens; None if nothing is said.
        scopes: Scopes to ask for besides those that the server wants.
        client_id: Our name at `issuer`, which a person has registered.
        secret: The secret, or the private key in PEM, that goes with it.
        key_id: `kid` of that key.
        secret_post: Whether the secret goes into the form.
        at_provider: Whether the client is one of `provider` instead.
        place: Where the server is and how it is known, if it is not registered yet.
    """

    flow: str = ""
    issuer: str = ""
    document: str = ""
    provider: str = ""
    assertion: str = ""
    port: int | None = None
    dpop: bool | None = None
    scopes: tuple[str, ...] = ()
    client_id: str = ""
    secret: str = ""
    key_id: str = ""
    secret_post: bool = False
    at_provider: bool = False
    place: Place | None = None


class Remotes(Protocol):
    """The remote servers of a daemon, as far as logins are concerned.

    Attributes:
        store: Where tokens are kept.
    """

    store: Store

    async def begin(self, name: str, place: Place | None) -> Remote:
        """The remote server of a name, at which somebody is about to log in.

        Args:
            name: The name.
            place: Where it is and how it is known, if it is not registered yet; None if nothing is said.

        Raises:
            GuardError: There is none, or no token could be kept.
        """

    async def lookup(self, name: str) -> Remote:
        """The remote server of a name.

        Raises:
            GuardError: There is none.
        """

    async def forget(self, name: str) -> None:
        """Somebody has logged out: what was said at a login of a server that is not registered is gone.

        Raises:
            GuardError: It cannot be removed.
        """

    def fetch(self, remote: Remote) -> Fetch:
        """How it and its authorization server are reached, under the egress policy that holds for it."""


class NoRemotes:
    """A daemon without remote servers."""

    def __init__(self) -> None:
        self.store: Store = MemoryStore()

    async def begin(self, name: str, place: Place | None) -> Remote:  # noqa: ARG002 (the protocol)
        """See `Remotes`."""
        return await self.lookup(name)

    async def lookup(self, name: str) -> Remote:
        """See `Remotes`."""
        raise TrustError(f"no remote server is registered as {name[:64]!a}", hint="mcpguard server list")

    async def forget(self, name: str) -> None:
        """See `Remotes`."""

    def fetch(self, remote: Remote) -> Fetch:
        """See `Remotes`."""
        raise TrustError(f"no remote server is registered as {remote.name!a}", hint="mcpguard server list")


class OAuthDesk:
    """Logins, and what came of them, for one daemon.

    Args:
        remotes: The remote servers, how they are reached, and where tokens are kept.
        append: Writes records, as soon as it can.
        clock: Unix seconds.
        entropy: Random bytes.
    """

    def __init__(
        self,
        remotes: Remotes,
        append: Callable[[list[bytes]], None],
        clock: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._shelf = Shelf(remotes.store)
        self._remotes = remotes
        self._lookup = remotes.lookup
        self._fetch = remotes.fetch
        self._append = append
        self._clock = clock
        self._entropy = entropy
        self._authorizers: dict[str, OAuth] = {}
        self._logins: dict[str, tuple[Login, asyncio.Task[None]]] = {}

    # --- for connections -----------------------------------------------------------------------------------

    async def authorizer(self, remote: Remote) -> OAuth:
        """What authorises requests to a server: one for all of its connections.

        Raises:
            GuardError: What was said about logins to it cannot be read.
        """
        said = await self._shelf.settings(remote.name)
        remote = remote if said is None else msgspec.structs.replace(remote, settings=said)
        known = self._authorizers.get(remote.name)
        if known is None or known.remote != remote:
            known = self._authorizers[remote.name] = self._new(remote)
        return known

    def close(self) -> None:
        """Give up logins that wait."""
        for _, task in self._logins.values():
            task.cancel()

    async def settled(self, seconds: float) -> None:
        """Until no token is being renewed, at most so long: one that was replaced and not kept ends a login."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for each in list(self._authorizers.values()):
                    await each.settled()

    def _new(self, remote: Remote) -> OAuth:
        return OAuth(remote, self._kit(remote), self._told)

    def _kit(self, remote: Remote) -> Kit:
        return kit(self._fetch(remote), self._shelf, self._clock, self._entropy)

    # --- verbs ---------------------------------------------------------------------------------------------

    def reading(self) -> dict[str, Verb]:
        """Verbs that change nothing."""
        return {"remote-status": self._status}

    def approving(self) -> dict[str, Personal]:
        """Verbs that no connected host, nor what it has started, may use."""
        return {
            "remote-login": self._begin,
            "remote-wait": self._wait,
            "remote-answer": self._answer,
            "remote-cancel": self._cancel,
            "remote-logout": self._logout,
        }

    async def _begin(self, request: Request, caller: Caller) -> JsonObject:
        wish = _wish(request.text)
        remote = await self._remotes.begin(request.name, wish.place)
        known = await self.authorizer(remote)
        remote = msgspec.structs.replace(known.remote, settings=_merged(known.remote.settings, wish))
        await self._keep_client(remote.settings, wish)
        self._make_room(remote.name)
        extra = parse_scopes(" ".join(wish.scopes)) | known.wanted
        before = await self._before(remote)
        keep = partial(known.take, remote)
        login = Login(secrets.token_hex(8), remote, self._kit(remote), extra, before, keep)
        task = spawn_task(self._run(login, caller.words), name=f"a login at {remote.name}")
        self._logins[login.ident] = (login, task)
        await login.wait(LOOKING, _WAIT_SECONDS)
        return login.described()

    async def _wait(self, request: Request, _caller: Caller) -> JsonObject:
        login = self._login(request.ident)
        await login.wait(request.source, min(request.seconds, _WAIT_SECONDS))
        return login.described()

    def _answer(self, request: Request, _caller: Caller) -> JsonObject:
        login = self._login(request.ident)
        login.answered(request.text)
        return login.described()

    def _cancel(self, request: Request, _caller: Caller) -> JsonObject:
        login = self._login(request.ident)
        self._logins.pop(login.ident)[1].cancel()
        return {"ident": login.ident, "server": login.remote.name}

    async def _logout(self, request: Request, caller: Caller) -> JsonObject:
        name = request.name
        remote, held, fault = None, None, ""
        try:
            if not name.startswith(IDENTITY):
                remote = await self._lookup(name)
            held = await self._held(name)
        except OAuthError as error:
            fault = error.message  # damaged, or of another URL: gone it shall be all the same
        except TrustError as error:
            if name not in await self._shelf.names():
                raise
            fault = error.message  # it was registered once
        revoked = False
        if remote is None:
            await self._shelf.drop(name)
        else:
            revoked = await self._revoked(remote, held) if held is not None else False
            await self._authorizers.setdefault(name, self._new(remote)).forget()
        await self._remotes.forget(name)
        there = held is not None or bool(fault)
        if there:
            self._append([record.token("logout", name, by=caller.words, revoked=revoked)])
        return {"server": name, "was_there": there, "revoked": revoked, "fault": fault}

    async def _status(self, _request: Request) -> JsonObject:
        now = self._clock()
        told: list[JsonObject] = []
        for name in await self._shelf.names():
            try:
                held = await self._held(name)
            except GuardError as error:
                told.append({"server": name, "error": error.sentence()})
                continue
            if held is not None:
                known = self._authorizers.get(name)
                wanted = sorted(known.wanted) if known is not None else []
                told.append({**described(held), "over": held.over(now), "wanted": wanted})
        return {"servers": told, "now": now}

    # --- on the way ----------------------------------------------------------------------------------------

    async def _run(self, login: Login, by: str) -> None:
        held = await login.run()
        if held is None:
            why = login.failure.sentence() if login.failure is not None else ""
            self._append([record.token("refused", login.remote.name, by=by, why=why)])
            return
        self._told("login", held, by=by)

    def _told(self, event: str, held: Held, by: str = "") -> None:
        told = described(held)
        told.pop("server")
        self._append([record.token(event, held.server, **told, **({"by": by} if by else {}))])

    async def _held(self, name: str) -> Held | None:
        """The token of a server, or of an identity provider."""
        if name.startswith(IDENTITY):
            return await self._shelf.identity(name)
        return await self._shelf.held(await self._lookup(name))

    def _login(self, ident: str) -> Login:
        found = self._logins.get(ident)
        if found is None:
            raise OAuthError("there is no such login", hint="mcpguard remote login NAME")
        return found[0]

    def _make_room(self, name: str) -> None:
        """One login for a server at a time, and not too many at all: the oldest is given up."""
        for ident, (login, task) in list(self._logins.items()):
            if login.remote.name == name or task.done() or len(self._logins) >= limits.OAUTH_LOGINS:
                task.cancel()
                del self._logins[ident]

    async def _before(self, remote: Remote) -> Held | None:
        try:
            return await self._shelf.held(remote)
        except OAuthError:
            return None  # it is about to be replaced

    async def _keep_client(self, settings: OAuthSettings, wish: Wish) -> None:
        if not wish.client_id:
            if wish.secret:
                raise OAuthError("a client secret goes with --client-id")
            return
        issuer = settings.provider if wish.at_provider else settings.issuer
        if not issuer:
            raise OAuthError(
                "a client belongs to one authorization server", hint="say which with --issuer, or --provider"
            )
        redact.current().learn([wish.secret.encode()] if wish.secret else [])
        client = oauthclient.given(issuer, wish.client_id, wish.secret, wish.key_id, post=wish.secret_post)
        await self._shelf.keep_client(client)

    async def _revoked(self, remote: Remote, held: Held) -> bool:
        """Give the tokens back, as far as the authorization server takes them; whether it did."""
        tools = self._kit(remote)
        try:
            async with asyncio.timeout(_REVOKE_SECONDS):
                return await _given_back(tools, remote, held)
        except (UpstreamError, TimeoutError):
            return False


async def _given_back(tools: Kit, remote: Remote, held: Held) -> bool:
    server = await tools.discovery.again(remote, held.issuer)
    client = await tools.shelf.client(held.issuer)
    if client is None or client.client_id != held.client_id:
        client = oauthclient.Client(held.issuer, held.client_id, how="document")
    done = not held.refresh or await tools.grants.revoke(server, client, held.refresh, "refresh_token")
    return await tools.grants.revoke(server, client, held.access, "access_token") and done


def _wish(text: str) -> Wish:
    try:
        return msgspec.json.decode(text or "{}", type=Wish)
    except (ValueError, RecursionError) as error:
        raise OAuthError(f"not a login: {error}") from error


def _merged(settings: OAuthSettings, wish: Wish) -> OAuthSettings:
    """Settings with what is said now in place of what was said before."""
    names = ("flow", "issuer", "document", "provider", "assertion")
    said: JsonObject = {name: getattr(wish, name) for name in names if getattr(wish, name)}
    if wish.port is not None:
        said["port"] = wish.port
    if wish.dpop is not None:
        said["dpop"] = wish.dpop
    merged = msgspec.structs.replace(settings, **said)
    oauthsettings.require(merged)
    return merged
