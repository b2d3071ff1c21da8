import json

from tests.cli.keeping import VALUE, listed, vaulted


def test_set_keeps_and_rotate_replaces() -> None:
    with vaulted() as place:
        ran = place.mcpguard("secret", "set", "github", "--expires", "30d", input=f"{VALUE}\n")
        assert ran.stdout == "kept: github\n"
        assert "vault://github" in ran.stderr
        ran = place.mcpguard("secret", "set", "github", input=VALUE)
        assert (ran.returncode, "mcpguard secret rotate github" in ran.stderr) == (5, True)
        ran = place.mcpguard("secret", "rotate", "github", input=VALUE[::-1])
        assert ran.stdout == "rotated: github\nno server holds it now\n"
        (one,) = listed(place)["secrets"]
        assert (one["expires"], one["changed"] > one["created"]) == (0.0, True)
        ran = place.mcpguard("secret", "rotate", "absent", input=VALUE)
        assert (ran.returncode, "there is no secret 'absent'" in ran.stderr) == (5, True)


def test_what_cannot_be_kept_is_said_in_one_sentence() -> None:
    with vaulted() as place:
        for name, value, words in (
            ("a/b", VALUE, "a secret has a name"), ("x" * 65, VALUE, "a secret has a name"), ("a", "short", "fewer than 8"),
            ("a", "x" * 70_000, "more than 65536 bytes"), ("a", " " * 20, "is empty"),
        ):  # fmt: skip
            ran = place.mcpguard("secret", "set", name, "--json", input=value)
            assert ran.returncode == 5, (name, ran)
            assert words in json.loads(ran.stdout)["error"]["message"], ran.stdout
            assert len(ran.stderr.splitlines()) == 1
        ran = place.mcpguard("secret", "set", "a", "--expires", "yesterday", input=VALUE)
        assert ran.returncode == 2
        ran = place.mcpguard("secret", "set", "a", "--expires", "2020-01-01", input=VALUE)
        assert (ran.returncode, "expired already" in ran.stderr) == (5, True)
        ran = place.mcpguard("secret", "rotate", "nonsense://x")
        assert (ran.returncode, "not a reference" in ran.stderr) == (5, True)
        assert listed(place)["secrets"] == []
