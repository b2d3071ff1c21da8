"""Levels of pinning: what a command deserves, never more."""

import pytest

from mcpguard.identity.pinlevel import FREE, LABELS, command_level

LEVELS = [
    ("npx @acme/files", "P0"),
    ("npx -y @acme/files@1.4.2", "P1"),
    ("npx -y @acme/files@latest", "P0"),
    ("npx -y @acme/files@^1.4.2", "P0"),
    ("npx -y @acme/files@1", "P0"),
    ("npx -y -p @acme/files@1.4.2 files", "P1"),
    ("uvx --with other==1.0 git", "P0"),
    ("uvx --with other==1.0 git==1.0", "P1"),
    ("npx -y --package=@acme/files@1.4.2 files@1.0", "P1"),
    ("npx --registry x@1.0 files", "P0"),
    ("npx", "P0"),
    ("/usr/bin/npx files@1.0.0-rc.1", "P1"),
    ("uvx mcp-server-git", "P0"),
    ("uvx mcp-server-git@2025.1.14", "P1"),
    ("uvx --from mcp-server-git==2025.1.14 git@1.0", "P1"),
    ("uvx --from mcp-server-git git==1.0", "P0"),
    ("uvx --with other git==1.0", "P0"),
    ("uvx --from", "P0"),
    ("uv tool run mcp-server-git==1.0", "P1"),
    ("uv run server.py", "P0"),
    ("npm exec files@1.0.0", "P1"),
    ("npm start", "P0"),
    ("pipx run thing==2.0", "P1"),
    ("docker run -i --rm acme/files", "P0"),
    ("docker run -i --rm acme/files:latest", "P0"),
    ("docker run -i --rm acme/files:1.2", "P1"),
    ("docker run -i acme/files@sha256:" + "a" * 64, "P1"),
    ("sh -c npx", "P0"),
    ("bash", "P0"),
    ("bash /opt/start.sh", "P1"),
    ("env npx files@1.0.0", "P0"),
    ("python3 -m server", "P1"),
    ("/opt/acme/files --root /x", "P1"),
]


@pytest.mark.parametrize(("command", "level"), LEVELS)
def test_command_gets_the_level_it_deserves(command, level):
    assert command_level(command.split()) == level


def test_every_level_has_its_words():
    assert list(LABELS) == list(FREE) == ["P0", "P1", "P2", "P3", "P4"]
    assert LABELS["P0"] == "not pinned"
