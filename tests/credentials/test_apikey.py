"""API keys: how they look, what is kept, and what a stranger learns from a refusal."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.audit import looks, record
from mcpguard.audit.redact import Redactor
from mcpguard.credentials import apikey
from mcpguard.credentials.apikey import ApiKey, Secret
from mcpguard.errors import PeerError

NOW = 1_800_000_000.0
TEXT = apikey.write("abcdefghjk", bytes(range(32)))


def key(text: str = TEXT, **more: object) -> ApiKey:
    return ApiKey("abcdefghjk", "ci", (Secret(apikey.digest(text), NOW),), NOW, **more)  # type: ignore[arg-type]


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=8, max_size=8))
def test_what_is_written_is_read_and_hidden(secret: bytes, ident: bytes) -> None:
    text = apikey.write(apikey.identifier(ident), secret)
    assert re.fullmatch(r"mcpg_[a-z0-9]{10}_[0-9A-Za-z]{49}", text)
    assert apikey.parse(text) == apikey.identifier(ident)
    for around in (f"key={text}", f"see {text}.", f'{{"a":"{text}"}}', f"Authorization: Bearer {text}", text):
        assert text.rpartition("_")[2] not in Redactor(b"k" * 32).text(around)
        assert looks.find(around.encode())


@given(st.binary(min_size=8, max_size=8))
def test_an_id_is_readable_in_records(ident: bytes) -> None:
    """`key:ID` is who did something: it must not be taken for a secret behind the word `key`."""
    text = f"key:{apikey.identifier(ident)}"
    assert Redactor(b"k" * 32).text(text) == text
    assert record.encode({"principal": text}) == b'{"principal":"%b"}' % text.encode()


@given(st.integers(0, len(TEXT) - 1), st.sampled_from("0aZ_-"))
def test_one_changed_character_is_a_mistyped_key_or_none(place: int, char: str) -> None:
    text = TEXT[:place] + char + TEXT[place + 1 :]
    if text != TEXT:
        with pytest.raises(PeerError):
            apikey.parse(text)


@pytest.mark.parametrize(
    "text", ["", "mcpg_", TEXT + "a", TEXT[:-1], TEXT + "\n", "ghp_" + "a" * 40, TEXT.upper()]
)
def test_what_is_no_key_is_not_repeated(text: str) -> None:
    with pytest.raises(PeerError) as caught:
        apikey.parse(text)
    assert len(text) < 6 or text not in caught.value.sentence()


def test_256_bits_are_in_it_and_none_in_what_is_kept() -> None:
    assert 62**43 > 2**256 > 62**42
    assert TEXT.rpartition("_")[2] not in msgspec.json.encode(key()).decode()
    assert apikey.write("a" * 10, b"\xff" * 32) != apikey.write("a" * 10, b"\xff" * 31 + b"\xfe")


def test_a_stranger_learns_nothing_about_ids_bindings_and_times() -> None:
    other = apikey.write("abcdefghjk", b"x" * 32)
    said = set()
    for kept in (None, key(), key(expires=NOW - 1), key(revoked=NOW - 1), key(uids=(1,))):
        with pytest.raises(PeerError) as caught:
            apikey.recognised(kept, other, NOW)
        said.add(caught.value.sentence())
    assert len(said) == 1


def test_every_comparison_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """An id that is not known costs as many comparisons as one that is, and each is in constant time."""
    made: list[int] = []
    real = apikey.hmac.compare_digest
    monkeypatch.setattr(apikey.hmac, "compare_digest", lambda a, b: made.append(1) or real(a, b))
    counts = []
    for kept in (None, key(), apikey.rotated(key(), Secret("0" * 64, NOW), 60)):
        made.clear()
        with pytest.raises(PeerError):
            apikey.recognised(kept, apikey.write("abcdefghjk", b"x" * 32), NOW)
        counts.append(len(made))
    assert counts == [apikey.SECRETS] * 3


def test_it_ends_when_it_is_said_and_not_before() -> None:
    apikey.require_usable(key(expires=NOW + 1), NOW, None, "", "")
    with pytest.raises(PeerError, match="has expired"):
        apikey.require_usable(key(expires=NOW), NOW, None, "", "")
    with pytest.raises(PeerError, match="is revoked"):
        apikey.require_usable(key(revoked=NOW - 5), NOW, None, "", "")


def test_rotation_twice_leaves_the_newest_and_the_one_before() -> None:
    second, third = Secret("1" * 64, NOW + 10), Secret("2" * 64, NOW + 20)
    once = apikey.rotated(key(), second, 3600)
    twice = apikey.rotated(once, third, 3600)
    assert [each.digest[:1] for each in twice.secrets[:2]] == ["2", "1"]
    assert twice.secrets[1].until == NOW + 3620
    assert apikey.rotated(key(), second, 0).secrets == (second,)
    assert apikey.expiry(twice, twice.secrets[1]) == NOW + 3620
    shown = apikey.digest(TEXT)[: apikey.DIGITS]
    apikey.still(once, shown, NOW + 10)
    for gone, at in ((twice, NOW + 20), (once, NOW + 3611), (None, NOW)):
        with pytest.raises(PeerError):
            apikey.still(gone, shown, at)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"networks": ("10.0.0.0/33",)}, "is not a network"),
        ({"networks": ("10.0.0.1/8",)}, "is not a network"),
        ({"networks": ("home",)}, "is not a network"),
        ({"certificates": ("AB" * 32,)}, "SHA-256"),
        ({"certificates": ("ab",)}, "SHA-256"),
        ({"uids": (-1,)}, "user id"),
        ({"uids": (2**32 - 1,)}, "user id"),
        ({"networks": ("10.0.0.0/8", "::/0"), "uids": (0,), "certificates": ("ab" * 32,)}, ""),
    ],
)
def test_bindings_that_could_never_hold_are_found(more: dict[str, object], words: str) -> None:
    what = apikey.flaw(key(**more))
    assert words in what
    assert bool(words) == bool(what)


def test_all_bindings_must_hold() -> None:
    bound = key(uids=(7,), certificates=("ab" * 32,))
    apikey.require_usable(bound, NOW, 7, "ab" * 32, "")
    for uid, certificate in ((8, "ab" * 32), (7, "cd" * 32), (None, "ab" * 32), (7, "")):
        with pytest.raises(PeerError):
            apikey.require_usable(bound, NOW, uid, certificate, "")
