"""A registry of its own with a clock that tests move, and strangers: openssl, and authorities that are not ours."""

import contextlib
import datetime as dt
import ssl
import subprocess
from pathlib import Path

import trustme

from mcpguard.daemon.authority import CertificateAuthority, Plan, Wanted, permissions
from mcpguard.daemon.certificates import Certificates
from mcpguard.daemon.privatekeys import seal
from mcpguard.identity.certificates import CLIENT, SERVER, fingerprint, pem
from mcpguard.identity.subjectnames import names
from mcpguard.system.certstore import CertStore

DOMAIN = "mcpguard.internal"
PERMITTED = ("dns:localhost", f"dns:{DOMAIN}", "ip:127.0.0.0/8", "ip:::1/128")
CHEAP = 2**14
"""scrypt `n` of tests: the least that is accepted."""
NOW = dt.datetime(2026, 11, 29, 12, 0, tzinfo=dt.UTC).timestamp()
HOUR, DAY = 3600, 24 * 3600


class Place:
    """One daemon's certificates, without a daemon."""

    def __init__(self, directory: Path, now: float = NOW, *, made: bool = True, lock: bool = False) -> None:
        self.now = now
        self.records: list[tuple[str, dict]] = []
        self.refused: list[tuple[str, str]] = []
        self.store = CertStore(directory, cost=CHEAP)
        self.authority = CertificateAuthority(self.store, self.record, lambda: self.now)
        if made:
            self.make(lock=lock)
        self.keeper = Certificates(self.authority, lambda: self.now, lambda *told: self.refused.append(told))

    def record(self, event: str, **members: object) -> None:
        self.records.append((event, members))

    def make(self, *, lock: bool = False, permit: tuple[str, ...] = ()) -> None:
        plan = Plan("ours", DOMAIN, permissions((*PERMITTED, *permit), DOMAIN), lock=lock)
        self.authority.make(plan, seal("word", CHEAP, root=True, lock=lock), "me")

    def issue(
        self, name: str, use: str = CLIENT, *, dns=(), ips=(), uris=None, seconds=DAY, servers=(), public=None
    ):
        """A certificate with our own URI, or what is given."""
        given = [f"mcpguard://{DOMAIN}/{name}"] if uris is None else uris
        wanted = Wanted(name, names(dns, ips, given), (use,), seconds, tuple(servers))
        entry = self.authority.issue(wanted, "me", public)
        self.keeper.changed()
        return entry

    def server(self, name: str = "guard", **more):
        """A certificate for this machine."""
        return self.issue(name, SERVER, dns=["localhost"], ips=["127.0.0.1"], **more)

    def events(self) -> list[str]:
        return [event for event, _ in self.records]

    def files(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Chain and key of a certificate that is kept, for strangers."""
        shown = self.keeper.own(name)
        chain, key = directory / f"{name}.crt", directory / f"{name}.key"
        chain.write_bytes(pem(shown.chain))
        key.write_bytes(shown.key)
        return chain, key

    def root(self, directory: Path) -> Path:
        path = directory / "root.pem"
        path.write_bytes(pem([self.keeper.registry.authority.root]))
        return path

    def context(self, directory: Path, name: str = "", use: str = CLIENT) -> ssl.SSLContext:
        """A stranger's context: Python's own, with nothing of ours but files."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if use == CLIENT else ssl.PROTOCOL_TLS_SERVER)
        made.load_verify_locations(self.root(directory))
        if name:
            made.load_cert_chain(*self.files(directory, name))
        return made


def print_of(entry) -> str:
    return fingerprint(entry.der)


def openssl(*words: object, **more) -> subprocess.CompletedProcess:
    """A stranger."""
    return subprocess.run(
        ["openssl", *map(str, words)], capture_output=True, text=True, timeout=60, check=False, **more
    )


def der_of(made: trustme.LeafCert) -> bytes:
    """The certificate of a trustme leaf."""
    return ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())


def root_of(ca: trustme.CA) -> bytes:
    return ssl.PEM_cert_to_DER_cert(ca.cert_pem.bytes().decode())


def quiet(loop) -> None:
    """Handshakes that fail on purpose are no news."""
    loop.set_exception_handler(lambda *_: None)


@contextlib.contextmanager
def gone(*paths: Path):
    yield
    for path in paths:
        path.unlink(missing_ok=True)
