"""Writes docs/hosts.md from the list of places. `python -m tests.hosts.page` from the top."""

from pathlib import Path

from mcpguard.hosts.places import CHECKED, PLACES, Place, Scope

FILE = Path(__file__).parents[2] / "docs" / "hosts.md"
HEAD = f"""\
# Hosts

Where agent hosts keep the servers that they start, and what `mcpguard init` and `mcpguard host wrap` look at: the user's files. Files
of a project are looked at with `--project DIR` only, since others read them, too. `{{NAME:default}}` is a variable that the host
honours, and what holds without it. Last compared with the world on {CHECKED}: *measured* with the host itself, *documented* by its
vendor or source, or *recalled* by people who use it.

Entries are told apart as they are: a command with arguments, a command that is an array, either of them inside `transport`. Remote
servers, switched off ones and what nobody understands are reported; only commands are changed. A host that is not in the list is
wrapped by the path of its file, `mcpguard host wrap /path/to/config.json`, or written down in `~/.config/mcpguard/hosts.toml`:

```toml
[[host]]
name    = "my-agent"                # as policy calls it
title   = "My Agent"
file    = "~/.my-agent/servers.json"
format  = "json"                    # json | jsonc | toml | yaml
servers = ["mcpServers"]            # the path to the object or list of servers; "*" is every member
restart = true                      # whether it has to be started again to see a change
```
"""


def row(place: Place) -> str:
    """One line of the table."""
    keys = ", ".join(f"`{'.'.join(path)}`" for path in place.paths)
    moved = f"moved to `{place.old}`" if place.old else place.note
    path = place.linux or "-"
    mac = "the same" if place.macos == place.linux else f"`{place.macos}`" if place.macos else "-"
    windows = f"`{place.windows}`" if place.windows else "-"
    return f"| {place.title} | `{path}` | {mac} | {windows} | {place.dialect.value} | {keys} | {place.mark.value} | {moved} |"


def table(scope: Scope) -> list[str]:
    """All files of users, or of projects."""
    head = [
        "| host | Linux | macOS | Windows (for reading only) | format | where | | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return head + [row(place) for place in PLACES if place.scope is scope]


def page() -> str:
    """The whole page."""
    return "\n".join(
        [HEAD, "## Of a user", "", *table(Scope.USER), "", "## Of a project", "", *table(Scope.PROJECT), ""]
    )


if __name__ == "__main__":
    FILE.write_text(page())
