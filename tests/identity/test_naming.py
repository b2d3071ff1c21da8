"""Names of servers that were given as a command."""

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.identity.naming import server_name


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (
            "npx -y @modelcontextprotocol/server-filesystem@1.2.3 /data",
            "modelcontextprotocol-server-filesystem",
        ),
        ("npx -y mcp-server@latest", "mcp-server"),
        ("/usr/bin/npx pkg", "pkg"),
        ("uvx mcp-server-git==1.0 --repository x", "mcp-server-git"),
        ("uv run server.py", "server"),
        ("uv tool run mcp-server-time", "mcp-server-time"),
        ("pipx run thing", "thing"),
        ("pnpm dlx thing", "thing"),
        ("bun x thing", "thing"),
        ("deno run -A main.ts", "main"),
        ("python -m my.server --port 1", "my.server"),
        ("/usr/bin/python3.11 -u /srv/tools/server.py", "server"),
        ("node /srv/dist/index.mjs", "index"),
        ("bash run.sh", "run"),
        ("docker run image", "image"),
        ("'/opt/My Server/bin/srv'", "srv"),
        ("./a.exe", "a"),
        ("python", "python"),
        ("python -m", "python"),
        ("npx -y", "npx"),
        ("...", "server"),
        ("@", "server"),
    ],
)
def test_command_is_named_after_what_it_runs(command, name):
    assert server_name(shlex.split(command)) == name


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_any_command_has_a_name_of_plain_characters(argv):
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", server_name(argv))


def test_a_name_is_short_whatever_the_command():
    assert len(server_name(["x" * 5000])) == 128
