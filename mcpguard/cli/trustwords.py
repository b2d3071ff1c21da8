"""Trust sets and revocations as a person reads them: what holds, and what would change."""

from __future__ import annotations

from mcpguard.identity.trust import REVOCATION, ROOT, Revocations, Role, TrustSet


def described(trust: TrustSet) -> list[str]:
    """Roles and keys, one line each."""
    lines = [f"trust set version {trust.version}, until {trust.expires}"]
    for name, role in _ordered(trust):
        lines.append(f"{name:<12}  {_rule(name, role)}")
        lines += [f"  {_key(trust, ident)}" for ident in role.keys]
    return lines


def changes(old: TrustSet, new: TrustSet) -> list[str]:
    """What is different in the new one, one line each, most powerful role first."""
    lines = []
    before, after = old.roles(), new.roles()
    for name, role in _ordered(new):
        was = before.get(name)
        if was is None:
            lines.append(f"new publisher {name}: {_rule(name, role)}")
        elif _rule(name, was) != _rule(name, role):
            lines.append(f"{name}: {_rule(name, was)} -> {_rule(name, role)}")
        kept = was.keys if was else ()
        lines += [f"+ {name}: {_key(new, ident)}" for ident in role.keys if ident not in kept]
        lines += [f"- {name}: {_key(old, ident)}" for ident in kept if ident not in role.keys]
    lines += [f"publisher {name} is no longer trusted" for name in before if name not in after]
    lines += [
        f"key {ident}: until {old.until.get(ident, 'its roles end')} -> {new.until.get(ident, 'its roles end')}"
        for ident in sorted(old.until.keys() | new.until.keys())
        if ident in old.keys and ident in new.keys and old.until.get(ident) != new.until.get(ident)
    ]
    if old.expires != new.expires:
        lines.append(f"the trust set holds until {new.expires}, not {old.expires}")
    return lines or ["nothing changes but the version"]


def revoked(revocations: Revocations) -> list[str]:
    """Everything that is revoked, one line each."""
    return [
        f"revocations version {revocations.version}, until {revocations.expires}",
        *(f"  key {ident}" for ident in sorted(revocations.keys)),
        *(f"  manifest {digest}" for digest in sorted(revocations.manifests)),
        *(f"  package {digest}" for digest in sorted(revocations.packages)),
        *(f"  {name} below version {version}" for name, version in sorted(revocations.minimum.items())),
    ]


def revoked_more(old: Revocations | None, new: Revocations) -> list[str]:
    """What the new revocations take away, or give back."""
    before = set(revoked(old)[1:]) if old else set()
    after = set(revoked(new)[1:])
    lines = [f"revoked: {line.strip()}" for line in sorted(after - before)]
    lines += [f"no longer revoked: {line.strip()}" for line in sorted(before - after)]
    return [*lines, f"the revocation file holds until {new.expires}"]


def _ordered(trust: TrustSet) -> list[tuple[str, Role]]:
    return [(ROOT, trust.root), (REVOCATION, trust.revocation), *sorted(trust.publishers.items())]


def _rule(name: str, role: Role) -> str:
    """What a role may do and how many must sign."""
    what = {ROOT: "says who is trusted", REVOCATION: "revokes"}.get(
        name, f"signs manifests called {role.prefix}*" if role.prefix else "signs manifests of any name"
    )
    parts = [what, f"{role.threshold} of {len(role.keys)}"]
    parts += [f"not before {role.not_before}"] if role.not_before else []
    parts += [f"until {role.expires}"] if role.expires else []
    return ", ".join(parts)


def _key(trust: TrustSet, ident: str) -> str:
    key = trust.keys[ident]
    end = f" until {trust.until[ident]}" if ident in trust.until else ""
    return f"{ident} ({key.kind}){end} {key.comment}".rstrip()
