"""`mcpguard run` as the command tree shows it; the work is done by `shim`, which imports no library."""

from __future__ import annotations

import click

from mcpguard.cli import shim


class _Verbatim(click.Command):
    """A command that takes its words as they stand: click would drop the `--` before a server's command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["arguments"] = args
        return []


@click.command(cls=_Verbatim, add_help_option=False)
def run(arguments: list[str]) -> int:
    """Start an MCP server behind mcpguard (what hosts call)."""
    return shim.main(arguments)
