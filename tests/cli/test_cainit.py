"""`mcpguard ca init` and `ca unlock` with a real daemon."""

import stat

from tests.cli.certhouse import authority, recorded, refused, told, words_file
from tests.lifecycle.stage import house


def test_it_asks_and_nobody_can_be_asked() -> None:
    with house() as place:
        words = words_file(place)
        said = refused(place, "ca", "init", "--passphrase-file", words)
        assert said.splitlines()[-1].endswith("there is no terminal to ask on: say it with --yes")
        assert "It will vouch for: dns:localhost, dns:mcpguard.internal" in said
        assert "passphrase" in refused(place, "ca", "init", "--yes")
        for option, code in (
            ("--permit=dns:*", 5),
            ("--permit=mail:x", 5),
            ("--domain=UP", 5),
            ("--name=a b", 2),
        ):
            assert refused(place, "ca", "init", "--yes", option, "--passphrase-file", words, code=code)
        assert recorded(place) == []


def test_it_is_made_once_for_nobody_else() -> None:
    with authority("--permit", "dns:lab.example", "--json") as place:
        assert recorded(place) == [("init", "mcpguard")]
        files = list((place.state / "certificates").iterdir())
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert not any(b"correct horse" in path.read_bytes() for path in files)
        assert b"correct horse" not in b"".join(
            p.read_bytes() for p in (place.state / "audit").glob("*.jsonl")
        )
        words = words_file(place)
        assert "authority already" in refused(place, "ca", "init", "--yes", "--passphrase-file", words)
        shown = told(place.mcpguard("ca", "list", "--json"))["authority"]
        assert "dns:lab.example" in shown["permitted"]
        assert shown["root"]["key"] == "here, encrypted"
        assert "are not locked" in refused(place, "ca", "unlock", "--passphrase-file", words)


def test_a_locked_one_waits_for_its_passphrase_after_a_restart() -> None:
    with authority("--lock") as place:
        assert told(place.mcpguard("ca", "issue", "guard", "--json"))
        place.mcpguard("daemon", "stop")
        assert place.daemon is not None
        place.daemon.wait(20)
        place.serve()
        said = refused(place, "ca", "issue", "alice")
        assert said == "mcpguard: the keys of the certificates are locked: mcpguard ca unlock"
        assert "does not open" in refused(
            place, "ca", "unlock", "--passphrase-file", words_file(place, "wrong")
        )
        done = place.mcpguard("ca", "unlock", "--passphrase-file", words_file(place))
        assert (done.returncode, done.stdout) == (0, "unlocked until the daemon ends\n")
        assert told(place.mcpguard("ca", "issue", "alice", "--json"))
