"""`mcpguard ca export` and `ca crl`: what openssl makes of them; the root's key leaves and is gone."""

import stat

from tests.cli.certhouse import authority, openssl, recorded, refused, standing, told, words_file
from tests.lifecycle.stage import house


def test_without_an_authority() -> None:
    with house() as place:
        for words in (["ca", "export"], ["ca", "crl"], ["ca", "issue", "x"], ["ca", "crl", "--refresh"]):
            assert refused(place, *words).endswith(
                "there is no certificate authority here yet: mcpguard ca init"
            )


def test_lists_rise_and_the_root_leaves() -> None:
    with authority() as place:
        out = standing(place)
        out.mkdir(mode=0o700)
        assert place.mcpguard("ca", "export").stdout.count("BEGIN CERTIFICATE") == 1
        found = told(place.mcpguard("ca", "export", "--chain", "--json"))
        assert found["pem"].count("BEGIN CERTIFICATE") == 2
        numbers = []
        for _ in range(3):
            (out / "crl").write_text(place.mcpguard("ca", "crl", "--refresh").stdout)
            shown = openssl("crl", "-in", out / "crl", "-noout", "-crlnumber").stdout
            numbers.append(int(shown.partition("=")[2], 16))
        assert numbers == [2, 3, 4]
        place.mcpguard("ca", "export", "--chain", "--output", str(out / "chain"))
        assert "verify OK" in openssl("crl", "-in", out / "crl", "-CAfile", out / "chain", "-noout").stderr

        file, words = str(out / "root.key"), words_file(place)
        root = ["ca", "export", "--root-key", file]
        assert "--remove goes with" in refused(place, "ca", "export", "--remove", code=2)
        wrong = words_file(place, "wrong")
        assert "does not open" in refused(place, *root, "--passphrase-file", wrong)
        words = words_file(place)
        assert "no terminal to ask" in refused(place, *root, "--remove", "--passphrase-file", words)
        assert not (out / "root.key").exists()
        done = place.mcpguard(*root, "--remove", "--yes", "--passphrase-file", words)
        assert (done.returncode, done.stdout) == (0, f"the root's key is in {file} and nowhere else\n"), done
        assert stat.S_IMODE((out / "root.key").stat().st_mode) == 0o600
        assert openssl("pkey", "-in", file, "-passin", f"file:{words}", "-noout").returncode == 0
        assert openssl("pkey", "-in", file, "-passin", "pass:wrong", "-noout").returncode != 0
        assert [event for event, _ in recorded(place)][-2:] == ["root-exported", "root-removed"]
        assert told(place.mcpguard("ca", "list", "--json"))["authority"]["root"]["key"] == "elsewhere"
        assert "is there already" in refused(place, *root, "--passphrase-file", words)
        intermediate = ["ca", "renew", "--intermediate", "--yes", "--passphrase-file", words]
        assert "is not here" in refused(place, *intermediate)
        assert place.mcpguard(*intermediate, "--root-key", file).returncode == 0
        assert not (place.state / "certificates" / "root.key").exists()
        place.mcpguard("daemon", "stop")
        assert place.mcpguard("ca", "export").stdout.count("BEGIN CERTIFICATE") == 1  # from its file
