"""The verbs of admin.sock that concern certificates. What is heavy is imported when it is needed.

Rule: a passphrase is in the request and in nothing else: no record, no log, no reply has it.

Not here: who may ask (`daemon.control`).
"""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from mcpguard import limits
from mcpguard.audit import record
from mcpguard.daemon.control import Caller, Personal, Verb
from mcpguard.daemon.recorder import Recorder
from mcpguard.errors import TrustError
from mcpguard.model import Json, JsonObject
from mcpguard.protocol.control import Request
from mcpguard.system import paths

if TYPE_CHECKING:
    from mcpguard.daemon.certificates import Certificates
    from mcpguard.identity.certregistry import Issued

_log: Final = logging.getLogger("mcpguard")
_REFUSED_SECONDS: Final = 10.0
_REFUSED_KINDS: Final = 256
_A = TypeVar("_A", bound=msgspec.Struct)


class Making(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`ca-init`, and `ca-adopt` with `chain` and `key`.

    Attributes:
        name: What the authority is called.
        domain: Host of the URIs of its clients.
        permitted: What it may vouch for.
        passphrase: Of the root's key, and of all others where `lock` is set; of `key` for `ca-adopt`.
        lock: Whether the keys that sign without anybody are encrypted, too.
        root_days: How long the root holds.
        days: How long the intermediate holds.
        chain: PEM of an existing authority.
        key: PEM of its intermediate's private key.
    """

    name: str
    domain: str
    permitted: list[str]
    passphrase: str = ""
    lock: bool = False
    root_days: int = 3650
    days: int = 365
    chain: str = ""
    key: str = ""


class Issuing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`ca-issue` and, with a name and perhaps a request, `ca-renew`.

    Attributes:
        name: What the certificate is called.
        uses: `server`, `client`.
        dns: DNS names.
        ips: Addresses.
        uris: URIs.
        seconds: How long it holds.
        servers: Servers that it is bound to.
        request: A signing request, PEM; empty for a key that is kept here.
    """

    name: str
    uses: list[str] = []
    dns: list[str] = []
    ips: list[str] = []
    uris: list[str] = []
    seconds: int = limits.LEAF_SECONDS
    servers: list[str] = []
    request: str = ""


class RootUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`ca-intermediate`, `ca-root-export` and `ca-unlock`.

    Attributes:
        passphrase: Opens the key.
        key: PEM of the root's key where it was removed from here.
        days: How long the new intermediate holds.
        retire: Whether those before are void.
    """

    passphrase: str
    key: str = ""
    days: int = 365
    retire: bool = False


class Importing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`ca-import`: an authority of others, or an SVID source.

    Attributes:
        name: What it is called here.
        chain: PEM of its root and intermediates.
        permitted: What it may vouch for.
        list_file: Where its revocation list is.
        certificate: File of an SVID.
        key: File of its key.
        bundle: File of its trust domain's authorities.
        socket: The Workload API.
    """

    name: str
    chain: str = ""
    permitted: list[str] = []
    list_file: str = ""
    certificate: str = ""
    key: str = ""
    bundle: str = ""
    socket: str = ""


class CertDesk:
    """Certificates as the command line reaches them.

    Args:
        recorder: Where changes are recorded.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._keeper: Certificates | None = None
        self._failing = ""
        self._told: dict[tuple[str, str], float] = {}

    @property
    def keeper(self) -> Certificates:
        """The keeper, made when it is first needed.

        Raises:
            TrustError: The registry cannot be read.
        """
        if self._keeper is None:
            from mcpguard.daemon.authority import CertificateAuthority  # noqa: PLC0415 (x509 and all that)
            from mcpguard.daemon.certificates import Certificates  # noqa: PLC0415
            from mcpguard.system.certstore import CertStore  # noqa: PLC0415
            from mcpguard.system.truststore import wall_clock  # noqa: PLC0415

            def clock() -> float:
                return wall_clock().timestamp()

            authority = CertificateAuthority(CertStore(paths.certificates_dir()), self._recorded, clock)
            self._keeper = Certificates(authority, clock, self._refused)
        return self._keeper

    def tick(self) -> None:
        """What is due, if there is a registry."""
        try:
            if self._keeper is not None or (paths.certificates_dir() / "registry.json").exists():
                self.keeper.tick()
        except TrustError as error:
            if error.sentence() != self._failing:
                _log.error("%s", error.sentence())
            self._failing = error.sentence()

    def close(self) -> None:
        """Write down what is not yet."""
        if self._keeper is not None:
            self._keeper.close()

    def reading(self) -> dict[str, Verb]:
        """Verbs that change nothing."""
        return {"certificates": lambda _request: self.described()}

    def approving(self) -> dict[str, Personal]:
        """Verbs that no connected host, nor what it has started, may use."""
        return {
            "ca-init": self._init,
            "ca-adopt": self._adopt,
            "ca-unlock": self._unlock,
            "ca-intermediate": self._intermediate,
            "ca-root-export": self._root_export,
            "ca-root-remove": self._root_remove,
            "ca-issue": self._issue,
            "ca-renew": self._renew,
            "ca-revoke": self._revoke,
            "ca-crl": self._crl,
            "ca-import": self._import,
            "ca-forget": self._forget,
            "cert-pin": self._pin,
            "cert-unpin": self._unpin,
        }

    def described(self) -> JsonObject:
        """The registry as it is, encoded, with last uses."""
        keeper = self.keeper
        return {
            "registry": base64.b64encode(msgspec.json.encode(keeper.registry)).decode(),
            "used": {print_: keeper.last_used(print_) for print_ in keeper.prints()},
            "sources": keeper.faults(),
        }

    # --- the authority --------------------------------------------------------------------------------------

    async def _init(self, request: Request, caller: Caller) -> JsonObject:
        from mcpguard.daemon.authority import DAY, Plan, permissions  # noqa: PLC0415
        from mcpguard.daemon.privatekeys import seal  # noqa: PLC0415

        asked, authority = _asked(request, Making), self.keeper.authority
        plan = Plan(
            asked.name, asked.domain, permissions(asked.permitted, asked.domain), asked.root_days * DAY,
            asked.days * DAY, asked.lock,
        )  # fmt: skip
        sealed = await asyncio.to_thread(
            seal, asked.passphrase, authority.store.cost, root=True, lock=asked.lock
        )
        authority.make(plan, sealed, caller.words)
        return self._after()

    async def _adopt(self, request: Request, caller: Caller) -> JsonObject:
        from mcpguard.daemon.authority import Plan, permissions  # noqa: PLC0415
        from mcpguard.daemon.privatekeys import load_pem_key, seal  # noqa: PLC0415
        from mcpguard.identity.certificates import read_pem  # noqa: PLC0415

        asked, authority = _asked(request, Making), self.keeper.authority
        key = await asyncio.to_thread(load_pem_key, asked.key.encode(), asked.passphrase)
        sealed = await asyncio.to_thread(
            seal, asked.passphrase, authority.store.cost, root=False, lock=asked.lock
        )
        plan = Plan(asked.name, asked.domain, permissions(asked.permitted, asked.domain), lock=asked.lock)
        authority.adopt(plan, read_pem(asked.chain.encode()), key, sealed, caller.words)
        return self._after()

    async def _unlock(self, request: Request, caller: Caller) -> JsonObject:
        asked, authority = _asked(request, RootUse), self.keeper.authority
        await asyncio.to_thread(authority.store.unlock, asked.passphrase)
        self._recorded("unlock", by=caller.words)
        self.keeper.soon()
        return self._after()

    async def _intermediate(self, request: Request, caller: Caller) -> JsonObject:
        from mcpguard.daemon.authority import DAY  # noqa: PLC0415
        from mcpguard.daemon.privatekeys import load_key, load_pem_key  # noqa: PLC0415
        from mcpguard.system.certstore import ROOT  # noqa: PLC0415

        asked, authority = _asked(request, RootUse), self.keeper.authority
        if asked.key:
            key = await asyncio.to_thread(load_pem_key, asked.key.encode(), asked.passphrase)
        else:
            key = load_key(await asyncio.to_thread(authority.store.key, ROOT, asked.passphrase))
        authority.renew_intermediate(key, asked.days * DAY, caller.words, retire=asked.retire)
        return self._after()

    async def _root_export(self, request: Request, caller: Caller) -> JsonObject:
        asked, authority = _asked(request, RootUse), self.keeper.authority
        content = await asyncio.to_thread(authority.export_root, asked.passphrase)
        self._recorded("root-exported", by=caller.words)
        return {"pem": content.decode()}

    def _root_remove(self, _request: Request, caller: Caller) -> JsonObject:
        self.keeper.authority.remove_root_key(caller.words)
        return {}

    def _crl(self, _request: Request, caller: Caller) -> JsonObject:
        authority = self.keeper.authority.refresh_lists(caller.words)
        self.keeper.changed()
        return {"number": authority.number}

    # --- certificates ---------------------------------------------------------------------------------------

    def _issue(self, request: Request, caller: Caller) -> JsonObject:
        from mcpguard.daemon.authority import Wanted  # noqa: PLC0415
        from mcpguard.identity.certificates import USES, read_request  # noqa: PLC0415
        from mcpguard.identity.subjectnames import names  # noqa: PLC0415

        asked = _asked(request, Issuing)
        uses = tuple(use for use in USES if use in asked.uses)
        if not uses or set(asked.uses) - set(USES):
            raise TrustError("a certificate is for a server, a client, or both", hint="--server, --client")
        found = names(asked.dns, asked.ips, asked.uris)
        if not found.all:
            raise TrustError("the certificate would name nobody", hint="--dns, --ip or --uri")
        wanted = Wanted(asked.name, found, uses, asked.seconds, tuple(asked.servers))
        public = read_request(asked.request.encode()) if asked.request else None
        return self._made(self.keeper.authority.issue(wanted, caller.words, public))

    def _renew(self, request: Request, caller: Caller) -> JsonObject:
        from mcpguard.identity.certificates import read_request  # noqa: PLC0415

        asked = _asked(request, Issuing)
        public = read_request(asked.request.encode()) if asked.request else None
        return self._made(self.keeper.authority.renew(asked.name, caller.words, public))

    def _made(self, entry: Issued) -> JsonObject:
        from mcpguard.identity.certificates import fingerprint, pem  # noqa: PLC0415

        self.keeper.changed()
        authority = self.keeper.registry.authority
        root = pem([authority.root]).decode() if authority is not None else ""
        chain = pem([entry.der, *self.keeper.above(entry)]).decode()
        return {"name": entry.name, "fingerprint": fingerprint(entry.der), "chain": chain, "root": root}

    def _revoke(self, request: Request, caller: Caller) -> JsonObject:
        from mcpguard.identity.certificates import fingerprint  # noqa: PLC0415

        found, why = self.keeper.authority.revoke(request.name, request.reason or "unspecified", caller.words)
        self.keeper.changed()
        return {"revoked": [fingerprint(each.der) for each in found], "unlisted": why}

    # --- what others vouch for ------------------------------------------------------------------------------

    async def _import(self, request: Request, caller: Caller) -> JsonObject:
        from mcpguard.daemon.authority import sorted_chain  # noqa: PLC0415
        from mcpguard.identity.certificates import read_pem  # noqa: PLC0415
        from mcpguard.identity.certregistry import Imported, SvidSource  # noqa: PLC0415
        from mcpguard.identity.subjectnames import permission  # noqa: PLC0415

        asked, authority = _asked(request, Importing), self.keeper.authority
        if asked.chain:
            root, between = sorted_chain(read_pem(asked.chain.encode()))
            permitted = tuple(permission(each) for each in asked.permitted)
            authority.trust(Imported(asked.name, root, between, permitted, asked.list_file), caller.words)
        else:
            source = SvidSource(asked.name, asked.certificate, asked.key, asked.bundle, asked.socket)
            authority.follow(source, caller.words)
        self.keeper.changed()
        await self.keeper.look()
        return {"name": asked.name, "fault": self.keeper.faults().get(asked.name, "")}

    def _forget(self, request: Request, caller: Caller) -> JsonObject:
        self.keeper.authority.forget(request.name, caller.words)
        self.keeper.changed()
        return {}

    def _pin(self, request: Request, caller: Caller) -> JsonObject:
        from mcpguard.identity.certificates import fingerprint, read_pem  # noqa: PLC0415

        entry = self.keeper.authority.pin(request.name, read_pem(request.text.encode())[0], caller.words)
        self.keeper.changed()
        return {"fingerprint": fingerprint(entry.der)}

    def _unpin(self, request: Request, caller: Caller) -> JsonObject:
        many = self.keeper.authority.unpin(request.name, caller.words)
        self.keeper.changed()
        return {"unpinned": many}

    # --- within ---------------------------------------------------------------------------------------------

    def _after(self) -> JsonObject:
        self.keeper.changed()
        return {}

    def _recorded(self, event: str, **members: Json) -> None:
        self._recorder.append([record.certificate(event, **members)], durable=True)

    def _refused(self, what: str, why: str) -> None:
        """Record a refusal, the same one at most every few seconds: whoever tries again and again fills no disk."""
        now = asyncio.get_running_loop().time()
        if now - self._told.get((what, why), -_REFUSED_SECONDS) < _REFUSED_SECONDS:
            return
        if len(self._told) >= _REFUSED_KINDS:
            del self._told[next(iter(self._told))]
        self._told.pop((what, why), None)
        self._told[what, why] = now
        self._recorder.later([record.certificate("refused", name=what, reason=why)])


def _asked(request: Request, kind: type[_A]) -> _A:
    """What a request asks for.

    Raises:
        TrustError: It is not understood.
    """
    try:
        return msgspec.json.decode(request.text, type=kind)
    except (ValueError, RecursionError) as error:
        raise TrustError(
            f"the request is not understood: {error}", hint="is the daemon of this version? mcpguard status"
        ) from error
