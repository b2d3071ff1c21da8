"""The trust set: what it may say, what may follow it, who speaks for a name, and what is revoked."""

import contextlib
import json
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.statement import STATEMENT
from mcpguard.identity.trust import (
    REVOCATIONS,
    TRUST,
    Role,
    check_clock,
    first_trust,
    judged,
    next_trust,
    parse_revocations,
    parse_trust,
    revocations,
    stored_trust,
    turned_back,
)
from tests.identity.signing import A, B, C, D, ssh
from tests.identity.trusting import END, NOW, revoking, role, signed, trusted

DIGEST = "sha256:" + "0f" * 32


def test_a_trust_set_is_read_as_it_was_written():
    trust = trusted(until={C.public.ident: END})
    found = parse_trust(trust.encode())
    assert found.keys == {ident: ssh(key) for ident, key in trust.keys.items()}
    assert msgspec.structs.replace(found, keys=trust.keys) == trust
    assert parse_trust(found.encode()) == found


def test_a_trust_set_is_a_statement_about_its_keys():
    value = json.loads(trusted().encode())
    assert (value["_type"], value["predicateType"]) == (STATEMENT, "urn:mcpguard:trust:v1")
    assert value["subject"][0] == {"name": A.public.ident, "digest": {"sha256": A.public.sha256}}
    assert value["predicate"]["crit"] == ["keys", "publishers", "revocation", "root"]
    assert value["predicate"]["publishers"]["local"] == {"keys": [A.public.ident]}


def written(**changes):
    """A payload whose predicate is changed by hand."""
    value = json.loads(trusted().encode())
    value["predicate"].update(changes)
    return json.dumps(value).encode()


LOCAL = {"keys": [A.public.ident], "threshold": 1}
BY_HAND = {
    "no version": ({"version": None}, "malformed"),
    "version 0": ({"version": 0}, "malformed"),
    "version true": ({"version": True}, "malformed"),
    "version as a text": ({"version": "1"}, "malformed"),
    "a version beyond every counter": ({"version": 2**53}, "malformed"),
    "no expiry": ({"expires": ""}, "no moment"),
    "an expiry without a zone": ({"expires": "2027-01-01T00:00:00"}, "no moment"),
    "crit unknown": ({"crit": ["quorum"], "quorum": 1}, "'quorum', which this version does not know"),
    "crit of what is not there": ({"crit": ["quorum"]}, "quorum"),
    "an unknown member of a role": ({"publishers": {"local": {**LOCAL, "until": 5}}}, "unknown field"),
    "a threshold of 0": ({"root": {**LOCAL, "threshold": 0}}, "'root' has 1 keys and wants 0"),
    "a threshold below 0": ({"root": {**LOCAL, "threshold": -1}}, "wants -1"),
    "a threshold of 2 of 1": ({"root": {**LOCAL, "threshold": 2}}, "wants 2"),
    "a threshold of true": ({"root": {**LOCAL, "threshold": True}}, "malformed"),
    "a threshold of 2 with one key twice": (
        {"root": {"keys": [A.public.ident] * 2, "threshold": 2}},
        "'root' names a key twice",
    ),
    "a role without keys": ({"revocation": {"keys": []}}, "'revocation' has 0 keys"),
    "a key that is not there": ({"publishers": {"x": {"keys": ["SHA256:?"]}}}, "which is not there"),
    "a namespace that is a role": ({"publishers": {"root": LOCAL}}, "no namespace"),
    "an empty namespace": ({"publishers": {"": LOCAL}}, "no namespace"),
    "a hostile namespace": ({"publishers": {"a\x1b[2J": LOCAL}}, "no namespace"),
    "a prefix with a space": ({"publishers": {"x": {**LOCAL, "prefix": "a b"}}}, "no prefix"),
    "a prefix and a line": ({"publishers": {"x": {**LOCAL, "prefix": "a\n"}}}, "no prefix"),
    "one prefix twice": ({"publishers": {"local": LOCAL, "me": LOCAL}}, "both have the prefix ''"),
    "root with a prefix": ({"root": {**LOCAL, "prefix": "a/"}}, "root role"),
    "root with a validity": ({"root": {**LOCAL, "expires": END}}, "root role"),
    "revocation with a prefix": ({"revocation": {**LOCAL, "prefix": "a/"}}, "revocation role"),
    "a role that ends before it begins": (
        {"publishers": {"x": {**LOCAL, "not_before": END, "expires": END}}},
        "expires before it is valid",
    ),
    "a role until some day": ({"publishers": {"x": {**LOCAL, "expires": "never"}}}, "no moment"),
    "other keys than its subjects": ({"keys": {A.public.ident: {"key": A.public.line()}}}, "subjects"),
    "too many publishers": (
        {"publishers": {f"p{n}": {**LOCAL, "prefix": f"p{n}/"} for n in range(limits.PUBLISHERS + 1)}},
        "malformed",
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_trust_set_that_contradicts_itself_is_refused(name):
    changes, message = BY_HAND[name]
    with pytest.raises(TrustError, match=message) as caught:
        parse_trust(written(**changes))
    assert caught.value.hint
    assert caught.value.sentence().isprintable()


def keyed(**changes):
    """A payload in which the entry of key D is changed, together with its subject."""
    value = json.loads(trusted().encode())
    value["predicate"]["keys"][D.public.ident].update(changes)
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": C.public.line()}, "the trust set calls key"),
        ({"key": "ssh-rsa AAAA"}, "cut short|not accepted"),
        ({"expires": "soon"}, "no moment"),
        ({"uses": 5}, "unknown field"),
    ],
)
def test_a_trust_set_with_a_bad_key_is_refused(changes, message):
    with pytest.raises(TrustError, match=message):
        parse_trust(keyed(**changes))


