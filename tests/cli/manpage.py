"""Writes docs/man/mcpguard.1 and the help in README.md from the verbs. `python -m tests.cli.manpage` from the top."""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from mcpguard import __version__
from mcpguard.cli.main import EXIT_CODES, cli
from mcpguard.cli.shim import USAGE

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "man" / "mcpguard.1"
README = ROOT / "README.md"
BLOCK = re.compile(r"(?<=<!-- help -->\n```\n).*?(?=```\n<!-- /help -->)", re.DOTALL)


def context_of(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    """A context as a call on a terminal of 100 columns has it."""
    settings = {**cli.context_settings, "max_content_width": 100, "terminal_width": 100}
    return click.Context(command, info_name=name, parent=parent, **settings)


def escaped(text: str) -> str:
    """Text that troff prints as it is."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").splitlines()
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines)


def verbs(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every verb with its path, in the order of the help."""
    for name in group.list_commands(context):
        if name == "run":
            continue
        command = group.get_command(context, name)
        assert command is not None
        inner = context_of(command, name, context)
        yield inner.command_path, command, inner
        if isinstance(command, click.Group):
            yield from verbs(command, inner)


def page() -> str:
    """The manual page."""
    parts = [
        f'.TH MCPGUARD 1 "" "mcpguard {__version__}" "User Commands"',
        ".SH NAME",
        "mcpguard \\- a reference monitor between agent hosts and MCP servers",
        ".SH SYNOPSIS",
        ".B mcpguard\nVERB [OPTIONS] [ARGUMENTS]",
        ".SH DESCRIPTION",
        escaped((cli.help or "").strip()),
        ".SH VERBS",
        ".SS mcpguard run\n.nf",
        escaped(USAGE.strip()),
        ".fi",
    ]
    for path, command, inner in verbs(cli, context_of(cli, "mcpguard")):
        parts += [
            f".SS {path}\n.nf",
            escaped(command.get_help(inner).strip()),
            ".fi",
        ]
    parts += [".SH EXIT STATUS\n.nf", escaped(EXIT_CODES.strip()), ".fi", ".SH SEE ALSO"]
    return "\n".join(
        [*parts, "The pages in docs/ of the source: quick\\-start, policy, how\\-it\\-works, operations.", ""]
    )


def readme() -> str:
    """README.md with the help as it is now."""
    return BLOCK.sub(lambda _: cli.get_help(context_of(cli, "mcpguard")) + "\n", README.read_text())


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(page())
    README.write_text(readme())
