"""The verbs about certificates at admin.sock: who may use them, what they refuse, and what a damaged registry does."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.cli.certhouse import WORDS, authority, recorded
from tests.lifecycle.forms import FORMS, arrive, enrol, inside
from tests.lifecycle.stage import MCPGUARD, House, house, until


@pytest.fixture(scope="module")
def place() -> Iterator[House]:
    with authority() as made:
        yield made


CHANGING = [
    "ca-init", "ca-adopt", "ca-unlock", "ca-intermediate", "ca-root-export", "ca-root-remove", "ca-issue", "ca-renew",
    "ca-revoke", "ca-crl", "ca-import", "ca-forget", "cert-pin", "cert-unpin",
]  # fmt: skip


@pytest.mark.parametrize("verb", [verb for verb in CHANGING if verb not in ("ca-root-remove", "ca-crl")])
@pytest.mark.parametrize("text", ["", "null", "[]", '{"name":1}', '{"odd":1}', "[" * 10_000])
def test_requests_that_are_not_understood(place: House, verb: str, text: str) -> None:
    before = recorded(place)
    reply = place.ask({"verb": verb, "text": text, "name": "nobody"})
    assert (reply["ok"], reply["code"]) == (False, "trust"), reply
    assert reply["error"]
    assert recorded(place) == before


def test_what_a_host_has_started_changes_nothing(place: House) -> None:
    """An agent with a shell below an enrolled host may look, and neither issue, nor revoke, nor make others count."""
    first = arrive(place, FORMS["pipes"], name="box").greet()
    enrol(place, first, "acme")
    before = recorded(place)
    for words in (
        ["ca", "issue", "eve"],
        ["ca", "crl", "--refresh"],
        ["ca", "forget", "x", "--yes"],
        ["cert", "unpin", "files", "--yes"],
    ):
        code, said = inside(first, *MCPGUARD, *words)
        assert (code, "has started" in said) == (5, True), said
    code, _ = inside(first, *MCPGUARD, "cert", "list")
    assert code == 0
    assert recorded(place) == before


def test_a_passphrase_is_in_no_record_and_no_log(place: House) -> None:
    place.ask({"verb": "ca-root-export", "text": json.dumps({"passphrase": WORDS})})
    place.ask({"verb": "ca-root-export", "text": json.dumps({"passphrase": "wrong battery"})})
    for text in (WORDS, "wrong battery"):
        for path in place.state.rglob("*"):
            if path.is_file() and not isinstance(path, socket.socket):
                assert text.encode() not in path.read_bytes(), path


def test_a_damaged_registry_stops_certificates_and_nothing_else() -> None:
    with house() as place:
        directory = place.state / "certificates"
        directory.mkdir(mode=0o700)
        (directory / "registry.json").touch(mode=0o600)
        (directory / "registry.json").write_text("{")
        reply = until(lambda: place.ask({"verb": "certificates"}))
        assert (reply["ok"], "is damaged" in reply["error"]) == (False, True)
        done = place.mcpguard("ca", "issue", "x")
        assert (done.returncode, "restore the directory from a copy" in done.stderr) == (5, True)
        host = arrive(place, FORMS["pipes"]).greet()  # calls go on
        assert "result" in host.call("echo")
        assert place.status()["pid"]


def test_what_certificates_need_is_loaded_when_they_are_used() -> None:
    """X.509, our registry and the SPIFFE library; `ssl` itself comes with asyncio."""
    heavy = [
        "cryptography.x509",
        "mcpguard.daemon.certificates",
        "mcpguard.identity.certificates",
        "spiffe",
        "grpc",
    ]
    program = f"import sys, mcpguard.daemon.process; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
