"""`mcpguard ca list`, `import` and `forget`."""

from pathlib import Path

from mcpguard.identity.certificates import pem
from tests.cli.certhouse import authority, recorded, refused, standing, told
from tests.identity.x509made import Maker
from tests.lifecycle.stage import house


def chain(place, maker: Maker, name: str = "chain.pem") -> str:
    path = Path(standing(place, name))
    path.write_bytes(pem([maker.between, maker.root]))
    return str(path)


def test_nothing_yet_and_what_to_do() -> None:
    with house() as place:
        assert place.mcpguard("ca", "list").stdout == "no certificate authority of ours: mcpguard ca init\n"
        assert told(place.mcpguard("ca", "list", "--json")) == {
            "ok": True, "v": 1, "authority": None, "imported": [], "sources": [],
        }  # fmt: skip
        place.mcpguard("daemon", "stop")
        assert place.mcpguard("ca", "list").returncode == 0


def test_another_authority_comes_and_goes() -> None:
    corp = Maker("corp\x1b[2J", permitted=("dns:corp.example",))
    with authority() as place:
        file = chain(place, corp)
        said = refused(place, "ca", "import", "--name", "corp", "--chain", file)
        assert "It may vouch for: nothing by itself, only servers that you pin" in said
        assert "\x1b" not in said
        done = place.mcpguard(
            "ca", "import", "--name", "corp", "--chain", file, "--accept", "dns:corp.example", "--yes"
        )
        assert (done.returncode, done.stdout) == (0, "imported corp\n"), done
        assert "corp  imported, may vouch for dns:corp.example" in place.mcpguard("ca", "list").stdout
        assert "something called 'corp'" in refused(
            place, "ca", "import", "--name", "corp", "--chain", file, "--yes"
        )
        assert refused(place, "ca", "forget", "corp").endswith("say it with --yes")
        assert place.mcpguard("ca", "forget", "corp", "--yes").stdout == "corp counts no longer\n"
        assert "nothing imported is called 'corp'" in refused(place, "ca", "forget", "corp", "--yes")
        assert recorded(place)[1:] == [("trust", "corp"), ("forget", "corp")]


def test_a_daemon_that_ends_takes_up_where_it_was() -> None:
    with authority() as place:
        place.mcpguard("ca", "issue", "alice")
        before = place.mcpguard("cert", "list").stdout
        place.mcpguard("daemon", "stop")
        assert place.mcpguard("cert", "list").stdout == before
        assert place.mcpguard("ca", "issue", "bob").returncode == 0  # starts one
        assert "alice" in place.mcpguard("cert", "list").stdout
