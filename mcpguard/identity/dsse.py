"""DSSE: a payload, its type, and signatures over exactly these bytes.

Rule 1. A signature is over `pae(type, payload)`, the decoded bytes. Whoever has verified an envelope keeps its
payload and never opens the envelope again.
Rule 2. `keyid` only narrows the search. A key counts once, however many signatures or key ids name it.
Rule 3. An entry that does not verify is ignored, one that is malformed refuses the envelope.
Rule 4. Base64 is read in either alphabet, strictly: one alphabet in one text, padded, no whitespace, no stray bits.

An entry is either 64 bytes of Ed25519, or an SSHSIG (armoured or not) over the same bytes in our namespace.

Cost: an entry that a key made 0.14 ms, of which nobody is named 0.14 ms for each key; the worst envelope, 16 entries
of nobody over 190 KB and 128 keys, 0.7 s (CPython 3.11, a 2-core virtual machine).

Source: DSSE v1.0.2, protocol.md and envelope.md; in-toto attestation framework.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity import sshsig
from mcpguard.identity.keys import PLAIN, SSH, PrivateKey, PublicKey
from mcpguard.identity.statement import parse_json
from mcpguard.model import Json

IN_TOTO: Final = "application/vnd.in-toto+json"
"""Payload type of every envelope of ours."""

_AGAIN: Final = "get the file again from who signed it"


class Signature(msgspec.Struct, frozen=True):
    """One entry of an envelope. Nothing in it is verified.

    Attributes:
        keyid: Who is said to have signed; a hint, empty if there is none.
        sig: 64 bytes of Ed25519, or an SSHSIG.
    """

    keyid: str
    sig: bytes


class Envelope(msgspec.Struct, frozen=True):
    """A payload and signatures that claim to be over it. Nothing in it is verified.

    Attributes:
        payload_type: How the payload is to be read; part of what is signed.
        payload: The bytes.
        signatures: At most `limits.SIGNATURES`; none while it is being signed.
    """

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...] = ()


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def digest(payload: bytes) -> str:
    """`sha256:` and hex of a payload: the name of exactly this document."""
    return "sha256:" + hashlib.sha256(payload).hexdigest()


def parse_envelope(data: bytes) -> Envelope:
    """Read an envelope. Unknown members are ignored.

    Not here: whether any signature verifies, and whether the payload's type is one that the caller reads.

    Raises:
        TrustError: It is too large, not strict JSON, not an envelope, or not signed at all.
    """
    if len(data) > limits.ENVELOPE_BYTES:
        raise TrustError(
            f"the envelope is larger than {limits.ENVELOPE_BYTES // limits.KIB} KiB", hint=_AGAIN
        )
    value = parse_json(data, "the envelope")
    payload_type, entries = value.get("payloadType"), value.get("signatures")
    if not isinstance(payload_type, str):
        raise TrustError("the envelope does not say what its payload is", hint=_AGAIN)
    if not isinstance(entries, list) or not entries:
        raise TrustError("the envelope has no signature", hint="sign it with `mcpguard sign FILE`")
    if len(entries) > limits.SIGNATURES:
        raise TrustError(f"the envelope has more than {limits.SIGNATURES} signatures", hint=_AGAIN)
    payload = _decode(value.get("payload"), "payload")
    return Envelope(payload_type, payload, tuple(_entry(entry) for entry in entries))


def encode_envelope(envelope: Envelope) -> bytes:
    """The envelope as a file holds it: JSON in one line.

    Raises:
        TrustError: Nobody could read it: it is too large.
    """
    data = msgspec.json.encode(
        {
            "payloadType": envelope.payload_type,
            "payload": base64.b64encode(envelope.payload).decode(),
            "signatures": [
                {"keyid": entry.keyid, "sig": base64.b64encode(entry.sig).decode()}
                for entry in envelope.signatures
            ],
        }
    )
    if len(data) > limits.ENVELOPE_BYTES:
        raise TrustError(
            f"the envelope would be larger than {limits.ENVELOPE_BYTES // limits.KIB} KiB",
            hint="describe less in one document",
        )
    return data


def signed_by(envelope: Envelope, keys: Iterable[PublicKey]) -> frozenset[str]:
    """Idents of the distinct keys, out of these, that signed the envelope. Entries of others are ignored."""
    message = pae(envelope.payload_type, envelope.payload)
    known = {key.ident: key for key in keys}
    found: set[str] = set()
    for entry in envelope.signatures:
        if len(entry.sig) != 64 and sshsig.looks_like(entry.sig):
            found |= {_ssh_signer(entry.sig, message)} & known.keys()
            continue
        named = known.get(entry.keyid)
        for ident, key in {entry.keyid: named}.items() if named else known.items():
            if ident not in found and key.kind in {PLAIN, SSH} and key.verifies(entry.sig, message):
                found.add(ident)
                break
    return frozenset(found)


def sign(payload: bytes, key: PrivateKey, payload_type: str = IN_TOTO) -> Envelope:
    """An envelope with one signature."""
    signature = Signature(key.public.ident, key.sign(pae(payload_type, payload)))
    return Envelope(payload_type, payload, (signature,))


def add_signature(envelope: Envelope, signature: Signature) -> Envelope:
    """The envelope with one more signature; the same one twice stands once. Not here: whether it verifies.

    Raises:
        TrustError: It has as many as it may have.
    """
    if signature in envelope.signatures:
        return envelope
    if len(envelope.signatures) >= limits.SIGNATURES:
        raise TrustError(
            f"an envelope holds at most {limits.SIGNATURES} signatures",
            hint="start again from the unsigned document",
        )
    return msgspec.structs.replace(envelope, signatures=(*envelope.signatures, signature))


def add_ssh_signature(envelope: Envelope, armour: bytes) -> Envelope:
    """The envelope with a signature that `ssh-keygen -Y sign` made over `pae(...)` of it (`sshsig.sign_command`).

    Raises:
        TrustError: The signature is not an acceptable one over this envelope, or there are too many.
    """
    key = sshsig.verify_sshsig(armour, pae(envelope.payload_type, envelope.payload))
    return add_signature(envelope, Signature(key.ident, armour))


def _ssh_signer(sig: bytes, message: bytes) -> str:
    """Ident of the key that made an SSHSIG over a message; empty if it is not one."""
    try:
        return sshsig.verify_sshsig(sig, message).ident
    except TrustError:
        return ""


def _entry(value: Json) -> Signature:
    """One member of `signatures`."""
    if not isinstance(value, dict):
        raise TrustError("a signature of the envelope is not an object", hint=_AGAIN)
    keyid = value.get("keyid", "")
    if not isinstance(keyid, str):
        raise TrustError("a key id of the envelope is not a text", hint=_AGAIN)
    return Signature(keyid, _decode(value.get("sig"), "signature"))


def _decode(text: Json, what: str) -> bytes:
    """Bytes from base64 in one of its two alphabets."""
    if not isinstance(text, str):
        raise TrustError(f"a {what} of the envelope is missing", hint=_AGAIN)
    alternative = b"-_" if "-" in text or "_" in text else b"+/"
    try:
        data = base64.b64decode(text, altchars=alternative, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TrustError(f"a {what} of the envelope is not base64", hint=_AGAIN) from error
    if base64.b64encode(data, altchars=alternative).decode() != text:  # mixed alphabets, stray bits
        raise TrustError(f"a {what} of the envelope is not base64 in its one form", hint=_AGAIN)
    return data
