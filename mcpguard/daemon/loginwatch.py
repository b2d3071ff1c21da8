"""What is true of the login sessions that hosts are in: local or remote, locked or unlocked.

Asked every second while some rule depends on it, so that an answer is at most that old. What cannot be asked is not
known, and a rule that needs to know it does not hold.

Source: org.freedesktop.login1(5), properties of sessions. Needs the extra `notify` (dbus-fast) for what is locked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from mcpguard.system.loginsession import RUN, place_of

_log: Final = logging.getLogger("mcpguard")
_SECONDS: Final = 2.0
_SERVICE: Final = "org.freedesktop.login1"
_MANAGER: Final = "/org/freedesktop/login1"


class LoginWatch:
    """Knows the state of sessions as it was a second ago.

    Args:
        address: Of the bus; empty for the system's.
        run: Where systemd-logind keeps its files.
    """

    def __init__(self, address: str = "", run: Path = RUN) -> None:
        self._address = address
        self._run = run
        self._bus: Any = None
        self._known: dict[str, frozenset[str]] = {}

    def words(self, session: str) -> frozenset[str]:
        """`local` or `remote`, `locked` or `unlocked`, of a session; what is not known is not among them."""
        return self._known.get(session, frozenset())

    async def look(self, sessions: Iterable[str]) -> None:
        """Ask about these sessions; of all others nothing is known any more."""
        known = {}
        for session in {each for each in sessions if each}:
            words = {place_of(session, self._run), await self._lock(session)} - {""}
            known[session] = frozenset(words)
        self._known = known

    def close(self) -> None:
        """Leave the bus."""
        if self._bus is not None:
            self._bus.disconnect()
            self._bus = None

    async def _lock(self, session: str) -> str:
        try:
            async with asyncio.timeout(_SECONDS):
                path = await self._call(_MANAGER, f"{_SERVICE}.Manager", "GetSession", "s", [session])
                hint = await self._call(
                    path,
                    "org.freedesktop.DBus.Properties",
                    "Get",
                    "ss",
                    [f"{_SERVICE}.Session", "LockedHint"],
                )
        except (OSError, TimeoutError, ImportError, LookupError, EOFError) as error:
            _log.debug("whether session %s is locked is not known: %s", session, error)
            self.close()
            return ""
        value = getattr(hint, "value", None)
        return {True: "locked", False: "unlocked"}[value] if isinstance(value, bool) else ""

    async def _call(self, path: str, interface: str, member: str, signature: str, body: list[str]) -> Any:
        """The first value of a reply.

        Raises:
            OSError: The bus cannot be reached.
            LookupError: It answers with an error.
            ImportError: The library is not installed.
        """
        from dbus_fast import BusType, Message, MessageType  # noqa: PLC0415 (an extra)
        from dbus_fast.aio import MessageBus  # noqa: PLC0415

        if self._bus is None or not self._bus.connected:
            bus = MessageBus(bus_address=self._address or None, bus_type=BusType.SYSTEM)
            self._bus = await bus.connect()
        reply = await self._bus.call(
            Message(
                destination=_SERVICE, path=path, interface=interface, member=member, signature=signature,
                body=body,
            )
        )  # fmt: skip
        if reply is None or reply.message_type is MessageType.ERROR or not reply.body:
            raise LookupError(getattr(reply, "error_name", "no reply"))
        return reply.body[0]
