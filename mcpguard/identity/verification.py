"""Whether a manifest may be believed: the rules in their order.

1. The envelope is strict JSON within bounds, its base64 strict.
2. Every signature is tried with the keys that count now; a key counts once. Keys that were revoked or have expired do
   not count, nor do those of a publisher outside its validity.
3. One publisher's threshold is reached. From here on only the decoded payload is used.
4. The payload's type is ours, and the payload is a manifest (`manifest.parse_manifest`).
5. The publisher that decides about this name (`TrustSet.publisher`) is one whose threshold was reached. The manifest
   is valid now, not revoked, and not older than what was seen.

Which publisher decides can only be read in the payload, so signatures are first counted for all of them; the
payload is parsed once somebody who is trusted with anything at all has signed it.

Not here: whether revocations are stale (`Revocations.stale`; policy says what that means), whether the files on disk
have the digests that the manifest pins (`system`), and the record of the decision (`audit`).

Source: DSSE v1.0.2, protocol.md, "Protocol"; the update workflow of The Update Framework 1.0, 5.3 to 5.5.

Decided:
    *A revoked key is worth nothing even where enough others signed*, but does not refuse by itself; rejected:
    refusing an envelope because of one signature that anybody could have added.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from mcpguard.errors import TrustError
from mcpguard.identity.dsse import Envelope, digest, parse_envelope, signed_by
from mcpguard.identity.keys import PublicKey
from mcpguard.identity.manifest import Manifest, parse_manifest
from mcpguard.identity.statement import parse_time
from mcpguard.identity.trust import Revocations, Role, TrustSet, check_clock, check_type, judged


class Verified(msgspec.Struct, frozen=True):
    """A manifest that may be believed.

    Attributes:
        manifest: What it says.
        digest: `sha256:` and hex of the payload: which document it was.
        keys: Idents of the publisher's keys that signed, sorted.
        publisher: Namespace of who vouches for it.
    """

    manifest: Manifest
    digest: str
    keys: tuple[str, ...]
    publisher: str


def verify_manifest(
    data: bytes,
    trust: TrustSet,
    revocations: Revocations | None,
    *,
    now: datetime,
    floor: datetime | None,
    seen: int,
    seen_digest: str = "",
) -> Verified:
    """Believe a manifest, or say why not and what to do.

    Args:
        data: The envelope, as it came.
        trust: Whose signatures count.
        revocations: What no longer counts; None if there are none.
        now: The clock, with its zone.
        floor: The latest moment known to have passed; None if none is.
        seen: The highest version of a manifest of this name that was accepted; 0 if none was.
        seen_digest: The digest of that one, as in `Verified`; empty if it is not known.

    Raises:
        TrustError: It is not to be believed.
    """
    moment = judged(now, floor)
    envelope = parse_envelope(data)
    if trust.expired(moment):
        raise TrustError(
            f"the trust set expired at {trust.expires}, so nobody vouches for anything",
            hint="renew it with `mcpguard trust renew`",
        )
    signers = _signers(envelope, trust)
    revoked = revocations.keys if revocations else frozenset()
    if not any(
        _shortfall(name, role, trust, signers - revoked, moment) == ""
        for name, role in trust.publishers.items()
    ):
        raise _unsigned(trust, signers, revoked, moment)
    payload = envelope.payload
    check_type(envelope)
    manifest = parse_manifest(payload)
    name, role = trust.publisher(manifest.name)
    if fault := _shortfall(name, role, trust, signers - revoked, moment):
        raise TrustError(
            f"names like {manifest.name!a} belong to the publisher {name}, and {fault}",
            hint="sign it with that publisher's key: `mcpguard sign FILE --key KEY`",
        )
    _check_validity(manifest, moment)
    _check_revoked(manifest, digest(payload), revocations)
    _check_seen(manifest, digest(payload), seen, seen_digest)
    if manifest.version > seen:
        check_clock(now, floor)
    counted = {key.ident for key in trust.counting(role, moment)} & (signers - revoked)
    return Verified(manifest, digest(payload), tuple(sorted(counted)), name)


def _signers(envelope: Envelope, trust: TrustSet) -> frozenset[str]:
    """Idents of every publisher's key that signed; not whether it counts."""
    keys: Mapping[str, PublicKey] = {
        ident: trust.keys[ident] for role in trust.publishers.values() for ident in role.keys
    }
    return signed_by(envelope, keys.values())


