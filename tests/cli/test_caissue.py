"""`mcpguard ca issue`: what stays here, what is written, what is refused."""

import stat
from collections.abc import Iterator

import pytest

from tests.cli.certhouse import authority, certs, openssl, recorded, refused, standing, told
from tests.lifecycle.stage import House


@pytest.fixture(scope="module")
def place() -> Iterator[House]:
    with authority("--permit", "dns:lab.example", "--permit", "uri:example.org") as made:
        yield made


def test_kept_here(place: House) -> None:
    done = place.mcpguard("ca", "issue", "guard", "--server", "--for", "files", "--hours", "2")
    assert (done.returncode, done.stderr) == (0, "its key is kept here, and it is renewed by itself\n")
    found = certs(place)["guard"]
    assert done.stdout == f"guard  {found['fingerprint']}\n"
    assert found["names"] == ["mcpguard://mcpguard.internal/guard", "localhost", "127.0.0.1", "::1"]
    assert (found["uses"], found["servers"], found["key"]) == (["server"], ["files"], "kept")
    assert ("issue", "guard") in recorded(place)


def test_written_with_its_key(place: House) -> None:
    out = standing(place)
    done = place.mcpguard("ca", "issue", "alice", "--out", str(out))
    assert done.returncode == 0, done
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {
        "alice.crt": 0o600, "alice.key": 0o600, "ca.crt": 0o600,
    }  # fmt: skip
    said = openssl("verify", "-CAfile", out / "ca.crt", "-untrusted", out / "alice.crt", out / "alice.crt")
    assert said.returncode == 0, said
    of_key = openssl("pkey", "-in", out / "alice.key", "-pubout").stdout
    assert of_key == openssl("x509", "-in", out / "alice.crt", "-noout", "-pubkey").stdout
    found = certs(place)["alice"]
    assert (found["key"], found["principals"]) == ("elsewhere", ["cert:mcpguard://mcpguard.internal/alice"])
    assert "there is a key alice.key" in refused(place, "ca", "issue", "alice", "--out", str(out))


def test_a_request_of_openssl(place: House) -> None:
    standing(place, "csr").mkdir()
    key, csr = standing(place, "csr") / "k", standing(place, "csr") / "r"
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", csr,
            "-subj", "/CN=root")  # fmt: skip
    done = place.mcpguard("ca", "issue", "web", "--csr", str(csr), "--uri", "spiffe://example.org/web")
    assert done.returncode == 0, done
    standing(place, "crt").write_text(done.stdout)
    shown = openssl("x509", "-in", standing(place, "crt"), "-noout", "-text").stdout
    assert "URI:spiffe://example.org/web" in shown
    assert "DNS:root" not in shown
    assert certs(place)["web"]["principals"] == ["spiffe://example.org/web"]


@pytest.mark.parametrize(
    ("words", "why", "code"),
    [
        (["eve", "--dns", "evil.test"], "may not vouch for 'evil.test'", 5),
        (["eve", "--uri", "mcpguard://elsewhere/eve"], "may not vouch", 5),
        (["eve", "--ip", "10.0.0.1"], "may not vouch for '10.0.0.1'", 5),
        (["eve", "--dns", "*.lab.example"], "is not a DNS name", 5),
        (["eve", "--uri", "https://lab.example"], "is not a name for a certificate", 5),
        (["eve", "--ip", "localhost"], "is not an IP address", 5),
        (["../eve"], "is not a name", 2),
        (["eve", "--hours", "1000"], "--hours", 2),
        (["eve", "--csr", "/nowhere"], "cannot be read", 5),
        (["eve", "--csr", "/etc/hostname"], "not a signing request", 5),
        (["eve", "--out", "/proc/eve"], "/proc", 5),
    ],
)
def test_what_is_refused(place: House, words: list[str], why: str, code: int) -> None:
    said = refused(place, "ca", "issue", *words, code=code)
    assert why in said
    assert "eve" not in certs(place)


def test_the_key_of_another_is_not_overwritten(place: House) -> None:
    refusal = refused(place, "ca", "issue", "guard")
    assert refusal.endswith("there is a certificate called 'guard': mcpguard ca renew guard")
    assert "one of --out and --csr" in refused(place, "ca", "issue", "x", "--out", "a", "--csr", "b", code=2)


def test_json(place: House) -> None:
    found = told(place.mcpguard("ca", "issue", "robot", "--dns", "a.lab.example", "--json"))
    assert found["fingerprint"] == certs(place)["robot"]["fingerprint"]
    assert found["chain"].count("BEGIN CERTIFICATE") == 2
    assert found["root"].count("BEGIN CERTIFICATE") == 1
