"""What people ask of the daemon about hosts, trust and servers; every change is recorded, and holds at once.

Rule: every record of type `trust` has the whole rollback state, because the newest one is what the next daemon
compares the files with. While they fall short of it none is written: that would make the loss permanent.

Not here: who may ask (`daemon.control`), status and policy (`daemon.app`).

Decided:
    *A session whose manifest was superseded goes on under the new pins, and is judged by its own manifest when
    something is revoked*, because what runs is what the old one described; rejected: ending it at each change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from mcpguard.audit import record
from mcpguard.daemon.callers import Attested
from mcpguard.daemon.control import Verb
from mcpguard.daemon.enrolments import Enrolments, connected
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.registry import Registered, Registry
from mcpguard.daemon.session import Session
from mcpguard.daemon.trustdesk import TrustDesk
from mcpguard.errors import TrustError
from mcpguard.gate.schemas import PinnedSchemas
from mcpguard.identity.trust import Revocations
from mcpguard.model import Json, JsonObject
from mcpguard.protocol.control import Request

_log: Final = logging.getLogger("mcpguard")


class Desk:
    """The verbs about hosts, trust and servers.

    Args:
        recorder: Where changes are recorded.
        enrolments: The enrolled hosts.
        trust: Whose signatures count.
        registry: The registered servers.
        sessions: The connections that are open now, by id.
        repinned: Told of a server that has another manifest.
    """

    def __init__(
        self,
        recorder: Recorder,
        enrolments: Enrolments,
        trust: TrustDesk,
        registry: Registry,
        sessions: Mapping[str, Session],
        repinned: Callable[[Registered], None],
    ) -> None:
        self._recorder = recorder
        self._enrolments = enrolments
        self._trust = trust
        self._registry = registry
        self._sessions = sessions
        self._repinned = repinned

    def reading(self) -> dict[str, Verb]:
        """Verbs that change nothing."""
        return {
            "hosts": self._hosts,
            "trust": self._trust.trust,
            "servers": lambda _request: {"servers": self._registry.described()},
            "server-show": lambda request: self._registry.show(request.name),
        }

    def changing(self) -> dict[str, Verb]:
        """Verbs that change who or what is trusted."""
        return {
            "host-trust": self._host_trust,
            "host-forget": self._host_forget,
            "trust-put": self._trust_put,
            "revocations-put": self._revocations_put,
            "server-put": self._server_put,
            "server-remove": self._server_remove,
        }

    # --- hosts ---------------------------------------------------------------------------------------------

    async def _hosts(self, _request: Request) -> JsonObject:
        """The enrolled hosts, and what the kernel says of the connected ones, digests included."""
        found = []
        for session in list(self._sessions.values()):
            host = session.host
            if not isinstance(host, Attested):
                continue
            await host.take_digests()
            found.append(
                connected(session.ident, session.server, host.facts, host.appraisal, host.recognition)
            )
        return {"enrolled": self._enrolments.described(), "connected": found}

    def _host_trust(self, request: Request) -> JsonObject:
        reply = self._enrolments.trust(request.text, request.name)
        self._recorder.append([record.host("enrolled", request.name, host=reply["host"])], durable=True)
        return reply

    def _host_forget(self, request: Request) -> JsonObject:
        reply = self._enrolments.forget(request.name)
        self._recorder.append([record.host("forgotten", request.name)], durable=True)
        return reply

    # --- trust ---------------------------------------------------------------------------------------------

    def _trust_put(self, request: Request) -> JsonObject:
        return self._end_refused(self._trust.trust_put(request))

    def _revocations_put(self, request: Request) -> JsonObject:
        return self._end_refused(self._trust.revocations_put(request))

    def _end_refused(self, reply: JsonObject) -> JsonObject:
        return {**reply, "ended": self.end_refused()}

    def end_refused(self) -> int:
        """End the connections whose manifest is no longer believed: revoked, expired, or signed by nobody who counts.

        Returns:
            How many.
        """
        ended = 0
        faults: dict[tuple[str, str], str] = {}
        for session in list(self._sessions.values()):
            if session.registered is None:
                continue
            running = session.server, session.registered.verified.digest
            if running not in faults:
                faults[running] = self._fault(session.server, session.registered)
            if faults[running]:
                session.end(faults[running], now=True)
                ended += 1
        return ended

    def note_trust(self, event: str) -> None:
        """Write down what is trusted, so that the newest segments of the log have it; `start` or `still`.

        While the files fall short of the log nothing is written, and nothing registered runs.
        """
        try:
            self._trust.check()
            seen = self._trust.store.load().seen
        except TrustError as error:
            _log.error("%s", error.sentence())
            return
        if seen.trust.version:
            self._recorder.later([record.trust(event, **seen.record())])
            self._trust.remember(seen)

    def _fault(self, name: str, running: Registered) -> str:
        """Why a server may no longer run, by the manifest in force and by the one that it was started with."""
        try:
            if self._registry.verified(name).verified.digest == running.verified.digest:
                return ""
            revocations = self._trust.store.load().revocations
        except TrustError as error:
            return error.sentence()
        return _revoked(running, revocations) if revocations is not None else ""

    # --- servers -------------------------------------------------------------------------------------------

    def _server_put(self, request: Request) -> JsonObject:
        reply = self._registry.put(request.name, request.text, request.definitions)
        self._note("manifest", name=request.name, **self._registry.record(request.name))
        found = self._registry.defined(self._registry.verified(request.name))
        for session in list(self._sessions.values()):
            if session.registered and session.server == request.name:
                session.change_pins(found.pins, PinnedSchemas(found.definitions.tools))
        self._repinned(found)
        return reply

    def _server_remove(self, request: Request) -> JsonObject:
        self._trust.check()
        reply = self._registry.remove(request.name)
        self._note("manifest-removed", name=request.name)
        for session in list(self._sessions.values()):
            if session.registered and session.server == request.name:
                session.end("its manifest was removed", now=True)
        return reply

    # --- records -------------------------------------------------------------------------------------------

    def _note(self, event: str, **members: Json) -> None:
        """Record a change with the rollback state, on stable storage."""
        seen = self._trust.store.load().seen
        self._recorder.append([record.trust(event, **members, **seen.record())], durable=True)
        self._trust.remember(seen)


def _revoked(running: Registered, revocations: Revocations) -> str:
    """Why a session whose manifest was superseded may not go on; empty if nothing about that one is revoked."""
    manifest, verified = running.manifest, running.verified
    digests = {f"sha256:{sha256}" for sha256 in manifest.subject.values()}
    digests |= {f"sha256:{pin.lock_sha256}" for pin in manifest.packages}
    if (
        verified.digest in revocations.manifests
        or not digests.isdisjoint(revocations.packages)
        or not revocations.keys.isdisjoint(verified.keys)
        or manifest.version < revocations.minimum.get(manifest.name, 0)
    ):
        return f"version {manifest.version} of {manifest.name!a}, which this session runs, is revoked: start it again"
    return ""
