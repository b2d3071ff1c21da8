"""`mcpguard metrics`: counters in the text format of Prometheus, once or for a scraper.

Whoever can connect to a port of the loopback interface can read them: every user of the machine. That they are served
there is a person's decision; on admin.sock only the same user gets them.

Decided: *names in the Host header other than those of this machine are refused*, since a page in a browser could
otherwise read them through a name that leads here (DNS rebinding).
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import click

from mcpguard.cli import client
from mcpguard.errors import GuardError

_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = 10.0


@click.command()
@click.option(
    "--listen", metavar="ADDRESS:PORT", help="Serve GET /metrics there, on the loopback interface only."
)
def metrics(listen: str | None) -> None:
    """Print counters of the daemon for Prometheus. Exits 3 if no daemon runs.

    Calls, answers, latencies, drops, findings, sinks. admin.sock answers the same to HTTP: curl --unix-socket SOCKET
    http://mcpguard/metrics
    """
    if listen is None:
        sys.stdout.write(client.request({"verb": "metrics"})["text"])
        return
    address, port = _place(listen)
    server = _Server((address, port), _Scraped)
    click.echo(f"metrics at http://{listen}/metrics; every user of this machine can read them", err=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


class _Server(ThreadingHTTPServer):
    """One thread for each request, none of which keeps the program from ending."""

    daemon_threads = True

    def __init__(self, place: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        super().__init__(place, handler)


class _Scraped(BaseHTTPRequestHandler):
    """Answers a scrape with what the daemon says now."""

    def setup(self) -> None:
        """A client that says nothing is not waited for."""
        self.request.settimeout(_SECONDS)
        super().setup()

    def do_GET(self) -> None:
        """The counters, or why there are none."""
        host = self.headers.get("Host", "").rpartition(":")[0].strip("[]")
        if host not in ("localhost", "127.0.0.1", "::1"):
            self._answer(421, "this name is not one of this machine\n")
        elif self.path.partition("?")[0] != "/metrics":
            self._answer(404, "see /metrics\n")
        else:
            try:
                self._answer(200, client.request({"verb": "metrics"})["text"])
            except GuardError as error:
                self._answer(503, f"{error.sentence()}\n")

    def _answer(self, code: int, text: str) -> None:
        data = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", _TYPE)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Say nothing: a scraper comes every few seconds."""


def _place(text: str) -> tuple[str, int]:
    """Address and port.

    Raises:
        BadParameter: It is not one of the loopback interface.
    """
    host, _, port = text.rpartition(":")
    host = {"": "127.0.0.1", "localhost": "127.0.0.1"}.get(host, host).strip("[]")
    try:
        known = ipaddress.ip_address(host).is_loopback and 0 < int(port) < 65536
    except ValueError:
        known = False
    if not known:
        expected = "an address of the loopback interface and a port, such as 127.0.0.1:9464"
        raise click.BadParameter(f"expected {expected}, found {text!a}")
    return host, int(port)
