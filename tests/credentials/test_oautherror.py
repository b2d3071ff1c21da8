"""Texts of others in sentences."""

from hypothesis import given
from hypothesis import strategies as st

from mcpguard.credentials.oautherror import OAuthError, shown
from mcpguard.errors import UpstreamError


@given(st.text(max_size=2000))
def test_a_text_of_others_is_short_and_visible(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown(text)) < 2600


def test_a_long_text_is_cut() -> None:
    assert shown("x" * 1000) == f"'{'x' * 200}...'"


def test_it_is_an_error_of_the_server() -> None:
    error = OAuthError("no", error="invalid_grant", hint="do")
    assert isinstance(error, UpstreamError)
    assert (error.code, error.sentence()) == (125, "no: do")
