"""`mcpguard remote`: logins at remote servers. Each verb has a module of its own."""

from __future__ import annotations

from typing import Final

import click

from mcpguard.cli.verbs import Verbs

_VERBS: Final = {
    "document": "remotedocument",
    "login": "remotelogin",
    "logout": "remotelogout",
    "status": "remotestatus",
}


@click.group(cls=Verbs, table=_VERBS)
def remote() -> None:
    """Log in at remote servers with OAuth, and out again. The daemon keeps the tokens and shows them to nobody."""