def _shortfall(name: str, role: Role, trust: TrustSet, signers: frozenset[str], moment: datetime) -> str:
    """Why these signatures are not enough for a publisher; empty if they are."""
    if fault := role.fault(moment):
        return f"publisher {name} {fault}"
    count = sum(key.ident in signers for key in trust.counting(role, moment))
    if count < role.threshold:
        return f"{name} needs {role.threshold} signatures, and {count} count"
    return ""


def _unsigned(
    trust: TrustSet, signers: frozenset[str], revoked: frozenset[str], moment: datetime
) -> TrustError:
    """Why no publisher's threshold was reached: the nearest cause."""
    if not signers:
        return TrustError(
            "nobody who is trusted signed this manifest",
            hint="if you trust who did, `mcpguard trust add-key NAMESPACE FILE`; or sign it: `mcpguard sign FILE`",
        )
    if out := sorted(signers & revoked):
        return TrustError(
            f"the manifest is signed with key {out[0]}, which is revoked",
            hint="sign it with another key: `mcpguard sign FILE --key KEY`",
        )
    ended = sorted(ident for ident in signers & trust.until.keys() if _ended(trust.until[ident], moment))
    if ended:
        return TrustError(
            f"the manifest is signed with key {ended[0]}, which expired at {trust.until[ended[0]]}",
            hint="sign it with another key: `mcpguard sign FILE --key KEY`",
        )
    faults = [
        _shortfall(name, role, trust, signers, moment)
        for name, role in trust.publishers.items()
        if not signers.isdisjoint(role.keys)
    ]
    return TrustError(
        f"the manifest is not signed by enough: {'; '.join(faults[:3])}",
        hint="add a signature with `mcpguard sign FILE --key KEY`; `mcpguard trust show` lists who may",
    )


def _ended(end: str, moment: datetime) -> bool:
    """Whether a moment is at or past an end."""
    return moment >= parse_time(end, "expires")


def _check_validity(manifest: Manifest, moment: datetime) -> None:
    """Refuse a manifest before and after its time."""
    if moment < parse_time(manifest.not_before, "not_before"):
        raise TrustError(
            f"the manifest of {manifest.name!a} is not valid before {manifest.not_before}",
            hint="set the clock if it is wrong; otherwise wait",
        )
    if _ended(manifest.expires, moment):
        raise TrustError(
            f"the manifest of {manifest.name!a} expired at {manifest.expires}",
            hint=f"get a newer one, or renew it with `mcpguard server trust {manifest.name}`",
        )


def _check_revoked(manifest: Manifest, content: str, revocations: Revocations | None) -> None:
    """Refuse a manifest that was revoked: itself, something it runs, or its version."""
    if revocations is None:
        return
    if content in revocations.manifests:
        raise TrustError(
            f"version {manifest.version} of the manifest of {manifest.name!a} is revoked",
            hint="get a newer one from its publisher",
        )
    for what, sha256 in _pinned(manifest).items():
        if f"sha256:{sha256}" in revocations.packages:
            raise TrustError(
                f"the manifest of {manifest.name!a} runs {what[:80]!a}, which is revoked",
                hint="get a newer one from its publisher, or `mcpguard server pin` another version",
            )
    lowest = revocations.minimum.get(manifest.name, 0)
    if manifest.version < lowest:
        raise TrustError(
            f"version {manifest.version} of the manifest of {manifest.name!a} is revoked: {lowest} is the lowest",
            hint="get a newer one from its publisher",
        )


def _pinned(manifest: Manifest) -> dict[str, str]:
    """Name to SHA-256, hex, of everything that it runs or was installed from."""
    locks = {f"lock:{pin.ecosystem}": pin.lock_sha256 for pin in manifest.packages}
    return {**manifest.subject, **locks}


def _check_seen(manifest: Manifest, content: str, seen: int, seen_digest: str) -> None:
    """Refuse to go back, and to believe two manifests of one version."""
    if manifest.version < seen:
        raise TrustError(
            f"version {manifest.version} of the manifest of {manifest.name!a} is older than {seen}, which was seen",
            hint="get the newest one from its publisher",
        )
    if manifest.version == seen and seen_digest and content != seen_digest:
        raise TrustError(
            f"version {manifest.version} of the manifest of {manifest.name!a} was seen with another content",
            hint="get one with a higher version from its publisher",
        )
