"""Tokens as they are kept."""

import pytest

from mcpguard.credentials.oauthanswer import Granted
from mcpguard.credentials.oautherror import OAuthError
from mcpguard.credentials.oauthtokens import Held, restore

URL = "https://a.example/mcp"
HELD = Held(
    "files", URL, "https://auth.example", URL, "id", "access-token", scopes=frozenset("ab"), refresh="refresh-token",
    identity="id-token", expires=1000.0, obtained=0.0, key="private-key",
)  # fmt: skip


def test_what_is_kept_comes_back() -> None:
    assert restore(HELD.encode(), "files", URL) == HELD


def test_for_its_server_and_url_only() -> None:
    for server, url in (("other", URL), ("files", f"{URL}/"), ("files", "https://a.example:443/mcp")):
        with pytest.raises(OAuthError, match="was given for") as caught:
            restore(HELD.encode(), server, url)
        assert caught.value.hint == f"mcpguard remote login {server}"


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\xff", b"[]", HELD.encode()[:-2], HELD.encode()[:-1] + b',"x":1}']
)
def test_damage(data: bytes) -> None:
    with pytest.raises(OAuthError, match="damaged"):
        restore(data, "files", URL)


def test_no_representation_of_a_secret() -> None:
    for secret in HELD.secrets:
        assert secret.decode() not in repr(HELD)
    assert len(HELD.secrets) == 4


def test_when_it_is_due() -> None:
    assert [HELD.due(now) for now in (0.0, 799.0, 800.0, 1001.0)] == [False, False, True, True]
    assert [HELD.over(now) for now in (999.0, 1000.0)] == [False, True]
    long = Held("s", URL, "i", URL, "c", "a", expires=100_000.0)
    assert [long.due(now) for now in (99_699.0, 99_700.0)] == [False, True], "five minutes are enough"
    endless = Held("s", URL, "i", URL, "c", "a")
    assert not endless.due(1e12)
    assert not endless.over(1e12)


def test_a_refresh() -> None:
    new = HELD.renewed(Granted("new", "Bearer", seconds=10.0), 5.0)
    assert (new.access, new.refresh, new.scopes, new.expires) == ("new", "refresh-token", HELD.scopes, 15.0)
    less = HELD.renewed(Granted("new", "Bearer", refresh="next", scopes=frozenset("a")), 5.0)
    assert (less.refresh, less.scopes, less.expires) == ("next", frozenset("a"), 0.0)


@pytest.mark.parametrize("granted", [Granted("n", "Bearer", scopes=frozenset("abc")), Granted("n", "DPoP")])
def test_a_refresh_that_is_another_token(granted: Granted) -> None:
    with pytest.raises(OAuthError):
        HELD.renewed(granted, 5.0)
