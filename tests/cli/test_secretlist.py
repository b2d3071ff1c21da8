from tests.cli.keeping import VALUE, listed, vaulted


def test_secrets_are_listed_without_their_values() -> None:
    with vaulted() as place:
        empty = place.mcpguard("secret", "list")
        assert (empty.stdout, "no secrets yet" in empty.stderr) == ("", True)
        place.mcpguard("secret", "set", "github", "--expires", "2031-05-06", input=VALUE)
        place.mcpguard("secret", "set", "other", input=VALUE)
        lines = place.mcpguard("secret", "list").stdout.splitlines()
        assert [line.split()[0] for line in lines] == ["github", "other"]
        assert "until 2031-05-06" in lines[0]
        assert "does not expire" in lines[1]
        assert "never used" in lines[1]
        found = listed(place)
        assert (found["ok"], found["own"], found["vault"]) == (
            True,
            0,
            {"state": "open", "key": "passphrase"},
        )
        assert VALUE not in str(found) + "".join(lines)
