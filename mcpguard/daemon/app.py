"""The daemon: wires the rooms together, serves until told to stop, and leaves nothing behind.

An on-demand daemon ends by itself after a time without connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import resource
import secrets
import signal
import socket
import time
from collections.abc import Callable, Coroutine

import msgspec

from mcpguard import __version__, limits
from mcpguard.approvals.book import Book
from mcpguard.audit import record, redact
from mcpguard.daemon import admission, control
from mcpguard.daemon.admission import Admission
from mcpguard.daemon.approvals import Approvals
from mcpguard.daemon.audience import Audience
from mcpguard.daemon.beyond import Beyond
from mcpguard.daemon.callers import Callers
from mcpguard.daemon.company import Company
from mcpguard.daemon.desk import Desk
from mcpguard.daemon.enrolments import Enrolments
from mcpguard.daemon.exporter import Exporter
from mcpguard.daemon.folders import Folders
from mcpguard.daemon.instances import Instances
from mcpguard.daemon.keeping import Keeping
from mcpguard.daemon.launching import Launcher, hello_for
from mcpguard.daemon.lifeline import Lifeline
from mcpguard.daemon.listener import Listener
from mcpguard.daemon.loginwatch import LoginWatch
from mcpguard.daemon.metrics import Meter
from mcpguard.daemon.networkparty import NetworkParty
from mcpguard.daemon.notify import Desktop
from mcpguard.daemon.party import Courier, Party
from mcpguard.daemon.peering import Rooms
from mcpguard.daemon.policies import Policies, Standing
from mcpguard.daemon.polkit import Polkit
from mcpguard.daemon.presence import Presence, presence_file
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.registry import Registered, Registry
from mcpguard.daemon.secretdesk import SecretDesk
from mcpguard.daemon.secrets import Secrets
from mcpguard.daemon.session import Session
from mcpguard.daemon.spawn import Spawner
from mcpguard.daemon.tasks import spawn_task
from mcpguard.daemon.trustdesk import TrustDesk
from mcpguard.daemon.vigilance import Vigilance
from mcpguard.errors import DaemonError, GoneError, GuardError
from mcpguard.model import JsonObject, how_many
from mcpguard.policy.rules import RuleSet
from mcpguard.protocol.control import Request
from mcpguard.system import paths
from mcpguard.system.allocator import give_back, quiet_collector
from mcpguard.system.approver import Below
from mcpguard.system.argumentkeys import ArgumentKeys
from mcpguard.system.folderstore import FolderStore
from mcpguard.system.hostsfile import HostsFile
from mcpguard.system.journal import Journal
from mcpguard.system.journalhome import boot_id
from mcpguard.system.kernel import Kernel
from mcpguard.system.memory import open_descriptors, pss
from mcpguard.system.memoryfile import MemoryFile
from mcpguard.system.peercred import attest
from mcpguard.system.policystore import PolicyStore
from mcpguard.system.residue import give_back_code
from mcpguard.system.secretuse import SecretUse
from mcpguard.system.serverstore import ServerStore
from mcpguard.system.servicenotify import ServiceNotify
from mcpguard.system.sinkfile import SinkFile
from mcpguard.system.truststore import Seen, TrustStore
from mcpguard.system.vault import Vault

_log = logging.getLogger("mcpguard")
_TICK_SECONDS = 1.0
_STOP_SECONDS = 5.0
_JUDGE_SECONDS = 30.0
"""How often the manifests of running servers are judged again: they expire, and keys do."""
_NOTE_SECONDS = 3600.0
"""How often what is trusted is written to the log, so that its newest segments always have it."""


class Service(msgspec.Struct, frozen=True):
    """What a service manager has to do with this daemon.

    Attributes:
        sockets: Those that it handed over, by name.
        notify: Where it wants to hear how we are.
    """

    sockets: dict[str, socket.socket] = {}
    notify: ServiceNotify = msgspec.field(default_factory=lambda: ServiceNotify({}))

    @property
    def managed(self) -> bool:
        """Whether there is one."""
        return bool(self.sockets) or self.notify.heard


class Daemon:
    """Everything that serves one user on one machine.

    Args:
        journal: The audit log, open.
        store: Where the applied policy lives.
        idle: End after this many seconds without a connection; 0 for never.
        line_seconds: Time in which a host must complete a line that it has begun.
        remembered: The rollback state that the audit log has last seen.
        service: The service manager that has started us, if one has.
        audience: Whom to serve.
    """

    def __init__(
        self,
        journal: Journal,
        store: PolicyStore,
        idle: float,
        line_seconds: float = limits.IDLE_LINE_SECONDS,
        remembered: Seen | None = None,
        service: Service | None = None,
        audience: Audience = Audience(),  # noqa: B008 (frozen)
    ) -> None:
        self._audience = audience
        self._service = service or Service()
        self._recorder = Recorder(journal)
        redact.install(redact.Redactor(journal.key))
        self._folders = folders = Folders(FolderStore(paths.policy_dir()))
        self._policies = Policies(store, folders)
        self._idle = idle
        self._line_seconds = line_seconds
        self._spawner = Spawner()
        self._exporter = Exporter(SinkFile(paths.export_dir()), paths.audit_dir())
        self._sessions: dict[str, Session] = {}
        enrolments = Enrolments(HostsFile(paths.hosts_dir()))
        trusted = TrustStore(paths.trust_dir())
        trust = TrustDesk(trusted, remembered, self._trust_changed)
        registry = Registry(ServerStore(paths.servers_dir()), trusted, check=trust.check)
        self._launcher = Launcher(paths.store_dir(), paths.runtime_dir())
        book = Book(secrets.token_bytes(32))
        self._instances = Instances(MemoryFile(paths.memory_dir()), boot_id().decode())
        self._logins = LoginWatch()
        presence = Presence(
            presence_file(), lambda: self._policies.rules.approving.presence, Polkit(), self._presence_changed
        )
        self._approvals = approvals = Approvals(
            book, self._recorder, self._sessions, presence, self._instances.tickets
        )
        self._keeping = keeping = Keeping(ArgumentKeys(journal.directory), self._recorder)
        self._desktop = Desktop(lambda: self._policies.rules.approving.notify)
        approvals.add(self._desktop)
        self._vigilance = vigilance = Vigilance(
            self._recorder, self._policies, self._sessions, self._instances, self._desktop, approvals,
            lambda session: self._renew(session, session.standing),
        )  # fmt: skip
        self._secrets = Secrets(
            Vault(paths.secrets_dir()), SecretUse(paths.secrets_dir()), self._recorder, paths.runtime_dir()
        )
        self._secretdesk = SecretDesk(self._secrets, self._recorder, self._sessions, presence)
        self._beyond = beyond = Beyond(
            self._recorder,
            registry,
            Rooms(self._open, self._renew_party, _schema, registry.known, vigilance.refused),
            self._secrets,
            self._cut,
        )
        self._admission = Admission(
            self._recorder,
            self._spawner,
            Callers(enrolments, Kernel()),
            registry,
            self._launcher,
            self._policies,
            Company(book, self._instances, approvals.changed, keeping.keep, self._secrets),
            audience,
            vigilance,
            self._secrets,
            beyond.authorizer,
            beyond.registry,
        )
        self._desk = desk = Desk(self._recorder, enrolments, trust, registry, self._sessions, self._repinned)
        self._judged = self._noted = asyncio.get_running_loop().time()
        self._looked = 0.0
        self._counter = itertools.count(1)
        self._meter = Meter()
        self._totals = {"allowed": 0, "denied": 0, "dropped": 0}
        self._served = 0
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._began = time.time()
        self._busy_until = asyncio.get_running_loop().time()
        self._tidy = False
        self._own: frozenset[tuple[int, int] | str] = frozenset()
        self._verbs = control.Verbs(
            reading={
                "status": self._status,
                "metrics": lambda _: self._metrics(),
                "audit-sign": self._sign,
                "presence": presence.described,
                **folders.reading(),
                **desk.reading(),
                **approvals.reading(),
                **vigilance.quarantine.reading(),
                **beyond.reading(),
                **self._secretdesk.reading(),
            },
            changing={
                "policy-apply": self._apply,
                "stop": self._stop,
                **desk.changing(),
                **folders.changing(self._recorder, self._refold),
                **beyond.changing(),
            },
            approving={
                **approvals.approving(),
                **presence.changing(),
                **keeping.erasing(),
                **vigilance.quarantine.approving(),
                **beyond.approving(),
                **self._secretdesk.approving(),
            },
            askers=self._askers,
            hosts=self._enrolled,
            keepers=_keepers(),
            audience=audience,
            holding=beyond.holding(),
            metrics=self._metrics,
        )

    async def serve(self) -> None:
        """Serve until told to stop, then end every session and close the journal."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        if self._service.managed or self._audience.everybody:
            loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._desk.note_trust("start")
        self._vigilance.start()
        self._approvals.abandoned(self._instances.open_tickets)
        await self._spawner.start()
        self._launcher.start()
        admin = Listener(
            paths.admin_socket(),
            lambda sock: self._launch(control.answer(sock, self._verbs), "a control request"),
            handed=self._service.sockets.get("admin"),
        )
        run = Listener(
            paths.run_socket(),
            lambda sock: self._launch(self._connected(sock, run.settled), "a connection"),
            most=limits.HANDSHAKES,
            shims=True,
            everybody=self._audience.everybody,
            handed=self._service.sockets.get("run"),
        )
        self._own = run.identity() | admin.identity()
        _log.info("mcpguard %s serves at %s", __version__, paths.runtime_dir())
        self._beyond.load()
        self._service.notify.ready(self._in_a_line())
        try:
            await self._until_stopped()
        finally:
            self._service.notify.stopping()
            run.close()
            self._beyond.shut()
            self._approvals.close()
            await self._desktop.close()
            await self._end_sessions()
            self._logins.close()
            self._instances.remember(now=True)
            await self._spawner.close()
            await self._launcher.close()
            admin.close()
            await self._vigilance.close()
            await self._beyond.close()
            await self._recorder.close()
            self._keeping.close()
            await self._exporter.close()

    def _launch(self, work: Coroutine[None, None, None], name: str) -> None:
        task = spawn_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- connections ---------------------------------------------------------------------------------------

    async def _connected(self, sock: socket.socket, settled: Callable[[], None]) -> None:
        """Serve one shim; `settled` is told once it is admitted or refused."""
        with contextlib.ExitStack() as unsettled:
            unsettled.callback(settled)
            await self._serve_shim(Lifeline(sock), sock, unsettled.close)

    async def _serve_shim(self, lifeline: Lifeline, sock: socket.socket, settled: Callable[[], None]) -> None:
        try:
            with self._vigilance.refused.noting():
                lifeline.peer = peer = attest(sock)
        except GuardError as error:
            lifeline.refuse(admission.REFUSED, error)
            lifeline.close()
            return
        try:
            with self._vigilance.refused.noting(peer):
                self._audience.require_caller(peer)
            self._check_room(peer.facts.uid)
            ident = f"{next(self._counter)}-{secrets.token_hex(3)}"
            admitted = await self._admission.admit(lifeline, peer, ident=ident, own=self._own)
            if self._policies.asks_of_logins:
                await self._look_at_logins()
            if self._policies.applied is None:
                lifeline.say(
                    "no policy is applied: watching only, nothing is refused; see: mcpguard policy --help"
                )
            settled()
            await self._run(admitted)
        except GoneError as error:
            lifeline.refuse(
                admission.REFUSED, error
            )  # it may still listen; nothing of it is worth a line in the log
        except GuardError as error:
            _log.warning("refused: %s", error.sentence())
            lifeline.refuse(admission.refusal_code(error), error)
        except OSError as error:
            _log.warning("not started: %s", error)
            lifeline.refuse(admission.FAILED, DaemonError(f"cannot start the server: {error.strerror}"))
        finally:
            peer.close()
            lifeline.close()

    async def _open(self, party: NetworkParty, name: str, courier: Courier) -> Session:
        """Start a registered server for a peer of a listener; its session runs from now on."""
        try:
            self._check_room(party.uid)
            self._vigilance.quarantine.met(party)
            ident = f"{next(self._counter)}-{secrets.token_hex(3)}"
            admitted = await self._admission.start(courier, hello_for(name), party, ident)
        except OSError as error:
            raise DaemonError(f"cannot start the server: {error.strerror}") from error
        self._launch(self._run(admitted), "a session of a listener")
        return admitted.session

    def _cut(self, server: str, why: str) -> None:
        """A server that is reached is not to be talked to any more."""
        for session in list(self._sessions.values()):
            if session.registered and session.server == server:
                session.cut(why)

    async def _run(self, admitted: admission.Admitted) -> None:
        session = admitted.session
        self._sessions[session.ident] = session
        self._served += 1
        if self._stopping.is_set():
            session.end("the daemon ends", now=True)
        elif why := self._vigilance.quarantine.refusal(session):  # imposed while the server was started
            session.cut(why)
        try:
            await admission.serve(admitted, self._recorder, self._instances)
        finally:
            del self._sessions[session.ident]
            self._secrets.ended(session.ident)
            self._meter.ended(*session.tally)
            for key in self._totals:
                self._totals[key] += session.status()[key]
            self._busy_until = asyncio.get_running_loop().time()
            self._left(session)
            self._tidy = False

    async def _look_at_logins(self) -> None:
        await self._logins.look(self._instances.logins())
        self._instances.told(self._logins.words)

    def _left(self, session: Session) -> None:
        """A session ended: if its host has, too, nothing of that run of it is needed any more."""
        instance = session.host.caller.instance
        if any(other.host.caller.instance == instance for other in self._sessions.values()):
            return
        if not instance or session.host_ended:
            self._approvals.void("the host is gone", instance=instance or f"connection {session.ident}")
            self._instances.ended(instance or f"connection {session.ident}")

    def _check_room(self, uid: int) -> None:
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        room = (most - limits.RESERVED_DESCRIPTORS) // limits.SESSION_DESCRIPTORS
        others = [session.host.uid for session in self._sessions.values()]
        self._audience.require_share(uid, others, room)

    def _enrolled(self) -> dict[int, Below]:
        """Processes below which nobody may change anything: enrolled hosts that are connected and alive."""
        hosts = [session.host for session in self._sessions.values() if session.host.name]
        return self._vigilance.former() | self._below(hosts, "a program that an enrolled host has started")

    def _askers(self) -> dict[int, Below]:
        """Processes below which nobody may approve: every host that is connected, enrolled or not."""
        hosts = [session.host for session in self._sessions.values()]
        return self._vigilance.former() | self._below(hosts, "a program that a connected host has started")

    def _below(self, hosts: list[Party], words: str) -> dict[int, Below]:
        return {
            host.pid: Below(words, self._instances.adopter(host.caller.instance))
            for host in hosts
            if host.pid and host.alive()
        }

    def _presence_changed(self, event: str, way: str) -> None:
        self._recorder.append([record.approval(event, "", way=way)], durable=True)

    def _trust_changed(self, event: str, seen: Seen) -> None:
        self._recorder.append([record.trust(event, **seen.record())], durable=True)

    # --- verbs of admin.sock -------------------------------------------------------------------------------

    def _status(self, _request: Request | None = None) -> JsonObject:
        sessions = [redact.current().value(each.status(), names=False) for each in self._sessions.values()]
        totals = {key: count + sum(s[key] for s in sessions) for key, count in self._totals.items()}
        return {
            "version": __version__,
            "pid": os.getpid(),
            "since": self._began,
            "on_demand": self._idle > 0,
            "paths": {"runtime": str(paths.runtime_dir()), "audit": str(paths.audit_dir())},
            "policy": _described(self._policies.applied),
            "audit": {"failure": self._recorder.failure},
            "export": self._exporter.status(),
            "reaping": self._spawner.promise(),
            "memory": {"pss_bytes": pss(os.getpid())},
            "descriptors": open_descriptors(),
            "served": self._served,
            "calls": totals,
            **self._vigilance.status(),
            **self._beyond.described(),
            "connections": sessions,
        }

    def _metrics(self) -> JsonObject:
        told = {
            "mcpguard_audit_records_total": self._recorder.count,
            "mcpguard_audit_failures_total": self._recorder.failures,
            "mcpguard_findings_total": self._recorder.findings,
            "mcpguard_tickets_waiting": self._approvals.open_count,
        }
        tallies = [session.tally for session in self._sessions.values()]
        return {"text": self._meter.text(tallies, self._status(), told)}

    async def _sign(self, _request: Request) -> JsonObject:
        return {"seq": await self._recorder.sign()}

    def _apply(self, request: Request) -> JsonObject:
        before = self._policies.applied.digest if self._policies.applied else ""
        rules = self._policies.apply(request.text.encode(), request.source)
        self._put_in_force(before, rules, request.source)
        return {"policy": _described(rules), "connections": len(self._sessions)}

    def _reload(self) -> None:
        """The service manager asks to read files again: the policy of the system may be another one."""
        self._service.notify.reloading()
        before = self._policies.applied.digest if self._policies.applied else ""
        try:
            rules = self._policies.reload()
        except GuardError as error:
            _log.error("the policy stays as it was: %s", error.sentence())
        else:
            if rules.digest != before:
                self._put_in_force(before, rules, rules.file)
        self._beyond.load()
        self._service.notify.ready(self._in_a_line())

    def _put_in_force(self, before: str, rules: RuleSet, source: str) -> None:
        self._recorder.later([record.policy(before, rules.digest, source=source)])
        for session in self._sessions.values():
            self._renew(session, session.standing)
        self._approvals.void("the policy was changed", policy=rules.digest)
        quiet_collector()

    def _in_a_line(self) -> str:
        """What a service manager shows of us."""
        rules = self._policies.rules
        return f"policy {rules.mode.value}, {how_many(len(rules.rules), 'rule')}"

    def _refold(self) -> int:
        """Other folders are trusted; how many connections that may concern."""
        for session in self._sessions.values():
            self._renew(session, self._policies.refolded(session.standing))
        self._approvals.void("the policy of a folder was changed")
        return len(self._sessions)

    def _renew(self, session: Session, standing: Standing) -> None:
        policies = self._policies
        session.change_policy(standing, policies.decider(standing), policies.manners(standing.caller))

    def _renew_party(self, session: Session) -> None:
        """What the peer of a session may has changed."""
        self._renew(session, msgspec.structs.replace(session.standing, caller=session.host.caller))

    def _repinned(self, found: Registered) -> None:
        """A server has another manifest: what policy knows of its tools has changed, and what was asked is void."""
        for session in self._sessions.values():
            if session.registered and session.server == found.name:
                cwd = session.standing.surroundings.cwd
                standing = self._policies.standing(found.name, session.host.caller, cwd, found)
                self._renew(session, standing)
        self._approvals.void("the definitions of the server were changed", server=found.name)

    def _stop(self, _request: Request) -> JsonObject:
        asyncio.get_running_loop().call_soon(self._stopping.set)
        return {"connections": len(self._sessions), "pid": os.getpid()}

    # --- the end -------------------------------------------------------------------------------------------

    async def _until_stopped(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                now = loop.time()
                self._service.notify.alive(now)
                if now - last < 2 * _TICK_SECONDS:
                    self._tick(now)
                last = now

    def _tick(self, now: float) -> None:
        look = 0 < self._policies.rules.recheck <= now - self._looked
        for session in list(self._sessions.values()):
            if look:
                session.look_again()
            if session.overdue(now, self._line_seconds):
                session.end("the host began a message and did not end it", now=True)
            elif session.abandoned():
                session.end("", now=True)
        self._looked = now if look else self._looked
        self._instances.tick()
        self._approvals.tick()
        self._vigilance.tick()
        self._secretdesk.tick()
        self._exporter.tick(now)
        self._beyond.tick(now)
        if self._policies.asks_of_logins:
            self._launch(self._look_at_logins(), "the state of login sessions")
        if now - self._judged > _JUDGE_SECONDS:
            self._judged = now
            self._desk.end_refused()
        if now - self._noted > _NOTE_SECONDS:
            self._noted = now
            self._desk.note_trust("still")
            self._vigilance.quarantine.note()
        if not (self._tidy or self._sessions or self._recorder.journal.unsigned):
            self._tidy = True  # the last checkpoint is signed, for which much code is needed
            give_back()
            give_back_code()
        if (
            self._idle
            and not self._tasks
            and not self._beyond.listens
            and now - self._busy_until > self._idle
        ):
            _log.info("nothing to do for %.0f seconds", self._idle)
            self._stopping.set()

    async def _end_sessions(self) -> None:
        for session in list(self._sessions.values()):
            session.end("the daemon ends", now=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_SECONDS)


def _keepers() -> dict[int, str]:
    """This daemon, whose servers never leave it. As process 1 it is above everybody, and tells nothing."""
    ours = os.getpid()
    return {} if ours == 1 else {ours: "a server that mcpguard has started"}


def _schema(session: Session, tool: str) -> JsonObject | None:
    """The pinned input schema of a tool; None if it is not known."""
    found = session.registered.definitions.tools.get(tool, {}) if session.registered is not None else {}
    schema = found.get("inputSchema")
    return schema if isinstance(schema, dict) else None


def _described(rules: RuleSet | None) -> JsonObject:
    if rules is None:
        return {"source": "built in", "mode": "observe", "rules": 0, "digest": ""}
    return {"source": rules.file, "mode": rules.mode.value, "rules": len(rules.rules), "digest": rules.digest}
