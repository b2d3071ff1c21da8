"""Claims against rules; that real tokens go through them is in tests/daemon/test_bearer.py."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.credentials.tokens import Rules, judge, judge_type, require_certificate
from mcpguard.errors import PeerError

NOW = 1_800_000_000.0
RULES = Rules("corp", "https://issuer.example", ("guard",))


def rules(**more: Any) -> Rules:
    return Rules("corp", "https://issuer.example", ("guard",), **more)


def claims(**changed: Any) -> dict[str, Any]:
    good = {"iss": "https://issuer.example", "sub": "7", "aud": "guard", "exp": NOW + 60, "iat": NOW}
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def test_the_least_that_is_good() -> None:
    judged = judge(claims(), RULES, NOW)
    assert judged.authenticated.principals == {"jwt:https://issuer.example#7"}
    assert (judged.until, judged.ident, judged.key) == (NOW + 90, "", "")


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "exp"])
def test_nothing_of_it_may_be_left_out(name: str) -> None:
    with pytest.raises(PeerError):
        judge(claims(**{name: None}), RULES, NOW)


@pytest.mark.parametrize(
    ("changed", "more", "words"),
    [
        ({"exp": NOW - 30}, {}, "has expired"),
        ({"exp": NOW - 2}, {"leeway": 1.0}, "has expired"),
        ({"iat": NOW - 500}, {"max_age": 60.0}, "too old"),
        ({"iat": None}, {"max_age": 60.0}, "too old"),
        ({"exp": NOW + 4000}, {"max_lifetime": 3600.0}, "longer than 3600 seconds"),
        ({"exp": NOW + 4000, "iat": None}, {"max_lifetime": 3600.0}, "longer than 3600 seconds"),
        ({"scope": "a b"}, {"scopes": ("a", "c")}, "lacks the scope c"),
        ({"scope": "ab"}, {"scopes": ("a",)}, "lacks the scope a"),
        ({}, {"scopes": ("a",)}, "lacks the scope a"),
        ({"azp": "other"}, {"clients": ("app",)}, "another client"),
        ({}, {"clients": ("app",)}, "another client"),
        ({"azp": ["app"]}, {"clients": ("app",)}, "another client"),
        ({"aud": {"guard": 1}}, {}, "does not say whom"),
        ({"aud": [["guard"]]}, {}, "for somebody else"),
        ({"sub": "7"}, {"revoked": frozenset(["7"])}, "revoked here"),
        ({"jti": "j"}, {"revoked": frozenset(["j"])}, "revoked here"),
        ({"exp": float("1e300")}, {}, "no moment in exp"),
        ({"nbf": -1}, {}, "no moment in nbf"),
        ({"cnf": {}}, {}, "way that is not known"),
        ({"cnf": {"jkt": ""}}, {}, "way that is not known"),
        ({"cnf": {"jkt": "k", "kid": "x"}}, {}, "way that is not known"),
        ({"cnf": "jkt"}, {}, "way that is not known"),
    ],
)
def test_what_does_not_hold_is_told(changed: dict[str, Any], more: dict[str, Any], words: str) -> None:
    with pytest.raises(PeerError, match=words):
        judge(claims(**changed), rules(**more), NOW)


def test_scopes_and_clients_in_the_spellings_of_providers() -> None:
    for changed in ({"scope": "x a"}, {"scp": "a"}, {"scp": ["x", "a"]}):
        judge(claims(**changed), rules(scopes=("a",)), NOW)
    for changed in ({"azp": "app"}, {"client_id": "app"}):
        judge(claims(**changed), rules(clients=("app",)), NOW)


def test_only_claims_that_are_named_become_principals_and_only_roles_that_are_mapped() -> None:
    given_ = claims(
        groups=["dev", "admin", "a\nb", "", 7, {"x": 1}, "x" * 300, True],
        roles=["role:root"],
        realm_access={"roles": ["realm-admin"]},
        email="a=b@example",
    )
    judged = judge(
        given_,
        rules(
            claims=("groups", "email"),
            roles=(("boss", ("realm_access.roles=realm-admin",)), ("root", ("roles=root", "groups=wheel"))),
        ),
        NOW,
    )
    assert judged.authenticated.principals == {
        "jwt:https://issuer.example#7", "claim:groups=dev", "claim:groups=admin", "claim:groups=7",
        "claim:groups=true", "claim:email=a=b@example", "role:boss",
    }  # fmt: skip


def test_a_claim_that_is_called_so_goes_before_one_that_lies_within() -> None:
    found = judge(claims(**{"a.b": "flat", "a": {"b": "deep"}}), rules(claims=("a.b",)), NOW)
    assert "claim:a.b=flat" in found.authenticated.principals


def test_more_groups_than_a_token_may_bring() -> None:
    judge(claims(groups=[str(number) for number in range(128)]), rules(claims=("groups",)), NOW)
    with pytest.raises(PeerError, match="129 values"):
        judge(claims(groups=[str(number) for number in range(129)]), rules(claims=("groups",)), NOW)


@given(
    st.dictionaries(
        st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "cnf", "scope", "groups"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.lists(st.text())
        | st.dictionaries(st.text(), st.text()),
    )
)
def test_any_claims_are_judged_or_refused(found: dict[str, Any]) -> None:
    try:
        judged = judge({**claims(), **found}, rules(claims=("groups",), single_use=False), NOW)
    except PeerError:
        return
    assert all(principal.startswith(("jwt:", "claim:")) for principal in judged.authenticated.principals)


@pytest.mark.parametrize(
    ("header", "good"),
    [
        ({}, True), ({"typ": "JWT"}, True), ({"typ": "jwt"}, True), ({"typ": "at+JWT"}, True),
        ({"typ": "application/at+jwt"}, True), ({"typ": "dpop+jwt"}, False), ({"typ": "logout+jwt"}, False),
        ({"typ": ""}, False), ({"typ": 1}, False),
    ],
)  # fmt: skip
def test_types(header: dict[str, Any], good: bool) -> None:
    if good:
        judge_type(header, RULES)
    else:
        with pytest.raises(PeerError, match="another type"):
            judge_type(header, RULES)


def test_a_type_can_be_required() -> None:
    with pytest.raises(PeerError, match="another type"):
        judge_type({}, rules(types=("at+jwt",), untyped=False))


def test_introspection_may_leave_out_what_it_vouches_for_and_nothing_that_contradicts() -> None:
    judged = judge({"active": True, "sub": "7"}, RULES, NOW, "introspection")
    assert judged.until == 0.0
    for bad in ({"iss": "x"}, {"aud": "x"}, {"exp": NOW - 60}):
        with pytest.raises(PeerError):
            judge({"sub": "7", **bad}, RULES, NOW, "introspection")


def test_a_certificate_that_a_token_is_bound_to() -> None:
    judged = judge(claims(cnf={"x5t#S256": "abc"}), RULES, NOW)
    require_certificate(judged, "abc")
    for other in ("", "abd"):
        with pytest.raises(PeerError):
            require_certificate(judged, other)
    require_certificate(judge(claims(), RULES, NOW), "")
