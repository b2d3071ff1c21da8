"""`mcpguard remote document`: the client-id document to put at a URL of yours (client-id metadata documents).

Exit codes: 0 ok; 1 the URL cannot be a client id.
"""

from __future__ import annotations

import json

import click

from mcpguard.cli.terminal import errors_told
from mcpguard.credentials import oauthclient


@click.command()
@click.argument("url")
def document(url: str) -> None:
    """Print the document to publish at URL; then log in with --document URL.

    Authorization servers that read such documents need no registration.
    """
    with errors_told():
        oauthclient.document("", url)
        click.echo(json.dumps(oauthclient.document_text(url), indent=2))
