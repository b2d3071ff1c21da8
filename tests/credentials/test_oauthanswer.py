"""What an authorization server answers; whole logins are in tests/daemon/test_oauthlogin.py."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.credentials import oauthanswer
from mcpguard.credentials.oautherror import OAuthError
from mcpguard.credentials.oauthrequest import Attempt

ISSUER, STATE = "https://auth.example", "s" * 43
ATTEMPT = Attempt(ISSUER, "id", "http://127.0.0.1:1/c", "https://a.example", "", STATE, "v" * 43)
GOOD = f"/c?code=abc&state={STATE}"


@pytest.mark.parametrize("url", [GOOD, f"http://127.0.0.1:1{GOOD}", f"{GOOD}&iss=https%3A%2F%2Fauth.example"])
def test_a_code(url: str) -> None:
    assert oauthanswer.redirected(url, ATTEMPT) == "abc"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "state"), ("/c", "state"), (f"/c?state={STATE}", "no code"), (f"/c?state={STATE}&code=", "no code"),
        (f"/c?state={STATE}&code=%0d%0a", "no code"), (f"{GOOD}&state={STATE}", "twice"), (f"{GOOD}&code=abc", "twice"),
        (f"{GOOD}&iss={ISSUER}/", "you were sent to"), (f"{GOOD}&iss=", "you were sent to"),
        (f"/c#code=abc&state={STATE}", "state"), (f"/c?state={STATE}&error=access_denied", "says no"),
        (f"/c?error=access_denied&state={STATE[:-1]}", "state"), (f"{GOOD}&x={'y' * 20_000}", "too long"),
        (GOOD + "&a=b" * 40, "cannot be read"), (f"{GOOD}&error=x", "says no"),
    ],
)  # fmt: skip
def test_what_is_no_answer_of_ours(url: str, why: str) -> None:
    with pytest.raises(OAuthError, match=why):
        oauthanswer.redirected(url, ATTEMPT)


@given(st.text(max_size=300))
def test_no_text_is_an_answer(text: str) -> None:
    with pytest.raises(OAuthError) as caught:
        oauthanswer.redirected(text, ATTEMPT)
    assert caught.value.message.isprintable()


def answer(**members: object) -> bytes:
    return msgspec.json.encode({"access_token": "abc", "token_type": "bearer", **members})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (60, 60.0),
        ("60", 60.0),
        (0, 0.0),
        (-5, 0.0),
        (1e300, 0.0),
        ("x", 0.0),
        ("nan", 0.0),
        ("inf", 0.0),
        (1.5, 1.5),
    ],
)
def test_lifetimes(value: object, seconds: float) -> None:
    assert oauthanswer.parse_token(200, answer(expires_in=value), ISSUER).seconds == seconds


def test_members_that_are_null() -> None:
    found = oauthanswer.parse_token(200, answer(refresh_token=None, scope=None, id_token=None), ISSUER)
    assert (found.refresh, found.scopes, found.identity, found.kind) == ("", None, "", "Bearer")
    assert "abc" not in repr(found)


def test_an_empty_scope_is_no_scope_and_not_what_was_asked_for() -> None:
    assert oauthanswer.parse_token(200, answer(scope=""), ISSUER).scopes == frozenset()


@pytest.mark.parametrize("status", [201, 204, 302, 400, 401, 500])
def test_errors(status: int) -> None:
    with pytest.raises(OAuthError) as caught:
        oauthanswer.parse_token(status, b'{"error":"invalid_grant","error_description":"\\u001b[2J"}', ISSUER)
    assert caught.value.error == "invalid_grant"
    assert caught.value.message.isprintable()
    with pytest.raises(OAuthError, match=str(status)) as caught:
        oauthanswer.parse_token(status, b"<html>", ISSUER)
    assert caught.value.error == ""


def test_an_error_that_is_none_of_the_protocol_names_nothing_that_is_acted_on() -> None:
    with pytest.raises(OAuthError) as caught:
        oauthanswer.parse_token(400, msgspec.json.encode({"error": "invalid_grant\n"}), ISSUER)
    assert caught.value.error == ""


def test_an_exchange_gives_what_was_asked_for() -> None:
    kind = "urn:ietf:params:oauth:token-type:id-jag"
    body = answer(token_type="N_A", issued_token_type=kind)
    assert oauthanswer.parse_token(200, body, ISSUER, exchange=True).issued == kind
    with pytest.raises(OAuthError):
        oauthanswer.parse_token(200, body, ISSUER)
    with pytest.raises(OAuthError, match="instead of an ID-JAG"):
        oauthanswer.parse_token(200, answer(token_type="N_A", issued_token_type="x"), ISSUER, exchange=True)


@given(st.binary(max_size=200), st.integers(100, 599))
def test_any_bytes_are_read_or_refused(body: bytes, status: int) -> None:
    with pytest.raises(OAuthError) as caught:
        oauthanswer.parse_token(status, body, ISSUER)
    assert caught.value.message.isprintable()


@given(st.text(max_size=200))
def test_any_text_is_a_jwt_or_refused(text: str) -> None:
    with pytest.raises(OAuthError):
        oauthanswer.require_jag(text, ISSUER, ISSUER, "r", "c", 0.0)


def test_an_answer_that_is_too_long() -> None:
    with pytest.raises(OAuthError, match="too much"):
        oauthanswer.parse_token(200, b" " * (limits.OAUTH_METADATA_BYTES + 1), ISSUER)
