"""`mcpguard ca revoke`: final, and it says so."""

from collections.abc import Iterator

import pytest

from tests.cli.certhouse import authority, certs, openssl, recorded, refused, standing, told
from tests.lifecycle.stage import House


@pytest.fixture(scope="module")
def place() -> Iterator[House]:
    with authority() as made:
        yield made


def test_it_says_that_it_is_final_and_asks(place: House) -> None:
    place.mcpguard("ca", "issue", "alice")
    said = refused(place, "ca", "revoke", "alice")
    assert "1 certificate of alice. This is final: there is no undo." in said
    assert "no certificates are called 'nobody'" in refused(place, "ca", "revoke", "nobody", "--yes")
    assert "'theft' is not one of" in refused(place, "ca", "revoke", "alice", "--reason", "theft", code=2)


def test_every_certificate_of_a_name_and_what_openssl_says(place: House) -> None:
    out = standing(place)
    place.mcpguard("ca", "issue", "bob", "--out", str(out))
    first = (out / "bob.crt").read_bytes()
    place.mcpguard("ca", "renew", "bob", "--out", str(out))
    prints = {
        each["fingerprint"] for each in told(place.mcpguard("cert", "show", "bob", "--json"))["certificates"]
    }
    done = told(place.mcpguard("ca", "revoke", "bob", "--yes", "--reason", "key-compromise", "--json"))
    assert (set(done["revoked"]), done["unlisted"]) == (prints, "")
    assert recorded(place)[-1] == ("revoke", "bob")
    place.mcpguard("ca", "crl", "--output", str(out / "crl.pem"))
    place.mcpguard("ca", "export", "--chain", "--output", str(out / "chain.pem"))
    (out / "all.pem").write_bytes((out / "chain.pem").read_bytes() + (out / "crl.pem").read_bytes())
    (out / "first.crt").write_bytes(first)
    for name in ("bob.crt", "first.crt"):
        said = openssl("verify", "-crl_check", "-CAfile", out / "all.pem", out / name)
        assert (said.returncode, "certificate revoked" in said.stderr) == (2, True), said
    assert "bob" not in certs(place)
    assert certs(place, "--all")["bob"]["reason"] == "key-compromise"
    assert "revoked already" in refused(place, "ca", "revoke", "bob", "--yes")
