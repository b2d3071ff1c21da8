"""Tokens without a person: client credentials, assertions, an identity provider that vouches; against real servers."""

import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mcpguard.credentials import oauthclient
from mcpguard.credentials.oautherror import OAuthError
from tests.daemon.oauthworld import World, world
from tests.fakes.oauthprovider import Client

pytestmark = pytest.mark.asyncio
SECRET = "s3cret-of-corp_0.1~x"
ALL = (
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "authorization_code",
    "refresh_token",
)
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


def pem(key) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def public(key) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


async def known(at: World, *, issuer: str = "", client_id: str = "corp", secret: str = SECRET) -> None:
    """A person has said who we are."""
    await at.kit().shelf.keep_client(oauthclient.given(issuer or at.provider.issuer, client_id, secret))


# --- client credentials ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_a_client_with_a_secret(method: str) -> None:
    async with world(metadata={"token_endpoint_auth_methods_supported": [method]}) as at:
        at.resource.scopes = {"read"}
        at.provider.clients["corp"] = Client("corp", SECRET, method, grants=ALL)
        await known(at)
        oauth = at.oauth(flow="client")
        assert await at.call(oauth) == 200, "no login is needed"
        (form,) = at.provider.asked("/token")
        assert (form["grant_type"], form["resource"], form["scope"]) == (
            "client_credentials", at.resource.url, "read",
        )  # fmt: skip
        assert ("client_secret" in form) is (method == "client_secret_post")
        at.late = 3601
        assert await at.call(oauth) == 200
        assert len(at.provider.asked("/token")) == 2


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["p256", "ed25519", "rsa"],
)
async def test_a_client_with_a_key(key) -> None:
    async with world() as at:
        at.provider.clients["corp"] = Client("corp", "", "private_key_jwt", grants=ALL, public=public(key))
        await known(at, secret=pem(key))
        assert await at.call(at.oauth(flow="client")) == 200
        (form,) = at.provider.asked("/token")
        claims = jwt.decode(form["client_assertion"], options={"verify_signature": False})
        assert claims["aud"] == at.provider.issuer
        assert 0 < claims["exp"] - claims["iat"] <= 60


async def test_a_wrong_key_or_secret_is_refused_by_the_server_and_said() -> None:
    async with world() as at:
        key = ec.generate_private_key(ec.SECP256R1())
        other = ec.generate_private_key(ec.SECP256R1())
        at.provider.clients["corp"] = Client("corp", "", "private_key_jwt", grants=ALL, public=public(other))
        await known(at, secret=pem(key))
        with pytest.raises(OAuthError) as caught:
            await at.call(at.oauth(flow="client"))
        assert caught.value.error == "invalid_client"
        at.provider.clients["corp"] = Client("corp", SECRET, "client_secret_basic", grants=ALL)
        await known(at, secret="another")
        with pytest.raises(OAuthError) as caught:
            await at.call(at.oauth(flow="client"))
        assert caught.value.error == "invalid_client"
        assert at.provider.tokens == []


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 1024)],
    ids=["p384", "rsa1024"],
)
async def test_keys_that_are_not_used(key) -> None:
    async with world() as at:
        await known(at, secret=pem(key))
        with pytest.raises(OAuthError, match="no P-256, Ed25519 or RSA key"):
            await at.call(at.oauth(flow="client"))


async def test_nobody_said_who_we_are() -> None:
    async with world() as at:
        with pytest.raises(OAuthError, match="we are no client of") as caught:
            await at.call(at.oauth(flow="client"))
        assert "--client-id" in caught.value.hint


async def test_more_scopes_are_asked_for_together_with_those_that_there_are() -> None:
    async with world() as at:
        at.resource.scopes = {"read"}
        at.provider.clients["corp"] = Client("corp", SECRET, "client_secret_basic", grants=ALL)
        await known(at)
        oauth = at.oauth(flow="client")
        assert await at.call(oauth) == 200
        at.resource.scopes = {"write"}
        assert await at.call(oauth) == 200
        assert [form["scope"] for form in at.provider.asked("/token")] == ["read", "read write"]


async def test_scopes_that_are_not_given_are_asked_for_a_few_times() -> None:
    async with world() as at:
        at.provider.clients["corp"] = Client(
            "corp", SECRET, "client_secret_basic", grants=ALL, scopes=("read",)
        )
        await known(at)
        oauth = at.oauth(flow="client")
        assert await at.call(oauth) == 200
        at.resource.scopes = {"read", "write"}
        with pytest.raises(OAuthError, match="asks for scopes that it does not get: read write"):
            await at.call(oauth)
        assert len(at.provider.asked("/token")) <= 4


