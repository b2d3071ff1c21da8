"""What authorising costs a call; figures with --benchmark-enable."""

import secrets
import time

import pytest

from mcpguard.audit.redact import Redactor
from mcpguard.credentials.oauthsettings import Remote
from mcpguard.credentials.oauthtokens import Held
from mcpguard.daemon import oauthproofs
from mcpguard.daemon.oauth import OAuth
from mcpguard.daemon.oauthobtain import kit
from mcpguard.daemon.oauthstore import MemoryStore, Shelf

URL = "https://a.example/mcp"


def authorizer(key: str = "") -> OAuth:
    """One with a token that is good for an hour, read already."""
    store, now = MemoryStore(), time.time()
    kind = "DPoP" if key else "Bearer"
    held = Held(
        "s",
        URL,
        "https://auth.example",
        URL,
        "id",
        "at" * 20,
        kind,
        expires=now + 3600,
        obtained=now,
        key=key,
    )
    store.put("oauth/server/s", held.encode(), 0.0)
    oauth = OAuth(Remote("s", URL), kit(None, Shelf(store), time.time, secrets.token_bytes))
    oauth._adopt(held)
    return oauth


def once(oauth: OAuth) -> object:
    """The fields of one request; nothing is waited for."""
    with pytest.raises(StopIteration) as ended:
        oauth.headers("POST", URL).send(None)
    return ended.value.value


def fast(oauth: OAuth) -> object:
    """Likewise, without pytest between."""
    try:
        oauth.headers("POST", URL).send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waited")


def test_a_token(benchmark) -> None:
    oauth = authorizer()
    assert benchmark(fast, oauth) == {"Authorization": f"Bearer {'at' * 20}"}


def test_a_proof(benchmark) -> None:
    oauth = authorizer(oauthproofs.new_key())
    assert benchmark(fast, oauth).keys() == {"Authorization", "DPoP"}


def test_nothing_is_waited_for() -> None:
    assert once(authorizer())
    assert once(authorizer(oauthproofs.new_key()))


def test_a_refresh_teaches_the_redactor_two_values(benchmark) -> None:
    """In a thread; the loop takes over what was made."""
    redactor = Redactor(b"k" * 32)
    redactor.pass_on(redactor.known.prepared([secrets.token_urlsafe(32).encode() for _ in range(128)]))
    two = [secrets.token_urlsafe(32).encode() for _ in range(2)]
    assert len(benchmark(redactor.known.prepared, two).values) == 128
