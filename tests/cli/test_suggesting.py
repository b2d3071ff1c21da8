"""From watching to a policy: suggest, read, replay, apply; then what was done passes and nothing else does."""

import json
from collections.abc import Iterator

import pytest

from mcpguard.policy.document import parse
from tests.lifecycle.stage import Host, House, house

WATCH = 'version = 1\nmode = "observe"\nunpinned = "allow"\n'


@pytest.fixture
def place() -> Iterator[House]:
    with house() as made:
        made.policy(WATCH)
        yield made


@pytest.fixture
def host(place: House) -> Host:
    found = place.play(options=("--name", "box")).greet()
    found.call("note", n=1)
    found.call("echo", path="/srv/project/a")
    found.call("echo", path="/srv/project/src/b")
    return found


def test_from_watching_to_a_policy(place: House, host: Host) -> None:
    file = place.root / "mine.toml"
    done = place.mcpguard("policy", "suggest", "-o", str(file))
    assert (done.returncode, "2 rules from 3 requests" in done.stdout) == (0, True), done
    assert place.status()["policy"]["mode"] == "observe", "nothing was applied"
    assert 'under = ["/srv/project"]' in file.read_text()
    assert place.mcpguard("policy", "check", "--strict", str(file)).returncode == 0
    again = place.mcpguard("policy", "replay", str(file))
    assert (again.returncode, again.stdout.startswith("3 requests, 0 would")) == (0, True), again
    assert place.mcpguard("policy", "apply", str(file)).returncode == 0
    for tool, arguments, passes in (
        ("note", {"n": 2}, True), ("echo", {"path": "/srv/project/c"}, True), ("echo", {"path": "/etc/passwd"}, False),
        ("echo", {}, False), ("delete_all", {}, False),
    ):  # fmt: skip
        answer = host.call(tool, **arguments)
        assert ("result" in answer and not answer["result"].get("isError")) is passes, (tool, arguments)


def test_a_file_that_is_there_is_not_replaced(place: House, host: Host) -> None:
    file = place.root / "mine.toml"
    file.write_text("precious")
    done = place.mcpguard("policy", "suggest", "-o", str(file))
    assert (done.returncode, file.read_text()) == (6, "precious")
    assert "is not replaced" in done.stderr


def test_on_standard_output_and_as_json(place: House, host: Host) -> None:
    text = place.mcpguard("policy", "suggest").stdout
    assert len(parse(text.encode(), "p").rules) == 2
    told = json.loads(place.mcpguard("policy", "suggest", "--json").stdout)
    assert (told["requests"], told["rule_count"], told["left_out"]) == (3, 2, [])
    assert told["text"].splitlines()[1:] == text.splitlines()[1:]


@pytest.mark.parametrize("words", [["--host", "acme"], ["--server", "other"], ["--since", "1s"]])
def test_nothing_to_suggest_from_is_a_sentence(place: House, words: list[str]) -> None:
    done = place.mcpguard("policy", "suggest", *words)
    assert done.returncode == 6
    assert "has passed" in done.stderr
    assert "observe" in done.stderr
