"""`mcpguard cert`: who, until when, last used, pinned where."""

from pathlib import Path

import trustme

from tests.cli.certhouse import authority, certs, openssl, recorded, refused, standing, told
from tests.lifecycle.stage import house


def test_list_and_show() -> None:
    with authority() as place:
        assert place.mcpguard("cert", "list").stdout == ""
        place.mcpguard("ca", "issue", "guard", "--server", "--for", "files")
        place.mcpguard("ca", "issue", "alice")
        place.mcpguard("ca", "revoke", "alice", "--yes")
        (line,) = place.mcpguard("cert", "list").stdout.splitlines()
        assert line.startswith("guard           valid    server         until 20")
        assert "never used" in line
        assert line.endswith("  for files")
        assert "revoked" in place.mcpguard("cert", "list", "--all").stdout
        shown = place.mcpguard("cert", "show", "guard").stdout
        (found,) = told(place.mcpguard("cert", "show", "guard", "--json"))["certificates"]
        for member in ("fingerprint", "pin", "renewal", "serial"):
            assert found[member] in shown
        assert found["renewal"] < found["ends"]
        assert "no certificates are called" in refused(place, "cert", "show", "nobody")


def test_pins_come_and_go() -> None:
    with house() as place:
        made = trustme.CA().issue_cert("remote.example")
        file = Path(standing(place, "r.pem"))
        file.write_bytes(made.cert_chain_pems[0].bytes())
        said = refused(place, "cert", "pin", "remote", str(file))
        assert "remote.example, until 3000-" in said
        done = place.mcpguard("cert", "pin", "remote", str(file), "--yes")
        assert done.returncode == 0, done
        printed = openssl("x509", "-in", file, "-noout", "-fingerprint", "-sha256").stdout
        assert done.stdout.split()[-1] == printed.partition("=")[2].strip().replace(":", "").lower()
        found = certs(place)["remote"]
        assert (found["state"], found["servers"], found["names"]) == (
            "pinned",
            ["remote"],
            ["remote.example"],
        )
        assert "in the registry already" in refused(place, "cert", "pin", "remote", str(file), "--yes")
        assert "cannot be read" in refused(place, "cert", "pin", "remote", "/nowhere", "--yes")
        assert "not a certificate" in refused(place, "cert", "pin", "remote", "/etc/hostname", "--yes")
        assert place.mcpguard("cert", "unpin", "remote", "--yes").stdout == "1 no longer pinned for remote\n"
        assert "nothing is pinned for 'remote'" in refused(place, "cert", "unpin", "remote", "--yes")
        assert recorded(place) == [("pin", "remote"), ("unpin", "remote")]
