"""The daemon's keeper of certificates: whom one stands for, contexts for TLS, renewal, revocation lists, last use.

Rule 1. What counts is what the registry says at this moment; a context that was made earlier asks it like any other.
Rule 2. A renewal is for new connections. The certificate before counts until it ends (`tlscontext`).
Rule 3. Whatever is wrong with a revocation list of others (missing, stale, older than one before) refuses what needs
it.

Cost: `still_valid` 0.4 to 0.6 us; `identify` 4 to 6 us for a certificate that was met before, 1.2 to 1.8 ms for a new
one; a tick without work 0.2 us; a renewal holds the loop for about 35 ms, most of it for the disk (CPython 3.11, two
runs of tests/bench/renewal.py on a 2-core virtual machine whose load was 7).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from cryptography.hazmat.primitives import serialization

from mcpguard import limits
from mcpguard.credentials.presented import Authenticated
from mcpguard.daemon.authority import CertificateAuthority
from mcpguard.daemon.privatekeys import load_key
from mcpguard.daemon.svidfeed import Shown, SvidFeed
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import GuardError, TrustError
from mcpguard.identity import certregistry, revocationlist
from mcpguard.identity.certificates import fingerprint, read
from mcpguard.identity.certregistry import Imported, Issued, Known
from mcpguard.identity.pathcheck import utc

if TYPE_CHECKING:
    import ssl

_log: Final = logging.getLogger("mcpguard")
_LOOK_SECONDS: Final = 5.0
"""How often lists and files of others are looked at, and whether something is due."""
_FLUSH_SECONDS: Final = 60.0
"""How often last uses are written down."""
_RETRY_SECONDS: Final = 60.0
"""After a renewal that failed, so long until the next try."""
_MET: Final = 4 * limits.CERTIFICATES

Refused = Callable[[str, str], None]
"""Told of a certificate that did not count: what it was shown for (`client`, or the name of a server), and why."""
Revoked = Callable[[str, str], None]
"""Told of a certificate that counts no longer: its fingerprint, and why."""

Met = Callable[[Sequence[bytes]], None]
"""Told of a chain that counted."""


def _unmet(_chain: Sequence[bytes]) -> None:
    """Tell nobody."""


def _untold(_what: str, _why: str) -> None:
    """Tell nobody."""


class _Context(NamedTuple):
    """A context that was given away: what it shows, which server it calls, and the authorities that it has from here.

    `server` is None where others say whom it trusts.
    """

    ref: weakref.ref[ssl.SSLContext]
    own: str
    server: str | None
    authorities: tuple[bytes, ...]


class _Met(msgspec.Struct, frozen=True):
    """A certificate that counted: whom it stands for, and for what it was shown; no server for a client's."""

    identity: certregistry.Identity
    certificate: bytes
    between: tuple[bytes, ...] = ()
    host: str = ""
    server: str = ""


