"""Receivers of exported events that really listen: syslog over TCP and TLS, datagrams, HTTP and HTTPS."""

import contextlib
import datetime as dt
import http.server
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mcpguard.audit import record
from mcpguard.system.journal import Journal

SECONDS = 20.0


def until(what: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Ask until the answer is true, and give it; or the last one when the time is over."""
    deadline = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return found


def write(journal: Journal, *numbers: int, pad: int = 0) -> None:
    """Records that can be told apart."""
    journal.append([record.log("test", n=number, pad="x" * pad) for number in numbers])
    journal.sync()


class Certificates:
    """A private authority, and a certificate of it for a name."""

    def __init__(self, folder: Path, name: str = "localhost") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority = ec.generate_private_key(ec.SECP256R1())
        key = ec.generate_private_key(ec.SECP256R1())
        self.ca, self.chain, self.key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of these tests")])
        self.ca.write_bytes(_pem(_signed(issuer, issuer, authority, authority, name="", ca=True)))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.chain.write_bytes(_pem(_signed(subject, issuer, key, authority, name=name, ca=False)))
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def server(self) -> ssl.SSLContext:
        """For whoever listens."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context


def _signed(
    subject: x509.Name, issuer: x509.Name, key: Any, by: Any, *, name: str, ca: bool
) -> x509.Certificate:
    now = dt.datetime.fromtimestamp(time.time(), dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(issuer).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    )  # fmt: skip
    if ca:
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    else:
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if name == "localhost":
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(by, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class Stream:
    """Takes syslog messages with counted octets, one connection at a time. `port`: the same one again."""

    def __init__(self, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.messages: list[bytes] = []
        self.connections = 0
        self.reading = threading.Event()
        self.reading.set()
        self._context = context
        self._sock = socket.create_server(("127.0.0.1", port))
        self.port = self._sock.getsockname()[1]
        self._open: list[socket.socket] = []
        self._closed = False
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                raw, _ = self._sock.accept()
            except OSError:
                return
            self._open.append(raw)
            self.connections += 1
            with contextlib.suppress(OSError, ValueError):
                sock = self._context.wrap_socket(raw, server_side=True) if self._context else raw
                self._open.append(sock)
                with sock.makefile("rb") as file:
                    self._read(file)
            raw.close()

    def _read(self, file: Any) -> None:
        while True:
            self.reading.wait()
            digits = b""
            while (char := file.read(1)).isdigit():
                digits += char
            if not char:
                return
            assert char == b" ", char
            data = file.read(int(digits))
            if len(data) < int(digits) or self._closed:
                return
            self.messages.append(data)

    def close(self) -> None:
        """Stop as a program does that is killed: what it has not read is gone."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self.reading.set()


class Web:
    """Takes POST requests. `answer` decides about each: a status, or a status with headers."""

    def __init__(self, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: Callable[[bytes], tuple[int, dict[str, str]]] = lambda _: (200, {})
        self._open: list[socket.socket] = []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                web._open.append(self.request)
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = web.answer(body)
                web.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        if context:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def closing(*things: Any) -> Iterator[None]:
    """Close them all at the end."""
    try:
        yield
    finally:
        for thing in things:
            thing.close()
