"""`mcpguard run` as the command tree shows it; the work is done by `shim`, which imports no library."""

from __future__ import annotations

import click

from mcpguard.cli import shim


@click.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> int:
    """Start an MCP server behind mcpguard (what hosts call)."""
    return int(shim.main(list(arguments)))
