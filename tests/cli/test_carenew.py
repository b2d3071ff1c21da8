"""`mcpguard ca renew`: another key for a name, another intermediate for the authority."""

from collections.abc import Iterator

import pytest

from tests.cli.certhouse import authority, certs, openssl, recorded, refused, standing, told, words_file
from tests.lifecycle.stage import House


@pytest.fixture(scope="module")
def place() -> Iterator[House]:
    with authority() as made:
        yield made


def test_the_one_before_stays_until_it_ends(place: House) -> None:
    place.mcpguard("ca", "issue", "guard", "--server")
    before = certs(place)["guard"]
    done = place.mcpguard("ca", "renew", "guard")
    assert done.returncode == 0, done
    now = certs(place)["guard"]
    assert (now["names"], now["uses"]) == (before["names"], before["uses"])
    assert now["pin"] != before["pin"]
    (old,) = told(place.mcpguard("cert", "show", before["fingerprint"], "--json"))["certificates"]
    assert (old["state"], old["renewed_as"]) == ("renewed", now["fingerprint"])
    assert recorded(place)[-1] == ("renew", "guard")


def test_one_whose_key_is_elsewhere(place: House) -> None:
    out = standing(place)
    place.mcpguard("ca", "issue", "alice", "--out", str(out))
    before = (out / "alice.key").read_bytes()
    said = refused(place, "ca", "renew", "alice")
    assert said.endswith(
        "the key of 'alice' is not here: say where the next one goes: --out DIR, or --csr FILE"
    )
    assert place.mcpguard("ca", "renew", "alice", "--out", str(out)).returncode == 0
    assert (out / "alice.key").read_bytes() != before
    assert (
        openssl(
            "verify", "-CAfile", out / "ca.crt", "-untrusted", out / "alice.crt", out / "alice.crt"
        ).returncode
        == 0
    )


def test_an_intermediate(place: House) -> None:
    words = words_file(place)
    assert "one of NAME and --intermediate" in refused(place, "ca", "renew", code=2)
    assert "there is no certificate of ours" in refused(place, "ca", "renew", "nobody")
    assert "no terminal to ask" in refused(place, "ca", "renew", "--intermediate", "--passphrase-file", words)
    wrong = words_file(place, "wrong")
    assert "does not open" in refused(
        place, "ca", "renew", "--intermediate", "--yes", "--passphrase-file", wrong
    )
    words = words_file(place)
    done = place.mcpguard("ca", "renew", "--intermediate", "--yes", "--passphrase-file", words)
    assert (done.returncode, done.stdout) == (0, "another intermediate issues from now on\n")
    found = told(place.mcpguard("ca", "list", "--json"))["authority"]["intermediates"]
    assert len({each["fingerprint"] for each in found}) == 2
    done = place.mcpguard(
        "ca", "renew", "--intermediate", "--retire", "--yes", "--passphrase-file", words, "--json"
    )
    assert told(done)["retired"] is True
    assert len(told(place.mcpguard("ca", "list", "--json"))["authority"]["intermediates"]) == 1
