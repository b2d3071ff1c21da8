"""Private keys for files: what opens them, and that none passes for another."""

import msgspec
import pytest

from mcpguard.errors import TrustError
from mcpguard.system.sealedkey import in_clear, opened, under_key, under_passphrase

KEY, COST, SEALING = b"the secret bytes", 2**14, bytes(range(32))


def test_there_and_back():
    assert opened(in_clear(KEY, "a"), "a") == KEY
    assert opened(under_key(KEY, "a", SEALING), "a", sealing=SEALING) == KEY
    assert opened(under_passphrase(KEY, "a", "wörd", COST), "a", passphrase="wörd") == KEY


def test_what_is_sealed_is_nowhere_in_the_file():
    for content in (under_key(KEY, "a", SEALING), under_passphrase(KEY, "a", "word", COST)):
        assert KEY not in msgspec.json.decode(content, type=dict)["data"].encode()
        assert b"dGhlIHNlY3JldCBieXRlcw" not in content
    assert under_key(KEY, "a", SEALING) != under_key(KEY, "a", SEALING)


@pytest.mark.parametrize(
    ("content", "more", "why"),
    [
        (under_passphrase(KEY, "a", "word", COST), {"passphrase": "other"}, "does not open"),
        (under_passphrase(KEY, "a", "word", COST), {}, "no passphrase was given"),
        (under_key(KEY, "a", SEALING), {"sealing": bytes(32)}, "does not open"),
        (under_key(KEY, "a", SEALING), {}, "are locked"),
        (in_clear(KEY, "b"), {}, "is that of another key"),
        (under_key(KEY, "b", SEALING), {"sealing": SEALING}, "is that of another key"),
        (
            under_key(KEY, "b", SEALING).replace(b'"about":"b"', b'"about":"a"'),
            {"sealing": SEALING},
            "does not open",
        ),
        (b"{}", {}, "is damaged"),
        (b"", {}, "is damaged"),
        (in_clear(KEY, "a").replace(b'"version":1', b'"version":2'), {}, "is damaged"),
        (
            under_passphrase(KEY, "a", "w", COST).replace(b"16384", b"33554432"),
            {"passphrase": "w"},
            "is damaged",
        ),
    ],
)
def test_what_does_not_open(content, more, why):
    with pytest.raises(TrustError, match=why) as told:
        opened(content, "a", **more)
    assert told.value.hint


def test_no_empty_passphrase():
    with pytest.raises(TrustError, match="empty passphrase"):
        under_passphrase(KEY, "a", "", COST)
