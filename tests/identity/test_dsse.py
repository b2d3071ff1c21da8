"""Envelopes: the vectors, an independent implementation, and what happens when any byte changes."""

import base64
import contextlib
import itertools
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib import dsse as independent
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.dsse import (
    IN_TOTO,
    Envelope,
    Signature,
    add_signature,
    add_ssh_signature,
    digest,
    encode_envelope,
    pae,
    parse_envelope,
    sign,
    signed_by,
)
from mcpguard.identity.keys import parse_public_key
from tests.identity.signing import (
    A,
    B,
    C,
    armour,
    generated,
    needs_ssh_keygen,
    ssh,
    ssh_signed,
    sshsig,
    touchable,
)

FILE = json.loads((Path(__file__).parent.parent / "vectors" / "dsse.json").read_text())
VECTORS = {vector["name"]: vector for vector in FILE["vectors"]}
KEYS = {name: parse_public_key(line) for name, line in FILE["keys"].items()}
PAYLOAD = b'{"a":"\xc3\xbf"}'


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name):
    vector = VECTORS[name]
    data, keys = vector["envelope"].encode(), [KEYS[key] for key in vector["keys"]]
    if "refused" in vector:
        with pytest.raises(TrustError, match=vector["refused"]) as caught:
            parse_envelope(data)
        assert caught.value.hint
        assert caught.value.sentence().isprintable()
    else:
        assert signed_by(parse_envelope(data), keys) == {KEYS[key].ident for key in vector["signed"]}


def test_there_are_vectors_of_both_kinds():
    refused = sum("refused" in vector for vector in VECTORS.values())
    assert refused >= 20
    assert len(VECTORS) - refused >= 30
    assert len(VECTORS) == len(FILE["vectors"])


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        ("http://example.com/HelloWorld", b"hello world", b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"),
        ("", b"", b"DSSEv1 0  0 "),
        ("é", b"\0", b"DSSEv1 2 \xc3\xa9 1 \0"),
    ],
)  # fmt: skip
def test_what_is_signed(kind, payload, expected):
    assert pae(kind, payload) == expected


@given(st.text(), st.binary(), st.text(), st.binary())
def test_no_two_documents_are_signed_alike(kind, payload, other_kind, other_payload):
    alike = pae(kind, payload) == pae(other_kind, other_payload)
    assert alike == ((kind, payload) == (other_kind, other_payload))
    assert pae(kind, payload) == independent.Envelope(payload, kind, {}).pae()


def test_an_envelope_is_read_as_it_was_written():
    envelope = add_signature(sign(PAYLOAD, A), Signature("", b"garbage"))
    data = encode_envelope(envelope)
    assert parse_envelope(data) == envelope
    assert list(json.loads(data)) == ["payloadType", "payload", "signatures"]
    assert signed_by(envelope, [A.public, B.public]) == {A.public.ident}


def test_a_key_counts_once_under_both_spellings():
    assert signed_by(sign(PAYLOAD, A), [A.public, ssh(A.public)]) == {A.public.ident}


def test_an_envelope_has_bounds():
    with pytest.raises(TrustError, match="larger than 256 KiB"):
        encode_envelope(sign(bytes(200 * limits.KIB), A))
    data = encode_envelope(sign(PAYLOAD, A))
    assert parse_envelope(data + b" " * (limits.ENVELOPE_BYTES - len(data)))
    with pytest.raises(TrustError, match="larger than 256 KiB"):
        parse_envelope(data + b" " * (limits.ENVELOPE_BYTES - len(data) + 1))
    full = sign(PAYLOAD, A)
    for number in range(limits.SIGNATURES - 1):
        full = add_signature(full, Signature(str(number), b"x"))
    assert add_signature(full, full.signatures[0]) == full
    with pytest.raises(TrustError, match="at most 16 signatures"):
        add_signature(full, Signature("", b"x"))
    assert parse_envelope(encode_envelope(full)) == full


