"""What a service manager is told, and when: read from the socket that it listens on."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpguard.system.servicenotify import ServiceNotify


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A manager's socket, and how it is called in NOTIFY_SOCKET."""
    name = f"mcpguard-test-{os.getpid()}"
    address = str(tmp_path / "notify") if request.param == "path" else f"\0{name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        sock.settimeout(5)
        yield sock, address.replace("\0", "@")


def test_every_state_is_one_datagram(manager: tuple[socket.socket, str]) -> None:
    sock, address = manager
    told = {"NOTIFY_SOCKET": address, "KEPT": "1"}
    notify = ServiceNotify(told)
    assert told == {"KEPT": "1"}
    assert notify.heard
    notify.ready("policy enforce, 2 rules")
    assert sock.recv(1000) == b"READY=1\nSTATUS=policy enforce, 2 rules"
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify.reloading()
    first, _, stamp = sock.recv(1000).decode().partition("\nMONOTONIC_USEC=")
    assert first == "RELOADING=1"
    assert before <= int(stamp) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify.stopping()
    assert sock.recv(1000) == b"STOPPING=1"


def test_watchdog_is_fed_at_half_of_its_time(manager: tuple[socket.socket, str]) -> None:
    sock, address = manager
    sock.setblocking(False)
    told = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}
    notify = ServiceNotify(told)
    assert told == {}
    fed = []
    for second in range(1000, 1035):
        notify.alive(float(second))
        try:
            assert sock.recv(100) == b"WATCHDOG=1"
            fed.append(second)
        except BlockingIOError:
            pass
    assert fed == [1000, 1010, 1020, 1030]


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "\u00b2"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
def test_watchdog_of_nobody_or_of_somebody_else_is_not_fed(
    manager: tuple[socket.socket, str], told: dict[str, str]
) -> None:
    sock, address = manager
    sock.setblocking(False)
    ServiceNotify({"NOTIFY_SOCKET": address, **told}).alive(1000.0)
    with pytest.raises(BlockingIOError):
        sock.recv(100)


def test_nobody_is_told_without_a_manager_and_one_that_is_away_does_no_harm(tmp_path: Path) -> None:
    for told in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}):
        notify = ServiceNotify(dict(told))
        assert not notify.heard
        notify.ready("")
    away = ServiceNotify({"NOTIFY_SOCKET": str(tmp_path / "none")})
    assert away.heard
    away.ready("")
    away.stopping()
