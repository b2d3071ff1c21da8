"""What a binding says of an entry: the command, what it has to have, and nothing in clear that may be a secret."""

import json

import pytest

from mcpguard.cli.secretplan import binding_of, policy_name
from mcpguard.daemon.secrets import argv_digest
from mcpguard.hosts.entries import Dialect, Entry
from mcpguard.hosts.wrapping import File


def entry(**env: str) -> Entry:
    args = ["run", "--name", "gh", "--", "npx", "-y", "pkg"]
    text = json.dumps({"mcpServers": {"gh": {"command": "/bin/mcpguard", "args": args, "env": env}}})
    (found,) = File(text.encode(), "f", Dialect.JSON, (("mcpServers",),)).entries()
    return found


def test_a_binding_holds_the_command_and_what_stands_beside_the_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("HOME", "/home/u")
    found = binding_of(
        entry(TOKEN="s3cret", HOST="x.example", DIR="${HOME}/a", NODE_OPTIONS="$EVIL", OTHER="mcpguard-secret://o"),
        "TOKEN", "/home/u/.claude.json", ("PROXY",),
    )  # fmt: skip
    assert (found["server"], found["variable"]) == ("gh", "TOKEN")
    assert found["argv"] == argv_digest([b"npx", b"-y", b"pkg"])
    assert found["passed"] == ["DIR", "PROXY"]  # not what loads code into the server
    assert list(found["constants"]) == ["HOST"]
    assert "x.example" not in json.dumps(found)
    assert (found["path"], found["home"]) == ("/usr/bin", "/home/u")
    other = binding_of(entry(TOKEN="s3cret"), "TOKEN", "/home/u/.cursor/mcp.json")
    assert other["undo"] != found["undo"]


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (("m/mcpguard", "run", "--name", "gh", "--", "npx"), "gh"),
        (("m/mcpguard", "run", "--", "npx", "-y", "@a/files"), "a-files"),
        (("m/mcpguard", "run", "registered"), "registered"),
    ],
)
def test_servers_have_the_names_that_policy_has_for_them(argv: tuple[str, ...], name: str) -> None:
    assert policy_name(argv) == name
