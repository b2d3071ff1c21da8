"""What `secret import` says and how it ends; what it does is in tests/lifecycle/test_secrets.py."""

import json
from pathlib import Path

from tests.cli.keeping import VALUE, listed, vaulted
from tests.lifecycle.stage import House

TOKEN = "ghp_planted1234567890"


def configured(place: House, *, wrapped: bool = True) -> Path:
    file = place.root / ".claude.json"
    servers = {
        "gh": {"command": "/bin/cat", "env": {"GITHUB_TOKEN": TOKEN}},
        "copy": {"command": "/bin/cat", "args": ["-u"], "env": {"GH_TOKEN": TOKEN, "OTHER": "plain"}},
        "words": {"command": "/bin/cat", "args": [f"--token={TOKEN}"]},
    }
    file.write_text(json.dumps({"mcpServers": servers}, indent=1))
    if wrapped:
        assert place.mcpguard("host", "wrap", "--yes").returncode == 0
    return file


def test_it_shows_a_diff_without_the_secret_asks_and_moves() -> None:
    with vaulted() as place:
        file = configured(place)
        before = file.read_bytes()
        ran = place.mcpguard("secret", "import", "--dry-run")
        assert ran.returncode == 6  # the one on a command line stays, and is said
        assert "nothing was changed (dry run)" in ran.stdout
        assert "mcpguard-secret://gh.GITHUB_TOKEN" in ran.stderr
        assert "words: argument 6 holds a secret, and a command line cannot be given one" in ran.stderr
        assert TOKEN not in ran.stdout + ran.stderr
        ran = place.mcpguard("secret", "import")
        assert (ran.returncode, "needs a yes" in ran.stderr) == (5, True)
        assert file.read_bytes() == before
        ran = place.mcpguard("secret", "import", "--yes", "--json")
        told = json.loads(ran.stdout)
        assert told["changed"] == [
            {
                "file": str(file),
                "secrets": [
                    {"server": "gh", "variable": "GITHUB_TOKEN", "name": "gh.GITHUB_TOKEN"},
                    {"server": "copy", "variable": "GH_TOKEN", "name": "gh.GITHUB_TOKEN"},
                ],
            }
        ]
        (one,) = listed(place)["secrets"]  # the same value is kept once
        assert [each["server"] for each in one["bindings"]] == ["gh", "copy"]
        copies = list((place.state / "wrapped").rglob("*"))
        inside = [
            path
            for path in copies
            if path.is_file() and TOKEN in path.read_text().replace(f"--token={TOKEN}", "")
        ]
        assert copies
        assert inside == []
        ran = place.mcpguard("secret", "import", "--undo", "--yes", "--json")
        assert json.loads(ran.stdout) == {"v": 1, "ok": True, "changed": [str(file)], "left": []}
        assert file.read_bytes() == before


def test_a_name_that_another_value_has_is_left_to_it() -> None:
    with vaulted() as place:
        configured(place)
        place.mcpguard("secret", "set", "gh.GITHUB_TOKEN", input=VALUE)
        place.mcpguard("secret", "import", "--yes")
        assert [one["name"] for one in listed(place)["secrets"]] == ["gh.GITHUB_TOKEN", "gh.GITHUB_TOKEN-2"]
        assert "mcpguard-secret://gh.GITHUB_TOKEN-2" in (place.root / ".claude.json").read_text()


def test_servers_that_are_not_behind_mcpguard_keep_theirs() -> None:
    with vaulted() as place:
        file = configured(place, wrapped=False)
        before = file.read_bytes()
        ran = place.mcpguard("secret", "import", "--yes")
        assert (ran.returncode, "first mcpguard host wrap" in ran.stderr) == (6, True)
        assert file.read_bytes() == before


def test_undo_leaves_what_was_changed_since() -> None:
    with vaulted() as place:
        file = configured(place)
        place.mcpguard("secret", "import", "--yes", "--server", "gh")
        changed = file.read_text().replace("mcpguard-secret://gh.GITHUB_TOKEN", "something-else")
        file.write_text(changed)
        ran = place.mcpguard("secret", "import", "--undo", "--yes")
        assert (ran.returncode, "was changed since its secret was moved" in ran.stderr) == (6, True)
        assert file.read_text() == changed
        file.unlink()
        ran = place.mcpguard("secret", "import", "--undo", "--yes")
        assert (ran.returncode, "not there any more" in ran.stderr) == (6, True)