def test_a_root_key_does_not_expire_by_itself():
    with pytest.raises(TrustError, match=r"root key .* has an expiry of its own"):
        trusted(until={A.public.ident: END}).encode()


def test_nothing_is_written_that_could_not_be_read():
    with pytest.raises(TrustError, match="wants 3"):
        trusted(root=role(A, B, threshold=3)).encode()
    with pytest.raises(TrustError, match="no digest"):
        revoking(manifests=frozenset({"0f" * 32})).encode()


def test_unknown_members_are_ignored_unless_they_are_demanded():
    assert parse_trust(written(note="hello")) == parse_trust(trusted().encode())


@given(st.binary())
def test_arbitrary_bytes_are_refused_with_a_trust_error(data):
    trust = trusted()
    for read in (
        parse_trust,
        parse_revocations,
        stored_trust,
        lambda data: first_trust(data, NOW),
        lambda data: next_trust(trust, data, NOW),
        lambda data: revocations(trust, data, NOW, 0),
        lambda data: stored_trust(signed(data, A)),
        lambda data: next_trust(trust, signed(data, A), NOW),
    ):
        with pytest.raises(TrustError):
            read(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.sampled_from(["version", "expires", "keys", "root", "revocation", "publishers", "crit"]), JSON)
def test_arbitrary_members_are_a_trust_set_or_a_trust_error(member, value):
    with contextlib.suppress(TrustError):
        parse_trust(written(**{member: value}))
    with contextlib.suppress(TrustError):
        parse_trust(written(root=value, publishers={"x": value}))


# --- the first and the next -----------------------------------------------------------------------------


def test_the_first_trust_set_is_signed_by_itself():
    assert first_trust(signed(trusted().encode(), A), NOW).version == 1


@pytest.mark.parametrize(
    ("trust", "keys", "message"),
    [
        (trusted(), (B,), "needs 1 signatures of its own root keys, and has 0"),
        (trusted(root=role(A, B, threshold=2)), (A,), "needs 2 .* has 1"),
        (trusted(root=role(A, B, threshold=2)), (A, C), "needs 2 .* has 1"),
        (trusted(version=2), (A,), "has version 1, this one has 2"),
        (trusted(expires="2026-06-01T00:00:00Z"), (A,), "expired at 2026-06-01"),
    ],
)
def test_other_first_trust_sets_are_refused(trust, keys, message):
    with pytest.raises(TrustError, match=message) as caught:
        first_trust(signed(trust.encode(), *keys), NOW)
    assert caught.value.hint


def test_another_type_is_not_a_trust_set():
    data = signed(trusted().encode(), A, payload_type="application/json")
    for read in (stored_trust, lambda data: first_trust(data, NOW)):
        with pytest.raises(TrustError, match="'application/json', not application/vnd"):
            read(data)
    with pytest.raises(TrustError, match="is a 'urn:mcpguard:revocations:v1', not a urn:mcpguard:trust:v1"):
        stored_trust(signed(revoking().encode(), A))


