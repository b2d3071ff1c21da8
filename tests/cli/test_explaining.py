"""Explaining for real: the command line in an empty HOME. More is in test_policy.py and test_trying.py."""

from tests.lifecycle.stage import House


def test_as_a_new_user() -> None:
    with House() as place:
        done = place.mcpguard("policy", "explain", "files", "read_file")
        assert (done.returncode, "watching only" in done.stdout) == (0, True), done
        file = place.root / "p.toml"
        file.write_text(
            'version = 1\nmode = "enforce"\n[[rule]]\nid = "a"\ntools = ["*"]\neffect = "allow"\n'
        )
        done = place.mcpguard("policy", "explain", "files", "read_file", "--file", str(file), "--args", "{}")
        assert (done.returncode, "rule a allows it" in done.stdout) == (0, True), done
