"""What a host brings back is exactly what it was given, or nothing."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.approvals.seal import SEAL_CHARS, Sealed, seal, unseal

KEY = bytes(range(32))
DIGEST = b"d" * 16
TEXT = seal(KEY, "kmtr12", DIGEST, 5_000_000_000)


def test_what_was_sealed_comes_back():
    assert unseal(KEY, TEXT) == Sealed("kmtr12", DIGEST, 5_000_000_000)


@given(
    st.from_regex(r"[a-z0-9]{1,32}", fullmatch=True),
    st.binary(min_size=16, max_size=64),
    st.integers(0, 2**63),
)
def test_every_ticket_comes_back_in_a_bounded_text(ticket, digest, expires):
    text = seal(KEY, ticket, digest, expires)
    assert unseal(KEY, text) == Sealed(ticket, digest, expires)
    assert text.isascii()
    assert len(text) <= SEAL_CHARS


@given(st.integers(0, len(TEXT) - 1), st.characters(max_codepoint=0x2FF))
def test_one_other_character_makes_it_nothing(place, char):
    other = TEXT[:place] + char + TEXT[place + 1 :]
    assert (unseal(KEY, other) is None) is (other != TEXT)


@given(st.text(max_size=400))
def test_any_other_text_is_nothing(text):
    assert unseal(KEY, text) is None
    assert unseal(KEY, "mcpguard-approval.1." + text) is None


@pytest.mark.parametrize(
    "other",
    [
        "",
        TEXT + "=",
        TEXT + "\n",
        TEXT[:-1],
        TEXT.replace("-", "+").replace("_", "/"),
        TEXT.replace("approval.1", "approval.2"),
        TEXT.upper(),
        TEXT * 2,
        TEXT + "A" * 100_000,
    ],
)
def test_nearly_the_text_is_nothing(other):
    assert unseal(KEY, other) is None


def test_padding_is_part_of_the_text():
    padded = seal(KEY, "kmtr1", DIGEST, 1)
    assert padded.endswith("=")
    assert unseal(KEY, padded) is not None
    assert unseal(KEY, padded.rstrip("=")) is None
    assert unseal(KEY, padded + "=") is None


def test_another_key_is_no_key():
    assert unseal(bytes(32), TEXT) is None
    assert unseal(KEY[:31] + b"x", TEXT) is None
    assert unseal(b"", TEXT) is None


def test_without_a_key_nothing_is_sealed_and_nothing_forged_is_taken():
    """BLAKE2b takes an empty key for none: whoever knows the format could write states then."""
    with pytest.raises(ValueError, match="key"):
        seal(b"", "kmtr12", DIGEST, 1)
    content = (1).to_bytes(8, "big") + bytes([16]) + DIGEST + b"kmtr12"
    mac = hashlib.blake2b(content, digest_size=32, person=b"mcpguard.seal.1").digest()
    forged = "mcpguard-approval.1." + base64.urlsafe_b64encode(mac + content).decode()
    assert len(forged) == len(TEXT)
    assert unseal(b"", forged) is None


def test_content_cannot_be_moved_between_fields():
    longer = seal(KEY, "kmtr12", DIGEST + b"k" * 4, 5_000_000_000)
    raw = base64.urlsafe_b64decode(longer.removeprefix("mcpguard-approval.1."))
    moved = raw[:40] + bytes([raw[40] - 1]) + raw[41:]
    assert unseal(KEY, "mcpguard-approval.1." + base64.urlsafe_b64encode(moved).decode()) is None


@pytest.mark.parametrize("ticket", ["", "a" * 33, "a b", "a.b", "\u00e9"])
def test_what_is_no_ticket_is_a_bug(ticket):
    with pytest.raises(ValueError, match="ident"):
        seal(KEY, ticket, DIGEST, 1)


@pytest.mark.parametrize("digest", [b"", b"d" * 15, b"d" * 65])
def test_what_is_no_digest_is_a_bug(digest):
    with pytest.raises(ValueError, match="digest"):
        seal(KEY, "kmtr12", digest, 1)
