"""Keys with known seeds, and signatures of every kind made by hand: what the tests of trust share."""

import base64
import hashlib
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from mcpguard.identity.keys import HARDWARE, PrivateKey, PublicKey, wire_string
from mcpguard.identity.sshsig import NAMESPACE, hardware_message, message_to_sign

needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")

A, B, C, D = (PrivateKey(bytes([number]) * 32) for number in range(1, 5))
"""Four private keys."""

ORDER = 2**252 + 27742317777372353535851937790883648493
"""Order of Ed25519's base point: what a canonical S is below."""


def ssh(key):
    """The same key as an OpenSSH line says it."""
    return PublicKey("ssh-ed25519", key.data)


def touchable(private):
    """A security key, in software: the public key that an OpenSSH line of it gives."""
    return PublicKey(HARDWARE, private.public.data)


def blob(
    key, inner, namespace=NAMESPACE, *, reserved=b"", hash_name="sha512", version=1, magic=b"SSHSIG", rest=b""
):
    """An SSHSIG around a signature; `key` is a wire form."""
    fields = (key, namespace.encode(), reserved, hash_name.encode(), inner)
    return magic + version.to_bytes(4, "big") + b"".join(map(wire_string, fields)) + rest


def armour(data):
    """As `ssh-keygen -Y sign` writes it."""
    text = base64.b64encode(data).decode()
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]).encode()


def sshsig(private, message, namespace=NAMESPACE, hash_name="sha512"):
    """An SSHSIG of an Ed25519 key."""
    raw = private.sign(message_to_sign(message, namespace, hash_name))
    inner = wire_string(b"ssh-ed25519") + wire_string(raw)
    return blob(private.public.wire(), inner, namespace, hash_name=hash_name)


def touched(private, message, flags=0x01, counter=7, namespace=NAMESPACE):
    """An SSHSIG of a security key that was touched, or not."""
    raw = private.sign(hardware_message(message_to_sign(message, namespace, "sha512"), flags, counter))
    inner = wire_string(HARDWARE.encode()) + wire_string(raw) + bytes([flags]) + counter.to_bytes(4, "big")
    return blob(touchable(private).wire(), inner, namespace)


def rsa_sha1(message):
    """An SSHSIG of an RSA key over SHA-1, as OpenSSH of old would have made it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    numbers = key.public_key().public_numbers()
    n = numbers.n.to_bytes(257, "big")
    wire = wire_string(b"ssh-rsa") + wire_string(b"\x01\x00\x01") + wire_string(n)
    signed = message_to_sign(message, NAMESPACE, "sha512")
    raw = key.sign(signed, padding.PKCS1v15(), hashes.SHA1())
    return blob(wire, wire_string(b"ssh-rsa") + wire_string(raw))


def generated(directory, kind):
    """Path of a new key pair of `ssh-keygen`, and its public line."""
    path = directory / f"id_{kind}"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "somebody", "-f", path], check=True, timeout=60
    )
    return path, path.with_name(path.name + ".pub").read_text()


def ssh_signed(directory, path, message, namespace=NAMESPACE, *options):
    """What `ssh-keygen -Y sign` writes for a message."""
    file = directory / f"message-{hashlib.sha256(message + namespace.encode()).hexdigest()[:8]}"
    signature = file.with_name(file.name + ".sig")
    file.write_bytes(message)
    signature.unlink(missing_ok=True)
    command = ["ssh-keygen", "-Y", "sign", "-n", namespace, *options, "-f", path, file]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return signature.read_bytes()


def ssh_verifies(directory, public, signature, message, namespace=NAMESPACE):
    """Whether `ssh-keygen -Y verify` accepts a signature of this key."""
    (directory / "allowed").write_text(f"somebody {public.line()}\n")
    (directory / "sig").write_bytes(armour(signature))
    command = ["ssh-keygen", "-Y", "verify", "-f", directory / "allowed", "-I", "somebody", "-n", namespace]
    done = subprocess.run(
        [*command, "-s", directory / "sig"], input=message, capture_output=True, timeout=60, check=False
    )
    return done.returncode == 0