# --- assertions -----------------------------------------------------------------------------------------


def vouched(at: World, key, **claims: object) -> str:
    """What a workload holds."""
    now = int(time.time())
    plain = {
        "iss": "https://cluster.example",
        "sub": "pod",
        "aud": at.provider.issuer,
        "iat": now,
        "exp": now + 300,
    }
    return jwt.encode({**plain, **claims}, key, algorithm="ES256")


async def test_the_token_of_a_workload_is_handed_in() -> None:
    async with world() as at:
        key = ec.generate_private_key(ec.SECP256R1())
        at.provider.clients["corp"] = Client("corp", SECRET, "client_secret_basic", grants=ALL)
        at.provider.vouchers["https://cluster.example"] = ("corp", key.public_key())
        await known(at)
        at.store.put("workload", vouched(at, key).encode() + b"\n", 0.0)
        oauth = at.oauth(flow="assertion", assertion="workload")
        assert await at.call(oauth) == 200
        (form,) = at.provider.asked("/token")
        assert form["grant_type"] == ALL[1]
        at.late = 3601
        at.store.put("workload", vouched(at, key, sub="pod-2").encode(), 0.0)
        assert await at.call(oauth) == 200, "what is in the store now is handed in"
        at.store.delete("workload")
        at.late = 7300
        with pytest.raises(OAuthError, match="the store has no 'workload'"):
            await at.call(oauth)


# --- enterprise -----------------------------------------------------------------------------------------


async def enterprise(at: World, home: World) -> dict[str, object]:
    """A server that trusts the identity provider of `home`, where we are a client, too."""
    at.provider.clients["corp"] = Client("corp", SECRET, "client_secret_basic", grants=ALL)
    at.provider.vouchers[home.provider.issuer] = ("corp", home.provider.key.public_key())
    home.provider.clients["sso"] = Client("sso", "sso-s3cret", "client_secret_basic", grants=(*ALL, EXCHANGE))
    home.provider.jag_client = "corp"
    await known(at)
    await known(at, issuer=home.provider.issuer, client_id="sso", secret="sso-s3cret")
    return {"flow": "enterprise", "provider": home.provider.issuer}


async def test_the_identity_provider_vouches() -> None:
    async with world() as at, world() as home:
        settings = await enterprise(at, home)
        login = await at.log_in(**settings)
        assert login.phase == "done", login.described()
        assert login.held.issuer == at.provider.issuer
        oauth = at.oauth(**settings)
        assert await at.call(oauth) == 200
        exchange = home.provider.asked("/token")[1]
        assert exchange["grant_type"] == EXCHANGE
        assert exchange["requested_token_type"] == "urn:ietf:params:oauth:token-type:id-jag"
        assert exchange["subject_token_type"] == "urn:ietf:params:oauth:token-type:id_token"
        assert (exchange["audience"], exchange["resource"]) == (at.provider.issuer, at.resource.url)
        (bearer,) = at.provider.asked("/token")
        assert bearer["grant_type"] == ALL[1]
        assert at.provider.asked("/authorize") == [], "the person was at the identity provider only"
        at.provider.tokens.clear()
        assert await at.call(oauth) == 200
        assert len(home.provider.asked("/authorize")) == 1, "one login is enough"
        secrets = {"corp": SECRET, "sso": "sso-s3cret"}
        assert secrets["corp"] not in str(home.provider.seen)
        assert secrets["sso"] not in str(at.provider.seen)


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("aud", "https://evil.example"), ("resource", "https://evil.example/mcp"), ("iss", "https://evil.example"),
        ("client_id", "other"), ("exp", 1), ("exp", None), ("aud", ["https://evil.example", "https://more.example"]),
    ],
)  # fmt: skip
async def test_an_assertion_for_somebody_else_is_not_handed_in(claim: str, value: object) -> None:
    async with world() as at, world() as home:
        settings = await enterprise(at, home)
        home.provider.jag = {claim: value}
        login = await at.log_in(**settings)
        assert login.phase == "failed"
        assert login.failure.message.startswith(f"the assertion of '{home.provider.issuer}' has")
        assert at.provider.asked("/token") == []


async def test_nobody_is_logged_in_at_the_identity_provider() -> None:
    async with world() as at, world() as home:
        settings = await enterprise(at, home)
        with pytest.raises(OAuthError, match="nobody is logged in at") as caught:
            await at.call(at.oauth(**settings))
        assert caught.value.hint == "mcpguard remote login files"
