"""What is sent to an authorization server."""

import base64
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from mcpguard.credentials import oauthrequest
from mcpguard.credentials.oauthclient import Client
from mcpguard.credentials.oautherror import OAuthError
from mcpguard.credentials.oauthmetadata import AuthorizationServer
from mcpguard.credentials.oauthrequest import Attempt

ISSUER = "https://auth.example"
SERVER = AuthorizationServer(ISSUER, f"{ISSUER}/token", f"{ISSUER}/authorize")
ATTEMPT = Attempt(
    ISSUER, "id&x=y", "http://127.0.0.1:1/c", "https://a.example/mcp", "b a", "s" * 43, "v" * 43
)


def test_what_others_chose_is_encoded() -> None:
    url = oauthrequest.authorization_url(SERVER, ATTEMPT)
    asked = parse_qs(urlsplit(url).query, strict_parsing=True)
    assert asked["client_id"] == ["id&x=y"]
    assert "x" not in asked
    assert "prompt" not in asked
    assert set(url) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/?&=%+")


def test_a_query_of_the_endpoint_stays_and_ours_cannot_be_in_it() -> None:
    one = msgspec.structs.replace(SERVER, authorization_endpoint=f"{ISSUER}/a?p=1")
    assert oauthrequest.authorization_url(one, ATTEMPT).startswith(f"{ISSUER}/a?p=1&response_type=code&")
    for name in ("state", "code_challenge_method", "request_uri", "request"):
        two = msgspec.structs.replace(SERVER, authorization_endpoint=f"{ISSUER}/a?{name}=1")
        with pytest.raises(OAuthError, match=name):
            oauthrequest.authorization_url(two, ATTEMPT)


def test_asking_for_a_refresh_token_asks_for_consent() -> None:
    attempt = msgspec.structs.replace(ATTEMPT, scope="openid offline_access")
    assert "prompt=consent" in oauthrequest.authorization_url(SERVER, attempt)


def test_a_login_at_an_identity_provider_is_for_no_resource() -> None:
    attempt = msgspec.structs.replace(ATTEMPT, resource="")
    assert "resource" not in parse_qs(urlsplit(oauthrequest.authorization_url(SERVER, attempt)).query)
    assert "resource" not in oauthrequest.code_form(attempt, "c")
    assert "resource" not in oauthrequest.refresh_form("r", "")


def test_a_representation_has_neither_state_nor_verifier() -> None:
    assert "s" * 43 not in repr(ATTEMPT)
    assert "v" * 43 not in repr(ATTEMPT)


def test_basic_authentication_is_encoded_first() -> None:
    """RFC 6749 2.3.1: a colon in the id would move the border."""
    client = Client(ISSUER, "a:b c", method="client_secret_basic", secret="p%&é"[:3])
    headers, body = oauthrequest.authenticated({"x": "1"}, client, ISSUER)
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"a%3Ab+c:p%25%26"
    assert body == b"x=1&client_id=a%3Ab+c"


@pytest.mark.parametrize("method", ["none", "client_secret_post", "private_key_jwt"])
def test_ways_in_the_body(method: str) -> None:
    client = Client(ISSUER, "id", method=method, secret="s")
    headers, body = oauthrequest.authenticated({"x": "1"}, client, ISSUER, "jwt")
    fields = parse_qs(body.decode())
    assert fields["client_id"] == ["id"]
    assert ("client_secret" in fields) is (method == "client_secret_post")
    assert ("client_assertion" in fields) is (method == "private_key_jwt")
    assert "Authorization" not in headers


def test_no_client_authenticates_at_another_issuer() -> None:
    with pytest.raises(OAuthError, match="is not used at"):
        oauthrequest.authenticated({}, Client(ISSUER, "id"), "https://evil.example")


def test_the_way_is_one_that_the_server_knows() -> None:
    client = Client(ISSUER, "id", method="client_secret_basic", secret="s")
    post = msgspec.structs.replace(SERVER, token_endpoint_auth_methods_supported=("client_secret_post",))
    assert oauthrequest.method_at(post, client).method == "client_secret_post"
    assert oauthrequest.method_at(SERVER, client) is client
    neither = msgspec.structs.replace(SERVER, token_endpoint_auth_methods_supported=("private_key_jwt",))
    with pytest.raises(OAuthError, match="takes no client secrets"):
        oauthrequest.method_at(neither, client)
