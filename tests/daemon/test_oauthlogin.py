"""Logins against real servers, honest ones of every revision, and those that attack."""

import asyncio
import json
import socket

import pytest

from mcpguard import limits
from mcpguard.daemon.oauthlogin import ASKING, DONE, FAILED
from tests.daemon.oauthworld import World, serving, world
from tests.fakes.oauthperson import visit
from tests.fakes.oauthprovider import Client, Provider, Traits

pytestmark = pytest.mark.asyncio


async def refused(at: World, *words: str, **settings: object) -> str:
    """A login that fails before anybody is sent anywhere, and why."""
    login = await at.begin(**settings)
    if login.phase == ASKING:
        at.task.cancel()
    await asyncio.wait([at.task])
    assert login.phase == FAILED, login.described()
    assert login.failure.message != "the login was given up", "somebody was about to be sent there"
    assert at.provider.asked("/authorize") == []
    assert at.provider.asked("/token") == []
    sentence = login.failure.sentence()
    assert sentence.isprintable()
    for word in words:
        assert word in sentence, sentence
    return sentence


# --- honest servers -------------------------------------------------------------------------------------


async def test_the_request_is_as_the_newest_revision_says() -> None:
    async with world() as at:
        at.resource.scopes = {"read"}
        login = await at.log_in()
        assert login.phase == DONE
        (asked,) = at.provider.asked("/authorize")
        assert asked["resource"] == at.resource.url
        assert asked["code_challenge_method"] == "S256"
        assert len(asked["state"]) == len(asked["code_challenge"]) == 43
        assert asked["scope"] == "offline_access read"
        (form,) = at.provider.asked("/token")
        assert form["resource"] == at.resource.url
        assert form["redirect_uri"] == asked["redirect_uri"]
        assert at.provider.registered["application_type"] == "native"
        assert login.held.scopes == {"offline_access", "read"}
        assert at.fetch.urls()[:3] == [
            at.resource.url, f"{at.resource.base}/elsewhere", f"{at.provider.issuer}/.well-known/oauth-authorization-server",
        ]  # fmt: skip


@pytest.mark.parametrize(("path", "place"), [("", 0), ("", 2), *(("/tenant/1", place) for place in range(3))])
async def test_metadata_is_found_at_every_place_in_order(path: str, place: int) -> None:
    async with world(path=path, place=place) as at:
        assert (await at.log_in()).phase == DONE
        tried = [
            url.removeprefix(at.provider.base) for url in at.fetch.urls() if url.startswith(at.provider.base)
        ]
        places = [
            f"/.well-known/oauth-authorization-server{path}", f"/.well-known/openid-configuration{path}",
            f"{path}/.well-known/openid-configuration",
        ]  # fmt: skip
        wanted = list(dict.fromkeys(places[: place + 1]))
        assert tried[: len(wanted)] == wanted


@pytest.mark.parametrize("places", [{"challenge"}, {"path"}, {"root"}, {"path", "root"}])
async def test_the_resource_says_where_its_metadata_is_or_has_it_where_it_belongs(places: set[str]) -> None:
    async with world() as at:
        at.resource.places = places
        assert (await at.log_in()).phase == DONE


async def test_revision_2025_03_26_with_metadata() -> None:
    async with world() as at:
        at.resource.places = set()
        at.resource.inner, at.provider.issuer = at.provider, at.resource.base
        login = await at.log_in()
        assert login.phase == DONE, login.described()
        assert login.held.issuer == at.resource.base


async def test_revision_2025_03_26_whose_issuer_ends_with_a_slash() -> None:
    """Both forms of an origin lead to the same place, and the servers that there are have either."""
    async with world(names_itself=False) as at:
        at.resource.places = set()
        at.resource.inner, at.provider.issuer = at.provider, at.resource.base
        at.provider.traits.metadata["issuer"] = f"{at.resource.base}/"
        login = await at.log_in()
        assert login.phase == DONE, login.failure
        assert login.held.issuer == f"{at.resource.base}/"
        at.late = 3601
        assert await at.call(at.oauth()) == 200


