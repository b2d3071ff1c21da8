"""polkit, by an authority on a bus of our own. The real one was never asked here."""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree as ET

import pytest
from dbus_fast import BusType
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusSignature as Signature
from dbus_fast.service import ServiceInterface, dbus_method

from mcpguard.daemon.polkit import ACTION, INSTALLED, Polkit
from mcpguard.errors import PeerError
from tests.fakes.buses import needs_bus, private_bus

Str = Annotated[str, Signature("s")]


class Authority(ServiceInterface):
    """Says what it is told to say, and remembers what it was asked."""

    def __init__(self, answer: bool) -> None:
        super().__init__("org.freedesktop.PolicyKit1.Authority")
        self.answer = answer
        self.asked: list[Any] = []

    @dbus_method()
    def CheckAuthorization(
        self,
        subject: Annotated[Any, Signature("(sa{sv})")],
        action: Str,
        details: Annotated[Any, Signature("a{ss}")],
        flags: Annotated[int, Signature("u")],
        cancel: Str,
    ) -> Annotated[Any, Signature("(bba{ss})")]:
        self.asked.append((subject, action, details, flags, cancel))
        return [self.answer, False, {}]


async def asked(address: str, authority: Authority | None) -> None:
    bus = await MessageBus(bus_address=address, bus_type=BusType.SYSTEM).connect()
    if authority:
        bus.export("/org/freedesktop/PolicyKit1/Authority", authority)
        await bus.request_name("org.freedesktop.PolicyKit1")
    try:
        await Polkit(address).authorise(os.getpid(), 77, 1000)
    finally:
        bus.disconnect()


@needs_bus
def test_the_system_is_asked_for_the_process_that_approves() -> None:
    authority = Authority(answer=True)
    with private_bus() as address:
        asyncio.run(asked(address, authority))
    ((subject, action, _, flags, _),) = authority.asked
    assert subject[0] == "unix-process"
    assert {key: value.value for key, value in subject[1].items()} == {
        "pid": os.getpid(), "start-time": 77, "uid": 1000,
    }  # fmt: skip
    assert (action, flags) == (ACTION, 1)


@needs_bus
def test_a_no_is_a_no() -> None:
    with private_bus() as address, pytest.raises(PeerError, match="polkit says no"):
        asyncio.run(asked(address, Authority(answer=False)))


@needs_bus
def test_nobody_there_is_a_no() -> None:
    with private_bus() as address, pytest.raises(PeerError, match="polkit has not answered"):
        asyncio.run(asked(address, None))


def test_no_bus_is_a_no(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="polkit has not answered"):
        asyncio.run(Polkit(f"unix:path={tmp_path}/none").authorise(1, 1, 1))


def test_it_is_there_if_the_system_knows_the_action(tmp_path: Path) -> None:
    assert not Polkit(installed=tmp_path / "none").available()
    source = Path(__file__).parents[2] / "share" / "polkit-1" / INSTALLED.name
    assert Polkit(installed=source).available()
    (action,) = ET.parse(source).getroot().findall("action")
    assert action.get("id") == ACTION
    assert {word.text for word in action.iterfind("defaults/*")} == {"auth_self"}
