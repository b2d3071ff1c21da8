"""The certificate registry: the authorities that count, and every certificate that is authorised. A value.

Rule 1. An authorised certificate is one in the registry: one that our authority has issued and written down, one that
a person has pinned, or one that an imported authority vouches for under a name it was given. What our own authority
has signed and is not here is refused: whoever has made it has stolen the key.
Rule 2. Revocation is final. It holds for the certificate, not for its name.
Rule 3. A renewal adds a certificate; the one before counts until it ends.

Not here: who keeps the keys (`system.certstore`), when it is time (`daemon.certificates`).

Decided:
    *One document, written as a whole*, because what counts must change at once: a revocation and the list that tells
    of it are one fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity import pathcheck, subjectnames
from mcpguard.identity.certificates import CLIENT, SERVER, Certificate, read
from mcpguard.identity.pathcheck import Anchor, utc
from mcpguard.identity.revocationlist import Entry, RevocationList
from mcpguard.identity.subjectnames import Names
from mcpguard.model import JsonObject

ISSUED: Final = "issued"
"""An entry that our authority has signed."""
PINNED: Final = "pinned"
"""An entry that a person has pinned: the certificate of somebody else."""
_LIST: Final = "mcpguard cert list"


class Issued(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One certificate of the registry.

    Attributes:
        name: What it is called here; the same for what it is renewed as.
        der: The certificate.
        how: `issued` or `pinned`.
        servers: Servers that it is bound to: as a server it is theirs, as a client it reaches only those.
        kept: Whether its private key is here; such a certificate is renewed without anybody.
        seconds: How long its renewals hold.
        renewed: Fingerprint of what it was renewed as; empty if it was not.
        revoked: When it was revoked, Unix seconds; 0.0 if it was not.
        reason: Why.
    """

    name: str
    der: bytes
    how: str = ISSUED
    servers: tuple[str, ...] = ()
    kept: bool = False
    seconds: int = limits.LEAF_SECONDS
    renewed: str = ""
    revoked: float = 0.0
    reason: str = ""