async def test_revision_2025_03_26_without_metadata_has_fixed_endpoints_and_pkce() -> None:
    async with world(place=3) as at:
        at.resource.places = set()
        at.resource.inner, at.provider.issuer = at.provider, at.resource.base
        login = await at.log_in()
        assert login.phase == DONE, login.described()
        (asked,) = at.provider.asked("/authorize")
        assert asked["code_challenge_method"] == "S256"
        assert "code_verifier" in at.provider.asked("/token")[0]
        at.late = 3601
        assert await at.call(at.oauth()) == 200


async def test_a_server_that_wants_no_token() -> None:
    async with world() as at:
        at.resource.places = set()
        at.resource.path = "/other"
        await refused(at, "asks for no token")


async def test_a_client_id_document_comes_before_registration() -> None:
    async with world() as at:
        url = "https://guard.example/client.json"
        at.provider.documents[url] = {"redirect_uris": ["http://127.0.0.1/callback"]}
        login = await at.log_in(document=url)
        assert login.phase == DONE, login.described()
        assert login.held.client_id == url
        assert at.provider.asked("/register") == []
        at.late = 3601
        assert await at.call(at.oauth()) == 200, "the refresh is that client's, too"


async def test_a_document_that_nobody_reads_there_falls_back_to_registration() -> None:
    async with world() as at:
        assert (await at.log_in(document="https://guard.example/client.json")).phase == DONE
        assert len(at.provider.asked("/register")) == 1


async def test_where_nobody_can_register_a_person_is_asked_to() -> None:
    async with world(registers=False) as at:
        await refused(at, "registers no clients", "--client-id")


async def test_a_registration_is_used_again_at_the_same_port() -> None:
    async with world(exact_ports=True) as at:
        first, second = await at.log_in(), await at.log_in()
        assert (first.phase, second.phase) == (DONE, DONE)
        assert first.held.client_id == second.held.client_id
        assert len(at.provider.asked("/register")) == 1


async def test_a_registration_whose_port_is_taken_is_made_anew() -> None:
    async with world(exact_ports=True) as at:
        await at.log_in()
        port = int(at.provider.registered["redirect_uris"][0].split(":")[2].split("/")[0])
        with socket.create_server(("127.0.0.1", port)):
            assert (await at.log_in()).phase == DONE
        assert len(at.provider.asked("/register")) == 2


async def test_a_registration_that_the_server_forgot_is_made_anew_with_the_next_login() -> None:
    async with world() as at:
        login = await at.begin()
        url = login.described()["url"]
        _, location, _ = await visit(url, at.trust, follow=False)
        at.provider.clients.clear()
        login.answered(location)
        await at.task
        assert login.failure.error == "invalid_client"
        assert (await at.log_in()).phase == DONE


async def test_a_login_asks_for_what_there_was_and_what_is_new() -> None:
    async with world() as at:
        at.resource.scopes = {"read"}
        await at.log_in()
        at.resource.scopes = {"write"}
        login = await at.log_in()
        assert login.held.scopes == {"read", "write", "offline_access"}


# --- attacks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "endpoint",
    [
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "http://auth.example/authorize",
        "https://user:pw@auth.example/authorize",
        "https://auth.example@evil.example/authorize",
        "https://auth.example/authorize\n-e calc",
        "https://auth.example/\x1b]0;x\x07",
        "https://auth.example/authorize?a=$(touch${IFS}/tmp/x)",
        "https://auth.example/authorize?a=`id`",
        "https://auth.example/authorize;id",
        "https://auth.example/authorize|id",
        "https://auth.example/authorize&'id'",
        "https://auth.example/authorize#x",
        "https://auth.example\\@evil.example/",
        "https://aüth.example/authorize",
        "https://auth.example/\u202egnp.exe",
        "https:///authorize",
        "https://auth.example:0/authorize",
        "https://auth.example:99999/authorize",
        "-https://auth.example/",
        "--help",
        "",
        "https://auth.example/" + "a" * 3000,
        "https://auth.example/%zz",
        "https://auth%2eexample/",
    ],
)
async def test_an_authorization_endpoint_that_is_an_attack_goes_nowhere(endpoint: str) -> None:
    async with world(metadata={"authorization_endpoint": endpoint}) as at:
        await refused(at)
        assert at.provider.asked("/register") == []