def test_a_kept_trust_set_may_be_old():
    old = trusted(version=7, expires="2020-01-01T00:00:00Z")
    assert stored_trust(signed(old.encode(), A)).version == 7
    with pytest.raises(TrustError, match="its own root"):
        stored_trust(signed(old.encode(), B))


CURRENT = trusted(version=4, root=role(A, B, C, threshold=2))
NEXT = trusted(version=5, root=role(C, D, threshold=2))


@pytest.mark.parametrize("keys", [(A, C, D), (B, C, D), (A, B, C, D)])
def test_the_next_is_signed_by_both(keys):
    assert next_trust(CURRENT, signed(NEXT.encode(), *keys), NOW).version == 5


@pytest.mark.parametrize(
    ("new", "keys", "message"),
    [
        (NEXT, (A, B), "needs 2 signatures of its own root keys, and has 0"),
        (NEXT, (A, B, C), "needs 2 signatures of its own root keys, and has 1"),
        (NEXT, (C, D), "needs 2 signatures of the current root keys, and has 1"),
        (NEXT, (D,), "of the current root keys, and has 0"),
        (msgspec.structs.replace(NEXT, version=6), (A, C, D), "version 6 .* does not follow version 4"),
        (msgspec.structs.replace(NEXT, version=4), (A, C, D), "version 4 .* does not follow version 4"),
        (msgspec.structs.replace(NEXT, version=3), (A, C, D), "version 3 .* does not follow version 4"),
        (msgspec.structs.replace(NEXT, expires="2026-01-01T00:00:00Z"), (A, C, D), "expired"),
    ],
)
def test_other_next_trust_sets_are_refused(new, keys, message):
    with pytest.raises(TrustError, match=message) as caught:
        next_trust(CURRENT, signed(new.encode(), *keys), NOW)
    assert caught.value.hint


def test_an_expired_trust_set_may_be_followed():
    expired = msgspec.structs.replace(CURRENT, expires="2026-01-01T00:00:00Z")
    assert next_trust(expired, signed(NEXT.encode(), A, C, D), NOW).version == 5


# --- who speaks for a name ------------------------------------------------------------------------------

PUBLISHERS = {
    "local": role(A),
    "github": role(B, prefix="io.github"),
    "acme": role(C, prefix="io.github.acme/"),
    "tools": role(D, prefix="io.github.acme/tools"),
}


@pytest.mark.parametrize(
    ("name", "publisher"),
    [
        ("files", "local"),
        ("io.githubs/x", "local"),
        ("io.github", "github"),
        ("io.github.acme", "github"),
        ("io.github.acmes/x", "github"),
        ("io.github/x", "github"),
        ("io.github.acme/x", "acme"),
        ("io.github.acme/toolset", "acme"),
        ("io.github.acme/tools", "tools"),
        ("io.github.acme/tools.more", "tools"),
        ("IO.GITHUB.ACME/x", "local"),
    ],
)
def test_the_longest_prefix_decides(name, publisher):
    assert trusted(publishers=PUBLISHERS).publisher(name)[0] == publisher


def test_a_name_may_belong_to_nobody():
    with pytest.raises(TrustError, match="no publisher may sign manifests called 'files'") as caught:
        trusted(publishers={"acme": PUBLISHERS["acme"]}).publisher("files")
    assert "mcpguard trust add-key" in caught.value.hint


def test_the_validity_of_a_role_begins_and_ends():
    limited = Role(("x",), not_before="2026-06-01T00:00:00Z", expires="2026-06-02T00:00:00Z")
    second, day = timedelta(seconds=1), timedelta(days=1)
    assert "not valid before" in limited.fault(NOW - second)
    assert limited.fault(NOW) == limited.fault(NOW + day - second) == ""
    assert "expired at" in limited.fault(NOW + day)
    assert Role(("x",)).fault(NOW) == ""


def test_keys_stop_counting_by_themselves():
    trust = trusted(until={C.public.ident: "2026-06-02T00:00:00Z"})
    acme = trust.publishers["acme"]
    assert trust.counting(acme, NOW) == [C.public]
    assert trust.counting(acme, NOW + timedelta(days=1)) == []


# --- revocations ----------------------------------------------------------------------------------------


