"""What people are shown of the certificate registry, as lines and as JSON."""

from __future__ import annotations

from typing import Final

from mcpguard.cli.certified import Held
from mcpguard.identity.certificates import Certificate, fingerprint, read
from mcpguard.identity.certregistry import PINNED, Issued
from mcpguard.identity.pathcheck import utc
from mcpguard.model import JsonObject
from mcpguard.system.certstore import ROOT

_SHORT: Final = 16
"""Digits of a fingerprint that a line shows; `--json` and `cert show` show all."""


def state(entry: Issued, found: Certificate, now: float) -> str:
    """In a word: what a certificate is now."""
    if entry.revoked:
        return "revoked"
    if now > found.ends:
        return "expired"
    if now < found.begins:
        return "not yet"
    return "renewed" if entry.renewed else "pinned" if entry.how == PINNED else "valid"


def as_json(entry: Issued, held: Held, now: float) -> JsonObject:
    """One certificate, every member."""
    found = read(entry.der)
    used = held.used.get(found.fingerprint, 0.0)
    return {
        "name": entry.name,
        "state": state(entry, found, now),
        "how": entry.how,
        "fingerprint": found.fingerprint,
        "pin": found.pin,
        "serial": found.serial,
        "names": list(found.names.all),
        "principals": sorted(found.names.principals),
        "uses": list(found.uses),
        "issuer": found.issuer,
        "begins": utc(found.begins),
        "ends": utc(found.ends),
        "renewal": utc(found.renewal) if entry.kept and not entry.renewed else "",
        "last_used": utc(used) if used else "",
        "servers": list(entry.servers),
        "key": "kept" if entry.kept else "elsewhere",
        "renewed_as": entry.renewed,
        "revoked": utc(entry.revoked) if entry.revoked else "",
        "reason": entry.reason,
    }


def line(entry: Issued, held: Held, now: float) -> str:
    """One certificate in a line: who, until when, last used, pinned where."""
    shown = as_json(entry, held, now)
    found = read(entry.der)
    where = f"for {', '.join(entry.servers)}" if entry.servers else ""
    used = f"used {shown['last_used']}" if shown["last_used"] else "never used"
    who = ", ".join(found.names.all[:3]) + (" ..." if len(found.names.all) > 3 else "")
    return (
        f"{entry.name:<14}  {shown['state']:<7}  {'+'.join(found.uses):<13}  until {shown['ends']}  {used:<25}  "
        f"{found.fingerprint[:_SHORT]}  {who}  {where}"
    ).rstrip()


def lines(entry: Issued, held: Held, now: float) -> list[str]:
    """One certificate, a line for each member."""
    shown = as_json(entry, held, now)
    return [
        f"{key.replace('_', ' '):<12}  {', '.join(value) if isinstance(value, list) else value}"
        for key, value in shown.items()
        if value not in ("", [])
    ]


def authorities(held: Held) -> JsonObject:
    """The authorities that count."""
    own, registry = held.registry.authority, held.registry
    return {
        "authority": None
        if own is None
        else {
            "name": own.name,
            "domain": own.domain,
            "permitted": list(own.permitted),
            "root": {**_described(own.root), "key": "here, encrypted" if ROOT in held.keys else "elsewhere"},
            "intermediates": [_described(each) for each in own.between],
            "locked": own.locked,
            "crl": {"number": own.number, "until": [_until(each) for each in own.revocations]},
        },
        "imported": [
            {
                "name": each.name, "root": _described(each.root), "intermediates": len(each.between),
                "permitted": list(each.permitted), "crl": each.list_file, "fault": held.faults.get(each.name, ""),
            }
            for each in registry.imported
        ],
        "sources": [
            {
                "name": each.name, "from": each.socket or each.certificate, "fault": held.faults.get(each.name, ""),
            }
            for each in registry.sources
        ],
    }  # fmt: skip


def authority_lines(held: Held) -> list[str]:
    """Likewise for a person."""
    own, registry = held.registry.authority, held.registry
    found = []
    if own is None:
        found.append("no certificate authority of ours: mcpguard ca init")
    else:
        kept = "here, encrypted" if ROOT in held.keys else "not here"
        locked = ", locked: mcpguard ca unlock after each start" if own.locked else ""
        found += [
            f"{own.name}  issues mcpguard://{own.domain}/...{locked}",
            f"  may vouch for {', '.join(own.permitted)}",
            f"  root          until {utc(read(own.root).ends)}  {fingerprint(own.root)[:_SHORT]}  key {kept}",
            *(
                f"  intermediate  until {utc(read(one).ends)}  {fingerprint(one)[:_SHORT]}"
                for one in own.between
            ),
            *(f"  CRL           number {own.number}, until {_until(one)}" for one in own.revocations[:1]),
        ]
    for each in registry.imported:
        fault = held.faults.get(each.name, "")
        permitted = ", ".join(each.permitted) or "nothing by itself"
        found.append(f"{each.name}  imported, may vouch for {permitted}  until {utc(read(each.root).ends)}")
        found += [f"  {fault}"] if fault else []
    for source in registry.sources:
        fault = held.faults.get(source.name, "")
        found.append(f"{source.name}  SPIFFE, from {source.socket or source.certificate}")
        found += [f"  {fault}"] if fault else []
    return found


def _described(der: bytes) -> JsonObject:
    found = read(der)
    return {"subject": found.subject, "fingerprint": found.fingerprint, "ends": utc(found.ends)}


def _until(der: bytes) -> str:
    from cryptography import x509

    until = x509.load_der_x509_crl(der).next_update_utc
    return utc(until.timestamp()) if until is not None else ""
