"""What a listener needs of the daemon, and how a peer becomes a party: shown, throttled, authenticated, recorded.

Every refusal is one sentence, counted against the network that it came from where a credential was wrong, and
written down (`daemon.refused`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from mcpguard.credentials.presented import Found, Presented
from mcpguard.daemon.connectionauth import ConnectionAuth, Unknown
from mcpguard.daemon.httpcheck import Refusal, metadata_url
from mcpguard.daemon.networkparty import NetworkParty
from mcpguard.daemon.party import Courier
from mcpguard.daemon.refused import Refused
from mcpguard.daemon.session import Session
from mcpguard.daemon.throttle import Throttle
from mcpguard.errors import GuardError, PeerError
from mcpguard.model import JsonObject
from mcpguard.policy.match import compile_pattern
from mcpguard.system.servefile import Listen


class Rooms(msgspec.Struct, frozen=True):
    """What a listener may ask of the daemon.

    Attributes:
        open: Starts a registered server and a session for a party; the session closes the party.
        renew: The party of a session may something else now: compile its policy anew.
        schema: The pinned input schema of a tool of a server; None if it is not known.
        registered: Whether a server of that name is registered.
        refused: Writes down peers that are refused.
    """

    open: Callable[[NetworkParty, str, Courier], Awaitable[Session]]
    renew: Callable[[Session], None]
    schema: Callable[[Session, str], JsonObject | None]
    registered: Callable[[str], bool]
    refused: Refused


class Peering:
    """Lets peers of one listener in.

    Args:
        listen: The listener.
        auth: What its peers must show.
        throttle: Who is kept away.
        rooms: The daemon.
    """

    def __init__(self, listen: Listen, auth: ConnectionAuth, throttle: Throttle, rooms: Rooms) -> None:
        self.listen = listen
        self.auth = auth
        self.rooms = rooms
        self._throttle = throttle
        self.counts = {"accepted": 0, "refused": 0, "kept_away": 0}

    async def authenticated(self, presented: Presented) -> Found:
        """Who a peer is.

        Raises:
            Refusal: It is nobody whom this listener lets in; recorded.
        """
        if seconds := self._throttle.wait(presented):
            self.counts["kept_away"] += 1
            refusal = Refusal(
                429,
                f"too many wrong credentials came from there; come back in {seconds} s",
                fields={"Retry-After": str(seconds)},
            )
            self.note(refusal, presented)
            raise refusal
        try:
            found = await self.auth.authenticate(presented)
        except Unknown as error:
            if nonce := getattr(error.__cause__, "nonce", ""):
                raise _nonce_wanted(error, nonce) from error
            self._throttle.failed(presented)
            raise self.refusal(401, error, presented) from error
        except PeerError as error:
            raise self.refusal(403, error, presented) from error
        self._throttle.proved(presented)
        self.counts["accepted"] += 1
        return found

    def party(self, found: Found, presented: Presented, server: str, pid: int = 0) -> NetworkParty:
        """The peer as a session knows it.

        Raises:
            Refusal: Its credential is not for that server.
        """
        self.require_server(found, presented, server)
        return NetworkParty(found, presented, self.listen.name, pid, self.auth.still)

    def require_server(self, found: Found, presented: Presented, server: str) -> None:
        """Refuse a credential that is for other servers.

        Raises:
            Refusal: It is.
        """
        if not covers(found.whole.servers, server):
            error = PeerError(f"the credential that was shown is not for the server {server!a}")
            raise self.refusal(403, error, presented)

    def refusal(self, status: int, error: GuardError, presented: Presented) -> Refusal:
        """A refusal for a peer, recorded."""
        self.counts["refused"] += 1
        self.note(error, presented)
        fields = {"WWW-Authenticate": self._challenge(presented)} if status == 401 else {}
        return Refusal(status, error.sentence(), fields=fields)

    def _challenge(self, presented: Presented) -> str:
        """What a peer is told to show; where tokens count, also where it finds who gives them (RFC 9728, 5.1)."""
        bearer = 'Bearer realm="mcpguard"'
        if not presented.url or not self.auth.issuers:
            return bearer
        return f'{bearer}, resource_metadata="{metadata_url(presented.url)}"'

    def note(self, error: GuardError, presented: Presented) -> None:
        """Write a refusal down."""
        host: JsonObject = {"listener": self.listen.name, "shown": "+".join(self.listen.auth)}
        if presented.network:
            host["network"] = presented.network
        if presented.uid is not None:
            host["uid"] = presented.uid
        self.rooms.refused.note_peer(error, host)

    def handshake_failed(self, error: BaseException, presented: Presented) -> None:
        """A TLS handshake failed.

        What was shown, or how it was spoken, counts against the network; hanging up does not, since that is what
        checks of availability do.
        """
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        words = error.sentence() if isinstance(error, GuardError) else str(reason).replace("_", " ").lower()
        if isinstance(error, GuardError) or (getattr(error, "reason", None) and "eof" not in words):
            self._throttle.failed(presented)
        self.refusal(401, PeerError(f"the TLS handshake failed: {words}"), presented)

    async def look_again(self, session: Session, party: NetworkParty) -> None:
        """Look at the credential of an open session: it drops to what is still allowed, or ends, and says why."""
        if why := party.recheck():
            session.cut(why)
            return
        if party.found.other is None and not self.auth.looks_again:
            return
        try:
            async with asyncio.timeout(self.listen.recheck):
                found = await self.auth.renewed(party.found, party.presented)
        except PeerError as error:
            session.cut(error.sentence())
        except TimeoutError:
            return  # nobody answers: what was found before holds until its own end
        else:
            self.renewed(session, party, found, party.presented)

    def renewed(self, session: Session, party: NetworkParty, found: Found, presented: Presented) -> None:
        """Another look gave this."""
        if not covers(found.whole.servers, session.server):
            session.cut(f"its credential is no longer for the server {session.server!a}")
        elif party.renew(found, presented):
            self.rooms.renew(session)


def _nonce_wanted(error: GuardError, nonce: str) -> Refusal:
    """A DPoP proof needs a nonce of ours (RFC 9449, 9): a part of how proofs are made, and no failure."""
    fields = {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": nonce}
    return Refusal(401, error.sentence(), fields=fields)


def covers(patterns: tuple[str, ...], server: str) -> bool:
    """Whether a credential is for a server; one without patterns is for all."""
    return not patterns or any(compile_pattern(text).matches(server) for text in patterns)
