"""Our own certificate authority at work: every change of the registry, one after the other, each recorded.

Rule 1. The record of a change is on stable storage before the change is made. A change that cannot be recorded is not
made.
Rule 2. A revocation holds even where its list cannot be signed because the keys are locked; the list follows.

Not here: who may ask (`daemon.certdesk`), when it is time for a renewal (`daemon.certificates`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mcpguard import limits
from mcpguard.daemon.privatekeys import Sealed, der, load_key, new_key
from mcpguard.errors import TrustError
from mcpguard.identity import certificates, certregistry, revocationlist, subjectnames
from mcpguard.identity.certificates import Key, Span, fingerprint, read
from mcpguard.identity.certregistry import PINNED, Authority, Imported, Issued, Registry, SvidSource
from mcpguard.identity.pathcheck import utc
from mcpguard.identity.subjectnames import Names
from mcpguard.system.certstore import LOCK, ROOT, CertStore, Change

DAY: Final = 24 * 3600
ROOT_SECONDS: Final = 10 * 365 * DAY
INTERMEDIATE_SECONDS: Final = 365 * DAY
Recorded = Callable[..., None]
"""Writes a record: the event, then members by name; raises JournalError if it cannot."""


class Plan(msgspec.Struct, frozen=True):
    """What an authority is made as.

    Attributes:
        name: What it is called.
        domain: Host of the URIs of its clients.
        permitted: What it may vouch for.
        root_seconds: How long its root holds.
        seconds: How long its intermediate holds.
        lock: Whether the keys that sign without anybody are encrypted, too.
    """

    name: str
    domain: str
    permitted: tuple[str, ...]
    root_seconds: int = ROOT_SECONDS
    seconds: int = INTERMEDIATE_SECONDS
    lock: bool = False


class Wanted(msgspec.Struct, frozen=True):
    """What a certificate is issued as.

    Attributes:
        name: What it is called here.
        names: The names in it.
        uses: `server`, `client` or both.
        seconds: How long it holds, and its renewals.
        servers: Servers that it is bound to.
    """

    name: str
    names: Names
    uses: tuple[str, ...]
    seconds: int = limits.LEAF_SECONDS
    servers: tuple[str, ...] = ()


class CertificateAuthority:
    """Changes the registry.

    Args:
        store: The registry and its keys.
        recorded: Records a change before it is made.
        clock: Now, Unix seconds.
    """

    def __init__(self, store: CertStore, recorded: Recorded, clock: Callable[[], float]) -> None:
        self.store = store
        self._recorded = recorded
        self._clock = clock

    # --- the authority itself -------------------------------------------------------------------------------

    def make(self, plan: Plan, sealed: Sealed, by: str) -> Authority:
        """Make the authority: root, intermediate, first revocation list.

        Raises:
            TrustError: There is one already.
        """
        now, root_key, key = self._clock(), load_key(sealed.root), new_key()
        begins = now - limits.BACKDATED_SECONDS
        root = certificates.make_root(plan.name, root_key, _serial(), Span(begins, now + plan.root_seconds))
        seconds = min(plan.seconds, plan.root_seconds)
        between = certificates.make_intermediate(
            plan.name,
            key.public_key(),
            root,
            root_key,
            _serial(),
            Span(begins, now + seconds),
            plan.permitted,
        )
        return self._begin("init", plan, root, (between,), key, sealed, by)

    def adopt(self, plan: Plan, chain: Sequence[bytes], key: Key, sealed: Sealed, by: str) -> Authority:
        """Sign with an intermediate of an existing PKI from now on; its root's key stays where it is.

        Raises:
            TrustError: There is an authority already, or key and chain do not fit.
        """
        root, others = sorted_chain(chain)
        mine = certificates.pin(key.public_key())
        signing = next((each for each in others if read(each).pin == mine), None)
        if signing is None:
            raise TrustError(
                "the key is not that of an intermediate in the chain", hint="give both from one authority"
            )
        between = (signing, *(each for each in others if each != signing))
        return self._begin("adopt", plan, root, between, key, sealed, by)

    def _begin(
        self,
        event: str,
        plan: Plan,
        root: bytes,
        between: tuple[bytes, ...],
        key: Key,
        sealed: Sealed,
        by: str,
    ) -> Authority:
        with self.store.changing() as change:
            if change.registry.authority is not None:
                raise TrustError("there is a certificate authority already", hint="mcpguard ca list")
            if any(each.name == plan.name or each.root == root for each in change.registry.imported):
                raise TrustError("this authority is imported already", hint=f"mcpguard ca forget {plan.name}")
            authority = Authority(plan.name, plan.domain, root, between, plan.permitted, locked=plan.lock)
            self._recorded(
                event,
                by=by,
                name=plan.name,
                root=fingerprint(root),
                permitted=list(plan.permitted),
                domain=plan.domain,
            )
            if sealed.root_file:
                change.keep(ROOT, sealed.root_file)
            if sealed.lock_file:
                change.keep(LOCK, sealed.lock_file)
                self.store.use(sealed.sealing)
            self._keep(change, fingerprint(between[0]), key, locked=plan.lock)
            registry = msgspec.structs.replace(change.registry, authority=authority)
            change.commit(self._with_lists(change, registry, self._clock()))
            return authority

    def renew_intermediate(self, root_key: Key, seconds: int, by: str, *, retire: bool = False) -> Authority:
        """Another intermediate, which signs from now on. With `retire`, those before and what they signed are void.

        Raises:
            TrustError: There is no authority, or the key is not its root's.
        """
        now, key = self._clock(), new_key()
        with self.store.changing() as change:
            old = _own(change.registry)
            if certificates.pin(root_key.public_key()) != read(old.root).pin:
                raise TrustError("the key is not that of this authority's root", hint="mcpguard ca list")
            span = Span(now - limits.BACKDATED_SECONDS, min(now + seconds, read(old.root).ends))
            made = certificates.make_intermediate(
                old.name, key.public_key(), old.root, root_key, _serial(), span, old.permitted
            )
            before = () if retire else tuple(each for each in old.between if read(each).ends > now)
            new = msgspec.structs.replace(old, between=(made, *before))
            self._recorded(
                "intermediate", by=by, name=old.name, intermediate=fingerprint(made), retired=retire
            )
            self._keep(change, fingerprint(made), key, locked=old.locked)
            change.commit(
                self._with_lists(change, msgspec.structs.replace(change.registry, authority=new), now)
            )
            return new

    def export_root(self, passphrase: str) -> bytes:
        """The root's private key as PKCS 8 PEM, encrypted under its passphrase. Slow; the caller records it.

        Raises:
            TrustError: It is not here, or does not open.
        """
        key = load_key(self.store.key(ROOT, passphrase))
        return key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase.encode("utf-8", "surrogateescape")),
        )

    def remove_root_key(self, by: str) -> None:
        """Remove the root's private key from here: from now on only the intermediate signs.

        Raises:
            TrustError: It is not here.
        """
        with self.store.changing() as change:
            if not change.has_key(ROOT):
                raise TrustError("the root's private key is not here", hint="mcpguard ca list")
            self._recorded("root-removed", by=by)
            change.drop(ROOT)

    # --- certificates ---------------------------------------------------------------------------------------

    def issue(self, wanted: Wanted, by: str, public: ec.EllipticCurvePublicKey | None = None) -> Issued:
        """A certificate for a public key; without one, for a key that is made and kept here.

        Raises:
            TrustError: The authority may not, its keys are locked, or the name is in use.
        """
        with self.store.changing() as change:
            if change.registry.current(wanted.name) is not None:
                raise TrustError(
                    f"there is a certificate called {wanted.name[:80]!a}",
                    hint=f"mcpguard ca renew {wanted.name}",
                )
            return self._issue(change, wanted, public, "issue", by)

    def renew(self, name: str, by: str, public: ec.EllipticCurvePublicKey | None = None) -> Issued:
        """The same certificate again, for another key. The one before counts until it ends.

        Raises:
            TrustError: There is none, its key is elsewhere and no other was given, or as for `issue`.
        """
        with self.store.changing() as change:
            old = change.registry.current(name)
            if old is None or old.how == PINNED:
                raise TrustError(
                    f"there is no certificate of ours called {name[:80]!a}", hint="mcpguard cert list"
                )
            if public is None and not old.kept:
                raise TrustError(
                    f"the key of {name[:80]!a} is not here",
                    hint="say where the next one goes: --out DIR, or --csr FILE",
                )
            found = read(old.der)
            wanted = Wanted(old.name, found.names, found.uses, old.seconds, old.servers)
            return self._issue(change, wanted, public, "renew", by)

    def revoke(self, what: str, reason: str, by: str) -> tuple[list[Issued], str]:
        """Revoke every certificate of a name, or one; what was, and why the list could not be signed (empty: it was).

        Raises:
            TrustError: There is none, or all are revoked already.
        """
        now = self._clock()
        with self.store.changing() as change:
            found = [each for each in change.registry.named(what) if not each.revoked]
            if not found:
                raise TrustError(f"{what[:80]!a} is revoked already", hint="mcpguard cert list --all")
            prints = [fingerprint(each.der) for each in found]
            self._recorded("revoke", by=by, name=found[0].name, certificates=prints[:16], reason=reason)
            registry = certregistry.revoked(change.registry, prints, now, reason)
            try:
                registry, why = self._with_lists(change, registry, now), ""
            except TrustError as error:
                why = error.sentence()
            change.commit(registry)
            return found, why

    def refresh_lists(self, by: str = "daemon") -> Authority:
        """New revocation lists, with the next number.

        Raises:
            TrustError: There is no authority, or its keys are locked.
        """
        with self.store.changing() as change:
            registry = self._with_lists(change, change.registry, self._clock())
            authority = _own(registry)
            self._recorded("list", by=by, number=authority.number)
            change.commit(registry)
            return authority

    # --- what others vouch for ------------------------------------------------------------------------------

    def trust(self, imported: Imported, by: str) -> None:
        """Let an authority of others count.

        Raises:
            TrustError: It is there already, or would speak for our own names.
        """
        with self.store.changing() as change:
            registry = change.registry
            self._name_is_free(registry, imported.name)
            own = registry.authority
            if own is not None and (own.root == imported.root or f"uri:{own.domain}" in imported.permitted):
                raise TrustError(
                    "another authority may not speak for our own", hint=f"leave out uri:{own.domain}"
                )
            self._recorded(
                "trust",
                by=by,
                name=imported.name,
                root=fingerprint(imported.root),
                permitted=list(imported.permitted),
            )
            new = (*registry.imported, imported)
            change.commit(msgspec.structs.replace(registry, imported=new))

    def follow(self, source: SvidSource, by: str) -> None:
        """Take a certificate from SPIFFE, and count the authorities of its trust domain.

        Raises:
            TrustError: The name is in use.
        """
        with self.store.changing() as change:
            registry = change.registry
            self._name_is_free(registry, source.name)
            self._recorded("follow", by=by, name=source.name, source=source.socket or source.certificate)
            change.commit(msgspec.structs.replace(registry, sources=(*registry.sources, source)))

    def forget(self, name: str, by: str) -> None:
        """Let an imported authority or an SVID source no longer count.

        Raises:
            TrustError: There is none of that name.
        """
        with self.store.changing() as change:
            registry = change.registry
            imported = tuple(each for each in registry.imported if each.name != name)
            sources = tuple(each for each in registry.sources if each.name != name)
            if (imported, sources) == (registry.imported, registry.sources):
                raise TrustError(f"nothing imported is called {name[:80]!a}", hint="mcpguard ca list")
            self._recorded("forget", by=by, name=name)
            change.commit(msgspec.structs.replace(registry, imported=imported, sources=sources))

    def pin(self, server: str, certificate: bytes, by: str) -> Issued:
        """Let a server have this certificate, whoever has signed it.

        Raises:
            TrustError: It is not one of a server, is pinned already, or is over.
        """
        found = read(certificate)
        if found.ends < self._clock():
            raise TrustError(
                f"the certificate expired at {utc(found.ends)}", hint="ask the server's owner for another"
            )
        with self.store.changing() as change:
            registry = change.registry
            if any(fingerprint(each.der) == found.fingerprint for each in registry.entries):
                raise TrustError("the certificate is in the registry already", hint="mcpguard cert list")
            entry = Issued(server, certificate, PINNED, (server,))
            self._recorded("pin", by=by, name=server, certificate=found.fingerprint, pin=found.pin)
            change.commit(certregistry.added(registry, entry, self._clock()))
            return entry

    def unpin(self, server: str, by: str) -> int:
        """Take every certificate that was pinned for a server out of the registry; how many.

        Raises:
            TrustError: There is none.
        """
        with self.store.changing() as change:
            registry = change.registry
            kept = tuple(
                each for each in registry.entries if each.how != PINNED or server not in each.servers
            )
            if not (many := len(registry.entries) - len(kept)):
                raise TrustError(f"nothing is pinned for {server[:80]!a}", hint="mcpguard cert list")
            self._recorded("unpin", by=by, name=server, count=many)
            change.commit(msgspec.structs.replace(registry, entries=kept))
            return many

    def note_list_number(self, name: str, number: int) -> None:
        """Remember the number of an imported authority's list: an older one counts no more."""
        with self.store.changing() as change:
            imported = tuple(
                msgspec.structs.replace(each, number=max(each.number, number)) if each.name == name else each
                for each in change.registry.imported
            )
            change.commit(msgspec.structs.replace(change.registry, imported=imported))

    # --- within a change ------------------------------------------------------------------------------------

    def _issue(
        self, change: Change, wanted: Wanted, public: ec.EllipticCurvePublicKey | None, event: str, by: str
    ) -> Issued:
        now = self._clock()
        authority = certregistry.check_new(change.registry, wanted.names, wanted.seconds)
        issuer = authority.between[0]
        if read(issuer).ends < now + limits.LEAF_LEAST_SECONDS:
            raise TrustError(
                f"the intermediate expired at {utc(read(issuer).ends)}",
                hint="mcpguard ca renew --intermediate",
            )
        issuer_key = load_key(change.key(fingerprint(issuer)))
        key = new_key() if public is None else None
        made = certificates.make_leaf(
            wanted.name,
            key.public_key() if key is not None else public,  # type: ignore[arg-type]  # one of them is there
            issuer,
            issuer_key,
            _serial(),
            Span(now - limits.BACKDATED_SECONDS, now + wanted.seconds),
            wanted.names,
            wanted.uses,
        )
        found = read(made)
        entry = Issued(
            wanted.name, made, servers=wanted.servers, kept=key is not None, seconds=wanted.seconds
        )
        registry = certregistry.added(change.registry, entry, now)
        self._recorded(
            event, by=by, name=wanted.name, certificate=found.fingerprint, serial=found.serial,
            names=list(found.names.all), uses=list(found.uses), until=utc(found.ends), servers=list(wanted.servers),
        )  # fmt: skip
        if key is not None:
            self._keep(change, found.fingerprint, key, locked=authority.locked)
        change.commit(registry)
        return entry

    def _keep(self, change: Change, name: str, key: Key, *, locked: bool) -> None:
        change.keep(name, self.store.sealed(der(key), name, locked=locked))

    def _with_lists(self, change: Change, registry: Registry, now: float) -> Registry:
        """With the next revocation lists, one of each intermediate.

        Raises:
            TrustError: The keys are locked.
        """
        authority = _own(registry)
        number = authority.number + 1
        made = []
        for each in authority.between:
            if not change.has_key(fingerprint(each)):
                continue  # of an adopted chain: not ours to sign for
            key = load_key(change.key(fingerprint(each)))
            entries = certregistry.listed(registry, read(each), now)
            span = Span(now, now + limits.CRL_SECONDS)
            made.append(revocationlist.make(each, key, number, span, entries))
        new = msgspec.structs.replace(authority, number=number, revocations=tuple(made), listed=now)
        return msgspec.structs.replace(registry, authority=new)

    @staticmethod
    def _name_is_free(registry: Registry, name: str) -> None:
        taken = {each.name for each in registry.imported} | {each.name for each in registry.sources}
        if registry.authority is not None:
            taken.add(registry.authority.name)
        if name in taken:
            raise TrustError(f"there is something called {name[:80]!a} already", hint="choose another --name")


