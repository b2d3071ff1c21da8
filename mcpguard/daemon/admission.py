"""From a connection on run.sock to a running session: one straight line, any failing step of which refuses.

attest the peer -> handshake with nonce -> check the three descriptors -> attest the host that holds the far ends
-> the server's manifest -> verify and start, or reach, the server -> look at the host again -> policy -> gate.
Nothing of the host's is read before all of it succeeded, and the record of the decision is written before the server
is started.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec

from mcpguard.audit import record, redact
from mcpguard.audit.knownvalues import of_environment
from mcpguard.daemon.audience import Audience
from mcpguard.daemon.callers import Attested, Callers, require_unchanged
from mcpguard.daemon.company import Company
from mcpguard.daemon.instances import Instances
from mcpguard.daemon.launching import Launch, Launcher, unpinned
from mcpguard.daemon.lifeline import Lifeline
from mcpguard.daemon.outgoing import Authorizer
from mcpguard.daemon.party import Courier, Party
from mcpguard.daemon.policies import Policies, Standing
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.registry import Registered, Registry
from mcpguard.daemon.registrytls import RegistryTls
from mcpguard.daemon.revival import Restarts, covered
from mcpguard.daemon.secrets import Secrets
from mcpguard.daemon.session import Session, Upstream
from mcpguard.daemon.spawn import Spawner
from mcpguard.daemon.upstream import connect, reach
from mcpguard.daemon.vigilance import Vigilance
from mcpguard.errors import GuardError, PeerError, SecretError, TrustError, UpstreamError
from mcpguard.gate.gate import Gate
from mcpguard.identity.manifest import Manifest
from mcpguard.identity.naming import server_name
from mcpguard.identity.remote import is_url
from mcpguard.model import JsonObject, Mode, Side, visible
from mcpguard.policy.rules import RuleSet
from mcpguard.protocol.hello import Hello
from mcpguard.system.descriptors import check_stdio, close_all
from mcpguard.system.peercred import Peer

REFUSED: Final = 5
AuthorizerOf: TypeAlias = Callable[[str, Manifest], Awaitable[Authorizer | None]]
UNPINNED: Final = "P0"
"""Pin level of a manifest that leaves open what runs (`identity.pinlevel`)."""
FAILED: Final = 125


class Admitted:
    """A session that may begin, and who asked for it.

    Attributes:
        seconds: How long it took from the connection to its running server.
    """

    def __init__(self, session: Session, courier: Courier, start: bytes, launch: Launch) -> None:
        self.session = session
        self.courier = courier
        self.start = start
        self.launch = launch
        self.seconds = 0.0


class Ticket(msgspec.Struct, frozen=True):
    """What is decided about a shim before anything is started.

    Attributes:
        ident: Short name of the connection.
        name: The server's name.
        hello: What the shim asks for.
        registered: The server's manifest; None if it has none.
        start: The members that every record of the connection begins with.
    """

    ident: str
    name: str
    hello: Hello
    registered: Registered | None
    start: bytes


class _Again:
    """Where a server comes from whose session goes on (`revival.Source`)."""

    def __init__(self, admission: Admission, ticket: Ticket, host: Party) -> None:
        self._admission = admission
        self._ticket = ticket
        self._host = host
        self._launches: list[Launch] = []

    async def start(self, stderr: int) -> tuple[Upstream, int, int]:
        launch, upstream, source, sink = await self._admission.again(self._ticket, self._host, stderr)
        self._launches.append(launch)
        return upstream, source, sink

    def tidy(self) -> None:
        for launch in self._launches:
            launch.tidy()


def refusal_code(error: GuardError) -> int:
    """What `mcpguard run` exits with when admission fails."""
    match error:
        case UpstreamError():
            return error.code
        case PeerError() | SecretError() | TrustError():
            return REFUSED
        case _:
            return FAILED


class Admission:
    """Admits shims for one daemon.

    Args:
        recorder: Where records go.
        spawner: Starts servers.
        callers: Attests hosts.
        registry: The registered servers.
        launcher: Verifies what manifests pin.
        policies: The policy in force.
        company: What sessions have in common.
        audience: Whom the daemon serves.
        vigilance: Who is kept away, and who writes down callers that are refused.
        secrets: What servers are given when they start.
        authorizer: What authorises requests to a server of others.
        certificates: The certificate registry, for a connection to a server of this name.
    """

    def __init__(  # noqa: PLR0913, PLR0917 (what a connection is admitted by)
        self,
        recorder: Recorder,
        spawner: Spawner,
        callers: Callers,
        registry: Registry,
        launcher: Launcher,
        policies: Policies,
        company: Company,
        audience: Audience,
        vigilance: Vigilance,
        secrets: Secrets,
        authorizer: AuthorizerOf,
        certificates: Callable[[str], RegistryTls],
    ) -> None:
        self._certificates = certificates
        self._secrets = secrets
        self._authorizer = authorizer
        self._vigilance = vigilance
        self._audience = audience
        self._policies = policies
        self._company = company
        self._recorder = recorder
        self._spawner = spawner
        self._callers = callers
        self._registry = registry
        self._launcher = launcher

    async def admit(
        self,
        lifeline: Lifeline,
        peer: Peer,
        *,
        ident: str,
        own: frozenset[tuple[int, int] | str],
    ) -> Admitted:
        """Take the handshake of a shim, start or reach its server, and make the session.

        Raises:
            PeerError: A descriptor cannot serve, or the host is not acceptable.
            TrustError: The server's manifest, or the lack of one, refuses it.
            SecretError: The server cannot be given what it needs.
            UpstreamError: The server cannot be started or reached.
            JournalError: The beginning of the session cannot be recorded.
        """
        began = time.monotonic()
        with self._vigilance.refused.noting(peer):
            hello = await lifeline.hello()
            redact.current().learn(of_environment(hello.env))
            check_stdio(lifeline.descriptors, own)
            stdin, stdout, _ = lifeline.descriptors
            host = await self._callers.attest(peer, stdin, stdout, self._policies.rules.on_update)
        self._vigilance.quarantine.met(host)
        try:
            self._tell(lifeline, host)
            admitted = await self.start(lifeline, hello, host, ident)
        except BaseException:
            host.close()
            raise
        admitted.seconds = time.monotonic() - began
        return admitted

    async def start(
        self,
        courier: Courier,
        hello: Hello,
        host: Party,
        ident: str,
    ) -> Admitted:
        """Start or reach the server, and make the session; the caller closes the host if this fails.

        Raises:
            GuardError: As for `admit`, once it is known who asks.
        """
        ticket = self._decided(hello, host, ident, self._policies.rules)
        launch = unpinned(hello)
        try:
            if ticket.registered is not None:
                hello = self._audience.launched(hello, ticket.registered.manifest)
                launch = await self._launcher.prepare(ticket.registered.manifest, hello)
            launch = await self._with_secrets(ticket, ticket.registered, hello, launch)
            cwd = os.fsdecode(launch.cwd)
            standing = self._policies.standing(ticket.name, host.caller, cwd, ticket.registered)
            upstream, source, sink = await self._reach(
                courier.descriptors[2], hello, launch, ticket.registered
            )
            launch = launch.executed()
            try:
                require_unchanged(host)
            except PeerError:
                close_all([source, sink])
                upstream.kill()
                raise
        except GuardError as error:
            launch.tidy()
            self._secrets.ended(ticket.ident)
            self._recorder.later([record.session(ticket.start, "refused", reason=error.sentence())])
            raise
        except BaseException:
            launch.tidy()
            self._secrets.ended(ticket.ident)
            raise
        stdin, stdout, stderr = courier.take()
        session = self._session(ticket, host, upstream, standing)
        renewed = bool(self._secrets.of(ticket.ident).refs)
        if hello.kind != "connect" and (renewed or covered(self._policies, ticket.name)):
            session.revive_with(self._revival(ticket, host, stderr))
        else:
            os.close(stderr)
        session.attach(Side.HOST, stdin, stdout)
        session.attach(Side.SERVER, source, sink)
        return Admitted(session, courier, ticket.start, launch)

    def _tell(self, lifeline: Lifeline, host: Attested) -> None:
        """Say to the host, and record, what came of comparing it with the enrolled ones."""
        known = host.recognition
        if known.sentence and (known.new or not known.name):
            lifeline.say(known.sentence)
        for note in self._policies.notes(host.caller):
            lifeline.say(note)
        if known.updated is not None:
            updated = msgspec.to_builtins(known.updated)
            self._recorder.later(
                [record.host("updated", known.name, old=known.old, new=known.new, host=updated)]
            )

    def _decided(self, hello: Hello, host: Party, ident: str, rules: RuleSet) -> Ticket:
        """Find the manifest and record what is going to run, or that it is refused.

        Raises:
            GuardError: It is refused.
        """
        command = [word.decode("utf-8", "backslashreplace") for word in hello.argv]
        name = hello.name or (command[0] if hello.kind == "name" else server_name(command))
        try:
            found = self._registry.find(name, () if hello.kind == "name" else tuple(command))
            name = found.name if found else name
            if found is not None and hello.kind == "connect":
                raise TrustError(
                    f"the server {name!a} is registered as a command, and the host gives a socket",
                    hint=f"compare it: mcpguard server show {name}; or name this one: mcpguard run --name",
                )
            if found is not None:
                given = frozenset(word.encode() for word in found.manifest.launch.env_pass)
                redact.current().learn(of_environment(hello.env, given))
            start = record.prefix(ident, host.evidence(), name)
            self._audience.require_registered(hello, registered=found is not None)
            self._vigilance.quarantine.require(name, host)
            _require_leave(hello, name, found, rules)
            found = self._defined(found, rules)
        except GuardError as error:
            start = record.prefix(ident, host.evidence(), name)
            self._recorder.later([record.session(start, "refused", command=command, reason=error.sentence())])
            raise
        members: JsonObject = {"policy": rules.digest, **(found.record() if found else {})}
        self._recorder.append([record.session(start, "begin", command=command, **members)])
        return Ticket(ident, name, hello, found, start)

    def _defined(self, found: Registered | None, rules: RuleSet) -> Registered | None:
        """The server with its definitions; while policy only watches, one whose definitions are damaged runs.

        Raises:
            TrustError: They are damaged.
        """
        if found is None:
            return None
        try:
            return self._registry.defined(found)
        except TrustError:
            if rules.mode is Mode.OBSERVE:
                return found
            raise

    def _revival(self, ticket: Ticket, host: Party, stderr: int) -> Restarts:
        """What starts the server again if it crashes; takes over the host's stderr, which it keeps for that."""

        def note(event: str, members: JsonObject) -> None:
            self._recorder.later([record.session(ticket.start, event, **members)])

        return Restarts(self._policies, ticket.name, stderr, _Again(self, ticket, host), note)

    async def again(self, ticket: Ticket, host: Party, stderr: int) -> tuple[Launch, Upstream, int, int]:
        """Start the server of a running session once more, by what is registered and in force now.

        Raises:
            GuardError: It may not run any more, or cannot be started.
        """
        hello = ticket.hello
        command = () if hello.kind == "name" else tuple(os.fsdecode(word) for word in hello.argv)
        found = self._registry.find(ticket.name, command)
        self._vigilance.quarantine.require(ticket.name, host)
        _require_leave(hello, ticket.name, found, self._policies.rules)
        if (found is None) is not (ticket.registered is None):
            raise TrustError("its manifest has come or gone since", hint="restart it from the host")
        require_unchanged(host)
        launch = unpinned(hello)
        if found is not None:
            hello = self._audience.launched(hello, found.manifest)
            launch = await self._launcher.prepare(found.manifest, hello)
        try:
            launch = await self._with_secrets(ticket, found, hello, launch)
            reached = await self._reach(stderr, hello, launch, found and self._registry.defined(found))
        except BaseException:
            launch.tidy()
            raise
        return (launch.executed(), *reached)

    async def _with_secrets(
        self, ticket: Ticket, found: Registered | None, hello: Hello, launch: Launch
    ) -> Launch:
        """The launch with the secrets of the server.

        Raises:
            SecretError: One of them cannot be had; it does not start with less.
        """
        return await self._secrets.give(ticket.ident, ticket.start, ticket.name, found, hello, launch)

    def _session(self, ticket: Ticket, host: Party, upstream: Upstream, standing: Standing) -> Session:
        found = ticket.registered
        gate = Gate(
            self._policies.decider(standing),
            ticket.name,
            ticket.start,
            self._recorder.key,
            found.pins if found else None,
            found.withdrawn if found else None,
            self._company.shared(ticket.ident, host, found, self._policies.manners(host.caller), ticket.name),
        )
        return Session(
            ticket.ident, gate, self._recorder, standing, upstream, host, found,
            self._company.outside(lambda findings: self._registry.noticed(ticket.name, findings)),
        )  # fmt: skip

    async def _reach(
        self, stderr: int, hello: Hello, launch: Launch, registered: Registered | None
    ) -> tuple[Upstream, int, int]:
        """The server, with this stderr, and the descriptors to read from and write to it."""
        if launch.remote is not None:
            tools = registered.definitions.tools if registered else {}
            authorizer = await self._authorizer(registered.name, registered.manifest) if registered else None
            certificates = (
                self._certificates(registered.name) if registered and launch.remote.registered else None
            )
            reached = await reach(launch.remote, tools, authorizer, certificates)
            return (reached, *reached.descriptors())
        if hello.kind == "connect":
            listening = await connect(_absolute(hello.cwd, hello.argv[0]), os.geteuid())
            return (listening, *listening.descriptors())
        theirs_in, sink = os.pipe()
        source, theirs_out = os.pipe()
        ours, theirs = [source, sink], [theirs_in, theirs_out]
        try:
            child = await self._spawner.spawn(
                argv=launch.argv,
                env=launch.env,
                cwd=launch.cwd,
                habits=hello.habits,
                stdin=theirs_in,
                stdout=theirs_out,
                stderr=stderr,
                image=launch.image,
            )
        except ValueError as error:
            close_all(ours)
            raise UpstreamError(
                "the command or its environment cannot be passed on exactly", code=FAILED
            ) from error
        except BaseException:
            close_all(ours)
            raise
        finally:
            close_all(theirs)
        return child, source, sink


