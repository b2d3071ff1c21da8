"""`mcpguard secret set` and `rotate`: keep a value, or another one in its place."""

from __future__ import annotations

import click

from mcpguard.cli import client
from mcpguard.cli.secret import packed, ready, until, value
from mcpguard.cli.terminal import errors_told, print_json, say, tell
from mcpguard.credentials.secretref import parse_ref

_EXPIRES = click.option(
    "--expires", metavar="TIME", help="When it is no more given to anybody: 30d, 2027-01-31, never."
)
_PASSPHRASE = click.option("--passphrase-file", metavar="FILE", help="Its first line opens the vault.")
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command("set")
@click.argument("name")
@_EXPIRES
@_PASSPHRASE
@_AS_JSON
def set_(name: str, expires: str | None, passphrase_file: str | None, *, as_json: bool) -> None:
    """Keep a value under NAME. It is read from standard input, or typed without echo; never an argument."""
    with errors_told(as_json=as_json):
        over = until(expires)
        ready(passphrase_file)
        client.request({"verb": "secret-put", "name": name, "text": packed(value()), "seconds": over})
        if as_json:
            print_json({"ok": True, "name": name, "expires": over})
            return
        say(f"kept: {name}")
        tell(
            f"in a manifest it is vault://{name}; in an argument that policy lets it into, ${{secret:{name}}}"
        )


@click.command()
@click.argument("name", metavar="NAME|REFERENCE")
@_EXPIRES
@_PASSPHRASE
@_AS_JSON
def rotate(name: str, expires: str | None, passphrase_file: str | None, *, as_json: bool) -> None:
    """Give NAME another value, and start the servers again that hold it, each once its calls are answered.

    Without --expires it never expires. Of a REFERENCE to somewhere else (keyring://...) the value was changed there:
    the servers that hold it are started again.
    """
    with errors_told(as_json=as_json):
        if "://" in name:
            parse_ref(name)
            client.ensure()
            reply = client.request({"verb": "secret-renew", "name": name})
        else:
            over = until(expires)
            ready(passphrase_file)
            reply = client.request(
                {
                    "verb": "secret-put", "name": name, "text": packed(value()), "seconds": over, "source": "rotate",
                }
            )  # fmt: skip
        again = [str(server) for server in reply["restarting"]]
        if as_json:
            print_json({"ok": True, "name": name, "restarting": again})
            return
        say(f"rotated: {name}")
        say(f"started again: {', '.join(again)}" if again else "no server holds it now")
