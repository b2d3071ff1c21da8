"""Metadata; what servers do with it is in tests/daemon/test_oauthlogin.py."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.credentials import oauthmetadata
from mcpguard.credentials.oautherror import OAuthError

ISSUER = "https://auth.example/tenant"
SERVER = {
    "issuer": ISSUER, "token_endpoint": "https://auth.example/token",
    "authorization_endpoint": "https://login.example/", "code_challenge_methods_supported": ["S256"],
}  # fmt: skip


def server(**members: object) -> oauthmetadata.AuthorizationServer:
    return oauthmetadata.parse_server(msgspec.json.encode(SERVER | members), ISSUER, plain=False)


def test_places_of_a_resource() -> None:
    well = "https://a.example/.well-known/oauth-protected-resource"
    assert oauthmetadata.resource_urls("https://a.example/x/mcp?y") == (f"{well}/x/mcp", well)
    assert oauthmetadata.resource_urls("https://a.example/") == (well,)


def test_places_of_an_issuer() -> None:
    base = "https://a.example"
    assert oauthmetadata.server_urls(f"{base}/t/1/") == (
        f"{base}/.well-known/oauth-authorization-server/t/1",
        f"{base}/.well-known/openid-configuration/t/1",
        f"{base}/t/1/.well-known/openid-configuration",
    )
    for issuer in (base, f"{base}/"):
        assert oauthmetadata.server_urls(issuer) == (
            f"{base}/.well-known/oauth-authorization-server",
            f"{base}/.well-known/openid-configuration",
        )


def test_what_is_not_known_is_left_out_and_what_is_assumed_cannot_be_said() -> None:
    found = server(x=[1], fixed=True, grant_types_supported=None)
    assert found.issuer == ISSUER
    assert not found.fixed


def test_an_assumed_server_has_everything_at_the_origin_of_the_resource() -> None:
    found = oauthmetadata.legacy_server("https://A.example:443/mcp")
    assert (found.issuer, found.token_endpoint, found.fixed) == (
        "https://a.example",
        "https://a.example/token",
        True,
    )
    oauthmetadata.require_login(found)


@pytest.mark.parametrize("methods", [[], ["plain"], ["s256"]])
def test_pkce_is_required(methods: list[str]) -> None:
    with pytest.raises(OAuthError, match="PKCE"):
        oauthmetadata.require_login(server(code_challenge_methods_supported=methods))
    oauthmetadata.require_login(server())


def test_a_server_without_a_login() -> None:
    with pytest.raises(OAuthError, match="nobody can log in"):
        oauthmetadata.require_login(server(authorization_endpoint=""))


def test_a_server_without_a_token_endpoint() -> None:
    with pytest.raises(OAuthError, match="no token endpoint"):
        server(token_endpoint="")


@pytest.mark.parametrize(
    "members", [{"bearer_methods_supported": ["query"]}, {"bearer_methods_supported": []}]
)
def test_tokens_travel_in_the_header_only(members: dict[str, object]) -> None:
    resource = {"resource": "https://a.example/mcp", "authorization_servers": [ISSUER], **members}
    with pytest.raises(OAuthError, match="Authorization header"):
        oauthmetadata.parse_resource(msgspec.json.encode(resource), "https://a.example/mcp", plain=False)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for read in (oauthmetadata.parse_resource, oauthmetadata.parse_server):
        with pytest.raises(OAuthError) as caught:
            read(body, "https://a.example/mcp", plain=False)
        assert caught.value.message.isprintable()
