"""The verbs of logins, without a command line; with one, they are in tests/lifecycle/test_remote_login.py."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import cast

import pytest

from mcpguard import limits
from mcpguard.credentials.oautherror import OAuthError
from mcpguard.credentials.oauthsettings import Remote
from mcpguard.daemon.beyond import Logins
from mcpguard.daemon.control import Caller
from mcpguard.daemon.oauthdesk import NoRemotes, OAuthDesk
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.remotes import Registrations
from mcpguard.errors import TrustError
from mcpguard.protocol.control import Request
from tests.daemon.oauthworld import World, world
from tests.daemon.test_oauthobtain import enterprise
from tests.fakes.oauthperson import visit

pytestmark = pytest.mark.asyncio
ME = Caller(1000, 42)


class Ours(NoRemotes):
    """Servers of any name, all at one URL."""

    def __init__(self, at: World) -> None:
        self.at, self.store = at, at.store

    async def lookup(self, name: str) -> Remote:
        if name.startswith("no"):
            raise TrustError("there is none")
        return Remote(name, self.at.resource.url)

    def fetch(self, remote: Remote):
        return self.at.fetch


class Stage:
    def __init__(self, at: World) -> None:
        self.at, self.records = at, []
        self.desk = OAuthDesk(Ours(at), self.records.extend, at.clock)
        self.verbs = self.desk.approving()

    async def ask(self, verb: str, **members: object):
        answer = self.verbs[verb](Request(verb, **members), ME)
        return await answer if asyncio.iscoroutine(answer) else answer

    async def login(self, name: str = "files", **wish: object):
        return await self.ask("remote-login", name=name, text=json.dumps(wish))

    async def logged_in(self, name: str = "files", **wish: object):
        told = await self.login(name, **wish)
        await visit(told["url"], self.at.trust)
        return await self.until(told)

    async def until(self, told):
        async with asyncio.timeout(20):
            while told["phase"] not in ("done", "failed"):
                told = await self.ask("remote-wait", ident=told["ident"], source=told["phase"], seconds=1.0)
            while not [one for one in self.events() if one["event"] in ("login", "refused")]:
                await asyncio.sleep(0)
        return told

    def events(self):
        return [json.loads(b"{%b}" % body) for body in self.records]

    async def status(self):
        return (await self.desk.reading()["remote-status"](Request("remote-status")))["servers"]


@contextlib.asynccontextmanager
async def stage(**traits: object) -> AsyncIterator[Stage]:
    async with world(**traits) as at:
        made = Stage(at)
        try:
            yield made
        finally:
            made.desk.close()
            await asyncio.sleep(0)


async def test_a_login_is_recorded_with_who_asked_and_without_values() -> None:
    async with stage() as on:
        told = await on.logged_in()
        assert told["phase"] == "done"
        (event,) = on.events()
        assert (event["type"], event["event"], event["server"]) == ("token", "login", "files")
        assert event["by"] == "uid 1000 (pid 42)"
        assert event["issuer"] == on.at.provider.issuer
        everything = repr((told, event, await on.status()))
        for token in on.at.provider.tokens:
            assert token.access not in everything
            assert token.refresh not in everything


async def test_a_login_that_fails_is_recorded_with_the_reason() -> None:
    async with stage(denies=True) as on:
        told = await on.logged_in()
        assert "access_denied" in told["error"]
        (event,) = on.events()
        assert event["event"] == "refused"
        assert "access_denied" in event["why"]


async def test_connections_share_an_authorizer_and_a_login_takes_its_place() -> None:
    async with stage() as on:
        await on.logged_in()
        remote = Remote("files", on.at.resource.url)
        first = await on.desk.authorizer(remote)
        assert await on.desk.authorizer(remote) is first
        assert await on.at.call(first) == 200
        on.at.late = 3601
        assert await on.at.call(first) == 200
        assert on.events()[-1]["event"] == "refreshed"
        moved = await on.desk.authorizer(Remote("files", f"{on.at.resource.url}/v2"))
        assert moved is not first


async def test_a_login_reaches_connections_that_are_open() -> None:
    """One that was refused for a missing scope goes on with the next login."""
    async with stage() as on:
        on.at.resource.scopes = {"read"}
        await on.logged_in()
        oauth = await on.desk.authorizer(Remote("files", on.at.resource.url))
        assert await on.at.call(oauth) == 200
        on.at.resource.scopes = {"read", "write"}
        with pytest.raises(OAuthError, match="wants more"):
            await on.at.call(oauth)
        told = await on.logged_in(issuer=on.at.provider.issuer)
        assert told["phase"] == "done"
        assert await on.at.call(oauth) == 200
        assert oauth.remote.settings.issuer == on.at.provider.issuer


async def test_a_login_that_fails_leaves_everything_as_it_was() -> None:
    async with stage() as on:
        await on.logged_in()
        oauth = await on.desk.authorizer(Remote("files", on.at.resource.url))
        told = await on.login(issuer="https://evil.example")
        assert (await on.until(told))["phase"] == "failed"
        assert await on.at.call(oauth) == 200
        assert await on.desk.authorizer(Remote("files", on.at.resource.url)) is oauth


async def test_after_a_logout_connections_that_are_open_have_no_token() -> None:
    async with stage() as on:
        await on.logged_in()
        oauth = await on.desk.authorizer(Remote("files", on.at.resource.url))
        assert await on.at.call(oauth) == 200
        told = await on.ask("remote-logout", name="files")
        assert (told["was_there"], told["revoked"]) == (True, True)
        with pytest.raises(OAuthError, match="nobody has logged in"):
            await on.at.call(oauth)
        assert (await on.ask("remote-logout", name="files"))["was_there"] is False
        assert [event["event"] for event in on.events()] == ["login", "logout"]


async def test_a_logout_forgets_although_the_issuer_is_gone() -> None:
    async with stage() as on:
        await on.logged_in()
        await on.at.provider.stop()
        told = await on.ask("remote-logout", name="files")
        assert (told["was_there"], told["revoked"]) == (True, False)
        assert await on.status() == []
        await on.at.provider.start()


async def test_a_damaged_token_is_shown_as_such_and_can_be_forgotten() -> None:
    async with stage() as on:
        await on.logged_in()
        on.at.store.put("oauth/server/files", b"x", 0.0)
        (one,) = await on.status()
        assert "damaged" in one["error"]
        told = await on.ask("remote-logout", name="files")
        assert told["was_there"]
        assert await on.status() == []


async def test_what_was_said_once_holds_for_the_next_login_and_for_calls() -> None:
    async with stage() as on:
        on.at.provider.documents["https://g.example/c"] = {"redirect_uris": ["http://127.0.0.1/callback"]}
        await on.logged_in(document="https://g.example/c", issuer=on.at.provider.issuer)
        told = await on.logged_in()
        assert told["client_id"] == "https://g.example/c"
        on.at.resource.issuers = ["https://evil.example"]
        told = await on.login()
        assert "only" in (await on.until(told))["error"]


async def test_scopes_that_the_server_asked_for_are_asked_for_with_the_next_login() -> None:
    async with stage() as on:
        on.at.resource.scopes = {"read"}
        await on.logged_in()
        oauth = await on.desk.authorizer(Remote("files", on.at.resource.url))
        on.at.resource.scopes = {"write"}
        with pytest.raises(OAuthError, match="wants more"):
            await on.at.call(oauth)
        assert (await on.status())[0]["wanted"] == ["write"]
        on.at.resource.scopes = set()
        told = await on.logged_in(scopes=["openid"])
        assert {"read", "write", "openid"} <= set(told["scopes"])


async def test_one_login_for_a_server_at_a_time_and_not_too_many_at_all() -> None:
    async with stage() as on:
        first = await on.login()
        second = await on.login()
        with pytest.raises(OAuthError, match="no such login"):
            await on.ask("remote-wait", ident=first["ident"])
        for number in range(limits.OAUTH_LOGINS + 3):
            await on.login(f"s{number}")
        assert len(on.desk._logins) <= limits.OAUTH_LOGINS
        with pytest.raises(OAuthError, match="no such login"):
            await on.ask("remote-answer", ident=second["ident"], text="x")


async def test_a_login_that_is_given_up_stops_listening() -> None:
    async with stage() as on:
        told = await on.login()
        _, location, _ = await visit(told["url"], on.at.trust, follow=False)
        await on.ask("remote-cancel", ident=told["ident"])
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="Connect call failed"):
            await visit(location, on.at.trust)
        assert on.at.provider.asked("/token") == []


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        ({"client_id": "x"}, "belongs to one authorization server"), ({"secret": "x"}, "goes with --client-id"),
        ({"flow": "password"}, "no flow"), ({"flow": "enterprise"}, "identity provider"), ({"nothing": 1}, "not a login"),
        ({"scopes": ['a"b']}, "no scope"), ({"port": 99999}, "no port"), ({"scopes": "x"}, "not a login"),
    ],
)  # fmt: skip
async def test_wishes_that_make_no_sense(wish: dict[str, object], why: str) -> None:
    async with stage() as on:
        with pytest.raises(OAuthError, match=why):
            await on.login(**wish)
        assert on.at.fetch.sent == []


async def test_a_server_that_is_none() -> None:
    async with stage() as on:
        for verb in ("remote-login", "remote-logout"):
            with pytest.raises(TrustError):
                await on.ask(verb, name="nobody")
        none = NoRemotes()
        for ask in (lambda: none.lookup("x"), lambda: none.begin("x", None)):
            with pytest.raises(TrustError, match="no remote server is registered as 'x'"):
                await ask()
        with pytest.raises(TrustError, match="no remote server is registered as 'x'"):
            none.fetch(Remote("x", "https://x.example"))


async def test_the_client_of_an_identity_provider_is_kept_for_it() -> None:
    async with stage() as on:
        await on.login(
            flow="enterprise",
            provider="https://sso.example",
            client_id="c",
            secret="s3cret-s3cret",
            at_provider=True,
        )
        assert (await on.desk._shelf.client("https://sso.example")).client_id == "c"
        assert await on.desk._shelf.client(on.at.provider.issuer) is None


async def test_a_login_at_an_identity_provider_is_shown_and_can_be_forgotten() -> None:
    async with stage() as on, world() as home:
        at = on.at
        settings = await enterprise(at, home)
        told = await on.logged_in(**settings)
        assert told["phase"] == "done", told
        names = [one["server"] for one in await on.status()]
        (sso,) = [name for name in names if name.startswith("@")]
        assert (await on.status())[names.index(sso)]["url"] == home.provider.issuer
        await on.ask("remote-logout", name="files")
        assert [one["server"] for one in await on.status()] == [sso], "others may need it"
        assert (await on.ask("remote-logout", name=sso))["was_there"]
        assert await on.status() == []
        at.store.put(f"oauth/server/{sso}", b"{}", 0.0)
        with pytest.raises(OAuthError, match="damaged"):
            await on.desk._shelf.identity(sso)


async def test_the_verbs_of_a_desk_that_is_not_made_yet_are_its_own() -> None:
    desk = OAuthDesk(NoRemotes(), lambda _: None)
    late = Logins(cast("Registrations", NoRemotes()), cast("Recorder", None))
    assert list(late.reading()) == list(desk.reading())
    assert list(late.approving()) == list(desk.approving())
    await late.settled(1.0)
    late.close()
    assert late._made is None