class Authority(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Our own authority.

    Attributes:
        name: What it is called.
        domain: Host of the URIs that it gives its clients: the trust domain.
        root: Root certificate, DER.
        between: Intermediates, DER, the one that signs first.
        permitted: What it may vouch for.
        number: Number of the newest revocation lists.
        revocations: Those lists, DER, one of each intermediate, in their order.
        listed: When they were made, Unix seconds.
        locked: Whether the keys that sign without anybody are encrypted.
    """

    name: str
    domain: str
    root: bytes
    between: tuple[bytes, ...]
    permitted: tuple[str, ...]
    number: int = 0
    revocations: tuple[bytes, ...] = ()
    listed: float = 0.0
    locked: bool = False

    @property
    def anchor(self) -> Anchor:
        """As path validation takes it."""
        return Anchor(self.root, self.between, self.permitted, self.name)


class Imported(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An authority of others that counts.

    Attributes:
        name: What it is called here.
        root: Root certificate, DER.
        between: Its intermediates, DER.
        permitted: What it may vouch for without an entry of its own; empty: only certificates that are pinned.
        list_file: Where its revocation list is; empty if it has none.
        number: The highest number of that list that was seen.
    """

    name: str
    root: bytes
    between: tuple[bytes, ...] = ()
    permitted: tuple[str, ...] = ()
    list_file: str = ""
    number: int = 0

    @property
    def anchor(self) -> Anchor:
        """As path validation takes it."""
        return Anchor(self.root, self.between, self.permitted, self.name)


class SvidSource(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where a workload's own certificate comes from, and the authorities of its trust domain.

    Attributes:
        name: What it is called here.
        certificate: File of the SVID and its intermediates, PEM; empty for the Workload API.
        key: File of its private key.
        bundle: File of the authorities of the trust domain.
        socket: Socket of the Workload API, `unix:PATH`; empty for files.
    """

    name: str
    certificate: str = ""
    key: str = ""
    bundle: str = ""
    socket: str = ""


class Registry(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Everything that counts.

    Attributes:
        version: Of this form.
        authority: Our own; None if there is none.
        imported: Those of others.
        entries: Certificates.
        sources: SVID sources.
    """

    version: int = 1
    authority: Authority | None = None
    imported: tuple[Imported, ...] = ()
    entries: tuple[Issued, ...] = ()
    sources: tuple[SvidSource, ...] = ()

    def current(self, name: str) -> Issued | None:
        """The newest certificate of a name that is not revoked; None if there is none."""
        found = [each for each in self.entries if each.name == name and not each.revoked and not each.renewed]
        return found[-1] if found else None

    def named(self, text: str) -> tuple[Issued, ...]:
        """Every certificate of a name, or the one whose fingerprint is or begins with the text.

        Raises:
            TrustError: There is none, or a beginning fits several.
        """
        if found := tuple(each for each in self.entries if each.name == text):
            return found
        wanted = text.lower().replace(":", "").removeprefix("sha256")
        found = tuple(
            each
            for each in self.entries
            if len(wanted) >= 6 and read(each.der).fingerprint.startswith(wanted)
        )
        if len(found) == 1:
            return found
        raise TrustError(
            f"{len(found) or 'no'} certificates are called {text[:80]!a}, by name or fingerprint", hint=_LIST
        )

    def pinned(self, server: str) -> tuple[Issued, ...]:
        """The certificates that a server may have; empty if none is bound to it."""
        return tuple(
            each for each in self.entries if server in each.servers and SERVER in read(each.der).uses
        )


# --- changes --------------------------------------------------------------------------------------------


def added(registry: Registry, entry: Issued, now: float) -> Registry:
    """With one certificate more; the current one of its name is renewed by it, and those long past are gone.

    Raises:
        TrustError: There are too many.
    """
    new = read(entry.der)
    kept = []
    for each in registry.entries:
        if read(each.der).ends + limits.CERTIFICATE_KEPT_SECONDS < now:
            continue
        if (
            each.name == entry.name
            and not each.renewed
            and not each.revoked
            and each.how == entry.how == ISSUED
        ):
            each = msgspec.structs.replace(each, renewed=new.fingerprint)  # noqa: PLW2901 (the same one, renewed)
        kept.append(each)
    if len(kept) >= limits.CERTIFICATES:
        raise TrustError(
            f"the registry has {limits.CERTIFICATES} certificates, and takes no more",
            hint="issue longer ones",
        )
    return msgspec.structs.replace(registry, entries=(*kept, entry))


def revoked(registry: Registry, fingerprints: Iterable[str], now: float, reason: str) -> Registry:
    """With these certificates revoked from now on; those that are already stay as they are."""
    wanted = set(fingerprints)
    entries = tuple(
        msgspec.structs.replace(each, revoked=now, reason=reason)
        if not each.revoked and read(each.der).fingerprint in wanted
        else each
        for each in registry.entries
    )
    return msgspec.structs.replace(registry, entries=entries)


def listed(registry: Registry, issuer: Certificate, now: float) -> list[Entry]:
    """What the next list of an intermediate tells: each revoked one that would otherwise still hold."""
    found = []
    for each in registry.entries:
        certificate = read(each.der)
        ours = each.how == ISSUED and certificate.issuer == issuer.subject
        if each.revoked and ours and certificate.ends > now:
            found.append(Entry(certificate.serial, each.revoked, each.reason or "unspecified"))
    return found


def due(registry: Registry, now: float) -> tuple[Issued, ...]:
    """The certificates whose keys are here and whose time for renewal has come."""
    return tuple(
        each
        for each in registry.entries
        if each.kept and not each.renewed and not each.revoked and read(each.der).renewal <= now
    )


# --- questions ------------------------------------------------------------------------------------------


class Identity(msgspec.Struct, frozen=True):
    """Whom a certificate stands for.

    Attributes:
        name: Name of its entry; empty if an imported authority alone vouches for it.
        principals: What policy may name.
        fingerprint: SHA-256 of the certificate, hex.
        begins: Unix seconds from which it counts.
        expires: Unix seconds until which it does.
        servers: Servers that it may reach; empty for all that policy allows.
        evidence: Members for records.
    """

    name: str
    principals: frozenset[str]
    fingerprint: str
    begins: float
    expires: float
    servers: tuple[str, ...]
    evidence: JsonObject


Lists = Mapping[str, RevocationList | TrustError]
"""The newest revocation list of each imported authority that has one, by name; or why there is none that counts."""


class Known(msgspec.Struct, frozen=True):
    """What is asked of for each certificate, ready.

    Attributes:
        registry: The registry.
        entries: Its entries by fingerprint.
        lists: Revocation lists of imported authorities.
        bundles: Authorities of SVID sources.
    """

    registry: Registry
    entries: Mapping[str, Issued]
    lists: Lists = {}
    bundles: tuple[Anchor, ...] = ()


def known(registry: Registry, lists: Lists | None = None, bundles: tuple[Anchor, ...] = ()) -> Known:
    """A registry ready to be asked."""
    return Known(
        registry, {read(each.der).fingerprint: each for each in registry.entries}, lists or {}, bundles
    )


def client(known: Known, der: bytes, now: float, shown: Sequence[bytes] = ()) -> Identity:
    """Whom a client's certificate stands for; `shown` are the intermediates that came with it, DER.

    Raises:
        TrustError: For nobody; the sentence says why.
    """
    found = read(der)
    identity = _authorised(known, found, CLIENT, now, shown=shown)
    if not identity.principals:
        raise TrustError(
            "the certificate names nobody whom policy could name", hint="issue it with a DNS name or a URI"
        )
    return identity


def server(
    known: Known, der: bytes, name: str, bound: str, now: float, shown: Sequence[bytes] = ()
) -> Identity:
    """Whether a server may be talked to.

    Args:
        known: What counts.
        der: The certificate that it shows.
        name: Host or address in its URL, or its SPIFFE name.
        bound: What the server is called here: where certificates are pinned for it, only those count.
        now: Unix seconds.
        shown: Intermediates that came with it, DER.

    Raises:
        TrustError: It may not; the sentence says why.
    """
    found = read(der)
    pins = known.registry.pinned(bound)
    if pins and not any(found.pin == read(each.der).pin for each in pins if not each.revoked):
        raise TrustError(
            f"the certificate of {bound[:80]!a} is not one that is pinned for it (its key is {found.pin})",
            hint=f"if that is right: mcpguard cert pin {bound} FILE",
        )
    return _authorised(known, found, SERVER, now, name, shown=shown)


def _authorised(
    known: Known, found: Certificate, use: str, now: float, name: str = "", *, shown: Sequence[bytes]
) -> Identity:
    entry = known.entries.get(found.fingerprint)
    if entry is not None and entry.revoked:
        raise TrustError(
            f"the certificate was revoked at {utc(entry.revoked)} ({entry.reason})", hint="issue another one"
        )
    pathcheck.check_life(found, now)
    pinned = entry is not None and entry.how == PINNED
    if entry is not None and pinned and use == SERVER:  # it names no client, whatever is in it
        if use not in found.uses and found.uses:
            raise TrustError(f"the certificate is not for a {use}", hint=_LIST)
        return _identity(found, entry, "pinned", found.names)
    registry = known.registry
    own = () if registry.authority is None else (registry.authority.anchor,)
    others = tuple(each.anchor for each in registry.imported)
    anchor = pathcheck.check(found, (*own, *others, *known.bundles), use, now, name, shown)
    if own and anchor is own[0]:
        if entry is None:
            raise TrustError(
                "the certificate is not in the registry, although our own authority has signed it",
                hint="its key is in other hands: make a new one with mcpguard ca renew --intermediate",
            )
        return _identity(found, entry, anchor.name, found.names)
    _check_list(known.lists, anchor, found)
    return _identity(found, entry, anchor.name, anchor.counted(found.names))


def _check_list(lists: Lists, anchor: Anchor, found: Certificate) -> None:
    listed = lists.get(anchor.name)
    if isinstance(listed, TrustError):
        raise listed
    if listed is not None and found.serial in listed.revoked:
        at = utc(listed.revoked[found.serial])
        raise TrustError(
            f"the certificate was revoked at {at} by its authority {anchor.name!a}", hint="show another one"
        )


def _identity(found: Certificate, entry: Issued | None, authority: str, names: Names) -> Identity:
    name = entry.name if entry is not None else ""
    evidence: JsonObject = {
        "certificate": found.fingerprint,
        "serial": found.serial,
        "names": list(names.all),
        "authority": authority,
        "until": utc(found.ends),
        **({"name": name} if name else {}),
    }
    servers = entry.servers if entry is not None else ()
    return Identity(name, names.principals, found.fingerprint, found.begins, found.ends, servers, evidence)


def check_new(registry: Registry, names: Names, seconds: int) -> Authority:
    """The authority that can issue a certificate with these names for so long.

    Raises:
        TrustError: There is none, it may not vouch for one of them, or that is too long or too short.
    """
    authority = registry.authority
    if authority is None:
        raise TrustError("there is no certificate authority here yet", hint="mcpguard ca init")
    if outside := subjectnames.outside(names, authority.permitted):
        raise TrustError(
            f"the authority may not vouch for {outside[0][:120]!a}",
            hint=f"it may for {', '.join(authority.permitted)}; a new one: mcpguard ca init --permit",
        )
    if not limits.LEAF_LEAST_SECONDS <= seconds <= limits.LEAF_MOST_SECONDS:
        raise TrustError(
            f"a certificate holds from {limits.LEAF_LEAST_SECONDS} s to {limits.LEAF_MOST_SECONDS // 86400} days",
            hint="it is renewed by itself, so it need not be long",
        )
    return authority


def same_trust(before: Known, after: Known) -> bool:
    """Whether the same authorities count, with the same lists: then an unchanged entry counts as before."""
    return _trust(before) == _trust(after)


def _trust(known: Known) -> tuple[object, ...]:
    own = known.registry.authority
    imported = tuple(msgspec.structs.replace(each, number=0) for each in known.registry.imported)
    return (own.anchor if own is not None else None, imported, dict(known.lists), known.bundles)
