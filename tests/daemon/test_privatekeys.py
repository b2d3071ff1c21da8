"""Private keys: P-256 and nothing else; what seals them."""

import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mcpguard.daemon.privatekeys import der, load_key, load_pem_key, new_key, seal
from mcpguard.errors import TrustError
from mcpguard.system import sealedkey
from mcpguard.system.certstore import LOCK, ROOT


def test_there_and_back():
    key = new_key()
    assert load_key(der(key)).private_numbers() == key.private_numbers()


def test_keys_of_openssl_encrypted_or_not(tmp_path):
    made = subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes-256-cbc", "-pass", "pass:w"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    key = load_pem_key(made, "w")
    plain = subprocess.run(
        ["openssl", "pkey", "-passin", "pass:w"], input=made, capture_output=True, check=True
    ).stdout
    assert load_pem_key(plain, "").private_numbers() == key.private_numbers()
    assert load_pem_key(plain, "ignored").private_numbers() == key.private_numbers()
    for data, words in ((made, "x"), (made, ""), (b"", ""), (plain[:-40], "")):
        with pytest.raises(TrustError, match="cannot be read"):
            load_pem_key(data, words)


@pytest.mark.parametrize(
    "other", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)]
)
def test_other_kinds_are_refused(other):
    data = other.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(TrustError, match="not on P-256"):
        load_key(data)
    with pytest.raises(TrustError, match="cannot be read"):
        load_key(data[:-1])


def test_what_is_sealed():
    both = seal("word", 2**14, root=True, lock=True)
    assert sealedkey.opened(both.root_file, ROOT, passphrase="word") == both.root
    assert sealedkey.opened(both.lock_file, LOCK, passphrase="word") == both.sealing
    load_key(both.root)
    nothing = seal("", 2**14, root=False, lock=False)
    assert (nothing.root, nothing.root_file, nothing.sealing, nothing.lock_file) == (b"",) * 4
    for what in ({"root": True, "lock": False}, {"root": False, "lock": True}):
        with pytest.raises(TrustError, match="empty passphrase"):
            seal("", 2**14, **what)
