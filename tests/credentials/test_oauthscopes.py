"""What is asked for."""

import pytest

from mcpguard.credentials.oautherror import OAuthError
from mcpguard.credentials.oauthscopes import choose, offline, parse_scopes, write_scopes

A, B, C, NONE = frozenset("a"), frozenset("b"), frozenset("c"), frozenset[str]()


def test_the_challenge_comes_first_then_the_operator_then_the_list() -> None:
    assert choose(A, B, ["c"], NONE) == A
    assert choose(NONE, B, ["c"], NONE) == B
    assert choose(NONE, NONE, ["c"], NONE) == C
    assert choose(NONE, NONE, [], NONE) == NONE


def test_what_there_was_stays() -> None:
    assert choose(A, NONE, [], B) == A | B


def test_refresh_tokens_are_asked_for_where_that_is_known() -> None:
    assert offline(A, ["offline_access"]) == A | {"offline_access"}
    assert offline(A, []) == A


def test_lists() -> None:
    assert parse_scopes("b a  a") == A | B
    assert parse_scopes("") == NONE
    assert write_scopes(parse_scopes("b a")) == "a b"
    assert parse_scopes("https://x/y.z:w") == {"https://x/y.z:w"}


@pytest.mark.parametrize("text", ['a"', "a\\", "a\tb", "a\n", "é", "x" * 257, " ".join(map(str, range(200)))])
def test_what_is_no_scope(text: str) -> None:
    with pytest.raises(OAuthError):
        parse_scopes(text)
