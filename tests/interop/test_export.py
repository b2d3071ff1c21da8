"""Programs of others take what we export: rsyslog over TCP and TLS, and a scrape by Prometheus itself.

Needs rsyslog, rsyslog-gnutls and prometheus of Debian. Where they are missing these tests are left out, unless
MCPGUARD_TESTS_NEED names `siem`: then that is a failure.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import free_port

from mcpguard.audit.event import event_of
from mcpguard.system import journalfiles
from mcpguard.system.journal import Journal
from mcpguard.system.shipping import Shipper
from mcpguard.system.sinkfile import Sink
from mcpguard.system.sinkstate import StateFile
from tests.audit.exported import bodies, ends, read_cef
from tests.lifecycle.stage import MCPGUARD, house, until
from tests.system.receivers import Certificates, write


def program(name: str) -> str:
    """A program of Debian, or the reason why a test is left out."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None and "siem" not in os.environ.get("MCPGUARD_TESTS_NEED", ""):
        pytest.skip(f"{name} is not installed: apt-get install rsyslog rsyslog-gnutls prometheus")
    assert found, f"{name} is not installed"
    return found


TLS = """
global(defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="{ca}"
       defaultNetstreamDriverCertFile="{chain}" defaultNetstreamDriverKeyFile="{key}")
"""
CONFIG = """
global(workDirectory="{folder}" maxMessageSize="128k" parser.escapeControlCharactersOnReceive="on")
{tls}
main_queue(queue.timeoutShutdown="10000")
module(load="imtcp" {driver})
input(type="imtcp" port="{port}" address="127.0.0.1")
template(name="whole" type="list") {{
  property(name="hostname") constant(value="\\t") property(name="app-name") constant(value="\\t")
  property(name="msgid") constant(value="\\t") property(name="structured-data") constant(value="\\t")
  property(name="msg" position.from="1") constant(value="\\n")
}}
action(type="omfile" file="{out}" template="whole" asyncWriting="off" flushOnTXEnd="on")
"""


