"""Where an issued certificate goes: it stays here, or goes with its key into a directory, or is printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from mcpguard.cli import certified
from mcpguard.cli.terminal import print_json, say, tell
from mcpguard.errors import TrustError
from mcpguard.model import JsonObject

_F = TypeVar("_F", bound=Callable[..., Any])


class Place(NamedTuple):
    """A directory for key and certificate, or a signing request; neither: both stay with the daemon."""

    out: str | None
    csr: str | None


def OPTIONS(command: _F) -> _F:  # noqa: N802 (a decorator among constants)
    """`--out`, `--csr` and `--json`."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option("--csr", metavar="FILE", help="Sign this request's key; the certificate is printed."),
        click.option("--out", metavar="DIR", help="Write NAME.key, NAME.crt and ca.crt there."),
    ):
        command = option(command)
    return command


def carry_out(verb: str, name: str, asked: JsonObject, place: Place, *, as_json: bool) -> None:
    """Have the daemon issue or renew, and put the certificate where it belongs.

    Raises:
        TrustError: It is refused, or a file cannot be read or written; or a key would be overwritten.
    """
    if place.out is not None and place.csr is not None:
        raise click.UsageError("say one of --out and --csr")
    files: dict[str, bytes] = {}
    if place.csr is not None:
        asked = {**asked, "request": certified.read_file(place.csr).decode("latin-1")}
    elif place.out is not None:
        if verb == "ca-issue" and (Path(place.out) / f"{name}.key").exists():
            raise TrustError(
                f"there is a key {name}.key in {place.out} already", hint="name another directory"
            )
        certified.write_files(place.out, {})  # whether it can be written, before there is anything to write
        request, files[f"{name}.key"] = _new_key(name)
        asked = {**asked, "request": request}
    reply = certified.ask(verb, asked)
    chain, root = str(reply["chain"]), str(reply["root"])
    if place.out is not None:
        certified.write_files(place.out, {**files, f"{name}.crt": chain.encode(), "ca.crt": root.encode()})
    if as_json:
        print_json(
            {"ok": True, "name": name, "fingerprint": reply["fingerprint"], "chain": chain, "root": root}
        )
    elif place.csr is not None:
        click.echo(chain, nl=False)
    else:
        say(f"{name}  {reply['fingerprint']}")
        tell(f"written to {place.out}" if place.out else "its key is kept here, and it is renewed by itself")


def _new_key(name: str) -> tuple[str, bytes]:
    """A signing request and the private key to it, both PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from mcpguard.identity.certificates import make_request

    key = ec.generate_private_key(ec.SECP256R1())
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return make_request(name, key).decode("ascii"), text