@pytest.mark.parametrize("name", ["token_endpoint", "registration_endpoint", "revocation_endpoint"])
async def test_other_endpoints_are_held_to_the_same(name: str) -> None:
    async with world(metadata={name: "http://169.254.169.254/latest"}) as at:
        await refused(at, name, "only https")


@pytest.mark.parametrize("parameter", ["client_id", "redirect_uri", "state", "request_uri", "resource"])
async def test_an_endpoint_that_brings_our_parameters_along(parameter: str) -> None:
    async with world() as at:
        at.provider.traits.metadata["authorization_endpoint"] = (
            f"{at.provider.issuer}/authorize?{parameter}=x"
        )
        await refused(at, parameter)


@pytest.mark.parametrize("issuer", ["https://honest.example", "{}/", "{}/x", "HTTPS", ""])
async def test_metadata_of_another_issuer_is_refused(issuer: str) -> None:
    async with world() as at:
        named = (
            issuer.format(at.provider.issuer)
            if issuer != "HTTPS"
            else at.provider.issuer.replace("https", "HTTPS")
        )
        at.provider.traits.metadata["issuer"] = named
        await refused(at, "names another issuer")


@pytest.mark.parametrize("methods", [None, [], ["plain"]])
async def test_without_pkce_nobody_is_sent_anywhere(methods: list[str] | None) -> None:
    async with world(metadata={"code_challenge_methods_supported": methods}) as at:
        await refused(at, "PKCE with S256")


@pytest.mark.parametrize(
    "resource",
    ["https://honest.example/mcp", "{}/mcp/admin", "{}/mc", "{}/other", "http://localhost/mcp", "x"],
)
async def test_metadata_of_another_resource_is_refused(resource: str) -> None:
    async with world() as at:
        at.resource.document["resource"] = resource.format(at.resource.base)
        await refused(at, "another resource" if resource.startswith(("https", "{}")) else "only https")


async def test_a_resource_above_the_server_is_what_the_token_is_for() -> None:
    async with world() as at:
        at.resource.document["resource"] = at.resource.base
        login = await at.log_in()
        assert login.held.resource == at.resource.base
        assert at.provider.asked("/token")[0]["resource"] == at.resource.base


@pytest.mark.parametrize("where", ["resource", "server"])
async def test_metadata_without_end_is_not_read_to_it(where: str) -> None:
    async with world() as at:
        huge = "x" * (limits.OAUTH_METADATA_BYTES + 1)
        if where == "resource":
            at.resource.document["x"] = huge
        else:
            at.provider.traits.metadata["x"] = huge
        await refused(at)


@pytest.mark.parametrize(
    "raw", [b"", b"null", b"[]", b"{}", b"\xff", b"{" * 100_000, b'{"resource":1}', b"<html>"]
)
async def test_metadata_that_is_none(raw: bytes) -> None:
    async with world() as at:
        at.resource.raw = raw
        await refused(at, "metadata is none")


@pytest.mark.parametrize("issuers", [[], ["http://auth.example"], ["https://a.example/?x"], ["x"] * 100])
async def test_authorization_servers_that_cannot_be(issuers: list[str]) -> None:
    async with world() as at:
        at.resource.issuers = issuers
        await refused(at)


@pytest.mark.parametrize(
    "challenge",
    [
        'Bearer resource_metadata="http://169.254.169.254/"',
        'Bearer resource_metadata="file:///etc/passwd"',
        'Bearer resource_metadata="https://a.example/x", Bearer resource_metadata="https://b.example/x"',
        'Bearer resource_metadata="unended',
        "Bearer " + "x" * 10_000,
    ],
)
async def test_a_challenge_that_is_an_attack(challenge: str) -> None:
    async with world() as at:
        at.resource.challenge = challenge
        await refused(at)


async def test_a_server_that_moved_to_another_issuer_is_not_followed_where_one_is_named() -> None:
    async with world() as at:
        await refused(at, "only 'https://honest.example' will do", issuer="https://honest.example")


