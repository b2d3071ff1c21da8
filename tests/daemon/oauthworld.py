"""What the stories of OAuth are played on: a provider, a remote server, a clock, and a browser; all real but the clock."""

import contextlib
import itertools
import secrets
import ssl
import time
from collections.abc import AsyncIterator

import trustme

from mcpguard.credentials.oauthsettings import OAuthSettings, Remote
from mcpguard.daemon.oauth import OAuth
from mcpguard.daemon.oauthlogin import ASKING, LOOKING, Login
from mcpguard.daemon.oauthobtain import Kit, kit
from mcpguard.daemon.oauthstore import MemoryStore, Shelf
from mcpguard.daemon.tasks import spawn_task
from tests.fakes.oauthperson import visit
from tests.fakes.oauthprovider import Provider, Traits
from tests.fakes.oauthresource import Resource
from tests.fakes.plainfetch import PlainFetch

AUTHORITY = trustme.CA()


def trusting() -> ssl.SSLContext:
    """What a client knows."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def serving() -> ssl.SSLContext:
    """What a server shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


class World:
    """One of each."""

    def __init__(self) -> None:
        self.late = 0.0
        self.trust = trusting()
        self.fetch = PlainFetch(self.trust)
        self.store = MemoryStore()
        self.numbers = itertools.count(1)

    def clock(self) -> float:
        return time.time() + self.late

    def remote(self, **settings: object) -> Remote:
        return Remote("files", self.resource.url, OAuthSettings(**settings))

    def kit(self) -> Kit:
        return kit(self.fetch, Shelf(self.store), self.clock, secrets.token_bytes)

    def oauth(self, **settings: object) -> OAuth:
        return OAuth(self.remote(**settings), self.kit())

    async def begin(self, *scopes: str, seconds: float = 60.0, **settings: object) -> Login:
        """A login, as far as a person is needed, or it has ended."""
        remote, tools = self.remote(**settings), self.kit()
        before = await tools.shelf.held(remote)
        keep = tools.shelf.keep
        login = Login(str(next(self.numbers)), remote, tools, frozenset(scopes), before, keep, seconds)
        self.task = spawn_task(login.run(), name="login")
        await login.wait(LOOKING, 20)
        return login

    async def finish(self, login: Login, *, follow: bool = True) -> tuple[int, str, str]:
        """The person goes there, and the login ends."""
        assert login.phase == ASKING, login.described()
        seen = await visit(login.described()["url"], self.trust, follow=follow)
        if follow and seen[1]:
            await self.task
        return seen

    async def log_in(self, *scopes: str, **settings: object) -> Login:
        """A whole login."""
        login = await self.begin(*scopes, **settings)
        if login.phase == ASKING:
            await self.finish(login)
        await self.task
        return login

    async def call(self, oauth: OAuth) -> int:
        """One request, sent again as often as the authorizer says; its status."""
        while True:
            fields = await oauth.headers("POST", self.resource.url)
            answer = await self.fetch("POST", self.resource.url, fields, b"{}")
            if answer.status not in (401, 403):
                return answer.status
            nonce = answer.headers.get("dpop-nonce", "")
            if not await oauth.challenged(answer.status, answer.headers.get("www-authenticate", ""), nonce):
                return answer.status


@contextlib.asynccontextmanager
async def world(mcp: str = "/mcp", **traits: object) -> AsyncIterator[World]:
    """A provider with these traits, and a resource that takes its tokens."""
    made = World()
    made.provider = await Provider(serving(), Traits(**traits), made.clock).start()
    made.resource = await Resource(serving(), mcp).start(made.provider)
    try:
        yield made
    finally:
        await made.resource.stop()
        await made.provider.stop()
