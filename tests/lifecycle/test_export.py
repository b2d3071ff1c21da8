"""The log of a real daemon on its way: a sink, a scraper, and kills of everybody on the way."""

import http.client
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.audit.exported import read_syslog
from tests.lifecycle.stage import MCPGUARD, House, gone, house, until
from tests.system.receivers import Stream


@pytest.fixture
def place() -> Iterator[House]:
    with house() as made:
        yield made


def exporter(place: House) -> int:
    return int(until(lambda: place.status()["export"]["pid"]))


def lines(place: House) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (place.state / "audit").glob("*.jsonl"))


def test_everything_arrives_whoever_is_killed(place: House) -> None:
    receiver = Stream()
    assert place.mcpguard("audit", "sink", "add", "siem", f"tcp://127.0.0.1:{receiver.port}").returncode == 0
    host = place.play("plain").greet()
    assert "result" in host.call("echo", text="a")
    first = exporter(place)
    assert until(lambda: receiver.messages)
    os.kill(first, signal.SIGKILL)
    assert "result" in host.call("echo", text="b")
    assert until(lambda: exporter(place) not in (0, first))
    second = exporter(place)
    host.close()
    assert place.daemon
    place.daemon.kill()
    place.daemon.wait()
    assert until(lambda: gone(second)), "the exporter outlived the daemon"
    place.serve()
    assert until(lambda: exporter(place))
    wanted = lines(place)

    def arrived() -> bool:
        seqs = {json.loads(read_syslog(data)[2])["seq"] for data in receiver.messages}
        return seqs >= set(range(1, wanted + 1))

    assert until(arrived, 60)
    shown = place.status()["export"]["sinks"][0]
    assert until(lambda: place.status()["export"]["sinks"][0]["waiting"] == 0)
    assert (shown["name"], shown["error"]) == ("siem", "")
    assert "export   siem  syslog tcp://" in place.mcpguard("status").stdout
    receiver.close()


def test_a_sink_that_takes_nothing_holds_up_nothing(place: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # accepts by its backlog, and never reads
        place.mcpguard("audit", "sink", "add", "deaf", f"tcp://127.0.0.1:{deaf.getsockname()[1]}")
        host = place.play("plain").greet()
        assert exporter(place)
        for number in range(50):
            assert "result" in host.call("echo", text=str(number))


def test_a_broken_file_is_said_in_status(place: House) -> None:
    folder = place.state / "export"
    folder.mkdir(mode=0o700)
    (folder / "export.toml").write_text("version = 1\n[[sink]]\nname = 'a'\nkind = 'x'\n")
    assert until(lambda: "export.toml:4" in place.status()["export"]["error"])
    assert "export.toml:4" in place.mcpguard("status").stdout


def samples(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def test_metrics_by_verb_by_http_on_the_socket_and_on_the_loopback(place: House) -> None:
    host = place.play("plain").greet()
    for number in range(5):
        host.call("echo", text=str(number))
    text = place.mcpguard("metrics").stdout
    assert samples(text)["mcpguard_calls_total"] == 6
    assert samples(text)["mcpguard_connections"] == 1
    raw = place.raw("admin.sock", b"GET /metrics HTTP/1.1\r\nHost: mcpguard\r\n\r\n").decode()
    assert raw.startswith("HTTP/1.1 200 OK")
    assert samples(raw.partition("\r\n\r\n")[2])["mcpguard_outcomes_total"] == 6
    assert place.raw("admin.sock", b"GET /metrics HTTP/1.1\r\n", end=True).startswith(b'{"v":1,"ok":false')
    flood = b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 4000
    assert b"200 OK" not in place.raw("admin.sock", flood, end=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [*MCPGUARD, "metrics", "--listen", f"127.0.0.1:{port}"]
    scraper = subprocess.Popen(words, env=place.env, stderr=subprocess.DEVNULL)
    host.close()
    try:
        assert until(lambda: scraped(port).get("mcpguard_connections") == 0.0)
        assert scraped(port)["mcpguard_calls_total"] == 6
        assert scraped(port)["mcpguard_connections_total"] == 1
    finally:
        scraper.kill()
        scraper.wait()


def scraped(port: int) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/metrics")
        return samples(connection.getresponse().read().decode())
    except OSError:
        return {}
    finally:
        connection.close()
