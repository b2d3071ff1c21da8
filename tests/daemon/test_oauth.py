"""An authorizer against a real provider and a real server that wants its tokens."""

import asyncio
import json
import subprocess
from pathlib import Path

import msgspec
import pytest

from mcpguard import limits
from mcpguard.audit import redact
from mcpguard.credentials.oautherror import OAuthError
from mcpguard.credentials.oauthsettings import Remote
from mcpguard.daemon.oauth import OAuth
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import GuardError, UpstreamError
from tests.daemon.oauthworld import World, world

pytestmark = pytest.mark.asyncio


def granted(at: World) -> list[str]:
    """The grants that were handed in, in order."""
    return [form["grant_type"] for form in at.provider.asked("/token")]


async def settled(oauth: OAuth) -> None:
    """Until nothing is being refreshed."""
    async with asyncio.timeout(20):
        while oauth._renewing is not None:
            await asyncio.sleep(0)


async def test_a_login_gives_a_token_that_the_server_takes() -> None:
    async with world() as at:
        login = await at.log_in()
        assert login.phase == "done", login.described()
        assert await at.call(at.oauth()) == 200


async def test_without_a_login_a_call_names_the_command() -> None:
    async with world() as at:
        with pytest.raises(UpstreamError, match="nobody has logged in") as caught:
            await at.call(at.oauth())
        assert caught.value.hint == "mcpguard remote login files"


# --- where a token goes ---------------------------------------------------------------------------------


async def test_a_token_goes_to_its_server_and_nowhere_else() -> None:
    async with world() as at:
        await at.log_in()
        oauth, base = at.oauth(), at.resource.base
        for url in (f"{base}/mcp", f"{base}/mcp/", f"{base}/mcp/x"):
            assert (await oauth.headers("POST", url))["Authorization"].startswith("Bearer at-")
        for url in (
            f"{base}/", f"{base}/mcpx", f"{base}/other", "https://evil.example/mcp", "http://localhost/mcp",
            f"{base.replace('https', 'http')}/mcp", at.provider.issuer, f"{base}@evil.example/mcp", "", "file:///x",
        ):  # fmt: skip
            with pytest.raises(OAuthError, match="is not for"):
                await oauth.headers("POST", url)


async def test_a_token_is_bound_to_the_url_of_its_server() -> None:
    """Whoever changes the URL of a registered server does not get its token."""
    async with world() as at:
        await at.log_in()
        moved = OAuth(Remote("files", f"{at.resource.url}/v2"), at.kit())
        with pytest.raises(OAuthError, match="and its URL is"):
            await moved.headers("POST", f"{at.resource.url}/v2")
        other = OAuth(Remote("other", at.resource.url), at.kit())
        with pytest.raises(OAuthError, match="nobody has logged in"):
            await other.headers("POST", at.resource.url)


async def test_what_is_kept_under_another_name_is_no_token() -> None:
    async with world() as at:
        await at.log_in()
        at.store.put("oauth/server/other", at.store.get("oauth/server/files"), 0.0)
        with pytest.raises(OAuthError, match="was given for"):
            await OAuth(Remote("other", at.resource.url), at.kit()).headers("POST", at.resource.url)
        at.store.put("oauth/server/files", b"\xff{", 0.0)
        with pytest.raises(OAuthError, match="damaged"):
            await at.call(at.oauth())


async def test_records_and_representations_show_no_token() -> None:
    async with world() as at:
        redact.install(redact.Redactor(b"k" * 32))
        try:
            login = await at.log_in()
            assert await at.call(at.oauth()) == 200
            (token,) = at.provider.tokens
            state = at.provider.asked("/authorize")[0]["state"]
            values = (token.access, token.refresh, state, at.provider.asked("/token")[0]["code_verifier"])
            shown = redact.current().text(" ".join(values))
            for value in values:
                assert value not in shown
                assert value not in repr(login.held)
                assert value not in json.dumps(login.described())
        finally:
            redact.install(redact.Redactor())


# --- refreshing -----------------------------------------------------------------------------------------


async def test_fifty_calls_at_once_are_one_refresh() -> None:
    async with world(lifetime=600) as at:
        await at.log_in()
        oauth = at.oauth()
        assert await at.call(oauth) == 200
        at.late = 601
        assert set(await asyncio.gather(*(at.call(oauth) for _ in range(50)))) == {200}
        assert granted(at) == ["authorization_code", "refresh_token"]


async def test_fifty_calls_whose_token_was_revoked_are_one_refresh() -> None:
    async with world() as at:
        await at.log_in()
        oauth = at.oauth()
        assert await at.call(oauth) == 200
        at.provider.tokens[0].revoked = True
        at.late = 60
        assert set(await asyncio.gather(*(at.call(oauth) for _ in range(50)))) == {200}
        assert granted(at) == ["authorization_code", "refresh_token"]


