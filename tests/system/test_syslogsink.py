"""Syslog over every transport, to receivers that really listen."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from mcpguard.audit.event import event_of
from mcpguard.system.delivery import SinkError
from mcpguard.system.sinkfile import Sink
from mcpguard.system.syslogsink import SyslogSink
from tests.audit.exported import lines, read_cef, read_syslog
from tests.system.receivers import Certificates, Stream, closing, until

EVENTS = [event_of(line) for line in lines()]
IDS = [event.id for event in EVENTS]


def ids(messages: list[bytes]) -> list[str]:
    return [read_syslog(data)[1]["id"] for data in messages]


def made(to: str, **more: Any) -> SyslogSink:
    return SyslogSink(Sink("s", "syslog", to, **more), "box")


@pytest.mark.parametrize("form", ["json", "ocsf", "cef"])
def test_tcp_carries_hostile_records_one_by_one(form: str) -> None:
    receiver = Stream()
    sink = made(f"tcp://127.0.0.1:{receiver.port}", format=form)
    with closing(receiver, sink):
        sink.send(EVENTS)
        assert until(lambda: len(receiver.messages) >= len(EVENTS))
        assert ids(receiver.messages) == IDS
        text = read_syslog(receiver.messages[0])[2]
        assert read_cef(text) if form == "cef" else json.loads(text)


def test_tls_with_a_private_authority(tmp_path: Path) -> None:
    made_of = Certificates(tmp_path)
    receiver = Stream(made_of.server())
    sink = made(f"tls://localhost:{receiver.port}", ca=str(made_of.ca))
    with closing(receiver, sink):
        sink.send(EVENTS)
        assert until(lambda: len(receiver.messages) >= len(EVENTS))
        assert ids(receiver.messages) == IDS


@pytest.mark.parametrize(("name", "trusted"), [("localhost", False), ("elsewhere.example", True)])
def test_tls_to_a_stranger_sends_nothing(tmp_path: Path, name: str, trusted: bool) -> None:
    theirs, ours = Certificates(tmp_path / "theirs", name), Certificates(tmp_path / "ours")
    receiver = Stream(theirs.server())
    sink = made(f"tls://localhost:{receiver.port}", ca=str((theirs if trusted else ours).ca))
    with closing(receiver, sink):
        with pytest.raises(SinkError, match="certificate is not accepted"):
            sink.send(EVENTS[:1])
        assert receiver.messages == []


def test_udp_one_message_one_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(20)
        sink = made(f"udp://127.0.0.1:{receiver.getsockname()[1]}")
        for event in EVENTS:
            sink.send([event])
            assert ids([receiver.recv(65536)]) == [event.id]
        sink.close()


def test_a_datagram_that_is_too_long_keeps_its_id() -> None:
    huge = event_of(lines("é" * 500)[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(20)
        sink = made(f"udp://127.0.0.1:{receiver.getsockname()[1]}", most=2048)
        sink.send([huge])
        _, params, text = read_syslog(receiver.recv(65536))
        assert params["id"] == huge.id
        assert json.loads(text)["cut"] is True
        sink.close()


def test_the_local_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "log"))
        receiver.settimeout(20)
        sink = made(f"unix://{tmp_path / 'log'}")
        sink.send(EVENTS[:3])
        assert ids([receiver.recv(65536) for _ in range(3)]) == IDS[:3]
        sink.close()


def test_who_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(SinkError, match=f"127.0.0.1:{port}: connection refused") as caught:
        made(f"tcp://127.0.0.1:{port}").send(EVENTS)
    assert not caught.value.broken


def test_a_stream_that_was_closed_is_noticed_before_more_is_lost() -> None:
    receiver = Stream()
    sink = made(f"tcp://127.0.0.1:{receiver.port}")
    sink.send(EVENTS[:1])
    sink.look()
    assert until(lambda: receiver.messages)
    receiver.close()

    def noticed() -> bool:
        try:
            sink.look()
        except SinkError as error:
            return error.broken
        return False

    assert until(noticed)
    sink.look()  # nothing is open, so nothing is wrong
    again = Stream(port=receiver.port)
    with closing(again, sink):
        sink.send(EVENTS[:2])
        assert until(lambda: ids(again.messages) == IDS[:2])
