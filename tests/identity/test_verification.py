"""Which manifests are believed: every rule with what breaks it, and that each refusal says what to do."""

import base64
import contextlib
import json
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
)
from mcpguard.identity.keys import PLAIN, PublicKey, parse_public_key
from mcpguard.identity.manifest import ExecutablePin, Launch, Manifest, PackagePin, encode_manifest
from mcpguard.identity.statement import format_time
from mcpguard.identity.verification import verify_manifest
from tests.identity.signing import (
    ORDER,
    A,
    B,
    C,
    D,
    armour,
    generated,
    needs_ssh_keygen,
    rsa_sha1,
    ssh_signed,
    sshsig,
    touchable,
    touched,
)
from tests.identity.trusting import NOW, revoking, role, signed, trusted

ONE, TWO, THREE = "1a" * 32, "2b" * 32, "3c" * 32
DAY = timedelta(days=1)

FILES = Manifest(
    name="files",
    version=3,
    not_before="2026-05-01T00:00:00Z",
    expires="2026-12-01T00:00:00Z",
    launch=Launch(argv=("/usr/bin/node", "/srv/files.js"), host_argv=("node", "/srv/files.js")),
    executables=(ExecutablePin("/usr/bin/node", ONE, 10), ExecutablePin("/srv/files.js", TWO, 20)),
    tools={"read_file": THREE},
)
ACME = msgspec.structs.replace(
    FILES,
    name="io.github.acme/files",
    launch=Launch(argv=(f"{{store}}/npm/{TWO}/bin/files",), host_argv=("npx", "-y", "@acme/files@1.4.2")),
    executables=(),
    packages=(PackagePin("npm", "package-lock.json@3", ONE, 143, "sha512-all", "none", TWO),),
)
PAYLOAD = encode_manifest(FILES)
MESSAGE = pae(IN_TOTO, PAYLOAD)
TRUST = trusted()
TWO_OF = trusted(publishers={"local": role(A, C, D, threshold=2)})


def verify(data, trust=TRUST, revocations=None, *, now=NOW, floor=None, seen=0, seen_digest=""):
    return verify_manifest(data, trust, revocations, now=now, floor=floor, seen=seen, seen_digest=seen_digest)


def refused(message, *arguments, **more):
    """The refusal; every one names a next step, in one printable line."""
    with pytest.raises(TrustError, match=message) as caught:
        verify(*arguments, **more)
    assert caught.value.hint
    assert caught.value.sentence().isprintable()
    return caught.value


def envelope(*signatures, payload=PAYLOAD, kind=IN_TOTO):
    return encode_envelope(Envelope(kind, payload, signatures))


def entry(key, message=MESSAGE, keyid=None):
    return Signature(key.public.ident if keyid is None else keyid, key.sign(message))


def test_a_publishers_manifest_is_believed():
    found = verify(signed(PAYLOAD, A))
    assert found.manifest == FILES
    assert found.digest == digest(PAYLOAD)
    assert (found.publisher, found.keys) == ("local", (A.public.ident,))


def test_only_keys_that_count_are_named():
    found = verify(signed(PAYLOAD, A, C, D, B), TWO_OF, revoking(keys=frozenset({D.public.ident})))
    assert found.keys == tuple(sorted([A.public.ident, C.public.ident]))


# --- signatures: the vectors of the rules, in their order -------------------------------------------------

NOT_CANONICAL = A.sign(MESSAGE)[:32] + (
    int.from_bytes(A.sign(MESSAGE)[32:], "little") + ORDER
).to_bytes(32, "little")  # fmt: skip