async def test_a_client_is_used_at_its_issuer_only() -> None:
    """The server names another authorization server now: who we were at the first is nothing there."""
    async with world() as at, world() as other:
        at.provider.clients["corp"] = Client("corp", "s3cret-s3cret", "client_secret_basic")
        await at.kit().shelf.keep_client(_given(at.provider.issuer))
        assert (await at.log_in()).held.client_id == "corp"
        at.resource.issuers = [other.provider.issuer]
        at.resource.providers = [other.provider]
        login = await at.begin()
        assert login.described()["issuer_before"] == at.provider.issuer
        await at.finish(login)
        assert login.phase == DONE
        assert login.held.client_id != "corp"
        assert "s3cret" not in json.dumps(other.provider.seen)


def _given(issuer: str) -> object:
    from mcpguard.credentials.oauthclient import given  # noqa: PLC0415

    return given(issuer, "corp", "s3cret-s3cret")


# --- answers --------------------------------------------------------------------------------------------


async def answered(at: World, change) -> str:
    """A login whose answer is changed on its way; why it failed. Nothing may have been redeemed."""
    login = await at.begin()
    _, location, _ = await visit(login.described()["url"], at.trust, follow=False)
    await visit(change(location), at.trust, follow=False)
    await at.task
    assert login.phase == FAILED
    assert at.provider.asked("/token") == []
    return login.failure.sentence()


def _with(name: str, value: str | None):
    from urllib.parse import parse_qsl, urlencode, urlsplit  # noqa: PLC0415

    def change(url: str) -> str:
        pairs = [pair for pair in parse_qsl(urlsplit(url).query) if pair[0] != name]
        return (
            f"{url.partition('?')[0]}?{urlencode([*pairs, *([(name, value)] if value is not None else [])])}"
        )

    return change


@pytest.mark.parametrize("state", [None, "", "x", "a" * 43, "é"])
async def test_wrong_state(state: str | None) -> None:
    async with world() as at:
        assert "state is not ours" in await answered(at, _with("state", state))


@pytest.mark.parametrize("issuer", ["https://evil.example", "", "{}/", "HTTPS"])
async def test_wrong_issuer_in_the_answer(issuer: str) -> None:
    async with world() as at:
        named = (
            issuer.format(at.provider.issuer)
            if issuer != "HTTPS"
            else at.provider.issuer.replace("https", "HTTPS")
        )
        assert "you were sent to" in await answered(at, _with("iss", named))


async def test_issuer_advertised_but_absent() -> None:
    async with world() as at:
        assert "always names itself" in await answered(at, _with("iss", None))


async def test_issuer_absent_and_not_advertised_is_an_older_server() -> None:
    async with world(names_itself=False) as at:
        assert (await at.log_in()).phase == DONE


async def test_issuer_counts_in_errors_too() -> None:
    """What a stranger says of the login is not shown to the person as the issuer's word."""
    async with world(denies=True) as at:
        change = _with("iss", "https://evil.example")
        sentence = await answered(at, change)
        assert "you were sent to" in sentence
        assert "access_denied" not in sentence


async def test_a_no_of_the_person_is_said_as_such() -> None:
    async with world(denies=True) as at:
        login = await at.log_in()
        assert login.failure.error == "access_denied"
        assert at.provider.asked("/token") == []


async def test_an_error_full_of_control_characters_is_shown_harmless() -> None:
    async with world() as at:
        evil = "\x1b[2J\u202eroot"
        change = _with("error_description", evil)
        sentence = await answered(at, lambda url: _with("error", "bad\n")(change(url)))
        assert sentence.isprintable()


async def test_a_parameter_that_comes_twice() -> None:
    async with world() as at:
        assert "twice" in await answered(at, lambda url: f"{url}&code=other")


async def test_mix_up_between_two_authorization_servers() -> None:
    """The evil one's metadata sends people to log in at the honest one, to get its code (RFC 9700 4.4)."""
    async with world() as honest, world(names_itself=False) as evil:
        evil.provider.traits.metadata["authorization_endpoint"] = f"{honest.provider.issuer}/authorize"
        login = await evil.begin()
        told = login.described()
        honest.provider.clients[told["client_id"]] = Client(told["client_id"], redirects=(told["redirect"],))
        seen = await visit(told["url"], evil.trust, follow=True)
        await evil.task
        assert seen[0] == 200, "the honest server took the login for its own"
        assert login.phase == FAILED
        assert "you were sent to" in login.failure.sentence()
        assert evil.provider.asked("/token") == [], "the code of the honest server never reached the evil one"


