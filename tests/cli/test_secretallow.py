import json

from tests.cli.keeping import VALUE, listed, vaulted


def test_a_reference_that_was_written_by_hand_is_allowed_after_a_look() -> None:
    with vaulted() as place:
        place.mcpguard("secret", "set", "github", input=VALUE)
        file = place.root / ".claude.json"
        entry = {"command": "/bin/cat", "env": {"TOKEN": "mcpguard-secret://github"}}
        file.write_text(json.dumps({"mcpServers": {"gh": entry, "b": entry}}))
        ran = place.mcpguard("secret", "allow", "github", "--yes")
        assert (ran.returncode, "no server behind mcpguard has a variable" in ran.stderr) == (6, True)
        place.mcpguard("host", "wrap", "--yes")
        ran = place.mcpguard("secret", "allow", "github", "--server", "gh")
        assert (ran.returncode, "gh: TOKEN: /bin/cat" in ran.stdout) == (5, True)
        ran = place.mcpguard("secret", "allow", "github", "--server", "gh", "--yes", "--json")
        assert json.loads(ran.stdout)["servers"] == ["gh"]
        (one,) = listed(place)["secrets"]
        assert [(each["server"], each["undo"]) for each in one["bindings"]] == [("gh", "")]
        assert "nothing to do" in place.mcpguard("secret", "import", "--undo", "--yes").stdout
        assert place.mcpguard("secret", "allow", "github", "--yes").returncode == 0
        assert len(listed(place)["secrets"][0]["bindings"]) == 2