async def test_a_token_that_lives_for_seconds_only_is_replaced_as_soon_as_it_is_refused() -> None:
    async with world(lifetime=4) as at:
        await at.log_in()
        oauth = at.oauth()
        assert await at.call(oauth) == 200
        at.provider.tokens[0].revoked = True  # over, by the clock of the server
        at.late = 3.5
        assert await at.call(oauth) == 200
        assert granted(at) == ["authorization_code", "refresh_token"]
        assert at.resource.refused.count((401, "invalid_token")) == 1


async def test_a_token_is_refreshed_before_it_ends_and_calls_go_on_meanwhile() -> None:
    async with world(lifetime=1000) as at:
        await at.log_in()
        oauth = at.oauth()
        first = await oauth.headers("POST", at.resource.url)
        at.late = 790
        assert await oauth.headers("POST", at.resource.url) == first
        assert granted(at) == ["authorization_code"]
        at.late = 810
        assert await oauth.headers("POST", at.resource.url) == first, "the old one still counts, nobody waits"
        await settled(oauth)
        assert await oauth.headers("POST", at.resource.url) != first
        assert granted(at) == ["authorization_code", "refresh_token"]
        assert await at.call(oauth) == 200


async def test_a_refresh_ahead_that_fails_is_tried_again_and_harms_no_call() -> None:
    async with world(lifetime=1000) as at:
        await at.log_in()
        oauth = at.oauth()
        assert await at.call(oauth) == 200
        fetch, down = oauth.kit.fetch, True

        async def flaky(method, url, headers, body=b"", most=1 << 20):
            if down and "/token" in url:
                raise UpstreamError("no connection", code=125)
            return await fetch(method, url, headers, body, most)

        oauth.kit.grants._fetch = flaky
        for late in (810, 811, 820, 900):
            at.late = late
            assert await at.call(oauth) == 200
            await settled(oauth)
        down = False
        at.late = 950
        assert await at.call(oauth) == 200
        await settled(oauth)
        assert granted(at) == ["authorization_code", "refresh_token"]


@pytest.mark.parametrize("rotates", [True, False])
async def test_rotation_keeps_the_newest_refresh_token(rotates: bool) -> None:
    async with world(rotates=rotates) as at:
        await at.log_in()
        oauth = at.oauth()
        for turn in range(1, 4):
            at.late = turn * 3601
            assert await at.call(oauth) == 200
            assert await at.call(at.oauth()) == 200, "another daemon goes on from what is kept"
        used = [form["refresh_token"] for form in at.provider.asked("/token")[1:]]
        assert len(set(used)) == (3 if rotates else 1)


async def test_a_refresh_token_that_is_over_ends_the_login() -> None:
    async with world() as at:
        await at.log_in()
        oauth, told = at.oauth(), []
        oauth._changed = lambda event, held: told.append(event)
        at.provider.tokens[0].refresh_revoked = True
        at.late = 3601
        results = await asyncio.gather(*(at.call(oauth) for _ in range(10)), return_exceptions=True)
        for error in results:
            assert isinstance(error, OAuthError)
            assert "is over" in error.message
            assert error.hint == "mcpguard remote login files"
        assert granted(at) == ["authorization_code", "refresh_token"], "nobody tries a dead token twice"
        assert told == ["lost"]
        assert await at.kit().shelf.held(at.remote()) is None
        assert (await at.log_in()).phase == "done"
        assert await at.call(at.oauth()) == 200


async def test_a_server_that_is_down_does_not_end_the_login() -> None:
    async with world() as at:
        await at.log_in()
        oauth = at.oauth()
        at.late = 3601
        oauth.kit.grants._fetch = None
        oauth.kit.discovery._fetch = _down
        with pytest.raises(UpstreamError, match="no connection"):
            await at.call(oauth)
        assert await at.kit().shelf.held(at.remote()) is not None
        assert await at.call(at.oauth()) == 200


async def _down(*_: object) -> None:
    raise UpstreamError("no connection", code=125)


async def test_a_refresh_that_gives_more_than_was_asked_for_is_refused() -> None:
    async with world() as at:
        at.resource.scopes = {"read"}
        await at.log_in()
        generate = at.provider.generate_token
        at.provider.generate_token = lambda *args, **more: {**generate(*args, **more), "scope": "read admin"}
        at.late = 3601
        with pytest.raises(OAuthError, match="good for more"):
            await at.call(at.oauth())


