"""`mcpguard key`: signing keys of this user. A private key is made and kept; it is never exported or printed."""

from __future__ import annotations

import click
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mcpguard.cli.signer import chosen, generated, key_files, local_signer
from mcpguard.cli.terminal import errors_told, print_json, say, tell
from mcpguard.identity.keys import parse_public_key
from mcpguard.system.keyfiles import Kept

__all__ = ["key", "local_signer"]


@click.group()
def key() -> None:
    """Signing keys of yours: make one, list them, give away the public half."""


@key.command()
@click.option("--comment", default="", metavar="TEXT", help="A note for you, kept readable beside the key.")
@click.option(
    "--keyring", is_flag=True, help="Keep it in the keyring of the desktop, not in an encrypted file."
)
@click.option("--passphrase-file", metavar="FILE", help="Its first line is the passphrase.")
def generate(comment: str, keyring: bool, passphrase_file: str | None) -> None:
    """Make an Ed25519 key. The passphrase is asked for twice, or read from a file.

    MCPGUARD_PASSPHRASE_FILE names that file too.
    """
    if not comment.isprintable():
        raise click.UsageError("--comment: expected one line of printable text")
    with errors_told():
        private = generated(comment, keyring=keyring, passphrase_file=passphrase_file)
        kept = key_files().find(private.public.ident)
        say(kept.ident)
        tell(f"kept in {'the keyring, named by ' if keyring else ''}{kept.path}")


@key.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(as_json: bool) -> None:
    """List the keys. Nothing is decrypted."""
    with errors_told(as_json=as_json):
        keys = key_files().list()
        if as_json:
            print_json({"ok": True, "keys": [_as_json(kept) for kept in keys]})
            return
        for kept in keys:
            if kept.problem:
                say(f"unusable  {kept.problem}")
            else:
                say(f"{kept.ident}  {kept.place:<7}  {kept.comment}".rstrip())
        if not keys:
            tell("no keys yet: mcpguard key generate")


@key.command()
@click.argument("ident", metavar="ID")
@click.option("--format", "form", type=click.Choice(["ssh", "pem"]), default="ssh", show_default=True)
def export(ident: str, form: str) -> None:
    """Print the public half of a key, to be given to others. The private half does not leave its place."""
    with errors_told():
        kept = chosen(ident)
        public = parse_public_key(kept.line)
        if form == "pem":
            pem = Ed25519PublicKey.from_public_bytes(public.data).public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            click.echo(pem.decode(), nl=False)
        else:
            say(f"{public.line()} {kept.comment}".rstrip())
        tell("this is the public half; the private one stays where it is")


def _as_json(kept: Kept) -> dict[str, str]:
    return {
        "id": kept.ident,
        "public": kept.line,
        "comment": kept.comment,
        "place": kept.place,
        "path": kept.path,
        "problem": kept.problem,
    }