async def test_each_registered_issuer_has_a_redirect_of_its_own() -> None:
    """Where answers name nobody, the path tells them apart (RFC 9700 4.4.2.2)."""
    async with world(names_itself=False) as one, world(names_itself=False) as two:
        first, second = await one.begin(), await two.begin()
        paths = {login.described()["redirect"].split("/callback")[1] for login in (first, second)}
        assert len(paths) == 2
        for at in (one, two):
            at.task.cancel()
            await asyncio.wait([at.task])


async def test_a_stolen_code_is_worth_nothing() -> None:
    async with world() as at:
        login = await at.begin()
        told = login.described()
        _, location, _ = await visit(told["url"], at.trust, follow=False)
        code = location.partition("code=")[2].partition("&")[0]
        body = (
            f"grant_type=authorization_code&code={code}&client_id={told['client_id']}"
            f"&redirect_uri={told['redirect']}&resource={told['resource']}"
        )
        fields = {"Content-Type": "application/x-www-form-urlencoded"}
        for verifier in ("", f"&code_verifier={'a' * 43}"):
            answer = await at.fetch("POST", f"{at.provider.issuer}/token", fields, (body + verifier).encode())
            assert answer.status == 400
        login.answered(location)
        await at.task
        assert login.phase == DONE


async def test_an_answer_counts_once() -> None:
    async with world() as at:
        login = await at.begin()
        _, location, _ = await visit(login.described()["url"], at.trust, follow=False)
        assert (await visit(location, at.trust))[0] == 200
        await at.task
        port = int(location.split(":")[2].split("/")[0])
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert login.phase == DONE


async def test_nobody_logs_in_in_time() -> None:
    async with world() as at:
        login = await at.begin(seconds=0.05)
        await at.task
        assert "nobody logged in" in login.failure.sentence()


# --- redirects and token answers ------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["/.well-known/oauth-authorization-server", "/token", "/register"])
async def test_a_redirect_is_not_followed(where: str) -> None:
    async with world() as at:
        trap = await Provider(serving(), Traits(), at.clock).start()
        plain = at.provider._route

        async def route(request):
            from aiohttp import web  # noqa: PLC0415

            if request.path == where:
                raise web.HTTPTemporaryRedirect(f"{trap.issuer}{request.path}")
            return await plain(request)

        at.provider._route = route
        await at.resource.stop()
        await at.provider.stop()
        at.provider = await _restarted(at.provider, route)
        at.resource.issuers, at.resource.providers = [], []
        await at.resource.start(at.provider)
        login = await at.log_in()
        assert login.phase == FAILED
        assert "307" in login.failure.sentence()
        assert trap.seen == []
        await trap.stop()


async def _restarted(provider: Provider, route) -> Provider:
    provider._route = route
    return await provider.start()


@pytest.mark.parametrize(
    "answer",
    [
        {"access_token": "a\r\nX-Evil: 1", "token_type": "Bearer"},
        {"access_token": "", "token_type": "Bearer"},
        {"access_token": "a b", "token_type": "Bearer"},
        {"access_token": "a" * 20_000, "token_type": "Bearer"},
        {"access_token": "a", "token_type": "mac"},
        {"access_token": "a"},
        {"token_type": "Bearer"},
        {"access_token": 1, "token_type": "Bearer"},
        {"access_token": "a", "token_type": "DPoP"},
        {"access_token": "a", "token_type": "Bearer", "refresh_token": "x\n"},
        {"access_token": "a", "token_type": "Bearer", "scope": 'a"b'},
        [],
    ],
)
async def test_an_answer_that_is_no_token(answer: object) -> None:
    async with world() as at:
        from aiohttp import web  # noqa: PLC0415

        at.provider._token = lambda request: web.json_response(answer)
        login = await at.log_in()
        assert login.phase == FAILED, login.described()
        assert await at.kit().shelf.held(at.remote()) is None


async def test_a_person_is_not_asked_twice_for_one_login() -> None:
    async with world() as at:
        login = await at.begin()
        assert login.phase == ASKING
        login.answered("http://127.0.0.1/callback?state=x")
        await at.task
        with pytest.raises(Exception, match="waits for no answer"):
            login.answered("http://127.0.0.1/callback?state=x")
