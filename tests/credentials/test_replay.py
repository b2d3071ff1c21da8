import pytest

from mcpguard.credentials.replay import ReplayCache
from mcpguard.errors import PeerError


def test_an_id_counts_once_until_its_time_is_over() -> None:
    cache = ReplayCache("token")
    cache.use("a", "1", 100.0, 0.0)
    with pytest.raises(PeerError, match="the token was used before"):
        cache.use("a", "1", 100.0, 99.9)
    cache.use("b", "1", 100.0, 0.0)
    cache.use("a", "1", 200.0, 100.0)
    assert len(cache) == 1


def test_ids_of_two_issuers_are_never_one() -> None:
    cache = ReplayCache("token")
    cache.use("a", "b1", 9.0, 0.0)
    cache.use("ab", "1", 9.0, 0.0)


def test_when_it_is_full_it_refuses_and_forgets_nothing_early() -> None:
    cache = ReplayCache("proof", 3)
    for ident in "123":
        cache.use("a", ident, 10.0, 0.0)
    with pytest.raises(PeerError, match="too many proofs"):
        cache.use("a", "4", 10.0, 0.0)
    with pytest.raises(PeerError, match="used before"):
        cache.use("a", "1", 10.0, 5.0)
    cache.use("a", "4", 20.0, 10.0)
    assert len(cache) == 1