async def test_a_token_that_cannot_be_kept_is_not_used() -> None:
    """It would be lost with the daemon, and the one before does not count any more."""
    async with world() as at:
        await at.log_in()
        oauth = at.oauth()
        await at.call(oauth)

        def full(name: str, value: bytes, expires: float) -> None:
            raise GuardError("the vault is locked", hint="unlock it")

        at.store.put = full
        at.late = 3601
        with pytest.raises(GuardError, match="the vault is locked"):
            await at.call(oauth)


async def test_the_refresh_token_goes_to_whoever_gave_it_whatever_the_server_says_now() -> None:
    async with world() as at, world() as evil:
        await at.log_in()
        at.resource.issuers = [evil.provider.issuer]
        at.late = 3601
        assert await at.call(at.oauth()) == 200
        assert evil.provider.seen == []


class Slow:
    """A provider that answers a refresh when it is told to."""

    def __init__(self, at: World) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()
        self.at, self.plain = at, at.provider._route

    async def route(self, request):
        answer = await self.plain(request)
        if request.path == "/token" and self.at.provider.seen[-1][1].get("grant_type") == "refresh_token":
            self.asked.set()
            await self.go.wait()
        return answer


async def slow(at: World) -> Slow:
    """The same provider, which takes its time."""
    made = Slow(at)
    at.provider._route = made.route
    issuer = at.provider.issuer
    await at.provider.stop()
    await at.provider.start()
    at.provider.issuer = at.resource.issuers[0] = issuer
    port = int(issuer.rsplit(":", 1)[1])
    plain = at.fetch.__call__

    async def moved(method, url, headers, body=b"", most=1 << 20):
        return await plain(method, url.replace(f":{port}/", f":{at.provider.port}/"), headers, body, most)

    at.fetch = moved
    return made


async def test_who_logs_out_during_a_refresh_is_logged_out() -> None:
    async with world() as at:
        await at.log_in()
        its = await slow(at)
        oauth = at.oauth()
        at.late = 3601
        call = spawn_task(oauth.headers("POST", at.resource.url), name="a call")
        await asyncio.wait_for(its.asked.wait(), 20)
        await oauth.forget()
        its.go.set()
        with pytest.raises(OAuthError, match="nobody has logged in"):
            await call
        assert await at.kit().shelf.held(at.remote()) is None
        with pytest.raises(OAuthError, match="nobody has logged in"):
            await oauth.headers("POST", at.resource.url)


async def test_a_daemon_that_ends_waits_for_a_refresh_that_is_under_way() -> None:
    """The old refresh token does not count any more: what comes instead must not get lost."""
    async with world() as at:
        await at.log_in()
        its = await slow(at)
        oauth = at.oauth()
        await oauth.settled()
        at.late = 3601
        call = spawn_task(oauth.headers("POST", at.resource.url), name="a call")
        await asyncio.wait_for(its.asked.wait(), 20)
        call.cancel()
        ending = spawn_task(oauth.settled(), name="the end")
        await asyncio.sleep(0)
        assert not ending.done()
        its.go.set()
        await ending
        assert (await at.kit().shelf.held(at.remote())).refresh == at.provider.tokens[-1].refresh


async def test_who_logs_in_during_a_refresh_has_the_new_token() -> None:
    async with world() as at:
        login = await at.log_in()
        its = await slow(at)
        oauth = at.oauth()
        at.late = 3601
        call = spawn_task(oauth.headers("POST", at.resource.url), name="a call")
        await asyncio.wait_for(its.asked.wait(), 20)
        new = msgspec.structs.replace(
            login.held, access="new-token", obtained=at.clock(), expires=at.clock() + 3600
        )
        await oauth.take(at.remote(), new)
        its.go.set()
        assert (await call)["Authorization"] == "Bearer new-token"
        assert (await at.kit().shelf.held(at.remote())).access == "new-token"


# --- refusals -------------------------------------------------------------------------------------------


async def test_a_server_that_takes_nothing_is_not_asked_for_ever() -> None:
    async with world() as at:
        await at.log_in()
        oauth = at.oauth()
        at.resource.providers = []
        at.resource._judged = lambda request: ("invalid_token", 401, None)
        at.late = 60
        with pytest.raises(OAuthError, match="refuses"):
            await at.call(oauth)
        assert len(at.resource.refused) <= limits.OAUTH_REFUSALS + 1
        assert granted(at).count("refresh_token") <= limits.OAUTH_STEP_UPS


async def test_more_scopes_need_a_person_and_the_sentence_names_them() -> None:
    async with world() as at:
        at.resource.scopes = {"read"}
        await at.log_in()
        oauth = at.oauth()
        assert await at.call(oauth) == 200
        at.resource.scopes = {"read", "write"}
        with pytest.raises(OAuthError, match="wants more") as caught:
            await at.call(oauth)
        assert caught.value.hint == "mcpguard remote login files --scope read --scope write"
        assert oauth.wanted == {"write"}
        await at.log_in(*oauth.wanted)
        assert await at.call(at.oauth()) == 200


