from mcpguard.credentials.presented import Authenticated, Found, Presented
from mcpguard.daemon.inner import Direct
from mcpguard.daemon.lifeline import Lifeline
from mcpguard.daemon.networkparty import NetworkParty
from mcpguard.daemon.party import Courier, Party
from tests.daemon.hosts import TameHost, attested

MEMBERS = (
    "name",
    "pid",
    "handle",
    "uid",
    "login",
    "evidence",
    "recheck",
    "alive",
    "watch",
    "close",
    "caller",
)
COURIERS = ("descriptors", "take", "say", "ready", "exit", "watch")


def test_hosts_and_peers_are_parties_alike() -> None:
    found = Found(Authenticated(frozenset({"uid:0"}), {}))
    parties: list[Party] = [
        attested(TameHost()),
        NetworkParty(found, Presented(uid=0), "d", 0, lambda *_: ""),
    ]
    for party in parties:
        assert all(hasattr(party, member) for member in MEMBERS)
        assert isinstance(party.evidence(), dict)
        assert isinstance(party.uid, int)
        assert party.recheck() == ""
        party.close()


def test_shims_and_listeners_are_couriers_alike() -> None:
    for kind in (Lifeline, Direct):
        assert all(hasattr(kind, member) for member in COURIERS)
    assert set(COURIERS) <= set(vars(Courier))
