"""What OAuth keeps, and what it believes of what comes back."""

import asyncio

import msgspec
import pytest

from mcpguard.audit import redact
from mcpguard.credentials import oauthclient
from mcpguard.credentials.oautherror import OAuthError
from mcpguard.credentials.oauthsettings import OAuthSettings, Remote
from mcpguard.credentials.oauthtokens import Held
from mcpguard.daemon.oauthstore import MemoryStore, Shelf

pytestmark = pytest.mark.asyncio
URL, ISSUER = "https://a.example/mcp", "https://auth.example"


def held(server: str = "files", **more: object) -> Held:
    return Held(server, URL, ISSUER, URL, "id", "at-0123456789abcdef", **more)


async def test_tokens() -> None:
    shelf = Shelf(MemoryStore())
    assert await shelf.held(Remote("files", URL)) is None
    await shelf.keep(held())
    assert await shelf.held(Remote("files", URL)) == held()
    assert await shelf.names() == ["files"]
    await shelf.drop("files")
    assert await shelf.held(Remote("files", URL)) is None
    assert await shelf.names() == []


async def test_how_long_a_token_is_of_use() -> None:
    """One that can be refreshed is of use after it has expired."""
    kept: dict[str, float] = {}

    class Noting(MemoryStore):
        def put(self, name: str, value: bytes, expires: float) -> None:
            kept[name] = expires
            super().put(name, value, expires)

    shelf = Shelf(Noting())
    await shelf.keep(held(expires=7.0))
    assert kept["oauth/server/files"] == 7.0
    await shelf.keep(held(expires=7.0, refresh="rt-0123456789abcdef"))
    assert kept["oauth/server/files"] == 0.0


async def test_the_list_of_names_survives_many_at_once() -> None:
    shelf = Shelf(MemoryStore())
    names = [f"s{number}" for number in range(30)]
    await asyncio.gather(*(shelf.keep(held(name)) for name in names))
    assert await shelf.names() == sorted(names)
    await asyncio.gather(*(shelf.drop(name) for name in names[1:]))
    assert await shelf.names() == ["s0"]


async def test_a_client_comes_back_for_its_issuer_only() -> None:
    store = MemoryStore()
    shelf = Shelf(store)
    await shelf.keep_client(oauthclient.given(ISSUER, "corp", "s3cret-s3cret"))
    assert (await shelf.client(ISSUER)).client_id == "corp"
    assert await shelf.client(f"{ISSUER}/") is None
    store.put(oauthclient.place("https://evil.example"), store.get(oauthclient.place(ISSUER)), 0.0)
    with pytest.raises(OAuthError, match="is not used at"):
        await shelf.client("https://evil.example")
    await shelf.drop_client(ISSUER)
    assert await shelf.client(ISSUER) is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff"])
async def test_damage_is_said(data: bytes) -> None:
    store = MemoryStore()
    shelf = Shelf(store)
    for name in (oauthclient.place(ISSUER), "oauth/settings/files", "oauth/server/files"):
        store.put(name, data, 0.0)
    for read in (shelf.client(ISSUER), shelf.settings("files"), shelf.held(Remote("files", URL))):
        with pytest.raises(OAuthError):
            await read
    store.put("oauth/index", b"{}", 0.0)
    with pytest.raises(OAuthError, match="list of tokens"):
        await shelf.names()


async def test_settings() -> None:
    shelf = Shelf(MemoryStore())
    assert await shelf.settings("files") is None
    settings = OAuthSettings(issuer=ISSUER, scopes=("a",))
    await shelf.keep_settings("files", settings)
    assert await shelf.settings("files") == settings
    await shelf.drop("files")
    assert await shelf.settings("files") is None, "after a logout, nothing is left"


async def test_secrets_of_others() -> None:
    store = MemoryStore()
    shelf = Shelf(store)
    store.put("jwt", b"abc.def.ghi\n", 0.0)
    assert await shelf.secret("jwt") == "abc.def.ghi"
    store.put("binary", b"\xff\xfe", 0.0)
    for name in ("binary", "nothing"):
        with pytest.raises(OAuthError):
            await shelf.secret(name)


async def test_the_redactor_knows_what_comes_out_and_what_goes_in() -> None:
    store = MemoryStore()
    await Shelf(store).keep(held(refresh="rt-0123456789abcdef", key="-----PRIVATE-0123456789abcdef"))
    await Shelf(store).keep_client(oauthclient.given(ISSUER, "corp", "plain-s3cret-of-corp"))
    redact.install(redact.Redactor(b"k" * 32))
    try:
        shelf = Shelf(store)
        await shelf.held(Remote("files", URL))
        await shelf.client(ISSUER)
        for secret in ("at-0123456789abcdef", "rt-0123456789abcdef", "plain-s3cret-of-corp"):
            assert secret not in redact.current().text(f"x{secret}x")
    finally:
        redact.install(redact.Redactor())


async def test_nothing_of_it_is_a_setting() -> None:
    """A store holds bytes that only this module reads."""
    assert msgspec.json.decode(held().encode())["access"] == "at-0123456789abcdef"