async def test_scopes_of_a_server_do_nothing_in_a_shell_that_the_sentence_is_pasted_into(
    tmp_path: Path,
) -> None:
    async with world() as at:
        await at.log_in()
        at.resource._judged = lambda request: ("insufficient_scope", 403, None)
        at.resource.scopes = {
            f"$(touch${{IFS}}{tmp_path}/a)",
            f"x;touch${{IFS}}{tmp_path}/b",
            "`id`",
            "'",
        }
        with pytest.raises(OAuthError, match="wants more") as caught:
            await at.call(at.oauth())
        words = caught.value.hint.split(" ", 1)[1]
        done = subprocess.run(
            ["/bin/sh", "-c", f"printf '%s\n' {words}"], capture_output=True, text=True, check=True
        )
        assert set(done.stdout.split("\n")) >= at.resource.scopes
        assert list(tmp_path.iterdir()) == []


async def test_a_scope_that_is_never_given_is_not_asked_for_for_ever() -> None:
    async with world() as at:
        at.resource.scopes = {"read"}
        await at.log_in()
        oauth = at.oauth()
        at.resource._judged = lambda request: ("insufficient_scope", 403, None)
        with pytest.raises(OAuthError, match="does not get"):
            await at.call(oauth)


async def test_a_refusal_that_is_not_about_tokens_is_said_as_such() -> None:
    async with world() as at:
        await at.log_in()
        oauth = at.oauth()
        at.resource._judged = lambda request: ("access_denied", 403, None)
        with pytest.raises(OAuthError, match="refuses with 403"):
            await at.call(oauth)


async def test_a_token_without_refresh_that_is_refused_is_forgotten() -> None:
    async with world(scopes=("read",)) as at:
        login = await at.log_in()
        at.store.put("oauth/server/files", _without_refresh(login.held), 0.0)
        oauth = at.oauth()
        assert await at.call(oauth) == 200
        at.provider.tokens[0].revoked = True
        at.late = 60
        with pytest.raises(OAuthError, match="does not take the token any more"):
            await at.call(oauth)
        assert await at.kit().shelf.held(at.remote()) is None


def _without_refresh(held) -> bytes:
    return msgspec.structs.replace(held, refresh="").encode()


# --- proofs of possession -------------------------------------------------------------------------------


async def test_a_server_that_wants_bound_tokens_gets_them() -> None:
    async with world(dpop=True) as at:
        at.resource.dpop = True
        login = await at.log_in()
        assert login.phase == "done", login.described()
        assert login.held.kind == "DPoP"
        oauth = at.oauth()
        for _ in range(3):
            assert await at.call(oauth) == 200
        at.late = 3601
        assert await at.call(oauth) == 200, "the refresh is bound, too"
        assert len({token.thumbprint for token in at.provider.tokens}) == 1


async def test_nonces_of_both_servers_are_taken_up() -> None:
    async with world(dpop=True, nonce=True) as at:
        at.resource.dpop, at.resource.nonce = True, "first"
        assert (await at.log_in()).phase == "done"
        oauth = at.oauth()
        assert await at.call(oauth) == 200
        assert at.resource.refused[-1] == (401, "use_dpop_nonce")
        at.resource.nonce, at.provider.nonces = "second", ["nonce-2"]
        at.late = 3601
        assert await at.call(oauth) == 200
        assert len(at.resource.refused) == 3, "the probe of the login, and one for each nonce"


async def test_a_stolen_bound_token_is_worth_nothing() -> None:
    async with world(dpop=True) as at:
        at.resource.dpop = True
        await at.log_in()
        fields = await at.oauth().headers("POST", at.resource.url)
        assert (await at.fetch("POST", at.resource.url, fields)).status == 200
        for stolen in (
            fields,  # replayed
            {"Authorization": fields["Authorization"]},
            {"Authorization": fields["Authorization"].replace("DPoP", "Bearer")},
        ):
            assert (await at.fetch("POST", at.resource.url, stolen)).status == 401


async def test_a_server_that_wants_bound_tokens_and_an_issuer_that_gives_none() -> None:
    async with world() as at:
        at.resource.dpop = True
        login = await at.log_in()
        assert "wants tokens bound to a key" in login.failure.sentence()


async def test_a_server_that_goes_on_asking_for_nonces() -> None:
    async with world(dpop=True) as at:
        at.resource.dpop, at.resource.nonce = True, "x"
        await at.log_in()
        oauth = at.oauth()
        at.resource._judged = lambda request: ("use_dpop_nonce", 401, None)
        with pytest.raises(OAuthError, match="again and again"):
            await at.call(oauth)
