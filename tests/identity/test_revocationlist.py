"""Revocation lists: ours as openssl reads them, and what is refused of others."""

import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.certificates import Span, loaded, pem, read
from mcpguard.identity.revocationlist import REASONS, Entry, make
from mcpguard.identity.revocationlist import pem as list_pem
from mcpguard.identity.revocationlist import read as read_list
from tests.identity.x509made import DAY, NOW, Maker


@pytest.fixture(scope="module")
def ours():
    return Maker()


def openssl(*words, given=b""):
    return subprocess.run(["openssl", *map(str, words)], input=given, capture_output=True, check=False)


def test_there_and_back_and_openssl(ours, tmp_path):
    _, leaf = ours.leaf(["localhost"])
    _, good = ours.leaf(["localhost"])
    entries = [Entry(read(leaf).serial, NOW - 5, "key-compromise"), Entry("2a", NOW - 4)]
    made = make(ours.between, ours.key, 4711, Span(NOW, NOW + DAY), entries)
    found = read_list(made, ours.between, NOW)
    assert (found.number, found.made, found.until) == (4711, NOW, NOW + DAY)
    assert found.revoked == {read(leaf).serial: NOW - 5, "2a": NOW - 4}
    assert read_list(list_pem(made), ours.between, NOW) == found
    shown = openssl("crl", "-inform", "DER", "-noout", "-text", given=made).stdout.decode()
    for words in ("X509v3 CRL Number", "4711", "Key Compromise", "Serial Number: 2A"):
        assert words in shown
    chain = tmp_path / "chain.pem"
    chain.write_bytes(pem([ours.root, ours.between]) + list_pem(made))
    for der, code in ((leaf, 2), (good, 0)):
        at = ["-attime", int(NOW), "-crl_check", "-CAfile", chain]
        said = openssl("verify", *at, given=pem([der]))
        assert said.returncode == code, said


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_written(ours, reason):
    made = make(ours.between, ours.key, 1, Span(NOW, NOW + DAY), [Entry("1", NOW, reason)])
    (one,) = x509.load_der_x509_crl(made)
    kinds = [extension.value for extension in one.extensions]
    assert kinds == ([] if reason == "unspecified" else [x509.CRLReason(REASONS[reason])])


def test_what_is_refused(ours):
    other = Maker("theirs")
    namesake = Maker()
    made = make(ours.between, ours.key, 7, Span(NOW, NOW + DAY), [])
    unnumbered = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(loaded(ours.between).subject)
        .last_update(loaded(ours.between).not_valid_before_utc)
        .next_update(loaded(ours.between).not_valid_after_utc)
        .sign(ours.key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )
    forged = bytearray(made)
    forged[-1] ^= 1
    for data, issuer, now, least, why in [
        (b"", ours.between, NOW, 0, "not a revocation list"),
        (b"\x30" * (limits.CHAIN_BYTES + 1), ours.between, NOW, 0, "not a revocation list"),
        (ours.root, ours.between, NOW, 0, "not a revocation list"),
        (unnumbered, ours.between, NOW, 0, "with a number"),
        (made, other.between, NOW, 0, "not signed by the authority"),
        (made, namesake.between, NOW, 0, "not signed by the authority"),
        (bytes(forged), ours.between, NOW, 0, "not signed by the authority"),
        (made, ours.between, NOW + DAY + 1, 0, "not of now"),
        (made, ours.between, NOW - limits.BACKDATED_SECONDS - 1, 0, "not of now"),
        (made, ours.between, NOW, 8, "went back, from number 8 to 7"),
    ]:
        with pytest.raises(TrustError, match=why) as told:
            read_list(data, issuer, now, least)
        assert told.value.hint
    assert read_list(made, ours.between, NOW, 7).number == 7
