"""The token endpoint; flows are in test_oauthobtain.py and test_oauthlogin.py."""

import pytest

from mcpguard.credentials import oauthclient, oauthrequest
from mcpguard.credentials.oautherror import OAuthError
from mcpguard.credentials.oauthmetadata import AuthorizationServer
from mcpguard.daemon import oauthproofs
from tests.daemon.oauthworld import world

pytestmark = pytest.mark.asyncio


async def test_a_server_that_takes_other_proofs_only() -> None:
    async with world() as at:
        server = AuthorizationServer("https://a.example", dpop_signing_alg_values_supported=("RS256",))
        client = oauthclient.given("https://a.example", "id")
        with pytest.raises(OAuthError, match="no proofs of the kind ES256"):
            await at.kit().grants.ask(server, client, {}, oauthproofs.new_key())
        assert at.fetch.sent == []


async def test_a_client_of_another_issuer_says_nothing() -> None:
    async with world() as at:
        kit = at.kit()
        server = await kit.discovery.server(at.provider.issuer, plain=False)
        client = oauthclient.given("https://honest.example", "id", "s3cret-s3cret")
        with pytest.raises(OAuthError, match="is not used at"):
            await kit.grants.ask(server, client, oauthrequest.client_form("r", ""))
        assert at.provider.asked("/token") == []


async def test_a_nonce_is_asked_for_once() -> None:
    async with world(dpop=True, nonce=True) as at:
        kit = at.kit()
        at.provider.nonces = ["a"]
        at.provider.clients["corp"] = at.provider.query_client("corp") or _corp()
        server = await kit.discovery.server(at.provider.issuer, plain=False)
        client = oauthclient.given(at.provider.issuer, "corp", "s3cret-s3cret")
        key, form = oauthproofs.new_key(), oauthrequest.client_form(at.resource.url, "")
        assert (await kit.grants.ask(server, client, form, key)).kind == "DPoP"
        assert (await kit.grants.ask(server, client, form, key)).kind == "DPoP"
        assert len(at.provider.asked("/token")) == 3, "the nonce is remembered"


def _corp():
    from tests.fakes.oauthprovider import Client  # noqa: PLC0415

    return Client("corp", "s3cret-s3cret", "client_secret_basic", grants=("client_credentials",))


async def test_a_server_that_changes_its_nonce_each_time_is_asked_twice() -> None:
    async with world(dpop=True, nonce=True) as at:
        kit = at.kit()
        at.provider.clients["corp"] = _corp()
        server = await kit.discovery.server(at.provider.issuer, plain=False)
        client = oauthclient.given(at.provider.issuer, "corp", "s3cret-s3cret")

        class Moving(list):
            def __getitem__(self, index):
                self.append("x" + self.copy()[-1] if len(self) else "x")
                return super().__getitem__(-1)

        at.provider.nonces = Moving(["n"])
        with pytest.raises(OAuthError) as caught:
            await kit.grants.ask(server, client, oauthrequest.client_form("r", ""), oauthproofs.new_key())
        assert caught.value.error == "use_dpop_nonce"
        assert len(at.provider.asked("/token")) == 2


async def test_where_tokens_are_not_taken_back() -> None:
    async with world(metadata={"revocation_endpoint": None}) as at:
        kit = at.kit()
        server = await kit.discovery.server(at.provider.issuer, plain=False)
        client = oauthclient.given(at.provider.issuer, "id")
        assert not await kit.grants.revoke(server, client, "t", "access_token")
