"""Sessions asked about on a real bus, answered by a service that speaks D-Bus."""

import contextlib
import subprocess

import pytest
from dbus_fast import Variant
from dbus_fast.aio import MessageBus
from dbus_fast.constants import PropertyAccess
from dbus_fast.service import ServiceInterface, dbus_property, method

from mcpguard.daemon.loginwatch import LoginWatch


class Manager(ServiceInterface):
    """The part of systemd-logind that is asked."""

    def __init__(self):
        super().__init__("org.freedesktop.login1.Manager")

    @method()
    def GetSession(self, session_id: "s") -> "o":  # noqa: F821
        return f"/org/freedesktop/login1/session/_{session_id}"


class Session(ServiceInterface):
    def __init__(self, *, locked):
        super().__init__("org.freedesktop.login1.Session")
        self.locked = locked

    @dbus_property(access=PropertyAccess.READ)
    def LockedHint(self) -> "b":  # noqa: F821
        return self.locked


@contextlib.contextmanager
def bus():
    command = ["dbus-daemon", "--session", "--nofork", "--print-address=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        try:
            yield daemon.stdout.readline().strip()
        finally:
            daemon.terminate()


@contextlib.asynccontextmanager
async def logind(address, *, locked):
    found = await MessageBus(bus_address=address).connect()
    session = Session(locked=locked)
    found.export("/org/freedesktop/login1", Manager())
    found.export("/org/freedesktop/login1/session/_3", session)
    await found.request_name("org.freedesktop.login1")
    try:
        yield session
    finally:
        found.disconnect()


@pytest.fixture
def run(tmp_path):
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "3").write_text("REMOTE=0\n")
    (tmp_path / "sessions" / "4").write_text("REMOTE=1\n")
    return tmp_path


@pytest.mark.asyncio
async def test_what_is_locked_and_what_is_remote_is_told(run):
    with bus() as address:
        watch = LoginWatch(address, run)
        async with logind(address, locked=False) as session:
            assert watch.words("3") == frozenset()
            await watch.look(["3", "4", ""])
            assert watch.words("3") == {"local", "unlocked"}
            assert watch.words("4") == {"remote"}, (
                "a session that logind does not know is neither locked nor not"
            )
            session.locked = True
            await watch.look(["3"])
            assert watch.words("3") == {"local", "locked"}
            assert watch.words("4") == frozenset()
        watch.close()


@pytest.mark.asyncio
async def test_without_a_service_or_a_bus_nothing_is_known_of_locks(run):
    with bus() as address:
        watch = LoginWatch(address, run)
        await watch.look(["3"])
        assert watch.words("3") == {"local"}
        watch.close()
    watch = LoginWatch("unix:path=/nonexistent/bus", run)
    await watch.look(["3"])
    assert watch.words("3") == {"local"}


@pytest.mark.asyncio
async def test_a_value_that_is_no_boolean_is_no_answer(run):
    class Odd(ServiceInterface):
        def __init__(self):
            super().__init__("org.freedesktop.login1.Session")

        @dbus_property(access=PropertyAccess.READ)
        def LockedHint(self) -> "v":  # noqa: F821
            return Variant("s", "no")

    with bus() as address:
        found = await MessageBus(bus_address=address).connect()
        found.export("/org/freedesktop/login1", Manager())
        found.export("/org/freedesktop/login1/session/_3", Odd())
        await found.request_name("org.freedesktop.login1")
        watch = LoginWatch(address, run)
        await watch.look(["3"])
        assert watch.words("3") == {"local"}
        watch.close()
        found.disconnect()
