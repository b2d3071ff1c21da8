import json

from tests.cli.keeping import VALUE, listed, vaulted


def test_a_secret_is_forgotten_after_a_yes() -> None:
    with vaulted() as place:
        place.mcpguard("secret", "set", "github", input=VALUE)
        ran = place.mcpguard("secret", "rm", "github")
        assert (ran.returncode, "needs a yes" in ran.stderr) == (5, True)
        assert place.mcpguard("secret", "rm", "github", "--yes").stdout == "removed: github\n"
        ran = place.mcpguard("secret", "rm", "github", "--yes", "--json")
        assert (ran.returncode, json.loads(ran.stdout)["ok"]) == (5, False)
        assert listed(place)["secrets"] == []
