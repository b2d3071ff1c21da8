"""`mcpguard ca export` and `ca crl`: what others need of the authority, and the root's key for a safe place."""

from __future__ import annotations

from pathlib import Path

import click

from mcpguard.cli import certified, passphrase
from mcpguard.cli.terminal import confirm, errors_told, print_json, say, tell
from mcpguard.errors import TrustError
from mcpguard.identity import revocationlist
from mcpguard.identity.certificates import pem
from mcpguard.identity.certregistry import Authority

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command()
@click.option("--chain", is_flag=True, help="Root and intermediates; without it the root alone.")
@click.option("--output", metavar="FILE", help="Write there; default is standard output.")
@click.option(
    "--root-key", metavar="FILE", help="Write the root's private key there, encrypted with its passphrase."
)
@click.option("--remove", is_flag=True, help="With --root-key: remove it from here once it is written.")
@click.option("--passphrase-file", metavar="FILE", help="Its first line is the passphrase of the root's key.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
def export(
    chain: bool, output: str | None, root_key: str | None, remove: bool, passphrase_file: str | None, yes: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Write the certificates that others need to recognise ours; or take the root's key to a safe place.

    The key file is PKCS 8 in PEM, which openssl reads. To use it again: mcpguard ca renew --intermediate --root-key.
    """
    if remove and root_key is None:
        raise click.UsageError("--remove goes with --root-key FILE")
    with errors_told(as_json=as_json):
        authority = _authority()
        if root_key is not None:
            _root_key(root_key, passphrase.of("the root's key", passphrase_file), remove=remove, yes=yes)
            if as_json:
                print_json({"ok": True, "file": root_key, "removed": remove})
            return
        content = pem([*authority.between, authority.root] if chain else [authority.root])
        _put(content, output, as_json=as_json)


@click.command()
@click.option("--output", metavar="FILE", help="Write there; default is standard output.")
@click.option("--refresh", is_flag=True, help="Sign a new one first. The daemon does so by itself every day.")
@_JSON
def crl(output: str | None, refresh: bool, as_json: bool) -> None:
    """Print the revocation list in PEM, one for each intermediate."""
    with errors_told(as_json=as_json):
        if refresh:
            certified.ask("ca-crl")
        authority = _authority()
        if not authority.revocations:
            raise TrustError("there is no revocation list", hint="mcpguard ca crl --refresh")
        _put(b"".join(revocationlist.pem(each) for each in authority.revocations), output, as_json=as_json)


def _authority() -> Authority:
    found = certified.held().registry.authority
    if found is None:
        raise TrustError("there is no certificate authority here yet", hint="mcpguard ca init")
    return found


def _put(content: bytes, output: str | None, *, as_json: bool) -> None:
    if output is not None:
        path = Path(output).absolute()
        certified.write_files(str(path.parent), {path.name: content})
        tell(f"written to {output}")
    if as_json:
        print_json({"ok": True, "pem": content.decode("ascii")})
    elif output is None:
        click.echo(content.decode("ascii"), nl=False)


def _root_key(file: str, words: str, *, remove: bool, yes: bool) -> None:
    path = Path(file).absolute()
    if path.exists():
        raise TrustError(f"{file} is there already", hint="name another file")
    if remove:
        tell(
            "Once it is removed, only the intermediate signs.",
            "Without the file and its passphrase it cannot be renewed.",
        )
        confirm("Write the root's key and remove it from here?", yes=yes)
    reply = certified.ask("ca-root-export", {"passphrase": words})
    content = str(reply["pem"]).encode("ascii")
    certified.write_files(str(path.parent), {path.name: content})
    if path.read_bytes() != content:
        raise TrustError(f"{file} does not hold what was written", hint="the key is still here")
    if remove:
        certified.ask("ca-root-remove")
        say(f"the root's key is in {file} and nowhere else")
    else:
        say(f"the root's key is in {file}, and here")
