import contextlib
import http.server
import os
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mcpguard.audit import checkpoint as notes
from mcpguard.errors import JournalError
from mcpguard.system import anchors, journalnotes
from mcpguard.system.journal import Journal
from mcpguard.system.journalcheck import Against, check


@pytest.fixture
def log(tmp_path):
    Journal.open(tmp_path / "audit").close()
    return tmp_path / "audit"


@pytest.fixture
def note(log):
    return journalnotes.newest(log)


def test_a_file_is_appended_to_and_verifies(tmp_path, log, note):
    file = tmp_path / "anchor"
    assert anchors.to_file(file, note)
    assert not anchors.to_file(file, note)
    Journal.open(log).close()
    assert anchors.to_file(file, journalnotes.newest(log))
    found = list(notes.notes(file.read_bytes()))
    assert [notes.parse_note(each)[0].size for each in found] == [1, 2]
    assert file.stat().st_mode & 0o777 == 0o600
    assert check(log, Against(anchors=found)).anchored == 2


def test_a_file_of_something_else_is_left_alone(tmp_path, note):
    file = tmp_path / "mine"
    file.write_text("my own words\n")
    with pytest.raises(JournalError, match="not a signed note"):
        anchors.to_file(file, note)
    assert file.read_text() == "my own words\n"
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(OSError, match="symbolic links"):
        anchors.to_file(tmp_path / "link", note)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(JournalError, match="is not a file"):
        anchors.to_file(tmp_path / "pipe", note)


@pytest.mark.parametrize("send", [anchors.to_journald, anchors.to_syslog])
def test_logs_of_the_system_get_a_line_that_can_be_found_again(tmp_path, log, note, send):
    place = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(place))
        sock.settimeout(10)
        send(note, place)
        got = sock.recv(65536)
    assert got.count(b"mcpguard checkpoint origin=") == 1
    message = got.split(b"MESSAGE=")[-1]
    assert list(notes.notes(b"Nov 29 host x: unrelated\n" + message + b"\n")) == [note]
    if send is anchors.to_journald:
        fields = dict(line.split(b"=", 1) for line in got.splitlines())
        assert fields[b"SYSLOG_IDENTIFIER"] == b"mcpguard"
        assert fields[b"MCPGUARD_CHECKPOINT_SIZE"] == b"1"
    else:
        assert got.startswith(b"<85>mcpguard: ")
    with pytest.raises(OSError, match="No such file"):
        send(note, tmp_path / "none")


class Witness(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        code = {"/refused": 409, "/moved": 302}.get(self.path, 200)
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "/add-checkpoint")
        self.end_headers()
        self.wfile.write(b"seen\n")

    do_GET = do_POST

    def log_message(self, *_):
        pass


@pytest.fixture
def witness(tmp_path, monkeypatch):
    """An HTTPS server with a certificate of its own, which SSL_CERT_FILE makes known."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.fromtimestamp(time.time(), UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "cert.pem").write_bytes(pem + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Witness)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.got = []
    server.handle_error = lambda *_: None  # a client that does not trust us hangs up
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_witness_gets_the_note_by_https(witness, note):
    port = witness.server_address[1]
    assert anchors.to_witness(f"https://localhost:{port}/add-checkpoint", note) == b"seen\n"
    assert witness.got == [("/add-checkpoint", note)]
    with pytest.raises(JournalError, match="answers 409"):
        anchors.to_witness(f"https://localhost:{port}/refused", note)
    witness.got.clear()
    with pytest.raises(JournalError, match="answers 302"):
        anchors.to_witness(f"https://localhost:{port}/moved", note)
    assert [path for path, _ in witness.got] == ["/moved"]


def test_a_witness_that_is_not_who_it_should_be_gets_nothing(witness, note, monkeypatch):
    port = witness.server_address[1]
    with pytest.raises(OSError, match=r"(?i)certificate"):
        anchors.to_witness(
            f"https://127.0.0.1:{port}/add-checkpoint", note
        )  # the certificate names localhost
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    with pytest.raises(OSError, match=r"(?i)certificate"):
        anchors.to_witness(f"https://localhost:{port}/add-checkpoint", note)
    for url in (f"http://localhost:{port}/", "ftp://localhost/", "file:///etc/passwd"):
        with pytest.raises(JournalError, match="not an https address"):
            anchors.to_witness(url, note)
    assert witness.got == []
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="refused"):
            anchors.to_witness(f"https://localhost:{sock.getsockname()[1]}/", note)