def test_revocations_are_read_as_they_were_written():
    revoked = revoking(
        keys=frozenset({C.public.ident}),
        manifests=frozenset({DIGEST}),
        packages=frozenset({DIGEST, "sha256:" + "aa" * 32}),
        minimum={"io.github.acme/files": 12},
    )
    assert parse_revocations(revoked.encode()) == revoked
    assert revocations(trusted(), signed(revoked.encode(), B), NOW, 1) == revoked
    assert json.loads(revoked.encode())["predicateType"] == REVOCATIONS


def test_revocations_are_signed_by_their_role():
    for stranger in (A, C):
        with pytest.raises(TrustError, match="needs 1 signatures of those who may revoke, and has 0"):
            revocations(trusted(), signed(revoking().encode(), stranger), NOW, 0)
    both = trusted(revocation=role(B, D, threshold=2))
    with pytest.raises(TrustError, match=r"needs 2 .* has 1"):
        revocations(both, signed(revoking().encode(), B), NOW, 0)
    assert revocations(both, signed(revoking().encode(), B, D), NOW, 0).version == 1


def test_revocations_do_not_go_back():
    data = signed(revoking(version=3).encode(), B)
    assert revocations(trusted(), data, NOW, 3).version == 3
    with pytest.raises(TrustError, match="has version 3, and 4 was seen"):
        revocations(trusted(), data, NOW, 4)


def test_revocations_outlive_the_trust_set_and_their_own_expiry():
    revoked = revocations(
        trusted(expires="2020-01-01T00:00:00Z"),
        signed(revoking(expires="2026-05-31T00:00:00Z").encode(), B),
        NOW,
        0,
    )
    assert revoked.stale(NOW)
    assert not revoked.stale(NOW - timedelta(days=2))


def test_the_role_and_its_keys_may_be_over():
    over = trusted(revocation=role(B, expires="2026-06-01T00:00:00Z"))
    with pytest.raises(TrustError, match="the role that may revoke expired at"):
        revocations(over, signed(revoking().encode(), B), NOW, 0)
    ended = trusted(until={B.public.ident: "2026-06-01T00:00:00Z"})
    with pytest.raises(TrustError, match="has 0"):
        revocations(ended, signed(revoking().encode(), B), NOW, 0)


REVOKED_BY_HAND = {
    "an ident that is none": ({"keys": ["A"]}, "'A', which is no digest"),
    "a digest without its kind": ({"manifests": ["0f" * 32]}, "no digest"),
    "a package by name": ({"packages": ["left-pad"]}, "no digest"),
    "a list of numbers": ({"manifests": [1]}, "malformed"),
    "a minimum of 0": ({"minimum": {"x": 0}}, "malformed"),
    "a minimum that is a text": ({"minimum": {"x": "1"}}, "malformed"),
    "another thing than its subjects": ({"manifests": [DIGEST]}, "subjects"),
    "crit unknown": ({"crit": ["x"], "x": 1}, "does not know"),
    "too many": ({"keys": [f"{n}" for n in range(limits.REVOKED + 1)]}, "malformed"),
    "no expiry": ({"expires": "never"}, "no moment"),
}


@pytest.mark.parametrize("name", REVOKED_BY_HAND)
def test_other_revocations_are_refused(name):
    changes, message = REVOKED_BY_HAND[name]
    value = json.loads(revoking().encode())
    value["predicate"].update(changes)
    with pytest.raises(TrustError, match=message) as caught:
        parse_revocations(json.dumps(value).encode())
    assert caught.value.hint


def test_a_trust_set_is_no_revocation():
    with pytest.raises(TrustError, match=TRUST):
        revocations(trusted(), signed(trusted().encode(), B), NOW, 0)


# --- the clock ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes", "back"), [(-60, False), (0, False), (5, False), (5.02, True), (600, True)]
)
def test_a_clock_is_turned_back_by_more_than_five_minutes(minutes, back):
    floor = NOW + timedelta(minutes=minutes)
    assert turned_back(NOW, floor) is back
    assert judged(NOW, floor) == (floor if back else NOW)
    if back:
        with pytest.raises(TrustError, match="the clock went back: it says 2026-06-01 00:00") as caught:
            check_clock(NOW, floor)
        assert caught.value.hint
    else:
        check_clock(NOW, floor)


def test_without_a_floor_the_clock_is_believed():
    assert judged(NOW, None) == NOW
    check_clock(NOW, None)