def test_the_name_of_a_document_is_its_digest():
    assert digest(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


# --- SSH ------------------------------------------------------------------------------------------------


@needs_ssh_keygen
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_ssh_keygen_signs_an_envelope(tmp_path, kind):
    path, line = generated(tmp_path, kind)
    key, unsigned = parse_public_key(line), Envelope(IN_TOTO, PAYLOAD)
    armoured = ssh_signed(tmp_path, path, pae(IN_TOTO, PAYLOAD))
    signed = parse_envelope(encode_envelope(add_ssh_signature(unsigned, armoured)))
    assert signed_by(signed, [A.public, key]) == {key.ident}
    assert signed.signatures[0].keyid == key.ident
    with pytest.raises(TrustError, match="not over this content"):
        add_ssh_signature(Envelope(IN_TOTO, PAYLOAD + b" "), armoured)


def test_an_ssh_signature_joins_others():
    envelope = add_ssh_signature(sign(PAYLOAD, B), armour(sshsig(A, pae(IN_TOTO, PAYLOAD))))
    assert signed_by(envelope, [A.public, B.public, C.public]) == {A.public.ident, B.public.ident}
    with pytest.raises(TrustError, match="'file'"):
        add_ssh_signature(envelope, armour(sshsig(C, pae(IN_TOTO, PAYLOAD), "file")))


def test_hardware_keys_do_not_sign_plainly():
    assert signed_by(sign(PAYLOAD, A), [touchable(A)]) == frozenset()


# --- an independent implementation ----------------------------------------------------------------------

PRIVATE = (A, B, C)
SIGNERS = [CryptoSigner(Ed25519PrivateKey.from_private_bytes(key.raw())) for key in PRIVATE]
THEIRS = [signer.public_key for signer in SIGNERS]
SUBSETS = [subset for size in range(1, 4) for subset in itertools.combinations(range(3), size)]


@pytest.mark.parametrize("chosen", SUBSETS)
def test_securesystemslib_signs_and_we_verify(chosen):
    envelope = independent.Envelope(PAYLOAD, IN_TOTO, {})
    for index in chosen:
        envelope.sign(SIGNERS[index])
    ours = parse_envelope(json.dumps(envelope.to_dict()).encode())
    assert ours.payload == PAYLOAD
    assert signed_by(ours, [key.public for key in PRIVATE]) == {
        PRIVATE[index].public.ident for index in chosen
    }


@pytest.mark.parametrize("threshold", [1, 2, 3])
@pytest.mark.parametrize("chosen", SUBSETS)
def test_we_sign_and_securesystemslib_verifies(chosen, threshold):
    envelope = Envelope(IN_TOTO, PAYLOAD)
    for index in chosen:
        envelope = add_signature(envelope, sign(PAYLOAD, PRIVATE[index]).signatures[0])
    theirs = independent.Envelope.from_dict(json.loads(encode_envelope(envelope)))
    named = [
        SSlibKey(ours.public.ident, key.keytype, key.scheme, key.keyval)
        for ours, key in zip(PRIVATE, THEIRS, strict=True)
    ]
    expected = pytest.raises(VerificationError) if len(chosen) < threshold else contextlib.nullcontext()
    with expected:
        assert len(theirs.verify(named, threshold)) == threshold
    count = len(signed_by(envelope, [key.public for key in PRIVATE]))
    assert (count >= threshold) == (len(chosen) >= threshold)


@given(st.integers(0), st.integers(1, 255))
def test_we_do_not_accept_more_than_securesystemslib(place, change):
    changed = bytearray(encode_envelope(sign(PAYLOAD, A)))
    changed[place % len(changed)] ^= change
    with contextlib.suppress(TrustError):
        if signed_by(parse_envelope(bytes(changed)), [A.public]):
            text = json.loads(bytes(changed))
            text["signatures"][0]["keyid"] = THEIRS[0].keyid  # they insist on it, the specification does not
            assert independent.Envelope.from_dict(text).verify(THEIRS[:1], 1)


# --- any byte -------------------------------------------------------------------------------------------

MESSAGE = pae(IN_TOTO, PAYLOAD)
VALID = [
    encode_envelope(sign(PAYLOAD, A)),
    encode_envelope(add_ssh_signature(Envelope(IN_TOTO, PAYLOAD), armour(sshsig(A, MESSAGE)))),
    encode_envelope(Envelope(IN_TOTO, PAYLOAD, (Signature("", sshsig(A, MESSAGE)),))),
]


@settings(max_examples=400)
@given(st.sampled_from(VALID), st.integers(0), st.integers(0, 255))
def test_a_changed_byte_changes_nothing_or_is_refused(data, place, byte):
    changed = bytearray(data)
    changed[place % len(data)] = byte
    with contextlib.suppress(TrustError):
        envelope = parse_envelope(bytes(changed))
        if signed_by(envelope, [A.public]):
            assert (envelope.payload_type, envelope.payload) == (IN_TOTO, PAYLOAD)


@given(st.binary())
def test_arbitrary_bytes_are_an_envelope_or_a_trust_error(data):
    with contextlib.suppress(TrustError):
        parse_envelope(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["sig", "keyid", "x"]), inner),
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("payload", "payloadType", "signatures"), JSON)))
def test_arbitrary_members_are_an_envelope_or_a_trust_error(value):
    with contextlib.suppress(TrustError):
        parse_envelope(json.dumps(value).encode())


@given(st.binary(), st.binary(max_size=600))
def test_arbitrary_signatures_are_ignored(sig, payload):
    text = {
        "payloadType": IN_TOTO,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"sig": base64.b64encode(sig).decode()}],
    }
    assert signed_by(parse_envelope(json.dumps(text).encode()), KEYS.values()) == frozenset()


@given(st.text(alphabet="AQgw+/-_= \n", max_size=9))
def test_base64_has_one_form_in_each_alphabet(text):
    data = json.dumps({"payloadType": "t", "payload": text, "signatures": [{"sig": ""}]}).encode()
    try:
        payload = parse_envelope(data).payload
    except TrustError:
        return
    assert text in {base64.b64encode(payload).decode(), base64.urlsafe_b64encode(payload).decode()}
