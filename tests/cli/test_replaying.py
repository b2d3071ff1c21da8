"""`mcpguard policy replay`, as a person uses it."""

import json
from collections.abc import Iterator

import pytest

from tests.lifecycle.stage import House, house

POLICY = 'version = 1\nmode = "enforce"\nunpinned = "allow"\n[[rule]]\nid = "all"\ntools = ["*"]\neffect = "allow"\n'


@pytest.fixture
def place() -> Iterator[House]:
    with house() as made:
        made.policy(POLICY)
        host = made.play(options=("--name", "box")).greet()
        host.call("echo", path="/srv/a")
        host.call("note", n=1)
        host.call("note", n=2)
        yield made


def test_the_policy_in_force_changes_nothing(place: House) -> None:
    done = place.mcpguard("policy", "replay")
    assert (done.returncode, done.stdout) == (
        0,
        "3 requests, 0 would be decided otherwise or cannot be told (test)\n",
    )


def test_what_would_change_is_told_and_nothing_is_applied(place: House) -> None:
    file = place.root / "new.toml"
    file.write_text(
        POLICY
        + '[[rule]]\nid = "no-notes"\ntools = ["note"]\neffect = "deny"\n'
        + '[[rule]]\nid = "etc"\ntools = ["echo"]\neffect = "deny"\nargs.path = { under = ["/etc"] }\n'
    )
    done = place.mcpguard("policy", "replay", str(file))
    assert done.returncode == 1
    assert "3 requests, 3 would be decided otherwise or cannot be told" in done.stdout
    assert "deny    was allow  box note  2 times" in done.stdout
    assert "depends was allow  box echo  once" in done.stdout
    assert "arguments, which the log does not have" in done.stdout
    told = json.loads(place.mcpguard("policy", "replay", str(file), "--json").stdout)
    assert told["same"] == 0
    assert [(one["name"], one["becomes"], one["rule"], one["count"]) for one in told["changes"]] == [
        ("echo", None, None, 1), ("note", "deny", "no-notes", 2),
    ]  # fmt: skip
    assert place.status()["policy"]["rules"] == 1


def test_bad_input_is_a_sentence(place: House) -> None:
    for words, code in ((["none.toml"], 6), (["--since", "yesterday"], 2), (["--log", "/nowhere"], 1)):
        done = place.mcpguard("policy", "replay", *words)
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr
    with House() as empty:
        done = empty.mcpguard("policy", "replay")
        assert (done.returncode, "no policy is applied" in done.stderr) == (6, True)
