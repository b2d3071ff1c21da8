"""`mcpguard verify`: would this manifest be believed, who vouches for it, and if not, which check failed.

Exit codes: 0 believed, 5 refused. Nothing is remembered: only a server that is started or registered raises a floor.
"""

from __future__ import annotations

import datetime as dt
import sys

import click
import msgspec

from mcpguard.cli import signing, trusted
from mcpguard.cli.main import REFUSED
from mcpguard.cli.sign import manifest_lines
from mcpguard.cli.terminal import errors_told, print_json, say
from mcpguard.errors import TrustError
from mcpguard.identity.dsse import Envelope, digest, signed_by
from mcpguard.identity.manifest import Manifest, parse_manifest
from mcpguard.identity.trust import LOCAL, Revocations, TrustSet, open_envelope
from mcpguard.identity.verification import verify_manifest
from mcpguard.model import JsonObject
from mcpguard.system.truststore import Mark, wall_clock


class _Signer(msgspec.Struct, frozen=True):
    """A signature that verifies, or one that does not with a known key. `roles` are names of roles of its key."""

    ident: str
    roles: tuple[str, ...]
    comment: str


class _Report(msgspec.Struct, frozen=True):
    """What is told about a file. `publisher` and `threshold` say who decides about its name; empty if nobody does."""

    believed: bool
    refusal: str
    hint: str
    digest: str
    signers: tuple[_Signer, ...]
    unknown: int
    publisher: str
    threshold: str
    manifest: Manifest | None
    stale: bool


@click.command()
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(file: str, as_json: bool) -> None:
    """Check a signed manifest: who signed it, for which namespace, until when. Exits 5 if it is refused."""
    with errors_told(as_json=as_json):
        data = signing.read(file)
        envelope = open_envelope(data)
        trust, found = trusted.trust_set()
        report = _reported(data, envelope, trust, found, wall_clock())
        if as_json:
            print_json(_as_json(report))
        else:
            say(*_lines(report, trust))
    sys.exit(0 if report.believed else REFUSED)


def _reported(
    data: bytes, envelope: Envelope, trust: TrustSet, found: trusted.Trusted, now: dt.datetime
) -> _Report:
    manifest, refusal, hint, publisher, threshold = None, "", "", "", ""
    try:
        manifest = parse_manifest(envelope.payload)
        publisher, role = trust.publisher(manifest.name)
        threshold = f"{role.threshold} of {len(role.keys)}"
    except TrustError as error:
        refusal, hint = error.message, error.hint
    mark = found.seen.manifests.get(manifest.name, Mark()) if manifest else Mark()
    try:
        verify_manifest(
            data,
            trust,
            found.revocations,
            now=now,
            floor=found.seen.floor,
            seen=mark.version,
            seen_digest=mark.digest,
        )
    except TrustError as error:
        refusal, hint = error.message, error.hint
    signers = _signers(envelope, trust)
    return _Report(
        believed=not refusal,
        refusal=refusal,
        hint=hint,
        digest=digest(envelope.payload),
        signers=signers,
        unknown=max(0, len(envelope.signatures) - len(signers)),
        publisher=publisher,
        threshold=threshold,
        manifest=manifest,
        stale=_stale(found.revocations, now),
    )


def _signers(envelope: Envelope, trust: TrustSet) -> tuple[_Signer, ...]:
    roles = trust.roles()
    return tuple(
        _Signer(
            ident,
            tuple(name for name, role in roles.items() if ident in role.keys),
            trust.keys[ident].comment,
        )
        for ident in sorted(signed_by(envelope, trust.keys.values()))
    )


def _stale(revocations: Revocations | None, now: dt.datetime) -> bool:
    return revocations is not None and revocations.stale(now)


def _lines(report: _Report, trust: TrustSet) -> list[str]:
    lines = manifest_lines(report.manifest) if report.manifest else []
    lines.append(f"digest   {report.digest}")
    for signer in report.signers:
        may = ", ".join(signer.roles)
        lines.append(f"signed   {signer.ident} ({may}) {signer.comment}".rstrip())
    if report.unknown:
        lines.append(f"signed   {report.unknown} more that do not count")
    if report.publisher:
        whose = "you, for your own servers" if report.publisher == LOCAL else f"publisher {report.publisher}"
        lines.append(f"decides  {whose}, {report.threshold} keys; trust set version {trust.version}")
    if report.stale:
        lines.append("note     the revocation file is stale: mcpguard trust revoke --renew")
    if report.believed:
        return [*lines, "believed"]
    return [*lines, f"refused  {report.refusal}", f"next     {report.hint}"]


def _as_json(report: _Report) -> JsonObject:
    manifest = report.manifest
    content: JsonObject = {
        "ok": report.believed,
        "digest": report.digest,
        "signers": [msgspec.to_builtins(signer) for signer in report.signers],
        "unknown_signatures": report.unknown,
        "publisher": report.publisher,
        "threshold": report.threshold,
        "revocations_stale": report.stale,
    }
    if manifest is not None:
        content["manifest"] = {
            "name": manifest.name,
            "version": manifest.version,
            "not_before": manifest.not_before,
            "expires": manifest.expires,
        }
    if not report.believed:
        content["error"] = {"message": report.refusal, "hint": report.hint}
    return content
