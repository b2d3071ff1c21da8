"""What people ask of the daemon about hosts, trust and servers; every change is recorded, and holds at once.

Not here: who may ask (`daemon.control`), status and policy (`daemon.app`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from mcpguard.audit import record
from mcpguard.daemon.enrolments import Enrolments, connected
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.registry import Registry
from mcpguard.daemon.session import Session
from mcpguard.daemon.trustdesk import TrustDesk
from mcpguard.model import JsonObject
from mcpguard.protocol.control import Request

Verb: TypeAlias = Callable[[Request], JsonObject | Awaitable[JsonObject]]
"""Answers a request, or raises a GuardError."""


class Desk:
    """The verbs about hosts, trust and servers.

    Args:
        recorder: Where changes are recorded.
        enrolments: The enrolled hosts.
        trust: Whose signatures count.
        registry: The registered servers.
        sessions: The connections that are open now, by id.
    """

    def __init__(
        self,
        recorder: Recorder,
        enrolments: Enrolments,
        trust: TrustDesk,
        registry: Registry,
        sessions: Mapping[str, Session],
    ) -> None:
        self._recorder = recorder
        self._enrolments = enrolments
        self._trust = trust
        self._registry = registry
        self._sessions = sessions

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
            await host.take_digests()
            found.append(
                connected(session.ident, session.server, host.facts, host.appraisal, host.recognition)
            )
        return {"enrolled": self._enrolments.described(), "connected": found}

    def _host_trust(self, request: Request) -> JsonObject:
        reply = self._enrolments.trust(request.text, request.name)
        self._recorder.append([record.trust("host", name=request.name, host=reply["host"])], durable=True)
        return reply

    def _host_forget(self, request: Request) -> JsonObject:
        reply = self._enrolments.forget(request.name)
        self._recorder.append([record.trust("host-removed", name=request.name)], durable=True)
        return reply

    # --- trust ---------------------------------------------------------------------------------------------

    def _trust_put(self, request: Request) -> JsonObject:
        return self._end_refused(self._trust.trust_put(request))

    def _revocations_put(self, request: Request) -> JsonObject:
        return self._end_refused(self._trust.revocations_put(request))

    def _end_refused(self, reply: JsonObject) -> JsonObject:
        """End the connections whose manifest is no longer believed: revoked, or signed by nobody who counts."""
        ended = 0
        for session in list(self._sessions.values()):
            if session.registered and (fault := self._registry.fault(session.server)):
                session.end(fault, now=True)
                ended += 1
        return {**reply, "ended": ended}

    # --- servers -------------------------------------------------------------------------------------------

    def _server_put(self, request: Request) -> JsonObject:
        reply = self._registry.put(request.name, request.text, request.definitions)
        self._recorder.append(
            [record.trust("manifest", name=request.name, **self._registry.record(request.name))], durable=True
        )
        pins = self._registry.pins(request.name)
        for session in list(self._sessions.values()):
            if session.registered and session.server == request.name:
                session.change_pins(pins)
        return reply

    def _server_remove(self, request: Request) -> JsonObject:
        reply = self._registry.remove(request.name)
        self._recorder.append([record.trust("manifest-removed", name=request.name)], durable=True)
        for session in list(self._sessions.values()):
            if session.registered and session.server == request.name:
                session.end("its manifest was removed", now=True)
        return reply
