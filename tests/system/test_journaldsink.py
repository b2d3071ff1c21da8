"""journald's own protocol over a real socket, read by a reader of its grammar; long entries come as sealed files."""

import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpguard.audit.event import Event, event_of
from mcpguard.system.delivery import SinkError
from mcpguard.system.journaldsink import JournaldSink
from mcpguard.system.sinkfile import Sink
from tests.audit.exported import HOSTILE, lines, read_native


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "socket"))
        sock.settimeout(20)
        yield sock


def test_entries_arrive_with_every_byte(receiver: socket.socket) -> None:
    sink = JournaldSink(Sink("j", "journald", f"unix://{receiver.getsockname()}"), "")
    for line in lines():
        sink.send([event_of(line)])
        fields = read_native(receiver.recv(1 << 20))
        assert fields["MCPGUARD_EVENT_ID"].decode() == event_of(line).id
    sink.send([event_of(lines()[0])])
    assert read_native(receiver.recv(1 << 20))["MCPGUARD_TARGET"].decode() == HOSTILE
    sink.close()


def test_an_entry_too_long_for_a_datagram_comes_as_a_sealed_file(receiver: socket.socket) -> None:
    event = event_of(lines()[0])
    huge = Event(event.id, event.record, event.severity, '{"pad":"' + "x" * (1 << 20) + '"}')
    sink = JournaldSink(Sink("j", "journald", f"unix://{receiver.getsockname()}"), "")
    sink.send([huge])
    data, descriptors, _, _ = socket.recv_fds(receiver, 1 << 20, 4)
    assert (data, len(descriptors)) == (b"", 1)
    with open(descriptors[0], "rb") as file:
        seals = fcntl.fcntl(file, fcntl.F_GET_SEALS)
        assert seals & (fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW) == 0x0E
        content = os.pread(file.fileno(), 1 << 22, 0)
    assert read_native(content)["MCPGUARD_RECORD"].decode() == huge.line
    sink.close()


def test_no_journald_is_told_and_it_is_found_when_it_comes(tmp_path: Path) -> None:
    place = tmp_path / "socket"
    sink = JournaldSink(Sink("j", "journald", f"unix://{place}"), "")
    with pytest.raises(SinkError, match="no such file"):
        sink.send([event_of(lines()[0])])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(place))
        sock.settimeout(20)
        sink.send([event_of(lines()[0])])
        assert read_native(sock.recv(1 << 20))["MCPGUARD_TYPE"] == b"call"
    sink.close()
