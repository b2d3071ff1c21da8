"""Making the next trust set, and the next revocations: pure, unsigned, one version higher.

What comes out is a value. `encode()` of it is what the root keys (of this version and of the one before), or those of
the revocation role, then sign.

Not here: whether somebody may (`trust.next_trust`, `trust.revocations` see that from the signatures).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from mcpguard.errors import TrustError
from mcpguard.identity.keys import PublicKey
from mcpguard.identity.trust import LOCAL, REVOCATION, ROOT, Revocations, Role, TrustSet, checked

_SHOW: Final = "see `mcpguard trust show`"


def with_key(
    trust: TrustSet,
    name: str,
    key: PublicKey,
    *,
    threshold: int = 0,
    prefix: str | None = None,
    not_before: str | None = None,
    expires: str | None = None,
    until: str = "",
) -> TrustSet:
    """The next trust set, with a key added to a role; a namespace that is not there is made.

    Args:
        trust: The current one.
        name: `root`, `revocation`, or a namespace.
        key: The key; one that the role has already changes nothing but what is said below.
        threshold: How many must sign from now on; 0 leaves it (1 for a new namespace).
        prefix: Names of manifests it may sign; None leaves it (`NAMESPACE/` for a new one, every name for `local`).
        not_before: Validity of the role; None leaves it.
        expires: Validity of the role; None leaves it.
        until: When this key stops counting; empty for as long as its roles.

    Raises:
        TrustError: The result would not be a trust set.
    """
    role = trust.role(name) or Role(keys=(), prefix="" if name == LOCAL else f"{name}/")
    changes = {"prefix": prefix, "not_before": not_before, "expires": expires}
    role = msgspec.structs.replace(
        role,
        keys=role.keys if key.ident in role.keys else (*role.keys, key.ident),
        threshold=threshold or role.threshold,
        **{field: value for field, value in changes.items() if value is not None},
    )
    ends = {ident: end for ident, end in trust.until.items() if ident != key.ident}
    return _next(
        trust,
        trust.roles() | {name: role},
        trust.keys | {key.ident: key},
        ends | ({key.ident: until} if until else {}),
    )


def without_key(trust: TrustSet, name: str, ident: str) -> TrustSet:
    """The next trust set, with a key taken from a role; a publisher that has none left is taken out.

    Raises:
        TrustError: The role has no such key, or fewer would be left than must sign.
    """
    role = trust.role(name)
    if role is None or ident not in role.keys:
        raise TrustError(f"{name[:60]!a} has no key {ident[:60]!a}", hint=_SHOW)
    left = tuple(other for other in role.keys if other != ident)
    roles = trust.roles() | {name: msgspec.structs.replace(role, keys=left)}
    if not left and name in trust.publishers:
        del roles[name]
    return _next(trust, roles, trust.keys, trust.until)


def rotated(trust: TrustSet, ident: str, key: PublicKey) -> TrustSet:
    """The next trust set, with one key in the place of another in every role that has it, the root role included.

    Raises:
        TrustError: No role has the old key, or one has both.
    """
    if ident not in trust.keys:
        raise TrustError(f"the trust set has no key {ident[:60]!a}", hint=_SHOW)
    roles = {
        name: msgspec.structs.replace(
            role, keys=tuple(key.ident if other == ident else other for other in role.keys)
        )
        for name, role in trust.roles().items()
    }
    ends = {other: end for other, end in trust.until.items() if other != ident}
    return _next(trust, roles, trust.keys | {key.ident: key}, ends)


def renewed(trust: TrustSet, expires: str) -> TrustSet:
    """The next trust set, which says the same for longer. `expires` is RFC 3339.

    Raises:
        TrustError: `expires` is no moment.
    """
    return checked(msgspec.structs.replace(trust, version=trust.version + 1, expires=expires))


def revoke(
    current: Revocations | None,
    *,
    expires: str,
    keys: Iterable[str] = (),
    manifests: Iterable[str] = (),
    packages: Iterable[str] = (),
    minimum: Mapping[str, int] | None = None,
) -> Revocations:
    """The next revocations: everything that was revoked, and more. With nothing more it is the same for longer."""
    current = current or Revocations(version=0, expires=expires)
    lowest = dict(current.minimum)
    for name, version in (minimum or {}).items():
        lowest[name] = max(version, lowest.get(name, 0))
    return Revocations(
        current.version + 1,
        expires,
        current.keys | frozenset(keys),
        current.manifests | frozenset(manifests),
        current.packages | frozenset(packages),
        lowest,
    )


def _next(
    trust: TrustSet, roles: dict[str, Role], keys: Mapping[str, PublicKey], until: Mapping[str, str]
) -> TrustSet:
    """The next version, with these roles, and those of the keys that one of them names."""
    named = {ident for role in roles.values() for ident in role.keys}
    publishers = {name: role for name, role in roles.items() if name not in {ROOT, REVOCATION}}
    return checked(
        TrustSet(
            trust.version + 1,
            trust.expires,
            {ident: key for ident, key in keys.items() if ident in named},
            roles[ROOT],
            roles[REVOCATION],
            publishers,
            {ident: end for ident, end in until.items() if ident in named},
        )
    )
