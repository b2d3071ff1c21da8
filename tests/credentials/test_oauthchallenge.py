"""WWW-Authenticate, read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.credentials.oauthchallenge import Challenge, Wanted, parse_challenges, wanted
from mcpguard.credentials.oautherror import OAuthError


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("", []),
        (" , ,", []),
        ("Bearer", [("bearer", {})]),
        ("Bearer, DPoP", [("bearer", {}), ("dpop", {})]),
        ('Bearer realm="a, b", error=invalid_token', [("bearer", {"realm": "a, b", "error": "invalid_token"})]),
        (r'Bearer realm="a \"b\" \\"', [("bearer", {"realm": 'a "b" \\'})]),
        ("Negotiate dG9rZW4=, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('BEARER Error = "x"', [("bearer", {"error": "x"})]),
        ('Basic realm="x", Bearer scope="a b", DPoP algs="ES256"',
         [("basic", {"realm": "x"}), ("bearer", {"scope": "a b"}), ("dpop", {"algs": "ES256"})]),
    ],
)  # fmt: skip
def test_challenges(field: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(field) == tuple(Challenge(*each) for each in found)


@pytest.mark.parametrize(
    "field",
    [
        'Bearer error="x', "Bearer error=a, error=b", 'Bearer error="a", Error="b"', "a b c", "Bearer a=b c=d", "=", '"x"',
        "Bearer é=x", "Bearer " + "x" * 9000, ", ".join(["Bearer"] * 17), 'Bearer x="a"y', "Bearer\x00",
    ],
)  # fmt: skip
def test_what_has_two_meanings_or_none_is_refused(field: str) -> None:
    with pytest.raises(OAuthError) as caught:
        parse_challenges(field)
    assert caught.value.message.isprintable()


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(field: str) -> None:
    try:
        found = parse_challenges(field)
    except OAuthError:
        return
    assert all(each.scheme == each.scheme.lower() for each in found)


def test_what_is_wanted() -> None:
    field = 'Basic scope="ours not", Bearer error="insufficient_scope", scope="a b", resource_metadata="https://x/", DPoP'
    assert wanted(field) == Wanted("insufficient_scope", frozenset("ab"), "https://x/", dpop=True)
    assert wanted("") == Wanted()
    assert (
        wanted('Bearer resource_metadata="https://x/", DPoP resource_metadata="https://x/"').metadata
        == "https://x/"
    )


@pytest.mark.parametrize(
    "field",
    ['Bearer resource_metadata="https://x/", DPoP resource_metadata="https://y/"', 'Bearer scope="a\\"b"'],
)
def test_challenges_that_disagree(field: str) -> None:
    with pytest.raises(OAuthError):
        wanted(field)
