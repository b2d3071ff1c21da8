"""Where servers are that somebody logs in at: registered, or said at the login; and the vault as a store of tokens."""

import time
from pathlib import Path

import pytest

from mcpguard.credentials import oauthtokens
from mcpguard.credentials.oauthsettings import Remote
from mcpguard.daemon.oauthstore import MemoryStore
from mcpguard.daemon.registrytls import RegistryTls
from mcpguard.daemon.remotes import IfWanted, Registrations, VaultStore
from mcpguard.errors import SecretError, TrustError, UpstreamError
from mcpguard.identity.remote import Remote as Place
from mcpguard.system import vaultkey
from mcpguard.system.vault import Vault
from tests.daemon.oauthworld import world

pytestmark = pytest.mark.asyncio
AT = Place("https://mcp.example/mcp", ca="system")


class Bare:
    """A registry without servers (`registry.Registry`, as far as it is asked)."""

    def known(self, name: str) -> bool:
        return False


def registrations(store: MemoryStore | None = None, ready=lambda: None) -> Registrations:
    def certificates(name: str) -> RegistryTls:
        raise AssertionError(name)

    return Registrations(Bare(), store or MemoryStore(), ready, certificates)


async def test_a_place_is_kept_until_it_is_forgotten() -> None:
    store = MemoryStore()
    found = await registrations(store).begin("far", AT)
    assert found == Remote("far", AT.url)
    again = registrations(store)  # another daemon
    assert await again.place("far") == AT
    assert await again.begin("far", None) == await again.lookup("far") == found
    await again.forget("far")
    with pytest.raises(TrustError, match="no remote server is registered as 'far'"):
        await again.lookup("far")


async def test_another_url_forgets_what_was_said_of_logins() -> None:
    store = MemoryStore()
    settings = oauthtokens.settings_place("far")
    ours = registrations(store)
    await ours.begin("far", AT)
    store.put(settings, b"{}", 0.0)
    await ours.begin("far", Place(AT.url, ca="system", networks=("loopback",)))
    assert store.get(settings) == b"{}"
    await ours.begin("far", Place("https://other.example/", ca="system"))
    assert store.get(settings) is None


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("far", Place("http://mcp.example/", ca="system")),
        ("far", Place("https://mcp.example/")),
        ("far", Place("unix:/run/x")),
        ("../far", AT),
    ],
)
async def test_places_that_are_none(name: str, place: Place) -> None:
    store = MemoryStore()
    with pytest.raises(TrustError):
        await registrations(store).begin(name, place)
    assert store._kept == {}


async def test_nothing_begins_where_nothing_can_be_kept() -> None:
    def locked() -> None:
        raise SecretError("the vault is locked")

    store = MemoryStore()
    with pytest.raises(SecretError):
        await registrations(store, locked).begin("far", AT)
    assert store._kept == {}


async def test_a_damaged_place_is_said() -> None:
    store = MemoryStore()
    store.put("oauth/place/far", b"{", 0.0)
    with pytest.raises(TrustError, match="damaged") as caught:
        await registrations(store).lookup("far")
    assert caught.value.hint == "mcpguard remote logout far"


async def test_nothing_is_fetched_for_a_server_that_is_none() -> None:
    fetch = registrations().fetch(Remote("far", AT.url))
    with pytest.raises(UpstreamError, match="no remote server"):
        await fetch("GET", AT.url, {})


class Kept:
    """A vault and what opens it (`secrets.Secrets`, as far as it is asked)."""

    def __init__(self, place: Path) -> None:
        self.vault = Vault(place)

    def unlock(self) -> None:
        if self.vault.locked:
            raise SecretError("the vault is locked")


async def test_tokens_in_a_vault(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "secrets")
    store = VaultStore(kept)
    with pytest.raises(SecretError, match="no vault yet"):
        store.open()
    assert store.get("oauth/server/far") is None
    how, key = vaultkey.make("passphrase", "v", "words", 2**14)
    kept.vault.create("v", how, key)
    store.open()
    store.put("oauth/server/far", b"token", time.time() + 60)
    assert store.get("oauth/server/far") == b"token"
    kept.vault.lock()
    for ask in (store.open, lambda: store.get("oauth/server/far"), lambda: store.delete("oauth/server/far")):
        with pytest.raises(SecretError, match="locked"):
            ask()
    assert store.get("oauth/server/other") is None  # which needs no key
    kept.vault.open(key)
    store.delete("oauth/server/far")
    store.delete("oauth/server/far")
    assert store.get("oauth/server/far") is None


async def test_a_token_is_shown_only_if_there_is_one_or_one_is_wanted() -> None:
    async with world() as at:
        asked = IfWanted(at.oauth())
        assert await asked.headers("POST", at.resource.url) == {}
        with pytest.raises(UpstreamError, match="nobody has logged in"):
            await asked.challenged(401, "Bearer")
        await at.log_in()
        shown = await IfWanted(at.oauth()).headers("POST", at.resource.url)
        assert shown["Authorization"] == f"Bearer {at.provider.tokens[0].access}"
