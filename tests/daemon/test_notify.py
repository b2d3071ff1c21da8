"""Notifications on a bus of our own, with a desktop that remembers what it shows. A real desktop was never used."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusSignature as Signature
from dbus_fast.service import ServiceInterface, dbus_method

from mcpguard.daemon.notify import Desktop, session_bus, words
from tests.fakes.buses import needs_bus, private_bus
from tests.lifecycle.forms import FORMS, arrive
from tests.lifecycle.stage import House, until
from tests.lifecycle.test_approvals import ASKING, waits

Str = Annotated[str, Signature("s")]
Int = Annotated[int, Signature("u")]
TICKET = {"id": "ab12", "method": "tools/call", "tool": "write", "server": "files", "host": {"host": "acme"}}


class Screen(ServiceInterface):
    """A notification service: what is shown now, and what ever was."""

    def __init__(self) -> None:
        super().__init__("org.freedesktop.Notifications")
        self.shown: dict[int, tuple[str, str]] = {}
        self.actions: list[list[str]] = []
        self.count = 0

    @dbus_method()
    def Notify(
        self,
        app: Str,
        replaces: Int,
        icon: Str,
        title: Str,
        text: Str,
        actions: Annotated[Any, Signature("as")],
        hints: Annotated[Any, Signature("a{sv}")],
        timeout: Annotated[int, Signature("i")],
    ) -> Int:
        self.count += 1
        self.shown[self.count] = (title, text)
        self.actions.append(actions)
        return self.count

    @dbus_method()
    def CloseNotification(self, number: Int) -> None:
        self.shown.pop(number, None)


@contextlib.asynccontextmanager
async def desktop(address: str) -> AsyncIterator[Screen]:
    bus = await MessageBus(bus_address=address).connect()
    screen = Screen()
    bus.export("/org/freedesktop/Notifications", screen)
    await bus.request_name("org.freedesktop.Notifications")
    yield screen
    bus.disconnect()
    await bus.wait_for_disconnect()


async def eventually(check: Callable[[], bool]) -> bool:
    for _ in range(500):
        if check():
            return True
        await asyncio.sleep(0.01)
    return False


def played(story: Callable[[str], Awaitable[None]]) -> None:
    async def run(address: str) -> None:
        await story(address)

    with private_bus() as address:
        asyncio.run(run(address))


@needs_bus
def test_a_ticket_is_shown_until_it_is_settled() -> None:
    async def story(address: str) -> None:
        async with desktop(address) as screen:
            told = Desktop(lambda: True, address)
            told.show(TICKET)
            assert await eventually(lambda: len(screen.shown) == 1)
            assert screen.shown[1] == words(TICKET)
            assert screen.actions == [[]], "it takes no answer"
            told.show({**TICKET, "id": "cd34"})
            told.withdraw("ab12")
            told.withdraw("never shown")
            assert await eventually(lambda: list(screen.shown) == [2])
            told.withdraw("cd34")
            await told.close()
            assert screen.shown == {}

    played(story)


@needs_bus
def test_a_finding_is_told_and_stays_and_nothing_in_it_is_markup() -> None:
    async def story(address: str) -> None:
        async with desktop(address) as screen:
            told = Desktop(lambda: False, address)  # it is about questions, and this is none
            told.tell("mcpguard: new-tool", "the tool '<b>\u202e' was called\nmcpguard findings")
            assert await eventually(lambda: len(screen.shown) == 1)
            title, text = screen.shown[1]
            assert title == "mcpguard: new-tool"
            assert text == "the tool '&lt;b&gt;\\u202e' was called\nmcpguard findings"
            told.withdraw("mcpguard: new-tool")
            await told.close()
            assert len(screen.shown) == 1

    played(story)


@needs_bus
def test_policy_may_not_want_it() -> None:
    async def story(address: str) -> None:
        async with desktop(address) as screen:
            told = Desktop(lambda: False, address)
            told.show(TICKET)
            told.withdraw("ab12")
            await told.close()
            assert screen.count == 0

    played(story)


@needs_bus
def test_a_desktop_that_comes_later_and_goes_is_no_hindrance(caplog: pytest.LogCaptureFixture) -> None:
    async def story(address: str) -> None:
        told = Desktop(lambda: True, address)
        told.show(TICKET)
        told.show(TICKET)
        assert await eventually(lambda: "are not shown" in caplog.text)
        async with desktop(address) as screen:
            await asyncio.sleep(0.05)
            told.show(TICKET)
            assert await eventually(lambda: len(screen.shown) == 1)
        told.withdraw("ab12")
        await told.close()

    caplog.set_level("INFO", "mcpguard")
    played(story)
    assert caplog.text.count("are not shown") == 2, "once while there was none, once when it had gone"


def test_a_bus_that_never_answers_holds_up_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        told = Desktop(lambda: True, f"unix:path={tmp_path}/bus")
        began = asyncio.get_running_loop().time()
        for number in range(200):
            told.show({**TICKET, "id": str(number)})
        assert asyncio.get_running_loop().time() - began < 0.5
        await told.close()
        assert asyncio.get_running_loop().time() - began < 3

    caplog.set_level("INFO", "mcpguard")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{tmp_path}/bus")
        silent.listen()
        asyncio.run(story())
    assert "it is too slow" in caplog.text


@pytest.mark.parametrize(
    "name", ["<b>x</b>", "a&b", "\x1b[31m", "\u202egpj", "n\nmcpguard approve ffff", "x" * 5000]
)
def test_nothing_of_others_is_markup_or_another_line(name: str) -> None:
    _, text = words({**TICKET, "tool": name, "server": name, "host": {"host": name}})
    assert "<" not in text
    assert text.count("\n") == 1
    assert text.endswith("\nmcpguard approve ab12")
    assert len(text) < 1000
    assert all(char.isprintable() or char == "\n" for char in text)


def test_where_the_bus_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x")
    assert session_bus() == "unix:path=/x"
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    if Path(f"/run/user/{os.getuid()}/bus").is_socket():
        assert session_bus() == f"unix:path=/run/user/{os.getuid()}/bus"
    else:
        with pytest.raises(LookupError, match="no session bus"):
            session_bus()


@needs_bus
def test_a_daemon_tells_the_desktop_and_takes_it_back() -> None:
    async def story(address: str) -> None:
        async with desktop(address) as screen:
            with House() as place:
                place.env["DBUS_SESSION_BUS_ADDRESS"] = address
                await asyncio.to_thread(place.serve)
                place.policy(ASKING.format(timeout="60s"))
                host = await asyncio.to_thread(arrive(place, FORMS["pipes"], name="box").greet)
                call = host.calling("note", n="a secret")
                assert await eventually(lambda: len(screen.shown) == 1)
                (ticket,) = await asyncio.to_thread(waits, place)
                (_, text) = screen.shown[1]
                assert f"mcpguard approve {ticket['id']}" in text
                assert "secret" not in text
                assert place.mcpguard("deny", ticket["id"]).returncode == 0
                assert await eventually(lambda: not screen.shown)
                await asyncio.to_thread(host.answer, call)
                quiet = ASKING.format(timeout="60s").replace("[approvals]\n", "[approvals]\nnotify = false\n")
                place.policy(quiet)
                host.calling("note", n=2)
                await asyncio.to_thread(waits, place)
                assert await asyncio.to_thread(until, lambda: screen.count == 1)

    played(story)
