"""`mcpguard ca import`: an authority whose key is ours to use, SVIDs, and bad files."""

import subprocess
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from mcpguard.identity.certificates import pem
from tests.cli.certhouse import authority, certs, openssl, recorded, refused, standing, told, words_file
from tests.identity.x509made import Maker
from tests.lifecycle.stage import House, house, until
from tests.system.workloadapi import WorkloadServer


def secret(key, words: bytes = b"") -> bytes:
    how = serialization.BestAvailableEncryption(words) if words else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


def put(place: House, name: str, content: bytes) -> str:
    path = Path(standing(place, name))
    path.write_bytes(content)
    return str(path)


def now() -> float:
    return time.time()


def test_an_intermediate_of_step_ca_issues(tmp_path: Path) -> None:
    """As `step ca init` leaves it: a chain, and the intermediate's key under a passphrase."""
    pki = Maker("step", now=now(), permitted=("dns:svc.example", "uri:mcpguard.internal"))
    with house() as place:
        words = words_file(place)
        chain = put(place, "chain.pem", pem([pki.between, pki.root]))
        key = put(place, "key.pem", secret(pki.key, b"correct horse"))
        other = put(place, "other.pem", secret(Maker().key))
        adopt = ["ca", "import", "--name", "step", "--chain", chain, "--accept", "dns:svc.example", "--yes"]
        assert "not that of an intermediate" in refused(place, *adopt, "--key", other)
        wrong = words_file(place, "wrong")
        assert "cannot be read" in refused(place, *adopt, "--key", key, "--passphrase-file", wrong)
        words = words_file(place)
        assert told(place.mcpguard(*adopt, "--key", key, "--passphrase-file", words, "--json"))["issues"]
        assert recorded(place) == [("adopt", "step")]
        out = standing(place)
        assert (
            place.mcpguard("ca", "issue", "web", "--dns", "web.svc.example", "--out", str(out)).returncode
            == 0
        )
        (out / "root.pem").write_bytes(pem([pki.root]))
        said = openssl("verify", "-CAfile", out / "root.pem", "-untrusted", out / "web.crt", out / "web.crt")
        assert said.returncode == 0, said
        assert list(certs(place)) == ["web"]


def test_files_that_are_none_of_it() -> None:
    pki = Maker("corp")
    with authority() as place:
        for content, why in [
            (b"hello", "not a certificate"),
            (pem([pki.between]), "0 root certificates"),
            (pem([pki.root]) + secret(pki.root_key), "private key beside"),
            (pem([pki.root, pki.leaf(["localhost"])[1]]), "may not issue certificates"),
            (pem([pki.root] * 20), "holds 20 certificates"),
        ]:
            file = put(place, "chain.pem", content)
            assert why in refused(place, "ca", "import", "--name", "corp", "--chain", file, "--yes")
        file = put(place, "chain.pem", pem([pki.root]))
        own = ["ca", "import", "--name", "corp", "--chain", file, "--yes", "--accept"]
        assert "may not speak for our own" in refused(place, *own, "uri:mcpguard.internal")
        assert "is not a permission" in refused(place, *own, "everything")
        for words in ([], ["--chain", file, "--workload-api", "unix:/x"], ["--svid", file]):
            assert refused(place, "ca", "import", "--name", "x", *words, "--yes", code=2)


def test_svids_from_files_are_followed() -> None:
    spire = Maker("example.org", now=now(), permitted=("uri:example.org",))
    with house() as place:
        key, leaf = spire.leaf(uris=["spiffe://example.org/web"], uses=("server", "client"))
        svid = put(place, "svid.pem", pem([leaf, spire.between]))
        files = [
            "--svid",
            svid,
            "--key",
            put(place, "key.pem", secret(key)),
            "--bundle",
            put(place, "b", pem([spire.root])),
        ]
        done = place.mcpguard("ca", "import", "--name", "spire", *files, "--yes")
        assert (done.returncode, done.stdout, "but:" in done.stderr) == (0, "imported spire\n", False), done
        assert f"spire  SPIFFE, from {svid}" in place.mcpguard("ca", "list").stdout
        Path(svid).unlink()
        fault = until(lambda: told(place.mcpguard("ca", "list", "--json"))["sources"][0]["fault"])
        assert "cannot be read" in fault


def test_the_workload_api_and_no_agent() -> None:
    pytest.importorskip("spiffe", reason="the extra `spiffe` is not installed")
    spire = Maker("example.org", now=now(), permitted=("uri:example.org",))
    with house() as place:
        path = place.root / "agent.sock"
        done = place.mcpguard("ca", "import", "--name", "nobody", "--workload-api", f"unix:{path}", "--yes")
        assert done.returncode == 0, done
        assert "does its agent run?" in done.stderr
        place.mcpguard("ca", "forget", "nobody", "--yes")
        server = WorkloadServer(path)
        try:
            key, leaf = spire.leaf(uris=["spiffe://example.org/web"], uses=("server", "client"))
            der = key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            server.give("spiffe://example.org/web", [leaf, spire.between], der, [spire.root])
            done = place.mcpguard(
                "ca", "import", "--name", "spire", "--workload-api", f"unix:{path}", "--yes"
            )
            assert (done.returncode, "but:" in done.stderr) == (0, False), done
        finally:
            place.mcpguard("ca", "forget", "spire", "--yes")
            server.close()


def test_openssl_makes_what_is_imported(tmp_path: Path) -> None:
    """A root made by a stranger counts, and its revocation list is asked for by name."""
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9",
         "-keyout", tmp_path / "k", "-subj", "/CN=root", "-addext", "keyUsage=critical,keyCertSign,cRLSign"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    with house() as place:
        file = put(place, "root.pem", made)
        done = place.mcpguard(
            "ca", "import", "--name", "o", "--chain", file, "--crl", "/nowhere", "--yes", "--json"
        )
        assert "the revocation list of 'o' cannot be read" in told(done)["fault"]
