"""`mcpguard version`."""

from __future__ import annotations

import click
import msgspec

from mcpguard import __version__


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def version(as_json: bool) -> None:
    """Print the version."""
    click.echo(
        msgspec.json.encode({"v": 1, "version": __version__}).decode()
        if as_json
        else f"mcpguard {__version__}"
    )
