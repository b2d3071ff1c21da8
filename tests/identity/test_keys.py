"""Keys: which are accepted, under which one name, and what they verify."""

import base64
import contextlib
import pickle
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.keys import (
    ECDSA,
    HARDWARE,
    PLAIN,
    SMALL_ORDER_Y,
    SSH,
    PrivateKey,
    PublicKey,
    Reader,
    parse_public_key,
    parse_wire,
    wire_string,
)
from tests.identity.signing import ORDER, A, B, generated, needs_ssh_keygen, touchable

P = 2**255 - 19
CURVE_D = -121665 * pow(121666, -1, P) % P


def pem(key):
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def line(kind, *fields, comment="who"):
    blob = b"".join(map(wire_string, fields))
    return f"{kind} {base64.b64encode(blob).decode()} {comment}"


def ed25519(data):
    return line(SSH, SSH.encode(), data)


def points_of(y):
    """The points of the curve with this y."""
    square = (y * y - 1) * pow(CURVE_D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    if (root * root - square) % P:
        root = root * pow(2, (P - 1) // 4, P) % P
    return {(root, y % P), (-root % P, y % P)} if (root * root - square) % P == 0 else set()


def add(one, two):
    (a, b), (c, d) = one, two
    twist = CURVE_D * a * b * c * d % P
    return (a * d + b * c) * pow(1 + twist, -1, P) % P, (b * d + a * c) * pow(1 - twist, -1, P) % P


def test_the_table_of_small_order_has_exactly_the_eight_points():
    points = set().union(*map(points_of, SMALL_ORDER_Y))
    assert len(points) == 8
    for point in points:
        eightfold = point
        for _ in range(3):
            eightfold = add(eightfold, eightfold)
        assert eightfold == (0, 1)
    unreduced = {y for y in SMALL_ORDER_Y if y >= P}
    assert unreduced == {y for y in range(P, 2**255) if y - P in SMALL_ORDER_Y}


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", sorted(SMALL_ORDER_Y))
def test_small_order_is_refused_in_every_encoding(y, sign):
    data = (y | sign << 255).to_bytes(32, "little")
    for text in (ed25519(data), line(HARDWARE, HARDWARE.encode(), data, b"ssh:")):
        with pytest.raises(TrustError, match="small order"):
            parse_public_key(text)
    der = bytes.fromhex("302a300506032b6570032100") + data
    text = f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(der).decode()}\n-----END PUBLIC KEY-----\n"
    with pytest.raises(TrustError, match="small order"):
        parse_public_key(text)


def test_why_small_order_is_refused():
    neutral = (1).to_bytes(32, "little")
    forged = neutral + bytes(32)
    assert all(PublicKey(PLAIN, neutral).verifies(forged, message) for message in (b"one", b"another"))


@pytest.mark.parametrize("y", [*range(P + 2, 2**255)])
def test_an_unreduced_key_is_refused(y):
    with pytest.raises(TrustError, match="canonical"):
        parse_public_key(ed25519(y.to_bytes(32, "little")))


def test_one_key_has_one_ident_however_it_is_spelled():
    plain = parse_public_key(pem(Ed25519PrivateKey.from_private_bytes(A.raw()).public_key()))
    written = parse_public_key(A.public.line())
    assert (plain.kind, written.kind) == (PLAIN, SSH)
    assert plain.ident == written.ident == A.public.ident
    assert plain.wire() == written.wire()
    assert plain.line() == written.line()
    assert plain.ident != B.public.ident
    assert plain.ident != touchable(A).ident


@needs_ssh_keygen
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_the_ident_is_what_ssh_keygen_prints(tmp_path, kind):
    path, text = generated(tmp_path, kind)
    key = parse_public_key(text)
    shown = subprocess.run(["ssh-keygen", "-l", "-f", path], capture_output=True, text=True, check=True)
    assert key.ident == shown.stdout.split()[1]
    assert key.line() == text.strip()
    assert key.comment == "somebody"
    assert parse_public_key(key.line()) == key


@needs_ssh_keygen
def test_a_line_of_a_security_key_is_what_ssh_keygen_reads(tmp_path):
    key = touchable(A)
    (tmp_path / "sk.pub").write_text(key.line() + "\n")
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", tmp_path / "sk.pub"], capture_output=True, text=True, check=True
    )
    assert key.ident == shown.stdout.split()[1]
    assert parse_public_key(key.line()) == key


POINT = ec.generate_private_key(ec.SECP256R1()).public_key()
UNCOMPRESSED = POINT.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
COMPRESSED = POINT.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
OFF_CURVE = UNCOMPRESSED[:-1] + bytes([UNCOMPRESSED[-1] ^ 1])
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE_PEM = RSA.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
LINE = A.public.line()

