"""Authorises requests to one remote server: the token that it has, refreshed before it ends, or a sentence.

Rule 1: a token goes to the resource it is for and nowhere else; what a host sends is never one.
Rule 2: however many calls wait, one refresh is under way.
Rule 3: what was refreshed is kept before it is used: a refresh token that was replaced does not count any more.
Rule 4: a server may refuse what it was just given, or ask for more, `limits.OAUTH_STEP_UPS` times, not for ever.

Cost: `headers` with a token that is good takes 2 us; the proof of a bound token (DPoP) 0.1 ms more.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import Callable, Mapping
from typing import Final

from mcpguard import limits
from mcpguard.credentials import oauthchallenge, oauthrequest, oauthurls
from mcpguard.credentials.oauthclient import Client
from mcpguard.credentials.oautherror import OAuthError, shown
from mcpguard.credentials.oauthmetadata import AuthorizationServer
from mcpguard.credentials.oauthpkce import RANDOM_BYTES, text_of
from mcpguard.credentials.oauthscopes import choose, write_scopes
from mcpguard.credentials.oauthsettings import Remote
from mcpguard.credentials.oauthtokens import Held
from mcpguard.daemon.oauthgrants import NONCE
from mcpguard.daemon.oauthobtain import Kit, obtain
from mcpguard.daemon.oauthproofs import Prover
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import GuardError

_log: Final = logging.getLogger("mcpguard")
_FRESH_SECONDS: Final = 5.0
"""A token younger than this is not refreshed because a call that began earlier was refused."""
_QUIET_SECONDS: Final = 60.0
"""Refusals that are further apart have nothing to do with each other."""
_AGAIN_SECONDS: Final = 15.0
"""After a refresh ahead of time that failed, the next comes so much later."""
_HINT_CHARS: Final = 300
_OVER: Final = ("invalid_grant", "invalid_client", "unauthorized_client")
"""Refusals after which a refresh token is of no use."""


def _unheard(event: str, held: Held) -> None:
    """Tell nobody: for an authorizer without a log."""


class OAuth:
    """The authorizer of one remote server (`daemon.outgoing.Authorizer`), shared by all its connections.

    Args:
        remote: The server.
        kit: What to work with.
        changed: Told of events, for the log: `refreshed`, `obtained`, `lost`.
    """

    def __init__(self, remote: Remote, kit: Kit, changed: Callable[[str, Held], None] = _unheard) -> None:
        self.remote = remote
        self.kit = kit
        self._changed = changed
        self._held: Held | None = None
        self._fields: Mapping[str, str] = {}
        self._prover: Prover | None = None
        self._nonce = ""
        self._wanted: frozenset[str] = frozenset()
        self._shelving = asyncio.Lock()
        self._epoch = 0
        self._renewing: asyncio.Task[Held | GuardError] | None = None
        self._not_before = 0.0
        self._last = 0.0
        self._refused = 0
        self._stepped = 0

    @property
    def wanted(self) -> frozenset[str]:
        """Scopes that the server has asked for and the token has not."""
        return self._wanted

    async def headers(self, method: str, url: str) -> Mapping[str, str]:
        """The header fields of one request; see `Authorizer`.

        Raises:
            UpstreamError: There is no token, and none can be had without a person.
            GuardError: The store cannot be read.
        """
        held = self._held or await self._loaded()
        if url != self.remote.url and (
            oauthurls.refused(url, plain=self.remote.plain) or not self._inside(url, held)
        ):
            raise OAuthError(f"the token of {self.remote.name!a} is not for {shown(url)}")
        now = self.kit.clock()
        if held.over(now):
            await self._renewed()
        elif held.due(now) and now >= self._not_before:
            self._renew_ahead()
        if self._held is None:  # somebody has logged out meanwhile
            raise self._no_token()
        if self._prover is None:
            return self._fields
        ident = text_of(self.kit.entropy(RANDOM_BYTES))
        proof = self._prover.proof(
            method, url, now=now, ident=ident, nonce=self._nonce, access=self._held.access
        )
        return {**self._fields, "DPoP": proof}

    async def challenged(self, status: int, www_authenticate: str, dpop_nonce: str = "") -> bool:
        """The server refused with 401 or 403; whether the request may be sent once more. See `Authorizer`.

        Args:
            status: 401 or 403.
            www_authenticate: The field of that name.
            dpop_nonce: The field `DPoP-Nonce` of the same answer (RFC 9449 9).

        Raises:
            UpstreamError: It is no use, and what a person can do.
        """
        wanted = oauthchallenge.wanted(www_authenticate)
        self.note_nonce(dpop_nonce)
        self._count()
        if self._refused > limits.OAUTH_REFUSALS:
            raise self._no_use("refuses the token again and again")
        if status == 401 and wanted.error == NONCE and self._prover is not None and dpop_nonce:
            return True
        if status == 403 and wanted.error == "insufficient_scope":
            return await self._stepped_up(wanted.scopes)
        if status != 401:
            raise OAuthError(
                f"{self.remote.name!a} refuses with {status}", hint="the token is good, and not for this"
            )
        self._wanted |= wanted.scopes
        return await self._replaced()

    def note_nonce(self, nonce: str) -> None:
        """The server gave a nonce for the next proof, in any answer (RFC 9449 8.2)."""
        if 0 < len(nonce) <= limits.OAUTH_URL_CHARS and nonce.isascii() and nonce.isprintable():
            self._nonce = nonce

    async def take(self, remote: Remote, held: Held) -> None:
        """A person has logged in: keep this token and what was said, and use them, in connections that are open, too.

        Raises:
            GuardError: They cannot be kept.
        """
        async with self._shelving:
            self._epoch += 1
            await self.kit.shelf.keep(held)
            await self.kit.shelf.keep_settings(remote.name, remote.settings)
            self.remote = remote
            self._adopt(held)

    async def settled(self) -> None:
        """Until no token is being renewed: an answer that got lost may have cost the login."""
        if self._renewing is not None:
            await asyncio.wait((self._renewing,))

    async def forget(self) -> None:
        """A person has logged out: whatever is being refreshed now is not kept.

        Raises:
            GuardError: What is kept cannot be removed; it is not used any more.
        """
        async with self._shelving:
            self._epoch += 1
            self._adopt(None)
            await self.kit.shelf.drop(self.remote.name)

    def _adopt(self, held: Held | None) -> None:
        """Use this token from now on; None to look again."""
        self._held = held
        self._prover = None
        self._fields = {}
        self._nonce = ""
        if held is not None:
            self._wanted -= held.scopes
            self._fields = {"Authorization": f"{held.kind} {held.access}"}
            self._prover = Prover(held.key) if held.key else None

    # --- tokens --------------------------------------------------------------------------------------------

    def _inside(self, url: str, held: Held) -> bool:
        return oauthurls.within(url, held.resource)

    async def _loaded(self) -> Held:
        """The token from the store, or a new one where that needs no person."""
        async with self._shelving:
            held = self._held or await self.kit.shelf.held(self.remote)
            if held is not None:
                if held is not self._held:
                    self._adopt(held)
                return held
        if self.remote.settings.flow == "code":
            raise self._no_token()
        return await self._renewed()

    def _renew_ahead(self) -> None:
        """Refresh while the present token still counts; a failure is tried again later."""
        held = self._held
        if held is None or (held.flow == "code" and not held.refresh):
            return
        self._started().add_done_callback(lambda _: None)

    async def _renewed(self, *, new: bool = False) -> Held:
        """A new token, refreshed if it can be and `new` does not forbid it; whoever comes meanwhile waits for it."""
        result = await asyncio.shield(self._started(new=new))
        if isinstance(result, GuardError):
            raise result
        return result

    def _started(self, *, new: bool = False) -> asyncio.Task[Held | GuardError]:
        if self._renewing is None:
            self._renewing = spawn_task(self._renew(new=new), name=f"a token for {self.remote.name}")
        return self._renewing

    async def _renew(self, *, new: bool) -> Held | GuardError:
        held, epoch = self._held, self._epoch
        try:
            if held is not None and held.refresh and not new:
                return await self._refresh(held, epoch)
            return await self._obtained(epoch)
        except GuardError as error:
            self._not_before = self.kit.clock() + _AGAIN_SECONDS
            _log.warning("no new token for %a: %s", self.remote.name, error.sentence())
            return error
        finally:
            self._renewing = None

    async def _kept(self, event: str, held: Held, epoch: int) -> Held:
        """Keep a new token and use it, unless a person has logged in or out since it was asked for."""
        async with self._shelving:
            if epoch == self._epoch:
                await self.kit.shelf.keep(held)
                self._adopt(held)
                self._changed(event, held)
                return held
        if self._held is None:
            raise self._no_token()
        return self._held

    async def _refresh(self, held: Held, epoch: int) -> Held:
        try:
            server = await self._server_of(held)
            client = await self._client_of(held)
            form = oauthrequest.refresh_form(held.refresh, held.resource)
            granted = await self.kit.grants.ask(server, client, form, held.key)
            renewed = held.renewed(granted, self.kit.clock())
        except OAuthError as error:
            if error.error not in _OVER:
                raise
            if held.flow != "code":
                return await self._obtained(epoch)
            raise await self._lost(held, error, epoch) from error
        return await self._kept("refreshed", renewed, epoch)

    async def _lost(self, held: Held, error: OAuthError, epoch: int) -> OAuthError:
        """The token does not count any more: forget it, unless there is another; what to say."""
        async with self._shelving:
            if epoch == self._epoch:
                await self.kit.shelf.drop_token(held.server)
                self._adopt(None)
                self._changed("lost", held)
        return OAuthError(
            f"the login at {self.remote.name!a} is over: {error.message}",
            error=error.error,
            hint=f"mcpguard remote login {self.remote.name}",
        )

    async def _obtained(self, epoch: int) -> Held:
        if self.remote.settings.flow == "code":
            raise self._no_token()
        found = await self.kit.discovery.of(self.remote)
        before = (
            self._held.scopes if self._held and self._held.issuer == found.server.issuer else frozenset[str]()
        )
        configured = frozenset(self.remote.settings.scopes)
        scopes = choose(found.challenged, configured, found.listed, before) | self._wanted
        held = await obtain(self.kit, self.remote, found, scopes)
        return await self._kept("obtained", held, epoch)

    async def _server_of(self, held: Held) -> AuthorizationServer:
        """Whoever gave the token: only it gets the refresh token."""
        return await self.kit.discovery.again(self.remote, held.issuer)

    async def _client_of(self, held: Held) -> Client:
        client = await self.kit.shelf.client(held.issuer)
        if client is None or client.client_id != held.client_id:
            client = Client(held.issuer, held.client_id, how="document")
        return client

    # --- refusals ------------------------------------------------------------------------------------------

    def _count(self) -> None:
        """One more refusal; after a while without any, those before do not count."""
        now = self.kit.clock()
        if now - self._last > _QUIET_SECONDS:
            self._refused = self._stepped = 0
        self._last = now
        self._refused += 1

    def _step(self) -> bool:
        """Whether a new token may be had; those who join one that is under way take no step of their own."""
        self._stepped += self._renewing is None
        return self._stepped <= limits.OAUTH_STEP_UPS

    async def _replaced(self) -> bool:
        """The server does not take the token: get another, unless this one is new."""
        held = self._held
        if held is None:
            await self._loaded()
            return True
        now = self.kit.clock()
        young = now - held.obtained < _FRESH_SECONDS and not held.due(now)
        if young and self._refused <= limits.OAUTH_REFUSALS // 2:
            return True  # refused while it was being replaced
        if not self._step():
            raise self._no_use("refuses every token")
        if held.flow == "code" and not held.refresh:
            raise await self._lost(held, self._no_use("does not take the token any more"), self._epoch)
        await self._renewed()
        return True

    async def _stepped_up(self, scopes: frozenset[str]) -> bool:
        """The server wants more scopes than the token has."""
        held = self._held or await self._loaded()
        self._wanted |= scopes - held.scopes
        if not scopes - held.scopes or not self._step():
            raise self._no_use(
                f"asks for scopes that it does not get: {write_scopes(scopes) or 'none named'}"
            )
        if held.flow == "code":
            # the server chose them, and whoever reads this may paste it into a shell
            asked = "".join(f" --scope {shlex.quote(scope)}" for scope in sorted(scopes))
            if len(asked) > _HINT_CHARS:
                asked = ""  # they are remembered, and asked for all the same
            raise OAuthError(
                f"{self.remote.name!a} wants more than the login gave: {shown(write_scopes(scopes))}",
                error="insufficient_scope",
                hint=f"mcpguard remote login {self.remote.name}{asked}",
            )
        await self._renewed(new=True)
        return True

    def _no_token(self) -> OAuthError:
        return OAuthError(
            f"nobody has logged in at {self.remote.name!a}", hint=f"mcpguard remote login {self.remote.name}"
        )

    def _no_use(self, why: str) -> OAuthError:
        return OAuthError(f"{self.remote.name!a} {why}", hint=f"mcpguard remote login {self.remote.name}")