SIGNATURES = {
    "one key twice": ((entry(A), entry(A)), "local needs 2 signatures, and 1 count"),
    "one key under two key ids": (
        (entry(A, keyid="one"), entry(A, keyid="two")),
        "local needs 2 signatures, and 1 count",
    ),
    "one key under the id of another": (
        (entry(A), entry(A, keyid=C.public.ident)),
        "local needs 2 signatures, and 1 count",
    ),
    "one key plainly and through SSH": (
        (entry(A), Signature("", armour(sshsig(A, MESSAGE)))),
        "local needs 2 signatures, and 1 count",
    ),
    "one of two": ((entry(A),), "local needs 2 signatures, and 1 count"),
    "one and a stranger": ((entry(A), entry(B)), "local needs 2 signatures, and 1 count"),
    "no one but strangers": ((entry(B),), "nobody who is trusted signed"),
    "over the payload without its type": (
        (entry(A, PAYLOAD), entry(C, PAYLOAD)),
        "nobody who is trusted signed",
    ),
    "over another type": (
        (entry(A, pae("application/json", PAYLOAD)), entry(C, pae("application/json", PAYLOAD))),
        "nobody who is trusted signed",
    ),
    "SSH for a file": (
        (entry(A), Signature("", armour(sshsig(C, MESSAGE, "file")))),
        "local needs 2 signatures, and 1 count",
    ),
    "SSH with RSA and SHA-1": (
        (entry(A), Signature("", armour(rsa_sha1(MESSAGE)))),
        "local needs 2 signatures, and 1 count",
    ),
    "an S that is not canonical": (
        (Signature("", NOT_CANONICAL), entry(C)),
        "local needs 2 signatures, and 1 count",
    ),
    "garbage": ((Signature("", b""), Signature("", bytes(64)), entry(C)), "local needs 2 .* 1 count"),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_that_are_not_enough(name):
    signatures, message = SIGNATURES[name]
    error = refused(message, envelope(*signatures), TWO_OF)
    assert "`mcpguard " in error.hint


def test_two_valid_and_garbage_are_enough():
    garbage = Signature("", b"garbage"), Signature(A.public.ident, bytes(64))
    found = verify(envelope(garbage[0], entry(A), garbage[1], entry(C)), TWO_OF)
    assert found.keys == tuple(sorted([A.public.ident, C.public.ident]))


def test_a_key_of_small_order_would_sign_everything_and_is_not_read():
    neutral = PublicKey(PLAIN, bytes([1]) + bytes(31))
    assert neutral.verifies(neutral.data + bytes(32), MESSAGE)
    with pytest.raises(TrustError, match="small order"):
        parse_public_key(neutral.line())
    with pytest.raises(TrustError, match="small order"):
        trusted(
            keys=TRUST.keys | {neutral.ident: neutral},
            publishers={"local": msgspec.structs.replace(role(A), keys=(neutral.ident,))},
        ).encode()


@needs_ssh_keygen
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_key_of_ssh_keygen_vouches(tmp_path, kind):
    path, line = generated(tmp_path, kind)
    key = parse_public_key(line)
    trust = trusted(
        keys=TRUST.keys | {key.ident: key},
        publishers={"local": msgspec.structs.replace(role(A), keys=(key.ident,))},
    )
    unsigned = Envelope(IN_TOTO, PAYLOAD)
    vouched = encode_envelope(add_ssh_signature(unsigned, ssh_signed(tmp_path, path, MESSAGE)))
    assert verify(vouched, trust).keys == (key.ident,)
    refused("nobody who is trusted", vouched, TRUST)
    elsewhere = ssh_signed(tmp_path, path, MESSAGE, "file")
    refused("nobody who is trusted", envelope(Signature(key.ident, elsewhere)), trust)


def test_a_security_key_vouches_when_it_was_touched():
    key = touchable(C)
    trust = trusted(
        keys=TRUST.keys | {key.ident: key},
        publishers={"local": msgspec.structs.replace(role(A), keys=(key.ident,))},
    )
    assert verify(envelope(Signature("", armour(touched(C, MESSAGE)))), trust).keys == (key.ident,)
    refused("nobody who is trusted", envelope(Signature("", armour(touched(C, MESSAGE, 0)))), trust)


def test_a_threshold_of_two_with_an_expired_key():
    data = signed(PAYLOAD, A, C)
    keys = trusted(publishers={"local": role(C, D, B, threshold=2)}, until={C.public.ident: format_time(NOW)})
    refused("signed with key .* which expired at 2026-06-01", signed(PAYLOAD, C, D), keys)
    assert verify(signed(PAYLOAD, C, D), keys, now=NOW - timedelta(seconds=1)).publisher == "local"
    assert verify(signed(PAYLOAD, B, D), keys).publisher == "local"
    assert verify(data, TWO_OF).publisher == "local"


@pytest.mark.parametrize(
    ("validity", "message"),
    [
        ({"expires": "2026-06-01T00:00:00Z"}, "publisher local expired at 2026-06-01"),
        ({"not_before": "2026-06-01T00:00:01Z"}, "publisher local is not valid before 2026-06-01"),
    ],
)
def test_a_publisher_outside_its_validity(validity, message):
    trust = trusted(publishers={"local": role(A, C, threshold=2, **validity)})
    refused(message, signed(PAYLOAD, A, C), trust)


def test_an_expired_trust_set_vouches_for_nothing():
    error = refused("trust set expired at 2026", signed(PAYLOAD, A), trusted(expires="2026-06-01T00:00:00Z"))
    assert "mcpguard trust renew" in error.hint


# --- the payload ------------------------------------------------------------------------------------------


def test_the_type_is_exact():
    for kind in ("application/json", IN_TOTO + ";x=1", IN_TOTO.upper(), ""):
        refused("not application/vnd.in-toto", signed(PAYLOAD, A, payload_type=kind))


def test_url_safe_base64_is_read():
    value = json.loads(signed(PAYLOAD, A))
    for member in (value, value["signatures"][0]):
        for name in {"payload", "sig"} & member.keys():
            member[name] = base64.urlsafe_b64encode(base64.b64decode(member[name])).decode()
    assert verify(json.dumps(value).encode()).manifest == FILES


PAYLOADS = {
    "duplicate keys": (PAYLOAD.replace(b'"version":3', b'"version":3,"version":4'), "'version' stands twice"),
    "trailing bytes": (PAYLOAD + b"x", "strict JSON"),
    "another statement": (PAYLOAD.replace(b"Statement/v1", b"Statement/v2"), "Statement/v2"),
    "another predicate": (PAYLOAD.replace(b"manifest:v1", b"manifest:v2"), "manifest:v2"),
    "a trust set": (TRUST.encode(), "urn:mcpguard:trust:v1"),
    "revocations": (revoking().encode(), "urn:mcpguard:revocations:v1"),
    "an unknown critical member": (PAYLOAD.replace(b'"crit":[', b'"crit":["net",'), "'net'"),
    "another subject": (PAYLOAD.replace(b'"sha256":"1a', b'"sha256":"9f', 1), "digests"),
    "no subject": (PAYLOAD.replace(b'"subject":[', b'"subject":[],"was":['), "digests"),
    "JSON": (b"{}", "of type none"),
    "nothing": (b"", "strict JSON"),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_signed_payload_must_be_a_manifest(name):
    payload, message = PAYLOADS[name]
    assert payload != PAYLOAD
    refused(message, signed(payload, A))


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_of_a_stranger_is_not_even_read(name):
    refused("nobody who is trusted signed", signed(PAYLOADS[name][0], B))


def test_trailing_bytes_behind_the_envelope():
    refused("strict JSON", signed(PAYLOAD, A) + b"x")


# --- whose names ------------------------------------------------------------------------------------------


def test_a_narrower_publisher_owns_its_names():
    payload = encode_manifest(ACME)
    assert verify(signed(payload, C)).publisher == "acme"
    assert verify(signed(payload, C, A)).keys == (C.public.ident,)
    error = refused("'io.github.acme/files' belong to the publisher acme", signed(payload, A))
    assert "acme needs 1 signatures, and 0 count" in error.message


def test_a_publisher_signs_its_own_names_only():
    refused("'files' belong to the publisher local", signed(PAYLOAD, C))
    near = msgspec.structs.replace(ACME, name="io.github.acmes/files")
    refused("belong to the publisher local", signed(encode_manifest(near), C))
    refused("no publisher may sign", signed(PAYLOAD, C), trusted(publishers={"acme": role(C, prefix="x/")}))


# --- time, versions, revocation ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "message"),
    [
        ("2026-04-30T23:59:59+00:00", "not valid before 2026-05-01"),
        ("2026-12-01T00:00:00+00:00", "expired at 2026-12-01"),
    ],
)
def test_outside_its_time(now, message):
    moment = type(NOW).fromisoformat(now)
    refused(message, signed(PAYLOAD, A), now=moment)
    inside = moment + timedelta(seconds=1 if "before" in message else -1)
    assert verify(signed(PAYLOAD, A), now=inside).manifest == FILES


def test_versions_do_not_go_back():
    data = signed(PAYLOAD, A)
    assert verify(data, seen=2).manifest.version == 3
    assert verify(data, seen=3).manifest.version == 3
    assert verify(data, seen=3, seen_digest=digest(PAYLOAD)).manifest.version == 3
    assert verify(data, seen=2, seen_digest="sha256:" + ONE).manifest.version == 3
    refused("version 3 .* is older than 4, which was seen", data, seen=4)
    refused("seen with another content", data, seen=3, seen_digest="sha256:" + ONE)


REVOKED = {
    "the manifest": ({"manifests": frozenset({digest(encode_manifest(ACME))})}, "version 3 .* is revoked"),
    "the tree": ({"packages": frozenset({"sha256:" + TWO})}, "runs 'tree:npm', which is revoked"),
    "the lock file": ({"packages": frozenset({"sha256:" + ONE})}, "runs 'lock:npm', which is revoked"),
    "versions below": ({"minimum": {"io.github.acme/files": 4}}, "revoked: 4 is the lowest"),
    "the key": ({"keys": frozenset({C.public.ident})}, "signed with key .* which is revoked"),
}
NOT_REVOKED = {
    "others": {
        "keys": frozenset({A.public.ident}),
        "manifests": frozenset({"sha256:" + THREE}),
        "packages": frozenset({"sha256:" + THREE}),
        "minimum": {"io.github.acme/files": 3, "files": 9},
    },
    "a tool": {"packages": frozenset({"sha256:" + THREE})},
    "nothing": {},
}


@pytest.mark.parametrize("name", REVOKED)
def test_what_is_revoked_is_refused(name):
    changes, message = REVOKED[name]
    refused(message, signed(encode_manifest(ACME), C), TRUST, revoking(**changes))


@pytest.mark.parametrize("name", NOT_REVOKED)
def test_what_is_not_revoked_is_believed(name):
    assert verify(signed(encode_manifest(ACME), C), TRUST, revoking(**NOT_REVOKED[name])).manifest == ACME


def test_an_executable_is_revoked():
    refused(
        "runs '/srv/files.js'", signed(PAYLOAD, A), TRUST, revoking(packages=frozenset({"sha256:" + TWO}))
    )


def test_a_revoked_key_does_not_count_and_does_not_spoil():
    revoked = revoking(keys=frozenset({D.public.ident}))
    refused("which is revoked", signed(PAYLOAD, A, D), TWO_OF, revoked)
    assert verify(signed(PAYLOAD, A, C, D), TWO_OF, revoked).publisher == "local"


def test_stale_revocations_still_revoke():
    old = revoking(expires="2020-01-01T00:00:00Z", minimum={"files": 4})
    refused("is revoked", signed(PAYLOAD, A), TRUST, old)


def test_a_clock_that_went_back():
    data, floor = signed(PAYLOAD, A), NOW + DAY
    refused("the clock went back", data, floor=floor)
    refused("the clock went back", data, floor=floor, seen=2)
    assert verify(data, floor=floor, seen=3, seen_digest=digest(PAYLOAD)).manifest == FILES
    assert verify(data, floor=NOW + timedelta(minutes=5)).manifest == FILES


def test_what_expired_stays_expired_when_the_clock_goes_back():
    data = signed(PAYLOAD, A)
    past = type(NOW).fromisoformat("2026-12-02T00:00:00+00:00")
    refused("expired at 2026-12-01", data, floor=past, seen=3)
    limited = trusted(publishers={"local": role(A, C, expires="2026-06-02T00:00:00Z")})
    refused("publisher local expired", data, limited, floor=NOW + DAY, seen=3)
    refused("trust set expired", data, trusted(expires="2026-06-02T00:00:00Z"), floor=NOW + DAY, seen=3)


# --- any byte ---------------------------------------------------------------------------------------------

VALID = signed(encode_manifest(ACME), C)


@given(st.integers(0), st.integers(0, 255))
def test_a_changed_byte_changes_nothing_or_is_refused(place, byte):
    changed = bytearray(VALID)
    changed[place % len(changed)] = byte
    with contextlib.suppress(TrustError):
        assert verify(bytes(changed)) == verify(VALID)


@given(st.integers(0), st.integers(1, 255))
def test_no_byte_of_the_payload_can_be_changed(place, change):
    opened = parse_envelope(VALID)
    payload = bytearray(opened.payload)
    payload[place % len(payload)] ^= change
    refused("nobody who is trusted", encode_envelope(msgspec.structs.replace(opened, payload=bytes(payload))))


@given(st.binary())
def test_arbitrary_bytes_are_refused(data):
    with pytest.raises(TrustError):
        verify(data)
    with pytest.raises(TrustError):
        verify(signed(data, A))


@given(st.lists(st.sampled_from([A, B, C, D]), min_size=1, max_size=8), st.integers(1, 3))
def test_the_threshold_counts_distinct_keys(signers, threshold):
    trust = trusted(publishers={"local": role(A, C, D, threshold=threshold)})
    opened = Envelope(IN_TOTO, PAYLOAD)
    for number, key in enumerate(signers):
        opened = add_signature(opened, Signature(str(number), sign(PAYLOAD, key).signatures[0].sig))
    enough = len({key.public.ident for key in signers if key is not B}) >= threshold
    with contextlib.nullcontext() if enough else pytest.raises(TrustError, match=r"nobody|needs"):
        verify(encode_envelope(opened), trust)