REFUSED = {
    "nothing": ("", "keys of kind|not a public key"),
    "prose": ("not a key", "not a public key"),
    "RSA as PEM": (pem(RSA.public_key()), "RSA"),
    "RSA as a line": (line("ssh-rsa", b"ssh-rsa", b"\x01\x00\x01", b"\x00" + b"\xff" * 256), "ssh-rsa"),
    "DSA": (pem(dsa.generate_private_key(1024).public_key()), "DSA"),
    "Ed448": (pem(ed448.Ed448PrivateKey.generate().public_key()), "Ed448"),
    "X25519": (pem(x25519.X25519PrivateKey.generate().public_key()), "X25519"),
    "P-256 as PEM": (pem(POINT), "OpenSSH line"),
    "P-384": (line("ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp384", b"nistp384", b"\x04"), "nistp384"),
    "P-256 with the name of another curve": (
        line(ECDSA, ECDSA.encode(), b"nistp384", UNCOMPRESSED),
        "nistp384",
    ),
    "P-256, compressed": (line(ECDSA, ECDSA.encode(), b"nistp256", COMPRESSED), "not a point"),
    "P-256, not on the curve": (line(ECDSA, ECDSA.encode(), b"nistp256", OFF_CURVE), "not a point"),
    "a security key for P-256": (line("sk-ecdsa-sha2-nistp256@openssh.com", b"sk-ecdsa"), "sk-ecdsa"),
    "a security key for another application": (
        line(HARDWARE, HARDWARE.encode(), A.public.data, b"ssh:work"),
        "application",
    ),
    "a private key": (PRIVATE_PEM, "private key"),
    "an OpenSSH private key": (
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
        "private key",
    ),
    "a certificate": ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "PEM"),
    "two keys as PEM": (pem(RSA.public_key()) * 2, "printable line"),
    "two lines": (f"{LINE}\n{B.public.line()}", "printable line"),
    "options before the key": (f"no-pty {LINE}", "not a public key"),
    "another kind before the key": (LINE.replace("ssh-ed25519", "ssh-rsa", 1), "the line says"),
    "31 bytes": (ed25519(A.public.data[:31]), "32 bytes"),
    "33 bytes": (ed25519(A.public.data + b"\0"), "32 bytes"),
    "trailing bytes": (line(SSH, SSH.encode(), A.public.data, b"more"), "trailing"),
    "cut short": (f"ssh-ed25519 {base64.b64encode(A.public.wire()[:40]).decode()}", "cut short"),
    "no padding": (line(SSH, b"ssh-ed25519", A.public.data, b"a").split("=", maxsplit=1)[0], "not a public key|trailing"),
    "too long": (LINE + " " + "x" * limits.KEY_TEXT_CHARS, "too long"),
    "a control character": (f"{LINE} \x1b[31m", "printable"),
    "an override character": (f"{LINE} \u202e", "printable"),
    "half a character": ("ssh-ed25519 \ud800", "printable"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_other_keys_are_refused_with_the_next_step(name):
    text, message = REFUSED[name]
    with pytest.raises(TrustError, match=message) as caught:
        parse_public_key(text)
    assert caught.value.hint
    assert caught.value.sentence().isprintable()


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_key_or_a_trust_error(data):
    with contextlib.suppress(TrustError):
        parse_wire(data)
    with contextlib.suppress(TrustError):
        parse_public_key(data.decode("latin-1"))
    with contextlib.suppress(TrustError):
        parse_public_key(f"ssh-ed25519 {base64.b64encode(data).decode()}")
    with contextlib.suppress(TrustError):
        body = base64.b64encode(data).decode()
        parse_public_key(f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")


@given(st.text())
def test_arbitrary_text_is_a_key_or_a_trust_error(text):
    with contextlib.suppress(TrustError):
        parse_public_key(text)


@given(st.binary(min_size=32, max_size=32), st.binary(), st.integers(0, 511))
def test_a_key_verifies_what_it_signed_and_nothing_else(seed, message, bit):
    key = PrivateKey(seed)
    signature = key.sign(message)
    assert key.public.verifies(signature, message)
    assert not key.public.verifies(signature, message + b"\0")
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not key.public.verifies(bytes(flipped), message)


def test_a_signature_has_one_form():
    signature = A.sign(b"message")
    s = int.from_bytes(signature[32:], "little")
    for other in range(s + ORDER, 2**256, ORDER):
        assert not A.public.verifies(signature[:32] + other.to_bytes(32, "little"), b"message")
    for other in (b"", signature[:-1], signature + b"\0"):
        assert not A.public.verifies(other, b"message")


def test_p256_verifies_r_and_s():
    private = ec.generate_private_key(ec.SECP256R1())
    data = private.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    r, s = decode_dss_signature(private.sign(b"message", ec.ECDSA(SHA256())))
    key, signature = PublicKey(ECDSA, data), r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert key.verifies(signature, b"message")
    assert not key.verifies(signature, b"other")
    assert not key.verifies(bytes(64), b"message")
    assert not key.verifies(b"\xff" * 64, b"message")


def test_a_private_key_shows_nothing_of_itself():
    for text in (repr(A), str(A), f"{A}"):
        assert text == f"PrivateKey({A.public.ident})"
    assert PrivateKey(A.raw()).public == A.public
    with pytest.raises(TypeError):
        pickle.dumps(A)
    assert not hasattr(A, "__dict__")


def test_the_reader_refuses_to_read_beyond_the_end():
    reader = Reader(b"\0\0\0\x02ab\x01", "it")
    assert reader.string() == b"ab"
    with pytest.raises(TrustError, match="it has trailing bytes"):
        reader.end()
    with pytest.raises(TrustError, match="it is cut short"):
        reader.number()
    assert reader.take(1) == b"\x01"
    reader.end()
