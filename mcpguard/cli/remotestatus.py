"""`mcpguard remote status`: which remote servers have a token, for what, until when. Never the token.

Exit codes: 0 ok; 3 no daemon runs.
"""

from __future__ import annotations

import click

from mcpguard.cli import client
from mcpguard.cli.remotewords import status_lines
from mcpguard.cli.terminal import errors_told, print_json, say


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(*, as_json: bool) -> None:
    """Show which remote servers have a token: from whom, for what, until when."""
    with errors_told(as_json=as_json):
        reply = client.request({"verb": "remote-status"})
        if as_json:
            print_json({"servers": reply["servers"]})
            return
        if not reply["servers"]:
            say("no remote server has a token; one gets one with mcpguard remote login NAME")
        for each in reply["servers"]:
            say(*status_lines(each, float(reply["now"])))
