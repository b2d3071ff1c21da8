"""Peers of a listener: HTTP that shows every field, raw bytes, and certificates of a CA of our own."""

import contextlib
import datetime as dt
import http.client
import json
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mcpguard.identity.definitions import definition_digest
from mcpguard.identity.described import Definitions
from mcpguard.system.truststore import wall_clock
from tests.lifecycle.land import Land, Registered, pin
from tests.lifecycle.stage import MCPGUARD, PYTHON, SECONDS
from tests.lifecycle.talking_tools import TOOLS

TALKING = Path(__file__).with_name("talking.py")
BOTH = "application/json, text/event-stream"
LEGACY = "2025-11-25"
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "peer", "version": "1"},
}


def talking(land: Land, name: str = "talk") -> Registered:
    """A registered server that takes its time."""
    server = land.server(name)
    server.script.write_bytes(TALKING.read_bytes())
    server.replace(
        executables=(pin(PYTHON), pin(server.script)), server_name="talking", instructions_sha256="",
        tools={tool["name"]: definition_digest(tool) for tool in TOOLS},
    )  # fmt: skip
    known = Definitions(tools={tool["name"]: tool for tool in TOOLS})
    reply = server.put(definitions=msgspec.json.encode(known).decode())
    assert reply["ok"], reply
    return server


class Served:
    """`mcpguard serve` in the foreground."""

    def __init__(self, land: Land, *words: str) -> None:
        self.process = subprocess.Popen(
            [*MCPGUARD, "serve", *words], env=land.env, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr
        self.said = self.process.stderr.readline()

    def __enter__(self) -> Self:
        assert "listening at" in self.said, self.said + self.rest()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def port(self) -> int:
        """The port that a TLS listener has."""
        return int(self.said.partition(" for ")[0].rpartition(":")[2])

    def rest(self) -> str:
        """What it says until it ends."""
        assert self.process.stderr
        said = self.process.stderr.read()
        self.process.wait(SECONDS)
        self.process.stderr.close()
        return said

    def end(self) -> int:
        """Ctrl-C."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(SECONDS)
        if self.process.stderr:
            self.process.stderr.close()
        return code


class Answer:
    """One HTTP answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self.status = response.status
        self.kind = (response.getheader("Content-Type") or "").partition(";")[0]
        self.session = response.getheader("Mcp-Session-Id") or ""

        self.told: dict[str, Any] = {}

    def drained(self) -> int:
        """The status, once the body was read."""
        self.response.read()
        return self.status

    def field(self, name: str) -> str:
        return self.response.getheader(name) or ""

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.response.read())
        return found

    def error(self) -> tuple[int, str]:
        """Code and message."""
        error = self.json()["error"]
        return error["code"], error["message"]

    def events(self) -> Iterator[tuple[str, Any]]:
        """Id and message of each event; None for one without data."""
        ident, data = "", b""
        while line := self.response.readline():
            if line.startswith(b"id: "):
                ident = line[4:].strip().decode()
            elif line.startswith(b"data: "):
                data += line[6:].strip()
            elif line == b"\n":
                if ident or data:
                    yield ident, json.loads(data) if data else None
                ident, data = "", b""

    def message(self) -> Any:
        """The answer, whether it comes alone or at the end of a stream."""
        if self.kind == "application/json":
            return self.json()
        return [message for _, message in self.events() if message is not None][-1]


