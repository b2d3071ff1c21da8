"""polkit as a sign of presence: the system asks, by a window of its own that programs of the user cannot answer.

It is there if the system's policy knows the action: share/polkit-1/org.mcpguard.policy has to be installed as root.

Source: polkit reference manual, org.freedesktop.PolicyKit1.Authority. Needs the extra `presence` (dbus-fast).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from mcpguard import limits
from mcpguard.errors import PeerError

ACTION: Final = "org.mcpguard.approve"
INSTALLED: Final = Path("/usr/share/polkit-1/actions/org.mcpguard.policy")
_SERVICE: Final = "org.freedesktop.PolicyKit1"
_PATH: Final = "/org/freedesktop/PolicyKit1/Authority"
_INTERACTIVE: Final = 1


class Polkit:
    """Asks the authority.

    Args:
        address: Of the bus; empty for the system's.
        installed: The file by which the system knows the action.
    """

    def __init__(self, address: str = "", installed: Path = INSTALLED) -> None:
        self._address = address
        self._installed = installed

    def available(self) -> bool:
        """Whether the system knows the action."""
        return self._installed.is_file()

    async def authorise(self, pid: int, start: int, uid: int) -> None:
        """Have the system ask whoever sits before it, for a process.

        Args:
            pid: The process that approves.
            start: When it began, clock ticks since boot.
            uid: Its user.

        Raises:
            PeerError: The answer was no, or there was none.
        """
        try:
            async with asyncio.timeout(limits.CHALLENGE_SECONDS):
                authorised = await self._asked(pid, start, uid)
        except (OSError, TimeoutError, ImportError, LookupError, EOFError) as error:
            raise PeerError(f"polkit has not answered: {error}", hint="is it running?") from error
        if not authorised:
            raise PeerError("polkit says no", hint="try again")

    async def _asked(self, pid: int, start: int, uid: int) -> bool:
        from dbus_fast import BusType, Message, MessageType, Variant  # noqa: PLC0415 (an extra)
        from dbus_fast.aio import MessageBus  # noqa: PLC0415

        bus = await MessageBus(bus_address=self._address or None, bus_type=BusType.SYSTEM).connect()
        subject = {"pid": Variant("u", pid), "start-time": Variant("t", start), "uid": Variant("i", uid)}
        try:
            reply = await bus.call(
                Message(
                    destination=_SERVICE, path=_PATH, interface=f"{_SERVICE}.Authority",
                    member="CheckAuthorization", signature="(sa{sv})sa{ss}us",
                    body=[["unix-process", subject], ACTION, {}, _INTERACTIVE, ""],
                )
            )  # fmt: skip
        finally:
            bus.disconnect()
        if reply.message_type is MessageType.ERROR or not reply.body:
            raise LookupError(reply.error_name)
        return reply.body[0][0] is True
