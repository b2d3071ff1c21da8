"""What the operator says."""

import msgspec
import pytest

from mcpguard.credentials.oautherror import OAuthError
from mcpguard.credentials.oauthsettings import OAuthSettings, Remote, parse_settings


def test_settings_come_back() -> None:
    settings = OAuthSettings(
        "enterprise", provider="https://sso.example", scopes=("a",), port=8000, dpop=True
    )
    assert parse_settings(msgspec.json.encode(settings)) == settings
    assert parse_settings(b"{}") == OAuthSettings()


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b'{"x":1}', b'{"flow":"implicit"}', b'{"flow":"enterprise"}', b'{"flow":"assertion"}', b'{"port":65536}',
     b'{"port":-1}'],
)  # fmt: skip
def test_settings_that_make_no_sense(data: bytes) -> None:
    with pytest.raises(OAuthError):
        parse_settings(data)


def test_plain_http_is_for_servers_that_are_here_themselves() -> None:
    assert Remote("x", "http://127.0.0.1:1/mcp").plain
    assert not Remote("x", "https://127.0.0.1:1/mcp").plain
    assert not Remote("x", "http://a.example/mcp").plain
