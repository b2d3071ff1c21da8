"""Trust sets with known keys: what the tests of trust share."""

from datetime import UTC, datetime

import msgspec

from mcpguard.identity.dsse import IN_TOTO, Envelope, add_signature, encode_envelope, sign
from mcpguard.identity.trust import Revocations, Role, TrustSet
from tests.identity.signing import A, B, C, D

NOW = datetime(2026, 6, 1, tzinfo=UTC)
END = "2027-01-01T00:00:00Z"


def role(*keys, threshold=1, **more):
    return Role(tuple(key.public.ident for key in keys), threshold, **more)


def trusted(**changes):
    """A is root, B may revoke, C signs for acme and A for everything else."""
    keys = {key.public.ident: key.public for key in (A, B, C, D)}
    plain = TrustSet(
        version=1,
        expires=END,
        keys=keys,
        root=role(A),
        revocation=role(B),
        publishers={"local": role(A), "acme": role(C, prefix="io.github.acme/")},
    )
    return msgspec.structs.replace(plain, **changes)


def revoking(**changes):
    return msgspec.structs.replace(Revocations(version=1, expires="2026-07-01T00:00:00Z"), **changes)


def signed(payload, *keys, payload_type=IN_TOTO):
    """The bytes of an envelope with a signature of each of these keys."""
    envelope = Envelope(payload_type, payload)
    for key in keys:
        envelope = add_signature(envelope, sign(payload, key, payload_type).signatures[0])
    return encode_envelope(envelope)