class Certificates:
    """Keeps the certificates of one daemon.

    Args:
        authority: What changes the registry.
        clock: Now, Unix seconds.
        refused: Told of each certificate that did not count.
    """

    def __init__(
        self,
        authority: CertificateAuthority,
        clock: Callable[[], float] = time.time,
        refused: Refused = _untold,
    ) -> None:
        self.authority = authority
        self._store = authority.store
        self._clock = clock
        self._refused = refused
        self._watchers: list[Revoked] = []
        self._contexts: list[_Context] = []
        self._lists: dict[str, revocationlist.RevocationList | TrustError] = {}
        self._stamps: dict[str, tuple[int, int]] = {}
        self._reading: asyncio.Task[None] | None = None
        self.feeds: dict[str, SvidFeed] = {}
        self._used = self._store.last_used()
        self._flushed = self._looked = self._retry = 0.0
        self._dirty = False
        self._met: dict[str, _Met] = {}
        self._gone: dict[str, str] = {}
        self._known = certregistry.known(self._store.load())
        self._lists = self._read_lists(self.registry.imported)
        self._follow(self.registry)

    # --- questions ------------------------------------------------------------------------------------------

    @property
    def registry(self) -> certregistry.Registry:
        """The registry."""
        return self._known.registry

    def identify(self, certificate: bytes) -> Authenticated:
        """Whom a client's certificate stands for.

        Args:
            certificate: DER, as TLS has verified it: the peer has its key.

        Raises:
            TrustError: Nobody; the sentence says why.
        """
        identity = self._client((certificate,))
        name = identity.name or identity.fingerprint
        return Authenticated(
            principals=identity.principals,
            evidence=identity.evidence,
            expires=identity.expires,
            servers=identity.servers,
            instance=f"cert:{name}",
        )

    def still_valid(self, certificate: str) -> str:
        """Why a certificate that was identified counts no longer, by its fingerprint; empty if it does."""
        met = self._met.get(certificate)
        if met is None:
            return self._gone.get(certificate, "the certificate is not known any more")
        now = self._clock()
        begins, ends = met.identity.begins, met.identity.expires
        if begins <= now <= ends:
            return ""
        return f"the certificate holds from {utc(begins)} to {utc(ends)}, and it is {utc(now)}"

    def watch(self, revoked: Revoked) -> Callable[[], None]:
        """Be told of each certificate that counts no longer although it has not ended; returns what ends that."""
        self._watchers.append(revoked)
        return lambda: self._watchers.remove(revoked)

    def last_used(self, certificate: str) -> float:
        """When a certificate was last seen, Unix seconds; 0.0 for never."""
        return self._used.get(certificate, 0.0)

    def _client(self, chain: Sequence[bytes]) -> certregistry.Identity:
        certificate, *between = chain
        now, print_ = self._clock(), fingerprint(certificate)
        met = self._met.get(print_)
        if met is None or not met.identity.begins <= now <= met.identity.expires:
            try:
                identity = certregistry.client(self._known, certificate, now, between)
            except TrustError as error:
                self._refused("client", error.sentence())
                raise
            met = _Met(identity, certificate, tuple(between))
            self._meet(met)
        self._note(print_, now)
        return met.identity

    def _server(self, chain: Sequence[bytes], host: str, server: str) -> None:
        certificate, *between = chain
        now = self._clock()
        try:
            identity = certregistry.server(self._known, certificate, host, server, now, between)
        except TrustError as error:
            self._refused(server, error.sentence())
            raise
        self._meet(_Met(identity, certificate, tuple(between), host, server))
        self._note(identity.fingerprint, now)

    def _meet(self, met: _Met) -> None:
        if len(self._met) >= _MET:
            del self._met[next(iter(self._met))]
        self._met[met.identity.fingerprint] = met
        self._gone.pop(met.identity.fingerprint, None)

    def _note(self, certificate: str, now: float) -> None:
        self._used[certificate] = now
        self._dirty = True

    # --- contexts -------------------------------------------------------------------------------------------

    def listener(self, own: str, *, required: bool = True) -> ssl.SSLContext:
        """A context for a listener that shows our certificate `own`; a client's is checked in the handshake.

        It stays up to date: what is renewed or revoked holds for the next connection.

        Args:
            own: Name of an entry whose key is here, or of an SVID source.
            required: Whether a client has to show a certificate.

        Raises:
            TrustError: There is no such certificate here, or its key is locked.
        """
        from mcpguard.daemon import tlscontext  # noqa: PLC0415 (ssl is loaded when it is used)

        context = tlscontext.listening(self._authorities(""), self._client, required=required)
        return self._shown(context, own)

    def remote(self, server: str, host: str, own: str = "", met: Met = _unmet) -> ssl.SSLContext:
        """A context for calls to a remote server, which the handshake checks: authority, name, pin, revocation.

        Args:
            server: What it is called here: certificates pinned for it are the only ones that count.
            host: Host or address in its URL, or its SPIFFE name.
            own: Name of the certificate that we show, as for `listener`; empty for none.
            met: Told of each chain that counted, DER, the server's own certificate first.

        Raises:
            TrustError: As for `listener`; or no authority counts here and nothing is pinned.
        """
        from mcpguard.daemon import tlscontext  # noqa: PLC0415 (ssl is loaded when it is used)

        authorities = self._authorities(server)
        if not authorities:
            raise TrustError(
                f"no authority counts here, and no certificate is pinned for {server[:80]!a}",
                hint=f"mcpguard ca import --chain FILE, or mcpguard cert pin {server} FILE",
            )

        def check(shown: Sequence[bytes]) -> None:
            self._server(shown, host, server)
            met(shown)

        return self._shown(tlscontext.calling(authorities, check), own, server)

    def showing(self, context: ssl.SSLContext, own: str) -> None:
        """Let a context of others show our certificate from now on, renewed or not; its authorities stay its own.

        Raises:
            TrustError: As for `listener`.
        """
        self._shown(context, own, None)

    def refusal(self, chain: Sequence[bytes], host: str, server: str) -> str:
        """Why a chain that counted for a server (`remote`) counts no longer; empty if it does."""
        certificate, *between = chain
        try:
            certregistry.server(self._known, certificate, host, server, self._clock(), between)
        except TrustError as error:
            return error.sentence()
        return ""

    def _authorities(self, server: str) -> tuple[bytes, ...]:
        """What TLS lets a certificate lead to; the registry is asked afterwards, and is stricter."""
        registry = self.registry
        found: list[bytes] = []
        if registry.authority is not None:
            found += [registry.authority.root, *registry.authority.between]
        for each in registry.imported:
            found += [each.root, *each.between]
        for feed in self.feeds.values():
            found += [each.root for each in feed.anchors]
        found += [each.der for each in registry.pinned(server) if server]
        return tuple(dict.fromkeys(found))

    def _shown(self, context: ssl.SSLContext, own: str, server: str | None = "") -> ssl.SSLContext:
        """`server` is None where others say whom the context trusts."""
        if own:
            self._show(context, own)
        authorities = self._authorities(server) if server is not None else ()
        self._contexts.append(_Context(weakref.ref(context), own, server, authorities))
        return context

    def _show(self, context: ssl.SSLContext, own: str) -> None:
        from mcpguard.daemon import tlscontext  # noqa: PLC0415 (ssl is loaded when it is used)

        shown = self.own(own)
        tlscontext.show(context, shown.chain, shown.key, self._store.directory)

    def own(self, name: str) -> Shown:
        """A certificate of ours and its key.

        Raises:
            TrustError: There is none here, or its key is locked.
        """
        if (feed := self.feeds.get(name)) is not None:
            if feed.shown is None:
                raise TrustError(f"the SVID source {name[:80]!a} has given no certificate", hint=feed.fault)
            return feed.shown
        entry = self.registry.current(name)
        if entry is None or not entry.kept:
            raise TrustError(
                f"there is no certificate called {name[:80]!a} whose key is here",
                hint=f"mcpguard ca issue {name}",
            )
        key = load_key(self._store.key(fingerprint(entry.der)))
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Shown((entry.der, *self.above(entry)), text)

    def above(self, entry: Issued) -> tuple[bytes, ...]:
        """The intermediate of a certificate that our authority has issued."""
        authority, issuer = self.registry.authority, read(entry.der).issuer
        between: Sequence[bytes] = authority.between if authority is not None else ()
        return tuple(each for each in between if read(each).subject == issuer)

    # --- changes --------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """The registry has changed: look at it anew, show what was renewed, tell of what counts no longer."""
        before = self._known
        self._follow(self._store.load())
        names = {each.own for each in self._contexts if each.own not in self.feeds}
        renewed = {name for name in names if before.registry.current(name) != self.registry.current(name)}
        self._renew_contexts(renewed)
        self._look_again(before)

    def _follow(self, registry: certregistry.Registry) -> None:
        """Take up a registry: its SVID sources are those that are asked from now on."""
        wanted = {each.name: each for each in registry.sources}
        for name, feed in list(self.feeds.items()):
            if wanted.get(name) != feed.source:
                feed.close()
                del self.feeds[name]
        for name, source in wanted.items():
            if name not in self.feeds:
                self.feeds[name] = SvidFeed(source)
        self._known = self._fresh(registry)

    def fed(self, name: str) -> None:
        """An SVID source has given something else."""
        before = self._known
        self._known = self._fresh(self.registry)
        self._renew_contexts({name})
        self._look_again(before)

    def _fresh(self, registry: certregistry.Registry) -> Known:
        bundles = tuple(anchor for feed in self.feeds.values() for anchor in feed.anchors)
        return certregistry.known(registry, dict(self._lists), bundles)

    def _renew_contexts(self, names: set[str]) -> None:
        """Show what is new in every context that is still in use, and let it know authorities that have come.

        Those that have gone it still knows; the registry, which is asked in each handshake, does not.
        """
        from mcpguard.daemon import tlscontext  # noqa: PLC0415 (ssl is loaded when it is used)

        known, self._contexts = self._contexts, []
        for each in known:
            context, own = each.ref(), each.own
            if context is None:
                continue
            authorities = self._authorities(each.server) if each.server is not None else each.authorities
            self._contexts.append(each._replace(authorities=authorities))
            if authorities != each.authorities:
                tlscontext.admit(context, authorities)
            if own not in names:
                continue
            try:
                self._show(context, own)
            except TrustError as error:
                _log.error("new connections still get the old certificate of %s: %s", own, error.sentence())

    def _look_again(self, before: Known) -> None:
        """Tell of each certificate met that counts no longer."""
        now, same = self._clock(), certregistry.same_trust(before, self._known)
        for print_, met in list(self._met.items()):
            unchanged = before.entries.get(print_) == self._known.entries.get(print_)
            if same and unchanged and not met.server:
                continue
            if why := self._fault(met, now):
                del self._met[print_]
                self._gone[print_] = why
                if len(self._gone) > _MET:
                    del self._gone[next(iter(self._gone))]
                for tell in list(self._watchers):
                    tell(print_, why)

    def _fault(self, met: _Met, now: float) -> str:
        try:
            if met.server:
                certregistry.server(self._known, met.certificate, met.host, met.server, now, met.between)
            else:
                certregistry.client(self._known, met.certificate, now, met.between)
        except TrustError as error:
            return error.sentence()
        return ""

    def prints(self) -> list[str]:
        """Fingerprints of what is in the registry, and of what was met without being in it."""
        return list(dict.fromkeys((*self._known.entries, *self._met)))

    def faults(self) -> dict[str, str]:
        """What is wrong with lists and sources of others, by name."""
        found = {name: each.sentence() for name, each in self._lists.items() if isinstance(each, TrustError)}
        return found | {name: feed.fault for name, feed in self.feeds.items() if feed.fault}

    # --- time -----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """What is due: renewals, revocation lists, files of others, last uses. Called about once a second."""
        now = self._clock()
        if self._dirty and now - self._flushed >= _FLUSH_SECONDS:
            self.flush()
        if abs(now - self._looked) < _LOOK_SECONDS:
            return
        self._looked = now
        if self._reading is None or self._reading.done():
            self._reading = spawn_task(self.look(), name="revocation lists of others")
        if abs(now - self._retry) >= _RETRY_SECONDS:
            self._renew(now)

    def soon(self) -> None:
        """Look at what is due with the next tick: something that was in the way is gone."""
        self._looked = self._retry = 0.0

    def _renew(self, now: float) -> None:
        registry = self.registry
        own = registry.authority
        due = certregistry.due(registry, now)
        stale = own is not None and bool(own.revocations) and own.listed + limits.CRL_SECONDS / 2 <= now
        for work in (
            *(partial(self.authority.renew, each.name, "daemon") for each in due),
            *((self.authority.refresh_lists,) if stale else ()),
        ):
            try:
                work()
            except GuardError as error:
                self._retry = now
                _log.error("not renewed: %s", error.sentence())
        if due or stale:
            self.changed()

    def flush(self) -> None:
        """Write down when certificates were last used."""
        self._flushed, self._dirty = self._clock(), False
        prints = set(self._known.entries) | set(self._met)
        self._used = {print_: at for print_, at in self._used.items() if print_ in prints}
        try:
            self._store.note_used(self._used)
        except TrustError as error:
            _log.warning("%s", error.sentence())

    def close(self) -> None:
        """Write down what is not yet, and let go of what others keep."""
        if self._dirty:
            self.flush()
        for feed in self.feeds.values():
            feed.close()

    # --- revocation lists of others -------------------------------------------------------------------------

    async def look(self) -> None:
        """Look at what others keep up to date now: revocation lists and SVIDs."""
        for name, feed in list(self.feeds.items()):
            given = await asyncio.to_thread(feed.latest)
            if feed.take(given, self._clock()) and self.feeds.get(name) is feed:
                self.fed(name)
        found = await asyncio.to_thread(self._read_lists, self.registry.imported)
        if found == self._lists:
            return
        self._lists = found
        for each in self.registry.imported:
            listed = found.get(each.name)
            if isinstance(listed, revocationlist.RevocationList) and listed.number > each.number:
                self.authority.note_list_number(each.name, listed.number)
        self.changed()

    def _read_lists(
        self, imported: Sequence[Imported]
    ) -> dict[str, revocationlist.RevocationList | TrustError]:
        """The lists of imported authorities, or why one does not count."""
        now = self._clock()
        found: dict[str, revocationlist.RevocationList | TrustError] = {}
        for each in imported:
            if each.list_file:
                new = self._list(each, now)
                old = self._lists.get(each.name)
                same = (
                    isinstance(new, TrustError) and isinstance(old, TrustError) and new.message == old.message
                )
                found[each.name] = old if same and old is not None else new
        return found

    def _list(self, imported: Imported, now: float) -> revocationlist.RevocationList | TrustError:
        before = self._lists.get(imported.name)
        path = Path(imported.list_file)
        try:
            info = path.stat()
            stamp = info.st_mtime_ns, info.st_ino
            if isinstance(before, revocationlist.RevocationList) and stamp == self._stamps.get(imported.name):
                return before if before.until >= now else self._stale(before)
            content = path.read_bytes()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            return TrustError(
                f"the revocation list of {imported.name!a} cannot be read: {reason}", hint=f"look at {path}"
            )
        least = before.number if isinstance(before, revocationlist.RevocationList) else imported.number
        try:
            found = self._listed(content, imported, now, max(least, imported.number))
        except TrustError as error:
            return error
        self._stamps[imported.name] = stamp
        return found

    @staticmethod
    def _listed(content: bytes, imported: Imported, now: float, least: int) -> revocationlist.RevocationList:
        """The list, by whichever certificate of the authority has signed it."""
        for issuer in imported.between:
            with contextlib.suppress(TrustError):
                return revocationlist.read(content, issuer, now, least)
        return revocationlist.read(content, imported.root, now, least)

    @staticmethod
    def _stale(before: revocationlist.RevocationList) -> TrustError:
        return TrustError(
            f"the revocation list ran out at {utc(before.until)}", hint="get the newest list from its issuer"
        )
