"""Tell the person at the desktop that a call waits.

It tells and takes no answer: what presses a button of a notification cannot be attested, so answers come from a
terminal (`daemon.control`). Arguments are not shown, because notifications are kept and synchronised elsewhere.

Rule: no call waits for a desktop. What cannot be shown is logged once, until something is shown again.

Source: Desktop Notifications Specification 1.2, org.freedesktop.Notifications. Needs the extra `notify` (dbus-fast).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mcpguard.audit.record import visible
from mcpguard.model import JsonObject

if TYPE_CHECKING:
    from dbus_fast.aio import MessageBus

_log: Final = logging.getLogger("mcpguard")
_NAME: Final = "org.freedesktop.Notifications"
_PATH: Final = "/org/freedesktop/Notifications"
_SECONDS: Final = 5.0
_WAITING: Final = 64
"""Most notices that wait for a slow desktop; more are not shown."""
_STAYS: Final = 0
_CHARS: Final = 80


class Desktop:
    """The desktop of this user, as a channel of `daemon.approvals`.

    Args:
        wanted: Whether policy wants notifications.
        address: Of the bus; empty for that of the session.
    """

    def __init__(self, wanted: Callable[[], bool], address: str = "") -> None:
        self._wanted = wanted
        self._address = address
        self._notices: asyncio.Queue[JsonObject | str] = asyncio.Queue(_WAITING)
        self._shown: dict[str, int] = {}
        self._bus: MessageBus | None = None
        self._worker: asyncio.Task[None] | None = None
        self._silent = False

    def show(self, ticket: JsonObject) -> None:
        """A ticket was opened."""
        if self._wanted():
            self._put(ticket)

    def tell(self, title: str, text: str) -> None:
        """Something that a person should know and need not answer; whoever calls this knows that policy wants it."""
        self._put({"title": title, "text": text})

    def withdraw(self, ident: str) -> None:
        """A ticket was settled; nothing, if it was not shown."""
        if self._worker is not None:
            self._put(ident)

    async def close(self) -> None:
        """Take back what is shown, as far as that goes quickly, and leave the bus."""
        if self._worker is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._notices.join(), 1.0)
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        await self._leave()

    def _put(self, notice: JsonObject | str) -> None:
        try:
            self._notices.put_nowait(notice)
        except asyncio.QueueFull:
            self._failed("it is too slow")
            return
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work(), name="desktop notifications")

    async def _work(self) -> None:
        while True:
            notice = await self._notices.get()
            try:
                async with asyncio.timeout(_SECONDS):
                    await self._carry_out(notice)
            except ImportError:
                self._failed("it needs: pip install 'mcpguard[notify]'")
            except (OSError, EOFError, LookupError, TimeoutError) as error:
                await self._leave()
                self._failed(str(error) or type(error).__name__)
            else:
                self._silent = False
            finally:
                self._notices.task_done()

    async def _carry_out(self, notice: JsonObject | str) -> None:
        if isinstance(notice, str):
            number = self._shown.pop(notice, 0)
            if number:
                await self._call("CloseNotification", "u", [number])
            return
        question = "id" in notice
        icon, actions, hints = (
            "dialog-question" if question else "dialog-warning",
            list[str](),
            dict[str, object](),
        )
        said = words(notice) if question else (notice["title"], markup(notice["text"]))
        body = ["mcpguard", 0, icon, *said, actions, hints, _STAYS]
        (number,) = await self._call("Notify", "susssasa{sv}i", body)
        if question:
            self._shown[notice["id"]] = number

    async def _call(self, member: str, signature: str, body: list[object]) -> list[int]:
        from dbus_fast import Message, MessageType  # noqa: PLC0415 (an extra)
        from dbus_fast.aio import MessageBus  # noqa: PLC0415

        if self._bus is None or not self._bus.connected:
            self._shown.clear()  # whoever showed them may be another one by now
            self._bus = await MessageBus(bus_address=self._address or session_bus()).connect()
        reply = await self._bus.call(
            Message(
                destination=_NAME, path=_PATH, interface=_NAME, member=member, signature=signature, body=body
            )
        )
        if reply.message_type is MessageType.ERROR:
            raise LookupError(reply.error_name)
        return list(reply.body)

    async def _leave(self) -> None:
        bus, self._bus = self._bus, None
        if bus is not None and bus.connected:
            bus.disconnect()
            with contextlib.suppress(OSError, EOFError, TimeoutError):  # it is left in any case
                left = bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # the library has no types here
                await asyncio.wait_for(left, 1.0)

    def _failed(self, why: str) -> None:
        if not self._silent:
            _log.info("desktop notifications are not shown: %s", why)
        self._silent = True


def words(ticket: JsonObject) -> tuple[str, str]:
    """Title and text for a ticket (`approvals.words.describe`); the text is markup in which nothing of others is."""
    host = ticket["host"].get("host") or "a host that is not enrolled"
    about = _short(ticket["tool"] or ticket["method"])
    text = f"{_short(host)} asks {_short(ticket['server'])}: {about}\nmcpguard approve {ticket['id']}"
    return "mcpguard: a call waits for you", text


def markup(text: str) -> str:
    """Lines of text as markup in which nothing of others is."""
    return "\n".join(_short(line, 2 * _CHARS) for line in text.splitlines())


def session_bus() -> str:
    """The address of this user's bus. A daemon that a host started does not have it in its environment.

    Raises:
        LookupError: There is none.
    """
    if address := os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return address
    place = Path(f"/run/user/{os.getuid()}/bus")
    if not place.is_socket():
        raise LookupError("this user has no session bus")
    return f"unix:path={place}"


def _short(text: str, most: int = _CHARS) -> str:
    from html import escape  # noqa: PLC0415 (its table of entities takes half a MiB)

    shown = visible(text)
    return escape(shown if len(shown) <= most else f"{shown[:most]}…", quote=False)
