"""Authenticators of others: Python entry points that configuration names, and programs of their own.

Rule 1. A plug-in adds to what others have found, or refuses. It is asked after them, and alone it lets nobody in.
Rule 2. The principals that it gives are `plugin:NAME=VALUE`, whatever it says: it cannot make those of other kinds.
Its scopes and its expiry narrow.
Rule 3. One that does not answer, answers late, or answers anything else, has refused.
Rule 4. It is told what configuration says and nothing more; credentials are told only where `sees` names them.

The question is a JSON object: `op` (`authenticate` or `recheck`), `principals`, `instance`, and what `sees` names.
The answer: `ok`, and `reason`, or `principals`, `expires`, `servers`, `tools`.

Not here: how programs are run (`daemon.pluginprocess`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from mcpguard.credentials.presented import Authenticated, Presented
from mcpguard.daemon.pluginprocess import PluginProcess
from mcpguard.errors import ConfigError, PeerError
from mcpguard.model import Json, JsonObject, visible
from mcpguard.policy.match import flaw
from mcpguard.system.authfile import Plugin

GROUP: Final = "mcpguard.authenticators"
VALUES: Final = 32
VALUE_CHARS: Final = 128
REASON_CHARS: Final = 200

Ask: TypeAlias = Callable[[JsonObject], Awaitable[Json]]
"""Answers one question; what an entry point's factory gives."""


class Runner(Protocol):
    """Where questions go."""

    async def ask(self, question: JsonObject, seconds: float) -> Json:
        """The answer, unchecked.

        Raises:
            PeerError: There is none.
        """

    async def close(self) -> None:
        """Ask no more."""


class _Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ok: bool
    reason: str = ""
    principals: tuple[str, ...] = ()
    expires: float = 0.0
    servers: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()


class EntryPoint:
    """A plug-in in this process, by the answer of its factory."""

    def __init__(self, name: str, ask: Ask) -> None:
        self._name = name
        self._ask = ask

    async def ask(self, question: JsonObject, seconds: float) -> Json:
        """As `Runner`."""
        try:
            async with asyncio.timeout(seconds):
                return await self._ask(question)
        except TimeoutError as error:
            raise PeerError(f"the authenticator {self._name} does not answer") from error
        except Exception as error:  # whatever a plug-in raises, it has refused
            raise PeerError(f"the authenticator {self._name} failed: {type(error).__name__}") from error

    async def close(self) -> None:
        """As `Runner`."""


class Authenticator:
    """One plug-in, as configuration describes it."""

    def __init__(self, settings: Plugin, runner: Runner) -> None:
        self.settings = settings
        self._runner = runner

    async def add(self, found: Authenticated, presented: Presented) -> Authenticated:
        """What it adds to what others have found.

        Raises:
            PeerError: It refuses.
        """
        seen = {name: _told(getattr(presented, name)) for name in self.settings.sees}
        return self._added(await self._ask("authenticate", found, seen))

    async def recheck(self, found: Authenticated) -> None:
        """It would not refuse now.

        Raises:
            PeerError: It does.
        """
        self._added(await self._ask("recheck", found, {}))

    async def close(self) -> None:
        """Ask no more."""
        await self._runner.close()

    async def _ask(self, op: str, found: Authenticated, more: JsonObject) -> Json:
        question = {"op": op, "principals": sorted(found.principals), "instance": found.instance, **more}
        return await self._runner.ask(question, self.settings.timeout)

    def _added(self, answer: Json) -> Authenticated:
        name = self.settings.name
        try:
            reply = msgspec.convert(answer, _Reply, strict=True)
        except msgspec.ValidationError as error:
            raise PeerError(f"the authenticator {name} gave no answer that can be understood") from error
        if not reply.ok:
            why = visible(reply.reason[:REASON_CHARS]) or "it does not say why"
            raise PeerError(f"the authenticator {name} refuses: {why}")
        values = reply.principals
        if len(values) > VALUES or not all(
            0 < len(one) <= VALUE_CHARS and one.isprintable() for one in values
        ):
            raise PeerError(f"the authenticator {name} gave principals that none can be")
        if any(flaw(one) for one in (*reply.servers, *reply.tools)) or reply.expires < 0:
            raise PeerError(f"the authenticator {name} gave scopes or a time that none can be")
        principals = frozenset(f"plugin:{name}={one}" for one in values)
        return Authenticated(principals, {"plugin": name}, reply.expires, reply.servers, reply.tools)


def _installed() -> Any:
    from importlib.metadata import entry_points  # noqa: PLC0415 (takes MiB, and most configurations need none)

    return entry_points(group=GROUP)


def load(settings: Plugin, points: Callable[[], Any] = _installed) -> Authenticator:
    """A plug-in that configuration names; no other is looked at.

    Raises:
        ConfigError: There is no such entry point, or it fails.
    """
    if settings.command:
        return Authenticator(settings, PluginProcess(settings))
    found = [point for point in points() if point.name == settings.entry_point]
    if len(found) != 1:
        many = "more than one package offers" if found else "no installed package offers"
        raise ConfigError(
            f"{many} the authenticator {settings.entry_point!a}", file="auth.toml", key=settings.name
        )
    try:
        ask = found[0].load()(dict(settings.settings))
    except Exception as error:
        raise ConfigError(
            f"the authenticator {settings.entry_point!a} cannot be loaded: {error}",
            file="auth.toml", key=settings.name,
        ) from error  # fmt: skip
    return Authenticator(settings, EntryPoint(settings.name, ask))


def _told(value: object) -> Json:
    return value.hex() if isinstance(value, bytes) else value
