import msgspec

from mcpguard.credentials.presented import Authenticated, Found, Presented
from mcpguard.daemon.networkparty import NetworkParty, caller_of, evidence_of, principal_of

KEY = Authenticated(frozenset({"key:a", "role:ci"}), {"kid": "a"}, tools=("read",), instance="key:a")
AFAR = Presented(network="192.0.2.1")


def party(whole: Authenticated = KEY, presented: Presented = AFAR) -> NetworkParty:
    return NetworkParty(
        Found(whole), presented, "door", 0, lambda found, _: "" if found.whole.evidence else "gone"
    )


def test_policy_sees_its_principals_its_scope_and_its_credential() -> None:
    caller = caller_of(KEY)
    assert caller.principals == ("any", "key:a", "role:ci")
    assert (caller.tools, caller.instance, caller.grade.name) == (("read",), "key:a", "G0")


def test_records_say_who_from_where_by_which_listener() -> None:
    members = party().evidence()
    assert members == {
        "principal": "key:a", "principals": ["key:a", "role:ci"], "credential": "key:a", "listener": "door",
        "grade": "G0", "kid": "a", "network": "192.0.2.1",
    }  # fmt: skip
    assert evidence_of(KEY, Presented(uid=7), "d")["uid"] == 7


def test_the_narrowest_principal_is_its_name() -> None:
    both = Authenticated(frozenset({"uid:1", "key:k", "cert:c", "spiffe://x/y", "claim:a=b"}), {})
    assert principal_of(both) == "spiffe://x/y"
    assert principal_of(Authenticated(frozenset({"uid:1", "group:g"}), {})) == "uid:1"


def test_what_it_gained_since_counts_with_the_next_session_and_what_it_lost_at_once() -> None:
    mine = party()
    wider = msgspec.structs.replace(KEY, principals=KEY.principals | {"role:admin"})
    assert mine.renew(Found(wider), mine.presented) is False
    assert "role:admin" not in mine.caller.principals
    less = msgspec.structs.replace(KEY, principals=frozenset({"key:a"}))
    assert mine.renew(Found(less), mine.presented) is True
    assert mine.caller.principals == ("any", "key:a")
    assert mine.renew(Found(KEY), mine.presented) is True  # it had that when it began
    narrower = msgspec.structs.replace(KEY, tools=("none",))
    assert mine.renew(Found(narrower), mine.presented) is True


def test_its_credential_outlives_its_connections() -> None:
    assert party().alive()
    assert party().recheck() == ""
    assert party(msgspec.structs.replace(KEY, evidence={})).recheck() == "gone"
    assert party().name == ""