def sorted_chain(chain: Sequence[bytes]) -> tuple[bytes, tuple[bytes, ...]]:
    """The root of a chain and its intermediates.

    Raises:
        TrustError: There is no root in it, there are several, or something in it is no authority.
    """
    roots = [each for each in chain if _self_signed(each)]
    if len(roots) != 1:
        raise TrustError(
            f"there are {len(roots)} root certificates in the chain",
            hint="give one file: one root, its intermediates",
        )
    if odd := [read(each).subject for each in chain if not read(each).authority]:
        raise TrustError(
            f"{odd[0][:80]!a} in the chain may not issue certificates", hint="give authorities only"
        )
    return roots[0], tuple(each for each in chain if each != roots[0])


def permissions(given: Sequence[str], domain: str) -> tuple[str, ...]:
    """What an authority may vouch for: what was given, each checked, and its own domain.

    Raises:
        TrustError: One is none.
    """
    return tuple(
        dict.fromkeys(
            (*(subjectnames.permission(each) for each in given), subjectnames.permission(f"uri:{domain}"))
        )
    )


def _own(registry: Registry) -> Authority:
    if registry.authority is None:
        raise TrustError("there is no certificate authority here yet", hint="mcpguard ca init")
    return registry.authority


def _self_signed(content: bytes) -> bool:
    found = certificates.loaded(content)
    try:
        found.verify_directly_issued_by(found)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _serial() -> int:
    return x509.random_serial_number()