def _require_leave(hello: Hello, name: str, found: Registered | None, rules: RuleSet) -> None:
    """Refuse a server without a manifest, or of which nothing is pinned, unless policy lets it run or only watches.

    Raises:
        TrustError: It may not run.
        UpstreamError: There is no command to run.
    """
    if found is None and hello.kind == "name":
        raise UpstreamError(
            f"no server is registered as {name!a}", code=FAILED,
            hint=f"register it: mcpguard server add {name} -- COMMAND...",
        )  # fmt: skip
    if found is None and hello.argv[:1] and is_url(os.fsdecode(hello.argv[0])):
        raise UpstreamError(
            "a server at a URL must be registered first", code=FAILED,
            hint=f"mcpguard server add {name} --url {visible(os.fsdecode(hello.argv[0]))}",
        )  # fmt: skip
    if rules.mode is Mode.OBSERVE or rules.unpinned:
        return
    if found is not None and found.manifest.pin == UNPINNED:
        raise TrustError(
            f"what the server {name!a} runs is not pinned ({UNPINNED}): it is chosen anew at each start",
            hint=f"install it once and for all: mcpguard server pin {name}",
        )
    if found is None:
        raise TrustError(
            f"the server {name!a} has no manifest, and policy does not let such servers run",
            hint=f"register it: mcpguard server add {name} -- COMMAND...",
        )


def _absolute(cwd: bytes, path: bytes) -> bytes:
    return path if path.startswith(b"/") else cwd + b"/" + path


async def serve(admitted: Admitted, recorder: Recorder, instances: Instances) -> int:
    """Run a session to its end and tell who asked for it."""
    session, courier = admitted.session, admitted.courier
    instance = session.host.caller.instance
    courier.watch(
        term=lambda: session.end("", now=True),
        gone=lambda: session.end("", now=True),
        adopter=lambda pid: instances.adopted_by(instance, pid),
    )
    courier.ready(look=bool(instance) and not instances.adopter(instance))
    took = int(admitted.seconds * 1_000_000)
    recorder.later([record.session(admitted.start, "ready", pid=session.pid, admission_us=took)])
    code = FAILED
    try:
        code = await session.run()
    finally:
        counts = {key: session.status()[key] for key in ("allowed", "denied", "dropped")}
        recorder.later([record.session(admitted.start, "end", code=code, reason=session.reason, **counts)])
        if session.reason:
            courier.say(session.reason)
        courier.exit(code)
    await session.gone()
    admitted.launch.tidy()
    return code
