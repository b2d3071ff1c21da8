"""SSHSIG: what ssh-keygen makes is read, what we hash is what it hashes, and everything doubtful is refused."""

import base64
import contextlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.keys import ECDSA, HARDWARE, SSH, PublicKey, parse_public_key, wire_string
from mcpguard.identity.sshsig import (
    MAGIC,
    NAMESPACE,
    looks_like,
    message_to_sign,
    parse_sshsig,
    sign_command,
    verify_sshsig,
)
from tests.identity.signing import (
    A,
    B,
    armour,
    blob,
    generated,
    needs_ssh_keygen,
    rsa_sha1,
    ssh,
    ssh_signed,
    ssh_verifies,
    sshsig,
    touchable,
    touched,
)

MESSAGE = b"DSSEv1 4 type 7 payload"
VALID = sshsig(A, MESSAGE)
INNER = wire_string(SSH.encode()) + wire_string(A.sign(message_to_sign(MESSAGE, NAMESPACE, "sha512")))
WIRE = A.public.wire()


def mpint(number):
    return wire_string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def p256():
    private = ec.generate_private_key(ec.SECP256R1())
    point = private.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    return private, PublicKey(ECDSA, point)


def p256_signed(private, key, r_form=mpint, s_form=mpint, rest=b""):
    der = private.sign(message_to_sign(MESSAGE, NAMESPACE, "sha512"), ec.ECDSA(SHA256()))
    r, s = decode_dss_signature(der)
    raw = r_form(r) + s_form(s) + rest
    return blob(key.wire(), wire_string(ECDSA.encode()) + wire_string(raw))


@needs_ssh_keygen
@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_what_ssh_keygen_signs_verifies(tmp_path, kind, hash_name):
    path, text = generated(tmp_path, kind)
    key = parse_public_key(text)
    armoured = ssh_signed(tmp_path, path, MESSAGE, NAMESPACE, "-O", f"hashalg={hash_name}")
    assert looks_like(armoured)
    assert parse_sshsig(armoured).hash_name == hash_name
    assert verify_sshsig(armoured, MESSAGE).ident == key.ident
    assert verify_sshsig(armoured.replace(b"\n", b"\r\n"), MESSAGE).ident == key.ident
    with pytest.raises(TrustError, match="not over this content"):
        verify_sshsig(armoured, MESSAGE + b"\n")


@needs_ssh_keygen
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_what_ssh_keygen_signs_for_another_namespace_is_refused(tmp_path, kind):
    path, _ = generated(tmp_path, kind)
    with pytest.raises(TrustError, match="for 'file', not for 'manifest@mcpguard'"):
        verify_sshsig(ssh_signed(tmp_path, path, MESSAGE, "file"), MESSAGE)


@needs_ssh_keygen
def test_what_ssh_keygen_signs_with_rsa_is_refused(tmp_path):
    path, _ = generated(tmp_path, "rsa")
    with pytest.raises(TrustError, match="ssh-rsa"):
        verify_sshsig(ssh_signed(tmp_path, path, MESSAGE), MESSAGE)


@needs_ssh_keygen
def test_the_command_is_the_one_that_signs(tmp_path):
    path, text = generated(tmp_path, "ed25519")
    armoured = ssh_signed(tmp_path, path, MESSAGE)
    file = next(tmp_path.glob("message-*[!g]"))
    assert sign_command(str(path), str(file)) == (
        "ssh-keygen", "-Y", "sign", "-n", "manifest@mcpguard", "-f", str(path), str(file),
    )  # fmt: skip
    assert verify_sshsig(armoured, file.read_bytes()).ident == parse_public_key(text).ident


@needs_ssh_keygen
@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
def test_ssh_keygen_verifies_what_we_hash(tmp_path, hash_name):
    signature = sshsig(A, MESSAGE, hash_name=hash_name)
    assert verify_sshsig(signature, MESSAGE).ident == A.public.ident
    assert ssh_verifies(tmp_path, A.public, signature, MESSAGE)
    assert not ssh_verifies(tmp_path, A.public, signature, MESSAGE + b"\n")
    assert not ssh_verifies(tmp_path, B.public, signature, MESSAGE)
    assert not ssh_verifies(tmp_path, A.public, sshsig(A, MESSAGE, "file"), MESSAGE)


@needs_ssh_keygen
@pytest.mark.parametrize("flags", [0x01, 0x05])
def test_ssh_keygen_verifies_what_we_hash_for_a_security_key(tmp_path, flags):
    signature = touched(A, MESSAGE, flags)
    assert verify_sshsig(signature, MESSAGE).ident == touchable(A).ident
    assert ssh_verifies(tmp_path, touchable(A), signature, MESSAGE)


def test_a_security_key_must_have_been_touched():
    assert verify_sshsig(touched(A, MESSAGE), MESSAGE) == touchable(A)
    for flags in (0x00, 0x04):
        with pytest.raises(TrustError, match="without being touched"):
            verify_sshsig(touched(A, MESSAGE, flags), MESSAGE)


@pytest.mark.parametrize("place", [-5, -1])
def test_flags_and_counter_of_a_security_key_are_signed(place):
    changed = bytearray(touched(A, MESSAGE))
    changed[place] ^= 0x04
    with pytest.raises(TrustError, match="not over this content"):
        verify_sshsig(bytes(changed), MESSAGE)


