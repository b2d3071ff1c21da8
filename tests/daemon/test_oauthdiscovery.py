"""What is fetched, and how often."""

import pytest

from mcpguard.credentials.oautherror import OAuthError
from tests.daemon.oauthworld import world

pytestmark = pytest.mark.asyncio


async def test_metadata_of_a_server_is_fetched_once_in_ten_minutes() -> None:
    async with world() as at:
        discovery = at.kit().discovery
        for late in (0, 599, 601):
            at.late = late
            await discovery.server(at.provider.issuer, plain=False)
        assert len(at.fetch.sent) == 2


async def test_metadata_that_was_refused_is_not_remembered() -> None:
    async with world(metadata={"issuer": "https://evil.example"}) as at:
        discovery = at.kit().discovery
        for _ in range(2):
            with pytest.raises(OAuthError, match="names another issuer"):
                await discovery.server(at.provider.issuer, plain=False)
        assert len(at.fetch.sent) == 2


async def test_no_secret_and_no_token_goes_out_with_it() -> None:
    async with world() as at:
        await at.kit().discovery.of(at.remote())
        for _, _, headers, _ in at.fetch.sent:
            assert not {"authorization", "cookie", "dpop"} & {name.lower() for name in headers}


async def test_of_several_servers_the_first_unless_one_is_named() -> None:
    async with world() as at, world() as other:
        at.resource.issuers = [at.provider.issuer, other.provider.issuer]
        kit = at.kit()
        assert (await kit.discovery.of(at.remote())).server.issuer == at.provider.issuer
        found = await kit.discovery.of(at.remote(issuer=other.provider.issuer))
        assert found.server.issuer == other.provider.issuer


async def test_a_server_error_is_not_an_absence() -> None:
    """Whoever makes one place fail does not choose the next."""
    async with world(place=2, path="/t") as at:
        plain = at.fetch.__call__

        async def fetch(method, url, headers, body=b"", most=1 << 20):
            answer = await plain(method, url, headers, body, most)
            return type(answer)(503, {}, b"") if "oauth-authorization-server" in url else answer

        discovery = type(at.kit().discovery)(fetch, at.clock)
        with pytest.raises(OAuthError, match="answers 503"):
            await discovery.server(at.provider.issuer, plain=False)


@pytest.mark.parametrize(
    "issuer", ["http://auth.example", "https://u@auth.example", "https://auth.example?x", "x"]
)
async def test_issuers_that_cannot_be_are_not_asked(issuer: str) -> None:
    async with world() as at:
        with pytest.raises(OAuthError):
            await at.kit().discovery.server(issuer, plain=False)
        assert at.fetch.sent == []


async def test_nothing_is_at_any_place() -> None:
    async with world(place=3) as at:
        with pytest.raises(OAuthError, match="no metadata at any of the places"):
            await at.kit().discovery.server(at.provider.issuer, plain=False)
        at.resource.places = {"root"}
        at.resource.challenge = f'Bearer resource_metadata="{at.resource.base}/nothing"'
        with pytest.raises(OAuthError, match="nothing is there"):
            await at.kit().discovery.of(at.remote())
