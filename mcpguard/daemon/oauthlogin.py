"""One login: from the question who gives tokens for a server to the token.

Phases: `looking` (metadata, registration), `asking` (a person is to open the URL), `done`, `failed`.

Rule 1: nothing is opened here. Whoever asked for the login is shown where it leads, and decides.
Rule 2: the issuer is recorded before the person is sent anywhere, and the answer is held against it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.credentials import oauthanswer, oauthclient, oauthmetadata, oauthrequest, oauthscopes
from mcpguard.credentials.oauthanswer import Granted
from mcpguard.credentials.oauthclient import Client
from mcpguard.credentials.oautherror import OAuthError, shown
from mcpguard.credentials.oauthmetadata import AuthorizationServer
from mcpguard.credentials.oauthpkce import RANDOM_BYTES, text_of
from mcpguard.credentials.oauthrequest import Attempt
from mcpguard.credentials.oauthsettings import Remote, identity
from mcpguard.credentials.oauthtokens import Held
from mcpguard.daemon.oauthdiscovery import Found
from mcpguard.daemon.oauthobtain import IDENTITY_SCOPES, Kit, hold, key_for, obtain
from mcpguard.daemon.oauthredirect import Redirect
from mcpguard.daemon.oauthsecrets import passing
from mcpguard.errors import GuardError
from mcpguard.model import JsonObject

LOOKING, ASKING, DONE, FAILED = "looking", "asking", "done", "failed"
_GONE: Final = ("invalid_client", "unauthorized_client")


class Login:
    """A login that goes on.

    Args:
        ident: Names it.
        remote: Where to.
        kit: What to work with.
        extra: Scopes to ask for besides those that the server wants.
        before: The present token; None if there is none.
        keep: Keeps the new one.
        seconds: Time for the person.

    Attributes:
        phase: How far it is.
        held: The token, when it is done.
        failure: Why there is none, when it has failed.
    """

    def __init__(
        self,
        ident: str,
        remote: Remote,
        kit: Kit,
        extra: frozenset[str],
        before: Held | None,
        keep: Callable[[Held], Awaitable[None]],
        seconds: float = limits.OAUTH_LOGIN_SECONDS,
    ) -> None:
        self.ident = ident
        self.remote = remote
        self.phase = LOOKING
        self.held: Held | None = None
        self.failure: GuardError | None = None
        self._kit = kit
        self._extra = extra
        self._before = before
        self._keep = keep
        self._seconds = seconds
        self._redirect: Redirect | None = None
        self._facts: JsonObject = {}
        self._changed = asyncio.Event()

    async def run(self) -> Held | None:
        """Log in; the token, or None if that failed (`failure`)."""
        try:
            self.held = await self._run()
            self._turn(DONE)
        except GuardError as error:
            self.failure = error
            self._turn(FAILED)
        except asyncio.CancelledError:
            self.failure = OAuthError("the login was given up")
            self._turn(FAILED)
            raise
        return self.held

    async def wait(self, phase: str, seconds: float) -> None:
        """Until the phase is another, or the time is over."""
        try:
            async with asyncio.timeout(seconds):
                while self.phase == phase:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    def answered(self, url: str) -> None:
        """A person has brought the redirect that the browser could not deliver.

        Raises:
            OAuthError: Nobody waits for it.
        """
        if self.phase != ASKING or self._redirect is None or not self._redirect.give(url):
            raise OAuthError(
                "this login waits for no answer", hint=f"mcpguard remote login {self.remote.name}"
            )

    def described(self) -> JsonObject:
        """What whoever asked may see; `url` is to be opened, and tied to this login by its state."""
        told: JsonObject = {
            "ident": self.ident,
            "server": self.remote.name,
            "phase": self.phase,
            **self._facts,
        }
        if self.failure is not None:
            told |= {"error": self.failure.message, "hint": self.failure.hint}
        if self.held is not None:
            told |= described(self.held)
        return told

    # --- on the way ----------------------------------------------------------------------------------------

    async def _run(self) -> Held:
        kit, remote = self._kit, self.remote
        found = await kit.discovery.of(remote)
        held = (
            self._before.scopes
            if self._before and self._before.issuer == found.server.issuer
            else frozenset()
        )
        configured = frozenset(remote.settings.scopes)
        scopes = oauthscopes.choose(found.challenged, configured, found.listed, held) | self._extra
        if remote.settings.flow == "enterprise" and not remote.settings.assertion:
            await self._identified()
        if remote.settings.flow != "code":
            made = await obtain(kit, remote, found, scopes)
            await self._keep(made)
            return made
        return await self._by_person(found, oauthscopes.offline(scopes, found.server.scopes_supported))

    async def _by_person(self, found: Found, scopes: frozenset[str]) -> Held:
        key = key_for(self.remote, found)
        granted, client = await self._asked(found.server, found.resource, scopes, key)
        made = hold(self.remote, found, client, granted, scopes, key, self._kit.clock())
        await self._keep(made)
        return made

    async def _identified(self) -> None:
        """Somebody logs in at the identity provider."""
        provider = await self._kit.discovery.server(self.remote.settings.provider, plain=self.remote.plain)
        scopes = oauthscopes.offline(IDENTITY_SCOPES, provider.scopes_supported)
        granted, client = await self._asked(provider, "", scopes, "")
        if not granted.identity:
            raise OAuthError(f"{shown(provider.issuer)} gives no ID token")
        ours = identity(provider.issuer)
        await self._kit.shelf.keep(
            hold(ours, Found("", provider), client, granted, scopes, "", self._kit.clock())
        )
        self._turn(LOOKING)

    async def _asked(
        self, server: AuthorizationServer, resource: str, scopes: frozenset[str], key: str
    ) -> tuple[Granted, Client]:
        """Let a person log in, and redeem the code."""
        oauthmetadata.require_login(server)
        client = await self._client(server, scopes)
        redirect = self._redirect
        assert redirect is not None  # noqa: S101 (`_client` has made it)
        try:
            state, verifier = self._random(), self._random()
            await passing((state, verifier))
            attempt = Attempt(
                server.issuer, client.client_id, redirect.uri, resource, oauthscopes.write_scopes(scopes),
                state, verifier, server.authorization_response_iss_parameter_supported,
            )  # fmt: skip
            self._facts = self._shown(server, client, attempt, scopes)
            self._turn(ASKING)
            try:
                async with asyncio.timeout(self._seconds):
                    url = await redirect.answer()
            except TimeoutError:
                raise OAuthError(f"nobody logged in within {self._seconds:.0f} seconds") from None
        finally:
            redirect.close()
            self._redirect = None
            self._facts.pop("url", None)
        self._turn(LOOKING)
        code = oauthanswer.redirected(url, attempt)
        await passing([code])
        try:
            return await self._kit.grants.ask(
                server, client, oauthrequest.code_form(attempt, code), key
            ), client
        except OAuthError as error:
            if error.error in _GONE and client.how == "registered":
                await self._kit.shelf.drop_client(server.issuer)
            raise

    async def _client(self, server: AuthorizationServer, scopes: frozenset[str]) -> Client:
        """Who we are there; listens where the answer will come."""
        known = await self._kit.shelf.client(server.issuer)
        client = oauthclient.choose(server, known, self.remote.settings.document, self._kit.clock())
        if client is not None and client.redirect:
            try:
                self._redirect = await Redirect.at(client.redirect)
            except OAuthError:
                if not server.registration_endpoint:
                    raise
                client = None  # somebody else has the port that we registered with
            else:
                return client
        # of servers that do not name themselves in answers, each has a path of its own (RFC 9700 4.4.2.2)
        own = f"/{hashlib.sha256(server.issuer.encode()).hexdigest()[:16]}" if client is None else ""
        self._redirect = await Redirect.listen(f"/callback{own}", self.remote.settings.port)
        if client is None:
            client = await self._registered(server, self._redirect.uri, scopes)
        return client

    async def _registered(self, server: AuthorizationServer, redirect: str, scopes: frozenset[str]) -> Client:
        request = oauthclient.registration(redirect, oauthscopes.write_scopes(scopes), server)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        try:
            answer = await self._kit.fetch(
                "POST",
                server.registration_endpoint,
                headers,
                msgspec.json.encode(request),
                limits.OAUTH_METADATA_BYTES,
            )
            client = oauthclient.registered(answer.status, answer.body, server.issuer, redirect)
            await self._kit.shelf.keep_client(client)
        except GuardError:
            if self._redirect is not None:
                self._redirect.close()
            raise
        return client

    def _shown(
        self, server: AuthorizationServer, client: Client, attempt: Attempt, scopes: frozenset[str]
    ) -> JsonObject:
        return {
            "url": oauthrequest.authorization_url(server, attempt),
            "issuer": server.issuer,
            "issuer_before": self._before.issuer if self._before else "",
            "resource": attempt.resource,
            "scopes": sorted(scopes),
            "client_id": client.client_id,
            "client": client.how,
            "redirect": attempt.redirect,
            "seconds": self._seconds,
        }

    def _random(self) -> str:
        return text_of(self._kit.entropy(RANDOM_BYTES))

    def _turn(self, phase: str) -> None:
        self.phase = phase
        self._changed.set()


def described(held: Held) -> JsonObject:
    """What everybody may know of a token: never a value."""
    return {
        "server": held.server,
        "url": held.url,
        "issuer": held.issuer,
        "resource": held.resource,
        "client_id": held.client_id,
        "scopes": sorted(held.scopes),
        "flow": held.flow,
        "kind": held.kind,
        "expires": held.expires,
        "refreshes": bool(held.refresh) or held.flow != "code",
        "obtained": held.obtained,
    }