def test_a_security_key_and_a_plain_key_do_not_sign_for_each_other():
    plain = wire_string(HARDWARE.encode()) + wire_string(
        A.sign(message_to_sign(MESSAGE, NAMESPACE, "sha512"))
    )
    with pytest.raises(TrustError, match="not over this content"):
        verify_sshsig(blob(touchable(A).wire(), plain + b"\x01" + bytes(4)), MESSAGE)


def test_p256_verifies():
    private, key = p256()
    assert verify_sshsig(p256_signed(private, key), MESSAGE) == key


@pytest.mark.parametrize(
    ("form", "rest"),
    [
        (lambda number: wire_string(b"\0\0" + number.to_bytes(32, "big")), b""),
        (lambda number: wire_string(b"\xff" + number.to_bytes(32, "big")), b""),
        (lambda number: mpint(number << 256), b""),
        (lambda _: mpint(0), b""),
        (lambda _: wire_string(b""), b""),
        (mpint, b"\0"),
    ],
)
def test_p256_numbers_have_one_form(form, rest):
    private, key = p256()
    for forms in ({"r_form": form}, {"s_form": form}):
        with pytest.raises(TrustError, match=r"one form|trailing"):
            verify_sshsig(p256_signed(private, key, **forms, rest=rest), MESSAGE)


LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
LAST = armour(VALID).index(b"=") - 1
STRAY = bytearray(armour(VALID))
STRAY[LAST] = LETTERS[LETTERS.index(STRAY[LAST]) + 1]
"""An armour that lax readers take for that of the valid signature: its last letter has bits that count for nothing."""

REFUSED = {
    "another namespace": (sshsig(A, MESSAGE, "file"), "for 'file'"),
    "no namespace": (sshsig(A, MESSAGE, ""), "for ''"),
    "the reserved field is used": (blob(WIRE, INNER, reserved=b"x"), "reserved"),
    "SHA-1": (blob(WIRE, INNER, hash_name="sha1"), "sha1"),
    "RSA with SHA-1": (rsa_sha1(MESSAGE), "ssh-rsa"),
    "the signature says RSA": (blob(WIRE, wire_string(b"rsa-sha2-512") + wire_string(bytes(64))), "rsa-sha2"),
    "a hash that was not signed": (blob(WIRE, INNER, hash_name="sha256"), "not over this content"),
    "version 2": (blob(WIRE, INNER, version=2), "version 2"),
    "another magic": (b"SSHSIH" + VALID[6:], "not an SSH signature"),
    "trailing bytes": (VALID + b"\0", "trailing"),
    "trailing bytes inside": (blob(WIRE, INNER + b"\0"), "trailing"),
    "flags of a key that has none": (blob(WIRE, INNER + b"\x01" + bytes(4)), "trailing"),
    "63 bytes": (blob(WIRE, INNER[:-68] + wire_string(INNER[-64:-1])), "not over"),
    "nothing": (b"", "cut short"),
    "another key": (blob(B.public.wire(), INNER), "not over this content"),
    "small order": (
        blob(wire_string(SSH.encode()) + wire_string(bytes([1]) + bytes(31)), INNER),
        "small order",
    ),
    "too large": (VALID + bytes(limits.SSHSIG_BYTES), "too large"),
    "an armour without an end": (armour(VALID).rpartition(b"-----END")[0], "armour"),
    "an armour with something behind it": (armour(VALID) + b"more\n", "armour"),
    "an armour around something else": (armour(b"SSHSIG"), "cut short"),
    "an armour with spaces": (armour(VALID).replace(b"U1NI", b"U1NI ", 1), "armour"),
    "an armour of one line": (b"-----BEGIN SSH SIGNATURE-----", "armour"),
    "an armour with stray bits": (STRAY, "armour"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_signatures_are_refused_with_the_next_step(name):
    data, message = REFUSED[name]
    with pytest.raises(TrustError, match=message) as caught:
        verify_sshsig(data, MESSAGE)
    assert caught.value.hint
    assert caught.value.sentence().isprintable()


def test_a_signature_is_taken_apart():
    found = parse_sshsig(armour(touched(A, MESSAGE, 0x05, 9)))
    assert (found.key, found.namespace, found.hash_name) == (touchable(A), NAMESPACE, "sha512")
    assert (len(found.raw), found.flags, found.counter) == (64, 0x05, 9)
    assert parse_sshsig(VALID).key == ssh(A.public)
    assert VALID.startswith(MAGIC)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_a_signature_or_a_trust_error(data):
    for text in (data, MAGIC + data, armour(data), b"-----BEGIN SSH SIGNATURE-----\n" + data):
        with contextlib.suppress(TrustError):
            parse_sshsig(text)


@given(
    st.sampled_from([VALID, touched(A, MESSAGE), p256_signed(*p256())]), st.integers(0), st.integers(1, 255)
)
def test_no_byte_of_a_signature_can_be_changed(data, place, change):
    changed = bytearray(data)
    changed[place % len(data)] ^= change
    with pytest.raises(TrustError):
        verify_sshsig(bytes(changed), MESSAGE)


def test_lax_readers_would_take_stray_bits():
    body = bytes(STRAY).splitlines()[1:-1]
    assert base64.b64decode(b"".join(body)) == VALID
