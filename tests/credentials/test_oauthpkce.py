"""PKCE, against the vector of RFC 7636 and authlib."""

import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.credentials.oauthpkce import challenge_of, text_of


def test_the_vector_of_appendix_b() -> None:
    octets = bytes(
        [116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186, 22, 212, 37, 77, 105, 214, 191,
         240, 91, 88, 5, 88, 83, 132, 141, 121]
    )  # fmt: skip
    assert text_of(octets) == "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge_of(text_of(octets)) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@given(st.binary(min_size=32, max_size=96))
def test_a_library_agrees(random: bytes) -> None:
    assert challenge_of(text_of(random)) == create_s256_code_challenge(text_of(random))


def test_too_little_randomness() -> None:
    with pytest.raises(ValueError, match="31 random bytes"):
        text_of(b"x" * 31)
