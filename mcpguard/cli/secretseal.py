"""`mcpguard secret seal`: a file that only this vault opens, for `file://PATH?sealed`."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import click

from mcpguard.cli import client
from mcpguard.cli.secret import packed, ready, value
from mcpguard.cli.terminal import errors_told, print_json, say, tell
from mcpguard.errors import SecretError


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--passphrase-file", metavar="FILE", help="Its first line opens the vault.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def seal(file: Path, passphrase_file: str | None, *, as_json: bool) -> None:
    """Write what comes on standard input to a new FILE (0600), encrypted under the key of the vault."""
    with errors_told(as_json=as_json):
        place = file.absolute()
        ready(passphrase_file)
        reply = client.request({"verb": "secret-seal", "text": packed(value())})
        try:
            descriptor = os.open(
                place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise SecretError(
                f"{place} cannot be written: {(error.strerror or str(error)).lower()}", hint="name a new file"
            ) from error
        with os.fdopen(descriptor, "wb") as out:
            out.write(base64.b64decode(reply["text"]))
            out.flush()
            os.fsync(descriptor)
        if as_json:
            print_json({"ok": True, "file": str(place)})
            return
        say(f"sealed: {place}")
        tell(f"in a manifest it is file://{place}?sealed")
