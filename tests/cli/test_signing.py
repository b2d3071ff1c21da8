"""Envelopes on their way between people: read, added to, written whole."""

import os

import pytest

from mcpguard.cli import signing
from mcpguard.errors import TrustError
from mcpguard.identity.dsse import IN_TOTO, Envelope, encode_envelope, sign, signed_by
from mcpguard.identity.keys import PrivateKey
from mcpguard.identity.statement import statement

KEYS = [PrivateKey(bytes([number]) * 32) for number in (1, 2)]
PAYLOAD = statement("urn:x", {}, {"a": 1})


def test_a_bare_statement_is_an_envelope_that_nobody_has_signed():
    assert signing.opened(PAYLOAD) == Envelope(IN_TOTO, PAYLOAD)
    envelope = sign(PAYLOAD, KEYS[0])
    assert signing.opened(encode_envelope(envelope)) == envelope
    for bad in (b"{}", b"x", b'{"payload": ""}', b'{"payloadType": 1, "_type": "x"}'):
        with pytest.raises(TrustError):
            signing.opened(bad)


def test_signatures_add_up():
    envelope = signing.with_key(signing.with_key(Envelope(IN_TOTO, PAYLOAD), KEYS[0]), KEYS[1])
    assert signed_by(envelope, [key.public for key in KEYS]) == {key.public.ident for key in KEYS}
    assert signing.with_key(envelope, KEYS[0]) == envelope


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "e.json"
    for envelope in (Envelope(IN_TOTO, PAYLOAD), sign(PAYLOAD, KEYS[0])):
        path.unlink(missing_ok=True)
        signing.write(str(path), envelope)
        assert signing.opened(signing.read(str(path))) == envelope
    with pytest.raises(TrustError, match="is there already"):
        signing.write(str(path), Envelope(IN_TOTO, PAYLOAD))
    signing.write(str(path), Envelope(IN_TOTO, PAYLOAD), replace=True)
    assert path.read_bytes() == PAYLOAD
    assert os.listdir(tmp_path) == ["e.json"]


def test_a_link_at_the_place_of_the_new_file_is_not_followed(tmp_path):
    (tmp_path / "e.json").symlink_to(tmp_path / "target")
    with pytest.raises(TrustError, match="is there already"):
        signing.write(str(tmp_path / "e.json"), Envelope(IN_TOTO, PAYLOAD))
    signing.write(str(tmp_path / "e.json"), Envelope(IN_TOTO, PAYLOAD), replace=True)
    assert not (tmp_path / "target").exists()


def test_a_file_of_any_size_is_read_no_further_than_it_can_be_one(tmp_path):
    (tmp_path / "big").write_bytes(b" " * 1_000_000)
    assert len(signing.read(str(tmp_path / "big"))) == 256 * 1024 + 1
    with pytest.raises(TrustError, match="cannot be read: is a directory"):
        signing.read(str(tmp_path))
