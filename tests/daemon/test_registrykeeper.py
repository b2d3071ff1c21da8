"""A listener whose certificate is one of the registry, by `serve.toml`: who is let in, what a refusal says."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.peers import Peer
from tests.lifecycle.test_peer_registry import Place, listed, spoken

POLICY = """\
version = 1
mode = "enforce"
[[rule]]
id = "dora"
who = ["cert:mcpguard://mcpguard.internal/dora"]
server = "talk"
tools = ["now"]
effect = "allow"
"""


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as made:
        made.serve()
        made.found()
        made.authority()
        made.policy(POLICY)
        yield made


def write(place: Place, certificate: str) -> None:
    path = place.state / "serve" / "serve.toml"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(
        'version = 1\n[[listener]]\nname = "net"\nlisten = "tls:127.0.0.1:0"\nauth = ["cert"]\n'
        f'certificate = "{certificate}"\nrecheck = "1s"\n'
    )
    path.chmod(0o600)


def opened(place: Place) -> int:
    """The port of the one listener, after a person has said that the file is to be read."""
    place.run("serve", "--reload")
    (only,) = place.ask({"verb": "listeners"})["listeners"]
    return int(only["listen"].rpartition(":")[2])


def shown(port: int, out: Path) -> bytes:
    with Peer(port, tls=spoken(out, out.name)) as peer:
        peer.connection.connect()
        sock = peer.connection.sock
        assert isinstance(sock, ssl.SSLSocket)
        return sock.getpeercert(binary_form=True) or b""


def test_a_listener_of_the_file_shows_a_certificate_of_the_registry_and_another_one_once_renewed(
    place: Place,
) -> None:
    dora = place.issued("dora")
    write(place, "registry:guard")
    port = opened(place)
    with Peer(port, tls=spoken(dora, "dora")) as peer:
        assert peer.greet().status == 200
        assert listed(peer) == ["now"]
        before = shown(port, dora)
        place.run("ca", "renew", "guard")
        assert shown(port, dora) != before
        assert peer.call(1, "now").drained() == 200  # what is open goes on


def test_a_certificate_for_another_server_is_refused_and_for_this_one_is_not(place: Place) -> None:
    place.run("ca", "issue", "other", "--client", "--for", "files", "--out", str(place.root / "other"))
    write(place, "registry:guard")
    port = opened(place)
    with Peer(port, tls=spoken(place.root / "other", "other")) as peer:
        answer = peer.greet()
        assert answer.status == 403
        assert "not for the server" in answer.error()[1]
    place.run("ca", "issue", "dora", "--client", "--for", "talk", "--out", str(place.root / "dora"))
    with Peer(port, tls=spoken(place.root / "dora", "dora")) as peer:
        assert peer.greet().status == 200


def test_a_name_that_is_not_in_the_registry_opens_nothing(place: Place) -> None:
    write(place, "registry:nobody")
    assert "not open" in place.run("serve", "--reload")
    (only,) = place.ask({"verb": "listeners"})["listeners"]
    assert "nobody" in only["trouble"]


def test_a_certificate_that_is_for_clients_does_not_make_a_listener(place: Place) -> None:
    place.run("ca", "issue", "klaus", "--client")
    dora = place.issued("dora")
    write(place, "registry:klaus")
    port = opened(place)  # TLS is the caller's to check: whoever checks who answers goes no further
    with Peer(port, tls=spoken(dora, "dora")) as peer, pytest.raises(ssl.SSLCertVerificationError):
        peer.greet()