class Rsyslog:
    """A real rsyslogd of its own, which writes what it understood, one event a line."""

    def __init__(self, folder: Path, certificates: Certificates | None = None) -> None:
        self.program, self.port = program("rsyslogd"), free_port()
        self.out, self.folder = folder / "out", folder
        tls, driver = "", ""
        if certificates:
            tls = TLS.format(ca=certificates.ca, chain=certificates.chain, key=certificates.key)
            driver = 'streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon"'
        config = CONFIG.format(folder=folder, tls=tls, driver=driver, port=self.port, out=self.out)
        (folder / "rsyslog.conf").write_text(config)
        self.start()

    def start(self) -> None:
        words = [self.program, "-n", "-f", str(self.folder / "rsyslog.conf"), "-i", str(self.folder / "pid")]
        with (self.folder / "err").open("ab") as errors:
            self.process = subprocess.Popen(words, stderr=errors)
        assert until(self.listens), (self.folder / "err").read_text()

    def listens(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def events(self) -> list[list[str]]:
        """Host, program, message id, structured data and message of each."""
        if not self.out.exists():
            return []
        return [line.split("\t", 4) for line in self.out.read_bytes().decode().split("\n")[:-1]]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


class Shipping:
    """A log, and its way to one sink."""

    def __init__(self, folder: Path, sink: Sink) -> None:
        self.log, self.states = folder / "state" / "audit", folder / "state" / "export"
        self.journal = Journal.open(self.log)
        self.stop = threading.Event()
        self.thread = threading.Thread(
            target=Shipper(sink, self.log, self.states, self.stop).run, daemon=True
        )
        self.thread.start()

    def ids(self) -> list[str]:
        lines = [line for path in journalfiles.segments(self.log) for line in journalfiles.lines(path)]
        return [event_of(line).id for line in lines]

    def close(self) -> None:
        self.stop.set()
        self.thread.join(30)
        self.journal.close()


@pytest.mark.parametrize("form", ["json", "ocsf", "cef"])
@pytest.mark.parametrize("secured", [False, True])
def test_rsyslog_has_one_event_for_each_hostile_record(tmp_path: Path, form: str, secured: bool) -> None:
    certificates = Certificates(tmp_path / "pki") if secured else None
    rsyslog = Rsyslog(tmp_path, certificates)
    to = f"{'tls' if secured else 'tcp'}://localhost:{rsyslog.port}"
    ca = str(certificates.ca) if certificates else ""
    shipping = Shipping(tmp_path, Sink("siem", "syslog", to, format=form, ca=ca))
    try:
        shipping.journal.append(bodies())
        wanted = shipping.ids()
        assert until(lambda: len(rsyslog.events()) >= len(wanted)), StateFile(shipping.states, "siem").load()
        found = rsyslog.events()
        assert len(found) == len(wanted)
        for (_, name, kind, data, message), ident in zip(found, wanted, strict=True):
            assert name == "mcpguard"
            assert kind
            assert f'id="{ident}"' in data
            assert ends(message) == 1
            assert "\x1b" not in data + message
            if form == "cef":
                assert read_cef(message)[1]["externalId"] == ident
            else:
                record = json.loads(message)
                assert ident in (record.get("event_id"), record.get("metadata", {}).get("uid"))
    finally:
        shipping.close()
        rsyslog.stop()


def test_rsyslog_and_exporter_are_stopped_in_the_middle_and_all_arrives(tmp_path: Path) -> None:
    rsyslog = Rsyslog(tmp_path)
    sink = Sink("siem", "syslog", f"tcp://127.0.0.1:{rsyslog.port}")
    shipping = Shipping(tmp_path, sink)
    try:
        for turn in range(3):
            write(shipping.journal, *range(turn * 3000, turn * 3000 + 3000))
            assert until(lambda turn=turn: len(rsyslog.events()) > turn * 3000)
            rsyslog.stop()
            write(shipping.journal, 10**6 + turn)
            rsyslog.start()
        wanted = set(shipping.ids())

        def arrived() -> bool:
            return {json.loads(event[4])["event_id"] for event in rsyslog.events()} >= wanted

        assert until(arrived, 60)
        seen = [json.loads(event[4])["event_id"] for event in rsyslog.events()]
        assert set(seen) == wanted
    finally:
        shipping.close()
        rsyslog.stop()


PROMETHEUS = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
scrape_configs: [{{job_name: mcpguard, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
"""


def asked(port: int, query: str) -> list[Any]:
    """What Prometheus says to a query."""
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return list(json.loads(answer.read())["data"]["result"])
    except OSError:
        return []


@pytest.fixture
def ended() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in reversed(processes):
        process.kill()
        process.wait()


def test_prometheus_scrapes(tmp_path: Path, ended: list[subprocess.Popen[bytes]]) -> None:
    prometheus, promtool = program("prometheus"), program("promtool")
    with house() as place:
        host = place.play("plain").greet()
        for number in range(4):
            host.call("echo", text=str(number))
        text = place.mcpguard("metrics").stdout
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=text, text=True, capture_output=True, check=False
        )
        assert (checked.returncode, checked.stderr) == (0, ""), checked
        port, ours = free_port(), free_port()
        listen = [*MCPGUARD, "metrics", "--listen", f"127.0.0.1:{ours}"]
        ended.append(subprocess.Popen(listen, env=place.env, stderr=subprocess.DEVNULL))
        config = tmp_path / "prometheus.yml"
        config.write_text(PROMETHEUS.format(port=ours))
        words = [
            prometheus, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
        ]  # fmt: skip
        ended.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))
        query = 'mcpguard_calls_total{tool="echo",decision="allow"}'
        assert until(lambda: [each["value"][1] for each in asked(port, query)] == ["4"], 60)
        assert asked(port, "up")[0]["value"][1] == "1"
        count = asked(port, "mcpguard_request_duration_seconds_count")
        assert [each["value"][1] for each in count] == ["5"]
        assert asked(port, "histogram_quantile(0.5, mcpguard_request_duration_seconds_bucket)")
