"""The verbs of admin.sock that ask a server of others what it is, before it is registered.

The daemon asks, not the command line: it has the tokens, and our certificates.

Rule 1: only a person has a server asked: what a connected host has started may not (`daemon.control`, `approving`).
Rule 2: a token is shown only to a server that is described exactly as at the login: same URL, and known in the same
way.
Rule 3: what a server says goes back as data; nothing of it is believed here.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from mcpguard import limits
from mcpguard.credentials.oauthsettings import Remote as LoginAt
from mcpguard.daemon.control import Caller, Personal
from mcpguard.daemon.outgoing import Authorizer
from mcpguard.daemon.registrytls import RegistryTls
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import GuardError, SecretError, TrustError, UpstreamError
from mcpguard.identity.remote import Remote, check_remote
from mcpguard.model import JsonObject
from mcpguard.protocol.control import Request
from mcpguard.system.serverstore import check_name

if TYPE_CHECKING:
    from mcpguard.daemon.probed import Probed

ASKING: Final = "asking"
DONE: Final = "done"
FAILED: Final = "failed"
_WAIT_SECONDS: Final = 5.0
"""Within what an answer on admin.sock may take."""

AuthorizerOf = Callable[[str, Remote], Awaitable[Authorizer | None]]
"""Name and place to what authorises requests there; None if nobody has logged in there."""


class _Probe:
    """One server that is asked."""

    def __init__(self, name: str, place: Remote) -> None:
        self.name = name
        self.place = place
        self.told: list[str] = []
        self.found: Probed | None = None
        self.failure: GuardError | None = None
        self.gate: LoginNoted | None = None
        self.changed = asyncio.Event()

    def tell(self, words: str) -> None:
        self.told.append(words)
        self.changed.set()

    def described(self, ident: str) -> JsonObject:
        """What is told of it."""
        told: JsonObject = {"ident": ident, "phase": ASKING, "told": self.told}
        if self.found is not None:
            told |= {"phase": DONE, "probed": msgspec.to_builtins(self.found)}
        elif self.failure is not None:
            wants = self.gate is not None and self.gate.refused is not None
            told |= {
                "phase": FAILED, "error": self.failure.message, "hint": self.failure.hint, "login": wants,
                "code": _code(self.failure),
            }  # fmt: skip
        return told


class ProbeDesk:
    """Servers that are asked what they are.

    Args:
        authorizer: Authorises requests to one that somebody has logged in at.
        registry: The certificate registry, for a connection to a server of this name.
    """

    def __init__(self, authorizer: AuthorizerOf, registry: Callable[[str], RegistryTls]) -> None:
        self._registry = registry
        self._authorizer = authorizer
        self._probes: dict[str, tuple[_Probe, asyncio.Task[None]]] = {}

    def approving(self) -> dict[str, Personal]:
        """Verbs that no connected host, nor what it has started, may use."""
        return {"remote-probe": self._begin, "remote-probed": self._wait}

    def close(self) -> None:
        """Ask no more."""
        for _, task in self._probes.values():
            task.cancel()

    def _begin(self, request: Request, _caller: Caller) -> JsonObject:
        """Ask the server `name`, which is where `text` says (`identity.remote.Remote`, JSON)."""
        check_name(request.name)
        probe = _Probe(request.name, _place(request.text))
        self._make_room()
        ident = secrets.token_hex(8)
        self._probes[ident] = probe, spawn_task(self._run(probe), name=f"a question to {request.name}")
        return probe.described(ident)

    async def _wait(self, request: Request, _caller: Caller) -> JsonObject:
        """What is known once it is more than the first `since` words that were told, or after five seconds."""
        known = self._probes.get(request.ident)
        if known is None:
            raise UpstreamError("nothing is asked under that name", code=125, hint="mcpguard server add")
        probe, task = known
        if not task.done() and len(probe.told) <= request.since:
            probe.changed.clear()
            waiting = spawn_task(probe.changed.wait(), name="words of a question")
            await asyncio.wait((task, waiting), timeout=_WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        if task.done():
            if probe.found is None and probe.failure is None:  # given up, or by a bug, which the log has
                probe.failure = UpstreamError("the question was given up", code=125, hint="ask again")
            del self._probes[request.ident]
        return probe.described(request.ident)

    async def _run(self, probe: _Probe) -> None:
        from mcpguard.daemon.probe import probe_remote  # noqa: PLC0415 (for those who add servers alone)

        try:
            probe.gate = LoginNoted(await self._authorizer(probe.name, probe.place), probe.name)
            registry = partial(self._registry, probe.name)
            found = await probe_remote(probe.place, probe.gate, registry, tell=probe.tell)
            probe.found = _without_lists(found)
        except OSError as error:
            probe.failure = UpstreamError(f"the server cannot be asked: {error.strerror or error}", code=125)
        except GuardError as error:
            probe.failure = (probe.gate and probe.gate.refused) or error

    def _make_room(self) -> None:
        """Not too many at once: the oldest is given up."""
        while len(self._probes) >= limits.OAUTH_LOGINS:
            self._probes.pop(next(iter(self._probes)))[1].cancel()


class LoginNoted:
    """An authorizer that remembers that the server wants a login (`outgoing.Authorizer`).

    Args:
        inner: What authorises requests; None if nobody has logged in.
        name: What the server is called.

    Attributes:
        refused: Why there was no token for it; None as long as it wanted none, or there was one.
    """

    def __init__(self, inner: Authorizer | None, name: str) -> None:
        self._inner = inner
        self._name = name
        self.refused: UpstreamError | None = None

    async def headers(self, method: str, url: str) -> Mapping[str, str]:
        """See `Authorizer`."""
        if self._inner is None:
            return {}
        try:
            return await self._inner.headers(method, url)
        except UpstreamError as error:
            self.refused = error
            raise

    async def challenged(self, status: int, www_authenticate: str, dpop_nonce: str = "") -> bool:
        """See `Authorizer`."""
        try:
            if self._inner is None:
                raise UpstreamError(f"{self._name!a} refuses with {status}: it wants a login", code=125)
            return await self._inner.challenged(status, www_authenticate, dpop_nonce)
        except UpstreamError as error:
            self.refused = error
            raise


def login_at(name: str, place: Remote) -> LoginAt | None:
    """A server as logins see it; None for one that is not reached over HTTPS."""
    return LoginAt(name, place.url) if place.target.scheme == "https" else None


def _code(error: GuardError) -> str:
    """By who must act, as the failures of other verbs have it (`daemon.control`)."""
    match error:
        case TrustError():
            return "trust"
        case SecretError():
            return "secret"
        case _:
            return "failed"


def _place(text: str) -> Remote:
    try:
        place = msgspec.json.decode(text, type=Remote)
    except (ValueError, RecursionError) as error:
        raise TrustError(f"that is not where a server is: {error}") from error
    check_remote(place)
    return place


def _without_lists(found: Probed) -> Probed:
    """What can be pinned of it, without all that was listed, which may be large."""
    return msgspec.structs.replace(
        found, answers=tuple(msgspec.structs.replace(each, lists={}) for each in found.answers)
    )
