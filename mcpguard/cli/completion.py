"""`mcpguard completion SHELL`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script for a shell.

    bash: mcpguard completion bash > ~/.local/share/bash-completion/completions/mcpguard
    """
    from mcpguard.cli.main import cli  # the whole tree, which imports this module

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(cli, {}, "mcpguard", "_MCPGUARD_COMPLETE").source())