class Peer:
    """One HTTP connection to a listener.

    Args:
        place: Path of a Unix socket, or a port of this machine.
        server: The server's name.
        tls: How to speak TLS.
    """

    def __init__(
        self,
        place: Path | int,
        server: str = "talk",
        tls: ssl.SSLContext | None = None,
        host: str = "localhost",
    ) -> None:
        self.place, self.tls, self.host = place, tls, host
        self.path = f"/mcp/{server}"
        self.session = ""
        self.version = LEGACY
        self.extra: dict[str, str] = {}
        self.connection = http.client.HTTPConnection("localhost", timeout=SECONDS)
        self.connection.connect = lambda: setattr(self.connection, "sock", self.connected())  # type: ignore[method-assign]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connected(self) -> socket.socket:
        """A connection, TLS and all."""
        if isinstance(self.place, int):
            sock = socket.create_connection(("127.0.0.1", self.place), timeout=SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # head and body are two writes
            return self.tls.wrap_socket(sock, server_hostname="localhost") if self.tls else sock
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(SECONDS)
        try:
            sock.connect(str(self.place))
        except OSError:
            sock.close()
            raise
        return sock

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.place}" if isinstance(self.place, int) else self.host

    def close(self) -> None:
        self.connection.close()

    def again(self) -> "Peer":
        """Another connection of the same peer, in the same session."""
        other = Peer(self.place, self.path.removeprefix("/mcp/"), self.tls, self.host)
        other.session, other.version, other.extra = self.session, self.version, dict(self.extra)
        return other

    def fields(self) -> dict[str, str]:
        fields = {"Host": self.authority, "Content-Type": "application/json", "Accept": BOTH}
        if self.session:
            fields |= {"Mcp-Session-Id": self.session, "MCP-Protocol-Version": self.version}
        return fields | self.extra

    def send(self, method: str, body: Any = None, *, path: str = "", **fields: str | None) -> Answer:
        """One request; fields by name with `_` for `-`, None to leave one out."""
        named = self.fields() | {name.replace("_", "-"): value for name, value in fields.items()}
        merged: dict[str, str] = {}
        for name, value in named.items():
            for known in [each for each in merged if each.lower() == name.lower()]:
                del merged[known]
            if value is not None:
                merged[name] = value
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        self.connection.putrequest(method, path or self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in merged.items():
            self.connection.putheader(name, value)
        if data is not None and "Content-Length" not in merged and "Transfer-Encoding" not in merged:
            self.connection.putheader("Content-Length", str(len(data)))
        with contextlib.suppress(
            BrokenPipeError
        ):  # it was refused by its head, and the answer is there already
            self.connection.endheaders(data)
        return Answer(self.connection.getresponse())

    def post(self, body: Any, **fields: str | None) -> Answer:
        return self.send("POST", body, **fields)

    def greet(self, version: str = LEGACY) -> Answer:
        """Begin a session."""
        hello = {
            "protocolVersion": version,
            "capabilities": {"sampling": {}},
            "clientInfo": {"name": "peer", "version": "1"},
        }
        answer = self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello})
        self.session, self.version = answer.session, version
        if answer.status == 200:
            answer.told = answer.json()
            assert self.post({"jsonrpc": "2.0", "method": "notifications/initialized"}).drained() == 202
        return answer

    def call(self, ident: Any, tool: str, *, token: Any = None, **arguments: Any) -> Answer:
        """A call of a tool in a session."""
        params: dict[str, Any] = {"name": tool, "arguments": arguments}
        if token is not None:
            params["_meta"] = {"progressToken": token}
        return self.post({"jsonrpc": "2.0", "id": ident, "method": "tools/call", "params": params})

    def modern(
        self, ident: Any, method: str, params: dict[str, Any] | None = None, **fields: str | None
    ) -> Answer:
        """A modern request, its header as its body says."""
        params = params or {}
        tags = META | params.get("_meta", {})
        named = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if name := params.get("name") or params.get("uri"):
            named["Mcp-Name"] = name
        body = {"jsonrpc": "2.0", "id": ident, "method": method, "params": params | {"_meta": tags}}
        return self.post(body, **(named | {key.replace("_", "-"): value for key, value in fields.items()}))


def raw(place: Path | int, data: bytes, tls: ssl.SSLContext | None = None, *, end: bool = False) -> bytes:
    """Everything that a listener says to some bytes."""
    with contextlib.closing(Peer(place, tls=tls).connected()) as sock:
        said = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            sock.sendall(data)
            if end:
                sock.shutdown(socket.SHUT_WR)
            while more := sock.recv(65536):
                said += more
        return said


class Authority:
    """A CA with a server's certificate, as files, and certificates of clients."""

    def __init__(self, directory: Path) -> None:
        self.ca = trustme.CA()
        self.directory = directory
        self.ca_file = directory / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.ca_file))
        self.server()

    def server(self, *names: str) -> None:
        """A certificate of the listener, in place of the last one."""
        made = self.ca.issue_cert(*(names or ("localhost", "127.0.0.1")))
        self.certificate, self.key = self.directory / "server.pem", self.directory / "server.key"
        for path, data in (
            (self.key, made.private_key_pem.bytes()),
            (self.certificate, b"".join(each.bytes() for each in made.cert_chain_pems)),
        ):
            new = path.with_suffix(".new")
            new.touch(0o600)
            new.write_bytes(data)
            new.replace(path)

    @property
    def words(self) -> tuple[str, ...]:
        """Options of `mcpguard serve`."""
        files = ("--certificate", str(self.certificate), "--key", str(self.key))
        return (*files, "--client-ca", str(self.ca_file))

    def client(self, *names: str, ca: trustme.CA | None = None, **more: Any) -> ssl.SSLContext:
        """How a client with these names speaks; without names, without a certificate."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        if names:
            (ca or self.ca).issue_cert(*names, **more).configure_cert(context)
        return context

    def made(
        self,
        *names: x509.GeneralName,
        use: x509.ObjectIdentifier = x509.ExtendedKeyUsageOID.CLIENT_AUTH,
        days: float = 1,
    ) -> ssl.SSLContext:
        """How a client with a certificate of exactly these names and this use speaks."""
        key = ec.generate_private_key(ec.SECP256R1())
        ca = x509.load_pem_x509_certificate(self.ca.cert_pem.bytes())
        signer = serialization.load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        now = wall_clock()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(ca.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(1))
            .not_valid_after(now + dt.timedelta(days))
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key()), critical=False
            )
            .sign(signer, hashes.SHA256())  # type: ignore[arg-type]
        )
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        file = self.directory / "made.pem"
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        file.write_bytes(private + certificate.public_bytes(pem))
        context = self.client()
        context.load_cert_chain(file)
        return context
